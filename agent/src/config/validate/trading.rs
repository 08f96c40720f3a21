//! Section `trading`.

use super::Check;
use crate::config::{
    limits::read::named,
    trading::{Trading, asset, calendar, role, venue},
};

impl Check {
    pub(super) fn trading(&mut self) -> Trading {
        let raw = &mut self.raw;
        Trading {
            venues: named(raw, "trading.venues", venue),
            calendars: named(raw, "trading.calendars", calendar),
            roles: named(raw, "trading.roles", role),
            assets: named(raw, "trading.assets", asset),
        }
    }
}
