//! The arguments of a system call, with real memory behind every address.

use std::{collections::BTreeMap, io};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::{
    address,
    argument::{Bindings, bytes, number},
    fields::Fields,
    structure, sys,
    table::{Kind, Manner, Row},
};

/// Largest room for a result; a case has no reason for more.
const ROOM_MAX_BYTES: usize = 1 << 20;
/// Room for a result when a case names none.
const ROOM_BYTES: usize = 4096;

/// Arguments of a call with the memory they point to.
#[derive(Default)]
pub(crate) struct Frame {
    values: Vec<i64>,
    /// Every buffer keeps its place in memory until the call is over.
    memory: Vec<Vec<u8>>,
    /// Values that later steps may refer to, by the names of their parameters.
    pub(crate) shown: BTreeMap<&'static str, Value>,
}

impl Frame {
    /// Brings arguments into the form that the call wants.
    pub(crate) fn build(row: &Row, arguments: &Value, bindings: &Bindings) -> Result<Self> {
        let resolved = bindings.resolve(arguments)?;
        let mut given = Fields::new("arguments", &resolved)?;
        let mut frame = Self::default();
        let parameters = row.parameters;
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

    /// Makes the call from this process.
    pub(crate) fn make(&self, row: &Row) -> io::Result<i64> {
        match row.manner {
            Manner::Plain => sys::call(row.number, self.arguments()),
            Manner::Twice => sys::call_twice(row.number, self.arguments()),
        }
    }

    /// All six, zeros for those it has not.
    pub(crate) fn arguments(&self) -> [i64; 6] {
        let mut arguments = [0; 6];
        for (slot, value) in arguments.iter_mut().zip(&self.values) {
            *slot = *value;
        }
        arguments
    }
}
