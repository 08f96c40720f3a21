//! What a comparison looks for in a text: strings of which one must occur for it to hold.
//!
//! For whoever searches texts for many comparisons at once. Where the strings decide the comparison, it is *exact*;
//! patterns and long lists without case only give strings that are *necessary*.

use crate::{
    condition::ast::{Modifier, Op},
    pattern::Glob,
    typed::{Const, Right, Test},
};

/// Spellings of one string without case at most; a longer one is cut to what has fewer.
const SPELLINGS_MAX: usize = 32;

/// A string and where in the text it must stand.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Needle {
    /// The string.
    pub text: Vec<u8>,
    /// It must stand at the text's start.
    pub starts: bool,
    /// It must stand at the text's end.
    pub ends: bool,
}

/// The strings of a comparison.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Needles {
    /// The strings; when none of them occurs, the comparison (before `inverted`) does not hold.
    pub any: Vec<Needle>,
    /// Whether it also holds when one of them occurs.
    pub exact: bool,
    /// Whether the comparison is that the strings do not occur (`!=`).
    pub inverted: bool,
}

impl Needle {
    fn new(text: &[u8], starts: bool, ends: bool) -> Self {
        Self { text: text.to_vec(), starts, ends }
    }

    /// Whether it occurs in a text.
    pub fn occurs(&self, text: &[u8]) -> bool {
        match (self.starts, self.ends) {
            (true, true) => *self.text == *text,
            (true, false) => text.starts_with(&self.text),
            (false, true) => text.ends_with(&self.text),
            (false, false) => memchr::memmem::find(text, &self.text).is_some(),
        }
    }
}

impl Needles {
    /// The strings of a comparison of a text with constants. `None` when no string tells anything: orders, regular
    /// expressions, comparisons of two values. With `pmatch` the text must be an absolute path without empty
    /// components, final slash, `.` and `..`.
    pub fn of(test: &Test) -> Option<Self> {
        let Right::Values(modifier, values) = &test.right else { return None };
        let texts: Vec<&[u8]> = values
            .iter()
            .map(|value| match value {
                Const::Bytes(bytes) => Some(bytes.as_slice()),
                _ => None,
            })
            .collect::<Option<_>>()?;
        let one = |op| Self::one(op, &texts);
        match (test.op, modifier) {
            (Op::Ne, None) => Some(Self { inverted: true, ..one(Op::Eq)? }),
            (Op::Ne, Some(_)) => None,
            (Op::In | Op::Intersects, None) => one(Op::Eq),
            (op, None | Some(Modifier::AnyOf)) => one(op),
            // Which of several occur is more than one bit can say; that one occurs is necessary.
            (op, Some(Modifier::OneOf)) => {
                let found = one(op)?;
                Some(Self { exact: found.exact && values.len() <= 1, ..found })
            }
            (op, Some(Modifier::AllOf)) => {
                // An empty list satisfies nothing.
                let longest = texts.iter().max_by_key(|text| text.len());
                let found = Self::one(op, longest.map_or(&[][..], std::slice::from_ref))?;
                Some(Self { exact: found.exact && values.len() <= 1, ..found })
            }
        }
    }

    fn one(op: Op, texts: &[&[u8]]) -> Option<Self> {
        let mut found = Self { any: Vec::new(), exact: true, inverted: false };
        for text in texts {
            found.exact &= found.add(op, text)?;
        }
        found.any.sort_unstable();
        found.any.dedup();
        Some(found)
    }

    /// Adds the strings of one constant and tells whether they are exact.
    fn add(&mut self, op: Op, text: &[u8]) -> Option<bool> {
        let (starts, ends) = match op {
            Op::Eq => (true, true),
            Op::StartsWith => (true, false),
            Op::EndsWith => (false, true),
            Op::Contains => (false, false),
            Op::IContains => return self.add_any_case(&Needle::new(text, false, false)),
            Op::Glob => return self.add_glob(text, false),
            Op::IGlob => return self.add_glob(text, true),
            Op::PMatch => return Some(self.add_path(text)),
            _ => return None,
        };
        self.any.push(Needle::new(text, starts, ends));
        Some(true)
    }

    /// The longest literal part of a pattern.
    fn add_glob(&mut self, pattern: &[u8], any_case: bool) -> Option<bool> {
        let glob = Glob::new(pattern, any_case);
        let (literals, only_stars) = glob.literals();
        let decides = only_stars && literals.len() <= 1;
        let longest = literals.into_iter().max_by_key(|needle| needle.text.len());
        let Some(needle) = longest else {
            // Nothing but wildcards. Only a star alone matches everything.
            self.any.push(Needle::new(b"", false, false));
            return Some(only_stars);
        };
        if any_case {
            return self.add_any_case(&needle).map(|exact| exact && decides);
        }
        self.any.push(needle);
        Some(decides)
    }

    /// All spellings of a string, or of the longest part of it that has not too many.
    fn add_any_case(&mut self, needle: &Needle) -> Option<bool> {
        let letters = |text: &[u8]| text.iter().filter(|byte| byte.is_ascii_alphabetic()).count() as u32;
        let few = |text: &[u8]| 1usize.checked_shl(letters(text)).is_some_and(|all| all <= SPELLINGS_MAX);
        let (mut start, mut best) = (0, 0..0);
        for end in 1..=needle.text.len() {
            while needle.text.get(start..end).is_some_and(|part| !few(part)) {
                start += 1;
            }
            if end - start > best.len() {
                best = start..end;
            }
        }
        if best.is_empty() && !needle.text.is_empty() {
            return None;
        }
        let whole = best.len() == needle.text.len();
        let starts = needle.starts && best.start == 0;
        let ends = needle.ends && best.end == needle.text.len();
        let part = needle.text.get(best)?;
        let mut spellings: Vec<Vec<u8>> = vec![Vec::new()];
        for byte in part {
            let other = byte.to_ascii_lowercase() ^ 0x20;
            let twice = if byte.is_ascii_alphabetic() { spellings.clone() } else { Vec::new() };
            for text in &mut spellings {
                text.push(byte.to_ascii_lowercase());
            }
            spellings.extend(twice.into_iter().map(|mut text| {
                text.push(other);
                text
            }));
        }
        self.any.extend(spellings.into_iter().map(|text| Needle { text, starts, ends }));
        Some(whole)
    }

    /// The path itself or what lies below it; up to its first wildcard.
    fn add_path(&mut self, path: &[u8]) -> bool {
        let mut below = vec![b'/'];
        let mut exact = true;
        for component in path.split(|byte| *byte == b'/').filter(|component| !component.is_empty()) {
            let Some(literal) = Glob::new(component, false).literal() else {
                exact = false;
                break;
            };
            below.extend_from_slice(&literal);
            below.push(b'/');
        }
        if exact && below.len() > 1 {
            let path = below.strip_suffix(b"/").unwrap_or(&below);
            self.any.push(Needle::new(path, true, true));
        }
        self.any.push(Needle { text: below, starts: true, ends: false });
        exact
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        catalog::{FieldId, ids},
        filter::Filter,
        typed::Environment,
        value::{FieldArg, FieldSource, Truth, Value},
    };

    struct Path(&'static str);

    impl FieldSource for Path {
        fn field<'a>(&'a self, field: FieldId, _: FieldArg<'_>) -> Value<'a> {
            if field == ids::FD_NAME { Value::Bytes(self.0.as_bytes()) } else { Value::Null }
        }
    }

    fn filter(condition: &str) -> Filter {
        let environment = Environment { container_fields: false, strict: false };
        Filter::compile(condition, environment).0.unwrap_or_else(|| panic!("{condition} compiles"))
    }

    const CONDITIONS: [&str; 30] = [
        "fd.name = /etc/shadow",
        "fd.name != /etc/shadow",
        "fd.name in (/etc/shadow, /etc/passwd, /)",
        "fd.name in ()",
        "fd.name intersects (/etc/shadow)",
        "fd.name startswith /etc/",
        "fd.name startswith ''",
        "fd.name contains ''",
        "fd.name startswith anyof (/etc/, /ro)",
        "fd.name endswith anyof (.ssh, dow)",
        "fd.name contains oneof (etc, shadow)",
        "fd.name contains allof (etc, shadow)",
        "fd.name contains oneof (etc)",
        "fd.name contains allof ()",
        "fd.name icontains SHADOW",
        "fd.name icontains .sS",
        "fd.name icontains ''",
        "fd.name glob /etc/*",
        "fd.name glob '*'",
        "fd.name glob '?'",
        "fd.name glob '/etc/*dow'",
        "fd.name glob '*/.ssh/*'",
        "fd.name glob '/etc/shado[w]'",
        "fd.name glob '/[*]'",
        "fd.name iglob '/ETC/*'",
        "fd.name iglob '*DOW'",
        "fd.name pmatch (/etc, /root/.ssh)",
        "fd.name pmatch (/)",
        "fd.name pmatch (etc/, /ro*/.ssh)",
        "fd.name pmatch ()",
    ];
    const PATHS: [&str; 14] = [
        "/",
        "/etc",
        "/etc/shadow",
        "/etc/passwd",
        "/etcx",
        "/root/.ssh",
        "/root/.ssh/id_rsa",
        "/ROOT/.SSH",
        "/Etc/Shadow",
        "/a",
        "/x/etc/shadow/y",
        "/*",
        "/home/u/.ssh/known",
        "/etc/shadow/",
    ];

    #[test]
    fn strings_never_miss_a_match_and_exact_ones_decide() {
        for condition in CONDITIONS {
            let filter = filter(condition);
            let mut found = None;
            filter.condition().for_each_test(&mut |test| found = Needles::of(test));
            let needles = found.unwrap_or_else(|| panic!("{condition} has strings"));
            for path in PATHS {
                let hit = needles.any.iter().any(|needle| needle.occurs(path.as_bytes()));
                let truth = filter.evaluate(None, &Path(path)) == Truth::True;
                let said = truth != needles.inverted;
                // The last path is not normal: `pmatch` makes no promise on it.
                if path.len() > 1 && path.ends_with('/') && condition.contains("pmatch") {
                    continue;
                }
                assert!(hit || !said, "{condition} on {path}: {needles:?}");
                assert!(!needles.exact || hit == said, "{condition} on {path}: {needles:?}");
            }
        }
    }

    #[test]
    fn what_strings_cannot_tell_has_none() {
        for condition in ["fd.name regex '.*'", "fd.name = val(proc.name)", "fd.name exists"] {
            let filter = filter(condition);
            filter.condition().for_each_test(&mut |test| assert_eq!(Needles::of(test), None, "{condition}"));
        }
    }
}
