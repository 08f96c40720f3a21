//! What runs in the machine: the agent, the program that reports on the hooks and the kernel tests, with the libraries
//! they need, all from one build of the workspace.

mod programs;

use std::collections::BTreeSet;
use std::fs;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use cargo_metadata::Message;

use crate::arch::Arch;
use crate::lint::exclusions;
use crate::{build, console, process, toolchain, workspace};

/// Test programs that need nothing but a kernel and a shell.
const TESTS: [&str; 6] = ["kernel", "paths", "calls", "pushdown", "attacks", "deny"];
/// Programs of the product and its tests.
const PROGRAMS: [&str; 2] = ["rampart", "rampart-hooks"];
/// The agent's settings in the machine.
const SETTINGS: &str = "containers: {enabled: false}\nlog: {format: text}\nnode: {hostname: guest}\n";
/// What the agent must tell there.
const RULES: &str = "- rule: Secret read
  desc: Somebody read the file.
  condition: evt.type in (open, openat) and fd.name = /etc/secret and proc.name = cat
  output: Secret read (file=%fd.name program=%proc.name)
  priority: WARNING
- rule: Program run
  desc: The program was run.
  condition: evt.type in (execve, execveat) and proc.exepath = /bin/true
  output: Program run (program=%proc.exepath parent=%proc.pname)
  priority: WARNING
- rule: Connection made
  desc: The program connected.
  condition: evt.type = connect and fd.sip = 127.0.0.1 and fd.sport = 8765 and proc.name = nc
  output: Connection made (connection=%fd.name program=%proc.name)
  priority: WARNING
- rule: Secret read by 32 bits
  desc: A 32-bit program read the file.
  condition: evt.type in (open, openat) and fd.name = /etc/secret and proc.name = busybox32
  output: Secret read by 32 bits (file=%fd.name program=%proc.name)
  priority: WARNING
";
/// The names of these rules; the last is for machines with a 32-bit program.
const ALERTS: [&str; 4] = ["Secret read", "Program run", "Connection made", "Secret read by 32 bits"];

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
    /// Rules that it must tell of, each once.
    pub(super) alerts: Vec<&'static str>,
}

impl Guest {
    /// Builds what is needed and reads it.
    pub(super) fn build(arch: Arch, hooks_only: bool, cache: &Path) -> Result<Self> {
        toolchain::ensure()?;
        let tests: Vec<&'static str> = if hooks_only { Vec::new() } else { TESTS.to_vec() };
        console::say(format!("building the tests and the agent for {}", arch.debian()));
        let built = compile(arch, &tests)?;
        let folder = tempfile::tempdir().context("cannot make a folder")?;
        let alerts = if programs::small(arch).is_some() { ALERTS.to_vec() } else { ALERTS[..3].to_vec() };
        let mut guest = Self { files: Vec::new(), tests, has_agent: !hooks_only, alerts };
        let mut libraries = BTreeSet::new();
        for (name, path) in &built {
            if arch.is_own() {
                libraries.extend(programs::libraries(path)?);
            }
            let stripped = folder.path().join(name);
            process::capture(Command::new(arch.tool("strip")).arg("-o").arg(&stripped).arg(path))?;
            // Tests look for the agent in the folder above their own.
            let place = if guest.tests.contains(&name.as_str()) { "bin/tests" } else { "bin" };
            guest.add(format!("{place}/{name}"), fs::read(&stripped)?, true);
        }
        for library in libraries {
            let content =
                fs::read(&library).with_context(|| format!("cannot read `{}`", library.display()))?;
            guest.add(library.to_string_lossy().trim_start_matches('/').to_owned(), content, true);
        }
        for entry in programs::find(arch, cache)? {
            // The programs need some libraries that ours need too.
            if !guest.files.iter().any(|file| file.to == entry.to) {
                guest.files.push(entry);
            }
        }
        guest.add("init".to_owned(), include_bytes!("init.sh").to_vec(), true);
        guest.add("agent.yaml".to_owned(), SETTINGS.into(), false);
        guest.add("agent.rules.yaml".to_owned(), RULES.into(), false);
        guest.add("alerts-wanted".to_owned(), guest.alerts.len().to_string().into_bytes(), false);
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

/// Compiles with the features of the whole workspace, so that nothing is compiled again for `cargo xtask test`; for another
/// kind of machine with the C library inside, as what is shipped for it.
fn compile(arch: Arch, tests: &[&str]) -> Result<Vec<(String, PathBuf)>> {
    let mut command = workspace::cargo();
    command.args(["build", "--workspace", "--quiet", "--message-format=json-render-diagnostics"]);
    command.args(exclusions()).stdout(Stdio::piped());
    if !arch.is_own() {
        build::link_statically(&mut command, arch)?;
    }
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
