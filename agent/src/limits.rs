//! Rate limits from the agent's side: policies become tables, tables go into the kernel, what the kernel counts comes
//! back.
//!
//! Pure: nothing here touches the node. [`plan`] makes the tables of a configuration, [`safety`] reads what must never
//! be locked out from the texts it is given, [`twin`] answers what tables mean for a packet. Loading and attaching are
//! in `kernel::limiter`, the wiring in `app::limiting`.

pub mod plan;
pub mod safety;
pub mod twin;
