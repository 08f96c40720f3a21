//! Transformers: what they take and what they give.

use crate::{
    catalog::FieldType,
    condition::ast::{Operand, Transform},
    diagnostic::{Diagnostic, code},
    typed::{Source, TransformUse, Type, check::Checker},
};

/// The transformers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Function {
    /// ASCII letters to lower case.
    ToLower,
    /// ASCII letters to upper case.
    ToUpper,
    /// Decodes base64.
    B64,
    /// What stands behind the last slash.
    Basename,
    /// Number of bytes, or of elements of a list.
    Len,
    /// Texts of a list with a separator between them.
    Join,
    /// Texts one behind the other.
    Concat,
    /// An option of a command line.
    Getopt,
}

impl Function {
    /// All of them.
    pub(crate) const ALL: [Self; 8] = [
        Self::ToLower,
        Self::ToUpper,
        Self::B64,
        Self::Basename,
        Self::Len,
        Self::Join,
        Self::Concat,
        Self::Getopt,
    ];

    /// Name in conditions.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::ToLower => "tolower",
            Self::ToUpper => "toupper",
            Self::B64 => "b64",
            Self::Basename => "basename",
            Self::Len => "len",
            Self::Join => "join",
            Self::Concat => "concat",
            Self::Getopt => "getopt",
        }
    }
}

/// Checks a transformer and everything inside it; `None` when something was reported.
pub(super) fn check(checker: &mut Checker, transform: &Transform) -> Option<Source> {
    let function = Function::ALL.into_iter().find(|function| function.name() == transform.name)?;
    let mut args = Vec::with_capacity(transform.args.len());
    let mut complete = true;
    for arg in &transform.args {
        match checker.operand(arg) {
            Some(source) => args.push(source),
            None => complete = false,
        }
    }
    if !complete {
        return None;
    }
    let fault = match signature(function, &args) {
        Ok(ty) => {
            let unusable = transform.args.iter().zip(&args).find_map(|(written, source)| match source {
                Source::Field(field) if !field.id.def().transformer_ok => {
                    Some((written.span(), format!("field `{}` cannot be transformed", field.id.def().name)))
                }
                _ => None,
            });
            match (unusable, &transform.arg) {
                (Some((span, message)), _) => Diagnostic::new(code::TRANSFORMER, message).at(span),
                (None, Some(arg)) if function != Function::Getopt => Diagnostic::new(
                    code::TRANSFORMER,
                    format!("transformer `{}` takes no argument in brackets", function.name()),
                )
                .at(arg.span),
                (None, arg) => {
                    let key = arg.as_ref().map(|arg| arg.text().into_owned());
                    let ty = if key.is_some() { Type { list: false, ..ty } } else { ty };
                    let name = function.name();
                    return Some(Source::Transform(Box::new(TransformUse { name, args, key, ty, function })));
                }
            }
        }
        Err(message) => Diagnostic::new(code::TRANSFORMER, message).at(transform.span),
    };
    checker.report(fault);
    None
}

/// Type of the result, or why the arguments do not fit.
fn signature(function: Function, args: &[Source]) -> Result<Type, String> {
    let name = function.name();
    let one = |fits: fn(Type) -> bool, what: &str| match args {
        [arg] if fits(arg.ty()) => Ok(arg.ty()),
        [_] => Err(format!("transformer `{name}` takes {what}")),
        _ => Err(format!("transformer `{name}` takes one argument")),
    };
    let text = Type::of(FieldType::Text);
    match function {
        Function::ToLower | Function::ToUpper => one(Type::is_text, "text"),
        Function::B64 => one(|ty| ty.is_text() || ty.base == FieldType::Buffer, "text or a buffer"),
        Function::Basename => one(Type::is_text, "a path"),
        Function::Len => {
            one(|ty| ty.list || ty.is_text() || ty.base == FieldType::Buffer, "text, a buffer or a list")
                .map(|_| Type { base: FieldType::Uint, bits: 64, list: false })
        }
        Function::Join => match args {
            [Source::Text(_), list] if list.ty().list && all_text(list) => Ok(text),
            _ => Err("transformer `join` takes a quoted separator and a list of texts".to_owned()),
        },
        Function::Concat => {
            if !args.is_empty() && args.iter().all(all_text) {
                Ok(text)
            } else {
                Err("transformer `concat` takes texts".to_owned())
            }
        }
        Function::Getopt => match args {
            [words, Source::Text(_)] if words.ty().is_text() => Ok(Type { list: true, ..text }),
            _ => Err("transformer `getopt` takes arguments and a quoted list of options".to_owned()),
        },
    }
}

fn all_text(source: &Source) -> bool {
    match source {
        Source::List(items) => items.iter().all(all_text),
        other => other.ty().is_text(),
    }
}

/// Operands of a list argument are checked one by one.
pub(super) fn list(checker: &mut Checker, items: &[Operand]) -> Option<Source> {
    let sources: Vec<Option<Source>> = items.iter().map(|item| checker.operand(item)).collect();
    sources.into_iter().collect::<Option<Vec<_>>>().map(Source::List)
}
