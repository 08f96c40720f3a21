//! Steps of a case: one system call each, made with real memory behind every address.

use std::{collections::BTreeMap, io};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::{
    address,
    argument::{Bindings, bytes, number},
    fields::Fields,
    structure, sys,
    table::{Kind, Manner, ROWS, Row},
};

/// Largest room for a result; a case has no reason for more.
const ROOM_MAX_BYTES: usize = 1 << 20;
/// Most repetitions of a step.
const TIMES_MAX: u64 = 100_000;
/// Room for a result when a case names none.
const ROOM_BYTES: usize = 4096;

/// One step as described.
struct Step {
    name: String,
    row: &'static Row,
    arguments: Value,
    /// How often it is made, one right after the other.
    times: u64,
}

/// Arguments of a call with the memory they point to.
#[derive(Default)]
struct Frame {
    values: Vec<i64>,
    /// Every buffer keeps its place in memory until the call is over.
    memory: Vec<Vec<u8>>,
    /// Values that later steps may refer to, by the names of their parameters.
    shown: BTreeMap<&'static str, Value>,
}

/// Whether a step is one this program can make.
pub(crate) fn check(step: &Value) -> Result<()> {
    Step::read(step).map(drop)
}

/// Makes the call and binds its result. A refusal by the kernel is a note: the attempt is an event too.
pub(crate) fn run(step: &Value, bindings: &mut Bindings) -> Result<Option<String>> {
    let step = Step::read(step)?;
    let what = format!("the call `{}` of step `{}`", step.row.name, step.name);
    let frame = Frame::build(&step, bindings).with_context(|| format!("cannot make {what}"))?;
    for (names, value) in &frame.shown {
        for name in names.split('|') {
            bindings.bind(&step.name, name, value.clone());
        }
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
        let kind = fields.needed("type")?;
        if kind != "syscall" {
            bail!("unknown type of step `{kind}`");
        }
        let call = fields.needed("syscall")?;
        let name = fields.text("name")?.unwrap_or_else(|| call.clone());
        let row = ROWS.iter().find(|row| row.name == call);
        let row = row.with_context(|| format!("no system call `{call}` is known on this architecture"))?;
        let arguments = fields.take("args").unwrap_or_default();
        let times = fields.take("times").as_ref().map_or(Ok(1), number)?;
        let times = u64::try_from(times).ok().filter(|times| (1..=TIMES_MAX).contains(times));
        let times = times.with_context(|| format!("a step is made 1 to {TIMES_MAX} times"))?;
        fields.finish()?;
        let mut given = Fields::new(format!("the call `{call}`"), &arguments)?;
        for parameter in row.parameters.iter().filter(|parameter| !parameter.0.is_empty()) {
            if given.take(parameter.0).is_none() && is_needed(parameter.1) {
                bail!("the call `{call}` has no `{}`", parameter.0);
            }
        }
        given.finish()?;
        Ok(Self { name, row, arguments, times })
    }
}

impl Frame {
    fn build(step: &Step, bindings: &Bindings) -> Result<Self> {
        let resolved = bindings.resolve(&step.arguments)?;
        let mut given = Fields::new("arguments", &resolved)?;
        let mut frame = Self::default();
        let parameters = step.row.parameters;
        for (index, parameter) in parameters.iter().enumerate() {
            let value = if parameter.0.is_empty() { None } else { given.take(parameter.0) };
            // Room is as long as the parameter after it says.
            let next = parameters.get(index + 1).map_or("", |next| next.0);
            let wanted = if matches!(parameter.1, Kind::Room) { given.clone().take(next) } else { None };
            let before = frame.values.len();
            frame
                .push(parameter.1, value, wanted.as_ref())
                .with_context(|| format!("argument `{}`", parameter.0))?;
            let shows = matches!(parameter.1, Kind::Number | Kind::Default(_) | Kind::Length);
            if let Some(value) = frame.values.get(before).filter(|_| shows) {
                frame.shown.insert(parameter.0, Value::from(*value));
            }
        }
        Ok(frame)
    }

    fn push(&mut self, kind: Kind, value: Option<Value>, wanted: Option<&Value>) -> Result<()> {
        let value = value.filter(|value| !value.is_null());
        match (kind, value) {
            (Kind::Number | Kind::Address, None) => bail!("is missing"),
            (Kind::Number | Kind::Default(_), Some(value)) => self.values.push(number(&value)?),
            (Kind::Default(default) | Kind::Fixed(default), _) => self.values.push(default),
            (Kind::Text | Kind::MaybeText, value) => {
                let mut text = value.as_ref().map(bytes).transpose()?.unwrap_or_default();
                if text.contains(&0) {
                    bail!("has a NUL byte");
                }
                text.push(0);
                self.point(text);
            }
            (Kind::Either, None) => self.values.push(0),
            (Kind::Either, Some(value)) => match number(&value) {
                Ok(number) => self.values.push(number),
                Err(_) => self.push(Kind::Text, Some(value), None)?,
            },
            (Kind::Buffer, value) => {
                self.point(value.as_ref().map(bytes).transpose()?.context("is missing")?);
            }
            (Kind::Room, value) => {
                let given = value.as_ref().map(bytes).transpose()?.map(|bytes| bytes.len());
                let wanted = wanted.map(number).transpose()?.map(usize::try_from).transpose()?;
                let length = wanted.or(given).unwrap_or(ROOM_BYTES);
                if length > ROOM_MAX_BYTES {
                    bail!("asks for {length} bytes, more than {ROOM_MAX_BYTES}");
                }
                self.point(vec![0; length]);
            }
            (Kind::Length | Kind::AddressLength, value) => {
                let length = self.memory.last().map_or(0, Vec::len);
                let given = value.as_ref().map(number).transpose()?.filter(|given| *given != 0);
                let given = given.unwrap_or(length as i64);
                if usize::try_from(given).is_ok_and(|given| given > length) {
                    bail!("is {given}, but there are only {length} bytes");
                }
                self.values.push(given);
            }
            (Kind::MaybeAddress, None) => {
                self.memory.push(Vec::new());
                self.values.push(0);
            }
            (Kind::Address | Kind::MaybeAddress, Some(value)) => {
                let text = value.as_str().context("is no text")?;
                self.point(address::parse(text)?);
            }
            (Kind::How, value) => self.point(structure::how(&value.unwrap_or_default())?),
            (Kind::Message, value) => self.point_to_last(structure::message(&value.unwrap_or_default())?),
            (Kind::Handle, value) => {
                let path = value.as_ref().and_then(Value::as_str).context("is missing")?;
                self.point(structure::handle(path)?);
            }
            (Kind::Attributes, Some(value)) if value == "program" => {
                self.point_to_last(structure::program());
            }
            (Kind::Integer, value) => {
                let number = value.as_ref().map(number).transpose()?.unwrap_or_default();
                self.point((number as i32).to_ne_bytes().to_vec());
            }
            (Kind::Preset(value), _) => self.point(value.to_ne_bytes().to_vec()),
            (Kind::Attributes, value) => self.push(Kind::Zeros(128), value, None)?,
            (Kind::Zeros(length), value) => {
                let mut memory = value.as_ref().map(bytes).transpose()?.unwrap_or_default();
                memory.resize(memory.len().max(length), 0);
                self.point(memory);
            }
            (Kind::Ones(length), _) => self.point(vec![0xff; length]),
        }
        Ok(())
    }

    /// Adds memory and the argument that points to it.
    fn point(&mut self, bytes: Vec<u8>) {
        self.values.push(bytes.as_ptr() as i64);
        self.memory.push(bytes);
    }

    /// Adds memory of which the last piece is pointed to.
    fn point_to_last(&mut self, mut pieces: Vec<Vec<u8>>) {
        let last = pieces.pop().unwrap_or_default();
        self.memory.extend(pieces);
        self.point(last);
    }

    fn make(&self, row: &Row) -> io::Result<i64> {
        let mut arguments = [0; 6];
        for (slot, value) in arguments.iter_mut().zip(&self.values) {
            *slot = *value;
        }
        match row.manner {
            Manner::Plain => sys::call(row.number, arguments),
            Manner::Twice => sys::call_twice(row.number, arguments),
        }
    }
}

fn is_needed(kind: Kind) -> bool {
    matches!(kind, Kind::Number | Kind::Text | Kind::Buffer | Kind::Address | Kind::Handle)
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
    fn no_call_has_more_than_six_parameters() {
        for row in ROWS {
            assert!(row.parameters.len() <= 6, "{}", row.name);
        }
    }
}
