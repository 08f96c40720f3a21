//! Where each key and value of a YAML file stands: the YAML library gives values without places, so the file
//! is scanned once more for them. Faults of the text itself are reported by the value reader, not here.

use std::collections::BTreeMap;

use saphyr_parser::{Event, Parser, Span};

/// Line and column of a key or value, both from 1.
pub(super) type Place = (usize, usize);

/// Places of keys and of the values they hold, by dotted path.
#[derive(Debug, Default)]
pub(super) struct Places {
    keys: BTreeMap<String, Place>,
    values: BTreeMap<String, Place>,
}

impl Places {
    /// Scans a file; stops quietly where the text is no YAML.
    pub(super) fn scan(text: &str) -> Self {
        let mut places = Self::default();
        let mut open: Vec<Frame> = Vec::new();
        for item in Parser::new_from_str(text) {
            let Ok((event, span)) = item else { break };
            match event {
                Event::MappingStart(..) => {
                    let path = places.value(&mut open, &span);
                    open.push(Frame { path, mapping: true, key: None });
                }
                Event::SequenceStart(..) => {
                    let path = places.value(&mut open, &span);
                    open.push(Frame { path, mapping: false, key: None });
                }
                Event::MappingEnd | Event::SequenceEnd => {
                    open.pop();
                }
                Event::Scalar(text, ..) => places.scalar(&mut open, &text, &span),
                Event::Alias(..) => {
                    places.value(&mut open, &span);
                }
                _ => {}
            }
        }
        places
    }

    /// Place of the key itself.
    pub(super) fn key(&self, path: &str) -> Option<Place> {
        self.keys.get(path).copied()
    }

    /// Place of the key's value, or of the key when the value has none.
    pub(super) fn of_value(&self, path: &str) -> Option<Place> {
        self.values.get(path).copied().or_else(|| self.key(path))
    }

    fn scalar(&mut self, open: &mut [Frame], text: &str, span: &Span) {
        if let Some(frame) = open.last_mut()
            && frame.mapping
            && frame.key.is_none()
        {
            let path = join(&frame.path, text);
            self.keys.entry(path).or_insert_with(|| start(span));
            frame.key = Some(text.to_owned());
            return;
        }
        self.value(open, span);
    }

    /// Notes a value of any kind, gives its path, and lets the mapping around it expect a key next.
    fn value(&mut self, open: &mut [Frame], span: &Span) -> String {
        let Some(frame) = open.last_mut() else { return String::new() };
        let path = if let Some(key) = frame.key.take() {
            join(&frame.path, &key)
        } else {
            // A mapping or sequence used as a key, or an element of a sequence: no path of its own.
            if frame.mapping {
                frame.key = Some(String::new());
            }
            frame.path.clone()
        };
        self.values.entry(path.clone()).or_insert_with(|| start(span));
        path
    }
}

/// An open mapping or sequence.
struct Frame {
    path: String,
    mapping: bool,
    key: Option<String>,
}

fn join(section: &str, name: &str) -> String {
    if section.is_empty() { name.to_owned() } else { format!("{section}.{name}") }
}

fn start(span: &Span) -> Place {
    (span.start.line(), span.start.col() + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn block_and_flow_style_and_lists() {
        let places =
            Places::scan("log:\n  level: info\noutput: {stdout: {format: text}}\nrules:\n  files: [a, b]\n");
        assert_eq!(places.key("log"), Some((1, 1)));
        assert_eq!(places.key("log.level"), Some((2, 3)));
        assert_eq!(places.of_value("log.level"), Some((2, 10)));
        assert_eq!(places.key("output.stdout.format"), Some((3, 19)));
        assert_eq!(places.of_value("rules.files"), Some((5, 10)));
    }

    #[test]
    fn broken_text_keeps_what_came_before() {
        let places = Places::scan("log:\n  level: info\n foo: [\n");
        assert_eq!(places.key("log.level"), Some((2, 3)));
    }

    #[test]
    fn odd_keys_do_not_shift_the_rest() {
        let places = Places::scan("? [a, b]\n: 1\nlog: 2\n");
        assert_eq!(places.key("log"), Some((3, 1)));
    }
}
