//! The rule language: text to tokens, tree, resolved and typed conditions, and a compiled program.
//!
//! Invariants: no I/O, no knowledge of kernels or of async runtimes; the events a rule sees come through
//! [`value::FieldSource`], the fields it may name through [`catalog`].

#![forbid(unsafe_code)]

pub mod catalog;
pub mod value;
