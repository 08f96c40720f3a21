//! What there is of a list now: its file, or the last good copy.

use std::{
    fs,
    io::{self, Read as _},
    path::Path,
    time::SystemTime,
};

use super::{
    copy,
    fence::Fence,
    parse::{self, Parsed},
};
use crate::{
    config::{ListSource, RuleList},
    fetch::{self, Version},
};

/// What was found.
#[derive(Clone, Debug, Default)]
pub struct Opened {
    /// The members, when there are any to count.
    pub kept: Option<Kept>,
    /// What is wrong.
    pub fault: Option<String>,
}

/// Members with where they stand in time.
#[derive(Clone, Debug)]
pub struct Kept {
    /// The members.
    pub parsed: Parsed,
    /// What names their version at their source.
    pub version: Version,
    /// When their source last confirmed them.
    pub confirmed: SystemTime,
}

/// Reads what there is of a list. A file that says nothing usable leaves its last good copy.
pub fn open(name: &str, list: &RuleList, fence: &Fence) -> Opened {
    let mut opened = Opened::default();
    if let ListSource::File(path) = &list.source {
        match from_file(name, list, path, fence) {
            Ok(kept) => return Opened { kept: Some(kept), fault: None },
            Err(why) => opened.fault = Some(why),
        }
    }
    match copy::read(list) {
        Ok(None) => {}
        Ok(Some(copy)) => match parse::parse(name, list, &copy.text, fence) {
            Ok(parsed) => {
                opened.kept = Some(Kept { parsed, version: copy.version, confirmed: copy.confirmed });
            }
            Err(why) => opened.fault = opened.fault.or(Some(format!("its copy is of no use: {why}"))),
        },
        Err(error) => {
            opened.fault = opened.fault.or(Some(format!("its copy cannot be read: {error}")));
        }
    }
    opened
}

fn from_file(name: &str, list: &RuleList, path: &Path, fence: &Fence) -> Result<Kept, String> {
    let (text, confirmed) =
        text(path, list.max_bytes).map_err(|error| format!("it cannot be read: {error}"))?;
    if is_blank(&text) {
        return Err(BLANK.to_owned());
    }
    let parsed = parse::parse(name, list, &text, fence).map_err(|fault| fault.to_string())?;
    Ok(Kept { parsed, version: Version::default(), confirmed })
}

/// A file's text, as far as it may be, and the time of its last change.
pub fn text(path: &Path, most: usize) -> io::Result<(Vec<u8>, SystemTime)> {
    let file = fs::File::open(path)?;
    let data = file.metadata()?;
    if !data.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no file"));
    }
    let mut text = Vec::new();
    file.take(most as u64 + 1).read_to_end(&mut text)?;
    if text.len() > most {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("it has more than {most} bytes")));
    }
    Ok((text, data.modified()?))
}

/// What is wrong with a file that holds nothing.
pub const BLANK: &str = "it is empty; write a comment into it if that is meant";

/// Whether a text holds nothing at all, as one does that was cut off.
pub fn is_blank(text: &[u8]) -> bool {
    text.iter().all(u8::is_ascii_whitespace)
}

/// Where a list comes from, without what may be a secret.
pub fn shown(source: &ListSource) -> String {
    match source {
        ListSource::File(path) => path.display().to_string(),
        ListSource::Url(url) => fetch::shown(url).unwrap_or_default(),
    }
}
