//! One value in canonical form. `None` when there is none for it.

use super::lines::{end, indent, is_flow, raw, start};
use crate::yaml::{Node, NodeKind, Style};

/// Columns a line may have before it is broken.
pub(super) const WIDTH: usize = 110;

/// What follows the colon behind a key, or the dash of a sequence, in an item whose lines begin at `column`.
///
/// `used` columns of the line are taken already.
pub(super) fn value(text: &str, node: &Node, column: usize, used: usize) -> Option<String> {
    match &node.kind {
        NodeKind::Null => Some(if raw(text, node).is_empty() { String::new() } else { " ~".to_owned() }),
        NodeKind::Scalar(_, Style::Block) => block(text, node, column),
        NodeKind::Scalar(content, _) => {
            let shown = raw(text, node);
            if shown.contains('\n') || used + 1 + shown.chars().count() > WIDTH {
                folded(content, column).or_else(|| (!shown.contains('\n')).then(|| format!(" {shown}")))
            } else {
                Some(format!(" {shown}"))
            }
        }
        NodeKind::Seq(items) => match flow(text, node) {
            Some(line) if used + 1 + line.chars().count() <= WIDTH => Some(format!(" {line}")),
            Some(_) if items.iter().all(|item| item.as_text().is_some()) => wrapped(text, items, column),
            _ if is_flow(text, node) => None,
            _ => sequence(text, items, column),
        },
        NodeKind::Map(pairs) => match flow(text, node) {
            Some(line) if is_flow(text, node) && used + 1 + line.chars().count() <= WIDTH => {
                Some(format!(" {line}"))
            }
            _ if is_flow(text, node) => None,
            _ => {
                let mut out = String::new();
                for (key, inner) in pairs {
                    out.push('\n');
                    out.push_str(&" ".repeat(column + 2));
                    out.push_str(&entry(text, key, inner, column + 2)?);
                }
                Some(out)
            }
        },
    }
}

/// A key with its value.
pub(super) fn entry(text: &str, key: &Node, inner: &Node, column: usize) -> Option<String> {
    let name = raw(text, key);
    let plain = matches!(key.kind, NodeKind::Scalar(_, Style::Plain | Style::Single | Style::Double));
    if !plain || name.contains('\n') {
        return None;
    }
    let used = column + name.chars().count() + 1;
    Some(format!("{name}:{}", value(text, inner, column, used)?))
}

/// A block text with its lines moved to where they belong.
fn block(text: &str, node: &Node, column: usize) -> Option<String> {
    let whole = text.get(start(text, node)..end(text, node)?)?;
    let (header, body) = whole.split_once('\n')?;
    if !matches!(header.trim_end(), "|" | ">" | "|-" | ">-") {
        return None;
    }
    let depth = body.lines().find(|line| !line.trim().is_empty()).map(indent)?;
    let mut out = format!(" {}", header.trim_end());
    for line in body.lines() {
        out.push('\n');
        if !line.trim().is_empty() {
            out.push_str(&" ".repeat(column + 2));
            out.push_str(line.get(depth..)?);
        }
    }
    Some(out)
}

/// A text over several lines, for what is too long for one.
fn folded(content: &str, column: usize) -> Option<String> {
    let odd = |character: char| character.is_control() || (character.is_whitespace() && character != ' ');
    let words: Vec<&str> = content.split(' ').collect();
    if words.len() < 2 || words.iter().any(|word| word.is_empty()) || content.contains(odd) {
        return None;
    }
    let mut out = " >-".to_owned();
    let mut used = usize::MAX;
    for word in words {
        let width = word.chars().count();
        if used.saturating_add(1 + width) > WIDTH {
            out.push('\n');
            out.push_str(&" ".repeat(column + 2));
            used = column + 2 + width;
        } else {
            out.push(' ');
            used += 1 + width;
        }
        out.push_str(word);
    }
    Some(out)
}

/// A value on one line, in brackets if it is a sequence or map.
fn flow(text: &str, node: &Node) -> Option<String> {
    match &node.kind {
        NodeKind::Null => (!raw(text, node).is_empty()).then(|| "~".to_owned()),
        NodeKind::Scalar(content, style) => {
            let shown = raw(text, node);
            let bare = *style != Style::Plain
                || !(content.is_empty()
                    || content.contains([',', '[', ']', '{', '}', '\n'])
                    || content.contains(": "));
            (*style != Style::Block && bare && !shown.contains('\n')).then(|| shown.to_owned())
        }
        NodeKind::Seq(items) => {
            let items: Option<Vec<String>> = items.iter().map(|item| flow(text, item)).collect();
            Some(format!("[{}]", items?.join(", ")))
        }
        NodeKind::Map(pairs) => {
            let pair =
                |(key, inner): &(Node, Node)| Some(format!("{}: {}", flow(text, key)?, flow(text, inner)?));
            let pairs: Option<Vec<String>> = pairs.iter().map(pair).collect();
            Some(format!("{{{}}}", pairs?.join(", ")))
        }
    }
}

/// A sequence of scalars in brackets over several lines.
fn wrapped(text: &str, items: &[Node], column: usize) -> Option<String> {
    let margin = column + 2;
    let mut out = format!("\n{}[", " ".repeat(margin));
    let mut used = margin + 1;
    for (index, item) in items.iter().enumerate() {
        let shown = flow(text, item)?;
        let width = shown.chars().count();
        if index > 0 {
            out.push(',');
            // Room for the comma or bracket behind it.
            if used + 3 + width > WIDTH {
                out.push('\n');
                out.push_str(&" ".repeat(margin + 1));
                used = margin + 1;
            } else {
                out.push(' ');
                used += 2;
            }
        }
        out.push_str(&shown);
        used += width;
    }
    out.push(']');
    Some(out)
}

/// A sequence of a line or more for each item.
fn sequence(text: &str, items: &[Node], column: usize) -> Option<String> {
    let margin = " ".repeat(column + 2);
    let mut out = String::new();
    for item in items {
        out.push('\n');
        out.push_str(&margin);
        out.push('-');
        match &item.kind {
            NodeKind::Map(pairs) if !is_flow(text, item) => {
                for (index, (key, inner)) in pairs.iter().enumerate() {
                    if index == 0 {
                        out.push(' ');
                    } else {
                        out.push('\n');
                        out.push_str(&" ".repeat(column + 4));
                    }
                    out.push_str(&entry(text, key, inner, column + 4)?);
                }
            }
            _ => out.push_str(&value(text, item, column + 2, column + 3)?),
        }
    }
    Some(out)
}
