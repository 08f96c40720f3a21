//! Items of a file with the comments and blank lines around them.

use super::{
    lines::{end, holds_comment, indent, line_end, line_start, start},
    print, same,
};
use crate::{
    source::SourceId,
    yaml::{self, Node},
};

/// Order of an item's keys; others follow as written.
const ORDER: [&str; 25] = [
    "required_engine_version",
    "required_plugin_versions",
    "list",
    "macro",
    "rule",
    "desc",
    "condition",
    "items",
    "output",
    "priority",
    "tags",
    "source",
    "enabled",
    "active",
    "sequence",
    "threshold",
    "throttle",
    "response",
    "exceptions",
    "warn_evttypes",
    "skip-if-unknown-filter",
    "capture",
    "capture_duration",
    "append",
    "override",
];

/// A file being laid out.
pub(super) struct Layout<'a> {
    text: &'a str,
    out: String,
}

/// A key of an item with what stands above and behind it.
struct Entry {
    rank: usize,
    above: Vec<String>,
    text: String,
    behind: Option<String>,
}

impl<'a> Layout<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, out: String::with_capacity(text.len()) }
    }

    /// All items. `None` when they do not stand behind dashes, one below the other.
    pub(super) fn file(mut self, items: &[&Node]) -> Option<String> {
        let mut at = 0;
        for item in items {
            let first = item.as_map().and_then(<[_]>::first).map_or(*item, |(key, _)| key);
            let start = first.span.start as usize;
            let begin = line_start(self.text, start);
            let lead = self.text.get(begin..start)?;
            if lead.trim() != "-" || begin < at {
                return None;
            }
            let stop = line_end(self.text, end(self.text, item)?);
            self.gap(self.text.get(at..begin)?, true);
            let written = dedented(self.text.get(begin..stop)?, indent(lead));
            self.out
                .push_str(&self.item(item, start, stop).filter(|new| agrees(item, new)).unwrap_or(written));
            self.out.push('\n');
            at = (stop + 1).min(self.text.len());
        }
        self.gap(self.text.get(at..)?, false);
        Some(self.out)
    }

    /// What stands between items: comments and document marks, never two blank lines in a row.
    fn gap(&mut self, gap: &str, before_item: bool) {
        let mut blank = false;
        // Comments of an item's last key stay with it, all else is set off by a blank line.
        let mut set_off = self.out.is_empty();
        for line in gap.lines() {
            let shown = line.trim();
            if shown.is_empty() {
                blank = true;
                continue;
            }
            let inner = line.starts_with(' ') && shown.starts_with('#') && !self.out.is_empty();
            if (blank || (!set_off && !inner)) && !self.out.is_empty() {
                self.out.push('\n');
                set_off = true;
            }
            blank = false;
            if inner {
                self.out.push_str("  ");
            }
            self.out.push_str(shown);
            self.out.push('\n');
        }
        if before_item && !self.out.is_empty() && (blank || !set_off) {
            self.out.push('\n');
        }
    }

    /// An item that is a map.
    fn item(&self, item: &Node, start: usize, stop: usize) -> Option<String> {
        let pairs = item.as_map()?;
        let mut entries = Vec::new();
        let mut from = start;
        for (key, value) in pairs {
            let above = self.comments(from, line_start(self.text, key.span.start as usize))?;
            let value_end = end(self.text, value).unwrap_or(key.span.end as usize + 1);
            let line = line_end(self.text, value_end);
            let behind = self.text.get(value_end..line)?.trim();
            if line > stop || !(behind.is_empty() || behind.starts_with('#')) {
                return None;
            }
            let rank = key.as_text().and_then(|name| ORDER.iter().position(|known| *known == name));
            let (text, behind) = match self.entry(key, value, value_end) {
                Some(text) => (text, (!behind.is_empty()).then(|| behind.to_owned())),
                None => (self.as_written(key, line)?, None),
            };
            entries.push(Entry { rank: rank.unwrap_or(ORDER.len()), above, text, behind });
            from = line + 1;
        }
        entries.sort_by_key(|entry| entry.rank);
        let mut out = String::new();
        for (index, entry) in entries.iter().enumerate() {
            // A comment cannot stand between the dash and the first key.
            if index == 0 && !entry.above.is_empty() {
                return None;
            }
            for comment in &entry.above {
                out.push_str("\n  ");
                out.push_str(comment);
            }
            out.push_str(if index == 0 { "- " } else { "\n  " });
            out.push_str(&entry.text);
            if let Some(comment) = &entry.behind {
                out.push(' ');
                out.push_str(comment);
            }
        }
        Some(out)
    }

    fn entry(&self, key: &Node, value: &Node, value_end: usize) -> Option<String> {
        if !value.is_null() && holds_comment(self.text, value, value_end) {
            return None;
        }
        // Nothing but blanks may stand between the colon and the value.
        let between = self.text.get(key.span.end as usize..start(self.text, value));
        if !value.is_null()
            && between.is_none_or(|between| between.trim_start_matches(':').contains(['#', ':']))
        {
            return None;
        }
        let text = print::entry(self.text, key, value, 2)?;
        // A comment behind a text of several lines would be part of it.
        let comment = self.text.get(value_end..line_end(self.text, value_end))?.trim();
        (comment.is_empty() || !text.contains('\n')).then_some(text)
    }

    /// A key and its value with their own lines, which must lie where they would be put.
    fn as_written(&self, key: &Node, line: usize) -> Option<String> {
        let start = key.span.start as usize;
        let column = start - line_start(self.text, start);
        let text = self.text.get(start..line)?;
        let mut lines = text.lines();
        let mut out = lines.next()?.trim_end().to_owned();
        for line in lines {
            out.push('\n');
            let moved = line.get(column.min(indent(line))..)?;
            if !moved.trim().is_empty() {
                out.push_str("  ");
                out.push_str(moved);
            }
        }
        Some(out)
    }

    /// The comment lines of a part of an item.
    fn comments(&self, from: usize, to: usize) -> Option<Vec<String>> {
        let lines = self.text.get(from..to.max(from))?.lines().map(str::trim).filter(|line| !line.is_empty());
        lines.map(|line| line.starts_with('#').then(|| line.to_owned())).collect()
    }
}

/// Lines moved left by what their first one is indented.
fn dedented(text: &str, by: usize) -> String {
    let lines: Vec<&str> =
        text.lines().map(|line| line.get(by.min(indent(line))..).unwrap_or(line)).collect();
    lines.join("\n")
}

/// Whether the new text of an item says what the item says.
fn agrees(item: &Node, new: &str) -> bool {
    let (documents, faults) = yaml::parse(new, SourceId(0));
    let again = documents.first().and_then(Node::as_seq).and_then(<[_]>::first);
    faults.is_empty() && again.is_some_and(|again| same(item, again))
}
