//! `rampart learn`: watches a workload for a while and proposes lists and rules on what is not in them.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, BufReader, IsTerminal as _, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use clap::Args;
use rampart_rules::{
    load::{LoadOptions, Source, load},
    rule::Matching,
    set::Sets,
};

use super::{Outcome, PolicyArgs, complain, complain_config, in_full, load_rules, print, record::duration};
use crate::{
    app::record::{self, Order},
    config::Config,
    learn::{self, Proposal, Seen},
    policy::Bundle,
    recording::{
        read::Reader,
        replay::{self, Switches},
    },
    telemetry,
};

pub(super) const EXAMPLES: &str = "\
Examples:
  rampart learn --duration 1h --where 'container.image.repository=registry.example/engine' -o engine.yaml
  rampart learn --duration 10m --where 'proc.name=engine' -r rules/     also what these rules would have told
  rampart learn --from now.rec                                          from a recording made with `record --all`

Proposes lists of programs, parents, directories, destinations and ports, and rules on what is not in them; exceptions for
rules that told something stand in comments. Nothing is put in force: read it, change it, then add it to `rules.files`.
Works beside a running agent; without `--from` it needs root.
Exit codes: 0 proposed, 2 wrong usage or environment.";

#[derive(Args, Clone, Debug)]
pub(super) struct Arguments {
    #[command(flatten)]
    policy: PolicyArgs,
    /// How long to watch, such as `10m` or `1h`
    #[arg(long, value_name = "TIME", value_parser = duration, required_unless_present = "from")]
    duration: Option<Duration>,
    /// Learn from a recording instead
    #[arg(long, value_name = "FILE", conflicts_with = "duration")]
    from: Option<PathBuf>,
    /// Which events count, as in the condition of a rule [default: all]
    #[arg(long = "where", value_name = "CONDITION")]
    condition: Option<String>,
    /// Where the proposal goes; a file that is there is left alone [default: standard output]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

pub(super) fn run(arguments: &Arguments) -> io::Result<Outcome> {
    let condition = arguments.condition.as_deref();
    if let Some(fault) = learn::fault(condition) {
        return Ok(complain(&format!("`--where` is no condition: {fault}")));
    }
    let config = match arguments.policy.sources().load() {
        Ok(config) => config,
        Err(faults) => return Ok(complain_config(&faults)),
    };
    telemetry::init(&config.log);
    let bundle = match load_rules(&config) {
        Ok((bundle, ..)) => bundle,
        Err(outcome) => return Ok(outcome),
    };
    let proposal = match &arguments.from {
        Some(file) => learned(file, &config, &bundle, condition),
        None => watched(&config, &bundle, arguments.duration.unwrap_or_default(), condition),
    };
    match proposal {
        Ok(proposal) => hand_over(&proposal, arguments.output.as_deref()),
        Err(why) => Ok(complain(&why)),
    }
}

/// Records for a while into a file that nobody else sees, and learns from it.
fn watched(
    config: &Config,
    bundle: &Bundle,
    duration: Duration,
    condition: Option<&str>,
) -> Result<Proposal, String> {
    let file = config.node.state_dir.join(format!("learn-{}.rec", std::process::id()));
    fs::create_dir_all(&config.node.state_dir)
        .map_err(|error| format!("cannot make `{}`: {error}", config.node.state_dir.display()))?;
    let order = Order {
        file: file.clone(),
        force: true,
        duration: Some(duration),
        max_bytes: None,
        all: true,
        alerts: None,
    };
    let terminal = io::stderr().is_terminal();
    let report = move |progress: &record::Progress| {
        if terminal {
            let left = duration.saturating_sub(progress.elapsed).as_secs();
            // A terminal that is gone needs no progress.
            let _ = write!(io::stderr(), "\rlearning, {left} s left, {} events\x1b[K", progress.records);
        }
    };
    let recorded = record::record(config, bundle, &order, Box::new(report));
    if terminal {
        print::message("");
    }
    let learned = match recorded {
        Ok(_) => learned(&file, config, bundle, condition),
        Err(error) => Err(in_full(&error)),
    };
    // It holds arguments and environments of everybody.
    let _ = fs::remove_file(&file);
    learned
}

/// Learns from a recording.
fn learned(
    file: &Path,
    config: &Config,
    bundle: &Bundle,
    condition: Option<&str>,
) -> Result<Proposal, String> {
    let name = file.display();
    let opened = File::open(file).map_err(|error| format!("cannot open `{name}`: {error}"))?;
    let mut reader =
        Reader::new(BufReader::new(opened)).map_err(|error| format!("`{name}`: {}", in_full(&error)))?;
    let source = Source { name: "learn".to_owned(), text: learn::rules(condition).into_bytes() };
    let options = LoadOptions { matching: Matching::All, ..LoadOptions::default() };
    let rules = load(&[source], &options).rules.ok_or("the rules to learn by do not load")?;
    let own = Bundle {
        rules: Arc::new(rules),
        digest: "learn".into(),
        files: Vec::new(),
        trading: None,
        texts: Arc::new([]),
        sets: Sets::default(),
    };
    let switches = Switches {
        realpath_matching: config.rules.realpath_matching,
        strict_falco: config.rules.strict_falco,
    };
    let facts = reader.facts();
    let mut detectors = [replay::detector(facts, &own, switches), replay::detector(facts, bundle, switches)];
    let mut seen = Seen::default();
    let summary = replay::run(&mut reader, &mut detectors, &mut |side, alert| {
        if side == 0 { seen.learn(&alert) } else { seen.told(&alert) }
    });
    let mut proposal = seen.propose(condition);
    if summary.lost > 0 {
        proposal
            .notes
            .push(format!("{} events were lost while recording: watch again, or less", summary.lost));
    }
    if let Some(fault) = &summary.fault {
        proposal.notes.push(format!("{}; learned from what is before it", in_full(fault)));
    }
    let secs = summary.span_ns / 1_000_000_000;
    let about = condition.unwrap_or("everything");
    proposal.text = format!(
        "# Proposed by what was seen in {secs} s of {about}: {} events. Read it before you use it.\n{}",
        summary.records, proposal.text
    );
    Ok(proposal)
}

fn hand_over(proposal: &Proposal, output: Option<&Path>) -> io::Result<Outcome> {
    for note in &proposal.notes {
        print::message(&format!("note: {note}"));
    }
    let Some(path) = output else {
        print::data(&proposal.text)?;
        return Ok(Outcome::Clean);
    };
    let made = OpenOptions::new().write(true).create_new(true).mode(0o644).open(path);
    match made.and_then(|mut file| file.write_all(proposal.text.as_bytes())) {
        Ok(()) => {
            print::message(&format!("the proposal is in `{}`", path.display()));
            Ok(Outcome::Clean)
        }
        Err(error) => Ok(complain(&format!("cannot write `{}`: {error}", path.display()))),
    }
}
