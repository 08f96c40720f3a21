//! What the intrusion needs on disk: scratch folders, a decoy, copies of programs, and the rules that make every
//! alert say the three facts the demo checks.

use std::env;
use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use tempfile::TempDir;

use super::step::{self, Pack};
use crate::{process, workspace};

/// The decoy's rule; the rest of the pack is the product's.
pub(super) const DECOY_RULE: &str = "Decoy credential file read";

/// The stage of the intrusion; its folders are removed when dropped.
pub(super) struct Scene {
    folder: TempDir,
    /// In the shared memory file system.
    memory: TempDir,
    /// The demo's own rule file.
    pub(super) rules: PathBuf,
    /// The Python interpreter itself, not a launcher script for it.
    pub(super) python: PathBuf,
}

impl Scene {
    pub(super) fn prepare(upstream: bool) -> Result<Self> {
        let scratch = |base: &Path| {
            let folder = tempfile::Builder::new().prefix("rampart-demo-").tempdir_in(base);
            folder.with_context(|| format!("cannot make a scratch folder in `{}`", base.display()))
        };
        let folder = scratch(&env::temp_dir())?;
        let memory = scratch(Path::new("/dev/shm"))?;
        let python = interpreter()?;
        let scene = Self { rules: folder.path().join("demo.yaml"), folder, memory, python };

        fs::create_dir(scene.path("vault"))?;
        fs::write(scene.decoy(), "root:$6$decoy$decoy:19000:0:99999:7:::\n")?;
        symlink("/etc/shadow", scene.path("notes.txt"))?;
        let copy = |from: &Path, name: &str| {
            let to = scene.path(name);
            fs::copy(from, &to)
                .with_context(|| format!("cannot copy `{}` to `{}`", from.display(), to.display()))
        };
        copy(Path::new("/bin/sh"), "nginx")?;
        copy(&env::current_exe().context("cannot find this program's own file")?, "implant")?;
        fs::write(&scene.rules, scene.rule_file(upstream))?;
        Ok(scene)
    }

    /// The scratch folder.
    pub(super) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A file in the scratch folder.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A file that looks like password hashes and that nothing has a reason to read.
    pub(super) fn decoy(&self) -> PathBuf {
        self.path("vault/shadow")
    }

    /// The scratch folder in shared memory.
    pub(super) fn memory(&self) -> &Path {
        self.memory.path()
    }

    /// The text with the scratch folders' long names abbreviated.
    pub(super) fn shorten(&self, text: &str) -> String {
        let folder = self.folder.path().to_string_lossy().into_owned();
        let memory = self.memory.path().to_string_lossy().into_owned();
        text.replace(&memory, "$SHM").replace(&folder, "$TMP")
    }

    /// A rule for the decoy, and for each rule the demo expects an addition to its output.
    fn rule_file(&self, upstream: bool) -> String {
        let facts = "demo: name=%proc.name parent=%proc.pname file=%fd.name";
        let mut text = format!(
            "- rule: {DECOY_RULE}\n  desc: A decoy was opened, which nothing has a reason to do.\n  \
             condition: evt.type in (open, openat, openat2) and fd.name = {}\n  \
             output: \"{DECOY_RULE} ({facts})\"\n  priority: CRITICAL\n",
            self.decoy().display()
        );
        let mut rules: Vec<(&str, Pack)> = step::all(self)
            .into_iter()
            .flat_map(|step| step.expected)
            .map(|expected| (expected.rule, expected.pack))
            .filter(|(_, pack)| *pack == Pack::Base || (upstream && *pack == Pack::Upstream))
            .collect();
        rules.sort_unstable();
        rules.dedup();
        for (rule, _) in rules {
            // Writing to text cannot fail.
            let _ =
                write!(text, "\n- rule: {rule}\n  output: \" ({facts})\"\n  override: {{output: append}}\n");
        }
        text
    }
}

/// The interpreter's own file: a launcher script in `PATH` would add processes of its own.
fn interpreter() -> Result<PathBuf> {
    let launcher = workspace::program("python3").context("`python3` is not installed")?;
    let path = process::capture(Command::new(launcher).args(["-c", "import sys; print(sys.executable)"]))?;
    Ok(PathBuf::from(path.trim()))
}
