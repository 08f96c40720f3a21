//! What is done for each kind of job.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use jiff::Timestamp;

use super::{
    CONTENT_MAX, Done, Events, Failed, TEXT_MAX, Task,
    child::{self, Ended},
};
use crate::{
    captures::{self, EXTENSION},
    own,
};

/// Room of a recording that is made for a trial of rules.
const TRIAL_BYTES: u64 = 64 << 20;

/// Where jobs work, and with what.
#[derive(Clone, Debug)]
pub struct Place {
    /// Directory of what jobs need while they run.
    pub jobs: PathBuf,
    /// Directory of recordings.
    pub captures: PathBuf,
    /// Bytes for all recordings.
    pub room: u64,
    /// The configuration, if it is there.
    pub config_file: PathBuf,
    /// Rule files in place of those that it names; empty when the agent was given none.
    pub rules: Vec<PathBuf>,
}

/// A job that runs.
pub(super) struct Work<'a, K> {
    pub(super) place: &'a Place,
    pub(super) id: &'a str,
    /// Its own folder.
    pub(super) folder: &'a Path,
    /// When its lease ends.
    pub(super) end: Instant,
    /// Whether to go on.
    pub(super) keep: K,
}

impl<K: FnMut() -> Result<(), Failed>> Work<'_, K> {
    /// Does it.
    pub(super) fn run(&mut self, task: &Task) -> Result<Done, Failed> {
        match task {
            Task::Diagnostics => self.diagnostics(),
            Task::Capture { time, max_bytes } => self.capture(*time, *max_bytes),
            Task::Backtest { rules, events } => self.backtest(rules, events),
            Task::Undo(number) => self.plain(&["responses", "undo", &number.to_string()]),
            Task::Undeny(source) => self.plain(&["limits", "undeny", "--", source]),
        }
    }

    fn diagnostics(&mut self) -> Result<Done, Failed> {
        let file = self.folder.join("diagnostics.tar");
        let ended = self.child(&["doctor", "--bundle", &file.to_string_lossy()])?;
        // 1: it has found something, which is in the archive.
        ended.must(&[0, 1])?;
        let content = whole(&file)?.ok_or_else(|| Failed::forever("the archive is too large to be sent"))?;
        Ok(Done { text: ended.text(), name: "diagnostics.tar".to_owned(), content, ..Done::default() })
    }

    fn capture(&mut self, time: Duration, max_bytes: u64) -> Result<Done, Failed> {
        let name = format!("{}-{}.{EXTENSION}", captures::stamp(Timestamp::now()), self.id);
        let file = self.place.captures.join(&name);
        let max_bytes = max_bytes.min(self.place.room);
        captures::make_room(&self.place.captures, self.place.room - max_bytes).map_err(Failed::now)?;
        let ended = self.record(&file, time, max_bytes)?;
        let content = whole(&file)?.unwrap_or_default();
        Ok(Done { text: ended.text(), file: file.display().to_string(), name, content })
    }

    fn backtest(&mut self, rules: &str, events: &Events) -> Result<Done, Failed> {
        let file = match events {
            Events::Of(id) => captures::of(&self.place.captures, id).ok_or_else(|| {
                Failed::forever(format!("there is no recording of job {id} on this node any more"))
            })?,
            Events::New(time) => {
                let file = self.folder.join("events.rec");
                self.record(&file, *time, TRIAL_BYTES)?;
                file
            }
        };
        let other = self.folder.join("rules.yaml");
        fs::write(&other, rules).map_err(|error| Failed::now(format!("cannot write the rules: {error}")))?;
        let (other, file) = (other.to_string_lossy(), file.to_string_lossy());
        let in_force = self.in_force();
        let mut words = vec!["replay", "--bundle"];
        words.extend(in_force.iter().flat_map(|path| ["--rules", path]));
        words.extend(["--diff", "--add", "--rules", &other, &file]);
        let ended = self.child(&words)?;
        // 1: there are differences. 2: the rules do not load, and will not another time.
        ended.must(&[0, 1]).map_err(|failed| Failed { is_final: ended.code == Some(2), ..failed })?;
        let name = "backtest.txt".to_owned();
        // The last thing it says is the summary.
        let summary = ended.complaint.lines().last().unwrap_or_default();
        Ok(Done {
            text: format!("{summary}\n{}", ended.text()),
            name,
            content: ended.output,
            ..Done::default()
        })
    }

    fn plain(&mut self, words: &[&str]) -> Result<Done, Failed> {
        let ended = self.child(words)?;
        // 1: the agent refuses, and will another time.
        ended.must(&[0]).map_err(|failed| Failed { is_final: ended.code == Some(1), ..failed })?;
        Ok(Done { text: ended.text(), ..Done::default() })
    }

    fn record(&mut self, file: &Path, time: Duration, max_bytes: u64) -> Result<Ended, Failed> {
        let (time, bytes) = (format!("{}s", time.as_secs()), max_bytes.to_string());
        let (file, in_force) = (file.to_string_lossy(), self.in_force());
        let mut words = vec!["record", "--bundle", "--output", &file, "--duration", &time];
        words.extend(["--max-bytes", &bytes]);
        words.extend(in_force.iter().flat_map(|path| ["--rules", path]));
        let ended = self.child(&words)?;
        ended.must(&[0]).map(|()| ended)
    }

    /// Rule files that the agent was given by its own flags.
    fn in_force(&self) -> Vec<String> {
        self.place.rules.iter().map(|path| path.to_string_lossy().into_owned()).collect()
    }

    fn child(&mut self, words: &[&str]) -> Result<Ended, Failed> {
        // Settings come before what must not be taken for one.
        let split = words.iter().position(|word| *word == "--").unwrap_or(words.len());
        let (before, after) = words.split_at(split);
        let mut command = own::command(&self.place.config_file, before);
        command.args(after);
        child::run(command, self.folder, self.end, &mut self.keep)
    }
}

impl Ended {
    fn must(&self, codes: &[i32]) -> Result<(), Failed> {
        if self.code.is_some_and(|code| codes.contains(&code)) {
            return Ok(());
        }
        let code = self.code.map_or_else(|| "by a signal".to_owned(), |code| format!("with code {code}"));
        let said = if self.complaint.is_empty() { self.text() } else { self.complaint.clone() };
        Err(Failed::now(format!("it ended {code}: {}", said.trim())))
    }

    fn text(&self) -> String {
        let text = String::from_utf8_lossy(&self.output);
        let end = text.floor_char_boundary(TEXT_MAX);
        text.get(..end).unwrap_or_default().to_owned()
    }
}

/// A file's content; `None` when it is too large to be sent.
fn whole(file: &Path) -> Result<Option<Vec<u8>>, Failed> {
    let fault = |error| Failed::now(format!("cannot read `{}`: {error}", file.display()));
    let bytes = fs::metadata(file).map_err(fault)?.len();
    if bytes > CONTENT_MAX { Ok(None) } else { fs::read(file).map(Some).map_err(fault) }
}
