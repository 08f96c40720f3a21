//! The rule language: text to tokens, tree, resolved and typed conditions, and a compiled program.
//!
//! Invariants: no I/O, no knowledge of kernels or of async runtimes; the events a rule sees come through
//! [`value::FieldSource`], the fields it may name through [`catalog`]. Input is never trusted: no text makes the
//! crate panic, and time and memory are bounded by its size and by fixed limits.

#![forbid(unsafe_code)]
#![expect(
    clippy::result_large_err,
    reason = "a finding is made once per fault, never while events are evaluated"
)]

pub mod catalog;
pub mod value;

pub mod comparisons;
pub mod condition;
pub mod diagnostic;
pub mod duration;
pub mod event_set;
pub mod filter;
pub mod format;
pub mod lint;
pub mod load;
pub mod meaning;
pub mod mount;
pub mod needle;
pub mod output;
pub mod pack;
pub mod response;
pub mod rule;
pub mod schema;
pub mod set;
pub mod source;
pub mod typed;
pub mod unit;
pub mod window;

mod pattern;
mod program;
mod yaml;
