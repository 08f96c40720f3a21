//! The only wiring: builds every part, starts every thread and task, and ends them in order.

mod budgeting;
mod bundling;
mod detection;
mod digests;
mod enrich;
mod footprint;
mod limiting;
mod lists;
mod load;
mod ports;
mod pushing;
mod quiet;
pub mod record;
mod refusing;
mod responding;
mod serving;
mod settle;
mod supervisor;
mod tasks;
mod verdict;
mod working;

use std::{
    io,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, mpsc},
    time::{Instant, SystemTime},
};

use rampart_common::wake::CpuBits;
use tokio::sync::watch;

pub(crate) use self::detection::wanted;
pub use self::verdict::VERIFIER_LOG;
use self::{
    budgeting::Budgeting,
    bundling::Bundling,
    detection::{Detection, SharedHooks},
    enrich::Enrich,
    lists::Lists,
    load::{Loaded, load},
    ports::{Records, Wake},
    pushing::Pushing,
    quiet::{check_threads, keep_off},
    supervisor::{ADMIN, DETECTION, Supervisor, UPLINK, publish},
    tasks::Tasks,
};
use crate::{
    admin::{self, Admin, AdminError, access::Guard, audit::Audit},
    bundles::Standing,
    config::{Config, Sources},
    control::{self, ControlError, Uplink},
    drain::Signals,
    engine::{self, Detector, Digesting},
    kernel::KernelError,
    limits::desk::desk,
    output::{self, AllDead, Fanout, worker::Worker},
    policy::{Bundle, reload::Reloader},
    privilege::{
        Refusal,
        lock::{LockError, NodeLock},
    },
    pushdown::Plan,
    responses, services,
    state::{self, cgroup::CtrTasks},
    telemetry::{
        ready::Latch,
        status::{self, Facts, Status},
    },
};

/// Commands that may wait for the detection thread; the sender is refused when it is full.
const COMMANDS: usize = 4;
/// Notices of other threads that may wait to become alerts; the newest is dropped, and counted, when it is full.
const NOTICES: usize = 64;
/// Rings that may wait for the detection thread.
const RINGS: usize = 4;

/// Why the agent could not start, or had to end.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// No output works.
    #[error(transparent)]
    Outputs(#[from] AllDead),
    /// Another agent runs.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The machine or the user does not allow it.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The HTTP server cannot start.
    #[error(transparent)]
    Admin(#[from] AdminError),
    /// The kernel half cannot start or failed.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// The kernel refused a program; its log is kept.
    #[error("{error}; its log is in `{}`, and `rampart doctor` shows the end of it", path.display())]
    Verifier {
        /// What was refused.
        error: KernelError,
        /// Where the log is.
        path: PathBuf,
    },
    /// The way to the collector cannot be opened.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// The machine refuses something ordinary.
    #[error("cannot {operation}")]
    System {
        /// What was tried.
        operation: &'static str,
        /// Why not.
        source: io::Error,
    },
    /// The recording cannot be made or written.
    #[error("cannot {operation} `{}`", path.display())]
    Recording {
        /// What was tried.
        operation: &'static str,
        /// The recording.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A task ended that should run as long as the agent.
    #[error("the task `{task}` ended unexpectedly")]
    Ended {
        /// Its name.
        task: &'static str,
        /// Its fault, if it said one.
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
    /// The detection thread did not answer.
    #[error("the detection thread does not answer")]
    Busy,
    /// A second request to stop came during the shutdown.
    #[error("told to stop at once; alerts that waited are lost")]
    Hurried,
    /// The shutdown took too long.
    #[error("gave up after {secs} s while {phase}; alerts that waited are lost")]
    Grace {
        /// What was going on.
        phase: &'static str,
        /// The limit.
        secs: u64,
    },
}

impl AppError {
    /// Whether the fault is the agent's own and not its surroundings'.
    pub const fn is_internal(&self) -> bool {
        matches!(self, Self::Ended { .. } | Self::Busy | Self::Hurried | Self::Grace { .. })
    }
}

/// An error with all its causes in one line.
pub(crate) fn in_full(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        // Some errors repeat their cause in their own text.
        if !text.ends_with(&next) {
            text = format!("{text}: {next}");
        }
        cause = error.source();
    }
    text
}

/// Everything that is built before anything runs.
struct Parts<R> {
    sources: Sources,
    config: Config,
    bundle: Bundle,
    fanout: Fanout,
    workers: Vec<Worker>,
    uplink: Option<Uplink>,
    admin: Option<Admin>,
    hooks: SharedHooks,
    records: R,
    waker: Arc<dyn Wake>,
    status: Arc<Status>,
    isolated: Box<CpuBits>,
}

/// Runs the agent until it is told to stop; `standing` is how it begins with policy bundles.
pub fn run(sources: Sources, config: Config, bundle: Bundle, standing: Standing) -> Result<(), AppError> {
    let cores = keep_off(&config);
    let lock = NodeLock::acquire(&config.node.runtime_dir)?;
    let mut outputs = output::open(&config.output);
    let mut uplink = None;
    // Behind the lock: a spool has one owner.
    if let Some(collector) = &config.output.collector {
        let (sink, task) = control::open(collector, &config.node.hostname, &config.node.labels)?;
        outputs.push(Box::new(sink));
        uplink = Some(task);
    }
    let (fanout, workers) = output::build(outputs, config.output.queue_alerts)?;
    for note in &lock.notes {
        tracing::warn!("The node is locked by other means only: {note}");
    }
    let admin = config.admin.enabled.then(|| bind(&config)).transpose()?;
    let Loaded { hooks, records, waker } = load(&config, &cores)?;
    let status = status::shared();
    status.bundles.send_replace(standing);
    let isolated = Box::new(cores.isolated.bits());
    let parts = Parts {
        sources,
        config,
        bundle,
        fanout,
        workers,
        uplink,
        admin,
        hooks,
        records,
        waker,
        status,
        isolated,
    };
    let runtime = runtime()?;
    let outcome = runtime.block_on(async {
        let mut signals = Signals::install()
            .map_err(|source| AppError::System { operation: "listen to signals", source })?;
        let grace = parts.config.node.shutdown_grace;
        let mut supervisor = launch(parts)?;
        check_threads(&cores);
        tracing::info!("Ready");
        footprint::lower_soon();
        let outcome = supervisor.supervise(&mut signals).await;
        tracing::info!("Stopping");
        // The first fault is the one to report.
        tokio::select! {
            ended = supervisor.shut_down(grace) => outcome.and(ended),
            () = signals.stop_again() => outcome.and(Err(AppError::Hurried)),
        }
    });
    runtime.shutdown_background();
    drop(lock);
    outcome
}

/// Takes the HTTP server's addresses. Without its socket it answers over TCP alone.
fn bind(config: &Config) -> Result<Admin, AdminError> {
    let admin = Admin::bind(config.admin.listen)?;
    let guard = Guard {
        token_file: config.admin.token_file.clone(),
        audit: Some(Audit::new(&config.node.state_dir)),
    };
    let path = config.node.runtime_dir.join(admin::SOCKET);
    let admin = admin.with_guard(guard).with_socket(&path);
    if let Some(error) = &admin.1 {
        tracing::warn!(path = %path.display(), "No socket for changes: {error}");
    }
    Ok(admin.0)
}

/// Starts every thread and task, lets events flow, and releases the latches one by one.
fn launch<R: Records + 'static>(parts: Parts<R>) -> Result<Supervisor, AppError> {
    let Parts {
        sources,
        config,
        bundle,
        fanout,
        workers,
        uplink,
        admin,
        hooks,
        records,
        waker,
        status,
        isolated,
    } = parts;
    let mut tasks = Tasks::new();
    status.set_facts(facts(&config));
    status.set_outputs(fanout.tallies());
    publish(&status, &bundle);
    status.latches.release(Latch::Policy);
    let thread = |source| AppError::System { operation: "start a thread", source };
    let (stop_admin, stopped) = watch::channel(false);
    let (limits_desk, limits_asked) = desk();
    let (services_desk, services_asked) = services::desk::desk();
    let (responses_desk, responses_asked) = responses::desk::desk();
    let admin = admin.map(|admin| {
        let status = Arc::clone(&status);
        let admin = admin.with_limits(limits_desk.clone()).with_services(services_desk.clone());
        let admin = admin.with_responses(responses_desk.clone());
        tasks.task(ADMIN, async move { admin.serve(status, stopped).await.map_err(Into::into) })
    });
    let (stop_uplink, stopped) = watch::channel(false);
    let offers = uplink.as_ref().map(Uplink::offers);
    let jobs = working::start(&config, uplink.as_ref(), &sources, &mut tasks).map_err(thread)?;
    if let Some(uplink) = uplink {
        let status = Arc::clone(&status);
        tasks.task(UPLINK, async move {
            uplink.run(status, stopped).await;
            Ok(())
        });
    }
    let mut outputs = Vec::new();
    for worker in workers {
        let name = worker.name();
        outputs.push(name);
        tasks
            .thread(name, move || {
                worker.run();
                Ok(())
            })
            .map_err(thread)?;
    }
    status.latches.release(Latch::Outputs);
    // Processes first, system calls once the running ones are known: nothing falls between the two, and the ring
    // does not fill while `/proc` is read.
    let with_hooks = || hooks.lock().unwrap_or_else(PoisonError::into_inner);
    with_hooks().set_wanted(&[])?;
    with_hooks().attach()?;
    let mut detector = Detector::new(Arc::clone(&bundle.rules), options(&config, &bundle));
    detector.bootstrap();
    status.latches.release(Latch::Processes);
    if let Err(fault) = with_hooks().see_names(detection::needs_names(&[&bundle.rules])) {
        tracing::warn!("Host names of addresses are not seen: {}", in_full(&fault));
    }
    let mut pushing = Pushing::new(config.pushdown);
    if config.pushdown.enabled {
        let plan = Arc::new(Plan::new(Arc::clone(&bundle.rules), 1));
        pushing.put(&hooks, &mut detector, Some(plan))?;
    }
    let (budgeting, replan) = Budgeting::new(&config, &bundle.rules);
    with_hooks().set_wanted(&wanted(&[&bundle.rules]))?;
    status.latches.release(Latch::Kernel);
    let (notices, said) = mpsc::sync_channel(NOTICES);
    let is_limiting = limiting::start(&config, limits_asked, notices.clone(), &mut tasks, &status)?;
    let serving = (services_desk.clone(), services_asked);
    let is_serving = serving::start(&config, serving, notices.clone(), &mut tasks, &status)?;
    let said_of_lists = notices.clone();
    let terms = Arc::new(refusing::Terms::default());
    let (rings, watched) = mpsc::sync_channel(RINGS);
    let around = responding::denying::Around {
        rings,
        waker: Arc::clone(&waker),
        terms: Arc::clone(&terms),
        isolated,
        has_namespaces: config.containers.enabled,
        rules: Arc::clone(&bundle.rules),
        by_real_path: config.rules.realpath_matching && !config.rules.strict_falco,
    };
    let refusing = refusing::Refusing::new(terms, responses_desk.clone(), watched);
    let others = responding::Others {
        around,
        limits: is_limiting.then(|| limits_desk.clone()),
        services: is_serving.then(|| services_desk.clone()),
        notices: notices.clone(),
        config_file: sources.file_path().to_owned(),
    };
    let responding = (responses_desk.clone(), responses_asked);
    let responder = responding::start(&config, responding, others, &mut tasks, &status)?;
    let (commands, received) = mpsc::sync_channel(COMMANDS);
    let enrich = Enrich::start(&config, &mut tasks, &waker, &status).map_err(thread)?;
    let detection = Detection {
        enrich,
        records,
        hooks: Arc::clone(&hooks),
        detector,
        pushing,
        budgeting,
        commands: received,
        notices: said,
        responder,
        refusing,
        fanout: fanout.clone(),
        status: Arc::clone(&status),
    };
    tasks.thread(DETECTION, move || detection.run().map_err(Into::into)).map_err(thread)?;
    let lists = Lists::start(&config.rules.lists, said_of_lists, &mut tasks, &status);
    Ok(Supervisor {
        hooks,
        waker,
        commands,
        limits: is_limiting.then_some(limits_desk),
        services: is_serving.then_some(services_desk),
        responses: responses_desk,
        fanout,
        outputs,
        status,
        reloader: Reloader::new(sources, config),
        bundling: Bundling::new(offers, notices),
        jobs,
        bundle,
        lists,
        replan,
        tasks,
        stop_uplink,
        admin,
        stop_admin,
    })
}

fn options(config: &Config, bundle: &Bundle) -> engine::Options {
    engine::Options {
        hostname: config.node.hostname.clone(),
        realpath_matching: config.rules.realpath_matching,
        strict_falco: config.rules.strict_falco,
        policy_digest: Some(Arc::clone(&bundle.digest)),
        trading: bundle.trading.clone(),
        digests: if config.digests.max_bytes > 0 { Digesting::Asked } else { Digesting::Off },
        metadata_wait_ns: enrich::metadata_wait_ns(config),
        state: state::Config {
            process_limit: config.state.max_processes as usize,
            passwd: config.containers.sockets.seen(Path::new("/etc/passwd")),
            group: config.containers.sockets.seen(Path::new("/etc/group")),
            ctr_tasks: {
                let seen = |path: &PathBuf| config.containers.sockets.seen(path);
                CtrTasks::Below(config.containers.containerd_tasks.iter().map(seen).collect())
            },
            ..state::Config::default()
        },
        ..engine::Options::default()
    }
}

fn facts(config: &Config) -> Facts {
    let release = nix::sys::utsname::uname().map(|name| name.release().to_string_lossy().into_owned());
    Facts {
        hostname: config.node.hostname.clone(),
        kernel_release: release.unwrap_or_default(),
        started: SystemTime::now(),
        started_at: Instant::now(),
    }
}

/// The asynchronous side: health, metrics, signals and look-ups. One thread is plenty, and the node keeps its cores.
fn runtime() -> Result<tokio::runtime::Runtime, AppError> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("runtime")
        .enable_all()
        .build()
        .map_err(|source| AppError::System { operation: "start the runtime", source })
}

#[cfg(test)]
mod tests;
