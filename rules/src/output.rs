//! Output formats: text with `%field` tokens, parsed once and rendered for each match.

mod parse;
mod render;

use crate::{
    catalog::{FieldId, FieldType},
    diagnostic::Diagnostic,
    source::Mapped,
    typed::{Arg, Environment, FieldUse, Source, TransformUse},
    value::{FieldSource, Value},
};

pub use render::render_value;

/// A parsed output format.
#[derive(Clone, Debug, PartialEq)]
pub struct OutputFormat {
    text: String,
    /// Whether rendering goes on behind a missing value.
    lenient: bool,
    tokens: Vec<Token>,
    fields: Vec<OutputField>,
}

/// A field an output shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutputField {
    /// Name as it appears in alerts: `fd.name`, `evt.arg.flags`, `proc.aname[2]`.
    pub key: String,
    /// The field.
    pub field: FieldId,
    /// Its argument.
    pub arg: Arg,
}

/// Why an output format does not parse.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.message)]
pub struct OutputError(pub Box<Diagnostic>);

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Text(String),
    Value { key: String, width: Option<usize>, source: Source },
}

impl OutputFormat {
    /// Parses a format. A leading `*` is not shown; it makes rendering go on behind a missing value.
    pub fn parse(text: &str) -> Result<Self, OutputError> {
        let environment = Environment { container_fields: true, strict: false };
        Self::parse_in(&Mapped::plain(text), environment).map_err(|error| OutputError(Box::new(error)))
    }

    /// Parses a format out of a rule file.
    pub(crate) fn parse_in(text: &Mapped, environment: Environment) -> Result<Self, Diagnostic> {
        let lenient = text.text().starts_with('*');
        let tokens = parse::tokens(text, usize::from(lenient), environment)?;
        let mut fields: Vec<OutputField> = Vec::new();
        for token in &tokens {
            let Token::Value { source, .. } = token else { continue };
            source.for_each_field(&mut |used| {
                let key = field_key(used);
                if !fields.iter().any(|known| known.key == key) {
                    fields.push(OutputField { key, field: used.id, arg: used.arg.clone() });
                }
            });
        }
        Ok(Self { text: text.text().to_owned(), lenient, tokens, fields })
    }

    /// Makes rendering go on behind a missing value, as alerts do.
    #[must_use]
    pub fn lenient(mut self) -> Self {
        self.lenient = true;
        self
    }

    /// The format as written.
    pub fn text(&self) -> &str {
        self.text.strip_prefix('*').unwrap_or(&self.text)
    }

    /// The fields it shows, each once, in order; fields inside transformers included.
    pub fn fields(&self) -> impl Iterator<Item = &OutputField> {
        self.fields.iter()
    }

    /// Renders it: a missing value shows as `<NA>`, control characters are escaped, bytes that are not UTF-8
    /// replaced. Of a format that is not lenient the text ends before the first missing value and the result is
    /// `false`.
    pub fn render<S: FieldSource>(&self, source: &S, out: &mut String) -> bool {
        for token in &self.tokens {
            match token {
                Token::Text(text) => out.push_str(text),
                Token::Value { width, source: value, .. } => {
                    if !render::token(value, *width, self.lenient, source, out) {
                        return false;
                    }
                }
            }
        }
        true
    }

    /// Calls `f` with the key and the value of each transformer shown.
    pub fn for_each_transform<S: FieldSource>(&self, source: &S, mut f: impl FnMut(&str, &Value<'_>)) {
        for token in &self.tokens {
            if let Token::Value { key, source: value @ Source::Transform(_), .. } = token {
                crate::program::with_value(value, source, |value| f(key, value));
            }
        }
    }
}

/// Name of a field with its argument, in the form alerts use.
fn field_key(field: &FieldUse) -> String {
    let name = field.id.def().name;
    match &field.arg {
        Arg::None => name.to_owned(),
        Arg::Index(index) => format!("{name}[{index}]"),
        Arg::Key(key) if field.id.def().ty == FieldType::Dyn || name == "evt.arg" => format!("{name}.{key}"),
        Arg::Key(key) => format!("{name}[{key}]"),
    }
}

/// Name of any shown value; transformers as written, without blanks and quotes.
fn source_key(source: &Source) -> String {
    let join = |items: &[Source]| items.iter().map(source_key).collect::<Vec<_>>().join(",");
    match source {
        Source::Field(field) => field_key(field),
        Source::Text(text) => String::from_utf8_lossy(text).into_owned(),
        Source::List(items) => format!("({})", join(items)),
        Source::Transform(transform) => {
            let TransformUse { name, args, key, .. } = &**transform;
            let key = key.as_ref().map_or_else(String::new, |key| format!("[{key}]"));
            format!("{name}({}){key}", join(args))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{catalog::ids, value::FieldArg};

    struct Getcwd;

    impl FieldSource for Getcwd {
        fn field<'a>(&'a self, field: FieldId, arg: FieldArg<'_>) -> Value<'a> {
            match (field, arg) {
                (ids::PROC_NAME, _) => Value::Bytes(b"in\x1bit\xff"),
                (ids::THREAD_TID, _) => Value::Int(1),
                (ids::EVT_ARG, FieldArg::Key("path") | FieldArg::Index(1)) => Value::Bytes(b"/test/dir"),
                (ids::PROC_ANAME, FieldArg::None) => {
                    Value::Any(&[Value::Bytes(b"bash"), Value::Bytes(b"init")])
                }
                _ => Value::Null,
            }
        }
    }

    fn render(format: &str) -> String {
        let mut out = String::new();
        OutputFormat::parse(format).unwrap().render(&Getcwd, &mut out);
        out
    }

    #[test]
    fn values_are_made_printable() {
        assert_eq!(render("a %proc.name b"), "a in\\u001bit\u{fffd} b");
        assert_eq!(render("%thread.tidend %3evt.arg.path|%12evt.arg[1]|"), "1end /te|/test/dir   |");
        assert_eq!(render("*%proc.aname %evt.asynctype."), "bash init <NA>.");
        assert_eq!(render("x %evt.asynctype y"), "x ");
    }

    #[test]
    fn fields_are_listed_once_by_key() {
        let format = OutputFormat::parse("%fd.name %proc.aname[2] %fd.name %tolower(evt.arg.path)").unwrap();
        let keys: Vec<&str> = format.fields().map(|field| field.key.as_str()).collect();
        assert_eq!(keys, ["fd.name", "proc.aname[2]", "evt.arg.path"]);
    }

    #[test]
    fn faults_are_refused() {
        for bad in ["%", "a % b", "%nosuch.field", "%fd.ip", "%evt.arg", "%toupper(", "%proc.aname[x]", "%10"]
        {
            assert!(OutputFormat::parse(bad).is_err(), "{bad}");
        }
    }
}
