//! A day of processes in a minute: ten million forks, execs and exits through the detector, and what memory it takes.
//!
//! Prints lines that `cargo xtask bench churn` reads. `--forks N` sets how many.

#![expect(clippy::print_stdout, reason = "the report is the purpose of this program")]

use std::{env, fs, hint::black_box, sync::Arc, time::Instant};

use rampart_agent::{
    engine::{Detector, Options},
    event::{AttrTag, EventKind, Family, build::RecordBuilder},
    state,
};
use rampart_rules::{
    load::{LoadOptions, Source, load},
    pack::BASE_PACK,
};

/// Process ids are handed out again after this many, as on a machine with the usual limit.
const PIDS: u64 = 32_768;
/// Nanoseconds between two forks: a thousand a second of the recorded clock.
const STEP_NS: u64 = 1_000_000;
/// Processes alive at the same time.
const ALIVE: u64 = 400;

/// A process that lives for some steps: fork, exec, and the exit of the one made [`ALIVE`] steps ago.
fn step(detector: &mut Detector, index: u64) {
    let of = |kind, made: u64, at: u64| {
        let pid = 2 + (made % PIDS) as u32;
        RecordBuilder::new(kind, Family::Process)
            .process(pid, (made + 1) * STEP_NS, "worker")
            .parent(1, 1)
            .at((at + 1) * STEP_NS)
    };
    let mut feed =
        |record: RecordBuilder| detector.on_record(&record.build(), &mut |alert| drop(black_box(alert)));
    feed(of(EventKind::Fork, index, index));
    if index.is_multiple_of(2) {
        let argument = format!("--order={index}");
        feed(
            of(EventKind::Exec, index, index)
                .strings(AttrTag::Argv, &["/opt/desk/worker", &argument])
                .strings(AttrTag::Envp, &["PATH=/usr/bin", "HOME=/srv"])
                .path(AttrTag::ExePath, "/opt/desk/worker")
                .path(AttrTag::Cwd, "/srv"),
        );
    }
    if let Some(gone) = index.checked_sub(ALIVE) {
        feed(of(EventKind::Exit, gone, index));
    }
}

/// Resident memory of this process, MiB.
fn resident_mb() -> Option<f64> {
    let text = fs::read_to_string("/proc/self/statm").ok()?;
    let pages: f64 = text.split(' ').nth(1)?.parse().ok()?;
    Some(pages * 4096.0 / f64::from(1 << 20))
}

fn main() {
    let mut args = env::args().skip_while(|arg| arg != "--forks").skip(1);
    let forks: u32 = args.next().and_then(|text| text.parse().ok()).unwrap_or(10_000_000);
    let state = state::Config { proc_root: "/nonexistent".into(), ..state::Config::default() };
    let base = Source { name: "base.yaml".to_owned(), text: BASE_PACK.into() };
    let Some(rules) = load(&[base], &LoadOptions::default()).rules else {
        println!("the base pack does not load");
        return;
    };
    let mut detector = Detector::new(Arc::new(rules), Options { state, ..Options::default() });
    let part = (forks / 10).max(1);
    let (mut first, mut largest) = (0.0f64, 0.0f64);
    let started = Instant::now();
    for index in 0..forks {
        step(&mut detector, u64::from(index));
        if (index + 1).is_multiple_of(part) {
            let now = resident_mb().unwrap_or(f64::NAN);
            // The first part fills tables and the allocator's pools.
            first = if first == 0.0 { now } else { first };
            largest = largest.max(now);
            println!("# {} forks: {now:.1} MiB, {} processes", index + 1, detector.stats().processes);
        }
    }
    let rate = f64::from(forks) / started.elapsed().as_secs_f64();
    println!("churn.rss_mb\t{largest:.2}\tMB\t{first:.2}\t{largest:.2}");
    println!("churn.growth\t{:.3}\tratio\t1\t{:.3}", largest / first, largest / first);
    println!("churn.forks_per_s\t{rate:.0}\tforks/s\t{rate:.0}\t{rate:.0}");
}
