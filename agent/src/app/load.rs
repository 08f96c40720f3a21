//! Brings up the kernel half; nothing is attached yet.

use std::sync::{Arc, Mutex};

use super::{
    AppError,
    detection::SharedHooks,
    ports::Wake,
    verdict::{forget_log, keep_log},
};
use crate::{
    config::Config,
    cores::Cores,
    kernel::{Kernel, KernelConfig, RingReader, caps},
    privilege,
};

/// The kernel half as the threads share it.
pub(super) struct Loaded {
    /// Control of its programs.
    pub(super) hooks: SharedHooks,
    /// What they write.
    pub(super) records: RingReader,
    /// Ends a wait for that.
    pub(super) waker: Arc<dyn Wake>,
}

/// Loads the programs, after a look whether this machine and this user allow it.
pub(super) fn load(config: &Config, cores: &Cores) -> Result<Loaded, AppError> {
    privilege::decide(&caps::probe())?;
    privilege::lift_memlock();
    let settings = KernelConfig {
        ring_bytes: config.kernel.ring_bytes,
        own_pid: std::process::id(),
        isolated: cores.isolated.bits(),
    };
    let mut kernel = Kernel::load(&settings).map_err(|error| keep_log(error, config))?;
    forget_log(config);
    let records = kernel.reader()?;
    let waker: Arc<dyn Wake> = Arc::new(records.waker());
    Ok(Loaded { hooks: Arc::new(Mutex::new(kernel)), records, waker })
}
