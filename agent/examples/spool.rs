//! How fast the spool takes alerts and gives them back, and how long a start with a full one takes.
//!
//! Prints lines that `cargo xtask bench collector` reads. Writes a gigabyte below the directory it is started in.

#![expect(clippy::print_stdout, reason = "the report is the purpose of this program")]

use std::{error::Error, time::Instant};

use rampart_agent::spool::{Entry, Folder, Options, Spool, Sync};

/// Bytes of an alert, as one of the shipped rules makes it.
const ALERT: usize = 1200;
/// Alerts of a batch.
const BATCH: u64 = 50;
/// Bytes written.
const TOTAL: u32 = 1 << 30;

fn main() -> Result<(), Box<dyn Error>> {
    let dir = std::env::current_dir()?.join(format!("spool-bench-{}", std::process::id()));
    let outcome = measure(&dir);
    std::fs::remove_dir_all(&dir)?;
    outcome
}

fn measure(dir: &std::path::Path) -> Result<(), Box<dyn Error>> {
    let options = Options { sync: Sync::Interval, bytes: 2 * u64::from(TOTAL), boot: [1; 16] };
    let mut spool = Spool::open(Folder::new(dir)?, options)?;
    let payload = vec![b'x'; ALERT];
    let started = Instant::now();
    let mut sequence = 0;
    while spool.bytes() < u64::from(TOTAL) {
        let entries: Vec<Entry<'_>> = (0..BATCH)
            .map(|index| Entry { lane: 4, cpu: 0, sequence: sequence + index, payload: &payload })
            .collect();
        spool.append(&entries)?;
        sequence += BATCH;
    }
    spool.sync()?;
    let rate = |seconds: f64| f64::from(TOTAL) / 1e6 / seconds;
    let write = rate(started.elapsed().as_secs_f64());
    println!("spool.write_mb_per_s\t{write:.0}\tMB/s\t{write:.0}\t{write:.0}");
    drop(spool);
    let started = Instant::now();
    let mut spool = Spool::open(Folder::new(dir)?, Options { boot: [2; 16], ..options })?;
    let open = started.elapsed().as_secs_f64() * 1e3;
    println!("spool.recovery_1gb_ms\t{open:.0}\tms\t{open:.0}\t{open:.0}");
    let started = Instant::now();
    let mut found = 0;
    while spool.has_unread() {
        let records = spool.read(1 << 20, 4096)?;
        found += records.len() as u64;
        if let Some(last) = records.last() {
            spool.acknowledge(last.lane, last.number);
        }
    }
    let read = rate(started.elapsed().as_secs_f64());
    if found != sequence {
        return Err(format!("{found} of {sequence} came back").into());
    }
    println!("spool.read_mb_per_s\t{read:.0}\tMB/s\t{read:.0}\t{read:.0}");
    Ok(())
}
