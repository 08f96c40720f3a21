//! Services that are not in the configuration: those made by request, and those found in the cluster. Both are kept on
//! the disk, so that a new agent begins with what the one before had in force.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::{Path, PathBuf},
};

use rampart_common::service::abi;
use serde::{Deserialize, Serialize};
use serde_yaml::Value;

use super::node::replace;
use crate::{
    config::{Services as Settings, service_of},
    services::desk::Denied,
};

/// Version of the file; others are not read.
const VERSION: u32 = 1;
/// The file.
const FILE: &str = "services-others.json";
/// Backends of all services together: numbers are taken anew only when nothing is known of them any more.
const BACKENDS_MAX: usize = abi::BACKENDS as usize / 2;
/// Services together, without those of the agent's own.
const SERVICES_MAX: usize = abi::SERVICES as usize - 2;

/// Services as they were written, by name.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Kept {
    version: u32,
    made: BTreeMap<String, Value>,
    found: BTreeMap<String, Value>,
}

/// Services that are not in the configuration.
pub(super) struct Others {
    path: PathBuf,
    kept: Kept,
}

impl Others {
    /// Those of an agent before. `finds`: whether services are looked for in the cluster.
    pub(super) fn open(directory: &Path, finds: bool) -> Self {
        let path = directory.join(FILE);
        let read = || -> io::Result<Kept> { Ok(serde_json::from_slice(&fs::read(&path)?)?) };
        let mut kept = match read() {
            Ok(kept) if kept.version == VERSION => kept,
            Ok(_) => {
                tracing::error!(path = %path.display(), "Kept by another version, not read");
                Kept::default()
            }
            Err(error) => {
                if error.kind() != io::ErrorKind::NotFound {
                    tracing::error!(path = %path.display(), "Services that were made cannot be read: {error}");
                }
                Kept::default()
            }
        };
        kept.version = VERSION;
        if !finds {
            kept.found.clear();
        }
        Self { path, kept }
    }

    fn keep(&self) -> io::Result<()> {
        replace(&self.path, &serde_json::to_vec_pretty(&self.kept)?)
    }

    /// Takes over what is in the cluster; says whether it is something else than before.
    pub(super) fn find(&mut self, found: BTreeMap<String, Value>) -> bool {
        if self.kept.found == found {
            return false;
        }
        self.kept.found = found;
        if let Err(error) = self.keep() {
            tracing::error!("Services of the cluster are not kept for the next start: {error}");
        }
        true
    }

    /// Makes a service, in place of one that was made by this name.
    pub(super) fn make(&mut self, name: &str, value: Value, written: &Settings) -> Result<(), Denied> {
        if written.list.contains_key(name) {
            return Err(Denied::Refused(format!(
                "the service `{name}` is in the configuration; change it there"
            )));
        }
        service_of(name, value.clone(), &written.defaults).map_err(Denied::Wrong)?;
        let before = self.kept.clone();
        self.kept.made.insert(name.to_owned(), value);
        let (merged, faults) = self.merged(written);
        if !merged.list.contains_key(name) {
            self.kept = before;
            let why = faults.into_iter().find(|fault| fault.contains(&format!("`{name}`")));
            return Err(Denied::Refused(why.unwrap_or_else(|| format!("there is no room for `{name}`"))));
        }
        self.keep().map_err(|error| {
            self.kept = before;
            Denied::Failed(format!("the service cannot be kept for the next start: {error}"))
        })
    }

    /// Takes a service away; says whether it was there.
    pub(super) fn forget(&mut self, name: &str, written: &Settings) -> Result<bool, Denied> {
        let Some(value) = self.kept.made.remove(name) else {
            let whose = if written.list.contains_key(name) {
                "in the configuration"
            } else if self.kept.found.contains_key(name) {
                "of the cluster"
            } else {
                return Ok(false);
            };
            return Err(Denied::Refused(format!("the service `{name}` is {whose}; take it out there")));
        };
        self.keep().map(|()| true).map_err(|error| {
            self.kept.made.insert(name.to_owned(), value);
            Denied::Failed(format!("the change cannot be kept for the next start: {error}"))
        })
    }

    /// All services: those of the configuration, then those made, then those found. What does not fit is left out, with
    /// the reason.
    pub(super) fn merged(&self, written: &Settings) -> (Settings, BTreeSet<String>) {
        let mut all = written.clone();
        let mut faults = BTreeSet::new();
        let mut addresses: BTreeSet<_> = all.list.values().map(|own| (own.vip, own.protocol)).collect();
        let mut backends: usize = all.list.values().map(|own| own.backends.len()).sum();
        for (name, value) in self.kept.made.iter().chain(&self.kept.found) {
            let settings = match service_of(name, value.clone(), &written.defaults) {
                Ok(settings) => settings,
                Err(why) => {
                    faults.insert(format!("the service `{name}` is not understood: {why}"));
                    continue;
                }
            };
            let fault = if all.list.contains_key(name) {
                Some("there is another one of this name")
            } else if addresses.contains(&(settings.vip, settings.protocol)) {
                Some("another one has its address")
            } else if all.list.len() >= SERVICES_MAX || backends + settings.backends.len() > BACKENDS_MAX {
                Some("there are too many")
            } else {
                None
            };
            if let Some(why) = fault {
                faults.insert(format!("the service `{name}` is left out: {why}"));
                continue;
            }
            addresses.insert((settings.vip, settings.protocol));
            backends += settings.backends.len();
            all.list.insert(name.clone(), settings);
        }
        (all, faults)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Sources;

    fn written() -> Settings {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("rampart.yaml");
        let text = "services: {list: {web: {vip: '10.0.0.1:80', backends: {a: '10.1.0.1:80'}}}}\n";
        fs::write(&file, text).unwrap();
        Sources { file: Some(file), ..Sources::default() }.load().unwrap().services
    }

    fn value(text: &str) -> Value {
        serde_yaml::from_str(text).unwrap()
    }

    fn names(others: &Others) -> Vec<String> {
        others.merged(&written()).0.list.into_keys().collect()
    }

    #[test]
    fn services_are_made_kept_and_taken_away() {
        let dir = tempfile::tempdir().unwrap();
        let written = written();
        let mut others = Others::open(&dir.path().join("state"), true);
        let shop = || {
            value(
                "{vip: '10.0.0.2:80', algorithm: weighted, backends: {a: {address: '10.1.0.2:80', weight: 3}}}",
            )
        };
        others.make("shop", shop(), &written).unwrap();
        others.make("shop", shop(), &written).unwrap();
        assert_eq!(names(&others), ["shop", "web"]);
        for (name, text, refused) in [
            ("web", "{vip: '10.0.0.3:80'}", true),
            ("other", "{vip: '10.0.0.1:80'}", true),
            ("other", "{vip: nowhere}", false),
            ("other", "[]", false),
            ("other", "{vip: '10.0.0.3:80', wait: 5}", false),
            ("a/b", "{vip: '10.0.0.3:80'}", false),
        ] {
            let denied = others.make(name, value(text), &written).unwrap_err();
            assert_eq!(matches!(denied, Denied::Refused(_)), refused, "{text}: {denied}");
            assert_eq!(matches!(denied, Denied::Wrong(_)), !refused, "{text}: {denied}");
        }
        assert!(others.find(BTreeMap::from([
            ("ns.a".to_owned(), value("{vip: '10.0.0.4:80'}")),
            ("ns.b".to_owned(), value("{vip: '10.0.0.2:80'}")),
            ("ns.c".to_owned(), value("not a service")),
        ])));
        let (_, faults) = others.merged(&written);
        assert_eq!(faults.len(), 2, "{faults:?}");
        assert!(matches!(others.forget("web", &written), Err(Denied::Refused(_))));
        assert!(matches!(others.forget("ns.a", &written), Err(Denied::Refused(_))));
        assert_eq!(others.forget("nobody", &written), Ok(false));

        let mut again = Others::open(&dir.path().join("state"), true);
        assert_eq!(again.kept, others.kept);
        assert_eq!(names(&again), ["ns.a", "shop", "web"]);
        assert_eq!(again.forget("shop", &written), Ok(true));
        // Its address is free for the one of the cluster.
        assert_eq!(names(&again), ["ns.a", "ns.b", "web"]);
        assert_eq!(names(&Others::open(&dir.path().join("state"), false)), ["web"]);
        fs::write(dir.path().join("state").join(FILE), "{").unwrap();
        assert_eq!(names(&Others::open(&dir.path().join("state"), true)), ["web"]);
    }
}
