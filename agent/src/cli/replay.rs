//! `rampart replay`: a recording through the rules, at once.

mod sides;

use std::{
    fs::{self, File},
    io::{self, BufReader, Write},
    path::PathBuf,
    time::Instant,
};

use clap::Args;
use rampart_rules::rule::RuleSet;

use self::sides::Sides;
use super::{ConfigArgs, FormatArg, Outcome, complain, complain_config, in_full, load_rules, print};
use crate::{
    alert::{Alert, JsonOptions},
    app,
    bundles::RuleFile,
    config::{Config, Format, Overrides, Sources},
    event::syscall::SyscallTable,
    policy::kept,
    recording::{
        diff::{Comparison, Differ, Difference},
        facts::Facts,
        read::Reader,
        replay::{self, Summary, Switches},
    },
};

pub(super) const EXAMPLES: &str = "\
Examples:
  rampart replay now.rec                              the built-in rules, alerts as text
  rampart replay now.rec -r falco_rules.yaml -o json
  rampart replay now.rec -r old.yaml --diff -r new.yaml
  rampart replay now.rec -r old.yaml --diff -r new.yaml --format json
  rampart replay now.rec --diff --add -r more.yaml    what more.yaml would change

Alerts go to standard output, the summary to standard error. The same recording and rules give the same alerts, byte
for byte, on every machine. With `--diff`: `+` only the rules after it raise the alert, `-` only those before it, `~`
both, with other contents.
Exit codes: 0 all well, 1 `--diff` found differences, 2 wrong usage, or the recording could not be read to its end
(what was readable is replayed all the same).";

/// Alerts are gathered up to this size before they are written.
const BUFFER: usize = 64 * 1024;
/// Missing calls named at most.
const NAMED_MAX: usize = 12;

#[derive(Args, Clone, Debug)]
pub(super) struct Arguments {
    #[command(flatten)]
    config: ConfigArgs,
    /// The recording
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    sides: Sides,
    /// Form of the alerts [default: `output.stdout.format`, or text]
    #[arg(short, long, value_enum, value_name = "FORM", conflicts_with = "diff")]
    output: Option<FormatArg>,
    /// Also use the policy bundle that the agent of this node keeps
    #[arg(long)]
    bundle: bool,
    /// Rules after `--diff` come on top of those before it, and may change or switch off some of them
    #[arg(long, requires = "diff")]
    add: bool,
    /// Form of the comparison
    #[arg(long, value_enum, value_name = "FORM", requires = "diff", default_value = "text")]
    format: FormatArg,
}

pub(super) fn run(arguments: &Arguments) -> io::Result<Outcome> {
    let side = |rules: &[PathBuf], added: &[PathBuf]| {
        let overrides = Overrides {
            rules: rules.to_vec(),
            output: arguments.output.map(Into::into),
            ..Overrides::default()
        };
        let mut sources = Sources::of_process(arguments.config.config.clone(), overrides);
        let mut config = sources.load().map_err(|faults| complain_config(&faults))?;
        if arguments.bundle {
            (config, _) = kept::begin(&mut sources, config);
        }
        for path in added {
            let text = fs::read(path)
                .map_err(|error| complain(&format!("cannot read `{}`: {error}", path.display())))?;
            config.rules.bundled.push(RuleFile { name: path.display().to_string(), text: text.into() });
        }
        let (bundle, ..) = load_rules(&config)?;
        Ok((config, bundle))
    };
    let Sides { rules, other } = &arguments.sides;
    let other = other.as_ref().map(|other| if arguments.add { side(rules, other) } else { side(other, &[]) });
    let loaded: Result<Vec<_>, Outcome> = std::iter::once(side(rules, &[])).chain(other).collect();
    let sides = match loaded {
        Ok(sides) => sides,
        Err(outcome) => return Ok(outcome),
    };
    let mut reader = match open(arguments) {
        Ok(reader) => reader,
        Err(outcome) => return Ok(outcome),
    };
    let facts = reader.facts();
    let mut detectors = Vec::new();
    for (config, bundle) in &sides {
        warn_of_missing(facts, &bundle.rules);
        detectors.push(replay::detector(facts, bundle, switches(config)));
    }
    let started = Instant::now();
    if arguments.sides.other.is_some() {
        let mut differ = Differ::default();
        let summary = replay::run(&mut reader, &mut detectors, &mut |side, alert| differ.take(side, alert));
        let comparison = differ.finish();
        print::data(&compared(&comparison, arguments.format))?;
        let (gained, lost, changed) = comparison.counts();
        let same = comparison.same;
        summarise(
            &summary,
            started,
            &format!("{same} alerts alike, {gained} gained, {lost} lost, {changed} changed"),
        );
        let differs = !comparison.differences.is_empty();
        return Ok(outcome(&summary, if differs { Outcome::Findings } else { Outcome::Clean }));
    }
    let format = sides.first().map_or(Format::Text, |(config, _)| config.output.stdout.format);
    let mut lines = Lines { out: io::stdout(), buffer: Vec::new(), format, count: 0, outcome: Ok(()) };
    let summary = replay::run(&mut reader, &mut detectors, &mut |_, alert| lines.take(&alert));
    lines.flush();
    summarise(&summary, started, &format!("{} alerts", lines.count));
    lines.outcome?;
    Ok(outcome(&summary, Outcome::Clean))
}

fn open(arguments: &Arguments) -> Result<Reader<BufReader<File>>, Outcome> {
    let name = arguments.file.display();
    let file =
        File::open(&arguments.file).map_err(|error| complain(&format!("cannot open `{name}`: {error}")))?;
    Reader::new(BufReader::new(file)).map_err(|error| complain(&format!("`{name}`: {}", in_full(&error))))
}

fn switches(config: &Config) -> Switches {
    Switches { realpath_matching: config.rules.realpath_matching, strict_falco: config.rules.strict_falco }
}

/// Says which calls the rules ask for that were not recorded: rules on them cannot match.
fn warn_of_missing(facts: &Facts, rules: &RuleSet) {
    let table = SyscallTable::new();
    let missing: Vec<&str> = app::wanted(&[rules])
        .into_iter()
        .filter(|(number, _)| facts.wanted.binary_search(number).is_err())
        .filter_map(|(number, _)| Some(table.number(number)?.event.def()?.name))
        .collect();
    if !missing.is_empty() {
        let rest = missing.len().saturating_sub(NAMED_MAX);
        let more = if rest > 0 { format!(" and {rest} more") } else { String::new() };
        let named = missing.get(..NAMED_MAX).unwrap_or(&missing).join(", ");
        print::message(&format!("warning: the rules ask for calls that were not recorded: {named}{more}"));
    }
}

/// Standard output, written in large pieces. The first fault is kept.
struct Lines {
    out: io::Stdout,
    buffer: Vec<u8>,
    format: Format,
    count: u64,
    outcome: io::Result<()>,
}

impl Lines {
    fn take(&mut self, alert: &Alert) {
        self.count += 1;
        let line = match self.format {
            Format::Text => alert.text(),
            Format::Json => alert.json(JsonOptions::default()),
        };
        self.buffer.extend_from_slice(line.as_bytes());
        self.buffer.push(b'\n');
        if self.buffer.len() >= BUFFER {
            self.flush();
        }
    }

    fn flush(&mut self) {
        if self.outcome.is_ok() {
            self.outcome = self.out.write_all(&self.buffer).and_then(|()| self.out.flush());
        }
        self.buffer.clear();
    }
}

fn compared(comparison: &Comparison, format: FormatArg) -> String {
    match format {
        FormatArg::Json => format!("{}\n", comparison.json()),
        FormatArg::Text => {
            comparison.differences.iter().map(|difference| Difference::text(difference) + "\n").collect()
        }
    }
}

fn summarise(summary: &Summary, started: Instant, alerts: &str) {
    let secs = started.elapsed().as_secs_f64();
    let Summary { records, lost, span_ns, .. } = summary;
    #[expect(clippy::cast_precision_loss, reason = "shown with few digits")]
    let (rate, span) = (*records as f64 / secs.max(1e-9), *span_ns as f64 / 1e9);
    print::message(&format!(
        "replayed {records} events of {span:.1} s in {secs:.2} s ({rate:.0} events/s): {alerts}; {lost} events were lost \
         when it was recorded"
    ));
}

fn outcome(summary: &Summary, otherwise: Outcome) -> Outcome {
    let Some(fault) = &summary.fault else { return otherwise };
    complain(&format!("{}; the {} events before it were replayed", in_full(fault), summary.records))
}
