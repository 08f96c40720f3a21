//! bpf-linker, built once per user and LLVM major.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::packages::Packages;
use crate::{console, process, workspace};

/// Pinned: a newer one may drop the LLVM that the compiler has.
const VERSION: &str = "0.13.0";

/// bpf-linker for one LLVM major.
pub(super) struct Linker {
    llvm: u32,
    folder: PathBuf,
}

impl Linker {
    pub(super) fn of(llvm: u32) -> Result<Self> {
        let folder = workspace::cache()?.join(format!("tools/bpf-linker-{VERSION}-llvm{llvm}"));
        Ok(Self { llvm, folder })
    }

    /// The program, when it is there and starts.
    pub(super) fn find(&self) -> Result<PathBuf> {
        let program = self.folder.join("bin/bpf-linker");
        if !program.is_file() {
            bail!("bpf-linker {VERSION} for LLVM {} is not built yet", self.llvm);
        }
        process::capture(Command::new(&program).arg("--version"))?;
        Ok(program)
    }

    /// Builds it from crates.io against the distribution's LLVM; takes minutes the first time.
    pub(super) fn install(&self, packages: &Packages) -> Result<PathBuf> {
        let prefix = PathBuf::from(format!("/usr/lib/llvm-{}", self.llvm));
        let headers = ["/usr/include/zstd.h", "/usr/include/zlib.h", "/usr/include/libxml2/libxml/tree.h"];
        let complete = prefix.join("bin/llvm-config").is_file()
            && headers.iter().all(|header| fs::exists(header).unwrap_or(false))
            && workspace::program("c++").is_some();
        if !complete {
            let llvm = format!("llvm-{}-dev", self.llvm);
            packages.install(
                &[llvm.as_str(), "libzstd-dev", "zlib1g-dev", "libxml2-dev", "g++"],
                "bpf-linker links the compiler's LLVM",
            )?;
        }
        console::say(format!("    cargo install bpf-linker {VERSION} for LLVM {} (some minutes)", self.llvm));
        fs::create_dir_all(&self.folder)
            .with_context(|| format!("cannot create `{}`", self.folder.display()))?;
        let feature = format!("llvm-{}", self.llvm);
        process::run(
            workspace::cargo()
                .args(["install", "bpf-linker", "--version", VERSION, "--locked", "--force", "--quiet"])
                .args(["--no-default-features", "--features", &feature, "--root"])
                .arg(&self.folder)
                .env("LLVM_PREFIX", &prefix)
                // Only the binary is wanted in the cache, and no flags of the workspace in it.
                .env_remove("CARGO_TARGET_DIR")
                .env_remove("RUSTFLAGS"),
        )?;
        self.find()
    }
}
