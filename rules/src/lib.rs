//! The rule language: text to tokens, tree, resolved and typed conditions, and a compiled program.
//!
//! Invariants: no I/O, no knowledge of kernels or of async runtimes; the events a rule sees come through
//! [`value::FieldSource`], the fields it may name through [`catalog`]. Input is never trusted: no text makes the
//! crate panic, and time and memory are bounded by its size and by fixed limits.

#![forbid(unsafe_code)]

pub mod catalog;
pub mod value;

pub mod condition;
pub mod diagnostic;
pub mod event_set;
pub mod output;
pub mod rule;
pub mod source;
pub mod typed;

mod pattern;
mod program;
mod yaml;
