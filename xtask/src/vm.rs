//! `cargo xtask vm-test`: the kernel programs, the kernel tests and the agent on other kernels than this machine's.
//!
//! Debian's kernels are downloaded, never installed, and booted in QEMU from an initramfs of the test binaries with the
//! libraries they need. Owns the list of kernels, what must and what must not work on each, and `docs/kernels.md`. The
//! emulator computes in software (`--accel tcg`) unless told otherwise: a `/dev/kvm` that opens proves nothing.

mod archive;
mod expectation;
mod guest;
mod initramfs;
mod machine;
mod report;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Args;

use self::guest::Guest;
use self::machine::{Accel, Machine};
use self::report::Leg;
use crate::{console, interrupt, workspace};

/// A kernel that can be asked for, and where Debian has it.
struct Series {
    /// What people call it.
    name: &'static str,
    /// Release of Debian.
    suite: &'static str,
    /// Package that depends on the newest of its kind there.
    package: &'static str,
}

/// Every kernel, oldest first.
const SERIES: [Series; 6] = [
    Series { name: "5.10", suite: "bullseye-security", package: "linux-image-cloud-amd64" },
    Series { name: "6.1", suite: "bookworm-security", package: "linux-image-cloud-amd64" },
    Series { name: "6.1-generic", suite: "bookworm-security", package: "linux-image-amd64" },
    Series { name: "6.12", suite: "trixie-security", package: "linux-image-cloud-amd64" },
    Series { name: "6.12-generic", suite: "trixie-security", package: "linux-image-amd64" },
    Series { name: "newest", suite: "trixie-backports", package: "linux-image-cloud-amd64" },
];
/// Kernels that are booted when none is named.
const USUAL: [&str; 2] = ["6.1", "6.12"];

/// Which kernels, and how.
#[derive(Args, Debug)]
pub(crate) struct Options {
    /// Kernels: 5.10, 6.1, 6.1-generic, 6.12, 6.12-generic, newest [default: 6.1 6.12]
    kernels: Vec<String>,
    /// Every kernel, and 6.1 once more under `lockdown=confidentiality`
    #[arg(long)]
    all: bool,
    /// How the machine is computed; `kvm` only where it is known to work
    #[arg(long, value_enum, default_value_t = Accel::Tcg)]
    accel: Accel,
    /// Only load and attach the programs; no tests, no agent
    #[arg(long)]
    hooks_only: bool,
    /// Minutes that one kernel may take
    #[arg(long, default_value_t = 15)]
    minutes: u64,
    /// Keep what the machines said in this folder
    #[arg(long, value_name = "DIR")]
    keep_log: Option<PathBuf>,
}

/// Boots the kernels one after the other; says whether each did what it must, and must not.
pub(crate) fn run(options: &Options) -> Result<bool> {
    let chosen = chosen(options)?;
    machine::emulator()?;
    let guest = Guest::build(options.hooks_only)?;
    let cache = workspace::cache()?.join("vm");
    let said_in = options.keep_log.clone().unwrap_or_else(|| workspace::root().join("target/vm"));
    fs::create_dir_all(&said_in).with_context(|| format!("cannot create `{}`", said_in.display()))?;
    let mut legs = Vec::new();
    let mut failed = false;
    for (series, lockdown) in chosen {
        if interrupt::pending() {
            bail!("interrupted");
        }
        match boot(series, lockdown, options, &guest, &cache, &said_in) {
            Ok(leg) => {
                failed |= !leg.complaints.is_empty();
                legs.push(leg);
            }
            Err(reason) => {
                failed = true;
                console::say(format!("{}: NOT TESTED: {reason:#}", series.name));
            }
        }
    }
    report::print(&legs);
    if !options.hooks_only {
        let path = report::write(&legs, options.all)?;
        console::say(format!("wrote {}", path.display()));
    }
    Ok(!failed && !legs.is_empty())
}

fn chosen(options: &Options) -> Result<Vec<(&'static Series, bool)>> {
    if options.all {
        let all = SERIES.iter().map(|series| (series, false));
        let locked = SERIES.iter().filter(|series| series.name == "6.1").map(|series| (series, true));
        return Ok(all.chain(locked).collect());
    }
    let usual: Vec<String> = USUAL.iter().map(|name| (*name).to_owned()).collect();
    let names = if options.kernels.is_empty() { &usual } else { &options.kernels };
    let find = |name: &String| {
        let found = SERIES.iter().find(|series| series.name == name);
        found.map(|series| (series, false)).with_context(|| {
            let known: Vec<&str> = SERIES.iter().map(|series| series.name).collect();
            format!("there is no kernel `{name}`; there are {}", known.join(", "))
        })
    };
    names.iter().map(find).collect()
}

/// Fetches a kernel, boots it and judges what it said.
fn boot(
    series: &'static Series,
    is_locked: bool,
    options: &Options,
    guest: &Guest,
    cache: &Path,
    said_in: &Path,
) -> Result<Leg> {
    let started = Instant::now();
    let kernel = archive::fetch(series, cache)?;
    let name = if is_locked { format!("{}, locked down", series.name) } else { series.name.to_owned() };
    console::begin(format!("{name}: {} … ", kernel.package));
    let file = name.replace([' ', ','], "-");
    let initrd = said_in.join(format!("{file}.cpio"));
    initramfs::write(
        &initrd,
        guest,
        &guest.list(!is_locked && expectation::detects(&kernel.package)),
        &kernel,
    )?;
    let machine = Machine {
        accel: options.accel,
        kernel: &kernel.image,
        initrd: &initrd,
        append: if is_locked { "lockdown=confidentiality" } else { "" },
        limit: Duration::from_mins(options.minutes),
        log: said_in.join(format!("{file}.log")),
    };
    let outcome = machine.run();
    // As large as everything in it; made again in a second.
    let _ = fs::remove_file(&initrd);
    let said = outcome?;
    let leg = expectation::judge(name, &kernel, is_locked, guest, &said);
    let verdict = if leg.complaints.is_empty() { "ok" } else { "FAILED" };
    console::say(format!("{verdict}, {} ({:.0} s)", leg.summary(), started.elapsed().as_secs_f64()));
    for complaint in &leg.complaints {
        console::say(format!("  {complaint}"));
    }
    Ok(leg)
}
