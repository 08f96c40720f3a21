//! Rampart's collector: stores what agents report, tells people, and shows it.
//!
//! Data flows one way: `agents → ingest → store → (feed, notify) → views → (query, http)`. An alert is acknowledged to
//! its agent after the transaction that holds it is on the disk, together with what is to be told of it; so a collector
//! may be killed at any time. Who may send and who may ask is `identity`'s. Nothing here depends on the agent or the rules.

#![forbid(unsafe_code)]

pub mod agents;
pub mod alert;
pub mod app;
pub mod audit;
pub mod bundle;
pub mod bus;
pub mod census;
pub mod cli;
pub mod config;
pub mod http;
pub mod identity;
pub mod ingest;
pub mod jobs;
pub mod notify;
mod outbound;
pub mod query;
pub mod registry;
pub mod rollout;
pub mod rulebook;
pub mod store;
mod tail;
pub mod telemetry;
pub mod tls;
pub mod traces;
pub mod views;
