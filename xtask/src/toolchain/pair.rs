//! Compiler pairs that could build the kernel half: a rustc with `core` as source, and its cargo.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::packages::Packages;
use crate::{console, process, workspace};

/// The nightly asked for when rustup has none; any other installed nightly is used as it is.
const NIGHTLY: &str = "nightly-2026-05-20";
/// The workspace's `rust-version`: an older compiler cannot read its manifests.
const MINIMUM: (u32, u32) = (1, 95);
/// LLVM majors that the pinned bpf-linker can be built for.
const LLVM_MAJORS: std::ops::RangeInclusive<u32> = 21..=23;
/// Limit for adding one component, and for a whole toolchain, over a slow network.
const COMPONENT_LIMIT: Duration = Duration::from_mins(3);
const TOOLCHAIN_LIMIT: Duration = Duration::from_mins(10);

/// A compiler that can build `core` for the BPF target.
#[derive(Clone, Debug)]
pub(super) struct Pair {
    pub(super) cargo: PathBuf,
    pub(super) rustc: PathBuf,
    /// Its own linter, when installed.
    pub(super) clippy: Option<PathBuf>,
    /// Whether unstable options must be unlocked with `RUSTC_BOOTSTRAP`.
    pub(super) bootstrap: bool,
    /// Where it comes from, for people.
    pub(super) how: String,
    /// First line of `rustc -vV`.
    pub(super) version: String,
    /// Major version of the LLVM inside; bpf-linker must have the same.
    pub(super) llvm: u32,
}

/// Where a pair can come from, best first.
#[derive(Clone, Copy, Debug)]
pub(super) enum Source {
    Rustup,
    Distribution,
}

impl Source {
    pub(super) const ALL: [Self; 2] = [Self::Rustup, Self::Distribution];

    /// For people.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Rustup => "a rustup nightly with `rust-src`",
            Self::Distribution => "Debian's rustc-web with rust-web-src",
        }
    }

    /// What is already installed; the error says what is missing.
    pub(super) fn find(self) -> Result<Pair> {
        match self {
            Self::Rustup => {
                let mut reason = None;
                for toolchain in nightlies()? {
                    match of_rustup(&toolchain) {
                        Ok(pair) => return Ok(pair),
                        Err(error) => reason = Some(error),
                    }
                }
                Err(reason.unwrap_or_else(|| anyhow::anyhow!("rustup has no nightly toolchain")))
            }
            Self::Distribution => of_distribution(),
        }
    }

    /// Installs what [`Source::find`] missed, in bounded time.
    pub(super) fn install(self, packages: &Packages) -> Result<Pair> {
        match self {
            Self::Rustup => {
                let rustup = workspace::program("rustup").context("rustup is not installed")?;
                if let Some(toolchain) = nightlies()?.first() {
                    console::say(format!("    rustup component add rust-src --toolchain {toolchain}"));
                    let mut command = Command::new(rustup);
                    command.args(["component", "add", "rust-src", "--toolchain", toolchain]);
                    succeed(&mut command, COMPONENT_LIMIT)?;
                } else {
                    console::say(format!("    rustup toolchain install {NIGHTLY} with rust-src and clippy"));
                    let mut command = Command::new(rustup);
                    command.args([
                        "toolchain",
                        "install",
                        NIGHTLY,
                        "--no-self-update",
                        "--profile",
                        "minimal",
                    ]);
                    command.args(["--component", "rust-src", "--component", "clippy"]);
                    succeed(&mut command, TOOLCHAIN_LIMIT)?;
                }
            }
            Self::Distribution => packages.install(
                &["rustc-web", "rust-web-src", "cargo-web", "rust-web-clippy"],
                "a compiler with `core` as source",
            )?,
        }
        self.find()
    }
}

fn succeed(command: &mut Command, limit: Duration) -> Result<()> {
    let text = process::describe(command);
    let finished = process::bounded(command, limit)?;
    if finished.status.is_none() {
        bail!("`{text}` took longer than {} s", limit.as_secs());
    }
    if !finished.success() {
        bail!("`{text}` failed: {}", finished.tail());
    }
    Ok(())
}

/// Installed nightlies, the pinned one first.
fn nightlies() -> Result<Vec<String>> {
    let rustup = workspace::program("rustup").context("rustup is not installed")?;
    let list = process::capture(Command::new(rustup).args(["toolchain", "list"]))?;
    let names = list.lines().filter_map(|line| line.split_whitespace().next());
    let mut names: Vec<String> =
        names.filter(|name| name.starts_with("nightly")).map(ToOwned::to_owned).collect();
    names.sort_by_key(|name| !name.starts_with(NIGHTLY));
    Ok(names)
}

fn of_rustup(toolchain: &str) -> Result<Pair> {
    let rustup = workspace::program("rustup").context("rustup is not installed")?;
    let which = |tool| -> Result<PathBuf> {
        let path = process::capture(Command::new(&rustup).args(["which", "--toolchain", toolchain, tool]))?;
        Ok(PathBuf::from(path.trim()))
    };
    inspect(which("cargo")?, which("rustc")?, false, format!("rustup {toolchain} with rust-src"))
}

fn of_distribution() -> Result<Pair> {
    let [cargo, rustc] = ["/usr/bin/cargo", "/usr/bin/rustc"].map(PathBuf::from);
    for tool in [&cargo, &rustc] {
        if !tool.is_file() {
            bail!("`{}` is not installed", tool.display());
        }
    }
    // A stable compiler takes unstable options only when told to.
    inspect(cargo, rustc, true, "the distribution's rustc with its library sources".to_owned())
}

fn inspect(cargo: PathBuf, rustc: PathBuf, bootstrap: bool, how: String) -> Result<Pair> {
    let text = process::capture(Command::new(&rustc).arg("-vV"))?;
    let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    let release = field("release:").context("`rustc -vV` names no release")?;
    let llvm = field("LLVM version:").context("`rustc -vV` names no LLVM version")?;
    if numbers(release) < Some(MINIMUM) {
        bail!("`{}` is {release}, but {}.{} is needed", rustc.display(), MINIMUM.0, MINIMUM.1);
    }
    let Some((llvm_major, _)) = numbers(llvm).filter(|(major, _)| LLVM_MAJORS.contains(major)) else {
        bail!("`{}` uses LLVM {llvm}, for which no bpf-linker exists", rustc.display());
    };
    let sysroot = process::capture(Command::new(&rustc).args(["--print", "sysroot"]))?;
    let core = Path::new(sysroot.trim()).join("lib/rustlib/src/rust/library/core/src/lib.rs");
    if !core.is_file() {
        bail!("{how}: the library sources are missing (`{}`)", core.display());
    }
    let clippy = cargo.with_file_name("cargo-clippy");
    Ok(Pair {
        clippy: (clippy.is_file() && clippy.with_file_name("clippy-driver").is_file()).then_some(clippy),
        version: text.lines().next().unwrap_or_default().to_owned(),
        llvm: llvm_major,
        cargo,
        rustc,
        bootstrap,
        how,
    })
}

/// The first two numbers of a version such as `22.1.8` or `1.97.0-nightly`.
fn numbers(version: &str) -> Option<(u32, u32)> {
    let mut parts = version.split('.').map(str::parse);
    Some((parts.next()?.ok()?, parts.next()?.ok()?))
}

#[cfg(test)]
mod tests {
    use super::numbers;

    #[test]
    fn versions_order_by_number_not_by_text() {
        assert_eq!(numbers("1.97.0-nightly"), Some((1, 97)));
        assert!(numbers("1.100.0") > numbers("1.95.0"));
        assert_eq!(numbers("unknown"), None);
    }
}
