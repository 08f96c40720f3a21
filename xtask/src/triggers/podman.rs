//! The container runtime of a run: podman with all its files in the run's folder, so that nothing of the machine's is
//! touched, and its API for the agent to ask.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::{process, workspace};

/// Settings: locks in podman's own folder, control groups made by hand, no log of events.
const SETTINGS: &str =
    "[engine]\nlock_type = \"file\"\ncgroup_manager = \"cgroupfs\"\nevents_logger = \"none\"\n";
/// Top folders that a container has of its own.
const OWN: [&str; 5] = ["dev", "lost+found", "proc", "run", "sys"];
/// Podman answers within a second; a busy machine needs more.
const LIMIT: Duration = Duration::from_secs(30);

/// The runtime; everything of it ends when dropped.
pub(crate) struct Podman {
    files: PathBuf,
    /// Name of the control group that its containers lie in.
    group: String,
    service: Option<Child>,
}

impl Podman {
    /// A runtime that keeps its files in `files`, and starts its API.
    pub(crate) fn start(files: &Path) -> Result<Self> {
        if workspace::program("podman").is_none() {
            bail!(
                "`podman` is not installed, so no case can run in a container; `cargo xtask setup` brings it"
            );
        }
        fs::create_dir(files).with_context(|| format!("cannot make `{}`", files.display()))?;
        let group = format!("rampart-triggers-{}", std::process::id());
        let mut podman = Self { files: files.to_owned(), group, service: None };
        let (_, settings) = podman.settings();
        fs::write(&settings, SETTINGS).with_context(|| format!("cannot write `{}`", settings.display()))?;
        podman.skeleton()?;
        let mut command = podman.command();
        command.args(["system", "service", "--time", "0"]);
        command.arg(format!("unix://{}", podman.socket().display()));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        podman.service = Some(command.spawn().context("cannot start the API of podman")?);
        Ok(podman)
    }

    /// Where its API listens.
    pub(super) fn socket(&self) -> PathBuf {
        self.files.join("podman.sock")
    }

    /// The control group for its containers, from the root of each hierarchy.
    pub(crate) fn group(&self) -> String {
        format!("/{}", self.group)
    }

    /// The variable that names its settings.
    pub(crate) fn settings(&self) -> (&'static str, PathBuf) {
        ("CONTAINERS_CONF", self.files.join("containers.conf"))
    }

    /// The program and the options that every call of it needs, besides its settings.
    pub(crate) fn words(&self) -> Vec<String> {
        let mut words = vec!["podman".to_owned()];
        for (option, folder) in [("--root", "storage"), ("--runroot", "run"), ("--tmpdir", "tmp")] {
            words.push(option.to_owned());
            words.push(self.files.join(folder).to_string_lossy().into_owned());
        }
        words.extend(["--storage-driver".to_owned(), "vfs".to_owned()]);
        // Podman's first choice refuses machines with both generations of control groups.
        if workspace::program("runc").is_some() {
            words.extend(["--runtime".to_owned(), "runc".to_owned()]);
        }
        words
    }

    /// Makes an image of that name: only the folders that the stage is mounted on, nothing is pulled.
    pub(crate) fn image(&self, name: &str) -> Result<()> {
        self.import(&self.files.join("skeleton.tar"), name, &[])
    }

    /// Makes an image of that name of an archive of its files, with instructions of a `Dockerfile`.
    pub(crate) fn import(&self, archive: &Path, name: &str, changes: &[&str]) -> Result<()> {
        let mut command = self.command();
        command.args(["import", "--quiet"]);
        for change in changes {
            command.args(["--change", change]);
        }
        command.arg(archive).arg(name);
        let finished = process::bounded(&mut command, LIMIT)?;
        if !finished.success() {
            bail!("cannot make the image `{name}`: {}", finished.tail());
        }
        Ok(())
    }

    /// Removes a container if it is still there.
    pub(crate) fn remove(&self, name: &str) -> Result<()> {
        let mut command = self.command();
        command.args(["rm", "--force", "--ignore", "--time", "0", name]);
        let finished = process::bounded(&mut command, LIMIT)?;
        if !finished.success() {
            bail!("cannot remove the container `{name}`: {}", finished.tail());
        }
        Ok(())
    }

    fn command(&self) -> Command {
        let words = self.words();
        let mut command = Command::new("podman");
        let (name, value) = self.settings();
        command.args(words.iter().skip(1)).env(name, value);
        command
    }

    /// An archive of the root's folders without their content, and of its links.
    fn skeleton(&self) -> Result<()> {
        let folder = self.files.join("skeleton");
        fs::create_dir(&folder)?;
        for entry in fs::read_dir("/").context("cannot list `/`")? {
            let entry = entry?;
            let to = folder.join(entry.file_name());
            let kind = entry.file_type()?;
            if kind.is_symlink() {
                symlink(fs::read_link(entry.path())?, &to)?;
            } else if kind.is_dir() {
                fs::create_dir(&to)?;
            }
        }
        let mut command = Command::new("tar");
        command.arg("-C").arg(&folder).arg("-cf").arg(self.files.join("skeleton.tar")).arg(".");
        process::capture(&mut command).map(drop)
    }
}

impl Drop for Podman {
    fn drop(&mut self) {
        if let Some(service) = &mut self.service {
            let _ = service.kill();
            let _ = service.wait();
        }
        for root in group_roots() {
            remove_group(&root.join(&self.group));
        }
    }
}

/// Top folders of the root that a container gets from the stage.
pub(super) fn shared_folders() -> Result<Vec<String>> {
    let mut folders = Vec::new();
    for entry in fs::read_dir("/").context("cannot list `/`")? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.file_type()?.is_dir() && !OWN.contains(&name.as_str()) {
            folders.push(name);
        }
    }
    folders.sort_unstable();
    Ok(folders)
}

/// Where hierarchies of control groups are mounted.
fn group_roots() -> Vec<PathBuf> {
    let mounts = fs::read_to_string("/proc/mounts").unwrap_or_default();
    let hierarchy = |line: &str| {
        let mut fields = line.split(' ').skip(1);
        let (folder, kind) = (fields.next()?, fields.next()?);
        kind.starts_with("cgroup").then(|| PathBuf::from(folder))
    };
    mounts.lines().filter_map(hierarchy).collect()
}

/// Removes a group and those in it; one that is in use stays.
fn remove_group(folder: &Path) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_group(&entry.path());
        }
    }
    // Nothing depends on it.
    let _ = fs::remove_dir(folder);
}
