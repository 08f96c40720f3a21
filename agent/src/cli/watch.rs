//! `--watch`: a question that is asked over and over; its answer is on the whole screen, or one below the other.

use std::{
    io::{self, IsTerminal},
    thread,
    time::Duration,
};

use clap::Args;
use serde_json::Value;

use super::{
    FormatArg, Outcome,
    ask::AgentArgs,
    complain, print,
    record::duration,
    screen::{Screen, Wake},
};

/// Shortest interval: the agent renews its numbers once a second.
const INTERVAL_MIN: Duration = Duration::from_millis(100);

/// Whether to ask again.
#[derive(Args, Clone, Copy, Debug, Default)]
pub(super) struct WatchArgs {
    /// Ask again and again, every two seconds or as `--watch=500ms` says; q ends
    #[arg(
        short,
        long,
        value_name = "TIME",
        value_parser = interval,
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "2s"
    )]
    watch: Option<Duration>,
}

/// Whom to ask, and what the answer looks like.
#[derive(Args, Clone, Debug)]
pub(super) struct Shared {
    #[command(flatten)]
    pub(super) agent: AgentArgs,
    /// Form of the answer
    #[arg(short, long, value_enum, default_value_t = FormatArg::Text)]
    pub(super) output: FormatArg,
}

/// What is only looked at.
#[derive(Args, Clone, Debug)]
pub(super) struct Look {
    #[command(flatten)]
    pub(super) shared: Shared,
    #[command(flatten)]
    pub(super) watch: WatchArgs,
}

/// A time between two questions.
pub(super) fn interval(text: &str) -> Result<Duration, String> {
    let interval = duration(text)?;
    if interval < INTERVAL_MIN { Err("the shortest interval is `100ms`".to_owned()) } else { Ok(interval) }
}

impl WatchArgs {
    /// Shows the answer once, or for as long as somebody looks. An agent that refuses ends it.
    pub(super) fn show(
        self,
        format: FormatArg,
        mut ask: impl FnMut() -> Result<(Value, String), String>,
    ) -> io::Result<Outcome> {
        let shown = match self.watch {
            None => once(format, &mut ask),
            Some(interval) if format == FormatArg::Text && io::stdout().is_terminal() => {
                on_screen(interval, &mut ask)
            }
            Some(interval) => as_lines(interval, format, &mut ask),
        };
        Ok(match shown? {
            Ok(()) => Outcome::Clean,
            Err(why) => {
                complain(&why);
                Outcome::Findings
            }
        })
    }
}

type Ask<'a> = &'a mut dyn FnMut() -> Result<(Value, String), String>;

fn once(format: FormatArg, ask: Ask<'_>) -> io::Result<Result<(), String>> {
    let (answer, text) = match ask() {
        Ok(said) => said,
        Err(why) => return Ok(Err(why)),
    };
    match format {
        FormatArg::Json => print::data(&format!("{answer:#}\n"))?,
        FormatArg::Text => print::data(&text)?,
    }
    Ok(Ok(()))
}

/// One object a line, or pages with a gap between them.
fn as_lines(interval: Duration, format: FormatArg, ask: Ask<'_>) -> io::Result<Result<(), String>> {
    let mut gap = "";
    loop {
        let (answer, text) = match ask() {
            Ok(said) => said,
            Err(why) => return Ok(Err(why)),
        };
        match format {
            FormatArg::Json => print::data(&format!("{answer}\n"))?,
            FormatArg::Text => print::data(&format!("{gap}{text}"))?,
        }
        gap = "\n";
        thread::sleep(interval);
    }
}

fn on_screen(interval: Duration, ask: Ask<'_>) -> io::Result<Result<(), String>> {
    let screen = Screen::enter()?;
    loop {
        let (_, text) = match ask() {
            Ok(said) => said,
            Err(why) => return Ok(Err(why)),
        };
        loop {
            screen.draw(|columns, rows| fitted(&text, columns, rows))?;
            match screen.wait(interval)? {
                Wake::Time => break,
                Wake::Quit => return Ok(Ok(())),
                Wake::Resized | Wake::Key(_) => {}
            }
        }
    }
}

/// As much of a text as there is room for; a last line says how much is left out.
fn fitted(text: &str, columns: usize, rows: usize) -> Vec<String> {
    let all: Vec<&str> = text.lines().collect();
    let fits = |line: &&str| line.chars().take(columns).collect::<String>();
    if all.len() <= rows {
        return all.iter().map(fits).collect();
    }
    let kept = rows.saturating_sub(1);
    let note = format!("… and {} more lines", all.len() - kept);
    all.iter().take(kept).map(fits).chain([fits(&note.as_str())]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_are_times_and_not_too_short() {
        assert_eq!(interval("2s"), Ok(Duration::from_secs(2)));
        assert_eq!(interval("1"), Ok(Duration::from_secs(1)));
        assert!(interval("99ms").is_err() && interval("0").is_err() && interval("often").is_err());
    }

    #[test]
    fn what_does_not_fit_is_cut_and_counted() {
        assert_eq!(fitted("abc\nd\n", 2, 2), ["ab", "d"]);
        assert_eq!(fitted("a\nb\nc\nd", 40, 3), ["a", "b", "… and 2 more lines"]);
        assert_eq!(fitted("ä\nb", 1, 1), ["…"]);
    }

    #[test]
    fn a_refusal_ends_it() {
        let refused = || Err("no".to_owned());
        for watch in [None, Some(INTERVAL_MIN)] {
            let outcome = WatchArgs { watch }.show(FormatArg::Json, refused).unwrap();
            assert_eq!(outcome, Outcome::Findings);
        }
    }
}
