//! An agent without a kernel half: raises alerts as fast as it is told and sends them to a collector by the agent's own
//! spool and stream. Tests kill it at any time.
//!
//! `rampart-courier ADDRESS SPOOL JOURNAL COUNT [CERTIFICATES]`: raises so many alerts, one batch after the other, and writes the rule's
//! name of each into the journal when the spool has it; ends when nothing waits in the spool any more. The directory of
//! certificates has `ca.pem`, `agent.pem` and `agent.key`. `RAMPART_COURIER_SPOOL_BYTES` bounds the spool. At the end it says on
//! standard output what its spool has counted as lost.

#![expect(clippy::expect_used, reason = "a panic ends the test that started it")]
#![expect(clippy::print_stdout, reason = "the report is for the test that started it")]

use std::{
    collections::{BTreeMap, BTreeSet},
    env,
    fs::OpenOptions,
    io::Write,
    path::PathBuf,
    process,
    sync::Arc,
    thread,
    time::Duration,
};

use rampart_agent::{
    alert::Alert,
    config::{CollectorOutput, TlsFiles},
    control,
    output::Output,
    retry::{Backoff, Budget, Retry},
    spool::Sync,
    telemetry::status,
};
use rampart_tests::courier::alert;
use tokio::sync::watch;

/// Alerts of one batch.
const BATCH: u64 = 7;

fn main() {
    let mut arguments = env::args().skip(1);
    let mut next = || arguments.next().expect("ADDRESS SPOOL JOURNAL COUNT");
    let (address, spool, journal) = (next(), PathBuf::from(next()), next());
    let count: u64 = next().parse().expect("a number of alerts");
    let certificates = arguments.next().map(PathBuf::from);
    let bound = env::var("RAMPART_COURIER_SPOOL_BYTES").ok();
    let bound = bound.map_or(256 << 20, |text| text.parse().expect("a number of bytes"));
    let config = CollectorOutput {
        url: format!("{}://{address}", if certificates.is_some() { "https" } else { "http" }),
        tls: certificates.map(|dir| TlsFiles {
            ca: dir.join("ca.pem"),
            cert: dir.join("agent.pem"),
            key: dir.join("agent.key"),
        }),
        join: None,
        spool_dir: spool,
        spool_bytes: bound,
        sync: Sync::Interval,
        sync_interval: Duration::from_millis(100),
        jobs: BTreeSet::new(),
    };
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let (mut sink, uplink) = control::open(&config, "courier", &BTreeMap::new()).expect("the spool opens");
    let backoff = Backoff { first: Duration::from_millis(10), longest: Duration::from_millis(200) };
    // It is killed and missed all the time, on purpose.
    let retry = Retry::new(backoff, Arc::new(Budget::new(1000, Duration::from_millis(1))));
    let (status, (stop, stopped)) = (status::shared(), watch::channel(false));
    let task = runtime.spawn(uplink.with_retry(retry).run(status.clone(), stopped));
    let mut journal = OpenOptions::new().append(true).create(true).open(journal).expect("the journal opens");
    let mut sequence = 0;
    while sequence < count {
        let alerts: Vec<Alert> = (sequence..count.min(sequence + BATCH))
            .map(|number| alert(number + 1, &format!("{}-{}", process::id(), number + 1)))
            .collect();
        let mut batch = Vec::new();
        for alert in &alerts {
            sink.take(alert, &mut batch);
        }
        sink.write(&batch).expect("the spool takes it");
        // One write, so that a kill leaves whole lines or none.
        let lines: Vec<String> = alerts.iter().map(|alert| format!("{}\n", alert.rule)).collect();
        journal.write_all(lines.concat().as_bytes()).expect("the journal is written");
        sequence += alerts.len() as u64;
        thread::sleep(Duration::from_millis(1));
    }
    // Looks at the spool come once a second: the first may be of before.
    thread::sleep(Duration::from_secs(2));
    while status.delivery().pending > 0 {
        thread::sleep(Duration::from_millis(50));
    }
    stop.send(true).expect("the task listens");
    runtime.block_on(task).expect("the task ends");
    let counts = status.delivery().counts;
    println!(
        "lost: shed={} failed={} damaged={} segments={}",
        counts.shed.iter().sum::<u64>(),
        counts.failed,
        counts.damaged,
        counts.lost_segments
    );
}
