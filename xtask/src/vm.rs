//! `cargo xtask vm-test`: the kernel programs, the kernel tests and the agent on other kernels than this machine's.
//!
//! Debian's kernels are downloaded, never installed, and booted in QEMU from an initramfs of the test binaries with the
//! libraries they need. Owns the list of kernels, what must and what must not work on each, and `docs/kernels.md`. The
//! emulator computes in software (`--accel tcg`) unless told otherwise: a `/dev/kvm` that opens proves nothing.

mod archive;
mod emulator;
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

use self::archive::Kernel;
use self::guest::Guest;
use self::machine::{Accel, Machine};
use self::report::Leg;
use crate::arch::Arch;
use crate::test::Tally;
use crate::{console, interrupt, toolchain, workspace};

/// A kernel that can be asked for, and where Debian has it.
struct Series {
    /// What people call it.
    name: &'static str,
    /// Release of Debian.
    suite: &'static str,
    /// Kind of kernel, as part of the package's name.
    flavour: &'static str,
}

/// Every kernel, oldest first.
const SERIES: [Series; 6] = [
    Series { name: "5.10", suite: "bullseye-security", flavour: "cloud-" },
    Series { name: "6.1", suite: "bookworm-security", flavour: "cloud-" },
    Series { name: "6.1-generic", suite: "bookworm-security", flavour: "" },
    Series { name: "6.12", suite: "trixie-security", flavour: "cloud-" },
    Series { name: "6.12-generic", suite: "trixie-security", flavour: "" },
    Series { name: "newest", suite: "trixie-backports", flavour: "cloud-" },
];
/// Kernels that are booted when none is named.
const USUAL: [&str; 2] = ["6.1", "6.12"];
/// The one that `cargo xtask ci` boots: the oldest on which everything works.
const CHECKED: &str = "6.1";
/// Other kinds of machines whose usual kernels belong to all.
const OTHERS: [Arch; 1] = [Arch::Arm64];

/// A kernel of a kind of machine, as it is booted.
struct Target {
    series: &'static Series,
    arch: Arch,
    is_locked: bool,
}

impl Target {
    /// What people call it.
    fn name(&self) -> String {
        let arch = if self.arch.is_own() { String::new() } else { format!(" {}", self.arch.debian()) };
        let locked = if self.is_locked { ", locked down" } else { "" };
        format!("{}{arch}{locked}", self.series.name)
    }

    /// Folder of its kernel.
    fn folder(&self) -> String {
        Self { is_locked: false, ..*self }.name().replace(' ', "-")
    }

    /// Package that depends on the newest of its kind.
    fn package(&self) -> String {
        format!("linux-image-{}{}", self.series.flavour, self.arch.debian())
    }
}

/// Which kernels, and how.
#[derive(Args, Debug)]
pub(crate) struct Options {
    /// Kernels: 5.10, 6.1, 6.1-generic, 6.12, 6.12-generic, newest [default: 6.1 6.12]
    kernels: Vec<String>,
    /// Every kernel, 6.1 once more under `lockdown=confidentiality`, and the usual ones of arm64 where they can be built for
    #[arg(long, conflicts_with_all = ["kernels", "arch"])]
    all: bool,
    /// Kind of machine; another one than this is computed in software, and its programs are built by a cross compiler
    #[arg(long, value_enum, default_value_t = Arch::OWN)]
    arch: Arch,
    /// How the machine is computed; `kvm` only where it is known to work
    #[arg(long, value_enum, default_value_t = Accel::Tcg)]
    accel: Accel,
    /// Only load and attach the programs; no tests, no agent
    #[arg(long)]
    hooks_only: bool,
    /// Minutes that one kernel may take
    #[arg(long, default_value_t = 30)]
    minutes: u64,
    /// Keep what the machines said in this folder
    #[arg(long, value_name = "DIR")]
    keep_log: Option<PathBuf>,
}

/// Boots the kernels one after the other; says whether each did what it must, and must not.
pub(crate) fn run(options: &Options) -> Result<bool> {
    let lab = Lab::open(options)?;
    let (mut legs, mut skipped) = (Vec::new(), Vec::new());
    let mut passed = lab.boot_all(options.arch, &chosen(options)?, &mut legs)?;
    for arch in OTHERS.into_iter().filter(|arch| options.all && !arch.is_own()) {
        let targets = USUAL.iter().map(|name| target(name, arch)).collect::<Result<Vec<_>>>()?;
        // What builds for it, or computes it, cannot be had everywhere.
        match can_be(arch, &lab.cache) {
            Ok(()) => passed &= lab.boot_all(arch, &targets, &mut legs)?,
            Err(reason) => skipped.push(format!("{}: skipped: {reason:#}", arch.debian())),
        }
    }
    report::print(&legs);
    for line in &skipped {
        console::say(line);
    }
    if !options.hooks_only {
        let path = report::write(&legs, &skipped, options.all)?;
        console::say(format!("wrote {}", path.display()));
    }
    Ok(passed && !legs.is_empty())
}

/// Boots one kernel for `cargo xtask ci`, where it and the emulator are to be had, and counts the tests that ran in it. What
/// is not as it must be is tried a second time.
pub(crate) fn checks() -> Result<Tally> {
    let options = Options {
        kernels: vec![CHECKED.to_owned()],
        all: false,
        arch: Arch::OWN,
        accel: Accel::Tcg,
        hooks_only: false,
        minutes: 20,
        keep_log: None,
    };
    let lab = Lab::open(&options)?;
    let target = target(CHECKED, options.arch)?;
    let found = emulator::find(options.arch, &lab.cache)
        .and_then(|emulator| Ok((emulator, archive::kernel(&target, &lab.cache)?)));
    let (emulator, kernel) = match found {
        Ok(found) => found,
        Err(reason) => {
            console::say(format!("  skipped {}: {reason:#}", target.name()));
            return Ok(Tally { skipped: 1, ..Tally::default() });
        }
    };
    let guest = Guest::build(options.arch, options.hooks_only, &lab.cache)?;
    let mut leg = lab.boot(&target, &kernel, &emulator, &guest)?;
    let mut unsteady = 0;
    if !leg.complaints.is_empty() && !interrupt::pending() {
        leg = lab.boot(&target, &kernel, &emulator, &guest)?;
        unsteady = usize::from(leg.complaints.is_empty());
    }
    for skip in &leg.skips {
        console::say(format!("  skipped {skip}"));
    }
    let failed = if leg.complaints.is_empty() { 0 } else { leg.failed.max(1) };
    Ok(Tally { passed: leg.passed, failed, skipped: leg.skips.len(), unsteady })
}

/// Whether another kind of machine can be built for and computed here; installs what that takes.
fn can_be(arch: Arch, cache: &Path) -> Result<()> {
    toolchain::cross(arch)?;
    emulator::find(arch, cache).map(drop)
}

fn chosen(options: &Options) -> Result<Vec<Target>> {
    if options.all {
        let all = SERIES.iter().map(|series| Target { series, arch: options.arch, is_locked: false });
        let locked = Target { is_locked: true, ..target("6.1", options.arch)? };
        return Ok(all.chain([locked]).collect());
    }
    let usual: Vec<String> = USUAL.iter().map(|name| (*name).to_owned()).collect();
    let names = if options.kernels.is_empty() { &usual } else { &options.kernels };
    names.iter().map(|name| target(name, options.arch)).collect()
}

fn target(name: &str, arch: Arch) -> Result<Target> {
    let found = SERIES.iter().find(|series| series.name == name);
    let series = found.with_context(|| {
        let known: Vec<&str> = SERIES.iter().map(|series| series.name).collect();
        format!("there is no kernel `{name}`; there are {}", known.join(", "))
    })?;
    Ok(Target { series, arch, is_locked: false })
}

/// What all boots have in common.
struct Lab<'a> {
    options: &'a Options,
    cache: PathBuf,
    said_in: PathBuf,
}

impl<'a> Lab<'a> {
    /// With a folder for what the machines say.
    fn open(options: &'a Options) -> Result<Self> {
        let cache = workspace::cache()?.join("vm");
        let said_in = options.keep_log.clone().unwrap_or_else(|| workspace::root().join("target/vm"));
        fs::create_dir_all(&said_in).with_context(|| format!("cannot create `{}`", said_in.display()))?;
        Ok(Self { options, cache, said_in })
    }

    /// Boots kernels of one kind of machine; says whether each was as it must be.
    fn boot_all(&self, arch: Arch, targets: &[Target], legs: &mut Vec<Leg>) -> Result<bool> {
        let emulator = emulator::find(arch, &self.cache)?;
        let guest = Guest::build(arch, self.options.hooks_only, &self.cache)?;
        let mut passed = true;
        for target in targets {
            if interrupt::pending() {
                bail!("interrupted");
            }
            let kernel = archive::kernel(target, &self.cache);
            match kernel.and_then(|kernel| self.boot(target, &kernel, &emulator, &guest)) {
                Ok(leg) => {
                    passed &= leg.complaints.is_empty();
                    legs.push(leg);
                }
                Err(reason) => {
                    passed = false;
                    console::say(format!("{}: NOT TESTED: {reason:#}", target.name()));
                }
            }
        }
        Ok(passed)
    }

    /// Boots a kernel and judges what it said.
    fn boot(&self, target: &Target, kernel: &Kernel, emulator: &Path, guest: &Guest) -> Result<Leg> {
        let started = Instant::now();
        console::begin(format!("{}: {} … ", target.name(), kernel.package));
        let file = target.name().replace([' ', ','], "-");
        let initrd = self.said_in.join(format!("{file}.cpio"));
        let detects = !target.is_locked && expectation::detects(&kernel.package);
        initramfs::write(&initrd, guest, &guest.list(detects), kernel)?;
        let machine = Machine {
            arch: target.arch,
            emulator,
            accel: self.options.accel,
            kernel: &kernel.image,
            initrd: &initrd,
            append: if target.is_locked { "lockdown=confidentiality" } else { "" },
            limit: Duration::from_mins(self.options.minutes),
            log: self.said_in.join(format!("{file}.log")),
        };
        let outcome = machine.run();
        // As large as everything in it; made again in a second.
        let _ = fs::remove_file(&initrd);
        let said = outcome?;
        let leg = expectation::judge(target, kernel, guest, &said);
        let verdict = if leg.complaints.is_empty() { "ok" } else { "FAILED" };
        console::say(format!("{verdict}, {} ({:.0} s)", leg.summary(), started.elapsed().as_secs_f64()));
        for complaint in &leg.complaints {
            console::say(format!("  {complaint}"));
        }
        Ok(leg)
    }
}
