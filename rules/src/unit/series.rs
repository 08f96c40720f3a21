//! Several events in order, for rules that count them.

use super::{Failure, Tested, event::Event};
use crate::{
    catalog::ids,
    diagnostic::{Diagnostic, code},
    duration,
    rule::{Rule, RuleSet},
    source::SourceFile,
    value::{FieldArg, FieldSource, Truth, Value},
    window::{Moment, Windows},
    yaml::Node,
};

/// The key of an entry that is a series.
pub(super) const SERIES: &str = "series";
/// Most repetitions of one event.
pub(crate) const TIMES_MAX: u64 = 100_000;

/// One item of a series: an event, when it begins, how often and how far apart.
struct Item<'a> {
    event: Event<'a>,
    at_ms: Option<u64>,
    times: u64,
    every_ms: u64,
}

/// When an event of a test happens, so many milliseconds after the first. Its `evt.rawtime` is the time of day.
pub(super) fn moment(event: &Event<'_>, after_ms: u64) -> Moment {
    let wall_ns = match event.field(ids::EVT_RAWTIME, FieldArg::None) {
        Value::Uint(ns) => ns,
        _ => 0,
    };
    Moment {
        // Not zero, so that nothing is before the beginning.
        steady_ns: (3_600_000 + after_ms).saturating_mul(1_000_000),
        local_secs: (wall_ns / 1_000_000_000) as i64 + (after_ms / 1000) as i64,
        ..Moment::default()
    }
}

/// How many events of a series are told, and whether the last one is.
fn play(rules: &RuleSet, rule: &Rule, items: &[Item<'_>]) -> (u64, bool) {
    let mut windows = Windows::default();
    let (mut alerts, mut last, mut now_ms) = (0, false, 0);
    for item in items {
        now_ms = item.at_ms.unwrap_or(now_ms);
        let event = &item.event;
        let holds = rule.events.contains(event.id()) && rules.evaluate_rule(rule.id, event) == Truth::True;
        for turn in 0..item.times {
            now_ms += if turn == 0 { 0 } else { item.every_ms };
            last = holds && windows.passes(rule, event, moment(event, now_ms)).is_ok();
            alerts += u64::from(last);
        }
    }
    (alerts, last)
}

impl Tested {
    pub(super) fn series(
        &mut self,
        rules: &RuleSet,
        (rule, index): (&Rule, usize),
        node: &Node,
        wanted: bool,
    ) {
        let file = self.sources.file(node.span.source).map_or("", SourceFile::text);
        let read = read(node, file);
        let (items, expected) = match read {
            Ok(read) => read,
            Err(findings) => {
                self.diagnostics.extend(findings);
                return;
            }
        };
        let (alerts, last) = play(rules, rule, &items);
        let good = match (wanted, expected) {
            (true, Some(expected)) => alerts == expected,
            (true, None) => alerts == 1 && last,
            (false, _) => alerts == 0,
        };
        if let Some(coverage) = self.rules.get_mut(index) {
            *(if wanted { &mut coverage.matches } else { &mut coverage.ignores }) += 1;
            coverage.failed += usize::from(!good);
        }
        if !good {
            let expected = match (wanted, expected) {
                (true, Some(expected)) => format!("{expected} alerts"),
                (true, None) => "an alert at the last event alone".to_owned(),
                (false, _) => "silence".to_owned(),
            };
            let place = if last { ", one at the last event" } else { "" };
            self.failures.push(Failure {
                rule: rule.name.clone(),
                span: node.span,
                expected,
                got: format!("{alerts} alerts{place}"),
                because: Vec::new(),
            });
        }
    }
}

/// The items, and how many alerts they must give if that is said.
fn read<'a>(node: &'a Node, file: &str) -> Result<(Vec<Item<'a>>, Option<u64>), Vec<Diagnostic>> {
    let wrong = |node: &Node, message: &str| {
        vec![Diagnostic::new(code::WRONG_TYPE, message.to_owned()).at(node.span)]
    };
    known(node, &[SERIES, "alerts"])?;
    let alerts = match node.get("alerts") {
        None => None,
        Some(value) => {
            let number = value.as_text().and_then(|text| text.parse().ok());
            Some(number.ok_or_else(|| wrong(value, "`alerts` is a whole number"))?)
        }
    };
    let events = node.get(SERIES).and_then(Node::as_seq).filter(|events| !events.is_empty());
    let events = events.ok_or_else(|| wrong(node, "a series is a sequence of events"))?;
    let mut items = Vec::new();
    let mut least = 0;
    for item in events {
        known(item, &["at", "times", "every", "event"])?;
        let time = |key: &str| match item.get(key) {
            None => Ok(None),
            Some(value) => {
                let ms = value.as_text().and_then(duration::parse_ms_or_zero);
                let message = format!("`{key}` is a time such as `500ms` or `2s`");
                ms.map(Some).ok_or_else(|| wrong(value, &message))
            }
        };
        let times = match item.get("times") {
            None => 1,
            Some(value) => {
                let number = value.as_text().and_then(|text| text.parse::<u64>().ok());
                let number = number.filter(|number| (1..=TIMES_MAX).contains(number));
                number.ok_or_else(|| wrong(value, &format!("`times` is a number from 1 to {TIMES_MAX}")))?
            }
        };
        let (at_ms, every_ms) = (time("at")?, time("every")?.unwrap_or(0));
        let begin = at_ms.unwrap_or(least);
        if begin < least {
            return Err(wrong(item, "an event of a series comes before the one above it"));
        }
        least = begin + every_ms * (times - 1);
        let event = item.get("event").ok_or_else(|| wrong(item, "an item of a series has an `event`"))?;
        items.push(Item { event: Event::read(event, file)?, at_ms, times, every_ms });
    }
    Ok((items, alerts))
}

/// What is not tried must not look tested.
fn known(node: &Node, known: &[&'static str]) -> Result<(), Vec<Diagnostic>> {
    let Some(pairs) = node.as_map() else {
        let message = format!("an item of a series is a map, not {}", node.describe());
        return Err(vec![Diagnostic::new(code::WRONG_TYPE, message).at(node.span)]);
    };
    for (key, _) in pairs {
        let name = key.as_text().unwrap_or_default();
        if !known.contains(&name) {
            let message = format!("unknown key `{}` of a series", name.escape_debug());
            let finding = Diagnostic::new(code::WRONG_TYPE, message).at(key.span);
            return Err(vec![finding.did_you_mean(name, known.iter().copied())]);
        }
    }
    Ok(())
}
