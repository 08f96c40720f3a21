//! Measurements beside the agent in its variants, beside a program that does nothing, and between all of these without
//! either.

use anyhow::Result;

use super::measured::{Measured, Summary, median};
use super::stage::{Stage, Variant, pause};
use crate::agent::Agent;

/// What was measured alone and, between two of these, beside something.
#[derive(Debug)]
pub(super) struct Legs<T> {
    alone: Vec<T>,
    pushed: Vec<Leg<T>>,
    unpushed: Vec<Leg<T>>,
    bare: Vec<Leg<T>>,
}

/// One measurement beside something.
#[derive(Debug)]
struct Leg<T> {
    value: T,
    /// Index of the measurement alone before it; the next one came after it.
    before: usize,
}

/// What a measurement is beside of.
#[derive(Clone, Copy)]
enum Beside {
    Agent(Variant),
    Hook,
}

impl Stage {
    /// Measures beside the agent in each variant, and beside a hook that does nothing, each time between two measurements
    /// alone: what drifts over the run cancels out. Each round begins with another one.
    pub(super) fn interleave<T>(
        &self,
        rules: &[std::path::PathBuf],
        mut measure: impl FnMut(Option<&Agent>) -> Result<T>,
    ) -> Result<Legs<T>> {
        let hook = self.hook()?;
        let mut legs = Legs { alone: Vec::new(), pushed: Vec::new(), unpushed: Vec::new(), bare: Vec::new() };
        let mut order: Vec<Beside> = self.watching().iter().copied().map(Beside::Agent).collect();
        order.push(Beside::Hook);
        pause()?;
        legs.alone.push(measure(None)?);
        for round in 0..self.rounds {
            for beside in &order {
                let before = legs.alone.len() - 1;
                match beside {
                    Beside::Hook => {
                        let attached = hook.attach()?;
                        pause()?;
                        legs.bare.push(Leg { value: measure(None)?, before });
                        drop(attached);
                    }
                    Beside::Agent(variant) => {
                        let agent = self.start(rules, *variant)?;
                        pause()?;
                        let leg = Leg { value: measure(Some(&agent))?, before };
                        agent.stop()?;
                        match variant {
                            Variant::Pushed => legs.pushed.push(leg),
                            Variant::Unpushed => legs.unpushed.push(leg),
                        }
                    }
                }
                pause()?;
                legs.alone.push(measure(None)?);
            }
            order.rotate_left(1);
            self.say(&format!("  round {} of {} done", round + 1, self.rounds));
        }
        Ok(legs)
    }
}

impl<T> Legs<T> {
    /// A number of what was measured beside the agent or the hook, against its neighbours alone.
    pub(super) fn against(
        &self,
        id: impl Into<String>,
        unit: &'static str,
        compare: impl Fn(&T, &T) -> f64,
    ) -> Measured {
        let pick = |leg: &Leg<T>| {
            let neighbours: Vec<f64> =
                self.alone.iter().skip(leg.before).take(2).map(|off| compare(&leg.value, off)).collect();
            median(&neighbours)
        };
        self.measured(id, unit, &pick).bare(some(&self.bare, &pick))
    }

    /// A number of what was measured beside the agent.
    pub(super) fn watched(
        &self,
        id: impl Into<String>,
        unit: &'static str,
        pick: impl Fn(&T) -> f64,
    ) -> Measured {
        self.measured(id, unit, &|leg| pick(&leg.value))
    }

    /// What was measured alone.
    pub(super) fn alone(&self, pick: impl Fn(&T) -> f64) -> Summary {
        Summary::of(&self.alone.iter().map(pick).collect::<Vec<f64>>())
    }

    /// Every measurement alone.
    pub(super) fn every_alone(&self) -> impl Iterator<Item = &T> {
        self.alone.iter()
    }

    /// The last measurement beside the agent as it is.
    pub(super) fn last(&self) -> Option<&T> {
        self.pushed.last().map(|leg| &leg.value)
    }

    fn measured(&self, id: impl Into<String>, unit: &'static str, pick: &dyn Fn(&Leg<T>) -> f64) -> Measured {
        let pushed: Vec<f64> = self.pushed.iter().map(pick).collect();
        Measured::new(id, unit, Summary::of(&pushed)).unpushed(some(&self.unpushed, pick))
    }
}

/// A number of each leg, where there are any.
fn some<T>(legs: &[Leg<T>], pick: &dyn Fn(&Leg<T>) -> f64) -> Option<Summary> {
    (!legs.is_empty()).then(|| Summary::of(&legs.iter().map(pick).collect::<Vec<f64>>()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_measurement_is_compared_with_its_neighbours() {
        let leg = |value, before| Leg { value, before };
        let legs = Legs {
            alone: vec![10.0, 20.0, 40.0],
            pushed: vec![leg(20.0, 0)],
            unpushed: vec![leg(80.0, 1)],
            bare: vec![leg(15.0, 0)],
        };
        let row = legs.against("a", "ratio", |on, off| on / off).row();
        assert_eq!(row, ["a", "1.5", "ratio", "-", "3", "1.125", "-", "-", "-"]);
        let without = Legs { unpushed: Vec::new(), ..legs };
        let watched = without.watched("a", "ns", |on| *on).row();
        assert_eq!(watched[4..6], ["-", "-"], "what the agent says of itself there is none of without it");
        assert_eq!(without.alone(|off| *off), Summary { median: 20.0, min: 10.0, max: 40.0 });
        assert_eq!(without.last(), Some(&20.0));
    }
}
