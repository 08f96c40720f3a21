//! `-r A -r B --diff -r C`: rules before and after `--diff`. The order of arguments means something here, which the
//! derived parser does not keep.

use std::path::PathBuf;

use clap::{
    Arg, ArgAction, ArgMatches, Args, Command, Error, FromArgMatches, error::ErrorKind, parser::ValueSource,
    value_parser,
};

const RULES: &str = "rules";
const DIFF: &str = "diff";

/// Rules to replay with, and rules to compare them with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Sides {
    /// Before `--diff`; empty for what the configuration names.
    pub(super) rules: Vec<PathBuf>,
    /// After it; `None` without `--diff`.
    pub(super) other: Option<Vec<PathBuf>>,
}

impl Args for Sides {
    fn augment_args(command: Command) -> Command {
        command
            .arg(
                Arg::new(RULES)
                    .short('r')
                    .long(RULES)
                    .value_name("FILE|DIR")
                    .action(ArgAction::Append)
                    .value_parser(value_parser!(PathBuf))
                    .help(
                        "Rule file, or directory of `.yaml` files; may be given several times \
                         [default: the built-in packs]",
                    ),
            )
            .arg(
                Arg::new(DIFF)
                    .long(DIFF)
                    .action(ArgAction::SetTrue)
                    .help("Compare the rules before this with those given by `-r` after it"),
            )
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for Sides {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        let values = matches.get_many::<PathBuf>(RULES).into_iter().flatten();
        let places = matches.indices_of(RULES).into_iter().flatten();
        let given = matches.value_source(DIFF) == Some(ValueSource::CommandLine);
        let Some(diff) = matches.index_of(DIFF).filter(|_| given) else {
            return Ok(Self { rules: values.cloned().collect(), other: None });
        };
        let (before, after): (Vec<_>, Vec<_>) = values.zip(places).partition(|(_, place)| *place < diff);
        let paths = |side: Vec<(&PathBuf, usize)>| side.into_iter().map(|(path, _)| path.clone()).collect();
        if after.is_empty() {
            let message = "`--diff` needs rules to compare with: give `-r FILE` after it\n";
            return Err(Error::raw(ErrorKind::MissingRequiredArgument, message));
        }
        Ok(Self { rules: paths(before), other: Some(paths(after)) })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sides(arguments: &[&str]) -> Result<Sides, Error> {
        let command = Sides::augment_args(Command::new("x"));
        Sides::from_arg_matches(&command.try_get_matches_from([&["x"], arguments].concat())?)
    }

    #[test]
    fn the_order_of_arguments_tells_the_sides_apart() {
        let paths = |names: &[&str]| names.iter().map(PathBuf::from).collect::<Vec<_>>();
        let plain = sides(&["-r", "a", "-r", "b"]).unwrap();
        assert_eq!(plain, Sides { rules: paths(&["a", "b"]), other: None });
        let both = sides(&["-r", "a", "--diff", "--rules", "b", "-r", "c"]).unwrap();
        assert_eq!(both, Sides { rules: paths(&["a"]), other: Some(paths(&["b", "c"])) });
        let default = sides(&["--diff", "-r", "b"]).unwrap();
        assert_eq!(default, Sides { rules: Vec::new(), other: Some(paths(&["b"])) });
        assert!(sides(&["-r", "a", "--diff"]).is_err());
    }
}
