//! Dynamic throttling: rates shrink class by class while the node is short of CPU, and come back when it is not.
//!
//! Additive increase, multiplicative decrease. Between the two thresholds nothing changes, and neither a single bad
//! second nor a single good one counts. The least important class goes first and down to the floor before the next one
//! loses anything; coming back, the most important one is first. [`Class::OrderEntry`] is never scaled.

use rampart_common::limit::{
    abi::CLASSES,
    gcra::{STRETCH_MAX, STRETCH_ONE},
};

use super::{class::Class, load::Load};

/// A rate as it is written.
pub const WHOLE: u32 = 1000;
/// Seconds in a row that are too busy before rates shrink.
const HOT_SECS: u32 = 2;
/// Seconds in a row that are calm before they grow.
const CALM_SECS: u32 = 5;
/// The node is calm below so many thousandths of every threshold.
const CALM_BELOW: u64 = 700;
/// What a class keeps of its rate in a bad second, in thousandths.
const DECREASE: u32 = 700;
/// What a class gains in a good second, in thousandths of the written rate.
const INCREASE: u32 = 50;

/// Whether anything is done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// The node is not looked at.
    #[default]
    Off,
    /// What would be done is shown.
    Observe,
    /// Rates are scaled.
    Enforce,
}

/// When the node is too busy. A threshold of zero is not looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Whether anything is done.
    pub mode: Mode,
    /// Time in which some task waits for a CPU, percent.
    pub pressure_percent: u32,
    /// Part of all CPUs that soft interrupts take, percent.
    pub softirq_percent: u32,
    /// Tasks per CPU that run or want to.
    pub run_queue: u32,
    /// Packets that the backlog has no room for, per second.
    pub backlog_drops_per_sec: u32,
    /// No rate shrinks below so many percent of what is written.
    pub floor_percent: u32,
}

/// What a step changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// A class is not at its written rate any more.
    Began(Class),
    /// A class is at its written rate again.
    Ended(Class),
}

/// The controller.
#[derive(Clone, Debug)]
pub struct Controller {
    settings: Settings,
    /// By class, in thousandths of the written rate.
    scales: [u32; Class::ALL.len()],
    hot: u32,
    calm: u32,
    stress: u64,
}

impl Controller {
    /// With every rate as written.
    pub const fn new(settings: Settings) -> Self {
        Self { settings, scales: [WHOLE; Class::ALL.len()], hot: 0, calm: 0, stress: 0 }
    }

    /// Takes other thresholds over; without a mode every rate is as written again.
    pub fn set(&mut self, settings: Settings) {
        if settings.mode == Mode::Off {
            *self = Self::new(settings);
        }
        self.settings = settings;
    }

    /// The thresholds.
    pub const fn settings(&self) -> &Settings {
        &self.settings
    }

    /// One second of the node.
    pub fn step(&mut self, load: &Load) -> Option<Change> {
        self.stress = stress(&self.settings, load);
        if self.settings.mode == Mode::Off {
            return None;
        }
        (self.hot, self.calm) = match self.stress {
            stress if stress >= u64::from(WHOLE) => (self.hot.saturating_add(1), 0),
            stress if stress < CALM_BELOW => (0, self.calm.saturating_add(1)),
            _ => (0, 0),
        };
        if self.hot >= HOT_SECS {
            return self.shrink();
        }
        if self.calm >= CALM_SECS { self.grow() } else { None }
    }

    fn shrink(&mut self) -> Option<Change> {
        let floor = (self.settings.floor_percent * 10).clamp(1, WHOLE);
        let classes = Class::ALL.into_iter().zip(&mut self.scales).skip(1).rev();
        for (class, scale) in classes {
            if *scale > floor {
                let was = *scale;
                *scale = (was * DECREASE / WHOLE).max(floor);
                return (was == WHOLE).then_some(Change::Began(class));
            }
        }
        None
    }

    fn grow(&mut self) -> Option<Change> {
        for (class, scale) in Class::ALL.into_iter().zip(&mut self.scales) {
            if *scale < WHOLE {
                *scale = (*scale + INCREASE).min(WHOLE);
                return (*scale == WHOLE).then_some(Change::Ended(class));
            }
        }
        None
    }

    /// How near the node is to the nearest threshold, in thousandths.
    pub const fn stress(&self) -> u64 {
        self.stress
    }

    /// What each class has of its written rate, in thousandths.
    pub fn scales(&self) -> [(Class, u32); Class::ALL.len()] {
        let mut all = Class::ALL.map(|class| (class, WHOLE));
        for (place, scale) in all.iter_mut().zip(self.scales) {
            place.1 = scale;
        }
        all
    }

    /// What the kernel is told: how much longer the interval of each class is.
    pub fn stretch(&self) -> [u32; CLASSES] {
        let mut stretch = [STRETCH_ONE; CLASSES];
        if self.settings.mode == Mode::Enforce {
            for (place, scale) in stretch.iter_mut().zip(self.scales) {
                *place = (STRETCH_ONE * WHOLE / scale.max(1)).clamp(STRETCH_ONE, STRETCH_MAX);
            }
        }
        stretch
    }
}

/// The worst of all signals against its threshold, in thousandths.
fn stress(settings: &Settings, load: &Load) -> u64 {
    let against = |value: Option<u64>, threshold: u32, unit: u64| match (value, threshold) {
        (Some(value), 1..) => value.saturating_mul(1000) / (u64::from(threshold) * unit),
        _ => 0,
    };
    let signals = [
        against(load.pressure_permille, settings.pressure_percent, 10),
        against(load.softirq_permille, settings.softirq_percent, 10),
        against(load.queue_permille, settings.run_queue, 1000),
        against(load.drops_per_sec, settings.backlog_drops_per_sec, 1),
    ];
    signals.into_iter().max().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SETTINGS: Settings = Settings {
        mode: Mode::Enforce,
        pressure_percent: 50,
        softirq_percent: 40,
        run_queue: 4,
        backlog_drops_per_sec: 100,
        floor_percent: 20,
    };

    fn busy(permille: u64) -> Load {
        Load { pressure_permille: Some(permille), ..Load::default() }
    }

    fn scale(controller: &Controller, class: Class) -> u32 {
        controller.scales()[class as usize].1
    }

    #[test]
    fn a_single_peak_changes_nothing_and_a_stretch_of_them_the_least_important() {
        let mut controller = Controller::new(SETTINGS);
        assert_eq!(controller.step(&busy(900)), None);
        assert_eq!(controller.step(&busy(400)), None, "between the thresholds");
        assert_eq!(controller.step(&busy(900)), None);
        assert_eq!(controller.step(&busy(900)), Some(Change::Began(Class::BestEffort)));
        assert_eq!(scale(&controller, Class::BestEffort), 700);
        assert_eq!(scale(&controller, Class::Bulk), WHOLE);
        assert_eq!(controller.stretch()[Class::BestEffort as usize], 365);
        // Down to the floor, then the next class.
        let mut next = None;
        for _ in 0..9 {
            next = next.or(controller.step(&busy(900)));
        }
        assert_eq!(next, Some(Change::Began(Class::Bulk)));
        assert_eq!(scale(&controller, Class::BestEffort), 200);
        for _ in 0..5 {
            assert_eq!(controller.step(&busy(400)), None, "between the thresholds nothing comes back");
        }
        let back: Vec<Change> = (0..100).filter_map(|_| controller.step(&busy(0))).collect();
        assert_eq!(back, [Change::Ended(Class::Bulk), Change::Ended(Class::BestEffort)]);
        assert_eq!(controller.stretch(), [STRETCH_ONE; CLASSES]);
    }

    #[test]
    fn every_signal_counts_against_its_own_threshold() {
        let load = Load { pressure_permille: Some(250), ..Load::default() };
        assert_eq!(stress(&SETTINGS, &load), 500);
        assert_eq!(stress(&SETTINGS, &Load { softirq_permille: Some(400), ..load }), 1000);
        assert_eq!(stress(&SETTINGS, &Load { queue_permille: Some(8000), ..load }), 2000);
        assert_eq!(stress(&SETTINGS, &Load { drops_per_sec: Some(300), ..load }), 3000);
        let unused = Settings { pressure_percent: 0, ..SETTINGS };
        assert_eq!(stress(&unused, &load), 0);
    }

    #[test]
    fn observing_shows_and_changes_nothing() {
        let mut controller = Controller::new(Settings { mode: Mode::Observe, ..SETTINGS });
        for _ in 0..20 {
            controller.step(&busy(1000));
        }
        assert!(scale(&controller, Class::BestEffort) < WHOLE);
        assert_eq!(controller.stretch(), [STRETCH_ONE; CLASSES]);
        controller.set(Settings { mode: Mode::Enforce, ..SETTINGS });
        assert!(controller.stretch()[Class::BestEffort as usize] > STRETCH_ONE);
        controller.set(Settings { mode: Mode::Off, ..SETTINGS });
        assert_eq!(scale(&controller, Class::BestEffort), WHOLE);
    }

    proptest! {
        #[test]
        fn orders_are_never_scaled_and_importance_is_kept(
            loads in prop::collection::vec(0_u64..1000, 1..400),
            floor in 7_u32..=100,
        ) {
            let mut controller = Controller::new(Settings { floor_percent: floor, ..SETTINGS });
            for load in loads {
                controller.step(&busy(load));
                let scales = controller.scales().map(|(_, scale)| scale);
                prop_assert_eq!(scales[0], WHOLE);
                prop_assert!(scales.is_sorted_by(|one, next| one >= next), "{:?}", scales);
                prop_assert!(scales.iter().all(|scale| (floor * 10..=WHOLE).contains(scale)));
                let stretch = controller.stretch();
                prop_assert_eq!(stretch[0], STRETCH_ONE);
                prop_assert!(stretch.iter().all(|one| (STRETCH_ONE..=STRETCH_MAX).contains(one)));
            }
            // Whatever was, quiet brings everything back.
            for _ in 0..200 {
                controller.step(&busy(0));
            }
            prop_assert_eq!(controller.stretch(), [STRETCH_ONE; CLASSES]);
        }
    }
}
