//! `rampart completions`: the script comes from the same table as the help.

use std::io;

use clap::{Args, CommandFactory};
use clap_complete::{Shell, generate};

use super::{Cli, Outcome, print};

pub(super) const EXAMPLES: &str = "Example:\n  rampart completions bash > /etc/bash_completion.d/rampart";

#[derive(Args, Clone, Copy, Debug)]
pub(super) struct Arguments {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

pub(super) fn run(arguments: Arguments) -> io::Result<Outcome> {
    let mut script = Vec::new();
    generate(arguments.shell, &mut Cli::command(), "rampart", &mut script);
    print::data(&String::from_utf8_lossy(&script))?;
    Ok(Outcome::Clean)
}
