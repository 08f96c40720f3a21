//! Learning: what a workload was seen to do becomes lists, and rules on what is not in them, for a person to look at.
//!
//! Everything is text of ordinary rules: [`rules`] tell what is worth knowing, their alerts are gathered in [`Seen`], and
//! [`Seen::propose`] writes what could be put in force. Nothing is put in force here.

mod paths;

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

use rampart_rules::load::{LoadOptions, Source, load};

use self::paths::{collapsed, is_plain};
use crate::alert::{Alert, INTERNAL_SOURCE};

/// Names of the rules by which it learns.
const PROGRAM: &str = "learn program";
const READ: &str = "learn read";
const WRITTEN: &str = "learn written";
const CONNECTED: &str = "learn connected";
const LISTENED: &str = "learn listened";

/// Directories of a list; more are replaced by those above them.
const DIRECTORIES_MAX: usize = 64;
/// Values of any other list; who does more is not described by a list.
const VALUES_MAX: usize = 512;
/// Exceptions that are proposed for a rule.
const EXCEPTIONS_MAX: usize = 32;
/// A file that was opened.
const OPENED: &str = "evt.type in (open, openat, openat2, creat) and evt.rawres>=0 and fd.typechar='f'";

/// The rules by which it learns of events for which a condition holds.
pub fn rules(condition: Option<&str>) -> String {
    let also = condition.map(|condition| format!(" and ({condition})")).unwrap_or_default();
    let mut text = String::new();
    for (name, condition, output) in [
        (
            PROGRAM,
            "evt.type in (execve, execveat) and evt.res=SUCCESS".to_owned(),
            "%proc.exepath %proc.pexepath",
        ),
        (READ, format!("{OPENED} and not evt.is_open_write=true"), "%fd.directory %fd.realpath"),
        (WRITTEN, format!("{OPENED} and evt.is_open_write=true"), "%fd.directory %fd.realpath"),
        (
            CONNECTED,
            "evt.type=connect and evt.res in (SUCCESS, EINPROGRESS) and fd.typechar in ('4', '6')".to_owned(),
            "%fd.rip %fd.rport",
        ),
        (LISTENED, "evt.type=bind and evt.res=SUCCESS and fd.typechar in ('4', '6')".to_owned(), "%fd.sport"),
    ] {
        let _ = writeln!(
            text,
            "- rule: {name}\n  desc: d\n  condition: >\n    {condition}{also}\n  output: '{output}'\n  priority: DEBUG"
        );
    }
    text
}

/// What was seen.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    programs: BTreeSet<String>,
    parents: BTreeSet<String>,
    read: BTreeSet<String>,
    written: BTreeSet<String>,
    addresses: BTreeSet<String>,
    ports: BTreeSet<u64>,
    listened: BTreeSet<u64>,
    /// Values whose letters a list cannot hold.
    odd: u64,
    /// What the rules in force told: how often, and by which program and parent.
    told: BTreeMap<String, (u64, BTreeSet<[String; 2]>)>,
}

/// A proposal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proposal {
    /// Rule files' text.
    pub text: String,
    /// What a person should know, a line each.
    pub notes: Vec<String>,
}

impl Seen {
    /// Takes what a rule of [`rules`] told.
    pub fn learn(&mut self, alert: &Alert) {
        let field = |name: &str| alert.field(name).map(Cow::into_owned);
        let number = |name: &str| field(name).and_then(|text| text.parse::<u64>().ok());
        let mut odd = 0;
        let mut put =
            |set: &mut BTreeSet<String>, value: Option<String>| match value.filter(|text| !text.is_empty()) {
                Some(text) if is_plain(&text) => drop(set.insert(text)),
                Some(_) => odd += 1,
                None => {}
            };
        match alert.rule.as_str() {
            PROGRAM => {
                put(&mut self.programs, field("proc.exepath"));
                put(&mut self.parents, field("proc.pexepath"));
            }
            READ | WRITTEN => {
                let set = if alert.rule == READ { &mut self.read } else { &mut self.written };
                put(set, field("fd.directory"));
                // Rules are tried on both paths of a file that was opened through a link.
                let real = field("fd.realpath");
                put(set, real.and_then(|path| path.rsplit_once('/').map(|(above, _)| above.to_owned())));
            }
            CONNECTED => {
                put(&mut self.addresses, field("fd.rip"));
                self.ports.extend(number("fd.rport"));
            }
            LISTENED => self.listened.extend(number("fd.sport").filter(|port| *port > 0)),
            _ => {}
        }
        self.odd += odd;
    }

    /// Takes what a rule in force told.
    pub fn told(&mut self, alert: &Alert) {
        if alert.source == INTERNAL_SOURCE {
            return;
        }
        let (count, by) = self.told.entry(alert.rule.clone()).or_default();
        *count += 1;
        let of = |name: &str| alert.field(name).map(Cow::into_owned).unwrap_or_default();
        let pair = [of("proc.name"), of("proc.pname")];
        if by.len() < EXCEPTIONS_MAX && pair.iter().all(|name| !name.is_empty() && is_plain(name)) {
            by.insert(pair);
        }
    }

    /// Lists, rules on what is not in them, and exceptions for rules that told something.
    pub fn propose(&self, condition: Option<&str>) -> Proposal {
        let mut proposal = Proposal { text: String::new(), notes: Vec::new() };
        let also = condition.map(|condition| format!(" and ({condition})")).unwrap_or_default();
        let text =
            |set: &BTreeSet<String>| set.iter().map(|value| format!("\"{value}\"")).collect::<Vec<_>>();
        let numbers = |set: &BTreeSet<u64>| set.iter().map(ToString::to_string).collect::<Vec<_>>();
        let directories = |set: &BTreeSet<String>| text(&collapsed(set, DIRECTORIES_MAX));
        let parts = [
            (
                ("learned_programs", text(&self.programs)),
                "Program not seen while learning",
                "evt.type in (execve, execveat) and evt.res=SUCCESS and not proc.exepath in (learned_programs)",
                "Program run that was not seen while learning (exe=%proc.exepath parent=%proc.pexepath command=%proc.cmdline)",
            ),
            (
                ("learned_parents", text(&self.parents)),
                "Program started by parent not seen while learning",
                "evt.type in (execve, execveat) and evt.res=SUCCESS and proc.pexepath exists and not proc.pexepath in \
                 (learned_parents)",
                "Program started by a parent that was not seen while learning (exe=%proc.exepath parent=%proc.pexepath)",
            ),
            (
                ("learned_written_directories", directories(&self.written)),
                "File written outside of directories seen while learning",
                &format!(
                    "{OPENED} and evt.is_open_write=true and not fd.name pmatch (learned_written_directories)"
                ),
                "File written outside of what was seen while learning (file=%fd.name exe=%proc.exepath)",
            ),
            (
                ("learned_read_directories", directories(&self.read)),
                "File read outside of directories seen while learning",
                &format!(
                    "{OPENED} and not evt.is_open_write=true and not fd.name pmatch (learned_read_directories)"
                ),
                "File read outside of what was seen while learning (file=%fd.name exe=%proc.exepath)",
            ),
            (
                ("learned_destinations", text(&self.addresses)),
                "Connection to address not seen while learning",
                "evt.type=connect and evt.res in (SUCCESS, EINPROGRESS) and fd.typechar in ('4', '6') and not fd.rip in \
                 (learned_destinations)",
                "Connection to an address that was not seen while learning (connection=%fd.name exe=%proc.exepath)",
            ),
            (
                ("learned_destination_ports", numbers(&self.ports)),
                "Connection to port not seen while learning",
                "evt.type=connect and evt.res in (SUCCESS, EINPROGRESS) and fd.typechar in ('4', '6') and not fd.rport in \
                 (learned_destination_ports)",
                "Connection to a port that was not seen while learning (connection=%fd.name exe=%proc.exepath)",
            ),
            (
                ("learned_ports", numbers(&self.listened)),
                "Port bound that was not seen while learning",
                "evt.type=bind and evt.res=SUCCESS and fd.typechar in ('4', '6') and fd.sport>0 and not fd.sport in \
                 (learned_ports)",
                "Port bound that was not seen while learning (address=%fd.name exe=%proc.exepath)",
            ),
        ];
        for ((list, items), rule, condition, output) in parts {
            if items.is_empty() {
                proposal
                    .notes
                    .push(format!("nothing for the rule `{rule}`: whatever it is about would be told"));
            }
            if items.len() > VALUES_MAX {
                proposal
                    .notes
                    .push(format!("`{list}` has {} values: a list does not describe this", items.len()));
                continue;
            }
            let _ = write!(
                proposal.text,
                "\n- list: {list}\n  items: [{}]\n\n- rule: {rule}\n  desc: Proposed by what was seen; review the list above.\n  \
                 condition: >\n    {condition}{also}\n  output: {output}\n  priority: NOTICE\n  tags: [learned]\n",
                items.join(", ")
            );
        }
        self.exceptions(&mut proposal);
        if self.odd > 0 {
            proposal.notes.push(format!("{} values with unusual letters were left out", self.odd));
        }
        proposal
    }

    /// Exceptions for rules in force, and what they told.
    fn exceptions(&self, proposal: &mut Proposal) {
        for (rule, (count, by)) in &self.told {
            proposal.notes.push(format!("the rule `{rule}` told {count} of what was seen"));
            if by.is_empty() || !is_plain(&rule.replace(' ', "")) {
                continue;
            }
            let values: Vec<String> =
                by.iter().map(|[name, parent]| format!("[\"{name}\", \"{parent}\"]")).collect();
            // Comments: they need the rule that they are about, and each is a hole that somebody must want.
            let _ = write!(
                proposal.text,
                "\n# - rule: {rule}\n#   exceptions:\n#   - name: learned\n#     fields: [proc.name, proc.pname]\n#     comps: \
                 [=, =]\n#     values: [{}]\n#   override: {{exceptions: append}}\n",
                values.join(", ")
            );
        }
    }
}

/// Why a condition cannot be learned by, if so.
pub fn fault(condition: Option<&str>) -> Option<String> {
    let source = Source { name: "learn".to_owned(), text: rules(condition).into_bytes() };
    let loaded = load(&[source], &LoadOptions::default());
    let errors = loaded.diagnostics.iter().filter(|finding| finding.is_error());
    loaded.rules.is_none().then(|| errors.map(|finding| finding.message.clone()).take(1).collect())
}

#[cfg(test)]
mod tests;
