//! A column of a table whose fields are separated by commas, semicolons or tabs.

use csv::{ReaderBuilder, StringRecord, Trim};

use super::{Column, Fault, Take};

/// What may separate fields; the one that the first line has most of does.
const DELIMITERS: [u8; 3] = [b',', b';', b'\t'];

/// Takes in the column's fields.
pub(super) fn words(text: &str, column: &Column, take: &mut Take<'_>) -> Result<(), Fault> {
    let delimiter = delimiter(text);
    let ended;
    let text = if text.ends_with('\n') {
        text
    } else {
        ended = format!("{text}\n");
        &ended
    };
    let mut reader = ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .comment(Some(b'#'))
        .trim(Trim::All)
        .delimiter(delimiter)
        .from_reader(text.as_bytes());
    let mut at = match column {
        Column::At(at) => Some(*at),
        // Some have the names in a comment.
        Column::Named(name) => commented(text, name, delimiter),
    };
    let mut record = StringRecord::new();
    let mut is_first = true;
    loop {
        let more = reader.read_record(&mut record).map_err(|error| {
            let line = error.position().map_or(0, csv::Position::line);
            Fault::Table { line, why: "it is no table".to_owned() }
        })?;
        if !more {
            break;
        }
        // A record's own position is in front of the comments before it.
        let line = reader.position().line().saturating_sub(1);
        if let (None, Column::Named(name)) = (at, column) {
            at = place(&record, name);
            if at.is_none() {
                let why = format!("it names no column `{name}`; set `column` to its number, from 1");
                return Err(Fault::Table { line, why });
            }
            is_first = false;
            continue;
        }
        let word = at.and_then(|at| record.get(at)).map(unquoted).unwrap_or_default();
        // A column by its number may have a name on top.
        let is_title =
            std::mem::take(&mut is_first) && matches!(column, Column::At(_)) && record.iter().all(is_title);
        if !word.is_empty() && !is_title {
            take(usize::try_from(line).unwrap_or(usize::MAX), word)?;
        }
    }
    Ok(())
}

fn delimiter(text: &str) -> u8 {
    let line =
        text.lines().find(|line| !line.starts_with('#') && !line.trim().is_empty()).unwrap_or_default();
    let count = |delimiter: &u8| line.bytes().filter(|byte| byte == delimiter).count();
    // Of equals the first.
    DELIMITERS.into_iter().rev().max_by_key(count).unwrap_or(b',')
}

/// The column's place by the last comment before the first record.
fn commented(text: &str, name: &str, delimiter: u8) -> Option<usize> {
    let comments = text.lines().take_while(|line| line.starts_with('#') || line.trim().is_empty());
    let line = comments.filter(|line| line.starts_with('#')).last()?.trim_start_matches('#').trim();
    let mut reader = ReaderBuilder::new()
        .has_headers(false)
        .trim(Trim::All)
        .delimiter(delimiter)
        .from_reader(line.as_bytes());
    let record = reader.records().next()?.ok()?;
    place(&record, name)
}

fn place(record: &StringRecord, name: &str) -> Option<usize> {
    record.iter().position(|title| unquoted(title).eq_ignore_ascii_case(name))
}

/// A field whose quotes stand behind a blank.
fn unquoted(field: &str) -> &str {
    field.trim_matches('"')
}

/// Whether a field may be the name of a column: a word of letters, `_` and blanks.
fn is_title(field: &str) -> bool {
    !field.is_empty() && field.bytes().all(|byte| byte.is_ascii_alphabetic() || b"_ -".contains(&byte))
        || field.eq_ignore_ascii_case("sha256")
        || field.eq_ignore_ascii_case("sha256_hash")
}
