//! Text of a format to tokens.

use super::{Token, source_key};
use crate::{
    catalog::ArgKind,
    condition::{ast::Operand, lexer::Lexer, parser},
    diagnostic::{Diagnostic, code},
    source::Mapped,
    typed::{Checker, Environment, Source, longest_field},
};

/// Longest format accepted, bytes; alerts longer than this are of no use to anyone.
const LENGTH_LIMIT: usize = 64 * 1024;
/// Longest run of letters looked at for a field name, bytes.
const NAME_LIMIT: usize = 256;
/// Widest column a token may ask for.
const WIDTH_LIMIT: usize = 1024;

/// Cuts a format into tokens, from `start`.
pub(super) fn tokens(
    text: &Mapped,
    start: usize,
    environment: Environment,
) -> Result<Vec<Token>, Diagnostic> {
    let whole = text.text();
    if whole.len() > LENGTH_LIMIT {
        return Err(Diagnostic::new(code::BAD_OUTPUT, "output is too long").at(text.span(0..whole.len())));
    }
    let mut tokens = Vec::new();
    let mut at = start;
    while let Some(rest) = whole.get(at..).filter(|rest| !rest.is_empty()) {
        let Some(percent) = rest.find('%') else {
            tokens.push(Token::Text(rest.to_owned()));
            break;
        };
        if percent > 0 {
            tokens.push(Token::Text(rest.get(..percent).unwrap_or("").to_owned()));
        }
        at += percent;
        let (token, length) = value(text, at, environment)?;
        tokens.push(token);
        at += length;
    }
    Ok(tokens)
}

/// The token at a `%` and its length.
fn value(text: &Mapped, at: usize, environment: Environment) -> Result<(Token, usize), Diagnostic> {
    let rest = text.text().get(at + 1..).unwrap_or("");
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    let width = match rest.get(..digits).unwrap_or("") {
        "" => None,
        number => match number.parse::<usize>() {
            Ok(width) if width <= WIDTH_LIMIT => Some(width),
            _ => return Err(fault(text, at, digits + 1, "width of a token is too large")),
        },
    };
    let start = at + 1 + digits;
    let name = text.text().get(start..).unwrap_or("");
    let (operand, length) = if starts_transform(name) {
        let mut inner = Mapped::default();
        inner.push_range(text, start..text.text().len());
        parser::parse_operand_prefix(&inner).map_err(|error| {
            Diagnostic::new(code::BAD_OUTPUT, format!("invalid output token: {}", error.message))
                .at(inner.span(error.range))
        })?
    } else {
        field(text, start).ok_or_else(|| unknown(text, at, digits))?
    };
    let mut checker = Checker::new(environment);
    let source = checker.operand(&operand);
    if let Some(mut found) = checker.take().into_iter().find(Diagnostic::is_error) {
        found.code = code::BAD_OUTPUT;
        found.falco_code = code::BAD_OUTPUT.info().falco;
        return Err(found);
    }
    let source = source.ok_or_else(|| unknown(text, at, digits))?;
    if let Source::Field(used) = &source
        && used.id.def().filter_only
    {
        let message = format!("field `{}` can be compared but not printed", used.id.def().name);
        return Err(fault(text, start, length, &message));
    }
    Ok((Token::Value { key: source_key(&source), width, source }, digits + 1 + length))
}

fn starts_transform(text: &str) -> bool {
    let mut lexer = Lexer::new(text);
    lexer.identifier().is_some_and(|name| parser::TRANSFORMERS.contains(&name)) && lexer.fixed("(")
}

/// The longest field at a place and its length, argument included.
fn field(text: &Mapped, start: usize) -> Option<(Operand, usize)> {
    let rest = text.text().get(start..)?;
    let letter = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.');
    let run = rest.bytes().take(NAME_LIMIT).take_while(letter).count();
    let name = longest_field(rest.get(..run)?)?;
    let takes_argument = crate::catalog::field(name).is_some_and(|id| id.def().arg != ArgKind::None);
    let mut end = name.len();
    if takes_argument && rest.get(end..)?.starts_with('[') {
        let mut lexer = Lexer::new(rest.get(end + 1..)?);
        lexer.argument()?;
        if !lexer.fixed("]") {
            return None;
        }
        end += 1 + lexer.offset();
    }
    let mut inner = Mapped::default();
    inner.push_range(text, start..start + end);
    let operand = parser::parse_operand(&inner, parser::DEFAULT_DEPTH).ok()?;
    Some((operand, end))
}

fn unknown(text: &Mapped, at: usize, digits: usize) -> Diagnostic {
    let rest = text.text().get(at + 1 + digits..).unwrap_or("");
    let run: String = rest
        .chars()
        .take_while(|next| next.is_ascii_alphanumeric() || matches!(next, '_' | '.' | '[' | ']'))
        .take(60)
        .collect();
    if run.is_empty() {
        return fault(text, at, 1 + digits, "a `%` must be followed by a field or a transformer");
    }
    let names = crate::catalog::FIELDS.iter().map(|field| field.name);
    fault(text, at, 1 + digits + run.len(), &format!("`%{run}` does not begin with a known field"))
        .did_you_mean(run.trim_end_matches('.'), names)
}

fn fault(text: &Mapped, at: usize, length: usize, message: &str) -> Diagnostic {
    Diagnostic::new(code::BAD_OUTPUT, message).at(text.span(at..at + length))
}
