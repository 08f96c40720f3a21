//! Pushdown at run time: puts plans in force and carries what the detector computed to the kernel.
//!
//! Owned by the detection thread, so that a rule set changes in the kernel and in the detector between two events.

use std::{
    sync::{Arc, PoisonError},
    time::{Duration, Instant},
};

use super::{detection::SharedHooks, in_full};
use crate::{
    config,
    engine::{Detector, clock::boot_now_ns, push::Judging},
    kernel::KernelError,
    pushdown::Plan,
    telemetry::status::Pushdown,
};

/// Shortest time between two fresh starts because no more masks can be remembered.
const FRESH_START: Duration = Duration::from_mins(1);

/// See the module.
pub(super) struct Pushing {
    settings: config::Pushdown,
    plan: Option<Arc<Plan>>,
    generation: u32,
    fresh: Option<Instant>,
    counts: Pushdown,
}

impl Pushing {
    /// Nothing is in force yet.
    pub(super) fn new(settings: config::Pushdown) -> Self {
        Self { settings, plan: None, generation: 0, fresh: None, counts: Pushdown::default() }
    }

    /// Puts a plan in force: first in the kernel, which hands out nothing more by the one before, then in the detector.
    /// Without a plan, or when the kernel does not take it, the kernel rejects nothing.
    pub(super) fn put(
        &mut self,
        hooks: &SharedHooks,
        detector: &mut Detector,
        plan: Option<Arc<Plan>>,
    ) -> Result<(), KernelError> {
        let mut hooks = hooks.lock().unwrap_or_else(PoisonError::into_inner);
        detector.set_plan(None);
        self.plan = plan;
        // Nobody else has it: the detector has just given it back.
        let Some(plan) = self.plan.as_mut().and_then(Arc::get_mut) else {
            self.counts.generation = 0;
            return hooks.stop_pushdown();
        };
        // 0 says that nothing is judged.
        self.generation = self.generation.checked_add(1).unwrap_or(2);
        plan.number(self.generation);
        if let Err(error) = hooks.publish(plan, self.settings.shadow_every) {
            tracing::error!("Pushdown is off, its tables cannot be written: {}", in_full(&error));
            self.counts.generation = 0;
            return hooks.stop_pushdown();
        }
        self.counts.generation = u64::from(self.generation);
        detector.set_plan(self.plan.clone().map(|plan| plan as Arc<dyn Judging>));
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
            detector.set_plan(None);
            let plan = self.plan.take();
            self.put(hooks, detector, plan)?;
        }
        Ok(())
    }

    /// Counters since the start.
    pub(super) fn counts(&self) -> Pushdown {
        self.counts
    }
}
