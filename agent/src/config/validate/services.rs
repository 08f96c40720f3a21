//! Section `services`.

use std::{collections::BTreeMap, path::PathBuf};

use rampart_common::service::abi;

use super::Check;
use crate::config::{
    keys,
    limits::read::{named, nets},
    services::{
        Defaults, Services,
        read::{is_name, service},
    },
};

/// Failures in a row, seconds, probes and backends as far as defaults go; each service is checked on its own.
const FAILURES: std::ops::RangeInclusive<u64> = 1..=1023;
const SECS: std::ops::RangeInclusive<u64> = 1..=3600;
const HEALTH_SECS: std::ops::RangeInclusive<u64> = 1..=600;
const CALLS: std::ops::RangeInclusive<u64> = 1..=abi::TOKENS as u64;

impl Check {
    pub(super) fn services(&mut self) -> Services {
        let setting = self.place("services.list");
        let defaults = Defaults {
            algorithm: self.choice("services.defaults.algorithm", keys::ALGORITHMS, "round_robin"),
            failure_threshold: self.number("services.defaults.failure_threshold", &FAILURES, 5),
            recovery_secs: self.number("services.defaults.recovery_timeout_secs", &SECS, 60),
            half_open_max_calls: self.number("services.defaults.half_open_max_calls", &CALLS, 3),
            health_interval_secs: self.number("services.defaults.health_interval_secs", &SECS, 30),
            health_timeout_secs: self.number("services.defaults.health_timeout_secs", &HEALTH_SECS, 5),
        };
        let list = named(&mut self.raw, "services.list", |raw, name, path, value, place| {
            if !is_name(name) {
                let message =
                    format!("the service `{name}` must be named by letters, digits, `-`, `_` and `.`");
                raw.fault(place.clone(), message, None);
            }
            service(&defaults, raw, path, value, place)
        });
        let services = Services {
            enabled: self.bool("services.enabled", false),
            cgroup: self.path("services.cgroup"),
            pin_dir: self.path("services.pin_dir").unwrap_or_else(|| PathBuf::from("/sys/fs/bpf/rampart")),
            vip_cidrs: nets(&mut self.raw, "services.vip_cidrs"),
            list,
            kubernetes: self.bool("services.kubernetes", false),
            defaults,
        };
        let mut taken = BTreeMap::new();
        let mut backends = 0;
        for (name, service) in &services.list {
            backends += service.backends.len();
            if let Some(first) = taken.insert((service.vip, service.protocol), name) {
                let place = self.raw.place_of(&format!("services.list.{name}"), &setting);
                let message = format!("the services `{first}` and `{name}` have the same address");
                self.raw.fault(place, message, None);
            }
        }
        for (what, count, most) in [
            ("services", services.list.len(), abi::SERVICES as usize - 2),
            // Numbers are taken anew only when nothing is known of them any more.
            ("backends", backends, abi::BACKENDS as usize / 2),
        ] {
            if count > most {
                let message = format!("{count} {what} are more than the {most} that are possible");
                self.raw.fault(setting.clone(), message, None);
            }
        }
        services
    }
}
