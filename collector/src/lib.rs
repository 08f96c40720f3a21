//! Rampart's collector: stores what agents report, tells people, and shows it.
//!
//! Data flows one way: `agents → ingest → store → (feed, notify) → views → (query, http)`. An alert is acknowledged to
//! its agent after the transaction that holds it is on the disk, together with what is to be told of it; so a collector
//! may be killed at any time. Nothing here depends on the agent or the rules.

#![forbid(unsafe_code)]

pub mod agents;
pub mod alert;
pub mod app;
pub mod cli;
pub mod config;
pub mod http;
pub mod ingest;
pub mod notify;
pub mod query;
pub mod registry;
pub mod store;
pub mod telemetry;
pub mod views;
