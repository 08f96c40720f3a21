//! One condition on its own, outside of any rule file: what a command line or a test gives.

use crate::{
    catalog::EventId,
    condition::{self, Expr},
    diagnostic::{Diagnostic, code},
    event_set::{self, EventSet},
    program::{Memo, Program, Shared},
    set::Sets,
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
        Self::compile_with(text, environment, &Sets::default())
    }

    /// The same where there are named sets.
    pub fn compile_with(
        text: &str,
        environment: Environment,
        sets: &Sets,
    ) -> (Option<Self>, Vec<Diagnostic>) {
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
        let mut checker = Checker::new(environment).with_sets(sets);
        let node = checker.condition(&tree);
        let mut findings = checker.take();
        let events = event_set::of_condition(&tree).map_err(|finding| findings.push(finding)).ok();
        let (Some(condition), Some(events)) = (node, events) else { return (None, findings) };
        let program = Program::new(&condition, environment.strict, &Shared::default());
        (Some(Self { program, condition, text: tree.to_string(), events }), findings)
    }

    /// Compiles a condition that was read before.
    pub(crate) fn of(tree: &Expr, condition: Node, events: EventSet, strict: bool) -> Self {
        let program = Program::new(&condition, strict, &Shared::default());
        Self { program, condition, text: tree.to_string(), events }
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

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;
    use crate::{
        catalog::{FieldId, event_ids, ids},
        value::{FieldArg, Value},
    };

    /// A connection between two addresses, by a process that is not known yet.
    struct Connection;

    impl FieldSource for Connection {
        fn field<'a>(&'a self, field: FieldId, _: FieldArg<'_>) -> Value<'a> {
            let near = Value::Ip([10, 0, 0, 1].into());
            let far = Value::Ip([192, 0, 2, 7].into());
            match field {
                ids::FD_IP | ids::FD_NET => {
                    static BOTH: [Value<'static>; 2] = [
                        Value::Ip(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1))),
                        Value::Ip(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7))),
                    ];
                    Value::Either(&BOTH)
                }
                ids::FD_CIP => near,
                ids::FD_SIP | ids::FD_SNET => far,
                ids::PROC_NAME => Value::Unknown,
                _ => Value::Null,
            }
        }
    }

    fn truth(condition: &str, strict: bool) -> Truth {
        let (filter, findings) = Filter::compile(condition, Environment { container_fields: true, strict });
        filter
            .unwrap_or_else(|| panic!("{condition}: {findings:?}"))
            .evaluate(Some(event_ids::CONNECT), &Connection)
    }

    #[test]
    fn upstream_faults_are_fixed_unless_they_are_wanted() {
        for (condition, fixed, strict) in [
            ("fd.ip in (192.0.2.7)", Truth::True, Truth::False),
            ("fd.net in (172.16.0.0/12, 192.0.2.0/24)", Truth::True, Truth::False),
            ("fd.net in (192.0.2.0/24, 172.16.0.0/12)", Truth::True, Truth::True),
            ("fd.snet in (172.16.0.0/12, 192.0.2.0/24)", Truth::True, Truth::True),
            ("fd.ip=1.1.1.1 or fd.ip=192.0.2.7", Truth::True, Truth::True),
            ("fd.ip!=192.0.2.7", Truth::False, Truth::False),
        ] {
            assert_eq!(truth(condition, false), fixed, "{condition}");
            assert_eq!(truth(condition, true), strict, "{condition}, strict");
        }
    }

    #[test]
    fn unknown_fields_leave_open_only_what_depends_on_them() {
        for (condition, expected) in [
            ("proc.name=x", Truth::Unknown),
            ("not proc.name=x", Truth::Unknown),
            ("proc.name=x and fd.sip=1.1.1.1", Truth::False),
            ("proc.name=x or fd.sip=192.0.2.7", Truth::True),
            ("proc.name=x and evt.type=open", Truth::False),
            ("proc.name=val(proc.pname)", Truth::False),
            ("proc.pname=x", Truth::False),
            ("not proc.pname!=x", Truth::True),
            ("proc.name in ()", Truth::Unknown),
        ] {
            assert_eq!(truth(condition, false), expected, "{condition}");
        }
    }
}
