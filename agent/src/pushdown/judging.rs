//! The plan as the detector uses it.

use rampart_common::{
    event::{FAMILY_COUNT, Family},
    pushdown::{CallKey, Mask},
};
use rampart_rules::{catalog::EventId, rule::Rule, value::Truth};

use super::Plan;
use crate::{
    engine::{
        fields::{EventFields, Facts},
        push::{Judging, ProcessMasks, Stream},
    },
    event::syscall::Row,
};

impl Judging for Plan {
    fn generation(&self) -> u32 {
        Self::generation(self)
    }

    fn mask_of(&self, key: &CallKey) -> Mask {
        Self::mask_of(self, key)
    }

    fn process_masks(&self, facts: &Facts<'_>) -> ProcessMasks {
        Self::process_masks(self, facts)
    }

    fn image_masks(&self, facts: &Facts<'_>) -> [Mask; FAMILY_COUNT] {
        Self::image_masks(self, facts)
    }

    fn streams_on(&self, row: &Row) -> bool {
        self.streams.contains(&row.event)
    }

    fn stream(&self, facts: &Facts<'_>, candidates: &Mask) -> Option<Stream> {
        self.stream_of(facts, candidates)
    }

    fn is_in(&self, family: Family, mask: &Mask, rule: &Rule) -> bool {
        Self::is_in(self, family, mask, rule)
    }

    fn evaluate(
        &self,
        event: EventId,
        family: Family,
        candidates: &Mask,
        fields: &EventFields<'_, '_>,
        tries: &mut dyn FnMut(usize) -> bool,
        on_match: &mut dyn FnMut(&Rule),
    ) {
        let among = |rule| self.bits.contains(family, candidates, rule) && tries(rule);
        self.policy().evaluate_among(event, fields, among, |rule, truth| {
            if truth == Truth::True {
                on_match(rule);
            }
        });
    }
}
