//! Exceptions of rules: reading them, and writing them as conditions.

use crate::{
    condition::{
        ast::{Modifier, Op},
        parser,
    },
    diagnostic::{Diagnostic, code},
    source::{Mapped, Span},
    typed::{Checker, Environment},
    yaml::{Node, NodeKind},
};

/// One exception.
#[derive(Clone, Debug)]
pub(super) struct Exception {
    pub(super) name: String,
    pub(super) fields: Option<Entry>,
    pub(super) comps: Option<Entry>,
    pub(super) values: Vec<Entry>,
    pub(super) span: Span,
}

/// A scalar or a list of entries.
#[derive(Clone, Debug)]
pub(super) enum Entry {
    Item(Mapped, Span),
    List(Vec<Entry>, Span),
}

impl Entry {
    fn span(&self) -> Span {
        match self {
            Self::Item(_, span) | Self::List(_, span) => *span,
        }
    }

    fn read(node: &Node, file: &str) -> Result<Self, Diagnostic> {
        match &node.kind {
            NodeKind::Scalar(..) => Ok(Self::Item(node.mapped(file), node.span)),
            NodeKind::Seq(items) => {
                let items = items.iter().map(|item| Self::read(item, file));
                Ok(Self::List(items.collect::<Result<_, _>>()?, node.span))
            }
            NodeKind::Null | NodeKind::Map(_) => Err(shape(
                node.span,
                format!("exceptions hold texts and lists of texts, not {}", node.describe()),
            )),
        }
    }
}

fn shape(span: Span, message: String) -> Diagnostic {
    Diagnostic::new(code::EXCEPTION_SHAPE, message).at(span)
}

fn invalid(span: Span, message: impl Into<String>) -> Diagnostic {
    Diagnostic::new(code::EXCEPTION_INVALID, message).at(span)
}

/// Reads the value of an `exceptions` key. `append` says whether they are added to a rule that exists.
pub(super) fn read(
    node: &Node,
    file: &str,
    append: bool,
    diagnostics: &mut Vec<Diagnostic>,
) -> Result<Vec<Exception>, Diagnostic> {
    let Some(items) = node.as_seq() else {
        return Err(shape(node.span, format!("`exceptions` must be a sequence, not {}", node.describe())));
    };
    let mut exceptions: Vec<Exception> = Vec::new();
    for item in items {
        let name = item.get("name").and_then(Node::as_text).filter(|name| !name.is_empty());
        let Some(name) = name else {
            return Err(shape(item.span, "an exception needs a `name`".to_owned()));
        };
        let entry = |key: &str| item.get(key).map(|node| Entry::read(node, file)).transpose();
        let values = match entry("values")? {
            None => Vec::new(),
            Some(Entry::List(values, _)) => values,
            Some(Entry::Item(_, span)) => {
                return Err(shape(span, "the `values` of an exception must be a sequence".to_owned()));
            }
        };
        if append && values.is_empty() {
            diagnostics.push(
                Diagnostic::new(
                    code::EXCEPTION_NO_VALUES,
                    format!("exception `{name}` is appended without values and changes nothing"),
                )
                .at(item.span),
            );
        }
        if let Some(first) = exceptions.iter().find(|known| known.name == name) {
            diagnostics.push(
                Diagnostic::new(
                    code::EXCEPTION_NOT_UNIQUE,
                    format!("exception `{name}` is defined twice in one rule"),
                )
                .at(item.span)
                .label(first.span, "first defined here"),
            );
        }
        let (fields, comps) = (entry("fields")?, entry("comps")?);
        if fields.is_none() && !append {
            let message = format!("exception `{name}` has no `fields`");
            return Err(shape(item.span, message).item("exception", name));
        }
        exceptions.push(Exception { name: name.to_owned(), fields, comps, values, span: item.span });
    }
    Ok(exceptions)
}

impl Exception {
    /// Checks fields and operators, and fills in the operators left out.
    pub(super) fn validate(&mut self, environment: Environment) -> Result<(), Diagnostic> {
        let name = &self.name;
        let Some(fields) = &self.fields else {
            return Err(invalid(self.span, format!("exception `{name}` needs `fields`")));
        };
        match (fields, &mut self.comps) {
            (Entry::Item(field, span), comps) => {
                let comp = comps.get_or_insert_with(|| Entry::Item(fixed("in", *span), *span));
                let Entry::Item(comp, comp_span) = comp else {
                    let message = format!(
                        "`fields` of exception `{name}` is one field, so `comps` must be one operator"
                    );
                    return Err(invalid(comp.span(), message));
                };
                let (op, modifier) = operator(comp, *comp_span)?;
                if !op.takes_list() && modifier.is_none() {
                    return Err(invalid(
                        *comp_span,
                        format!(
                            "exception `{name}` compares one field with a list, which `{}` cannot",
                            op.as_str()
                        ),
                    )
                    .help(
                        "use `in`, `pmatch`, `intersects`, or an operator with `anyof`, `oneof` or `allof`",
                    ));
                }
                check_field(field, *span, environment)
            }
            (Entry::List(fields, span), comps) => {
                let comps = comps.get_or_insert_with(|| {
                    Entry::List(vec![Entry::Item(fixed("=", *span), *span); fields.len()], *span)
                });
                let Entry::List(comps, comps_span) = comps else {
                    let message =
                        format!("`fields` of exception `{name}` is a list, so `comps` must be a list too");
                    return Err(invalid(comps.span(), message));
                };
                if fields.len() != comps.len() {
                    return Err(invalid(
                        *comps_span,
                        format!(
                            "exception `{name}` has {} but {}",
                            counted(fields.len(), "field"),
                            counted(comps.len(), "operator")
                        ),
                    ));
                }
                for comp in comps.iter() {
                    let Entry::Item(comp, span) = comp else {
                        return Err(invalid(comp.span(), "an operator must be a text"));
                    };
                    operator(comp, *span)?;
                }
                for field in fields {
                    let Entry::Item(field, span) = field else {
                        return Err(invalid(field.span(), "a field must be a text"));
                    };
                    check_field(field, *span, environment)?;
                }
                Ok(())
            }
        }
    }

    /// Appends ` and not (…)` to a condition; nothing when there are no values.
    pub(super) fn write(&self, out: &mut Mapped) -> Result<(), Diagnostic> {
        let (Some(fields), Some(comps)) = (&self.fields, &self.comps) else { return Ok(()) };
        if self.values.is_empty() {
            return Ok(());
        }
        out.push_fixed(" and not (", self.span);
        match (fields, comps) {
            (Entry::Item(field, _), Entry::Item(comp, _)) => self.write_flat(field, comp, out)?,
            (Entry::List(fields, _), Entry::List(comps, _)) => {
                for (index, tuple) in self.values.iter().enumerate() {
                    if index > 0 {
                        out.push_fixed(" or ", self.span);
                    }
                    self.write_tuple(fields, comps, tuple, out)?;
                }
            }
            _ => {}
        }
        out.push_fixed(")", self.span);
        Ok(())
    }

    /// One field against one flat list.
    fn write_flat(&self, field: &Mapped, comp: &Mapped, out: &mut Mapped) -> Result<(), Diagnostic> {
        out.push_mapped(field);
        out.push_fixed(" ", self.span);
        push_trimmed(out, comp);
        out.push_fixed(" (", self.span);
        for (index, value) in self.values.iter().enumerate() {
            let Entry::Item(value, span) = value else {
                return Err(invalid(
                    value.span(),
                    format!(
                        "exception `{}` has one field, so its values must be texts, not lists",
                        self.name
                    ),
                ));
            };
            if index > 0 {
                out.push_fixed(", ", self.span);
            }
            push_value(out, value, *span);
        }
        out.push_fixed(")", self.span);
        Ok(())
    }

    /// One value per field.
    fn write_tuple(
        &self,
        fields: &[Entry],
        comps: &[Entry],
        tuple: &Entry,
        out: &mut Mapped,
    ) -> Result<(), Diagnostic> {
        let Entry::List(values, span) = tuple else {
            return Err(invalid(
                tuple.span(),
                format!(
                    "each of the values of exception `{}` must be a list with one value per field",
                    self.name
                ),
            ));
        };
        if values.len() != fields.len() {
            return Err(invalid(
                *span,
                format!(
                    "exception `{}` has {} but {} here",
                    self.name,
                    counted(fields.len(), "field"),
                    counted(values.len(), "value")
                ),
            ));
        }
        out.push_fixed("(", *span);
        for (index, ((field, comp), value)) in fields.iter().zip(comps).zip(values).enumerate() {
            let (Entry::Item(field, _), Entry::Item(comp, comp_span)) = (field, comp) else { continue };
            if index > 0 {
                out.push_fixed(" and ", *span);
            }
            out.push_mapped(field);
            out.push_fixed(" ", *span);
            push_trimmed(out, comp);
            out.push_fixed(" ", *span);
            let (op, modifier) = operator(comp, *comp_span)?;
            let listed = op.takes_list() || modifier.is_some();
            match value {
                Entry::Item(value, span) if !listed || value.text().starts_with('(') => {
                    if listed {
                        out.push_mapped(value);
                    } else {
                        push_value(out, value, *span);
                    }
                }
                Entry::Item(value, span) => {
                    out.push_fixed("(", *span);
                    push_value(out, value, *span);
                    out.push_fixed(")", *span);
                }
                Entry::List(items, span) => {
                    out.push_fixed("(", *span);
                    for (index, item) in items.iter().enumerate() {
                        let Entry::Item(item, item_span) = item else {
                            return Err(invalid(item.span(), "lists of values cannot be nested"));
                        };
                        if index > 0 {
                            out.push_fixed(", ", *span);
                        }
                        push_value(out, item, *item_span);
                    }
                    out.push_fixed(")", *span);
                }
            }
        }
        out.push_fixed(")", *span);
        Ok(())
    }
}

/// Appends a value, in quotes when it has blanks and no quotes yet.
pub(super) fn push_value(out: &mut Mapped, value: &Mapped, span: Span) {
    let text = value.text();
    let blank = text.contains([' ', '\t', '\n', '\r']) || text.is_empty();
    if !blank || text.starts_with(['"', '\'']) {
        out.push_mapped(value);
        return;
    }
    // A value with quotes of one kind takes the other kind around it.
    let mark = if text.contains('"') && !text.contains('\'') { "'" } else { "\"" };
    out.push_fixed(mark, span);
    if mark == "\"" && text.contains('"') {
        out.push_fixed(&text.replace('"', "\\\""), span);
    } else {
        out.push_mapped(value);
    }
    out.push_fixed(mark, span);
}

fn push_trimmed(out: &mut Mapped, text: &Mapped) {
    let all = text.text();
    let start = all.len() - all.trim_start().len();
    out.push_range(text, start..start + all.trim().len());
}

fn fixed(text: &str, span: Span) -> Mapped {
    let mut out = Mapped::default();
    out.push_fixed(text, span);
    out
}

/// An operator with its modifier.
fn operator(text: &Mapped, span: Span) -> Result<(Op, Option<Modifier>), Diagnostic> {
    let words: Vec<&str> = text.text().split_whitespace().collect();
    let found = match *words.as_slice() {
        [op] => Op::find(op).filter(|&op| op != Op::Exists).map(|op| (op, None)),
        [op, modifier] => Op::find(op)
            .filter(|op| op.takes_modifier())
            .and_then(|op| Modifier::find(modifier).map(|modifier| (op, Some(modifier)))),
        _ => None,
    };
    found.ok_or_else(|| {
        invalid(span, format!("`{}` is not a comparison operator for exceptions", text.text().trim()))
            .did_you_mean(text.text().trim(), Op::ALL.into_iter().map(Op::as_str))
    })
}

fn check_field(text: &Mapped, span: Span, environment: Environment) -> Result<(), Diagnostic> {
    let operand = parser::parse_operand(text, parser::DEFAULT_DEPTH)
        .map_err(|error| invalid(text.span(error.range), format!("not a field: {}", error.message)))?;
    let mut checker = Checker::new(environment);
    if checker.operand(&operand).is_some() {
        return Ok(());
    }
    let reason = checker.take().into_iter().find(Diagnostic::is_error);
    let (message, help) = reason.map_or((String::new(), None), |found| (found.message, found.help));
    let mut finding = invalid(span, message);
    finding.help = help;
    Err(finding)
}
/// A number of things, in words.
fn counted(count: usize, thing: &str) -> String {
    if count == 1 { format!("1 {thing}") } else { format!("{count} {thing}s") }
}
