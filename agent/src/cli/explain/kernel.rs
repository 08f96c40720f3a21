//! What the kernel decides of a rule.

use std::fmt::Write as _;

use crate::{
    cli::print,
    pushdown::{Decision, EventReport},
};

/// Events of a report that are named before the rest is only counted.
const SHOWN: usize = 8;

/// The reports as text; empty without any.
pub(super) fn text(reports: &[EventReport]) -> String {
    let mut text = String::new();
    for report in reports {
        // Writing to a `String` cannot fail.
        let _ = writeln!(text, "\nIn the kernel, on {} (family {}):", events(report), report.family);
        let verdict = match report {
            EventReport { always_sent: true, .. } => {
                "Every event is sent: the agent needs it to know what processes there are."
            }
            EventReport { rejectable: false, .. } => {
                "Every event is sent: nothing that the kernel can decide makes the rule false."
            }
            _ => "An event is rejected when what is decided here makes the rule false.",
        };
        let _ = writeln!(text, "  {verdict}");
        let (kernel, agent): (Vec<_>, Vec<_>) =
            report.comparisons.iter().partition(|(_, decision)| decision.in_kernel());
        text.push_str(&indented(&rows(&kernel, true)));
        if !agent.is_empty() && !report.always_sent && report.rejectable {
            text.push_str("  Left to the agent:\n");
            text.push_str(&indented(&rows(&agent, false)));
        } else {
            text.push_str(&indented(&rows(&agent, false)));
        }
        if report.sharing > 0 {
            let _ = writeln!(
                text,
                "  There are more rules than bits: {} share this one's, and what one of them needs is sent.",
                others(report.sharing)
            );
        }
        if report.cut {
            text.push_str(
                "  Strings were cut so that all rules' fit: longer ones are told apart by the agent.\n",
            );
        }
    }
    text
}

fn events(report: &EventReport) -> String {
    let named: Vec<&str> = report.events.iter().take(SHOWN).copied().collect();
    let rest = report.events.len().saturating_sub(SHOWN);
    let named = named.join(", ");
    if rest == 0 { named } else { format!("{named} and {rest} more") }
}

fn others(count: usize) -> String {
    if count == 1 { "1 other".to_owned() } else { format!("{count} others") }
}

fn rows(comparisons: &[&(String, Decision)], headed: bool) -> Vec<Vec<String>> {
    comparisons
        .iter()
        .map(|(comparison, decision)| {
            let note = decision.note();
            let note = if note.is_empty() { String::new() } else { format!("({note})") };
            let mut row = Vec::new();
            if headed {
                row.push(decision.name().to_owned());
            }
            row.extend([comparison.clone(), note]);
            row
        })
        .collect()
}

fn indented(rows: &[Vec<String>]) -> String {
    print::table(rows).lines().fold(String::new(), |mut text, line| {
        let _ = writeln!(text, "    {line}");
        text
    })
}
