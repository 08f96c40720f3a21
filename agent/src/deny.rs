//! Deny: which rules the kernel can be certain of, and what it needs to know to refuse operations for them.
//!
//! The dual of [`crate::pushdown`]: that proves rules false, this proves them true. [`plan::Plan`] takes the condition of a
//! rule that asks for `deny` apart into terms, and gives the tables by which the kernel finds the terms that are true of an
//! operation; or says which comparison stands in the way. Pure; layouts are those of [`rampart_common::deny`].

mod draw;
mod kind;
pub mod literal;
pub mod notice;
pub mod plan;
pub mod protect;
pub mod tables;
pub mod terms;

#[cfg(test)]
mod tests;
