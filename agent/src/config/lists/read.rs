//! Lists as written, checked; each fault with its place.

use std::{path::PathBuf, time::Duration};

use hyper::Uri;
use rampart_rules::set::SetKind;
use serde_yaml::Value;

use super::{Column, ListFormat, ListSource, RuleList};
use crate::config::{fault::Place, limits::read::Section, raw::Raw, services::read::is_name};

/// Settings of a list, in the order of the documentation.
const KEYS: [&str; 12] = [
    "kind",
    "file",
    "url",
    "format",
    "column",
    "refresh_secs",
    "max_mib",
    "max_entries",
    "max_age_secs",
    "stale",
    "allow_private",
    "headers_file",
];
/// Largest text, mebibytes.
const MIB_MAX: u64 = 256;
/// Most members.
const ENTRIES_MAX: u64 = 2_000_000;
/// Longest time between two looks: a week.
const REFRESH_MAX_SECS: u64 = 604_800;
/// Longest age: a year.
const AGE_MAX_SECS: u64 = 31_536_000;

/// Reads a list.
pub(in crate::config) fn list(
    raw: &mut Raw,
    name: &str,
    path: &str,
    value: Value,
    place: &Place,
) -> Option<RuleList> {
    let mut section = Section::open(raw, path, value, place, &KEYS)?;
    // Rules write it where a text, a number or an address may stand too.
    if !is_name(name) || !name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_') {
        let message = format!(
            "the list `{name}` must be named by letters, digits, `-`, `_` and `.`, a letter or `_` first"
        );
        section.raw.fault(section.place.clone(), message, None);
    }
    let kinds = SetKind::ALL.map(SetKind::name);
    if !section.entries.contains_key("kind") {
        let help = Some(format!("set `kind` to one of {}", kinds.join(", ")));
        section.raw.fault(section.place.clone(), format!("`{path}` has no kind"), help);
    }
    let kind = section.choice("kind", &kinds, "ip");
    let kind = SetKind::ALL.into_iter().find(|known| known.name() == kind).unwrap_or(SetKind::Ip);
    let source = section.source();
    let format = section.format();
    let refresh = section.number("refresh_secs", 1, REFRESH_MAX_SECS, 3600);
    let max_mib = section.number("max_mib", 1, MIB_MAX, 16);
    let max_entries = section.number("max_entries", 1, ENTRIES_MAX, 500_000);
    let max_age = section.number("max_age_secs", 0, AGE_MAX_SECS, 604_800);
    let drops_stale = section.choice("stale", &["keep", "drop"], "keep") == "drop";
    let allows_private = section.flag("allow_private", false);
    let headers_file = section.file("headers_file");
    if headers_file.is_some() && matches!(source, Some(ListSource::File(_))) {
        let place = section.place_of("headers_file");
        section.raw.fault(place, format!("`{path}` is a file, which takes no headers"), None);
    }
    Some(RuleList {
        kind,
        source: source?,
        format: format?,
        refresh: Duration::from_secs(refresh),
        max_bytes: (max_mib as usize) << 20,
        max_entries: max_entries as usize,
        max_age: Duration::from_secs(max_age),
        drops_stale,
        allows_private,
        headers_file,
        copy: PathBuf::new(),
    })
}

impl Section<'_> {
    fn file(&mut self, name: &str) -> Option<PathBuf> {
        let value = self.take(name)?;
        let text = value.as_str().filter(|text| !text.is_empty());
        if text.is_none() {
            self.wrong(name, &value, "a file");
        }
        text.map(PathBuf::from)
    }

    /// One of `file` and `url`.
    fn source(&mut self) -> Option<ListSource> {
        let (file, url) = (self.file("file"), self.take("url"));
        match (file, url) {
            (Some(file), None) => Some(ListSource::File(file)),
            (None, Some(url)) => {
                let is_web =
                    |uri: &Uri| matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some();
                let text = url.as_str().filter(|text| text.parse().is_ok_and(|uri| is_web(&uri)));
                if text.is_none() {
                    self.wrong("url", &url, "a web address such as `https://example.com/list.txt`");
                }
                text.map(|text| ListSource::Url(text.to_owned()))
            }
            (file, _) => {
                let has = if file.is_some() { "both `file` and `url`" } else { "no source" };
                let help = Some("set one of `file` and `url`".to_owned());
                let message = format!("`{}` has {has}", self.path);
                self.raw.fault(self.place.clone(), message, help);
                None
            }
        }
    }

    fn format(&mut self) -> Option<ListFormat> {
        let column = self.take("column");
        let word = self.choice("format", &["auto", "plain", "csv", "stix"], "auto");
        let column = match &column {
            None => None,
            Some(value) => {
                let at =
                    value.as_u64().filter(|at| (1..=1000).contains(at)).map(|at| Column::At(at as usize - 1));
                let named = value.as_str().filter(|name| !name.is_empty());
                let column = at.or_else(|| named.map(|name| Column::Named(name.to_owned())));
                if column.is_none() {
                    self.wrong("column", value, "a column's name, or its number from 1");
                }
                Some(column?)
            }
        };
        Some(match (word, column) {
            ("csv", column) => ListFormat::Csv(column.unwrap_or(Column::At(0))),
            ("auto", Some(column)) => ListFormat::Csv(column),
            (word, Some(_)) => {
                let place = self.place_of("column");
                let message = format!("`{}` has a column, but its format is `{word}`", self.path);
                self.raw.fault(place, message, Some("set `format: csv`".to_owned()));
                return None;
            }
            ("plain", None) => ListFormat::Plain,
            ("stix", None) => ListFormat::Stix,
            _ => ListFormat::Auto,
        })
    }
}
