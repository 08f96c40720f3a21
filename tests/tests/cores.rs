//! Isolated CPUs on the running kernel: the agent stays away from them, and sees what happens there all the same.

#![expect(clippy::expect_used, reason = "a panic is how a test fails")]

use std::{
    fs::{self, File},
    path::Path,
    thread,
    time::{Duration, Instant},
};

use aya::maps::{Array, Map, MapData, loaded_maps};
use nix::{
    mount::umount,
    sched::{CpuSet, sched_getaffinity, sched_setaffinity},
    unistd::Pid,
};
use rampart_agent::{
    cores::CpuList,
    kernel::{Kernel, KernelConfig},
};
use rampart_common::{
    abi,
    event::{Family, SyscallPlan},
};
use rampart_tests::{agent::Agent, require_root, skip};
use serde_json::Value;

/// Time an alert may take from an event that wakes nobody: a few looks of the reader, on a busy machine.
const SOON: Duration = Duration::from_millis(400);

/// Two CPUs of this machine: one for the agent, one that is called isolated.
fn two() -> Option<(u32, u32)> {
    let set = sched_getaffinity(Pid::from_raw(0)).expect("where this runs is known");
    let mut cpus = (0..CpuSet::count()).filter(|cpu| set.is_set(*cpu).unwrap_or(false)).map(|cpu| cpu as u32);
    Some((cpus.next()?, cpus.next_back()?))
}

/// Does something on one CPU only.
fn on<T: Send>(cpu: u32, act: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| {
        let pinned = scope.spawn(|| {
            let mut set = CpuSet::new();
            set.set(cpu as usize).expect("a small number");
            sched_setaffinity(Pid::from_raw(0), &set).expect("allowed");
            act()
        });
        pinned.join().expect("it ends")
    })
}

#[test]
fn the_agent_stays_away_from_isolated_cpus_and_sees_them() {
    const NAME: &str = "the_agent_stays_away_from_isolated_cpus_and_sees_them";
    require_root!(NAME);
    let Some((first, isolated)) = two() else { skip!(NAME, "this machine has one CPU") };
    let scratch = tempfile::tempdir().expect("a scratch directory");
    let dir = scratch.path().canonicalize().expect("it exists");
    let rules = dir.join("rules.yaml");
    let text = format!(
        "- rule: secret\n  desc: d\n  condition: evt.type in (open, openat) and fd.name startswith {}/secret\n  \
         output: opened %fd.name\n  priority: WARNING\n",
        dir.display()
    );
    fs::write(&rules, text).expect("written");
    let agent = Agent::start_in(&rules, "", &[("RAMPART_NODE__ISOLATED_CPUS", &isolated.to_string())]);
    let tasks = format!("/proc/{}/task", agent.pid());
    let mut count = 0;
    for task in fs::read_dir(&tasks).expect("it runs") {
        let path = task.expect("readable").path().join("status");
        let status = fs::read_to_string(path).expect("it runs");
        let cpus = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).expect("a list");
        let cpus: CpuList = cpus.parse().expect("a list");
        assert!(cpus.iter().all(|cpu| cpu != isolated) && cpus.iter().any(|cpu| cpu == first), "{status}");
        count += 1;
    }
    assert!(count >= 3, "{count} threads of the agent");
    assert!(agent.log().contains("Isolated CPUs are left alone"), "{}", agent.log());
    for number in 0..20 {
        // Long enough for the reader to fall asleep.
        thread::sleep(Duration::from_millis(50));
        let path = dir.join(format!("secret-{number}"));
        let opened = on(isolated, || {
            File::create(&path).expect("made");
            Instant::now()
        });
        agent.wait_for(&format!("intrusion {number}"), |alert| {
            let name = alert.get("output_fields").and_then(|fields| fields.get("fd.name")?.as_str());
            name.is_some_and(|name| Path::new(name) == path)
        });
        assert!(opened.elapsed() < SOON, "alert {number} took {:?}", opened.elapsed());
    }
    let own = agent.alerts().into_iter().filter(|alert| alert.get("source") != Some(&Value::from("syscall")));
    assert_eq!(own.collect::<Vec<_>>(), Vec::<Value>::new());
    assert!(agent.stop().success());
}

/// Moments that are looked at, and calls in each.
const ROUNDS: u32 = 20;
const CALLS: u32 = 20;

/// Ids of the maps through which the reader says that it sleeps.
fn controls() -> Vec<u32> {
    let maps = loaded_maps().filter_map(Result::ok);
    maps.filter(|map| map.name_as_str() == Some(abi::MAP_CONTROL)).map(|map| map.id()).collect()
}

#[test]
fn no_wake_up_is_sent_from_an_isolated_cpu() {
    const NAME: &str = "no_wake_up_is_sent_from_an_isolated_cpu";
    require_root!(NAME);
    let Some((other, isolated)) = two() else { skip!(NAME, "this machine has one CPU") };
    let before = controls();
    let isolation: CpuList = [isolated].into_iter().collect();
    let config = KernelConfig { ring_bytes: 1 << 20, own_pid: 0, isolated: isolation.bits() };
    let mut kernel = Kernel::load(&config).expect("it loads");
    let control = controls().into_iter().find(|id| !before.contains(id)).expect("the new map");
    let control = MapData::from_id(control).expect("the map is there");
    let mut control: Array<_, [u32; 4]> = Array::try_from(Map::Array(control)).expect("an array");
    let plan = SyscallPlan { path: 1, family: Family::Path as u8, ..SyscallPlan::default() };
    kernel.set_wanted(&[(u32::try_from(libc::SYS_umount2).expect("small"), plan)]).expect("written");
    kernel.attach().expect("it attaches");
    // Nobody reads the ring, so only a program that wakes the reader changes what it last said: that it sleeps. Starts
    // and ends of other processes, elsewhere, wake it too, but not in each of these moments.
    let mut quiet = |cpu| {
        let mut rounds = 0;
        on(cpu, || {
            for _ in 0..ROUNDS {
                control.set(0, [0, 1, u32::MAX, 0], 0).expect("written");
                for _ in 0..CALLS {
                    assert!(umount("/nonexistent").is_err());
                }
                rounds += u32::from(control.get(&0, 0).expect("read")[1] == 1);
            }
        });
        rounds
    };
    let (there, here) = (quiet(isolated), quiet(other));
    let counters = kernel.counters().expect("counters");
    let (_, sum) = counters.iter().find(|(family, _)| *family == Family::Path).expect("the family");
    assert!(sum.emitted >= u64::from(2 * ROUNDS * CALLS), "{sum:?}");
    assert!(there > ROUNDS / 2, "the reader was woken in {} of {ROUNDS} rounds", ROUNDS - there);
    assert_eq!(here, 0, "an ordinary CPU wakes it");
}
