//! What the kernel decides of a rule.

use std::fmt::Write as _;

use crate::pushdown::{Decision, EventReport};

/// Events of a report that are named before the rest is only counted.
const SHOWN: usize = 8;

/// The reports as text; empty without any.
pub(super) fn text(reports: &[EventReport]) -> String {
    let mut text = String::new();
    for report in reports {
        // Writing to a `String` cannot fail.
        let _ = writeln!(text, "\nIn the kernel, on {} (family {}):", events(report), report.family);
        let _ = writeln!(text, "  {}", verdict(report));
        let (kernel, agent): (Vec<_>, Vec<_>) =
            report.comparisons.iter().partition(|(_, decision)| decision.in_kernel());
        text.push_str(&table(&kernel));
        if !agent.is_empty() {
            text.push_str("  Left to the agent:\n");
            text.push_str(&table(&agent));
        }
        if report.sharing > 0 {
            let others = match report.sharing {
                1 => "1 other".to_owned(),
                several => format!("{several} others"),
            };
            let _ = writeln!(
                text,
                "  There are more rules than bits: what {others} may match is sent for this one too."
            );
        }
        if report.cut {
            text.push_str("  Texts were cut so that those of all rules fit: the agent judges what their rest decides.\n");
        }
    }
    text
}

fn verdict(report: &EventReport) -> &'static str {
    match report {
        EventReport { always_sent: true, .. } => {
            "Every event is sent, because the agent's own state needs it."
        }
        EventReport { family: "exec", rejectable: true, .. } => {
            "A program that starts is always sent. A failed attempt is rejected when this makes the rule false:"
        }
        EventReport { family: "exec", .. } => {
            "A program that starts is always sent, and so is a failed attempt."
        }
        EventReport { rejectable: false, .. } => {
            "Every event is sent: nothing decided here makes the rule false."
        }
        _ => "An event is rejected when this makes the rule false:",
    }
}

fn events(report: &EventReport) -> String {
    let named: Vec<&str> = report.events.iter().take(SHOWN).copied().collect();
    let rest = report.events.len().saturating_sub(SHOWN);
    let named = named.join(", ");
    if rest == 0 { named } else { format!("{named} and {rest} more") }
}

/// Comparisons under the heading of how they are decided, each heading's note behind the last.
fn table(comparisons: &[&(String, Decision)]) -> String {
    let heading = |decision: Decision| if decision.in_kernel() { decision.name() } else { "" };
    let width = comparisons.iter().map(|(_, decision)| heading(*decision).len() + 2).max().unwrap_or(0);
    let mut text = String::new();
    for group in comparisons.chunk_by(|(_, one), (_, other)| one == other) {
        let Some((_, decision)) = group.first() else { continue };
        for (at, (comparison, _)) in group.iter().enumerate() {
            let heading = if at == 0 { heading(*decision) } else { "" };
            let _ = writeln!(text, "    {heading:width$}{comparison}");
        }
        if !decision.note().is_empty() {
            let _ = writeln!(text, "    {:width$}({})", "", decision.note());
        }
    }
    text
}
