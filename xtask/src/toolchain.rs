//! Setting a machine up, and checking that it is.
//!
//! Owns the search for a compiler pair that can build the kernel half, its linker, the record that
//! `agent/build.rs` reads, and the programs the tests run. Each step says why it is taken; a step already done
//! costs nothing. [`check`] never changes the machine.

mod linker;
mod packages;
mod pair;
mod proof;
mod record;
mod tools;

use std::fs::{self, File};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};
use nix::unistd::geteuid;

pub(crate) use self::record::Record;
pub(crate) use self::tools::NGINX_STREAM;
use self::{
    linker::Linker,
    packages::Packages,
    pair::{Pair, Source},
};
use crate::arch::Arch;
use crate::{console, process, workspace};

/// One row of the closing table.
struct Row {
    part: &'static str,
    state: State,
    detail: String,
}

enum State {
    Ready,
    /// Only some tests or commands need it.
    Absent,
    Missing,
}

/// Installs what is missing and records what works; the table at the end says what there is.
pub(crate) fn setup() -> Result<()> {
    let cache = workspace::cache()?;
    fs::create_dir_all(&cache).with_context(|| format!("cannot create `{}`", cache.display()))?;
    // Two set-ups at once would build the linker twice and fight over apt's lock.
    let lock = File::create(cache.join("setup.lock")).context("cannot create the set-up's lock file")?;
    lock.lock().context("cannot take the set-up's lock")?;

    let packages = Packages::new();
    console::say("[1/3] eBPF toolchain: a compiler with `core` as source and a linker with the same LLVM");
    let record = toolchain(&packages)?;
    console::say(format!("    using {} ({})", record.how, record.version));
    console::say("[2/3] linter of the eBPF toolchain: the kernel half is linted with its own compiler");
    linter(&record, &packages)?;
    console::say("[3/3] programs that the tests and the demo run");
    let missing = tools::missing(&tools::TOOLS);
    if !missing.is_empty() {
        tools::install(&missing, &packages)?;
    }
    test_programs();
    console::say("");
    if print_table() { Ok(()) } else { bail!("the set-up is not complete, see the table above") }
}

/// Sets up only if something is missing, so that other commands can begin with it.
pub(crate) fn ensure() -> Result<Record> {
    if let Some(record) =
        Record::read().filter(|record| rows(Some(record)).iter().all(|row| !row.state.is_missing()))
    {
        return Ok(record);
    }
    setup()?;
    Record::read().context("the set-up left no record of the eBPF toolchain")
}

/// Installs what some tests run, where it is missing. Without it they are skipped, each with its reason.
pub(crate) fn test_programs() {
    let missing = tools::missing(&tools::TESTS);
    if missing.is_empty() {
        return;
    }
    if let Err(reason) = tools::install_quietly(&missing, &Packages::new()) {
        console::say(format!("    some tests will be skipped: {reason:#}"));
    }
}

/// Installs what the benches run, where it is missing.
pub(crate) fn bench_programs() -> Result<()> {
    let missing = tools::missing(&tools::BENCH);
    if missing.is_empty() { Ok(()) } else { tools::install_quietly(&missing, &Packages::new()) }
}

/// Installs the proxies that `bench services` compares with, where they are missing.
pub(crate) fn proxies() -> Result<()> {
    let missing = tools::missing(&tools::PROXIES);
    if missing.is_empty() { Ok(()) } else { tools::install_quietly(&missing, &Packages::new()) }
}

/// Installs what builds for another machine and runs what is built, where it is missing.
pub(crate) fn cross(arch: Arch) -> Result<()> {
    let [strip, linker] = ["strip", "gcc"].map(|name| arch.tool(name));
    let emulator = format!("qemu-{}-static", arch.name());
    if [&strip, &linker, &emulator].iter().any(|program| workspace::program(program).is_none()) {
        Packages::new().install(&arch.packages(), "building for another machine")?;
    }
    let installed = process::capture(Command::new("rustup").args(["target", "list", "--installed"]))
        .context("a build for another machine needs rustup, for its standard library")?;
    let target = arch.target();
    if installed.lines().all(|line| line.trim() != target) {
        console::say(format!("    rustup target add {target}"));
        process::run(Command::new("rustup").args(["target", "add", &target]))?;
    }
    Ok(())
}

/// Installs what Python needs to make environments of its own, where it is missing.
pub(crate) fn python_environments() -> Result<()> {
    Packages::new().install(&["python3", "python3-venv"], "what renders the chart")
}

/// Installs the tool that tests alert rules, where it is missing; without it their tests are skipped.
pub(crate) fn prometheus() {
    let missing = tools::missing(&tools::ALERTS);
    if !missing.is_empty()
        && let Err(reason) = tools::install_quietly(&missing, &Packages::new())
    {
        console::say(format!("    alert rules will not be tested: {reason:#}"));
    }
}

/// Prints the table without changing anything; says whether everything needed is there.
pub(crate) fn check() -> bool {
    let complete = print_table();
    if !complete {
        console::say("");
        console::say("run `cargo xtask setup` to install what is missing");
    }
    complete
}

impl State {
    fn is_missing(&self) -> bool {
        matches!(self, Self::Missing)
    }

    fn text(&self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Absent => "absent",
            Self::Missing => "MISSING",
        }
    }
}

/// The recorded pair if it still works, else the first source whose pair compiles a BPF program.
fn toolchain(packages: &Packages) -> Result<Record> {
    if let Some(record) = Record::read() {
        match still_good(&record) {
            Ok(()) => return Ok(record),
            Err(reason) => console::say(format!("    the recorded pair is of no use any more: {reason:#}")),
        }
    }
    let mut refusals = Vec::new();
    for source in Source::ALL {
        console::say(format!("    trying {}", source.name()));
        match attempt(source, packages) {
            Ok(record) => {
                record.write()?;
                return Ok(record);
            }
            Err(reason) => {
                console::say(format!("    not usable: {reason:#}"));
                refusals.push(format!("{}: {reason:#}", source.name()));
            }
        }
    }
    bail!("no eBPF toolchain could be set up:\n  {}", refusals.join("\n  "))
}

fn attempt(source: Source, packages: &Packages) -> Result<Record> {
    let pair = source.find().or_else(|reason| {
        console::say(format!("    {reason:#}"));
        source.install(packages)
    })?;
    console::say(format!("    found {} with LLVM {}", pair.version, pair.llvm));
    let record = with_linker(&pair, packages)?;
    console::say("    compiling a tiny BPF program to see that the pair works");
    proof::prove(&record)?;
    Ok(record)
}

fn with_linker(pair: &Pair, packages: &Packages) -> Result<Record> {
    let linker = Linker::of(pair.llvm)?;
    let program = linker.find().or_else(|reason| {
        console::say(format!("    {reason:#}"));
        linker.install(packages)
    })?;
    Ok(Record::new(pair, program))
}

/// Whether the recorded tools are still the ones that were tried.
fn still_good(record: &Record) -> Result<()> {
    for tool in [&record.cargo, &record.rustc, &record.linker] {
        if !tool.is_file() {
            bail!("`{}` is gone", tool.display());
        }
    }
    let text = process::capture(Command::new(&record.rustc).arg("-vV"))?;
    if text.lines().next() != Some(record.version.as_str()) {
        bail!("the compiler has changed since it was tried");
    }
    Ok(())
}

fn linter(record: &Record, packages: &Packages) -> Result<()> {
    if record.clippy.as_deref().is_some_and(Path::is_file) {
        return Ok(());
    }
    let installed = if record.bootstrap {
        packages.install(&["rust-web-clippy"], "the linter that belongs to rustc-web")
    } else {
        Err(anyhow::anyhow!("add the component `clippy` to the nightly toolchain"))
    };
    if let Err(reason) = installed {
        // Without it, lint falls back to the compiler's own warnings and says so.
        console::say(format!("    no linter for the kernel half: {reason:#}"));
        return Ok(());
    }
    let clippy = record.cargo.with_file_name("cargo-clippy");
    Record { clippy: clippy.is_file().then_some(clippy), ..record.clone() }.write()
}

fn print_table() -> bool {
    let rows = rows(Record::read().as_ref());
    let cells: Vec<Vec<String>> = rows
        .iter()
        .map(|row| vec![row.part.to_owned(), row.state.text().to_owned(), row.detail.clone()])
        .collect();
    console::table(&["part", "state", "detail"], &cells);
    rows.iter().all(|row| !row.state.is_missing())
}

fn rows(record: Option<&Record>) -> Vec<Row> {
    let mut rows = vec![row("Rust", rust())];
    match record.map(|record| (record, still_good(record))) {
        Some((record, Ok(()))) => {
            rows.push(row("eBPF compiler", Ok(format!("{}, {}", record.version, record.how))));
            rows.push(row("bpf-linker", Ok(record.linker.display().to_string())));
            rows.push(match &record.clippy {
                Some(clippy) => row("eBPF linter", Ok(clippy.display().to_string())),
                None => absent("eBPF linter", "lint uses the compiler's own warnings"),
            });
        }
        Some((_, Err(reason))) => rows.push(row("eBPF compiler", Err(reason))),
        None => rows.push(row("eBPF compiler", Err(anyhow::anyhow!("no working pair is recorded")))),
    }
    let missing = tools::missing(&tools::TOOLS);
    rows.push(if missing.is_empty() {
        row("programs", Ok(tools::TOOLS.map(|tool| tool.program).join(" ")))
    } else {
        let names: Vec<String> =
            missing.iter().map(|tool| format!("{} ({})", tool.program, tool.purpose)).collect();
        row("programs", Err(anyhow::anyhow!("{}", names.join(", "))))
    });
    let missing = tools::missing(&tools::TESTS);
    rows.push(if missing.is_empty() {
        row("test programs", Ok(tools::TESTS.map(|tool| tool.program).join(" ")))
    } else {
        let names: Vec<&str> = missing.iter().map(|tool| tool.program).collect();
        absent("test programs", &format!("no {}: the tests that run it are skipped", names.join(", ")))
    });
    let missing = tools::missing(&tools::BENCH);
    rows.push(if missing.is_empty() {
        row("bench programs", Ok(tools::BENCH.map(|tool| tool.program).join(" ")))
    } else {
        let names: Vec<&str> = missing.iter().map(|tool| tool.program).collect();
        absent("bench programs", &format!("no {}: installed by the bench that runs it", names.join(", ")))
    });
    rows.push(if geteuid().is_root() {
        row("privileges", Ok("root".to_owned()))
    } else {
        absent("privileges", "not root: kernel tests are skipped, the demo refuses to start")
    });
    rows.push(if Path::new("/sys/kernel/btf/vmlinux").is_file() {
        row("kernel BTF", Ok("/sys/kernel/btf/vmlinux".to_owned()))
    } else {
        absent("kernel BTF", "this kernel has none: the agent cannot run here")
    });
    rows
}

fn row(part: &'static str, result: Result<String>) -> Row {
    match result {
        Ok(detail) => Row { part, state: State::Ready, detail },
        Err(reason) => Row { part, state: State::Missing, detail: format!("{reason:#}") },
    }
}

fn absent(part: &'static str, detail: &str) -> Row {
    Row { part, state: State::Absent, detail: detail.to_owned() }
}

/// The toolchain of userspace; this command was built by it.
fn rust() -> Result<String> {
    let version = process::capture(workspace::cargo().arg("--version"))?;
    for tool in ["cargo-fmt", "cargo-clippy"] {
        if workspace::program(tool).is_none() {
            bail!("`{tool}` is missing: run `rustup component add rustfmt clippy`");
        }
    }
    Ok(version.trim().to_owned())
}
