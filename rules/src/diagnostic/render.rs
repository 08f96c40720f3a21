//! Diagnostics as text: in full with the source line, one line each, as JSON, or as Falco's JSON.

mod concise;
mod falco;
mod full;
mod json;

pub use concise::concise;
pub use falco::falco;
pub use full::full;
pub use json::json;
