//! The container of a stage: privileged, on the overlay as its root, without a network; nothing is pulled. Podman
//! keeps all its files in the run's folder, so that no container of the machine is touched.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use nix::sys::resource::{Resource, getrlimit};
use serde_json::Value;

use crate::{console, workspace};

/// Name of a container whose case gives none.
const NAME: &str = "event-generator";

/// Descriptors and processes a container may have; many times what cases need.
const LIMIT: u64 = 4096;

/// Podman's settings: locks in its own folder, control groups made by hand, no log of events.
const SETTINGS: &str =
    "[engine]\nlock_type = \"file\"\ncgroup_manager = \"cgroupfs\"\nevents_logger = \"none\"\n";

/// A container that a stage runs.
pub(super) struct Container {
    name: String,
    environment: Vec<String>,
    /// Podman's own files.
    files: PathBuf,
    /// Name of the control group it lies in.
    group: String,
}

impl Container {
    /// A container as the cases want it.
    pub(super) fn new(wanted: &Value, files: &Path) -> Result<Self> {
        if workspace::program("podman").is_none() {
            bail!(
                "`podman` is not installed, so no case can run in a container; `cargo xtask setup` brings it"
            );
        }
        let map = wanted.as_object().context("the container is no set of keys")?;
        let (mut name, mut environment) = (NAME.to_owned(), Vec::new());
        for (key, value) in map {
            match key.as_str() {
                "name" => value.as_str().context("the container's name is no text")?.clone_into(&mut name),
                "env" => {
                    let map = value.as_object().context("the container's environment is no set of keys")?;
                    let pair = |(key, value): (&String, &Value)| Some(format!("{key}={}", value.as_str()?));
                    environment = map.iter().filter_map(pair).collect();
                }
                other => bail!("the container has a key this command does not know: {other}"),
            }
        }
        fs::create_dir(files).with_context(|| format!("cannot make `{}`", files.display()))?;
        let group = files.file_name().unwrap_or_default().to_string_lossy();
        let group = format!("rampart-triggers-{}-{group}", std::process::id());
        let container = Self { name, environment, files: files.to_owned(), group };
        let (_, settings) = container.settings();
        fs::write(&settings, SETTINGS).with_context(|| format!("cannot write `{}`", settings.display()))?;
        Ok(container)
    }

    /// The command that runs the actor's server in the container, attached to its own streams.
    ///
    /// Both this and podman itself need the environment of [`Container::settings`].
    pub(super) fn command(&self, root: &Path, addresses: &[String]) -> Result<Vec<String>> {
        let mut words = self.podman();
        let group = format!("/{}", self.group);
        let mut add = |more: &[&str]| words.extend(more.iter().map(|word| (*word).to_owned()));
        add(&["run", "--interactive", "--rm", "--privileged", "--network", "none", "--log-driver", "none"]);
        add(&["--name", &self.name, "--cgroup-parent", &group]);
        for pair in &self.environment {
            add(&["--env", pair]);
        }
        // Podman asks for as much as the kernel has, which a confined machine refuses.
        for (name, resource) in [("nofile", Resource::RLIMIT_NOFILE), ("nproc", Resource::RLIMIT_NPROC)] {
            let (_, hard) = getrlimit(resource).context("cannot read a resource limit")?;
            let limit = hard.min(LIMIT);
            add(&["--ulimit", &format!("{name}={limit}:{limit}")]);
        }
        add(&["--rootfs", &root.to_string_lossy(), "/bin/event-generator", "serve"]);
        words.extend(addresses.iter().cloned());
        Ok(words)
    }

    /// The variable that names podman's settings for this run, which touch nothing of the machine's.
    pub(super) fn settings(&self) -> (&'static str, PathBuf) {
        ("CONTAINERS_CONF", self.files.join("containers.conf"))
    }

    /// Removes the container, if it is still there, and its control groups.
    pub(super) fn remove(&self) {
        let words = self.podman();
        let Some((program, rest)) = words.split_first() else { return };
        let mut command = Command::new(program);
        let (name, value) = self.settings();
        command.env(name, value).args(rest).args(["rm", "--force", "--ignore", "--time", "0", &self.name]);
        let status = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
        if !status.is_ok_and(|status| status.success()) {
            console::complain(format!("cannot remove the container `{}`", self.name));
        }
        for root in group_roots() {
            remove_group(&root.join(&self.group));
        }
    }

    fn podman(&self) -> Vec<String> {
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
