//! What runs in the machine: the agent, the program that reports on the hooks and the kernel tests, with the libraries
//! they need, all from one build of the workspace.

use std::collections::BTreeSet;
use std::fs;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use cargo_metadata::Message;

use crate::lint::exclusions;
use crate::{console, process, toolchain, workspace};

/// Test programs that need nothing but a kernel and a shell.
const TESTS: [&str; 6] = ["kernel", "paths", "calls", "pushdown", "attacks", "deny"];
/// Programs of the product and its tests.
const PROGRAMS: [&str; 2] = ["rampart", "rampart-hooks"];
/// Programs of this machine, by their places: what tests copy under another name must not go by its name, as busybox does.
const HOST: [(&str, &str); 3] = [("/bin/sh", "bin/sh"), ("/bin/true", "bin/true"), ("/bin/cat", "bin/cat")];
/// The agent's settings in the machine.
const SETTINGS: &str = "containers: {enabled: false}\nlog: {format: text}\nnode: {hostname: guest}\n";
/// What the agent must tell there.
const RULES: &str = "- rule: Secret read
  desc: Somebody read the file.
  condition: evt.type in (open, openat) and fd.name = /etc/secret
  output: Secret read (file=%fd.name program=%proc.name)
  priority: WARNING
";

/// A file for the machine.
pub(super) struct Entry {
    /// Path in the machine, from its root.
    pub(super) to: String,
    pub(super) content: Vec<u8>,
    pub(super) is_program: bool,
}

/// Everything but the kernel's modules.
pub(super) struct Guest {
    pub(super) files: Vec<Entry>,
    /// What is run, in this order.
    pub(super) tests: Vec<&'static str>,
    /// Whether the agent itself is run.
    pub(super) has_agent: bool,
}

impl Guest {
    /// Builds what is needed and reads it.
    pub(super) fn build(hooks_only: bool) -> Result<Self> {
        toolchain::ensure()?;
        let tests: Vec<&'static str> = if hooks_only { Vec::new() } else { TESTS.to_vec() };
        console::say("building the tests and the agent");
        let built = compile(&tests)?;
        let folder = tempfile::tempdir().context("cannot make a folder")?;
        let mut guest = Self { files: Vec::new(), tests, has_agent: !hooks_only };
        let mut libraries = BTreeSet::new();
        for (name, path) in &built {
            libraries.extend(needed(path)?);
            let stripped = folder.path().join(name);
            process::capture(Command::new("strip").arg("-o").arg(&stripped).arg(path))?;
            // Tests look for the agent in the folder above their own.
            let place = if guest.tests.contains(&name.as_str()) { "bin/tests" } else { "bin" };
            guest.add(format!("{place}/{name}"), fs::read(&stripped)?, true);
        }
        for (from, to) in HOST {
            libraries.extend(needed(Path::new(from))?);
            guest.add(to.to_owned(), fs::read(from).with_context(|| format!("cannot read `{from}`"))?, true);
        }
        for library in libraries {
            let content =
                fs::read(&library).with_context(|| format!("cannot read `{}`", library.display()))?;
            guest.add(library.to_string_lossy().trim_start_matches('/').to_owned(), content, true);
        }
        let busybox = workspace::program("busybox").context("`busybox` is not installed")?;
        if !needed(&busybox)?.is_empty() {
            bail!("`{}` is not static; install `busybox-static`", busybox.display());
        }
        guest.add("bin/busybox".to_owned(), fs::read(busybox)?, true);
        guest.add("init".to_owned(), include_bytes!("init.sh").to_vec(), true);
        guest.add("agent.yaml".to_owned(), SETTINGS.into(), false);
        guest.add("agent.rules.yaml".to_owned(), RULES.into(), false);
        Ok(guest)
    }

    /// What is run: the tests only where the agent detects, as they are of nothing else.
    pub(super) fn list(&self, detects: bool) -> String {
        let mut list = "hooks\n".to_owned();
        if self.has_agent {
            list.push_str("agent\n");
        }
        for test in self.tests.iter().filter(|_| detects) {
            list.extend(["tests ", test, "\n"]);
        }
        list
    }

    fn add(&mut self, to: String, content: Vec<u8>, is_program: bool) {
        self.files.push(Entry { to, content, is_program });
    }
}

/// Compiles with the features of the whole workspace, so that nothing is compiled again for `cargo xtask test`.
fn compile(tests: &[&str]) -> Result<Vec<(String, PathBuf)>> {
    let mut command = workspace::cargo();
    command.args(["build", "--workspace", "--quiet", "--message-format=json-render-diagnostics"]);
    command.args(exclusions()).stdout(Stdio::piped());
    for program in PROGRAMS {
        command.args(["--bin", program]);
    }
    for test in tests {
        command.args(["--test", test]);
    }
    let mut child = command.spawn().context("cannot run cargo")?;
    let output = child.stdout.take().context("cargo has no standard output")?;
    let mut built = Vec::new();
    for message in Message::parse_stream(BufReader::new(output)) {
        if let Message::CompilerArtifact(artifact) = message.context("cannot read cargo's messages")?
            && let Some(path) = artifact.executable
        {
            built.push((artifact.target.name, PathBuf::from(path)));
        }
    }
    if !child.wait().context("cannot wait for cargo")?.success() {
        bail!("the tests do not compile, see above");
    }
    for wanted in PROGRAMS.iter().chain(tests) {
        if !built.iter().any(|(name, _)| name == wanted) {
            bail!("cargo built no `{wanted}`");
        }
    }
    // Binaries come along with their tests.
    built.retain(|(name, _)| PROGRAMS.contains(&name.as_str()) || tests.contains(&name.as_str()));
    Ok(built)
}

/// Libraries that the program loader would load.
fn needed(program: &Path) -> Result<Vec<PathBuf>> {
    let answer = process::bounded(Command::new("ldd").arg(program), std::time::Duration::from_secs(30))?;
    // It fails on programs that need none.
    let text = if answer.success() { answer.stdout } else { String::new() };
    let path = |line: &str| {
        let place = line.split_once("=>").map_or(line, |(_, place)| place);
        let word = place.split_whitespace().next()?;
        word.starts_with('/').then(|| PathBuf::from(word))
    };
    Ok(text.lines().filter_map(path).collect())
}
