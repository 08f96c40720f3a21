//! One process of a case: starts the next of the chain and waits for it, or is the last one and acts.

use std::{
    fs,
    io::{Write, stdout},
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use nix::{
    sys::{prctl::set_pdeathsig, signal::Signal},
    unistd::pause,
};
use serde_json::{Value, json};

use crate::{
    argument::Bindings,
    fields::Fields,
    process::Program,
    resource::{Place, Resource},
    script::Script,
    step, sys,
};

/// The files that tell the agent's listener where a case is; none of them exists.
const MARKS: &str = "/rampart-triggers";

/// A case, as far as its processes need to know.
pub(crate) struct Case {
    /// Its name in marks.
    id: String,
    /// Its folder, gone afterwards.
    pub(crate) folder: PathBuf,
    /// The chain of its processes, never empty.
    pub(crate) chain: Vec<Program>,
    /// Programs of its resources, in order.
    pub(crate) resources: Vec<Resource>,
    /// Whether the first process of the container, which is the server, is the case's too.
    pub(crate) container_start: bool,
    before: Option<String>,
    after: Option<String>,
    steps: Vec<Value>,
}

impl Case {
    /// Reads a case; whatever this program cannot perform is an error now.
    pub(crate) fn read(order: &Value) -> Result<Self> {
        let mut order = Fields::new("the order", order)?;
        let id = order.needed("id")?;
        let folder = PathBuf::from(order.needed("folder")?);
        let case = order.take("case").context("the order has no case")?;
        let mut case = Fields::new("the case", &case)?;
        let mut chain = Vec::new();
        let context = case.take("context").unwrap_or_default();
        let mut context = Fields::new("the context", &context)?;
        // The stage is the container.
        context.take("container");
        let container_start = context.flag("containerStart")?;
        for process in context.list("processes")? {
            let mut fields = Fields::new("a process", &process)?;
            chain.push(Program::read(&mut fields, "name|procName")?);
            fields.finish()?;
        }
        context.finish()?;
        if chain.is_empty() {
            chain.push(Program::generator());
        }
        let resources = case.list("resources")?.iter().map(Resource::read).collect::<Result<_>>()?;
        let steps = case.list("steps")?;
        steps.iter().try_for_each(step::check)?;
        let (before, after) = (case.text("before")?, case.text("after")?);
        // For people, for the judge, or already acted on.
        for key in ["rule", "test", "name", "description", "runner", "run_if|runIf", "expect|expectedOutcome"]
        {
            case.take(key);
        }
        case.take("source");
        case.finish()?;
        Ok(Self { id, folder, chain, resources, container_start, before, after, steps })
    }

    /// Makes a mark in the stream of events.
    pub(crate) fn mark(&self, name: &str) {
        mark(&self.id, name);
    }
}

/// Acts as the script says; the result goes into the script.
pub(crate) fn run(script: &Script) -> ExitCode {
    let result = act(script);
    let failed = result.is_err();
    if let Some(result) = result.transpose() {
        script.report(&result);
    }
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// The notes of the last process; `None` when another process has reported.
fn act(script: &Script) -> Result<Option<Vec<String>>> {
    if let Some(id) = script.content.get("idle").and_then(Value::as_str) {
        idle(id);
    }
    let at = script.content.get("at").and_then(Value::as_u64).and_then(|at| usize::try_from(at).ok());
    let at = at.context("the script names no process")?;
    let order = script.content.get("order").context("the script has no order")?;
    let case = Case::read(order)?;
    if let Some(sets) = case.chain.get(at).map(Program::sets).transpose()?.flatten() {
        sys::limit(sets).context("cannot take the capabilities")?;
    }
    match case.chain.get(at + 1) {
        Some(next) => {
            let result = start(next, &case, at + 1, order)?;
            match result.get("error").and_then(Value::as_str) {
                Some(error) => bail!("{error}"),
                None => Ok(Some(notes(&result))),
            }
        }
        None => perform(&case).map(Some),
    }
}

/// Starts a process of the chain, waits for its end and returns its result.
pub(crate) fn start(program: &Program, case: &Case, at: usize, order: &Value) -> Result<Value> {
    let script = Script::new(json!({"at": at, "order": order}))?;
    let mut started = program.start(&case.folder, &at.to_string(), &script, false)?;
    let status = started.child.wait().context("cannot wait for a process")?;
    let result = script.result()?;
    if result.get("done").is_none() {
        bail!("process {at} of the chain ended with {status} and without a result");
    }
    Ok(result)
}

/// What a result says besides that all went well.
pub(crate) fn notes(result: &Value) -> Vec<String> {
    let notes = result.get("notes").and_then(Value::as_array).cloned().unwrap_or_default();
    notes.iter().filter_map(Value::as_str).map(ToOwned::to_owned).collect()
}

/// Makes a mark: tries to open a file that does not exist.
pub(crate) fn mark(id: &str, name: &str) {
    // The attempt is the point.
    drop(fs::File::open(Path::new(MARKS).join(id).join(name)));
}

fn perform(case: &Case) -> Result<Vec<String>> {
    case.mark("begin");
    let mut bindings = Bindings::default();
    let mut notes = Vec::new();
    if let Some(script) = &case.before {
        shell(script).context("the script before the case failed")?;
    }
    let mut made = Vec::new();
    for (index, resource) in case.resources.iter().enumerate() {
        let place = Place { id: &case.id, folder: &case.folder, index };
        made.push(resource.make(&place, &mut bindings)?);
    }
    case.mark("steps");
    for one in &case.steps {
        notes.extend(step::run(one, &mut bindings)?);
    }
    case.mark("done");
    // In the reverse order: a directory may hold a file.
    while let Some(last) = made.pop() {
        drop(last);
    }
    if let Some(script) = &case.after {
        shell(script).context("the script after the case failed")?;
    }
    Ok(notes)
}

fn shell(script: &str) -> Result<()> {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", script]).stdin(Stdio::null()).stdout(Stdio::null());
    let status = command.status().context("cannot run `/bin/sh`")?;
    if !status.success() {
        bail!("`{script}` ended with {status}");
    }
    Ok(())
}

/// A process that is a resource: makes its mark, says that it is there, and waits to be ended.
fn idle(id: &str) -> ! {
    // SIGKILL, so that nothing outlives a case that failed.
    let _ = set_pdeathsig(Signal::SIGKILL);
    mark(id, "process");
    drop(stdout().write_all(b"!"));
    drop(stdout().flush());
    loop {
        pause();
        // Without a pause a broken wait would burn a core.
        thread::sleep(Duration::from_millis(100));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(case: &Value) -> Result<Case> {
        Case::read(&json!({"id": "1", "folder": "/tmp/x", "case": case}))
    }

    #[test]
    fn a_case_is_read_as_a_whole() {
        let case = read(&json!({
            "rule": "R", "test": "t", "context": {"container": {}, "processes": [{"name": "a"}, {"name": "b"}]},
            "resources": [{"type": "fd", "name": "f", "subtype": "pipe"}],
            "steps": [{"type": "syscall", "name": "s", "syscall": "getpid", "args": {}}],
            "expect": {}, "source": "x",
        }));
        let case = case.unwrap();
        assert_eq!((case.chain.len(), case.resources.len(), case.steps.len()), (2, 1, 1));
        assert_eq!(read(&json!({})).unwrap().chain.len(), 1);
    }

    #[test]
    fn what_cannot_be_performed_is_an_error() {
        for (case, message) in [
            (json!({"also": 1}), "the case has keys this program does not know: also"),
            (json!({"context": {"processes": [{"nice": 3}]}}), "a process has keys"),
            (json!({"resources": [{"type": "tape", "name": "t"}]}), "tape"),
            (json!({"steps": [{"type": "syscall", "name": "s", "syscall": "fly", "args": {}}]}), "fly"),
        ] {
            let error = format!("{:#}", read(&case).err().unwrap());
            assert!(error.contains(message), "{error}");
        }
    }
}
