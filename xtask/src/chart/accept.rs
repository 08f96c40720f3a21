//! Gives the configuration in rendered objects to the real binaries: `check` must find nothing.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_yaml::Value;

use super::manifest::Manifest;
use crate::checks::Checks;
use crate::{process, workspace};

/// `check` takes a moment in a debug build.
const LIMIT: Duration = Duration::from_mins(1);

/// The objects' files in a folder, under the paths of the container moved below it.
pub(super) struct Unpacked {
    pub(super) agent: PathBuf,
    /// Where there is a collector.
    pub(super) collector: Option<PathBuf>,
}

/// Checks what one case renders to.
pub(super) fn check(name: &str, manifest: &Manifest, checks: &mut Checks) {
    let folder = match tempfile::tempdir() {
        Ok(folder) => folder,
        Err(error) => return checks.add(format!("{name} is accepted"), Err(error.into())),
    };
    let unpacked = match unpack(manifest, folder.path()) {
        Ok(unpacked) => unpacked,
        Err(error) => return checks.add(format!("{name} is accepted"), Err(error)),
    };
    checks.add(format!("{name}: the agent accepts its configuration"), accepts("rampart", &unpacked.agent));
    let Some(collector) = unpacked.collector else { return };
    match accepts("rampart-collector", &collector) {
        // Stores that replicas share are newer than some collectors.
        Err(error)
            if ["`bus`", "`url`"]
                .iter()
                .any(|key| format!("{error:#}").contains(&format!("unknown field {key}"))) =>
        {
            checks.skip(
                &format!("{name}: the collector accepts its configuration"),
                "it knows no store for replicas",
            );
        }
        result => checks.add(format!("{name}: the collector accepts its configuration"), result),
    }
}

fn accepts(program: &str, config: &Path) -> Result<()> {
    let mut command = Command::new(binary(program)?);
    command.arg("check").arg("--config").arg(config);
    let finished = process::bounded(&mut command, LIMIT)?;
    if finished.success() {
        return Ok(());
    }
    bail!("{}{}\n{}", finished.stdout, finished.stderr, fs::read_to_string(config).unwrap_or_default())
}

/// A binary of the workspace.
pub(super) fn binary(name: &str) -> Result<PathBuf> {
    let path = workspace::metadata()?.target_directory.join("debug").join(name);
    if path.is_file() { Ok(path.into()) } else { bail!("`{path}` is missing: build it first") }
}

/// Writes the files that pods would see.
pub(super) fn unpack(manifest: &Manifest, folder: &Path) -> Result<Unpacked> {
    let text = |object: &Value, section: &str, key: &str| {
        object.get(section).and_then(|data| data.get(key)).and_then(Value::as_str).map(str::to_owned)
    };
    if let Some(rules) = manifest.find("ConfigMap", "-rules") {
        let data = rules.get("data").and_then(Value::as_mapping).context("the rules have no data")?;
        fs::create_dir_all(folder.join("rules"))?;
        for (name, content) in data {
            let (name, content) = (name.as_str().unwrap_or_default(), content.as_str().unwrap_or_default());
            fs::write(folder.join("rules").join(name), content)?;
        }
    }
    let daemon = manifest.find("DaemonSet", "").context("there is no DaemonSet")?;
    let name = daemon.get("metadata").and_then(|metadata| metadata.get("name")).and_then(Value::as_str);
    let config = manifest.find("ConfigMap", name.context("the DaemonSet has no name")?);
    let config = config.and_then(|config| text(config, "data", "rampart.yaml"));
    let agent = folder.join("rampart.yaml");
    fs::write(&agent, moved(&config.context("there is no configuration of the agent")?, folder, "agent"))?;
    let mut collector = None;
    if let Some(config) =
        manifest.find("Secret", "-collector").and_then(|one| text(one, "stringData", "collector.yaml"))
    {
        let path = folder.join("collector.yaml");
        fs::write(&path, moved(&config, folder, "collector"))?;
        collector = Some(path);
    }
    Ok(Unpacked { agent, collector })
}

/// Paths of the container, below the folder; `who` has certificates of its own.
fn moved(text: &str, folder: &Path, who: &str) -> String {
    let at = |name: &str| folder.join(name).display().to_string();
    // Longer ones first: one is the beginning of another.
    text.replace("/var/lib/rampart-collector", &at("store"))
        .replace("/var/lib/rampart", &at("state"))
        .replace("/usr/share/rampart/rules", &workspace::root().join("rules/packs").display().to_string())
        .replace("/etc/falco/rules.d", &at("rules"))
        .replace("/etc/rampart/tls", &at(&format!("tls-{who}")))
        .replace("/etc/rampart/admin", &at("admin"))
        .replace("/run/rampart", &at("run"))
        .replace("host_root: /host", &format!("host_root: {}", at("host")))
}
