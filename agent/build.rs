//! Builds the kernel programs (`agent-ebpf`, `limiter-ebpf`, `services-ebpf`) and hands their objects to the agent.
//!
//! Owns the nested cargo run; writes only below `OUT_DIR`. The compiler pair it drives is the one that
//! `cargo xtask setup` found working and recorded; this script never searches or installs one itself.
//! The crate embeds the results, such as `include_bytes!(env!("RAMPART_BPF_OBJECT"))`.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use object::build::elf::{Builder, SectionData};

/// Overrides where the toolchain record is read from.
const RECORD_ENV: &str = "RAMPART_EBPF_TOOLCHAIN";
/// Packages that hold kernel programs.
const PACKAGES: [&str; 3] = ["rampart-ebpf", "rampart-limiter-ebpf", "rampart-services-ebpf"];
/// Their binaries, the objects made of them, and the variables by which the crate finds those. The flood and
/// the hook are for their examples only.
const OBJECTS: [(&str, &str, &str); 7] = [
    ("rampart-ebpf", "rampart.bpf.o", "RAMPART_BPF_OBJECT"),
    ("rampart-deny-ebpf", "deny.bpf.o", "RAMPART_DENY_OBJECT"),
    ("rampart-limiter-ebpf", "limiter.bpf.o", "RAMPART_LIMITER_OBJECT"),
    ("rampart-services-ebpf", "services.bpf.o", "RAMPART_SERVICES_OBJECT"),
    ("rampart-quarantine-ebpf", "quarantine.bpf.o", "RAMPART_QUARANTINE_OBJECT"),
    ("rampart-flood-ebpf", "flood.bpf.o", "RAMPART_FLOOD_OBJECT"),
    ("rampart-hook-ebpf", "hook.bpf.o", "RAMPART_HOOK_OBJECT"),
];
/// Only little-endian kernels are supported.
const TARGET: &str = "bpfel-unknown-none";
/// Profile of the root manifest for kernel programs.
const PROFILE: &str = "bpf";
/// Variables the nested cargo may see although they look like cargo's own: they say where crates come from and
/// how many jobs may run, not how the outer build is configured.
const KEPT: [&str; 8] = [
    "CARGO_HOME",
    "CARGO_HTTP_",
    "CARGO_MAKEFLAGS",
    "CARGO_NET_",
    "CARGO_REGISTRIES_",
    "CARGO_REGISTRY_",
    "CARGO_SOURCE_",
    "CARGO_TERM_",
];
/// Prefixes of variables that the outer cargo sets for its own build and that would mislead a nested one.
const SCRUBBED: [&str; 6] = ["CARGO", "RUSTC", "RUSTDOC", "RUSTFLAGS", "RUSTUP_TOOLCHAIN", "LD_LIBRARY_PATH"];

/// What `cargo xtask setup` recorded: one compiler pair that was seen to produce a BPF object.
struct Toolchain {
    cargo: PathBuf,
    rustc: PathBuf,
    linker: PathBuf,
    bootstrap: bool,
}

/// Why the object could not be built.
enum Failure {
    /// Shown as one line; nothing else is worth reading.
    Message(String),
    /// The nested cargo has already written its own diagnostics to standard error.
    Reported(String),
}

impl From<String> for Failure {
    fn from(message: String) -> Self {
        Self::Message(message)
    }
}

fn main() -> ExitCode {
    match build() {
        Ok(objects) => {
            for (variable, object) in objects {
                directive("rustc-env", &format!("{variable}={}", object.display()));
            }
            ExitCode::SUCCESS
        }
        Err(Failure::Message(message)) => {
            directive("error", &message);
            ExitCode::SUCCESS
        }
        Err(Failure::Reported(message)) => {
            directive("error", &message);
            ExitCode::FAILURE
        }
    }
}

fn build() -> Result<Vec<(&'static str, PathBuf)>, Failure> {
    directive("rerun-if-env-changed", RECORD_ENV);
    let manifest_dir = PathBuf::from(variable("CARGO_MANIFEST_DIR")?);
    let workspace =
        manifest_dir.parent().ok_or_else(|| "the agent crate lies outside its workspace".to_owned())?;
    for input in [
        "Cargo.toml",
        "agent-ebpf/Cargo.toml",
        "agent-ebpf/src",
        "agent-common/Cargo.toml",
        "agent-common/src",
        "limiter-ebpf/Cargo.toml",
        "limiter-ebpf/src",
        "services-ebpf/Cargo.toml",
        "services-ebpf/src",
    ] {
        directive("rerun-if-changed", &workspace.join(input).display().to_string());
    }

    let arch = variable("CARGO_CFG_TARGET_ARCH")?;
    if !matches!(arch.as_str(), "x86_64" | "aarch64") {
        return Err(format!("kernel programs exist for x86_64 and aarch64, not for `{arch}`").into());
    }
    if variable("CARGO_CFG_TARGET_ENDIAN")? != "little" {
        return Err("big-endian kernels are not supported".to_owned().into());
    }

    let toolchain = Toolchain::recorded()?;
    let out_dir = PathBuf::from(variable("OUT_DIR")?);
    let target_dir = out_dir.join("bpf-target");
    run_cargo(&toolchain, workspace, &target_dir, &arch)?;

    let mut objects = Vec::new();
    for (binary, name, variable) in OBJECTS {
        let built = target_dir.join(TARGET).join(PROFILE).join(binary);
        let object = out_dir.join(name);
        let bytes =
            fs::read(&built).map_err(|error| format!("cannot read `{}`: {error}", built.display()))?;
        let bytes = without_debug_sections(&bytes)
            .map_err(|error| format!("cannot strip `{}`: {error}", built.display()))?;
        fs::write(&object, bytes).map_err(|error| format!("cannot write `{}`: {error}", object.display()))?;
        objects.push((variable, object));
    }
    Ok(objects)
}

fn run_cargo(toolchain: &Toolchain, workspace: &Path, target_dir: &Path, arch: &str) -> Result<(), Failure> {
    let mut flags = vec![
        "-Ctarget-cpu=v3".to_owned(),
        "-Cdebuginfo=2".to_owned(),
        "-Clink-arg=--btf".to_owned(),
        format!("-Clinker={}", toolchain.linker.display()),
        format!("--cfg=bpf_target_arch=\"{arch}\""),
    ];
    flags.extend(neutral_places(toolchain, workspace));
    let mut command = at_fixed_addresses(&toolchain.cargo);
    for (name, _) in env::vars_os() {
        let name = name.to_string_lossy();
        let scrubbed = SCRUBBED.iter().any(|prefix| name.starts_with(prefix));
        if scrubbed && !KEPT.iter().any(|prefix| name.starts_with(prefix)) {
            command.env_remove(name.as_ref());
        }
    }
    command
        .arg("build")
        .args(PACKAGES.iter().flat_map(|package| ["--package", package]))
        .args(["--bins", "--profile", PROFILE, "--target", TARGET])
        .args(["-Z", "build-std=core", "--target-dir"])
        .arg(target_dir)
        .current_dir(workspace)
        .env("RUSTC", &toolchain.rustc)
        // The unit separator keeps flags with spaces whole and outranks any configured `rustflags`.
        .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}"));
    if toolchain.bootstrap {
        command.env("RUSTC_BOOTSTRAP", "1");
    }
    let status =
        command.status().map_err(|error| format!("cannot run `{}`: {error}", toolchain.cargo.display()))?;
    if status.success() {
        Ok(())
    } else {
        Err(Failure::Reported(format!("the kernel programs did not build ({status})")))
    }
}

/// A command whose memory lies at the same addresses each time, where the system can do that: the linker tells types it has
/// seen by their addresses, so that two of them change places now and then, and the object is another one.
fn at_fixed_addresses(program: &Path) -> Command {
    let fixed = || {
        let mut command = Command::new("setarch");
        command.arg("--addr-no-randomize");
        command
    };
    if fixed().arg("true").status().is_ok_and(|status| status.success()) {
        let mut command = fixed();
        command.arg(program);
        command
    } else {
        Command::new(program)
    }
}

/// Flags that give files the same names wherever they are built: the types (BTF) tell of each line's file, and the agent
/// carries them.
fn neutral_places(toolchain: &Toolchain, workspace: &Path) -> Vec<String> {
    let home = env::var_os("HOME").map(|home| PathBuf::from(home).join(".cargo"));
    let crates = env::var_os("CARGO_HOME").map(PathBuf::from).or(home);
    let sysroot = Command::new(&toolchain.rustc).args(["--print", "sysroot"]).output().ok();
    let sysroot =
        sysroot.and_then(|said| String::from_utf8(said.stdout).ok()).map(|path| PathBuf::from(path.trim()));
    let places = [
        (sysroot.map(|root| root.join("lib/rustlib/src/rust")), "/rust"),
        (crates, "/cargo"),
        (Some(workspace.to_owned()), "/rampart"),
    ];
    let flag =
        |(from, to): (Option<PathBuf>, &str)| Some(format!("--remap-path-prefix={}={to}", from?.display()));
    places.into_iter().filter_map(flag).collect()
}

/// The object without DWARF, which only the linker needs, to make the types (BTF) of it: three quarters of the bytes,
/// that the agent would carry and page in.
fn without_debug_sections(bytes: &[u8]) -> Result<Vec<u8>, object::build::Error> {
    let mut builder = Builder::read(bytes)?;
    for section in &mut builder.sections {
        let name = section.name.as_slice();
        section.delete =
            [b".debug_".as_slice(), b".rel.debug_"].iter().any(|prefix| name.starts_with(prefix));
    }
    // The compiler keeps the names of sections among those of symbols; the writer wants them apart.
    let names = builder.sections.add();
    names.name = b".shstrtab".as_slice().into();
    names.sh_type = object::elf::SHT_STRTAB;
    names.sh_addralign = 1;
    names.data = SectionData::SectionString;
    builder.delete_orphans();
    let mut stripped = Vec::new();
    builder.write(&mut stripped)?;
    Ok(stripped)
}

impl Toolchain {
    /// Reads the record; an absent or outdated one is answered with the command that makes it.
    fn recorded() -> Result<Self, String> {
        let path = record_path().ok_or_else(|| {
            format!("neither `{RECORD_ENV}`, `XDG_CACHE_HOME` nor `HOME` is set, so no eBPF toolchain can be found")
        })?;
        directive("rerun-if-changed", &path.display().to_string());
        let Ok(text) = fs::read_to_string(&path) else {
            return Err(
                "no eBPF toolchain is set up on this machine: run `cargo xtask setup` once".to_owned()
            );
        };
        let toolchain = Self {
            cargo: PathBuf::from(value(&text, "cargo")?),
            rustc: PathBuf::from(value(&text, "rustc")?),
            linker: PathBuf::from(value(&text, "linker")?),
            bootstrap: value(&text, "bootstrap")? == "1",
        };
        for tool in [&toolchain.cargo, &toolchain.rustc, &toolchain.linker] {
            if !tool.is_file() {
                return Err(format!(
                    "the recorded eBPF toolchain lacks `{}`: run `cargo xtask setup` again",
                    tool.display()
                ));
            }
        }
        Ok(toolchain)
    }
}

/// Same place as `xtask` writes: the per-user cache, so that fresh clones reuse it.
fn record_path() -> Option<PathBuf> {
    let set = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    set(RECORD_ENV).or_else(|| {
        let cache = set("XDG_CACHE_HOME").or_else(|| set("HOME").map(|home| home.join(".cache")))?;
        Some(cache.join("rampart/ebpf-toolchain"))
    })
}

/// One `key=value` line of the record.
fn value<'a>(text: &'a str, key: &str) -> Result<&'a str, String> {
    text.lines()
        .find_map(|line| line.strip_prefix(key)?.strip_prefix('='))
        .ok_or_else(|| format!("the eBPF toolchain record lacks `{key}`: run `cargo xtask setup` again"))
}

fn variable(name: &str) -> Result<String, String> {
    env::var(name).map_err(|error| format!("cargo did not set `{name}`: {error}"))
}

/// Tells cargo something; this is the only way a build script can.
fn directive(name: &str, value: &str) {
    println!("cargo::{name}={value}");
}
