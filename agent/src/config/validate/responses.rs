//! Section `responses`.

use rampart_rules::response::Mode;

use super::Check;
use crate::config::{Responses, keys, limits::read, responses::NODE_PROGRAMS};

/// Responses of a kind in a minute.
const PER_MINUTE: std::ops::RangeInclusive<u64> = 1..=10_000;
/// Mebibytes of all captures.
const CAPTURES_MIB: std::ops::RangeInclusive<u64> = 1..=1 << 20;

impl Check {
    pub(super) fn responses(&mut self) -> Responses {
        let default = Responses::default();
        Responses {
            mode: match self.choice("responses.mode", keys::RESPONDING, "off") {
                "enforce" => Mode::Enforce,
                "observe" => Mode::Observe,
                _ => Mode::Off,
            },
            per_minute: self.number("responses.per_minute", &PER_MINUTE, 30) as u32,
            protect_processes: self.paths_or("responses.protect_processes", &NODE_PROGRAMS),
            protect_namespaces: self
                .paths_or("responses.protect_namespaces", &["kube-system"])
                .into_iter()
                .map(|name| name.to_string_lossy().into_owned())
                .collect(),
            protect_nets: read::nets(&mut self.raw, "responses.protect_nets"),
            captures_bytes: self.number("responses.captures_mib", &CAPTURES_MIB, 256) << 20,
            pin_dir: self.path("responses.pin_dir").unwrap_or(default.pin_dir),
        }
    }
}
