//! Rate limits from the agent's side: policies become tables, tables go into the kernel, what the kernel counts comes
//! back.
//!
//! Pure: nothing here touches the node. [`plan`] makes the tables of a configuration, [`safety`] reads what must never
//! be locked out from the texts it is given, [`twin`] answers what tables mean for a packet. [`entries`] are lists and
//! grants made while the agent runs, [`quota`] the book of what sources used, [`throttle`] the controller that scales
//! rates with the node's [`load`], [`seeds`] when hashes get another seed, [`hitters`] and [`explain`] what people are told, [`desk`] where the thread is asked.
//! Loading and attaching are in `kernel::limiter`, the wiring in `app::limiting`.

pub mod class;
pub mod desk;
pub mod entries;
pub mod explain;
pub mod files;
pub mod hitters;
pub mod load;
pub mod node;
pub mod plan;
pub mod quota;
pub mod rate;
pub mod safety;
pub mod seeds;
pub mod throttle;
pub mod twin;
