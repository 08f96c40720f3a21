//! Conditions as written: text to tree and back.
//!
//! Nothing here knows fields, types or macros; those are `load` and [`crate::typed`].

pub mod ast;
pub mod lexer;
pub mod parser;
pub mod quote;

mod print;

pub use ast::Expr;
pub use parser::{DEFAULT_DEPTH, SyntaxError, parse};
