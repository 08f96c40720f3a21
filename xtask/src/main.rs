//! Build, test, demo and bench commands of the workspace.
//!
//! Invariants of this crate:
//! - it depends on no product crate, so it builds when they do not;
//! - every command does its own set-up and says what it does and why;
//! - what a command starts, mounts or creates outside `target/` and the tool cache it also takes away.

#![forbid(unsafe_code)]

mod agent;
mod arch;
mod bench;
mod build;
mod chaos;
mod chart;
mod checks;
mod ci;
mod cli;
mod compare;
mod conformance;
mod console;
mod dashboards;
mod demo;
mod dist;
mod docs;
mod fuzz;
mod http;
mod image;
mod interrupt;
mod lint;
mod process;
mod quiet;
mod test;
mod tidy;
mod toolchain;
mod triggers;
mod vm;
mod workload;
mod workspace;

use std::process::ExitCode;

fn main() -> ExitCode {
    match interrupt::install().and_then(|()| cli::run()) {
        Ok(code) => code,
        Err(error) => {
            console::error(&error);
            ExitCode::from(2)
        }
    }
}
