//! The actor of `cargo xtask triggers`: performs the cases of Falco's declarative event generator as real processes
//! and system calls. It never ships.
//!
//! One program, three parts. `actor stage` builds a root file system that swallows every change, and becomes or
//! starts the server there. `actor serve` reads cases as JSON lines and starts the first process of each. Started
//! with a script on a known descriptor, it is one of a case's processes, under whatever name it was given.

#![expect(unsafe_code, reason = "the module `sys` makes system calls that no crate wraps")]

mod act;
mod address;
mod argument;
mod call;
mod capability;
mod constant;
mod debugger;
mod fields;
mod frame;
mod name_server;
mod process;
mod resource;
mod script;
mod serve;
mod stage;
mod step;
mod structure;
mod sys;
mod table;

use std::{env, process::ExitCode};

use anyhow::{Result, bail};

use crate::script::Script;

fn main() -> ExitCode {
    if let Some(script) = Script::inherited() {
        return act::run(&script);
    }
    match command() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            sys::complain(&format!("actor: {error:#}"));
            ExitCode::from(2)
        }
    }
}

fn command() -> Result<()> {
    let mut arguments = env::args().skip(1);
    let part = arguments.next().unwrap_or_default();
    let arguments: Vec<String> = arguments.collect();
    match part.as_str() {
        "stage" => stage::run(&arguments),
        "serve" => serve::run(&arguments),
        other => bail!("unknown part `{other}`; `cargo xtask triggers` starts this program"),
    }
}
