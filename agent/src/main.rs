//! The `rampart` binary: parse the command line, run the command, turn its outcome into an exit code.

#![forbid(unsafe_code)]

fn main() {}
