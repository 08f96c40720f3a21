//! A report for people.

use super::report::{Order, Report, RuleLine};
use crate::cli::status;

/// The whole report.
pub(super) fn all(report: &Report) -> String {
    let (mut lines, rules) = (head(report), rules(report));
    let (shown, idle) = busy(report);
    lines.push(String::new());
    lines.extend(rules);
    lines.extend(rest(0, idle, shown));
    let mut text = String::new();
    for line in lines {
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// As much of the report as fits a screen of so many columns and rows.
pub(super) fn screen(report: &Report, order: Order, columns: usize, rows: usize) -> Vec<String> {
    let mut lines = head(report);
    lines.push(format!("q ends; t c m n sort by time, candidates, matches, name (now {})", order.name()));
    lines.push(String::new());
    let rules = rules(report);
    let (shown, idle) = busy(report);
    let room = rows.saturating_sub(lines.len() + 1);
    let hidden = rules.len().saturating_sub(room);
    lines.extend(rules.into_iter().take(room));
    lines.extend(rest(hidden, idle, shown));
    lines.truncate(rows);
    lines.iter().map(|line| line.chars().take(columns).collect::<String>().trim_end().to_owned()).collect()
}

fn head(report: &Report) -> Vec<String> {
    let span = if report.since_start {
        "all since its start".to_owned()
    } else {
        format!("per second over the last {:.1} s", report.span_seconds)
    };
    let title = format!(
        "rampart {} on {}, process {}, up {}; {span}; times estimated from 1 event in {}",
        report.version,
        clean(&report.hostname),
        report.pid,
        status::duration(report.uptime_seconds as u64),
        report.sample_every,
    );
    let mut table = vec![
        ["family", "seen", "rejected", "rejected %", "sent", "lost", "rules' CPU %", "budget %", ""]
            .map(str::to_owned),
    ];
    for family in &report.families {
        let of = |count: u64| amount(report, count);
        let mut note = match family.shed {
            0 => String::new(),
            1 => "1 rule left out".to_owned(),
            many => format!("{many} rules left out"),
        };
        if family.stuck {
            note.push_str(if note.is_empty() { "over its budget" } else { ", still over its budget" });
        }
        table.push([
            clean(&family.family),
            of(family.seen),
            of(family.rejected),
            if family.seen == 0 { "-".to_owned() } else { format!("{:.2}", family.rejected_share * 100.0) },
            of(family.sent),
            of(family.lost),
            small(family.cpu_percent),
            family.budget_percent.map_or_else(|| "-".to_owned(), small),
            note,
        ]);
    }
    let mut lines = vec![title, String::new()];
    lines.extend(aligned(&table));
    lines
}

fn rules(report: &Report) -> Vec<String> {
    let mut table = vec![["candidates", "matches", "ns each", "CPU %", "share %", "rule"].map(str::to_owned)];
    for rule in report.rules.iter().filter(|rule| is_busy(rule)) {
        let left_out = if rule.shed.is_empty() {
            String::new()
        } else {
            format!(" [left out: {}]", clean(&rule.shed.join(", ")))
        };
        let known = |text: String| if rule.samples == 0 { "-".to_owned() } else { text };
        table.push([
            amount(report, rule.candidates),
            amount(report, rule.matches),
            known(format!("{:.0}", rule.ns_each)),
            known(small(rule.cpu_percent)),
            known(format!("{:.1}", rule.share * 100.0)),
            format!("{} ({}){left_out}", clean(&rule.rule), clean(&rule.priority)),
        ]);
    }
    aligned(&table)
}

/// Rules that are shown, and those that nothing happened to.
fn busy(report: &Report) -> (usize, usize) {
    let shown = report.rules.iter().filter(|rule| is_busy(rule)).count();
    (shown, report.rules.len() - shown)
}

/// A rule that waited events matched may have no trial of its own in the span.
fn is_busy(rule: &RuleLine) -> bool {
    rule.candidates > 0 || rule.matches > 0 || !rule.shed.is_empty()
}

fn rest(hidden: usize, idle: usize, shown: usize) -> Option<String> {
    match (hidden, idle) {
        (0, 0) => None,
        (0, idle) if shown == 0 => Some(format!("no rule was tried, of {idle}")),
        (0, idle) => Some(format!("rules not tried: {idle}")),
        (hidden, idle) => Some(format!("rules not shown: {hidden}, not tried: {idle}")),
    }
}

/// A count since the start, or a rate.
#[expect(clippy::cast_precision_loss, reason = "it is shown to three digits")]
fn amount(report: &Report, count: u64) -> String {
    if report.since_start {
        return count.to_string();
    }
    let rate = count as f64 / report.span_seconds.max(f64::MIN_POSITIVE);
    match rate {
        _ if count == 0 => "0".to_owned(),
        rate if rate >= 1e6 => format!("{:.2}M", rate / 1e6),
        rate if rate >= 1e4 => format!("{:.1}k", rate / 1e3),
        rate if rate >= 100.0 => format!("{rate:.0}"),
        rate => format!("{rate:.1}"),
    }
}

/// A percentage of which the small ones matter too.
fn small(percent: f64) -> String {
    match percent {
        0.0 => "0".to_owned(),
        percent if percent >= 10.0 => format!("{percent:.1}"),
        percent => format!("{percent:.3}"),
    }
}

/// Names come from rule files and must not steer the terminal.
fn clean(text: &str) -> String {
    text.chars().map(|one| if one.is_control() { '?' } else { one }).collect()
}

/// Rows with their numbers one below the other: to the right, but for the first column where it is text and the last.
fn aligned<const N: usize>(rows: &[[String; N]]) -> Vec<String> {
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let names = rows.first().and_then(|row| row.first()).is_some_and(|cell| cell == "family");
    let line = |row: &[String; N]| {
        let mut line = String::new();
        for (column, cell) in row.iter().enumerate() {
            let fill = " ".repeat(width(column).saturating_sub(cell.chars().count()));
            let left = column + 1 == N || (column == 0 && names);
            let (before, after) = if left { ("", fill.as_str()) } else { (fill.as_str(), "") };
            for part in [before, cell, after] {
                line.push_str(part);
            }
            line.push_str("  ");
        }
        line.trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::top::report::tests::top;

    #[test]
    fn totals_name_every_rule_that_was_tried() {
        let mut report = Report::between(None, &top(3700.0, 1)).unwrap();
        report.sort(Order::Time);
        assert_eq!(
            all(&report),
            "rampart 0.1.0 on n, process 7, up 1 h 1 min; all since its start; times estimated from 1 event in 64\n\
             \n\
             family    seen  rejected  rejected %  sent  lost  rules' CPU %  budget %\n\
             open    200000    199000       99.50  1000     0         0.000     5.000  1 rule left out\n\
             net          0         0           -     0     0         0.000         -\n\
             \n\
             candidates  matches  ns each  CPU %  share %  rule\n\
             \x20      100       10    30000  0.000     75.0  Dear?[31m (Debug)\n\
             \x20     1000        0     1000  0.000     25.0  Cheap (Warning)\n\
             \x20        0        0        -      -        -  Gone (Debug) [left out: open]\n\
             rules not tried: 1\n"
        );
    }

    #[test]
    fn rates_fit_the_screen() {
        let report = Report::between(Some(&top(10.0, 1)), &top(12.0, 3)).unwrap();
        let lines = screen(&report, Order::Name, 60, 9);
        assert_eq!(lines.len(), 9);
        assert!(
            lines.iter().all(|line| line.chars().count() <= 60 && !line.contains('\u{1b}')),
            "{lines:#?}"
        );
        assert_eq!(lines[3], "open    200.0k    199.0k       99.50  1000     0         0.4");
        assert_eq!(lines[7], "candidates  matches  ns each  CPU %  share %  rule");
        assert_eq!(lines[8], "rules not shown: 3, not tried: 1");
        assert_eq!(screen(&report, Order::Name, 60, 2).len(), 2);
        assert_eq!(screen(&report, Order::Name, 200, 50).len(), 12);
    }
}
