//! The stages that cases are played on: one for the host, one for each kind of container. Each is started when the
//! first case needs it and has a server of the actor, which takes orders and gives answers as JSON lines.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::rc::Rc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TryRecvError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::case::Case;
use super::container::Container;
use super::podman::Podman;
use crate::{interrupt, process};

/// A container takes a second or two; a busy machine needs more.
const READY_LIMIT: Duration = Duration::from_mins(1);
/// A server ends when its orders do; what it started may have to be killed.
const END_LIMIT: Duration = Duration::from_secs(10);
/// Answers that may wait; each case gives one.
const ANSWERS: usize = 1024;

/// Where the actor lies on a stage.
const SERVER: &str = "/tmp/rampart/event-generator";

/// What a server says.
enum Said {
    Line(String),
    Nothing,
}

/// All stages of a run.
pub(super) struct Stages {
    folder: PathBuf,
    actor: PathBuf,
    passwd: PathBuf,
    addresses: Vec<String>,
    running: BTreeMap<String, Stage>,
    /// Started when cases need containers.
    podman: Option<Rc<Podman>>,
    sender: SyncSender<(String, Said)>,
    answers: Receiver<(String, Said)>,
}

/// One stage.
struct Stage {
    child: Child,
    /// Closing it ends the server.
    orders: Option<ChildStdin>,
    log: PathBuf,
    container: Option<Container>,
}

impl Stages {
    /// Stages that keep their files in `folder`; none is started yet.
    pub(super) fn new(
        folder: &Path,
        actor: &Path,
        passwd: &Path,
        addresses: BTreeSet<String>,
        podman: Option<Podman>,
    ) -> Self {
        let (sender, answers) = sync_channel(ANSWERS);
        Self {
            folder: folder.to_owned(),
            actor: actor.to_owned(),
            passwd: passwd.to_owned(),
            addresses: addresses.into_iter().collect(),
            running: BTreeMap::new(),
            podman: podman.map(Rc::new),
            sender,
            answers,
        }
    }

    /// Has a case performed.
    pub(super) fn order(&mut self, case: &Case) -> Result<()> {
        let key = case.container.as_ref().map_or_else(|| "host".to_owned(), Value::to_string);
        if !self.running.contains_key(&key) {
            let stage = self.start(&key, case.container.as_ref())?;
            self.running.insert(key.clone(), stage);
        }
        let stage = self.running.get_mut(&key).context("a stage is gone")?;
        let orders = stage.orders.as_mut().context("a stage takes no more orders")?;
        let order = json!({"id": case.id(), "case": case.order});
        writeln!(orders, "{order}").with_context(|| format!("the actor has ended: {}", stage_log(&stage.log)))
    }

    /// The next answer: a case's name in marks, and what came of it.
    pub(super) fn answer(&mut self) -> Result<Option<(String, Value)>> {
        let (key, said) = match self.answers.try_recv() {
            Ok(answer) => answer,
            Err(TryRecvError::Empty | TryRecvError::Disconnected) => return Ok(None),
        };
        let log = self.running.get(&key).map(|stage| stage_log(&stage.log)).unwrap_or_default();
        match said {
            Said::Nothing => bail!("the actor of the stage {key} has ended: {log}"),
            Said::Line(line) => {
                let value: Value = serde_json::from_str(&line)
                    .with_context(|| format!("the actor of the stage {key} said: {line}"))?;
                let id = value.get("id").and_then(Value::as_str).unwrap_or_default().to_owned();
                Ok(Some((id, value)))
            }
        }
    }

    /// Ends all servers and everything they started.
    pub(super) fn end(&mut self) {
        for stage in self.running.values_mut() {
            stage.orders.take();
        }
        let deadline = Instant::now() + END_LIMIT;
        let mut open: BTreeSet<String> = self.running.keys().cloned().collect();
        while !open.is_empty() {
            match self.answers.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok((key, Said::Nothing)) => drop(open.remove(&key)),
                Ok(_) => {}
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => break,
            }
        }
        // Dropping a stage ends it the hard way.
        self.running.clear();
    }

    fn start(&self, key: &str, container: Option<&Value>) -> Result<Stage> {
        let number = self.running.len();
        let folder = self.folder.join(format!("stage{number}"));
        fs::create_dir(&folder).with_context(|| format!("cannot make `{}`", folder.display()))?;
        let log = self.folder.join(format!("stage{number}.log"));
        let mut command = Command::new(&self.actor);
        command.arg("stage").arg(&folder).arg(&self.passwd);
        let container = match container {
            None => {
                command.arg("host").args(&self.addresses);
                None
            }
            Some(wanted) => {
                let podman = self.podman.as_ref().context("no container runtime was started")?;
                let container = Container::new(wanted, Rc::clone(podman), number)?;
                let (name, value) = container.settings();
                command.env(name, value);
                let mut program = vec![SERVER.to_owned(), "serve".to_owned()];
                program.extend(self.addresses.iter().cloned());
                command.arg("run").args(container.command(&folder.join("root"), &program)?);
                Some(container)
            }
        };
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        command.stderr(File::create(&log).with_context(|| format!("cannot write `{}`", log.display()))?);
        let mut child =
            command.spawn().with_context(|| format!("cannot run `{}`", process::describe(&command)))?;
        let orders = child.stdin.take();
        let output = child.stdout.take().context("the actor has no standard output")?;
        let stage = Stage { child, orders, log, container };
        let (ready, is_ready) = sync_channel(1);
        read(key.to_owned(), output, ready, self.sender.clone());
        let deadline = Instant::now() + READY_LIMIT;
        loop {
            match is_ready.recv_timeout(Duration::from_millis(200)) {
                Ok(()) => return Ok(stage),
                Err(RecvTimeoutError::Timeout) if Instant::now() < deadline && !interrupt::pending() => {}
                Err(_) => {
                    bail!("the actor did not start on the stage {key}: {}", stage_log(&stage.log))
                }
            }
        }
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.orders.take();
        // The host's server is no child of ours; it has ended with its orders.
        self.container.take();
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Passes on what a server says; the first line is for the starter alone.
fn read(key: String, output: ChildStdout, ready: SyncSender<()>, answers: SyncSender<(String, Said)>) {
    thread::spawn(move || {
        let mut lines = BufReader::new(output).lines().map_while(Result::ok);
        if lines.next().is_some() && ready.send(()).is_ok() {
            for line in lines {
                if answers.send((key.clone(), Said::Line(line))).is_err() {
                    return;
                }
            }
            // Nobody is left to hear it otherwise.
            let _ = answers.send((key, Said::Nothing));
        }
    });
}

fn stage_log(log: &Path) -> String {
    fs::read_to_string(log).unwrap_or_default().trim().to_owned()
}
