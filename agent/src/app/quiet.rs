//! Leaves isolated CPUs alone, and says so.

use crate::{config::Config, cores::Cores};

/// Sends the agent away from isolated CPUs. To be called before there is a second thread.
pub(super) fn keep_off(config: &Config) -> Cores {
    let cores = Cores::find(&config.node.isolated_cpus);
    for fault in &cores.faults {
        tracing::warn!("Isolated CPUs may be missed: {fault}");
    }
    if cores.has_no_other() {
        tracing::warn!(isolated = %cores.isolated, "Every CPU is isolated, the agent's threads run on them all the same");
    } else if !cores.isolated.is_empty() {
        match cores.keep_off() {
            Ok(()) => {
                let threads = cores.for_threads().unwrap_or_else(|| cores.allowed.clone());
                tracing::info!(isolated = %cores.isolated, %threads, "Isolated CPUs are left alone");
            }
            Err(error) => {
                tracing::warn!(isolated = %cores.isolated, "Threads may run on isolated CPUs: {error}");
            }
        }
    }
    cores
}

/// Complains about threads that are on isolated CPUs in spite of it.
pub(super) fn check_threads(cores: &Cores) {
    match cores.strays() {
        Ok(strays) if strays.is_empty() => {}
        Ok(strays) => tracing::error!("Threads that may run on isolated CPUs: {}", strays.join(", ")),
        Err(error) => tracing::warn!("Where the agent's threads may run is not known: {error}"),
    }
}
