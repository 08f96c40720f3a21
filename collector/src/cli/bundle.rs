//! `bundle …`: keys, building and checking need no collector; the rest works on its store, and running collectors follow.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::{Args, Subcommand};

use super::{Fault, book, identity::span};
use crate::{
    bundle::{self, BundleError, SigningKey},
    config::Config,
    identity::{access::now_secs, items},
    ingest::now_ns,
    notify::channel::rfc3339,
    rollout::{
        Gates, Kept, RolloutError, Sight, Sights, Step,
        desk::{self, Actor, Settings},
        gate::{Tally, tally},
    },
    store::identity::{Book, Kind},
};

/// Events of a rollout that are listed.
const EVENTS: usize = 20;

/// `bundle …`
#[derive(Debug, Subcommand)]
pub(super) enum BundleCommand {
    /// Make a key that signs bundles, and print what agents are given as `bundles.keys`
    Keygen(Keygen),
    /// Make a signed bundle of a directory with `rules/*.yaml` and `policy.yaml`
    Build(Build),
    /// Check a bundle and show what is in it
    Verify(Verify),
    /// Keep a bundle and begin its rollout
    Push(Push),
    /// List the bundles that are kept
    List,
    /// Show the rollout under way, or the last one
    Status,
    /// Stop the rollout where it is
    Pause,
    /// Let it go on; its step is watched anew
    Resume,
    /// Go on to the next step without watching on
    Promote(Promote),
    /// Give nodes what they had before the rollout under way, or before the last one that is done
    Rollback(Rollback),
}

/// `bundle keygen`
#[derive(Args, Debug)]
pub(super) struct Keygen {
    /// The file; it must not be there yet
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
}

/// `bundle build`
#[derive(Args, Debug)]
pub(super) struct Build {
    /// The directory
    dir: PathBuf,
    /// The bundle
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// The key that signs, of `bundle keygen`
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// What people call it, such as a version or a commit
    #[arg(long)]
    name: String,
    /// When it was made, seconds since the epoch; the same files, name and time make the same bundle [default: now]
    #[arg(long, value_name = "SECS")]
    created: Option<u64>,
}

/// `bundle verify`
#[derive(Args, Debug)]
pub(super) struct Verify {
    /// The bundle
    file: PathBuf,
    /// Public keys, one of which must have signed it [default: any key]
    #[arg(long = "key", value_name = "HEX")]
    keys: Vec<String>,
}

/// `bundle push`
#[derive(Args, Debug)]
pub(super) struct Push {
    /// The bundle: a file of `bundle build`, or the digest of one that is kept
    bundle: String,
    /// Who gets it, one after the other: shares of all nodes, or labels such as `stage=canary,region=eu`
    #[arg(long = "step", value_name = "STEP", default_values = ["10%", "50%", "100%"])]
    steps: Vec<Step>,
    /// How long each step is watched
    #[arg(long, default_value = "10m", value_parser = span)]
    bake: Duration,
    #[command(flatten)]
    gates: GateArgs,
    /// Only keep it, without a rollout
    #[arg(long)]
    no_rollout: bool,
}

/// What must not get worse.
#[derive(Args, Debug)]
struct GateArgs {
    /// Alerts of the chosen nodes since, in percent of those before
    #[arg(long, default_value_t = Gates::default().alerts_percent)]
    alerts_percent: u32,
    /// Alerts per minute and node beyond that percentage
    #[arg(long, default_value_t = Gates::default().alerts_per_min)]
    alerts_per_min: u32,
    /// Events and alerts lost per minute and node beyond those of before
    #[arg(long, default_value_t = Gates::default().losses_per_min)]
    losses_per_min: u32,
    /// Processor time of an agent beyond that of before, in percent of a core, on average
    #[arg(long, default_value_t = Gates::default().cpu_points)]
    cpu_points: u32,
    /// Nodes that may refuse the bundle
    #[arg(long, default_value_t = Gates::default().refusals)]
    refusals: u32,
    /// Share of the chosen nodes that may be missing when a step's time is over
    #[arg(long, default_value_t = Gates::default().missing_percent)]
    missing_percent: u32,
}

/// `bundle promote`
#[derive(Args, Debug)]
pub(super) struct Promote {
    /// Skip all steps that are left
    #[arg(long)]
    all: bool,
}

/// `bundle rollback`
#[derive(Args, Debug)]
pub(super) struct Rollback {
    /// Why, for the audit log and the alert
    #[arg(long, default_value = "told to")]
    reason: String,
}

impl BundleCommand {
    pub(super) fn run(self, config: &Config, actor: &str, out: &mut impl Write) -> Result<(), Fault> {
        let actor = Actor { name: actor, now_ns: now_ns() };
        match self {
            Self::Keygen(Keygen { output }) => writeln!(out, "{}", SigningKey::create(&output)?.public())?,
            Self::Build(Build { dir, output, key, name, created }) => {
                let key = SigningKey::open(&key)?;
                let bytes = bundle::build(&dir, &name, created.unwrap_or_else(now_secs), &key)?;
                fs::write(&output, &bytes)?;
                writeln!(out, "{}", bundle::open(&bytes)?.digest)?;
            }
            Self::Verify(Verify { file, keys }) => verify(&file, &keys, out)?,
            Self::Push(push) => push.run(&mut *book(config)?, actor, out)?,
            Self::List => {
                for (digest, pushed) in desk::bundles(&mut *book(config)?)? {
                    let (time, made) =
                        (rfc3339(pushed.pushed_ns), rfc3339(pushed.created_secs * 1_000_000_000));
                    writeln!(out, "{digest}\t{}\tmade {made}\tpushed {time}\tby {}", pushed.name, pushed.by)?;
                }
            }
            Self::Status => status(&mut *book(config)?, out)?,
            Self::Pause => shown(&desk::pause(&mut *book(config)?, actor, None)?, out)?,
            Self::Resume => shown(&desk::resume(&mut *book(config)?, actor, None)?, out)?,
            Self::Promote(Promote { all }) => {
                shown(&desk::promote(&mut *book(config)?, actor, None, all)?, out)?;
            }
            Self::Rollback(Rollback { reason }) => {
                shown(&desk::rollback(&mut *book(config)?, actor, None, &reason)?, out)?;
            }
        }
        Ok(())
    }
}

impl Push {
    fn run(self, book: &mut dyn Book, actor: Actor<'_>, out: &mut impl Write) -> Result<(), Fault> {
        let Self { bundle, steps, bake, gates, no_rollout } = self;
        let is_digest = bundle.len() == 64 && bundle.bytes().all(|letter| letter.is_ascii_hexdigit());
        let digest = if is_digest {
            bundle.to_lowercase()
        } else {
            let bytes = read(Path::new(&bundle))?;
            let opened = bundle::open(&bytes)?;
            desk::push(book, actor, &opened, &bytes)?;
            opened.digest
        };
        writeln!(out, "{digest}")?;
        if no_rollout {
            return Ok(());
        }
        let gates = Gates {
            alerts_percent: gates.alerts_percent,
            alerts_per_min: gates.alerts_per_min,
            losses_per_min: gates.losses_per_min,
            cpu_points: gates.cpu_points,
            refusals: gates.refusals,
            missing_percent: gates.missing_percent,
        };
        shown(&desk::begin(book, actor, &digest, Settings { steps, bake_secs: bake.as_secs(), gates })?, out)
    }
}

fn read(path: &Path) -> Result<Vec<u8>, BundleError> {
    fs::read(path).map_err(|source| BundleError::File { operation: "read", path: path.to_owned(), source })
}

fn verify(file: &Path, keys: &[String], out: &mut impl Write) -> Result<(), Fault> {
    let bundle = bundle::open(&read(file)?)?;
    if !keys.is_empty() && !keys.iter().any(|key| key.eq_ignore_ascii_case(&bundle.key)) {
        return Err(BundleError::UnknownKey(bundle.key).into());
    }
    writeln!(out, "name    {}", bundle.name)?;
    writeln!(out, "made    {}", rfc3339(bundle.created_secs * 1_000_000_000))?;
    writeln!(out, "digest  {}", bundle.digest)?;
    writeln!(out, "key     {}", bundle.key)?;
    for (path, bytes) in &bundle.files {
        writeln!(out, "file    {path}, {bytes} bytes")?;
    }
    Ok(())
}

/// A rollout in one line.
fn shown(kept: &Kept, out: &mut impl Write) -> Result<(), Fault> {
    let Kept { id, rollout, .. } = kept;
    let steps = rollout.steps.len();
    let step = rollout.steps.get(rollout.step).map_or_else(String::new, ToString::to_string);
    writeln!(out, "{id}\t{}\t{}\tstep {} of {steps}: {step}", rollout.name, rollout.state, rollout.step + 1)?;
    Ok(())
}

fn status(book: &mut dyn Book, out: &mut impl Write) -> Result<(), Fault> {
    let all = Kept::list(book)?;
    let under_way = all.iter().find(|kept| kept.rollout.state.is_under_way());
    let Some(kept) = under_way.or_else(|| all.first()) else {
        return Err(RolloutError::NoneUnderWay.into());
    };
    shown(kept, out)?;
    if under_way.is_some() {
        let mut sights = Sights::default();
        for (_, sight) in items::list::<Sight>(book, Kind::Sight)? {
            sights.add(sight);
        }
        let Tally { accepting, chosen, loaded, refused, missing } = tally(kept, &sights);
        writeln!(
            out,
            "nodes\t{chosen} of {accepting} chosen: {loaded} have it, {refused} refused it, {missing} are missing"
        )?;
    }
    for event in kept.rollout.events.iter().rev().take(EVENTS).rev() {
        writeln!(out, "{}\t{}\t{}", rfc3339(event.time_ns), event.by, event.text)?;
    }
    Ok(())
}
