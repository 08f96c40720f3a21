//! The `rampart-collector` binary: parse the command line, run the command, turn its outcome into an exit code.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::Parser;
use rampart_collector::cli::Cli;

fn main() -> ExitCode {
    Cli::parse().run().into()
}
