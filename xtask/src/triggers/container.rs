//! The container of a stage: privileged unless the case says otherwise, with the overlay's folders as its own and without a
//! network.

use std::path::Path;
use std::rc::Rc;

use anyhow::{Context, Result, bail};
use nix::sys::resource::{Resource, getrlimit};
use serde_json::Value;

use super::podman::{Podman, shared_folders};
use crate::console;

/// Name of a container, and of its image, when the case gives none; those of Falco's generator.
const NAME: &str = "event-generator";
const IMAGE: &str = "docker.io/falcosecurity/event-generator:latest";
/// Descriptors and processes a container may have; many times what cases need.
const LIMIT: u64 = 4096;

/// A container that a stage runs.
pub(super) struct Container {
    podman: Rc<Podman>,
    name: String,
    image: String,
    environment: Vec<String>,
    /// More options of its start.
    options: Vec<String>,
    is_privileged: bool,
}

impl Container {
    /// A container as the cases want it; `number` tells those apart that have no name.
    pub(super) fn new(wanted: &Value, podman: Rc<Podman>, number: usize) -> Result<Self> {
        let map = wanted.as_object().context("the container is no set of keys")?;
        let name = if number == 0 { NAME.to_owned() } else { format!("{NAME}{number}") };
        let mut container = Self {
            podman,
            name,
            image: IMAGE.to_owned(),
            environment: Vec::new(),
            options: Vec::new(),
            is_privileged: true,
        };
        for (key, value) in map {
            let text = || value.as_str().with_context(|| format!("the container's `{key}` is no text"));
            match key.as_str() {
                "name" => text()?.clone_into(&mut container.name),
                "image" => text()?.clone_into(&mut container.image),
                "env" => {
                    let map = value.as_object().context("the container's environment is no set of keys")?;
                    let pair = |(key, value): (&String, &Value)| Some(format!("{key}={}", value.as_str()?));
                    container.environment = map.iter().filter_map(pair).collect();
                }
                "privileged" => container.is_privileged = truth(key, value)?,
                "hostPid" if truth(key, value)? => container.options.push("--pid=host".to_owned()),
                "mounts" => {
                    for folder in value.as_array().context("the container's mounts are no list")? {
                        let pair = folder.as_str().context("a mount of the container is no text")?;
                        container.options.push(format!("--volume={pair}"));
                    }
                }
                "runtimeSocket" if truth(key, value)? => {
                    let socket = container.podman.socket();
                    container.options.push(format!("--volume={}:/run/podman.sock", socket.display()));
                }
                other => bail!("the container has a key this command does not know: {other}"),
            }
        }
        container.podman.image(&container.image)?;
        Ok(container)
    }

    /// The variable its command needs.
    pub(super) fn settings(&self) -> (&'static str, std::path::PathBuf) {
        self.podman.settings()
    }

    /// The command that runs `program` of the stage in the container, attached to its own streams.
    pub(super) fn command(&self, root: &Path, program: &[String]) -> Result<Vec<String>> {
        let mut words = self.podman.words();
        let group = self.podman.group();
        let mut add = |more: &[&str]| words.extend(more.iter().map(|word| (*word).to_owned()));
        add(&["run", "--interactive", "--rm", "--network", "none", "--log-driver", "none"]);
        if self.is_privileged {
            add(&["--privileged"]);
        } else {
            // What the actor needs; the container is not privileged for that.
            add(&[
                "--cap-add=all",
                "--security-opt=seccomp=unconfined",
                "--security-opt=apparmor=unconfined",
            ]);
        }
        for option in &self.options {
            add(&[option]);
        }
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
        for folder in shared_folders()? {
            add(&["--volume", &format!("{}/{folder}:/{folder}", root.display())]);
        }
        add(&[&self.image]);
        words.extend(program.iter().cloned());
        Ok(words)
    }
}

fn truth(key: &str, value: &Value) -> Result<bool> {
    value.as_bool().with_context(|| format!("the container's `{key}` is neither true nor false"))
}

impl Drop for Container {
    fn drop(&mut self) {
        if let Err(error) = self.podman.remove(&self.name) {
            console::complain(format!("{error:#}"));
        }
    }
}
