//! Test programs and the binaries they start, compiled all at once: one cargo run for the whole workspace, so that
//! every crate is compiled with one set of features and only once.

use std::io::BufReader;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result};
use cargo_metadata::{Message, Metadata};

use crate::lint::{EBPF_PACKAGES, exclusions};
use crate::{console, workspace};

/// Compiled test programs of the workspace.
#[derive(Default)]
pub(super) struct Built {
    programs: Vec<Program>,
    /// Package and target of each test program that should be there.
    wanted: Vec<(String, String)>,
}

/// One test program.
pub(super) struct Program {
    package: String,
    target: String,
    /// The folder of its package, in which tests expect to run.
    folder: PathBuf,
    path: PathBuf,
}

impl Program {
    /// The program, ready for the harness's arguments.
    pub(super) fn command(&self) -> Command {
        let mut command = Command::new(&self.path);
        command.current_dir(&self.folder).env("CARGO_MANIFEST_DIR", &self.folder).env("RUST_BACKTRACE", "0");
        command
    }
}

impl Built {
    /// Compiles everything that compiles; compiler messages go to the terminal.
    pub(super) fn compile() -> Result<Self> {
        console::say("building the tests and the binaries");
        let started = Instant::now();
        let metadata = workspace::metadata()?;
        let mut command = workspace::cargo();
        // Other crates' tests are of use even when one does not compile.
        command.args(["build", "--workspace", "--tests", "--keep-going"]).args(exclusions());
        command.args(binaries(&metadata));
        command.args(["--quiet", "--message-format=json-render-diagnostics"]).stdout(Stdio::piped());
        let mut child = command.spawn().context("cannot run cargo")?;
        let output = child.stdout.take().context("cargo has no standard output")?;
        let mut built = Self { programs: Vec::new(), wanted: wanted(&metadata) };
        for message in Message::parse_stream(BufReader::new(output)) {
            if let Message::CompilerArtifact(artifact) = message.context("cannot read cargo's messages")?
                && artifact.profile.test
                && let Some(path) = artifact.executable
                && let Some(package) =
                    metadata.packages.iter().find(|package| package.id == artifact.package_id)
                && let Some(folder) = package.manifest_path.parent()
            {
                built.programs.push(Program {
                    package: package.name.to_string(),
                    target: artifact.target.name,
                    folder: folder.into(),
                    path: path.into(),
                });
            }
        }
        child.wait().context("cannot wait for cargo")?;
        // Cargo reports in the order of compilation, which differs from run to run.
        built.programs.sort_by(|left, right| (&left.target, &left.path).cmp(&(&right.target, &right.path)));
        console::say(format!(
            "built {} test programs ({:.1} s)",
            built.programs.len(),
            started.elapsed().as_secs_f64()
        ));
        Ok(built)
    }

    /// A package's test programs.
    pub(super) fn programs(&self, package: &str) -> impl Iterator<Item = &Program> {
        self.programs.iter().filter(move |program| program.package == package)
    }

    /// A package's test programs that did not compile.
    pub(super) fn missing(&self, package: &str) -> Vec<&str> {
        let there = |target: &str| self.programs(package).any(|program| program.target == target);
        let wanted = self.wanted.iter().filter(|(owner, _)| owner == package);
        wanted.map(|(_, target)| target.as_str()).filter(|target| !there(target)).collect()
    }
}

/// Names the binaries to cargo, but for this program: it would be replaced while it runs.
fn binaries(metadata: &Metadata) -> Vec<String> {
    let packages = metadata.workspace_packages();
    let others = packages.iter().filter(|package| {
        package.name.as_str() != env!("CARGO_PKG_NAME") && !EBPF_PACKAGES.contains(&package.name.as_str())
    });
    let targets = others.flat_map(|package| package.targets.iter().filter(|target| target.is_bin()));
    targets.flat_map(|target| ["--bin".to_owned(), target.name.clone()]).collect()
}

fn wanted(metadata: &Metadata) -> Vec<(String, String)> {
    let mut wanted = Vec::new();
    let packages = metadata.workspace_packages();
    for package in packages.iter().filter(|package| !EBPF_PACKAGES.contains(&package.name.as_str())) {
        for target in package.targets.iter().filter(|target| target.test) {
            wanted.push((package.name.to_string(), target.name.clone()));
        }
    }
    wanted
}
