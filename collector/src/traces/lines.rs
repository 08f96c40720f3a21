//! The ids of the trace in log lines, by the names that OpenTelemetry gives them.

use std::fmt;

use opentelemetry::trace::{SpanContext, TraceContextExt};
use tracing::{Event, Span, Subscriber};
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::{
    fmt::{FmtContext, FormatEvent, FormatFields, format::Writer},
    registry::LookupSpan,
};

/// A form of lines, with `trace_id` and `span_id` in those that belong to a trace.
#[derive(Debug)]
pub(crate) struct WithIds<F>(pub(crate) F);

impl<S, N, F> FormatEvent<S, N> for WithIds<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let Some(span) = current() else { return self.0.format_event(context, writer, event) };
        let (trace, span) = (span.trace_id(), span.span_id());
        let mut line = String::new();
        self.0.format_event(context, Writer::new(&mut line), event)?;
        match line.strip_prefix('{') {
            Some(rest) => write!(writer, r#"{{"trace_id":"{trace}","span_id":"{span}",{rest}"#),
            None => writeln!(writer, "{} trace_id={trace} span_id={span}", line.trim_end()),
        }
    }
}

/// The span that this thread is in, also where lines do not show spans.
fn current() -> Option<SpanContext> {
    let context = Span::current().context();
    Some(context.span().span_context().clone()).filter(SpanContext::is_valid)
}
