mod budgets;
mod bundling;

use std::{
    collections::VecDeque,
    fs, io,
    path::Path,
    sync::{Condvar, Mutex, MutexGuard},
    time::Duration,
};

use rampart_common::{
    counter::FamilyCounters,
    event::{AttrTag, Family, SyscallPlan},
};
use serde_json::Value;

use super::{
    ports::{Hooks, Records, Wake},
    verdict::{forget_log, keep_log},
    *,
};
use crate::{
    config::Format,
    engine::push::Lessons,
    event::build::RecordBuilder,
    kernel::Learned,
    kernel::{Incoming, NamesFault, Notices},
    output::Output,
    policy,
    pushdown::Plan,
};

/// A kernel half made of memory.
#[derive(Default)]
struct Machine {
    state: Mutex<MachineState>,
    woken: Condvar,
}

#[derive(Default)]
#[expect(clippy::struct_excessive_bools, reason = "independent facts that tests set and read")]
struct MachineState {
    ring: VecDeque<Vec<u8>>,
    wanted: Vec<Vec<u32>>,
    attached: bool,
    names: bool,
    woken: bool,
    ring_fails: bool,
    counters: Vec<(Family, FamilyCounters)>,
    detached: bool,
    generation: u32,
}

#[derive(Clone, Default)]
struct Fake(Arc<Machine>);

/// The hooks; dropping them detaches, as the real ones do.
struct FakeHooks(Fake);

impl Fake {
    fn state(&self) -> MutexGuard<'_, MachineState> {
        self.0.state.lock().unwrap()
    }

    fn emit(&self, record: &RecordBuilder) {
        self.state().ring.push_back(record.build());
        self.wake();
    }
}

impl Hooks for FakeHooks {
    fn set_wanted(&mut self, wanted: &[(u32, SyscallPlan)]) -> Result<(), KernelError> {
        self.0.state().wanted.push(wanted.iter().map(|(number, _)| *number).collect());
        Ok(())
    }

    fn see_names(&mut self, on: bool) -> Result<(), NamesFault> {
        self.0.state().names = on;
        Ok(())
    }

    fn attach(&mut self) -> Result<(), KernelError> {
        self.0.state().attached = true;
        Ok(())
    }

    fn publish(&mut self, plan: &Plan, _: u32) -> Result<(), KernelError> {
        self.0.state().generation = plan.generation();
        Ok(())
    }

    fn stop_pushdown(&mut self) -> Result<(), KernelError> {
        self.0.state().generation = 0;
        Ok(())
    }

    fn learn(&mut self, _: &Lessons) -> Result<Learned, KernelError> {
        Ok(Learned::default())
    }

    fn touch_epoch(&mut self, _: u64) -> Result<(), KernelError> {
        Ok(())
    }

    fn counters(&self) -> Result<Vec<(Family, FamilyCounters)>, KernelError> {
        Ok(self.0.state().counters.clone())
    }
}

impl Drop for FakeHooks {
    fn drop(&mut self) {
        self.0.state().detached = true;
    }
}

impl Records for Fake {
    fn wait(&mut self, timeout: Duration) -> Result<(), KernelError> {
        let state = self.state();
        let (mut state, _) = self
            .0
            .woken
            .wait_timeout_while(state, timeout, |state| !state.woken && state.ring.is_empty())
            .unwrap();
        state.woken = false;
        if state.ring_fails { Err(KernelError::Missing("EVENTS")) } else { Ok(()) }
    }

    fn drain(&mut self, on_incoming: &mut dyn FnMut(Incoming<'_>)) -> Result<usize, KernelError> {
        let records = std::mem::take(&mut self.state().ring);
        for record in &records {
            on_incoming(Incoming::Event(record));
        }
        Ok(records.len())
    }

    fn watch(&mut self, _: Notices) -> Result<(), KernelError> {
        Ok(())
    }
}

impl Wake for Fake {
    fn wake(&self) {
        self.state().woken = true;
        self.0.woken.notify_all();
    }
}

const RULES: &str = "\
- rule: Secret read
  desc: d
  condition: evt.type in (open, openat) and fd.name = /secret
  output: read %fd.name by %proc.name
  priority: WARNING
  tags: [one]
";

/// An agent over a fake kernel half that writes its alerts to `alerts` in a directory of its own.
struct Bench {
    dir: tempfile::TempDir,
    fake: Fake,
    supervisor: Supervisor,
}

fn open(path: &str, seq: u64) -> RecordBuilder {
    RecordBuilder::syscall(libc::SYS_openat, Family::Open, 3, &[0, 0, libc::O_RDONLY as u64])
        .text(AttrTag::UserPath, path)
        .path(AttrTag::RealPath, path)
        .seq(0, seq)
}

fn sources(dir: &Path) -> Sources {
    fs::write(dir.join("rules.yaml"), RULES).unwrap();
    let text = format!(
        "rules: {{files: [{0}/rules.yaml]}}\noutput: {{stdout: {{enabled: false}}, file: {{path: {0}/alerts, format: json}}}}\n\
         admin: {{enabled: false}}\nnode: {{hostname: n}}\n",
        dir.display()
    );
    fs::write(dir.join("rampart.yaml"), text).unwrap();
    Sources { file: Some(dir.join("rampart.yaml")), ..Sources::default() }
}

fn start(outputs: Option<Vec<Box<dyn Output>>>) -> Bench {
    let dir = tempfile::tempdir().unwrap();
    let sources = sources(dir.path());
    start_in(dir, sources, outputs)
}

fn start_in(dir: tempfile::TempDir, sources: Sources, outputs: Option<Vec<Box<dyn Output>>>) -> Bench {
    let config = sources.load().unwrap();
    let bundle = policy::load(&config.rules, &config.trading).bundle.unwrap();
    let outputs = outputs.unwrap_or_else(|| output::open(&config.output));
    let (fanout, workers) = output::build(outputs, config.output.queue_alerts).unwrap();
    let fake = Fake::default();
    let parts = Parts {
        sources,
        config,
        bundle,
        fanout,
        workers,
        uplink: None,
        admin: None,
        hooks: Arc::new(Mutex::new(FakeHooks(fake.clone()))),
        records: fake.clone(),
        waker: Arc::new(fake.clone()),
        status: status::shared(),
        isolated: Box::new([0; rampart_common::wake::CPU_WORDS]),
    };
    let supervisor = launch(parts).unwrap();
    Bench { dir, fake, supervisor }
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

/// The alerts written so far.
fn alerts(dir: &Path) -> Vec<Value> {
    let text = fs::read_to_string(dir.join("alerts")).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

const GRACE: Duration = Duration::from_secs(20);

#[test]
fn what_is_in_the_ring_at_the_end_is_still_reported_and_everything_is_detached() {
    block_on(async {
        let Bench { dir, fake, supervisor } = start(None);
        let status = Arc::clone(&supervisor.status);
        assert!(fake.state().attached);
        fake.emit(&open("/other", 0));
        fake.emit(&open("/secret", 1));
        supervisor.shut_down(GRACE).await.unwrap();
        let found = alerts(dir.path());
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(
            (found[0]["rule"].as_str(), found[0]["hostname"].as_str()),
            (Some("Secret read"), Some("n"))
        );
        let state = fake.state();
        assert!(state.detached);
        // Nothing before the processes are known, then what the rules and the state need, nothing at the end.
        let openat = libc::SYS_openat as u32;
        let wanted: Vec<bool> = state.wanted.iter().map(|calls| calls.contains(&openat)).collect();
        assert_eq!(wanted, [false, true, false]);
        assert!(state.wanted[0].is_empty() && state.wanted[2].is_empty());
        assert_eq!(status.latches.waiting_for(), Vec::<&str>::new());
        let seen = status.detection();
        assert_eq!((seen.records, seen.alerts), (2, 1));
        assert_eq!((seen.matches[0].rule.as_str(), seen.matches[0].count), ("Secret read", 1));
        assert_eq!(status.outputs()[0].written, 1);
    });
}

#[test]
fn lost_events_become_an_alert() {
    block_on(async {
        let Bench { dir, fake, supervisor } = start(None);
        let counters = FamilyCounters { seen: 9, emitted: 2, ring_full: 7, ..FamilyCounters::default() };
        fake.state().counters = vec![(Family::Open, counters)];
        supervisor.shut_down(GRACE).await.unwrap();
        let found = alerts(dir.path());
        assert_eq!(found[0]["rule"], "Rampart internal: event loss", "{found:?}");
        assert_eq!(found[0]["output_fields"]["count"], 7);
    });
}

#[test]
fn a_reload_swaps_without_a_gap_and_a_faulty_one_changes_nothing() {
    block_on(async {
        let Bench { dir, fake, mut supervisor } = start(None);
        let status = Arc::clone(&supervisor.status);
        let first = status.policy().digest;
        let rules = dir.path().join("rules.yaml");

        fs::write(&rules, RULES.replace("fd.name", "fd.nme")).unwrap();
        supervisor.reload().await;
        let policy = status.policy();
        assert_eq!((policy.reloads, policy.failures, &policy.digest), (0, 1, &first));
        assert!(policy.fault.unwrap().text.contains("rules.yaml:3:"));
        assert!(status.latches.waiting_for().iter().all(|latch| *latch == "detection"), "readiness stays");

        fs::write(&rules, RULES.replace("open, openat", "connect").replace("/secret", "/elsewhere")).unwrap();
        supervisor.reload().await;
        let policy = status.policy();
        assert_eq!((policy.reloads, policy.failures), (1, 1));
        assert!(policy.fault.is_none() && policy.digest != first);
        {
            let state = fake.state();
            let wants = |call: i64| -> Vec<bool> {
                state.wanted.iter().map(|calls| calls.contains(&(call as u32))).collect()
            };
            // Both sets while the rules are swapped, the new one alone afterwards.
            assert_eq!(wants(libc::SYS_openat), [false, true, true, false]);
            assert_eq!(wants(libc::SYS_connect), [false, false, true, true]);
        }
        fake.emit(&open("/secret", 0));
        supervisor.shut_down(GRACE).await.unwrap();
        assert!(alerts(dir.path()).is_empty(), "the old rule is gone");
    });
}

#[test]
fn a_failing_ring_ends_the_agent_with_its_cause() {
    block_on(async {
        let Bench { fake, mut supervisor, dir: _dir } = start(None);
        let mut signals = Signals::install().unwrap();
        fake.state().ring_fails = true;
        fake.wake();
        let error = supervisor.supervise(&mut signals).await.unwrap_err();
        assert!(error.is_internal());
        assert!(
            in_full(&error)
                .starts_with("the task `detection` ended unexpectedly: the kernel object has no `EVENTS`")
        );
        supervisor.shut_down(GRACE).await.unwrap();
        assert!(fake.state().detached);
    });
}

/// An output that never comes back.
struct Stuck;

impl Output for Stuck {
    fn name(&self) -> &'static str {
        "stuck"
    }

    fn format(&self) -> Format {
        Format::Text
    }

    fn check(&mut self) -> Result<(), output::OutputError> {
        Ok(())
    }

    fn write(&mut self, _: &[u8]) -> Result<(), output::OutputError> {
        loop {
            std::thread::park();
        }
    }

    fn reopen(&mut self) -> Result<bool, output::OutputError> {
        Ok(false)
    }
}

#[test]
fn a_stuck_output_holds_the_shutdown_only_for_the_grace_and_still_detaches() {
    block_on(async {
        let Bench { fake, supervisor, dir: _dir } = start(Some(vec![Box::new(Stuck)]));
        fake.emit(&open("/secret", 0));
        // Long enough for the detection thread on a busy machine; the output takes the rest.
        let error = supervisor.shut_down(Duration::from_secs(2)).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "gave up after 2 s while writing the last alerts; alerts that waited are lost"
        );
        assert!(error.is_internal() && fake.state().detached);
    });
}

#[test]
fn a_refused_programs_log_is_kept_and_forgotten() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = sources(dir.path()).load().unwrap();
    config.node.runtime_dir = dir.path().join("run");
    // A file in the place of the directory cannot be written into, not even by root.
    config.node.state_dir = dir.path().join("rules.yaml");
    let refused = || KernelError::Refused {
        program: "dispatch",
        log: "insn 7: R1 invalid mem access".to_owned(),
        source: io::Error::from_raw_os_error(libc::EACCES),
    };
    let error = keep_log(refused(), &config);
    let kept = dir.path().join("run").join(VERIFIER_LOG);
    assert!(in_full(&error).contains(&format!("its log is in `{}`", kept.display())), "{}", in_full(&error));
    assert!(fs::read_to_string(&kept).unwrap().contains("insn 7"));
    config.node.state_dir = dir.path().join("state");
    keep_log(refused(), &config);
    assert!(config.node.state_dir.join(VERIFIER_LOG).exists());
    forget_log(&config);
    assert!(!kept.exists() && !config.node.state_dir.join(VERIFIER_LOG).exists());
    assert!(matches!(keep_log(KernelError::Missing("x"), &config), AppError::Kernel(_)));
}
