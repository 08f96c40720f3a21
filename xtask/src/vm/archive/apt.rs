//! apt with a state of its own: what it downloads is unpacked, never installed.
//!
//! Where the archive is, the machine's own apt configuration says.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::process;

/// Who signs the archive.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// apt with lists of one suite, and nothing of the machine's packages.
pub(super) struct Apt {
    options: Vec<String>,
    folder: PathBuf,
}

impl Apt {
    /// Brings the lists of a suite up to date, for packages of a kind of machine by Debian's name.
    pub(super) fn open(suite: &str, architecture: &str, cache: &Path) -> Result<Self> {
        let folder = cache.join("apt").join(format!("{suite}-{architecture}"));
        for part in ["lists/partial", "cache/archives/partial", "none"] {
            fs::create_dir_all(folder.join(part)).context("cannot create apt's folders")?;
        }
        let uri = uri(suite.ends_with("-security"))?;
        fs::write(folder.join("sources.list"), format!("deb [signed-by={KEYRING}] {uri} {suite} main\n"))?;
        fs::write(folder.join("status"), "")?;
        let at = |name: &str| folder.join(name).display().to_string();
        let options = [
            format!("Dir::State={}", at("")),
            format!("Dir::State::lists={}", at("lists")),
            format!("Dir::State::status={}", at("status")),
            format!("Dir::Cache={}", at("cache")),
            format!("Dir::Etc::sourcelist={}", at("sources.list")),
            format!("Dir::Etc::sourceparts={}", at("none")),
            format!("Dir::Etc::preferences={}", at("none/preferences")),
            format!("Dir::Etc::preferencesparts={}", at("none")),
            "Acquire::Languages=none".to_owned(),
            "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false".to_owned(),
            "Acquire::IndexTargets::deb::CNF::DefaultEnabled=false".to_owned(),
            "APT::Sandbox::User=root".to_owned(),
            format!("APT::Architecture={architecture}"),
            format!("APT::Architectures={architecture}"),
        ];
        let apt = Self { options: options.to_vec(), folder };
        apt.ask("apt-get", &["-qq", "-o", "Acquire::Retries=2", "update"])
            .with_context(|| format!("the archive has no `{suite}`"))?;
        Ok(apt)
    }

    /// The package that a package without content depends on.
    pub(super) fn newest(&self, package: &str) -> Result<String> {
        let text = self.ask("apt-cache", &["show", package])?;
        let depends = text.lines().find_map(|line| line.strip_prefix("Depends: "));
        let names = depends.into_iter().flat_map(|list| list.split([' ', ',']));
        let name = names.into_iter().find(|name| name.starts_with("linux-image-"));
        name.map(str::to_owned).with_context(|| format!("`{package}` depends on no kernel"))
    }

    /// The version of a package that would be downloaded.
    pub(super) fn version(&self, package: &str) -> Result<String> {
        let text = self.ask("apt-cache", &["show", package])?;
        let version = text.lines().find_map(|line| line.strip_prefix("Version: "));
        version.map(str::to_owned).with_context(|| format!("there is no package `{package}`"))
    }

    /// Downloads packages and unpacks them into a folder.
    pub(super) fn unpack(&self, packages: &[String], to: &Path) -> Result<()> {
        for package in packages {
            let file = self.download(package, to)?;
            process::capture(Command::new("dpkg-deb").arg("-x").arg(&file).arg(to.join("root")))?;
            fs::remove_file(&file)?;
        }
        Ok(())
    }

    fn download(&self, package: &str, to: &Path) -> Result<PathBuf> {
        let mut command = self.command("apt-get");
        process::capture(command.args(["-qq", "download", package]).current_dir(to))?;
        let start = format!("{package}_");
        let found = fs::read_dir(to)?
            .filter_map(Result::ok)
            .find(|entry| entry.file_name().to_string_lossy().starts_with(&start));
        found.map(|entry| entry.path()).with_context(|| format!("apt downloaded no `{package}`"))
    }

    fn ask(&self, program: &str, arguments: &[&str]) -> Result<String> {
        process::capture(self.command(program).args(arguments).current_dir(&self.folder))
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        for option in &self.options {
            command.args(["-o", option]);
        }
        command
    }
}

/// Where the machine's own configuration finds Debian.
pub(in crate::vm) fn uri(is_security: bool) -> Result<String> {
    let mut files = vec![PathBuf::from("/etc/apt/sources.list")];
    if let Ok(entries) = fs::read_dir("/etc/apt/sources.list.d") {
        files.extend(entries.filter_map(Result::ok).map(|entry| entry.path()));
    }
    let end = if is_security { "/debian-security" } else { "/debian" };
    for file in files {
        let text = fs::read_to_string(&file).unwrap_or_default();
        let words =
            text.lines().filter(|line| !line.trim_start().starts_with('#')).flat_map(str::split_whitespace);
        for word in words {
            let word = word.trim_end_matches('/');
            if word.starts_with("http") && word.ends_with(end) {
                return Ok(word.to_owned());
            }
        }
    }
    bail!("apt's configuration names no archive that ends with `{end}`")
}
