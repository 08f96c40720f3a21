//! The record of the pair that works; `agent/build.rs` reads it.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::pair::Pair;
use crate::workspace;

/// Overrides where the record lies, as it does in `agent/build.rs`.
const RECORD_ENV: &str = "RAMPART_EBPF_TOOLCHAIN";

/// A compiler pair and a linker that were seen to make a BPF object.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Record {
    pub(crate) cargo: PathBuf,
    pub(crate) rustc: PathBuf,
    pub(crate) linker: PathBuf,
    /// The pair's own `cargo-clippy`, when it has one.
    pub(crate) clippy: Option<PathBuf>,
    /// Whether `RUSTC_BOOTSTRAP=1` is needed.
    pub(crate) bootstrap: bool,
    /// Where the pair comes from, for people.
    pub(crate) how: String,
    /// First line of `rustc -vV` when the pair was tried.
    pub(crate) version: String,
}

impl Record {
    pub(super) fn new(pair: &Pair, linker: PathBuf) -> Self {
        let Pair { cargo, rustc, clippy, bootstrap, how, version, llvm: _ } = pair.clone();
        Self { cargo, rustc, linker, clippy, bootstrap, how, version }
    }

    /// Where the record lies.
    pub(super) fn path() -> Result<PathBuf> {
        match env::var_os(RECORD_ENV).filter(|value| !value.is_empty()) {
            Some(path) => Ok(PathBuf::from(path)),
            None => Ok(workspace::cache()?.join("ebpf-toolchain")),
        }
    }

    /// The record of an earlier run, if there is one and it is complete.
    pub(crate) fn read() -> Option<Self> {
        Self::parse(&fs::read_to_string(Self::path().ok()?).ok()?)
    }

    pub(super) fn write(&self) -> Result<()> {
        let path = Self::path()?;
        let folder = path.parent().unwrap_or(Path::new("/"));
        fs::create_dir_all(folder).with_context(|| format!("cannot create `{}`", folder.display()))?;
        // Renamed into place, so that a build running meanwhile reads a whole record.
        let scratch = path.with_extension("new");
        fs::write(&scratch, self.render())
            .with_context(|| format!("cannot write `{}`", scratch.display()))?;
        fs::rename(&scratch, &path).with_context(|| format!("cannot write `{}`", path.display()))
    }

    fn render(&self) -> String {
        let clippy = self.clippy.as_deref().unwrap_or(Path::new(""));
        format!(
            "cargo={}\nrustc={}\nlinker={}\nclippy={}\nbootstrap={}\nhow={}\nversion={}\n",
            self.cargo.display(),
            self.rustc.display(),
            self.linker.display(),
            clippy.display(),
            u8::from(self.bootstrap),
            self.how,
            self.version,
        )
    }

    fn parse(text: &str) -> Option<Self> {
        let value = |key: &str| text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        Some(Self {
            cargo: PathBuf::from(value("cargo")?),
            rustc: PathBuf::from(value("rustc")?),
            linker: PathBuf::from(value("linker")?),
            clippy: value("clippy").filter(|path| !path.is_empty()).map(PathBuf::from),
            bootstrap: value("bootstrap")? == "1",
            how: value("how")?.to_owned(),
            version: value("version")?.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Record {
        Record {
            cargo: PathBuf::from("/bin/cargo"),
            rustc: PathBuf::from("/bin/rustc"),
            linker: PathBuf::from("/cache/bpf-linker"),
            clippy: None,
            bootstrap: true,
            how: "a = b".to_owned(),
            version: "rustc 1.96.0".to_owned(),
        }
    }

    #[test]
    fn a_written_record_reads_back_the_same() {
        let mut record = record();
        assert_eq!(Record::parse(&record.render()), Some(record.clone()));
        record.clippy = Some(PathBuf::from("/bin/cargo-clippy"));
        assert_eq!(Record::parse(&record.render()), Some(record));
    }

    #[test]
    fn a_record_with_a_missing_line_counts_as_none() {
        let text = record().render();
        let cut: Vec<&str> = text.lines().filter(|line| !line.starts_with("linker=")).collect();
        assert_eq!(Record::parse(&cut.join("\n")), None);
    }
}
