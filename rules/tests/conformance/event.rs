//! An event given by its fields.

use std::collections::HashMap;

use rampart_rules::{
    catalog::{FieldId, ids},
    value::{FieldArg, FieldSource, Value},
};

/// Fields by name with their argument; what is not there is missing.
#[derive(Default)]
pub(crate) struct Event(HashMap<String, Value<'static>>);

impl Event {
    /// An event with these fields.
    pub(crate) fn new(fields: &[(&str, Value<'static>)]) -> Self {
        Self(fields.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect())
    }
}

impl FieldSource for Event {
    fn field<'a>(&'a self, field: FieldId, arg: FieldArg<'_>) -> Value<'a> {
        let key = match arg {
            FieldArg::None => field.to_string(),
            FieldArg::Index(index) => format!("{field}[{index}]"),
            FieldArg::Key(key) if field == ids::EVT_ARG || field == ids::EVT_RAWARG => {
                format!("{field}.{key}")
            }
            FieldArg::Key(key) => format!("{field}[{key}]"),
        };
        self.0.get(&key).copied().unwrap_or(Value::Null)
    }
}
