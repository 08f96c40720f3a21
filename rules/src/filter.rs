//! One condition on its own, outside of any rule file: what a command line or a test gives.

use crate::{
    catalog::EventId,
    condition::{self, Expr},
    diagnostic::{Diagnostic, code},
    event_set::{self, EventSet},
    program::{Memo, Program, Shared},
    source::Mapped,
    typed::{Checker, Environment, Node},
    value::{FieldSource, Truth},
};

/// A compiled condition.
#[derive(Debug)]
pub struct Filter {
    program: Program,
    condition: Node,
    text: String,
    events: EventSet,
}

impl Filter {
    /// Compiles a condition; macros and lists are not known here. `None` when any finding is an error. The places
    /// of findings are offsets into `text`, in source 0.
    pub fn compile(text: &str, environment: Environment) -> (Option<Self>, Vec<Diagnostic>) {
        let mapped = Mapped::plain(text);
        let tree: Expr = match condition::parse(&mapped, condition::DEFAULT_DEPTH) {
            Ok(tree) => tree,
            Err(error) => {
                let code = if error.too_deep { code::TOO_DEEP } else { code::SYNTAX };
                let mut finding = Diagnostic::new(code, error.message).at(mapped.span(error.range));
                finding.help = error.help.map(str::to_owned);
                return (None, vec![finding]);
            }
        };
        let mut checker = Checker::new(environment);
        let node = checker.condition(&tree);
        let mut findings = checker.take();
        let events = event_set::of_condition(&tree).map_err(|finding| findings.push(finding)).ok();
        let (Some(condition), Some(events)) = (node, events) else { return (None, findings) };
        let program = Program::new(&condition, environment.strict, &Shared::default());
        (Some(Self { program, condition, text: tree.to_string(), events }), findings)
    }

    /// Evaluates it on an event. Without `event` the event type is asked from the source.
    pub fn evaluate<S: FieldSource>(&self, event: Option<EventId>, source: &S) -> Truth {
        self.program.evaluate(event, source, &mut Memo::default())
    }

    /// Event types it can match.
    pub fn events(&self) -> &EventSet {
        &self.events
    }

    /// Its typed form.
    pub fn condition(&self) -> &Node {
        &self.condition
    }

    /// Its canonical text.
    pub fn text(&self) -> &str {
        &self.text
    }
}
