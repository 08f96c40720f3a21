//! Lines of a text, and where comments and values end.

use crate::yaml::{Node, NodeKind, Style};

/// Offset of the first byte of the line that holds `at`.
pub(super) fn line_start(text: &str, at: usize) -> usize {
    text.get(..at).and_then(|before| before.rfind('\n')).map_or(0, |end| end + 1)
}

/// Offset of the line end at or behind `at`, or of the end of the text.
pub(super) fn line_end(text: &str, at: usize) -> usize {
    text.get(at..).and_then(|rest| rest.find('\n')).map_or(text.len(), |end| at + end)
}

/// The bytes of a node as written.
pub(super) fn raw<'a>(text: &'a str, node: &Node) -> &'a str {
    text.get(node.span.start as usize..node.span.end as usize).unwrap_or("")
}

/// First byte of a value; that of a block text is its header.
pub(super) fn start(text: &str, node: &Node) -> usize {
    let start = node.span.start as usize;
    if !matches!(node.kind, NodeKind::Scalar(_, Style::Block)) || raw(text, node).starts_with(['|', '>']) {
        return start;
    }
    // Its place begins where its text does.
    text.get(..start).and_then(|before| before.trim_end().rfind(['|', '>'])).unwrap_or(start)
}

/// Blanks a line begins with.
pub(super) fn indent(line: &str) -> usize {
    line.len() - line.trim_start_matches(' ').len()
}

/// Whether a sequence or map is written in brackets.
pub(super) fn is_flow(text: &str, node: &Node) -> bool {
    raw(text, node).starts_with(['[', '{'])
}

/// One past the last byte of a value; `None` for one of unclear extent.
pub(super) fn end(text: &str, node: &Node) -> Option<usize> {
    match &node.kind {
        NodeKind::Null => {
            let shown = raw(text, node);
            let plain = matches!(shown, "~" | "null" | "Null" | "NULL");
            // Without a value the place is somewhere behind the key.
            plain.then_some(node.span.end as usize)
        }
        NodeKind::Scalar(_, Style::Block) => Some(block_end(text, start(text, node))),
        NodeKind::Scalar(..) => Some(node.span.end as usize),
        NodeKind::Seq(_) | NodeKind::Map(_) if is_flow(text, node) => Some(node.span.end as usize),
        NodeKind::Seq(items) => end(text, items.last()?),
        NodeKind::Map(pairs) => {
            let (key, value) = pairs.last()?;
            if value.is_null() {
                Some(end(text, value).unwrap_or(key.span.end as usize + 1))
            } else {
                end(text, value)
            }
        }
    }
}

/// End of the last line of a block text that is not blank.
fn block_end(text: &str, start: usize) -> usize {
    let mut last = line_end(text, start);
    let mut at = last + 1;
    let mut depth = None;
    while let Some(line) = text.get(at..line_end(text, at.min(text.len()))) {
        if at >= text.len() {
            break;
        }
        if !line.trim().is_empty() {
            let depth = *depth.get_or_insert(indent(line));
            if indent(line) < depth || depth == 0 {
                break;
            }
            last = at + line.len();
        }
        at += line.len() + 1;
    }
    last
}

/// Whether a value holds a comment that is not part of a text.
pub(super) fn holds_comment(text: &str, node: &Node, upto: usize) -> bool {
    let mut texts = Vec::new();
    collect(text, node, &mut texts);
    let start = start(text, node);
    let Some(part) = text.get(start..upto) else { return true };
    part.match_indices('#').any(|(at, _)| {
        let place = start + at;
        !texts.iter().any(|&(from, to)| (from..to).contains(&place))
    })
}

fn collect(text: &str, node: &Node, texts: &mut Vec<(usize, usize)>) {
    match &node.kind {
        NodeKind::Scalar(_, Style::Block) => {
            // The header may have a comment.
            let start = start(text, node);
            texts.push((line_end(text, start), block_end(text, start)));
        }
        NodeKind::Null | NodeKind::Scalar(..) => {
            texts.push((node.span.start as usize, node.span.end as usize));
        }
        NodeKind::Seq(items) => items.iter().for_each(|item| collect(text, item, texts)),
        NodeKind::Map(pairs) => {
            for (key, value) in pairs {
                collect(text, key, texts);
                collect(text, value, texts);
            }
        }
    }
}
