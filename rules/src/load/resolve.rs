//! Names in conditions: lists pasted as text, macros put in as trees.

mod lists;
mod macros;

pub(super) use lists::Lists;
pub(super) use macros::Macros;
