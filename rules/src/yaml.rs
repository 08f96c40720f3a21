//! YAML text to a tree of nodes that know their places.
//!
//! Depth, size and the copies made by aliases are bounded, so a hostile file costs no more than its length.

mod scalar;

use std::collections::HashMap;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle};

use crate::{
    diagnostic::{Diagnostic, code},
    source::{SourceId, Span},
};

/// Deepest nesting accepted. Rule files need six levels.
const DEPTH_LIMIT: usize = 64;
/// Most nodes accepted, aliases counted as what they stand for. The largest upstream file has about 4000.
const NODE_LIMIT: usize = 1_000_000;
/// Most nodes that may come from aliases; rule files hardly use any.
const ALIAS_LIMIT: usize = 100_000;

/// A value and its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Node {
    pub(crate) kind: NodeKind,
    pub(crate) span: Span,
}

/// What a node is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NodeKind {
    /// Nothing, `~` or `null`.
    Null,
    /// A scalar, its text after folding and escapes.
    Scalar(String, Style),
    /// A sequence.
    Seq(Vec<Node>),
    /// A map, in order, duplicates kept.
    Map(Vec<(Node, Node)>),
}

/// How a scalar was written; decides how its bytes lie in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Style {
    Plain,
    Single,
    Double,
    /// `|` or `>`.
    Block,
}

/// A container that is still open.
struct Frame {
    span: Span,
    anchor: usize,
    /// Nodes below it so far, itself included.
    weight: usize,
    items: Vec<Node>,
    is_map: bool,
}

/// Reads all documents of a file. With a fault the documents before it are still given.
pub(crate) fn parse(text: &str, source: SourceId) -> (Vec<Node>, Vec<Diagnostic>) {
    let mut reader = Reader {
        source,
        offsets: Offsets::new(text),
        frames: Vec::new(),
        anchors: HashMap::new(),
        documents: Vec::new(),
        nodes: 0,
        alias_nodes: 0,
    };
    let mut diagnostics = Vec::new();
    let mut parser = Parser::new_from_str(text);
    while let Some(event) = parser.next_event() {
        let step = match event {
            Ok((Event::StreamEnd, _)) => break,
            Ok((event, span)) => {
                let span = reader.span(span.start, span.end);
                reader.event(event, span)
            }
            Err(error) => {
                let at = reader.span(*error.marker(), *error.marker());
                Err(Diagnostic::new(code::YAML_SYNTAX, format!("invalid YAML: {}", error.info())).at(at))
            }
        };
        if let Err(diagnostic) = step {
            diagnostics.push(diagnostic);
            break;
        }
    }
    (reader.documents, diagnostics)
}

struct Reader {
    source: SourceId,
    offsets: Offsets,
    frames: Vec<Frame>,
    /// Finished anchored nodes and how many nodes each holds.
    anchors: HashMap<usize, (Node, usize)>,
    documents: Vec<Node>,
    nodes: usize,
    alias_nodes: usize,
}

impl Reader {
    fn event(&mut self, event: Event<'_>, span: Span) -> Result<(), Diagnostic> {
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let null = style == ScalarStyle::Plain
                    && tag.is_none()
                    && matches!(&*text, "" | "~" | "null" | "Null" | "NULL");
                let kind = if null {
                    NodeKind::Null
                } else {
                    NodeKind::Scalar(
                        text.into_owned(),
                        match style {
                            ScalarStyle::Plain => Style::Plain,
                            ScalarStyle::SingleQuoted => Style::Single,
                            ScalarStyle::DoubleQuoted => Style::Double,
                            ScalarStyle::Literal | ScalarStyle::Folded => Style::Block,
                        },
                    )
                };
                self.finish(Node { kind, span }, anchor, 1)
            }
            Event::SequenceStart(anchor, _) => self.open(span, anchor, false),
            Event::MappingStart(anchor, _) => self.open(span, anchor, true),
            Event::SequenceEnd | Event::MappingEnd => self.close(span),
            Event::Alias(anchor) => {
                let Some((node, weight)) = self.anchors.get(&anchor) else {
                    return Err(Diagnostic::new(
                        code::YAML_SYNTAX,
                        "invalid YAML: an alias stands inside what it refers to",
                    )
                    .at(span));
                };
                let weight = *weight;
                self.alias_nodes += weight;
                if self.alias_nodes > ALIAS_LIMIT {
                    return Err(limit("aliases stand for too many nodes", span));
                }
                // The copy points at the alias, not at what it stands for: that is the place to change.
                let node = Node { span, kind: node.kind.clone() };
                self.finish(node, 0, weight)
            }
            Event::Nothing
            | Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(_)
            | Event::DocumentEnd => Ok(()),
        }
    }

    fn open(&mut self, span: Span, anchor: usize, is_map: bool) -> Result<(), Diagnostic> {
        if self.frames.len() >= DEPTH_LIMIT {
            return Err(limit("YAML is nested too deeply", span));
        }
        self.frames.push(Frame { span, anchor, weight: 1, items: Vec::new(), is_map });
        Ok(())
    }

    fn close(&mut self, end: Span) -> Result<(), Diagnostic> {
        let Some(frame) = self.frames.pop() else { return Ok(()) };
        let span = Span { end: end.end.max(frame.span.end), ..frame.span };
        let kind = if frame.is_map {
            let mut pairs = Vec::with_capacity(frame.items.len() / 2);
            let mut items = frame.items.into_iter();
            while let (Some(key), Some(value)) = (items.next(), items.next()) {
                pairs.push((key, value));
            }
            NodeKind::Map(pairs)
        } else {
            NodeKind::Seq(frame.items)
        };
        self.finish(Node { kind, span }, frame.anchor, frame.weight)
    }

    /// Puts a finished node of `weight` nodes where it belongs.
    fn finish(&mut self, node: Node, anchor: usize, weight: usize) -> Result<(), Diagnostic> {
        self.nodes += 1;
        if self.nodes > NODE_LIMIT {
            return Err(limit("YAML has too many nodes", node.span));
        }
        if anchor != 0 {
            self.alias_nodes += weight;
            if self.alias_nodes > ALIAS_LIMIT {
                return Err(limit("anchors hold too many nodes", node.span));
            }
            self.anchors.insert(anchor, (node.clone(), weight));
        }
        match self.frames.last_mut() {
            Some(frame) => {
                frame.weight += weight;
                frame.items.push(node);
            }
            None => self.documents.push(node),
        }
        Ok(())
    }

    fn span(&self, start: Marker, end: Marker) -> Span {
        let start = self.offsets.byte(start.index());
        Span::new(self.source, start..self.offsets.byte(end.index()).max(start))
    }
}

fn limit(message: &str, span: Span) -> Diagnostic {
    Diagnostic::new(code::YAML_LIMIT, message).at(span)
}

/// Byte offsets of characters; the parser counts characters.
struct Offsets {
    /// Empty when every character is one byte.
    table: Vec<u32>,
    length: usize,
}

impl Offsets {
    fn new(text: &str) -> Self {
        let table = if text.is_ascii() {
            Vec::new()
        } else {
            text.char_indices().map(|(offset, _)| u32::try_from(offset).unwrap_or(u32::MAX)).collect()
        };
        Self { table, length: text.len() }
    }

    fn byte(&self, character: usize) -> usize {
        if self.table.is_empty() {
            return character.min(self.length);
        }
        self.table.get(character).map_or(self.length, |&offset| offset as usize)
    }
}

impl Node {
    /// Text of a scalar.
    pub(crate) fn as_text(&self) -> Option<&str> {
        match &self.kind {
            NodeKind::Scalar(text, _) => Some(text),
            _ => None,
        }
    }

    /// Items of a sequence.
    pub(crate) fn as_seq(&self) -> Option<&[Self]> {
        match &self.kind {
            NodeKind::Seq(items) => Some(items),
            _ => None,
        }
    }

    /// Pairs of a map.
    pub(crate) fn as_map(&self) -> Option<&[(Self, Self)]> {
        match &self.kind {
            NodeKind::Map(pairs) => Some(pairs),
            _ => None,
        }
    }

    /// Whether there is no value.
    pub(crate) fn is_null(&self) -> bool {
        self.kind == NodeKind::Null
    }

    /// Value of a key; the first of duplicates, as Falco takes it.
    pub(crate) fn get(&self, key: &str) -> Option<&Self> {
        self.as_map()?.iter().find(|(name, _)| name.as_text() == Some(key)).map(|(_, value)| value)
    }

    /// What the node is, for messages.
    pub(crate) fn describe(&self) -> &'static str {
        match self.kind {
            NodeKind::Null => "nothing",
            NodeKind::Scalar(..) => "a scalar",
            NodeKind::Seq(_) => "a sequence",
            NodeKind::Map(_) => "a map",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (Vec<Node>, Vec<Diagnostic>) {
        parse(text, SourceId(0))
    }

    #[test]
    fn places_are_bytes_even_behind_wide_characters() {
        let text = "- é: x\n- b: [1, two]\n";
        let (documents, faults) = read(text);
        assert!(faults.is_empty());
        let second = documents[0].as_seq().unwrap()[1].get("b").unwrap();
        let two = &second.as_seq().unwrap()[1];
        assert_eq!(&text[two.span.start as usize..two.span.end as usize], "two");
    }

    #[test]
    fn documents_before_a_fault_are_kept() {
        let (documents, faults) = read("- a: 1\n---\n- b: [\n");
        assert_eq!(documents.len(), 1);
        assert_eq!(faults[0].code, code::YAML_SYNTAX);
        assert!(faults[0].span.is_some());
    }

    #[test]
    fn hostile_files_end_in_a_diagnostic() {
        let deep = "- ".repeat(10_000) + "x";
        assert_eq!(read(&deep).1[0].code, code::YAML_LIMIT);
        let flow = "[".repeat(10_000);
        assert!(!read(&flow).1.is_empty());
        let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..20 {
            let refs = vec![format!("*a{}", level - 1); 10].join(", ");
            bomb += &"aX: &aX [refs]\n".replace('X', &level.to_string()).replace("refs", &refs);
        }
        assert_eq!(read(&bomb).1[0].code, code::YAML_LIMIT);
        assert_eq!(read("a: &a [*a]").1[0].code, code::YAML_SYNTAX);
    }

    #[test]
    fn nulls_are_told_from_texts() {
        let (documents, _) = read("- ~\n- ''\n- null\n- 'null'\n-\n");
        let kinds: Vec<bool> = documents[0].as_seq().unwrap().iter().map(Node::is_null).collect();
        assert_eq!(kinds, [true, false, true, false, true]);
    }
}
