//! `rampart top`: what rules and event families cost, live.

mod report;
mod text;

use std::{
    io::{self, IsTerminal},
    thread,
    time::Duration,
};

use clap::Args;

use self::report::{Order, Report};
use super::{
    Outcome,
    ask::Agent,
    ask::AgentArgs,
    complain, print,
    screen::{Screen, Wake},
    watch::interval,
};
use crate::admin::top::Top;

pub(super) const EXAMPLES: &str = "\
Examples:
  rampart top                         live; q ends, t c m n sort by time, candidates, matches, name
  rampart top --once                  totals since the start of the agent
  rampart top --interval 10s --count 6 > top.txt
  rampart top --once --json | jq '.rules[] | select(.shed != [])'

The first report tells of all time since the agent started, each later one of the time since the one before.
candidates: times the agent tried the rule because the kernel could not rule it out. Times are estimated from one event
in 64. Families: events seen, ended in the kernel because no rule could match, sent to the agent.

Exit codes: 0 as asked, 2 no agent answers.";

/// Page of the agent.
const PAGE: &str = "/top";

#[derive(Args, Clone, Debug)]
pub(super) struct Arguments {
    #[command(flatten)]
    agent: AgentArgs,
    /// Time between two reports, such as `2s` or `500ms`; the agent renews its numbers once a second
    #[arg(long, value_name = "TIME", value_parser = interval, default_value = "2s")]
    interval: Duration,
    /// End after so many reports
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// One report: the same as `--count 1`
    #[arg(long, conflicts_with = "count")]
    once: bool,
    /// One JSON object per report, with all rules
    #[arg(long)]
    json: bool,
    /// What comes first
    #[arg(long, value_enum, default_value_t = Order::Time)]
    sort: Order,
}

pub(super) fn run(arguments: &Arguments) -> io::Result<Outcome> {
    let agent = match arguments.agent.agent()? {
        Ok(agent) => agent,
        Err(outcome) => return Ok(outcome),
    };
    let count = if arguments.once { Some(1) } else { arguments.count };
    let ended = if io::stdout().is_terminal() && !arguments.json && count != Some(1) {
        live(&agent, arguments.interval, count, arguments.sort)?
    } else {
        plain(&agent, arguments.interval, count, arguments)?
    };
    Ok(match ended {
        Ok(()) => Outcome::Clean,
        Err(why) => complain(&why),
    })
}

/// Reports one below the other, without any control of a terminal.
fn plain(
    agent: &Agent,
    interval: Duration,
    count: Option<u64>,
    arguments: &Arguments,
) -> io::Result<Result<(), String>> {
    let mut before: Option<Top> = None;
    let mut shown = 0;
    loop {
        let now: Top = match agent.page(PAGE) {
            Ok(now) => now,
            Err(why) => return Ok(Err(why)),
        };
        if let Some(mut report) = Report::between(before.as_ref(), &now) {
            report.sort(arguments.sort);
            if arguments.json {
                print::data(&format!("{}\n", serde_json::to_string(&report)?))?;
            } else {
                let gap = if shown == 0 { "" } else { "\n" };
                print::data(&format!("{gap}{}", text::all(&report)))?;
            }
            before = Some(now);
            shown += 1;
        }
        if count.is_some_and(|count| shown >= count) {
            return Ok(Ok(()));
        }
        thread::sleep(interval);
    }
}

/// The last report, on the whole screen.
fn live(
    agent: &Agent,
    interval: Duration,
    count: Option<u64>,
    mut order: Order,
) -> io::Result<Result<(), String>> {
    let screen = Screen::enter()?;
    let mut before: Option<Top> = None;
    let mut shown: Option<Report> = None;
    let mut reports = 0;
    loop {
        let now: Top = match agent.page(PAGE) {
            Ok(now) => now,
            Err(why) => return Ok(Err(why)),
        };
        if let Some(report) = Report::between(before.as_ref(), &now) {
            before = Some(now);
            shown = Some(report);
            reports += 1;
        }
        loop {
            if let Some(report) = &mut shown {
                report.sort(order);
                screen.draw(|columns, rows| text::screen(report, order, columns, rows))?;
            }
            if count.is_some_and(|count| reports >= count) {
                return Ok(Ok(()));
            }
            match screen.wait(interval)? {
                Wake::Time => break,
                Wake::Quit => return Ok(Ok(())),
                Wake::Resized => {}
                Wake::Key(key) => order = Order::of_key(key).unwrap_or(order),
            }
        }
    }
}
