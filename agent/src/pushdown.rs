//! Pushdown: what the kernel programs must know of the rules to end events that no rule can match.
//!
//! [`Plan`] is a pure function of a rule set: tables for the kernel ([`Plan::image`], [`Plan::addresses`]), and on
//! demand the rules that may match when nothing but some facts is known: those of a call ([`Plan::mask_of`]) or of a
//! process ([`Plan::process_masks`]), or of whoever runs an image ([`Plan::image_masks`]). Every mask comes from the comparisons of the compiled rules themselves, evaluated
//! in three values by the same field getters that judge events, with everything unknown that the facts do not say. So a
//! rule whose bit is clear is false on every event with these facts. Never does I/O, knows nothing of kernels.
//!
//! Layouts and the meaning of facts are those of [`rampart_common::pushdown`].

mod automaton;
mod bits;
mod call;
mod explain;
mod image;
mod interval;
mod judging;
mod known;
mod paths;
mod plan;
mod process;
mod sockets;
mod stream;

pub(crate) use self::{interval::of_success as range_truth, sockets::networks};

pub use self::{
    automaton::Size,
    explain::{Decision, EventReport},
    plan::Plan,
};

#[cfg(test)]
mod tests;
