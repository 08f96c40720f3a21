//! `rampart record`.

use std::{
    io::{self, IsTerminal, Write},
    path::PathBuf,
    time::Duration,
};

use clap::Args;
use jiff::SignedDuration;

use super::{FormatArg, Outcome, PolicyArgs, complain, complain_config, in_full, load_rules, print};
use crate::{
    app::record::{self, Order, Progress},
    policy::kept,
    telemetry,
};

pub(super) const EXAMPLES: &str = "\
Examples:
  rampart record -o now.rec --duration 30s        what the built-in rules need
  rampart record -o now.rec -r falco_rules.yaml --max-bytes 200M
  rampart record -o now.rec --all                 for rules yet to be written

Works beside a running agent. Ctrl-C ends the recording; one that is killed can be replayed up to its last second.
The file holds arguments and environments of processes and is made for its owner only.
Exit codes: 0 recorded, 2 wrong usage or environment.";

#[derive(Args, Clone, Debug)]
pub(super) struct Arguments {
    #[command(flatten)]
    policy: PolicyArgs,
    /// The recording
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// Replace the file if it is there
    #[arg(long)]
    force: bool,
    /// End after this time, such as `30s` or `5m`
    #[arg(long, value_name = "TIME", value_parser = duration)]
    duration: Option<Duration>,
    /// End when the file has about this size, such as `200M`
    #[arg(long, value_name = "SIZE", value_parser = size)]
    max_bytes: Option<u64>,
    /// Record every system call that carries details, not only those that the rules need; the most frequent ones, such
    /// as `read`, only when a rule names them
    #[arg(long)]
    all: bool,
    /// Also use the policy bundle that the agent of this node keeps
    #[arg(long)]
    bundle: bool,
    /// Also judge what is recorded by the rules and print the alerts
    #[arg(long, value_enum, value_name = "FORM")]
    alerts: Option<FormatArg>,
}

pub(super) fn run(arguments: &Arguments) -> Outcome {
    let mut sources = arguments.policy.sources();
    let mut config = match sources.load() {
        Ok(config) => config,
        Err(faults) => return complain_config(&faults),
    };
    telemetry::init(&config.log);
    if arguments.bundle {
        (config, _) = kept::begin(&mut sources, config);
    }
    let bundle = match load_rules(&config) {
        Ok((bundle, ..)) => bundle,
        Err(outcome) => return outcome,
    };
    let order = Order {
        file: arguments.output.clone(),
        force: arguments.force,
        duration: arguments.duration,
        max_bytes: arguments.max_bytes,
        all: arguments.all,
        alerts: arguments.alerts.map(Into::into),
    };
    let terminal = io::stderr().is_terminal();
    let report = move |progress: &Progress| {
        if terminal {
            // A terminal that is gone needs no progress.
            let _ = write!(io::stderr(), "\r{}\x1b[K", line(progress));
        }
    };
    match record::record(&config, &bundle, &order, Box::new(report)) {
        Ok(progress) => {
            if terminal {
                print::message("");
            }
            print::message(&format!("recorded `{}`: {}", order.file.display(), line(&progress)));
            Outcome::Clean
        }
        Err(error) => {
            complain(&in_full(&error));
            if error.is_internal() { Outcome::Internal } else { Outcome::Unusable }
        }
    }
}

fn line(progress: &Progress) -> String {
    let Progress { elapsed, records, bytes, lost, .. } = progress;
    let tenths = bytes * 10 / (1 << 20);
    format!("{} s, {records} records, {}.{} MiB, {lost} lost", elapsed.as_secs(), tenths / 10, tenths % 10)
}

/// A time such as `30s`, `1m 30s` or `500ms`; a bare number is seconds.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    if let Ok(secs) = text.parse() {
        return Ok(Duration::from_secs(secs));
    }
    let parsed: Result<SignedDuration, _> = text.parse();
    parsed
        .ok()
        .and_then(|duration| Duration::try_from(duration).ok())
        .ok_or_else(|| "expected a time such as `30s` or `5m`".to_owned())
}

/// A size such as `200M`; a bare number is bytes.
fn size(text: &str) -> Result<u64, String> {
    let fault = || "expected a size such as `64K`, `200M` or `2G`".to_owned();
    let digits = text.trim_end_matches(|character: char| !character.is_ascii_digit());
    let shift = match text.get(digits.len()..).unwrap_or_default() {
        "" => 0,
        "K" | "KiB" => 10,
        "M" | "MiB" => 20,
        "G" | "GiB" => 30,
        _ => return Err(fault()),
    };
    let number: u64 = digits.parse().map_err(|_| fault())?;
    number.checked_mul(1 << shift).ok_or_else(fault)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_sizes_are_read() {
        assert_eq!(duration("30s"), Ok(Duration::from_secs(30)));
        assert_eq!(duration("1m 30s"), Ok(Duration::from_secs(90)));
        assert_eq!(
            (duration("500ms"), duration("7")),
            (Ok(Duration::from_millis(500)), Ok(Duration::from_secs(7)))
        );
        assert!(duration("soon").is_err() && duration("-5s").is_err());
        assert_eq!((size("12"), size("64K"), size("2GiB")), (Ok(12), Ok(64 << 10), Ok(2 << 30)));
        assert!(size("x").is_err() && size("1T").is_err() && size("99999999999G").is_err());
    }

    #[test]
    fn progress_is_one_line() {
        let progress =
            Progress { elapsed: Duration::from_secs(3), records: 7, bytes: 3 << 19, lost: 1, alerts: 0 };
        assert_eq!(line(&progress), "3 s, 7 records, 1.5 MiB, 1 lost");
    }
}
