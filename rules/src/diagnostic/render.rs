//! Diagnostics as text: in full with the source line, one line each, or as JSON.

mod concise;
mod full;
mod json;

pub use concise::concise;
pub use full::full;
pub use json::json;
