//! The rows of the report.

use super::failing::{Failing, Felt};
use super::proxy::Proxy;
use super::{Connects, Leg, MODES, Measures, Way};
use crate::bench::measured::{Goal, Measured, Summary};

impl Measures {
    fn of(&self, way: Way, mode: usize) -> &[Leg] {
        self.legs.get(&(way, mode)).map_or(&[], Vec::as_slice)
    }

    fn each(&self, way: Way, mode: usize, pick: impl Fn(&Leg) -> f64) -> Summary {
        Summary::of(&self.of(way, mode).iter().map(pick).collect::<Vec<f64>>())
    }

    /// Requests of a way against another's in the same round.
    fn ratio(&self, one: Way, other: Way, mode: usize) -> Summary {
        let pairs = self.of(one, mode).iter().zip(self.of(other, mode));
        let ratios = pairs.map(|(one, other)| one.run.per_second / other.run.per_second);
        Summary::of(&ratios.collect::<Vec<f64>>())
    }

    /// All rows, what must be reached first.
    pub(super) fn results(&self, ways: &[Way]) -> Vec<Measured> {
        let mut rows = Vec::new();
        let haproxy = Way::Proxy(Proxy::Haproxy);
        for (mode, word) in MODES.into_iter().enumerate() {
            let kept = self.ratio(Way::Rampart, Way::Direct, mode);
            rows.push(
                Measured::new(format!("services.{word}.vs_direct"), "ratio", kept).goal(Goal::AtLeast(0.98)),
            );
            let alone = self.ratio(Way::Alone, Way::Direct, mode);
            rows.push(Measured::new(format!("services.{word}.without_agent_vs_direct"), "ratio", alone));
            if ways.contains(&haproxy) {
                let id = format!("services.{word}.vs_haproxy");
                let times = self.ratio(Way::Rampart, haproxy, mode);
                rows.push(Measured::new(id, "ratio", times).goal(Goal::AtLeast(1.9)));
                let id = format!("services.{word}.direct_vs_haproxy");
                rows.push(Measured::new(id, "ratio", self.ratio(Way::Direct, haproxy, mode)));
            }
        }
        rows.extend(self.connect_rows());
        rows.extend(self.failing_rows());
        for (mode, word) in MODES.into_iter().enumerate() {
            for way in ways {
                let mut row = |what: &str, unit, pick: fn(&Leg) -> f64| {
                    let id = format!("services.{word}.{}.{what}", way.name());
                    let row = Measured::new(id, unit, self.each(*way, mode, pick));
                    let is_base = *way == Way::Direct || what == "between_us";
                    rows.push(if is_base { row } else { row.baseline(self.each(Way::Direct, mode, pick)) });
                };
                row("requests_per_s", "1/s", |leg| leg.run.per_second);
                row("p50_us", "us", |leg| leg.run.p50_us);
                row("p99_us", "us", |leg| leg.run.p99_us);
                row("cpu_us", "us", |leg| leg.cpu_us);
                if *way != Way::Direct {
                    row("between_us", "us", |leg| leg.between_us);
                }
            }
        }
        rows
    }

    fn connect_rows(&self) -> Vec<Measured> {
        let of =
            |pick: fn(&Connects) -> f64| Summary::of(&self.connects.iter().map(pick).collect::<Vec<f64>>());
        let direct = of(|one| one.direct);
        vec![
            Measured::new("services.connect.added_ns", "ns", of(|one| one.served - one.direct))
                .goal(Goal::AtMost(1500.0)),
            Measured::new("services.connect.beside_ns", "ns", of(|one| one.served - one.beside)),
            Measured::new("services.connect.p50_ns", "ns", of(|one| one.served)).baseline(direct),
            Measured::new("services.refusal.cpu_us", "us", of(|one| one.refusal_us)).goal(Goal::AtMost(7.0)),
        ]
    }

    fn failing_rows(&self) -> Vec<Measured> {
        let of = |pick: &dyn Fn(&Failing) -> f64| {
            Summary::of(&self.failing.iter().map(pick).collect::<Vec<f64>>())
        };
        let mut rows = Vec::new();
        let mut both = |id: &str, failed: Option<Goal>, last: Option<Goal>, pick: fn(&Failing) -> Felt| {
            let goal = |row: Measured, goal: Option<Goal>| match goal {
                Some(goal) => row.goal(goal),
                None => row,
            };
            let row = Measured::new(
                format!("services.{id}.failed_connects"),
                "connects",
                of(&|one| pick(one).failed),
            );
            rows.push(goal(row, failed));
            let row =
                Measured::new(format!("services.{id}.last_failed_ms"), "ms", of(&|one| pick(one).last_ms));
            rows.push(goal(row, last));
        };
        let few = Some(Goal::AtMost(5.0));
        both("refused_breaker", few, None, |one| one.breaker);
        both("refused_usual", few, None, |one| one.usual);
        both("silent_timers", None, Some(Goal::AtMost(300.0)), |one| one.timers);
        both("silent_usual", None, None, |one| one.silent);
        rows
    }
}
