//! The attached programs, one hook family per file.

mod answer;
mod dispatch;
mod exec;
mod family;
mod process;
mod regs;
mod socket;
