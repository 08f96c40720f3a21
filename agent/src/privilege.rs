//! What must hold before anything is loaded: nothing on this machine forbids the programs, the limit on locked
//! memory is out of the way, and no other agent runs.
//!
//! The facts come from `kernel::caps`; this module only decides. Must never attach anything. Called once, at
//! start.

pub mod lock;

use nix::sys::resource::{RLIM_INFINITY, Resource, setrlimit};

use crate::kernel::caps::Check;

/// Why the agent cannot start on this machine as this user: each line a cause with its cure.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.join("\n"))]
pub struct Refusal(pub Vec<String>);

/// Refuses when a required check failed; what is only useful becomes a warning in the log.
pub fn decide(checks: &[Check]) -> Result<(), Refusal> {
    let line = |check: &Check| format!("{}: {}; {}", check.name, check.detail, check.fix);
    for check in checks.iter().filter(|check| !check.ok && !check.required) {
        tracing::warn!("Running with less: {}", line(check));
    }
    let refused: Vec<String> = checks.iter().filter(|check| !check.ok && check.required).map(line).collect();
    if refused.is_empty() { Ok(()) } else { Err(Refusal(refused)) }
}

/// Lifts the limit on locked memory. Kernels from 5.11 on do not count maps against it, so a refusal is harmless.
pub fn lift_memlock() {
    if let Err(error) = setrlimit(Resource::RLIMIT_MEMLOCK, RLIM_INFINITY, RLIM_INFINITY) {
        tracing::debug!(%error, "The limit on locked memory stays; kernels before 5.11 may refuse large maps");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &'static str, ok: bool, required: bool) -> Check {
        Check { name, ok, required, detail: "not held".to_owned(), fix: "run as root".to_owned() }
    }

    #[test]
    fn only_required_checks_refuse_and_all_of_them_are_named() {
        assert_eq!(decide(&[check("A", true, true), check("B", false, false)]), Ok(()));
        let refusal = decide(&[check("A", false, true), check("B", false, false), check("C", false, true)]);
        assert_eq!(refusal.unwrap_err().to_string(), "A: not held; run as root\nC: not held; run as root");
    }
}
