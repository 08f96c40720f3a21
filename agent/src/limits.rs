//! Rate limits from the agent's side: policies become tables, tables go into the kernel, what the kernel counts comes
//! back.
//!
//! Pure: nothing here touches the node. [`twin`] answers what tables mean for a packet. Loading and attaching are in
//! `kernel::limiter`.

pub mod twin;
