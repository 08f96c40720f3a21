//! Rust sources, split so that a rule sees only what it is about: code without comments and text literals, and
//! comments without code.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

/// Folders that hold no sources of ours, wherever they are; `gen` is made by a program and compared by a test.
const SKIPPED: [&str; 5] = ["target", "corpus", "artifacts", "gen", "node_modules"];

/// One Rust file.
#[derive(Debug)]
pub(super) struct Source {
    /// Relative to the workspace's root, with `/`.
    pub(super) path: String,
    /// The lines as written.
    pub(super) lines: Vec<String>,
    /// The same lines with comments and the inside of text literals blanked.
    pub(super) code: Vec<String>,
    /// The same lines with everything but comments blanked.
    pub(super) comments: Vec<String>,
    /// Index of the first line of a trailing `#[cfg(test)] mod … {`, or the number of lines.
    pub(super) production: usize,
}

/// Every Rust file below the workspace's root.
pub(super) fn all(root: &Path) -> Result<Vec<Source>> {
    let mut sources = Vec::new();
    let mut folders = vec![root.to_path_buf()];
    while let Some(folder) = folders.pop() {
        let entries = fs::read_dir(&folder).with_context(|| format!("cannot list `{}`", folder.display()))?;
        for entry in entries {
            let entry = entry.with_context(|| format!("cannot list `{}`", folder.display()))?;
            let (name, path) = (entry.file_name().to_string_lossy().into_owned(), entry.path());
            if entry.file_type()?.is_dir() {
                if !name.starts_with('.') && !SKIPPED.contains(&name.as_str()) {
                    folders.push(path);
                }
            } else if Path::new(&name).extension().is_some_and(|extension| extension == "rs") {
                let text =
                    fs::read_to_string(&path).with_context(|| format!("cannot read `{}`", path.display()))?;
                let relative = path.strip_prefix(root).unwrap_or(&path).to_string_lossy().into_owned();
                sources.push(Source::new(relative, &text));
            }
        }
    }
    sources.sort_by(|left, right| left.path.cmp(&right.path));
    Ok(sources)
}

impl Source {
    pub(super) fn new(path: String, text: &str) -> Self {
        let (code, comments) = split(text);
        let lines = |text: &str| text.lines().map(ToOwned::to_owned).collect::<Vec<_>>();
        let (lines, code, comments) = (lines(text), lines(&code), lines(&comments));
        let production = test_module(&code);
        Self { path, lines, code, comments, production }
    }

    /// Numbered code lines of the production part.
    pub(super) fn production_code(&self) -> impl Iterator<Item = (usize, &str)> {
        self.code.iter().take(self.production).enumerate().map(|(index, line)| (index + 1, line.as_str()))
    }
}

/// Where the inline test module at the end of the file begins.
fn test_module(code: &[String]) -> usize {
    let opens_module = |line: &&str| line.starts_with("mod ") && line.ends_with('{');
    let start = code.iter().enumerate().rposition(|(index, line)| {
        let mut after = code.iter().skip(index + 1).map(|line| line.trim());
        line.trim() == "#[cfg(test)]"
            && after.find(|line| !line.starts_with("#[")).as_ref().is_some_and(opens_module)
    });
    start.unwrap_or(code.len())
}

/// What the text at a point belongs to.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Part {
    Code,
    LineComment,
    /// Nested this deep.
    BlockComment(usize),
    Text,
    /// Closed by a quote and this many `#`.
    RawText(usize),
}

/// One stretch of text: how long it is, what it counts as, and what follows it.
struct Step {
    length: usize,
    is_code: bool,
    is_comment: bool,
    next: Part,
}

/// Blanks comments and literals for the first result and everything else for the second; keeps line breaks.
fn split(text: &str) -> (String, String) {
    let characters: Vec<char> = text.chars().collect();
    let (mut code, mut comments) = (String::new(), String::new());
    let mut part = Part::Code;
    let mut rest = characters.as_slice();
    let mut before = '\n';
    while !rest.is_empty() {
        let step = step(part, before, rest);
        let (stretch, after) = rest.split_at_checked(step.length).unwrap_or((rest, &[]));
        for &character in stretch {
            let keep = |wanted| if wanted || character == '\n' { character } else { ' ' };
            code.push(keep(step.is_code));
            comments.push(keep(step.is_comment));
            before = character;
        }
        rest = after;
        part = step.next;
    }
    (code, comments)
}

fn step(part: Part, before: char, rest: &[char]) -> Step {
    let blank = |length, next| Step { length, is_code: false, is_comment: false, next };
    let code = |length, next| Step { length, is_code: true, is_comment: false, next };
    let comment = |length, next| Step { length, is_code: false, is_comment: true, next };
    match (part, rest) {
        (Part::Code, ['/', '/', ..]) => comment(2, Part::LineComment),
        (Part::Code, ['/', '*', ..]) => comment(2, Part::BlockComment(1)),
        (Part::Code, ['"', ..]) => code(1, Part::Text),
        (Part::Code, ['r', ..]) => match raw_text(before, rest) {
            Some(hashes) => code(2 + hashes, Part::RawText(hashes)),
            None => code(1, part),
        },
        (Part::Code, ['\'', ..]) => match character_literal(rest) {
            Some(length) => blank(length, part),
            None => code(1, part),
        },
        (Part::Code, _) => code(1, part),
        (Part::LineComment, ['\n', ..]) => comment(1, Part::Code),
        (Part::BlockComment(1), ['*', '/', ..]) => comment(2, Part::Code),
        (Part::BlockComment(depth), ['*', '/', ..]) => comment(2, Part::BlockComment(depth - 1)),
        (Part::BlockComment(depth), ['/', '*', ..]) => comment(2, Part::BlockComment(depth + 1)),
        (Part::LineComment | Part::BlockComment(_), _) => comment(1, part),
        (Part::Text, ['\\', ..]) => blank(2, part),
        (Part::Text, ['"', ..]) => code(1, Part::Code),
        (Part::RawText(hashes), ['"', tail @ ..]) if closes(tail, hashes) => code(1 + hashes, Part::Code),
        (Part::Text | Part::RawText(_), _) => blank(1, part),
    }
}

fn closes(tail: &[char], hashes: usize) -> bool {
    tail.get(..hashes).is_some_and(|tail| tail.iter().all(|character| *character == '#'))
}

/// The number of `#` of a raw literal that starts here with its `r`.
fn raw_text(before: char, rest: &[char]) -> Option<usize> {
    if (before.is_alphanumeric() && before != 'b') || before == '_' {
        return None;
    }
    let hashes = rest.iter().skip(1).take_while(|character| **character == '#').count();
    (rest.get(1 + hashes) == Some(&'"')).then_some(hashes)
}

/// The length of a character literal that starts here; `None` for a lifetime.
fn character_literal(rest: &[char]) -> Option<usize> {
    match rest {
        // The character after the backslash may itself be a quote.
        ['\'', '\\', _, tail @ ..] => {
            tail.iter().take(12).position(|character| *character == '\'').map(|position| position + 4)
        }
        ['\'', _, '\'', ..] => Some(3),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_literals_are_told_from_code() {
        let (code, comments) =
            split("let a = \"unsafe // no\"; // TODO é\nlet b = '\"'; /* x /* y */ z */ f('a')");
        assert!(code.starts_with("let a = \"            \";"), "{code}");
        assert!(code.ends_with(" f(   )"), "{code}");
        assert_eq!(code.lines().count(), 2);
        assert!(comments.contains("// TODO é\n"), "{comments}");
        assert!(comments.contains("/* x /* y */ z */"), "{comments}");
        assert!(!comments.contains("let"), "{comments}");
    }

    #[test]
    fn raw_literals_end_at_their_own_delimiter() {
        let (code, _) = split("r#\"a\" unsafe\"# b; br\"c\"; for_r\"d\"");
        assert!(!code.contains("unsafe"), "{code}");
        assert!(code.contains(" b;"), "{code}");
        assert!(!code.contains('c'), "{code}");
    }

    #[test]
    fn escapes_do_not_end_a_literal_and_lifetimes_do_not_begin_one() {
        let (code, _) =
            split(r#"let q = "\"unsafe"; let c = '\''; let d = '\u{1F600}'; fn e<'a>(x: &'a str) end"#);
        assert!(!code.contains("unsafe"), "{code}");
        assert!(code.ends_with("; fn e<'a>(x: &'a str) end"), "{code}");
    }

    #[test]
    fn the_production_part_ends_at_the_trailing_test_module() {
        let text = "fn a() {}\n#[cfg(test)]\nmod early;\n\n#[cfg(test)]\n#[expect(x)]\nmod tests {\n}\n";
        assert_eq!(Source::new("a.rs".to_owned(), text).production, 4);
        assert_eq!(Source::new("a.rs".to_owned(), "fn a() {}\n").production, 1);
    }
}
