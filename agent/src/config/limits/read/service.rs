//! Services that policies name.

use std::collections::{BTreeMap, BTreeSet};

use super::Section;
use crate::config::services::ServiceSettings;

impl Section<'_> {
    /// Protocol and ports of the backends of a service of the section `services`, where one is named.
    pub(super) fn service(
        &mut self,
        services: &BTreeMap<String, ServiceSettings>,
    ) -> Option<(Option<u8>, Vec<u16>)> {
        let place = self.place_of("service");
        let value = self.take("service")?;
        for key in ["protocol", "ports"] {
            if self.take(key).is_some() {
                let message = format!("`{}.{key}` and `service` do not go together", self.path);
                self.raw.fault(
                    place.clone(),
                    message,
                    Some(format!("leave `{key}` out: the service says it")),
                );
            }
        }
        let name = value.as_str().unwrap_or_default().trim();
        let Some(service) = services.get(name) else {
            let known: Vec<String> = services.keys().map(|name| format!("`{name}`")).collect();
            let help = if known.is_empty() {
                "`services.list` is empty; write `protocol` and `ports`".to_owned()
            } else {
                format!("`services.list` has {}", known.join(", "))
            };
            self.raw.fault(place, format!("`{}.service` names no service", self.path), Some(help));
            return None;
        };
        let ports: BTreeSet<u16> = service.backends.values().map(|backend| backend.address.port()).collect();
        if ports.is_empty() {
            // Without a port, all would be meant.
            let message = format!("`{}.service` names `{name}`, which has no backends", self.path);
            self.raw.fault(place, message, None);
        }
        Some((Some(service.protocol), ports.into_iter().collect()))
    }
}
