//! The proof that a pair works: a tiny program is really compiled, linked and looked at.

use std::fs;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::record::Record;
use crate::process;

/// Compiling `core` takes a quarter of a minute on one slow core.
const LIMIT: Duration = Duration::from_mins(10);
/// Machine number of BPF in an ELF header, and where it stands.
const EM_BPF: u16 = 247;
const MACHINE_OFFSET: usize = 18;

const MANIFEST: &str = r#"[package]
name = "proof"
version = "0.0.0"
edition = "2024"
publish = false

[workspace]

[profile.release]
lto = true
codegen-units = 1
panic = "abort"
debug = 2
"#;

const PROGRAM: &str = r#"#![no_std]
#![no_main]
#[unsafe(no_mangle)]
#[unsafe(link_section = "socket")]
pub extern "C" fn proof(context: *const u32) -> i32 {
    i32::from(context.is_null())
}
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
"#;

/// Compiles and links a one-function BPF program with the recorded tools.
pub(super) fn prove(record: &Record) -> Result<()> {
    let folder = tempfile::Builder::new()
        .prefix("rampart-proof-")
        .tempdir()
        .context("cannot make a scratch folder")?;
    fs::create_dir(folder.path().join("src"))?;
    fs::write(folder.path().join("Cargo.toml"), MANIFEST)?;
    fs::write(folder.path().join("src/main.rs"), PROGRAM)?;
    let mut command = record.cargo_command("build");
    command.args(["--release", "--target-dir", "target"]).current_dir(folder.path());
    let finished = process::bounded(&mut command, LIMIT)?;
    if finished.status.is_none() {
        bail!("compiling a tiny BPF program took longer than {} s", LIMIT.as_secs());
    }
    if !finished.success() {
        bail!("compiling a tiny BPF program failed:\n{}", finished.tail());
    }
    let object = folder.path().join("target/bpfel-unknown-none/release/proof");
    let bytes = fs::read(&object).with_context(|| format!("cannot read `{}`", object.display()))?;
    let machine = bytes.get(MACHINE_OFFSET..MACHINE_OFFSET + 2).and_then(|machine| machine.try_into().ok());
    if !bytes.starts_with(b"\x7fELF") || machine.map(u16::from_le_bytes) != Some(EM_BPF) {
        bail!("what the linker made is not a BPF object");
    }
    if !bytes.windows(4).any(|window| window == b".BTF") {
        bail!("the BPF object carries no BTF");
    }
    Ok(())
}

impl Record {
    /// The pair's cargo with a subcommand for the BPF target, free of the outer cargo's settings.
    pub(crate) fn cargo_command(&self, subcommand: &str) -> Command {
        let mut command = match (&self.clippy, subcommand) {
            // `cargo clippy` looks in `PATH` first, where another toolchain's may come earlier.
            (Some(clippy), "clippy") => Command::new(clippy),
            _ => Command::new(&self.cargo),
        };
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            let scrubbed = ["CARGO_PKG_", "CARGO_CFG_", "CARGO_BIN_", "CARGO_MANIFEST_", "CARGO_BUILD_"];
            if scrubbed.iter().any(|prefix| text.starts_with(prefix)) {
                command.env_remove(&name);
            }
        }
        for name in ["CARGO_TARGET_DIR", "RUSTFLAGS", "RUSTUP_TOOLCHAIN", "LD_LIBRARY_PATH"] {
            command.env_remove(name);
        }
        let flags = [
            "-Ctarget-cpu=v3".to_owned(),
            "-Cdebuginfo=2".to_owned(),
            "-Clink-arg=--btf".to_owned(),
            format!("-Clinker={}", self.linker.display()),
            format!("--cfg=bpf_target_arch=\"{}\"", std::env::consts::ARCH),
        ];
        command
            .args([subcommand, "--target", "bpfel-unknown-none", "-Z", "build-std=core"])
            .env("CARGO", &self.cargo)
            .env("RUSTC", &self.rustc)
            .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}"));
        if self.bootstrap {
            command.env("RUSTC_BOOTSTRAP", "1");
        }
        command
    }
}
