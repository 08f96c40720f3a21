//! The processes of a description: `init(1) <- bash(2) <- child(3), event by child`.

use rampart_rules::{
    catalog::ids,
    typed::Arg,
    unit::event::{Event, Held},
    value::Value,
};

/// A chain of processes, parents first, and whose event it is.
#[derive(Default)]
pub(super) struct Tree {
    members: Vec<(String, i64)>,
    current: Option<String>,
    alone: bool,
}

impl Tree {
    /// The next process of the chain.
    pub(super) fn member(&mut self, name: &str, id: i64) {
        self.members.push((name.to_owned(), id));
    }

    /// The process whose event it is.
    pub(super) fn current(&mut self, name: &str) {
        self.current = Some(name.to_owned());
    }

    /// It has no ancestors.
    pub(super) fn alone(&mut self) {
        self.alone = true;
    }

    /// Sets what follows.
    pub(super) fn apply(&self, event: &mut Event<'static>) {
        let text = |name: &str| Held::Text(name.as_bytes().to_vec());
        let at = match &self.current {
            Some(current) => self.members.iter().rposition(|(name, _)| name == current),
            None => self.members.len().checked_sub(1),
        };
        let Some((name, id)) = at.and_then(|at| self.members.get(at)) else {
            if let Some(name) = &self.current {
                event.set(ids::PROC_NAME, Arg::None, text(name));
            }
            return;
        };
        event.set(ids::PROC_NAME, Arg::None, text(name));
        for field in [ids::PROC_PID, ids::PROC_VPID, ids::THREAD_TID] {
            event.set_missing(field, Arg::None, Held::One(Value::Int(*id)));
        }
        let above = if self.alone { &[] } else { self.members.get(..at.unwrap_or(0)).unwrap_or_default() };
        let mut names = Vec::new();
        let mut numbers = Vec::new();
        for ((name, id), step) in above.iter().rev().zip(1..) {
            if step == 1 {
                event.set_missing(ids::PROC_PNAME, Arg::None, text(name));
                event.set_missing(ids::PROC_PPID, Arg::None, Held::One(Value::Int(*id)));
            }
            event.set_missing(ids::PROC_ANAME, Arg::Index(step), text(name));
            event.set_missing(ids::PROC_APID, Arg::Index(step), Held::One(Value::Int(*id)));
            let name: &'static str = name.clone().leak();
            names.push(Value::Bytes(name.as_bytes()));
            numbers.push(Value::Int(*id));
        }
        event.set_missing(ids::PROC_ANAME, Arg::None, Held::Any(names));
        event.set_missing(ids::PROC_APID, Arg::None, Held::Any(numbers));
    }
}
