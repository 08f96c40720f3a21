//! Services in userspace: from settings and what is known of backends to the kernel's tables.
//!
//! Everything here but [`check`], [`drain`], [`routes`] and [`kubernetes`] is pure: what is known comes in, what follows
//! goes out. The thread that owns it all is `app::serving`; it is asked at the [`desk`].

pub mod check;
pub mod desk;
pub mod drain;
pub mod flap;
pub mod health;
pub mod kubernetes;
pub mod outlier;
pub mod plan;
pub mod rates;
pub mod routes;
pub mod tiers;
