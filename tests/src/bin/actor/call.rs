//! Steps of a case that are system calls, made with real memory behind every address.

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::{
    argument::{Bindings, number},
    debugger,
    fields::Fields,
    frame::Frame,
    table::{Kind, ROWS, Row},
};

/// Most repetitions of a step.
const TIMES_MAX: u64 = 100_000;

/// One step as described.
struct Step {
    name: String,
    row: &'static Row,
    arguments: Value,
    /// How often it is made, one right after the other.
    times: u64,
    /// The process that is made to make it, by its registers; this one where there is none.
    inside: Option<Value>,
}

/// Whether a step is one this program can make.
pub(crate) fn check(step: &Value) -> Result<()> {
    Step::read(step).map(drop)
}

/// Makes the call and binds its result. A refusal by the kernel is a note: the attempt is an event too.
pub(crate) fn run(step: &Value, bindings: &mut Bindings) -> Result<Option<String>> {
    let step = Step::read(step)?;
    let what = format!("the call `{}` of step `{}`", step.row.name, step.name);
    let frame =
        Frame::build(step.row, &step.arguments, bindings).with_context(|| format!("cannot make {what}"))?;
    for (names, value) in &frame.shown {
        for name in names.split('|') {
            bindings.bind(&step.name, name, value.clone());
        }
    }
    let inside = step.inside.as_ref().map(|pid| number(&bindings.resolve(pid)?)).transpose()?;
    if let Some(pid) = inside {
        let result = debugger::call(pid, step.row.number, frame.arguments())
            .with_context(|| format!("cannot have {what} made by process {pid}"))?;
        bindings.bind(&step.name, "ret", result);
        return Ok((result < 0).then(|| format!("{what} failed: {result}")));
    }
    for _ in 1..step.times {
        // What came of the last one is told.
        let _ = frame.make(step.row);
    }
    match frame.make(step.row) {
        Ok(result) => {
            bindings.bind(&step.name, "ret", result);
            Ok(None)
        }
        Err(error) => {
            bindings.bind(&step.name, "ret", -1);
            Ok(Some(format!("{what} failed: {error}")))
        }
    }
}

impl Step {
    fn read(value: &Value) -> Result<Self> {
        let mut fields = Fields::new("a step", value)?;
        fields.needed("type")?;
        let call = fields.needed("syscall")?;
        let name = fields.text("name")?.unwrap_or_else(|| call.clone());
        let row = ROWS.iter().find(|row| row.name == call);
        let row = row.with_context(|| format!("no system call `{call}` is known on this architecture"))?;
        let arguments = fields.take("args").unwrap_or_default();
        let times = fields.take("times").as_ref().map_or(Ok(1), number)?;
        let times = u64::try_from(times).ok().filter(|times| (1..=TIMES_MAX).contains(times));
        let times = times.with_context(|| format!("a step is made 1 to {TIMES_MAX} times"))?;
        let inside = fields.take("inside");
        fields.finish()?;
        if inside.is_some() && row.parameters.iter().any(|parameter| !is_number(parameter.1)) {
            bail!("the call `{call}` takes addresses, which mean nothing in another process");
        }
        let mut given = Fields::new(format!("the call `{call}`"), &arguments)?;
        for parameter in row.parameters.iter().filter(|parameter| !parameter.0.is_empty()) {
            if given.take(parameter.0).is_none() && is_needed(parameter.1) {
                bail!("the call `{call}` has no `{}`", parameter.0);
            }
        }
        given.finish()?;
        Ok(Self { name, row, arguments, times, inside })
    }
}

fn is_needed(kind: Kind) -> bool {
    matches!(kind, Kind::Number | Kind::Text | Kind::Buffer | Kind::Address | Kind::Handle)
}

fn is_number(kind: Kind) -> bool {
    matches!(kind, Kind::Number | Kind::Default(_) | Kind::Fixed(_))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn step(call: &str, arguments: &Value) -> Value {
        json!({"type": "syscall", "name": "s", "syscall": call, "args": arguments})
    }

    #[test]
    fn calls_are_made_and_their_results_bound() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f");
        let mut bindings = Bindings::default();
        let open = step("openat", &json!({"pathname": path, "flags": "O_RDWR|O_CREAT", "mode": 384}));
        assert_eq!(run(&open, &mut bindings).unwrap(), None);
        let write = step("write", &json!({"fd": "${s.ret}", "buffer": "hello"}));
        assert_eq!(run(&write, &mut bindings).unwrap(), None);
        assert_eq!(std::fs::read(&path).unwrap(), b"hello");
        assert_eq!(bindings.resolve(&json!("${s.ret} ${s.len}")).unwrap(), json!("5 5"));
        let how = json!({"pathname": path, "how": {"flags": "O_RDONLY", "resolve": "RESOLVE_NO_SYMLINKS"}});
        assert_eq!(run(&step("openat2", &how), &mut bindings).unwrap(), None);
        let read = step("read", &json!({"fd": "${s.ret}", "len": 3}));
        assert_eq!(run(&read, &mut bindings).unwrap(), None);
        assert_eq!(bindings.resolve(&json!("${s.ret}")).unwrap(), json!(3));
    }

    #[test]
    fn a_refusal_is_a_note() {
        let mut bindings = Bindings::default();
        let note = run(&step("openat", &json!({"pathname": "/nonexistent/x", "flags": 0})), &mut bindings);
        assert!(note.unwrap().unwrap().contains("os error 2"));
    }

    #[test]
    fn wrong_steps_are_errors() {
        for (call, arguments) in [
            ("openat", json!({"flags": 0})),
            ("openat", json!({"pathname": "/x", "flags": 0, "color": "red"})),
            ("no_such_call", json!({})),
        ] {
            assert!(check(&step(call, &arguments)).is_err(), "{call} {arguments}");
        }
        let mut bindings = Bindings::default();
        for (call, arguments) in [
            ("openat", json!({"pathname": "/x", "flags": "O_SIDEWAYS"})),
            ("dup", json!({"oldFd": "${nothing.fd}"})),
            ("write", json!({"fd": 1, "buffer": "abc", "len": 4})),
            ("openat2", json!({"pathname": "/x", "how": {"flag": 0}})),
        ] {
            assert!(run(&step(call, &arguments), &mut bindings).is_err(), "{call} {arguments}");
        }
    }

    #[test]
    fn only_calls_of_numbers_are_made_inside_of_others() {
        let inside = |call: &str, arguments: Value| json!({"type": "syscall", "syscall": call, "inside": 1, "args": arguments});
        assert!(check(&inside("getpid", json!({}))).is_ok());
        let error = check(&inside("openat", json!({"pathname": "/x", "flags": 0}))).unwrap_err();
        assert!(error.to_string().contains("takes addresses"), "{error}");
    }

    #[test]
    fn no_call_has_more_than_six_parameters() {
        for row in ROWS {
            assert!(row.parameters.len() <= 6, "{}", row.name);
        }
    }
}
