//! `rampart record`: the kernel half and a thread that writes down what comes in.
//!
//! Attaches programs of its own, so it works beside a running agent and takes no lock; each of the two sees the
//! other as an ordinary process. Detection of its own is only for the state and, when asked for, for alerts.

mod session;

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::{
        Arc, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use rampart_common::event::SyscallPlan;
use rampart_rules::{
    catalog::event_ids as ev,
    event_set::EventSet,
    load::{LoadOptions, load},
    rule::RuleSet,
};
use tokio::{sync::oneshot, time::sleep};

pub use self::session::Progress;
use self::session::{Fault, Session};
use super::{
    AppError,
    detection::{SharedHooks, needs_names, wanted, wanted_all},
    enrich::{self, Enrich},
    in_full,
    load::{Loaded, load as bring_up},
    ports::{Records, Wake},
    quiet::keep_off,
    tasks::Tasks,
};
use crate::{
    config::{Config, Format},
    drain::{Grace, Request, Signals},
    engine::{
        self, Detector, Digesting,
        clock::{Clock, boot_now_ns},
        placed_for,
    },
    output::{self, Fanout, stdout::Stdout},
    policy::Bundle,
    recording::{facts::Facts, write::Writer},
    state::{self, told::Outside},
    telemetry::status,
};

/// Name of the thread.
const RECORDING: &str = "recording";

/// What is to be recorded, and where to.
#[derive(Clone, Debug)]
pub struct Order {
    /// The recording.
    pub file: PathBuf,
    /// Replace a file that is there.
    pub force: bool,
    /// Ends after this time.
    pub duration: Option<Duration>,
    /// Ends when the file has about this size.
    pub max_bytes: Option<u64>,
    /// Every call that carries details, not only those the rules need.
    pub all: bool,
    /// Also judge what is recorded and write the alerts to standard output.
    pub alerts: Option<Format>,
}

/// Called once a second and at the end.
pub type Report = Box<dyn FnMut(&Progress) + Send>;

/// Records until told to stop, or until the time or the space is used up.
pub fn record(config: &Config, bundle: &Bundle, order: &Order, report: Report) -> Result<Progress, AppError> {
    let at = |operation| move |source| AppError::Recording { operation, path: order.file.clone(), source };
    if !order.force && order.file.symlink_metadata().is_ok() {
        return Err(at("make")(there()));
    }
    let Loaded { hooks, records, waker } = bring_up(config, &keep_off(config))?;
    let file = create(&order.file, order.force).map_err(at("make"))?;
    let runtime = super::runtime()?;
    let outcome = runtime.block_on(async {
        let signals = Signals::install()
            .map_err(|source| AppError::System { operation: "listen to signals", source })?;
        let parts = Parts { records, hooks, waker, file, report };
        run(config, bundle, order, parts, signals).await
    });
    runtime.shutdown_background();
    outcome
}

/// What differs between a kernel and a test.
struct Parts<R> {
    records: R,
    hooks: SharedHooks,
    waker: Arc<dyn Wake>,
    file: File,
    report: Report,
}

async fn run<R: Records + 'static>(
    config: &Config,
    bundle: &Bundle,
    order: &Order,
    parts: Parts<R>,
    mut signals: Signals,
) -> Result<Progress, AppError> {
    let Parts { records, hooks, waker, file, report } = parts;
    let failed = |source| AppError::Recording { operation: "write", path: order.file.clone(), source };
    let calls = if order.all { wanted_all(&bundle.rules) } else { wanted(&[&bundle.rules]) };
    let facts = facts(config, bundle, &calls, order.all);
    let writer = Writer::new(file, &facts).map_err(failed)?;
    let mut tasks = Tasks::new();
    let (fanout, outputs) = alerts(config, order, &mut tasks)?;
    let policy = if order.alerts.is_some() { Some(Arc::clone(&bundle.rules)) } else { nothing() };
    // Without a set of no rules the real ones are judged for nobody, which costs time only.
    let policy = policy.unwrap_or_else(|| Arc::clone(&bundle.rules));
    let status = status::shared();
    let stop = Arc::new(AtomicBool::new(false));
    let mut session = Session {
        records,
        hooks: Arc::clone(&hooks),
        detector: Detector::new(policy, options(config, bundle, &facts, order.all)),
        enrich: Enrich::start(config, &mut tasks, &waker, &status)
            .map_err(|source| AppError::System { operation: "start a thread", source })?,
        writer,
        fanout,
        stop: Arc::clone(&stop),
        max_bytes: order.max_bytes,
        report,
    };
    let with_hooks = || hooks.lock().unwrap_or_else(PoisonError::into_inner);
    with_hooks().set_wanted(&[])?;
    with_hooks().attach()?;
    session.start(boot_now_ns()).map_err(failed)?;
    if let Err(fault) = with_hooks().see_names(order.all || needs_names(&[&bundle.rules])) {
        tracing::warn!("Host names of addresses are not recorded: {}", in_full(&fault));
    }
    with_hooks().set_wanted(&calls)?;
    tracing::info!(file = %order.file.display(), calls = calls.len(), "Recording");
    let (done, result) = oneshot::channel();
    let work = move || {
        // Nobody waiting for the result means that the process ends.
        let _ = done.send(session.run());
        Ok(())
    };
    tasks
        .thread(RECORDING, work)
        .map_err(|source| AppError::System { operation: "start a thread", source })?;
    let limit = async {
        match order.duration {
            Some(duration) => sleep(duration).await,
            None => std::future::pending().await,
        }
    };
    tokio::pin!(limit);
    loop {
        tokio::select! {
            request = signals.next() => if request == Request::Stop { break },
            () = &mut limit => break,
            end = tasks.next_end() => {
                if end.task == RECORDING {
                    break;
                }
                if let Some(cause) = end.cause {
                    tracing::warn!(task = end.task, "A task failed, the recording goes on without it: {cause}");
                }
            },
        }
    }
    let grace = Grace::start(config.node.shutdown_grace);
    with_hooks().set_wanted(&[])?;
    stop.store(true, Ordering::Relaxed);
    waker.wake();
    let late = |phase| AppError::Grace { phase, secs: config.node.shutdown_grace.as_secs() };
    if !tasks.ended(&[RECORDING], grace.left()).await {
        return Err(late("finishing the recording"));
    }
    let progress = match result.await {
        Ok(Ok(progress)) => progress,
        Ok(Err(Fault::Kernel(error))) => return Err(error.into()),
        Ok(Err(Fault::Write(source))) => return Err(failed(source)),
        Err(_) => return Err(AppError::Ended { task: RECORDING, source: None }),
    };
    if tasks.ended(&outputs, grace.left()).await {
        Ok(progress)
    } else {
        Err(late("writing the last alerts"))
    }
}

/// The queue of alerts and the names of the threads behind it.
fn alerts(
    config: &Config,
    order: &Order,
    tasks: &mut Tasks,
) -> Result<(Option<Fanout>, Vec<&'static str>), AppError> {
    let Some(format) = order.alerts else { return Ok((None, Vec::new())) };
    let (fanout, workers) = output::build(vec![Box::new(Stdout::new(format))], config.output.queue_alerts)?;
    let mut names = Vec::new();
    for worker in workers {
        names.push(worker.name());
        let started = tasks.thread(worker.name(), move || {
            worker.run();
            Ok(())
        });
        started.map_err(|source| AppError::System { operation: "start a thread", source })?;
    }
    Ok((Some(fanout), names))
}

/// A set of no rules: the recorder's detector is there for the state.
fn nothing() -> Option<Arc<RuleSet>> {
    load(&[], &LoadOptions::default()).rules.map(Arc::new)
}

fn facts(config: &Config, bundle: &Bundle, calls: &[(u32, SyscallPlan)], all: bool) -> Facts {
    let clock = Clock::system();
    let now_ns = boot_now_ns();
    let release = nix::sys::utsname::uname().map(|name| name.release().to_string_lossy().into_owned());
    let mut numbers: Vec<u32> = calls.iter().map(|(number, _)| *number).collect();
    numbers.sort_unstable();
    Facts {
        rampart: env!("CARGO_PKG_VERSION").to_owned(),
        hostname: config.node.hostname.clone(),
        kernel_release: release.unwrap_or_default(),
        started_ns: clock.wall_ns(now_ns),
        id_seed: engine::Options::default().id_seed,
        clock_offset_ns: clock.offset_ns(),
        utc_offset_secs: clock.utc_offset_secs(now_ns),
        process_limit: u64::from(config.state.max_processes),
        metadata_wait_ns: enrich::metadata_wait_ns(config),
        wanted: numbers,
        policy_digest: (!all).then(|| bundle.digest.to_string()),
    }
}

fn options(config: &Config, bundle: &Bundle, facts: &Facts, all: bool) -> engine::Options {
    // Whoever replays may want what this run does not; but looks at a file are too many to ask about each.
    let looks = [ev::ACCESS, ev::STAT, ev::LSTAT, ev::NEWFSTATAT];
    let others = EventSet::all().iter().filter(|event| all && !looks.contains(event)).collect();
    let placed = placed_for(&bundle.rules, true).union(&others);
    let ordinary = super::options(config, bundle);
    // Also when this run judges nothing, for whoever does.
    let digests = match ordinary.digests {
        Digesting::Asked if engine::asks_for_digests(&bundle.rules) => Digesting::Always,
        other => other,
    };
    engine::Options {
        clock_offset_ns: None,
        clock: Clock::fixed(facts.clock_offset_ns, facts.utc_offset_secs),
        id_seed: facts.id_seed,
        placed,
        digests,
        state: state::Config { outside: Outside::Kept, ..ordinary.state.clone() },
        ..ordinary
    }
}

fn there() -> io::Error {
    io::Error::new(io::ErrorKind::AlreadyExists, "it is there already, `--force` replaces it")
}

/// Makes the file for its owner only: it holds arguments and environments of every process. A link in its place is
/// not followed.
fn create(path: &Path, force: bool) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).mode(0o600).custom_flags(libc::O_NOFOLLOW);
    if !force {
        return options.create_new(true).open(path).map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => there(),
            _ => error,
        });
    }
    let file = options.create(true).truncate(false).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file"));
    }
    file.set_permissions(PermissionsExt::from_mode(0o600))?;
    file.set_len(0)?;
    Ok(file)
}

#[cfg(test)]
mod tests;
