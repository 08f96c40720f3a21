//! Rampart's per-node agent.
//!
//! Data flows one way: `kernel → event → state → engine → alert → output`; policy flows back by publish only.
//! Only [`kernel`] imports aya. Later stages never call earlier ones.

pub mod admin;
pub mod alert;
pub mod app;
pub mod budget;
pub mod bundles;
pub mod captures;
pub mod cli;
pub mod config;
pub mod container;
pub mod control;
pub mod cores;
pub mod deny;
pub mod desk;
pub mod digests;
pub mod drain;
pub mod engine;
pub mod event;
pub mod fetch;
pub mod jobs;
pub mod kernel;
pub mod learn;
pub mod limits;
pub mod lists;
pub mod output;
pub mod own;
pub mod policy;
pub mod privilege;
pub mod pushdown;
pub mod recording;
pub mod replace;
pub mod responses;
pub mod retry;
pub mod services;
pub mod spool;
pub mod state;
pub mod telemetry;
pub mod trading;

#[cfg(test)]
mod shared_facts;
