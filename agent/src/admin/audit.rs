//! What was changed while the agent runs, by whom and when: a file that is only appended to, a JSON object a line.
//!
//! A change that cannot be noted is not made: the file is opened first.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use jiff::Timestamp;
use serde::Serialize;

/// Name of the file in `node.state_dir`.
pub const FILE: &str = "audit.jsonl";

/// The file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Audit {
    path: PathBuf,
}

/// A line of it that is yet to be written.
#[derive(Debug)]
pub struct Line {
    file: File,
}

/// What is noted of a change.
#[derive(Clone, Debug, Serialize)]
pub struct Record<'a> {
    /// Who asked.
    pub who: &'a str,
    /// For what, such as `limits deny`.
    pub what: &'a str,
    /// About what, such as an address.
    pub about: &'a str,
    /// `done`, or why not.
    pub outcome: &'a str,
    /// What was asked for, whole.
    pub details: serde_json::Value,
}

impl Audit {
    /// In a directory, which is made when it is not there.
    pub fn new(directory: &Path) -> Self {
        Self { path: directory.join(FILE) }
    }

    /// Opens the file for one line.
    pub fn open(&self) -> io::Result<Line> {
        if let Some(directory) = self.path.parent() {
            std::fs::create_dir_all(directory)?;
        }
        let file = OpenOptions::new().append(true).create(true).mode(0o600).open(&self.path)?;
        Ok(Line { file })
    }
}

impl Line {
    /// Writes it, down to the disk.
    pub fn write(mut self, record: &Record<'_>) -> io::Result<()> {
        let mut line = serde_json::json!({ "time": Timestamp::now().to_string() });
        if let (Some(line), serde_json::Value::Object(record)) =
            (line.as_object_mut(), serde_json::to_value(record)?)
        {
            line.extend(record);
        }
        // One write, so that lines of several writers do not mix.
        self.file.write_all(format!("{line}\n").as_bytes())?;
        self.file.sync_data()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_appended_and_the_file_is_for_its_owner() {
        use std::os::unix::fs::PermissionsExt as _;

        let dir = tempfile::tempdir().unwrap();
        let audit = Audit::new(&dir.path().join("state"));
        for outcome in ["done", "refused"] {
            let record = Record {
                who: "uid 0",
                what: "limits deny",
                about: "192.0.2.1",
                outcome,
                details: serde_json::json!({ "secs": 60 }),
            };
            audit.open().unwrap().write(&record).unwrap();
        }
        let path = dir.path().join("state").join(FILE);
        let text = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<serde_json::Value> =
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len(), 2);
        assert_eq!((&lines[0]["who"], &lines[1]["outcome"]), (&"uid 0".into(), &"refused".into()));
        assert!(lines[0]["time"].as_str().unwrap().ends_with('Z'));
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let nowhere = Audit::new(Path::new("/proc/nowhere"));
        assert!(nowhere.open().is_err());
    }
}
