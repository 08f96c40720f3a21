//! Pushdown at run time: puts plans in force and carries what the detector computed to the kernel.
//!
//! Owned by the detection thread, so that a rule set changes in the kernel and in the detector between two events.

use std::{
    sync::PoisonError,
    time::{Duration, Instant},
};

use super::{detection::SharedHooks, in_full};
use crate::{
    config,
    engine::{Detector, clock::boot_now_ns},
    kernel::KernelError,
    pushdown::Plan,
    telemetry::status::Pushdown,
};

/// Shortest time between two fresh starts because no more masks can be remembered.
const FRESH_START: Duration = Duration::from_secs(60);

/// See the module.
pub(super) struct Pushing {
    settings: config::Pushdown,
    generation: u32,
    fresh: Option<Instant>,
    counts: Pushdown,
}

impl Pushing {
    /// Nothing is in force yet.
    pub(super) fn new(settings: config::Pushdown) -> Self {
        Self { settings, generation: 0, fresh: None, counts: Pushdown::default() }
    }

    /// Puts a plan in force: first in the kernel, which hands out nothing more by the one before, then in the detector.
    /// Without a plan, or when the kernel does not take it, the kernel rejects nothing.
    pub(super) fn put(
        &mut self,
        hooks: &SharedHooks,
        detector: &mut Detector,
        plan: Option<Box<Plan>>,
    ) -> Result<(), KernelError> {
        let mut hooks = hooks.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(mut plan) = plan else {
            hooks.stop_pushdown()?;
            detector.set_plan(None);
            return Ok(());
        };
        // 0 says that nothing is judged.
        self.generation = self.generation.checked_add(1).unwrap_or(2);
        plan.number(self.generation);
        if let Err(error) = hooks.publish(&plan, self.settings.shadow_every) {
            tracing::error!("Pushdown is off, its tables cannot be written: {}", in_full(&error));
            hooks.stop_pushdown()?;
            detector.set_plan(None);
            return Ok(());
        }
        self.counts.generation = u64::from(self.generation);
        detector.set_plan(Some(plan));
        Ok(())
    }

    /// Carries over what came together.
    pub(super) fn carry(&mut self, hooks: &SharedHooks, detector: &mut Detector) -> Result<(), KernelError> {
        let Some(lessons) = detector.lessons() else { return Ok(()) };
        let learned = {
            let mut hooks = hooks.lock().unwrap_or_else(PoisonError::into_inner);
            if lessons.changed {
                hooks.touch_epoch(boot_now_ns())?;
            }
            hooks.learn(&lessons)?
        };
        self.counts.written += learned.written;
        self.counts.full_calls += learned.full_calls;
        self.counts.full_processes += learned.full_processes;
        let now = Instant::now();
        let rested = self.fresh.is_none_or(|last| now.duration_since(last) >= FRESH_START);
        if learned.full_calls > 0 && rested {
            self.fresh = Some(now);
            self.counts.fresh_starts += 1;
            let plan = detector.take_plan();
            self.put(hooks, detector, plan)?;
        }
        Ok(())
    }

    /// Counters since the start.
    pub(super) fn counts(&self) -> Pushdown {
        self.counts
    }
}
