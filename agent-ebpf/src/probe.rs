//! The attached programs, one hook family per file.

mod answer;
mod dispatch;
mod exec;
mod family;
mod open;
mod process;
mod regs;
mod socket;
mod step;
