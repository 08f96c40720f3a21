//! `cargo xtask triggers`: the live cases of our own packs, or those of Falco's rule tests with the upstream rules, as
//! real processes and system calls against a running agent.
//!
//! The actor of the `tests` crate performs a case and marks its stages by opening files that do not exist; a rule of
//! our own turns the marks into alerts. So the agent's own output says which processes belong to a case, when its
//! steps began, and when everything it caused has been reported. No wait is a guess.

mod alert;
mod case;
mod container;
mod judge;
mod play;
mod podman;
mod rules;
mod score;
mod stage;
mod users;

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use clap::Args;
use nix::unistd::geteuid;

use self::case::{Case, Fate};
use self::play::Player;
use self::users::Users;
use crate::agent::{Agent, Setup};
use crate::compare::{self, Comparison, Heard};
use crate::{console, process, toolchain, workspace};

pub(crate) use self::podman::Podman;
pub(crate) use self::score::Score;

/// The packs, from the root of the workspace, each with its live cases.
pub(crate) const PACKS: [(&str, &str); 2] = [
    ("rules/packs/base.yaml", "rules/packs/triggers/base.yaml"),
    ("rules/packs/trading.yaml", "rules/packs/triggers/trading.yaml"),
];

/// More failures than this are no accident, and are not tried again.
const TRIES: usize = 3;

/// Which cases, against what.
#[derive(Args, Debug)]
pub(crate) struct Options {
    /// Files with cases, in the form of `falco/conformance.yaml` [default: those of our own packs, each with its rules]
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Run only cases whose rule or test contains this text
    #[arg(long, value_name = "TEXT")]
    filter: Option<String>,
    /// Rule files to load instead of Falco's stable rules
    #[arg(short, long, value_name = "FILE")]
    rules: Vec<PathBuf>,
    /// Use this agent instead of building one
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
    /// Build agent and actor with optimisation
    #[arg(long)]
    release: bool,
    /// Run the cases twice, with pushdown and without, and compare the alerts; ends with 1 on a difference
    #[arg(long)]
    compare_pushdown: bool,
    /// Print every alert of every case's processes
    #[arg(long, short)]
    verbose: bool,
}

/// What plays the cases, and how much is said meanwhile.
#[derive(Clone)]
struct Cast<'a> {
    agent: &'a Path,
    actor: &'a Path,
    rules: &'a [PathBuf],
    talk: Talk,
    /// Further settings of the agent that the cases ask for.
    configuration: String,
    /// Whether the kernel rejects what no rule can match.
    pushdown: bool,
}

/// How much is said while cases are played.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Talk {
    Nothing,
    Progress,
    Alerts,
}

/// Runs all cases; says whether none failed.
pub(crate) fn run(options: &Options) -> Result<bool> {
    if !geteuid().is_root() {
        bail!("the cases load kernel programs and become other users: run them as root");
    }
    let root = workspace::root();
    let given = if options.rules.is_empty() { Vec::new() } else { rule_files(&options.rules)? };
    // Runs of their own: each set of files with its rules.
    let runs: Vec<(Vec<PathBuf>, Vec<PathBuf>)> = if options.files.is_empty() {
        let own = |(pack, cases): (&str, &str)| {
            let rules = if given.is_empty() { vec![root.join(pack)] } else { given.clone() };
            (vec![root.join(cases)], rules)
        };
        PACKS.into_iter().map(own).collect()
    } else {
        vec![(options.files.clone(), rule_files(&options.rules)?)]
    };
    let mut wanted = Vec::new();
    for (files, rules) in runs {
        let (mut cases, mut configuration) = (Vec::new(), String::new());
        for file in &files {
            cases.extend(case::read(file, cases.len())?);
            configuration.push_str(&case::configuration(file)?);
        }
        if let Some(text) = &options.filter {
            cases.retain(|case| case.rule.contains(text.as_str()) || case.test.contains(text.as_str()));
        }
        if !cases.is_empty() {
            wanted.push((cases, rules, configuration));
        }
    }
    if wanted.is_empty() {
        bail!("no case is to be run");
    }
    let (agent, actor) = binaries(options)?;
    let started = Instant::now();
    let talk = if options.verbose { Talk::Alerts } else { Talk::Progress };
    let mut passed = true;
    for (cases, rules, configuration) in wanted {
        let cast = Cast { agent: &agent, actor: &actor, rules: &rules, talk, configuration, pushdown: true };
        passed &= if options.compare_pushdown {
            compared(&cast, &cases)?.report("cases")
        } else {
            against(&cast, cases)?.report()
        };
    }
    console::say(format!("took {:.1} s", started.elapsed().as_secs_f64()));
    Ok(passed)
}

/// Runs the cases of one file against binaries that are built, without a word, for `cargo xtask test`. A few that fail are
/// played once more, alone; those that pass then are named as unsteady.
pub(crate) fn test(file: &Path, rules: PathBuf, binaries: &Path) -> Result<Score> {
    let (agent, actor) = (binaries.join("rampart"), binaries.join("rampart-actor"));
    let configuration = case::configuration(file)?;
    let talk = Talk::Nothing;
    let cast = Cast { agent: &agent, actor: &actor, rules: &[rules], talk, configuration, pushdown: true };
    let cases = case::read(file, 0)?;
    let mut score = against(&cast, cases.clone())?;
    let failed: Vec<Case> = cases.into_iter().filter(|case| score.has_failed(case)).collect();
    // A busy machine may be too late with the names of a container, for which an alert waits a bounded time only.
    if (1..=TRIES).contains(&failed.len()) {
        score.second(against(&cast, failed)?);
    }
    Ok(score)
}

/// The same, twice: with pushdown, unless that has been done, and without.
pub(crate) fn differential(
    file: &Path,
    rules: PathBuf,
    binaries: &Path,
    with: Option<Heard>,
) -> Result<Comparison> {
    let (agent, actor) = (binaries.join("rampart"), binaries.join("rampart-actor"));
    let configuration = case::configuration(file)?;
    let talk = Talk::Nothing;
    let cast = Cast { agent: &agent, actor: &actor, rules: &[rules], talk, configuration, pushdown: true };
    let cases = case::read(file, 0)?;
    match with {
        None => compared(&cast, &cases),
        Some(with) => Ok(Comparison::new(&with, against(&Cast { pushdown: false, ..cast }, cases)?.heard())),
    }
}

/// Plays the cases with pushdown and without.
fn compared(cast: &Cast<'_>, cases: &[Case]) -> Result<Comparison> {
    let on = against(&Cast { pushdown: true, ..cast.clone() }, cases.to_vec())?;
    let off = against(&Cast { pushdown: false, ..cast.clone() }, cases.to_vec())?;
    if cast.talk != Talk::Nothing {
        for (name, score) in [("with pushdown", &on), ("without", &off)] {
            console::say(format!("{name}: {} passed, {} failed", score.passed(), score.failures().len()));
        }
    }
    Ok(Comparison::new(on.heard(), off.heard()))
}

/// Starts everything, plays the cases, and stops everything again.
fn against(cast: &Cast<'_>, mut cases: Vec<Case>) -> Result<Score> {
    let known = rules::names(cast.rules)?;
    for case in &mut cases {
        if case.fate == Fate::Run && !known.contains(&case.rule) {
            case.fate = Fate::Fail("no rule of that name is loaded".to_owned());
        }
    }
    let folder = tempfile::Builder::new().prefix("rampart-triggers-").tempdir();
    let folder = folder.context("cannot make a scratch folder")?;
    let folder = folder.path();
    let users = Users::with(cases.iter().flat_map(case::users))?;
    let passwd = folder.join("passwd");
    users.write(&passwd)?;
    let mut rules = cast.rules.to_vec();
    let asked = cases.iter().filter(|case| case.fate == Fate::Run).map(|case| case.rule.as_str());
    rules.push(rules::additions(folder, asked)?);
    let contained = cases.iter().any(|case| case.fate == Fate::Run && case.container.is_some());
    let podman = if contained { Some(Podman::start(&folder.join("podman"))?) } else { None };
    let sockets = podman
        .as_ref()
        .map(|podman| format!("containers: {{podman_sockets: [\"{}\"]}}\n", podman.socket().display()));
    let configuration =
        [compare::setting(cast.pushdown), sockets.as_deref().unwrap_or_default(), &cast.configuration]
            .concat();
    let setup = Setup {
        binary: cast.agent,
        folder,
        rules: &rules,
        matching: "first",
        configuration: &configuration,
        passwd: Some(&passwd),
    };
    let mut agent = Agent::start_as(&setup)?;
    if cast.talk != Talk::Nothing {
        let (pid, count, added) = (agent.pid(), cases.len(), users.added());
        console::say(format!("agent ready, pid {pid}; {count} cases; {added} users for the run only"));
    }
    let stages = stage::Stages::new(folder, cast.actor, &passwd, case::addresses(&cases), podman);
    let mut player = Player::new(&agent, stages, cast.talk);
    let score = player.play(cases);
    // First the actors, so that nothing acts unseen.
    player.end();
    if !agent.runs() {
        bail!("the agent ended during the cases; its log:\n{}", agent.log_tail());
    }
    let status = agent.stop()?;
    if !status.success() {
        bail!("the agent ended with {status}");
    }
    score
}

fn rule_files(given: &[PathBuf]) -> Result<Vec<PathBuf>> {
    if given.is_empty() {
        let missing = "Falco's rule file is not at `../shared`; name one with `--rules`";
        return Ok(vec![workspace::upstream_rules().context(missing)?]);
    }
    let path =
        |path: &PathBuf| path.canonicalize().with_context(|| format!("cannot read `{}`", path.display()));
    given.iter().map(path).collect()
}

/// The agent and the actor, built unless they are given.
fn binaries(options: &Options) -> Result<(PathBuf, PathBuf)> {
    toolchain::ensure()?;
    let all = ["rampart-tests", "rampart-agent"];
    let packages = if options.binary.is_none() { &all[..] } else { &["rampart-tests"][..] };
    build(packages, options.release)?;
    let profile = if options.release { "release" } else { "debug" };
    let folder = PathBuf::from(workspace::metadata()?.target_directory.join(profile));
    Ok((options.binary.clone().unwrap_or_else(|| folder.join("rampart")), folder.join("rampart-actor")))
}

/// Builds the binaries of these packages.
pub(crate) fn build(packages: &[&str], release: bool) -> Result<()> {
    let mut command = workspace::cargo();
    command.args(["build", "--bins"]);
    for package in packages {
        command.args(["--package", package]);
    }
    if release {
        command.arg("--release");
    }
    console::say(format!("building {}", packages.join(", ")));
    process::run(&mut command)
}
