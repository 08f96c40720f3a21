//! What health checks say of a backend: it takes several in a row to change it.

use std::time::Duration;

use crate::config::Health;

/// A backend's health. One that nobody has checked yet counts as healthy, so that a start breaks nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Whether it is up.
    pub is_up: bool,
    /// Checks in a row that said otherwise.
    against: u32,
    /// Checks so far.
    pub checks: u64,
    /// Failed ones.
    pub failures: u64,
    /// What the last failure was; `None` after a success.
    pub fault: Option<String>,
}

impl Default for Standing {
    fn default() -> Self {
        Self { is_up: true, against: 0, checks: 0, failures: 0, fault: None }
    }
}

impl Standing {
    /// Takes a check's result; true when it changed the standing.
    pub fn take(&mut self, result: Result<(), String>, settings: &Health) -> bool {
        self.checks += 1;
        let is_good = result.is_ok();
        self.failures += u64::from(!is_good);
        self.fault = result.err();
        if is_good == self.is_up {
            self.against = 0;
            return false;
        }
        self.against += 1;
        let needed = if is_good { settings.rise } else { settings.fall };
        if self.against < needed {
            return false;
        }
        self.is_up = is_good;
        self.against = 0;
        true
    }

    /// Time to the next check: short while checks disagree with the standing, or connections with the checks.
    pub fn interval(&self, settings: &Health, disagrees: bool) -> Duration {
        if self.against > 0 || disagrees { settings.fast_interval } else { settings.interval }
    }
}

/// A time made a tenth longer or shorter at most, by a random number.
pub fn jittered(span: Duration, random: u64) -> Duration {
    let permille = 900 + random % 201;
    span.saturating_mul(permille as u32) / 1000
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Check;

    fn settings() -> Health {
        Health {
            check: Check::Tcp,
            interval: Duration::from_secs(30),
            fast_interval: Duration::from_secs(1),
            timeout: Duration::from_secs(5),
            rise: 2,
            fall: 3,
            port: None,
        }
    }

    #[test]
    fn it_takes_three_to_fall_and_two_to_rise() {
        let settings = settings();
        let mut standing = Standing::default();
        let bad = || Err("refused".to_owned());
        assert!(!standing.take(bad(), &settings));
        assert_eq!(standing.interval(&settings, false), Duration::from_secs(1));
        assert!(!standing.take(Ok(()), &settings), "a success starts anew");
        assert_eq!(standing.interval(&settings, false), Duration::from_secs(30));
        assert_eq!(standing.interval(&settings, true), Duration::from_secs(1));
        assert!(!standing.take(bad(), &settings) && !standing.take(bad(), &settings));
        assert!(standing.take(bad(), &settings));
        assert!(!standing.is_up);
        assert_eq!(standing.fault.as_deref(), Some("refused"));
        assert!(!standing.take(Ok(()), &settings));
        assert!(standing.take(Ok(()), &settings));
        assert!(standing.is_up);
        assert_eq!((standing.checks, standing.failures), (7, 4));
    }

    #[test]
    fn jitter_is_a_tenth() {
        for random in 0..1000 {
            let span = jittered(Duration::from_secs(30), random);
            assert!((Duration::from_secs(27)..=Duration::from_secs(33)).contains(&span), "{span:?}");
        }
    }
}
