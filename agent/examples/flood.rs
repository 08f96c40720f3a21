//! Sends a flood of datagrams, or drops all that come, for `cargo xtask bench ratelimit`.
//!
//! `flood send INTERFACE SOURCES MILLISECONDS CPU` prints how many datagrams it sent, and how many of them in how many
//! nanoseconds once it had found its pace. `flood drop INTERFACE` says `ready` and drops until its input ends.

#![expect(clippy::print_stdout, reason = "the report is the purpose of this program")]

use std::{
    env,
    error::Error,
    io::{self, Read as _},
    net::Ipv4Addr,
    time::{Duration, Instant},
};

use aya::{
    EbpfLoader, include_bytes_aligned,
    programs::{TestRun as _, TestRunAttrs, TestRunOptions, Xdp, XdpMode},
};
use nix::{
    net::if_::if_nametoindex,
    sched::{CpuSet, sched_setaffinity},
    unistd::Pid,
};

static OBJECT: &[u8] = include_bytes_aligned!(env!("RAMPART_FLOOD_OBJECT"));

/// Ethernet addresses of the two ends; those of the interfaces must be the same.
const TO: [u8; 6] = [2, 0, 0, 0, 0, 1];
const FROM: [u8; 6] = [2, 0, 0, 0, 0, 2];
/// Where datagrams are for.
const DESTINATION: Ipv4Addr = Ipv4Addr::new(198, 18, 90, 1);
/// Port that nobody listens at.
const PORT: u16 = 9;
/// The first source.
const SOURCE: u32 = 0x0a00_0000;
/// Length of a frame without the checksum that a driver adds: the shortest of Ethernet.
const FRAME: usize = 60;
/// Frames that are sent at a time: as many as a receiver takes in one go.
const BATCH: u32 = 64;
/// Datagrams by which the pace is found, and the time until it is that of a flood.
const TRIAL: u32 = 1 << 14;
const WARM: Duration = Duration::from_millis(250);

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["send", interface, sources, milliseconds, cpu] => {
            let span = Duration::from_millis(milliseconds.parse()?);
            send(interface, sources.parse()?, span, cpu.parse()?)
        }
        ["drop", interface] => drop_all(interface),
        other => Err(format!("`flood {}` is not known", other.join(" ")).into()),
    }
}

fn send(interface: &str, sources: u32, span: Duration, cpu: usize) -> Result<(), Box<dyn Error>> {
    let mut cpus = CpuSet::new();
    cpus.set(cpu)?;
    sched_setaffinity(Pid::from_raw(0), &cpus)?;
    let (frame, sum) = frame();
    let mask = sources.checked_next_power_of_two().unwrap_or(1) - 1;
    let index = if_nametoindex(interface)?;
    let mut loaded = EbpfLoader::new()
        .override_global("FLOOD_INTERFACE", &index, true)
        .override_global("FLOOD_SOURCE", &SOURCE, true)
        .override_global("FLOOD_MASK", &mask, true)
        .override_global("FLOOD_SUM", &sum, true)
        .load(OBJECT)?;
    let program: &mut Xdp =
        loaded.program_mut("flood").ok_or("the object has no such program")?.try_into()?;
    program.load()?;
    // Nanoseconds that a run took in all, and of a datagram of it.
    let run = |repeat: u32| -> Result<(u128, u128), Box<dyn Error>> {
        let begun = Instant::now();
        let outcome = program.test_run(TestRunOptions {
            data_in: Some(&frame),
            repeat,
            attrs: TestRunAttrs::new().xdp_live_frames(BATCH),
            ..TestRunOptions::new()
        })?;
        Ok((begun.elapsed().as_nanos(), outcome.duration.as_nanos().max(1)))
    };
    // A few to find the pace, some more until bursts are used up and the pace is that of a flood. Then all others in one
    // go: beginning and ending a run takes a grace period of the kernel.
    let (_, each) = run(TRIAL)?;
    let warm = u32::try_from(WARM.as_nanos() / each)?.max(TRIAL);
    let (_, each) = run(warm)?;
    let rest = u32::try_from(span.as_nanos() / each)?.max(TRIAL);
    let (took, _) = run(rest)?;
    let all = u64::from(TRIAL) + u64::from(warm) + u64::from(rest);
    println!("{all} {rest} {took}");
    Ok(())
}

/// A frame without its source, and the sum of its IPv4 header without source and checksum.
fn frame() -> (Vec<u8>, u32) {
    let mut frame = [&TO[..], &FROM[..], &[8, 0]].concat();
    let bytes = |length: usize| (length as u16).to_be_bytes();
    let mut header = vec![0x45, 0];
    header.extend(bytes(FRAME - 14));
    header.extend([0, 1, 0, 0, 64, 17, 0, 0, 0, 0, 0, 0]);
    header.extend(DESTINATION.octets());
    let words = header.as_chunks::<2>().0.iter().map(|word| u32::from(u16::from_be_bytes(*word)));
    let sum = words.sum();
    frame.extend(&header);
    frame.extend([40_000_u16.to_be_bytes(), PORT.to_be_bytes(), bytes(FRAME - 34), [0, 0]].as_flattened());
    frame.resize(FRAME, 0);
    (frame, sum)
}

fn drop_all(interface: &str) -> Result<(), Box<dyn Error>> {
    let mut loaded = EbpfLoader::new().load(OBJECT)?;
    let program: &mut Xdp =
        loaded.program_mut("drop_all").ok_or("the object has no such program")?.try_into()?;
    program.load()?;
    program.attach(interface, XdpMode::Driver)?;
    println!("ready");
    io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}
