//! Runs the image as the chart would: the collector as nobody in particular, the agent with the chart's capabilities and
//! nothing more, under the system call profile of `deploy/seccomp`, both without a writable root.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::resource::{Resource, getrlimit};
use serde_yaml::Value;

use super::USER;
use crate::checks::Checks;
use crate::triggers::Podman;
use crate::{interrupt, process, workspace};

const IMAGE: &str = "localhost/rampart:trial";
/// What the agent must tell, from outside its container.
const WATCHED: &str = "/tmp/rampart-image-test";
const RULES: &str = "- rule: Image test
  desc: Somebody opened the file that the test watches.
  condition: evt.type in (open, openat) and fd.name = /tmp/rampart-image-test
  output: Watched file opened (file=%fd.name)
  priority: WARNING
";
/// Podman answers within a second; a busy machine needs more.
const LIMIT: Duration = Duration::from_mins(1);
const PATIENCE: Duration = Duration::from_mins(2);
/// Descriptors and processes of a container: podman asks for as many as the kernel has, which a confined machine refuses.
const MOST: u64 = 4096;

/// A way to run containers of the image.
struct Trial<'a> {
    podman: &'a Podman,
    folder: &'a Path,
}

pub(super) fn run(files: &Path, folder: &Path, checks: &mut Checks) -> Result<()> {
    let archive = folder.join("image.tar");
    process::capture(Command::new("tar").arg("-C").arg(files).arg("-cf").arg(&archive).arg("."))?;
    let podman = Podman::start(&folder.join("podman"))?;
    podman.import(&archive, IMAGE, &[&format!("USER {USER}"), r#"ENTRYPOINT ["/usr/bin/rampart"]"#])?;
    let trial = Trial { podman: &podman, folder };
    checks.add("the agent says its version", trial.says(&[], &["--version"], "rampart 0."));
    let collector = ["--entrypoint", "/usr/bin/rampart-collector"];
    checks.add("the collector checks its configuration", trial.says(&collector, &["check"], "store "));
    checks.add("there is no shell", trial.no_shell());
    checks.add(
        "the rules of the image are those of the workspace",
        trial.says(&[], &["check", "--rules", "/usr/share/rampart/rules"], ""),
    );
    checks.add("the agent detects with the chart's capabilities", trial.detects());
    Ok(())
}

impl Trial<'_> {
    /// Words that run a container without a network and without a writable root.
    fn words(&self, name: &str, options: &[&str]) -> Result<Vec<String>> {
        let mut words = self.podman.words();
        let group = self.podman.group();
        let mut add = |more: &[&str]| words.extend(more.iter().map(|word| (*word).to_owned()));
        add(&[
            "run",
            "--rm",
            "--network",
            "none",
            "--read-only",
            "--log-driver",
            "none",
            "--cap-drop",
            "ALL",
        ]);
        add(&["--name", name, "--cgroup-parent", &group]);
        for (name, resource) in [("nofile", Resource::RLIMIT_NOFILE), ("nproc", Resource::RLIMIT_NPROC)] {
            let (_, hard) = getrlimit(resource).context("cannot read a resource limit")?;
            let most = hard.min(MOST);
            add(&["--ulimit", &format!("{name}={most}:{most}")]);
        }
        add(options);
        add(&[IMAGE]);
        Ok(words)
    }

    fn command(&self, name: &str, options: &[&str], arguments: &[&str]) -> Result<Command> {
        let words = self.words(name, options)?;
        let (variable, settings) = self.podman.settings();
        let (program, rest) = words.split_first().context("podman has a name")?;
        let mut command = Command::new(program);
        command.args(rest).args(arguments).env(variable, settings);
        Ok(command)
    }

    fn says(&self, options: &[&str], arguments: &[&str], text: &str) -> Result<()> {
        let finished = process::bounded(&mut self.command("rampart-trial", options, arguments)?, LIMIT)?;
        if finished.success() && finished.stdout.contains(text) {
            return Ok(());
        }
        bail!("{}{}", finished.stdout, finished.stderr)
    }

    fn no_shell(&self) -> Result<()> {
        for shell in ["/bin/sh", "/usr/bin/sh", "/bin/bash", "/bin/busybox"] {
            let mut command = self.command("rampart-trial", &["--entrypoint", shell], &["-c", "true"])?;
            if process::bounded(&mut command, LIMIT)?.success() {
                bail!("`{shell}` runs");
            }
        }
        Ok(())
    }

    /// Runs the agent, opens the file outside, and waits for the alert.
    fn detects(&self) -> Result<()> {
        let rules = self.folder.join("rules.yaml");
        fs::write(&rules, RULES)?;
        for name in ["state", "run"] {
            fs::create_dir_all(self.folder.join(name))?;
        }
        let at = |name: &str| self.folder.join(name).display().to_string();
        let volumes = [
            format!("{}:/etc/falco/rules.d/test.yaml:ro", rules.display()),
            format!("{}:/var/lib/rampart", at("state")),
            format!("{}:/run/rampart", at("run")),
        ];
        let seccomp = format!("seccomp={}", workspace::root().join("deploy/seccomp/agent.json").display());
        let mut options = vec!["--pid", "host", "--user", "0", "--security-opt", seccomp.as_str()];
        for volume in &volumes {
            options.extend(["--volume", volume.as_str()]);
        }
        let capabilities = capabilities()?;
        for capability in &capabilities {
            options.extend(["--cap-add", capability.as_str()]);
        }
        let arguments = ["run", "--output", "json", "--rules", "/etc/falco/rules.d"];
        let mut command = self.command("rampart-trial", &options, &arguments)?;
        let (alerts, log) = (self.folder.join("alerts"), self.folder.join("log"));
        command.stdin(Stdio::null()).stdout(File::create(&alerts)?).stderr(File::create(&log)?);
        let mut child = command.spawn().context("cannot run podman")?;
        let outcome = self.told(&mut child, &alerts);
        let stopped = self.stop(&mut child);
        let _ = fs::remove_file(WATCHED);
        outcome.and(stopped).with_context(|| fs::read_to_string(&log).unwrap_or_default())
    }

    fn told(&self, child: &mut Child, alerts: &Path) -> Result<()> {
        let end = Instant::now() + PATIENCE;
        fs::write(WATCHED, "").with_context(|| format!("cannot write `{WATCHED}`"))?;
        while !fs::read_to_string(alerts).unwrap_or_default().contains("\"rule\":\"Image test\"") {
            if let Some(status) = child.try_wait()? {
                bail!("the agent ended with {status}");
            }
            if Instant::now() >= end || interrupt::pending() {
                bail!("no alert came");
            }
            // Again and again: from when on the agent looks is not seen from outside.
            drop(File::open(WATCHED));
            thread::sleep(Duration::from_millis(200));
        }
        // The answer of the agent's own command, from inside.
        let mut words = self.podman.words();
        words.extend(["exec", "rampart-trial", "/usr/bin/rampart", "status"].map(str::to_owned));
        let (variable, settings) = self.podman.settings();
        let mut command = Command::new("podman");
        command.args(words.iter().skip(1)).env(variable, settings);
        let finished = process::bounded(&mut command, LIMIT)?;
        if finished.success() {
            Ok(())
        } else {
            bail!("`rampart status`: {}{}", finished.stdout, finished.stderr)
        }
    }

    /// Ends the container and what waits for it.
    fn stop(&self, child: &mut Child) -> Result<()> {
        self.podman.remove("rampart-trial")?;
        match process::wait(child, LIMIT)? {
            Some(_) => Ok(()),
            None => bail!("the container did not end"),
        }
    }
}

/// What the chart gives the agent when neither limits nor services are on.
fn capabilities() -> Result<Vec<String>> {
    let values = workspace::root().join("helm/values.yaml");
    let text = fs::read_to_string(&values).with_context(|| format!("cannot read `{}`", values.display()))?;
    let values: Value = serde_yaml::from_str(&text).context("the chart's values are no YAML")?;
    let base = values.get("agent").and_then(|agent| agent.get("capabilities")?.get("base")?.as_sequence());
    let names = base.context("the chart names no capabilities")?.iter().filter_map(Value::as_str);
    Ok(names.map(str::to_owned).collect())
}
