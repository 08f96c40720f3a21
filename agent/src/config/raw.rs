//! The configuration as written: every setting with its place, unknown names refused with a suggestion.
//!
//! Four sources, later ones win: the file, the policy bundle, the environment, the flags.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use serde_yaml::Value;

use super::{
    fault::{Fault, Place},
    keys::{self, Key, Kind},
    places::Places,
    validate::bundles::unbundled,
};

/// Largest configuration file in bytes; a larger one is certainly not a configuration.
const FILE_MAX_BYTES: usize = 1 << 20;

/// One setting as written.
#[derive(Clone, Debug)]
pub(super) struct Setting {
    pub(super) value: Value,
    pub(super) place: Place,
}

/// All settings as written, and the faults found so far.
#[derive(Debug, Default)]
pub(super) struct Raw {
    pub(super) settings: BTreeMap<&'static str, Setting>,
    pub(super) faults: Vec<Fault>,
    /// Places within the file, for what lies below settings.
    inner: Vec<(PathBuf, Places)>,
}

impl Raw {
    /// Takes over the settings of a file's text.
    pub(super) fn read_file(&mut self, path: &Path, text: &[u8]) {
        if text.len() > FILE_MAX_BYTES {
            let message = format!("file has {} bytes, more than the {FILE_MAX_BYTES} allowed", text.len());
            self.fault(in_file(path, None), message, None);
            return;
        }
        let text = match std::str::from_utf8(text) {
            Ok(text) => text,
            Err(error) => {
                let line = text.iter().take(error.valid_up_to()).filter(|byte| **byte == b'\n').count() + 1;
                self.fault(in_file(path, Some((line, 1))), "file is not UTF-8".to_owned(), None);
                return;
            }
        };
        let value: Value = match serde_yaml::from_str(text) {
            Ok(value) => value,
            Err(error) => {
                let place = error.location().map(|location| (location.line(), location.column()));
                let message = error.to_string();
                // The library repeats the place in its text.
                let message = message.split(" at line ").next().unwrap_or(&message).to_owned();
                self.fault(in_file(path, place), format!("not valid YAML: {message}"), None);
                return;
            }
        };
        let places = Places::scan(text);
        match value {
            Value::Null => {}
            Value::Mapping(sections) => {
                self.walk("", &sections, path, &places);
                self.inner.push((path.to_owned(), places));
            }
            other => {
                let message = format!("expected sections such as `log:`, found {}", describe(&other));
                self.fault(in_file(path, Some((1, 1))), message, None);
            }
        }
    }

    /// Takes over settings of a policy bundle, each in the place of the file's; those that a bundle must not have are
    /// faults.
    pub(super) fn read_bundle(&mut self, path: &Path, text: &str) {
        let kept = std::mem::take(&mut self.settings);
        self.read_file(path, text.as_bytes());
        for (name, setting) in std::mem::replace(&mut self.settings, kept) {
            match keys::find(name).and_then(unbundled) {
                None => drop(self.settings.insert(name, setting)),
                Some(why) => {
                    let message = format!("`{name}` cannot be set by a bundle");
                    self.fault(setting.place, message, Some(why.to_owned()));
                }
            }
        }
    }

    fn walk(&mut self, section: &str, entries: &serde_yaml::Mapping, file: &Path, places: &Places) {
        for (key, value) in entries {
            let Some(name) = key.as_str() else {
                let message = format!("a setting's name must be text, found {}", describe(key));
                self.fault(in_file(file, places.of_value(section)), message, None);
                continue;
            };
            let full = if section.is_empty() { name.to_owned() } else { format!("{section}.{name}") };
            if let Some(key) = keys::find(&full) {
                let place = in_file(file, places.of_value(&full));
                self.settings.insert(key.path, Setting { value: value.clone(), place });
            } else if keys::is_section(&full) {
                match value {
                    Value::Mapping(inner) => self.walk(&full, inner, file, places),
                    Value::Null => {}
                    other => {
                        let message = format!("`{full}` is a section, found {}", describe(other));
                        self.fault(in_file(file, places.of_value(&full)), message, None);
                    }
                }
            } else {
                let help = keys::suggest(section, name).map(|near| format!("did you mean `{near}`?"));
                let message = format!("unknown setting `{full}`");
                self.fault(in_file(file, places.key(&full)), message, help);
            }
        }
    }

    /// Takes over settings from the environment. Names of the form `RAMPART_SECTION__KEY` that name no
    /// setting are faults; other names are left alone.
    pub(super) fn read_env(&mut self, env: &[(String, String)]) {
        // Aliases first, so that Rampart's own names win.
        for key in keys::KEYS {
            for alias in key.aliases {
                if let Some((_, text)) = env.iter().find(|(name, _)| name == alias) {
                    self.text(key, text, Place::Env((*alias).to_owned()));
                }
            }
        }
        for (name, text) in env {
            let Some(rest) = name.strip_prefix(keys::ENV_PREFIX) else { continue };
            if !rest.contains("__") {
                continue;
            }
            let place = Place::Env(name.clone());
            if let Some(key) = keys::KEYS.iter().find(|key| key.env_name() == *name) {
                self.text(key, text, place);
            } else {
                let names: Vec<String> = keys::KEYS.iter().map(Key::env_name).collect();
                let near = keys::closest(names.iter().map(String::as_str), name);
                let help = near.map(|near| format!("did you mean `{near}`?"));
                self.fault(place, format!("`{name}` names no setting"), help);
            }
        }
    }

    /// Takes over a setting given as a flag.
    pub(super) fn read_flag(&mut self, path: &str, value: Value, flag: &str) {
        if let Some(key) = keys::find(path) {
            self.settings.insert(key.path, Setting { value, place: Place::Flag(flag.to_owned()) });
        }
    }

    fn text(&mut self, key: &'static Key, text: &str, place: Place) {
        let value = match key.kind {
            Kind::Paths | Kind::Words | Kind::Nets | Kind::Urls => {
                Value::Sequence(text.split(',').filter(|part| !part.is_empty()).map(Into::into).collect())
            }
            Kind::Bool
            | Kind::Number
            | Kind::Percent
            | Kind::Policies
            | Kind::Interfaces
            | Kind::Services
            | Kind::Venues
            | Kind::Calendars
            | Kind::Roles
            | Kind::Assets
            | Kind::Lists => serde_yaml::from_str(text).unwrap_or_else(|_| text.into()),
            Kind::Text | Kind::Path | Kind::Choice(_) | Kind::Socket => text.into(),
        };
        self.settings.insert(key.path, Setting { value, place });
    }

    /// Where something below a setting stands; `setting` when that is not in the file.
    pub(super) fn place_of(&self, path: &str, setting: &Place) -> Place {
        let Place::File { path: file, .. } = setting else { return setting.clone() };
        let found = self.inner.iter().find(|(name, _)| name == file).and_then(|(_, places)| places.key(path));
        found.map_or_else(|| setting.clone(), |place| in_file(file, Some(place)))
    }

    pub(super) fn fault(&mut self, place: Place, message: String, help: Option<String>) {
        self.faults.push(Fault { place, message, help });
    }
}

fn in_file(path: &Path, place: Option<(usize, usize)>) -> Place {
    let (line, column) = place.unwrap_or((0, 0));
    Place::File { path: PathBuf::from(path), line, column }
}

/// A value as a fault message names it.
pub(super) fn describe(value: &Value) -> String {
    match value {
        Value::Null => "nothing".to_owned(),
        Value::Bool(value) => format!("`{value}`"),
        Value::Number(value) => format!("`{value}`"),
        Value::String(value) if value.chars().count() > 60 => "a long text".to_owned(),
        Value::String(value) => format!("`{value}`"),
        Value::Sequence(_) => "a list".to_owned(),
        Value::Mapping(_) => "a section".to_owned(),
        Value::Tagged(_) => "a tagged value".to_owned(),
    }
}
