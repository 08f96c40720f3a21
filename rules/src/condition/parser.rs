//! Text of a condition to its tree.
//!
//! A recursive descent over [`Lexer`]. It ends at the first fault of a condition: what follows a fault is rarely
//! read as it was meant. Faults of different conditions are all reported, by the loader.

use std::ops::Range;

use super::{
    ast::{Check, Expr, FieldRef, Literal, Modifier, Name, Op, Operand, Right, Transform},
    lexer::{Lexer, Word},
};
use crate::source::{Mapped, Span};

/// Nesting of parentheses and transformers that is accepted unless the caller says otherwise. A tree is walked
/// recursively, so this bounds the stack; conditions written by people stay below 20.
pub const DEFAULT_DEPTH: usize = 250;

/// Names of the transformers.
pub const TRANSFORMERS: [&str; 8] =
    ["tolower", "toupper", "b64", "basename", "len", "join", "concat", "getopt"];

/// Where a condition stops being one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyntaxError {
    /// What was expected or found; lowercase, no final period.
    pub message: String,
    /// Bytes of the text it is about.
    pub range: Range<usize>,
    /// What to do about it.
    pub help: Option<&'static str>,
    /// Whether the only fault is the nesting.
    pub too_deep: bool,
}

/// Parses a whole condition.
pub fn parse(text: &Mapped, depth: usize) -> Result<Expr, SyntaxError> {
    let mut parser = Parser { text, lexer: Lexer::new(text.text()), depth };
    let expr = parser.either()?;
    if parser.lexer.is_at_end() {
        return Ok(expr);
    }
    Err(parser.trailing())
}

/// Parses a text that must be one field or transformer, as exceptions and outputs name them.
pub fn parse_operand(text: &Mapped, depth: usize) -> Result<Operand, SyntaxError> {
    let mut parser = Parser { text, lexer: Lexer::new(text.text()), depth };
    parser.lexer.blank();
    let operand = parser.left()?.ok_or_else(|| parser.expected("a field or a transformer"))?;
    parser.lexer.blank();
    if parser.lexer.is_at_end() { Ok(operand) } else { Err(parser.expected("the end of the field")) }
}

/// Parses a field or transformer at the beginning of a text; gives it and where it ends.
pub(crate) fn parse_operand_prefix(text: &Mapped) -> Result<(Operand, usize), SyntaxError> {
    let mut parser = Parser { text, lexer: Lexer::new(text.text()), depth: DEFAULT_DEPTH };
    let operand = parser.left()?.ok_or_else(|| parser.expected("a field or a transformer"))?;
    Ok((operand, parser.lexer.offset()))
}

struct Parser<'a> {
    text: &'a Mapped,
    lexer: Lexer<'a>,
    depth: usize,
}

type Parsed<T> = Result<T, SyntaxError>;

impl Parser<'_> {
    /// `and` chains joined by `or`.
    fn either(&mut self) -> Parsed<Expr> {
        self.chain("or", Self::both, Expr::Or)
    }

    /// Terms joined by `and`.
    fn both(&mut self) -> Parsed<Expr> {
        self.chain("and", Self::negation, Expr::And)
    }

    fn chain(
        &mut self,
        word: &'static str,
        part: fn(&mut Self) -> Parsed<Expr>,
        join: fn(Vec<Expr>) -> Expr,
    ) -> Parsed<Expr> {
        self.lexer.blank();
        let first = part(self)?;
        self.lexer.blank();
        let mut parts = Vec::new();
        loop {
            let before = self.lexer;
            if !self.lexer.fixed(word) {
                break;
            }
            let next = if self.lexer.blank() {
                part(self)?
            } else if self.lexer.fixed("(") {
                self.embedded()?
            } else {
                self.lexer = before;
                break;
            };
            parts.push(next);
            self.lexer.blank();
        }
        if parts.is_empty() {
            return Ok(first);
        }
        parts.insert(0, first);
        Ok(join(parts))
    }

    /// Any number of `not`, then a term.
    fn negation(&mut self) -> Parsed<Expr> {
        let mut negated = false;
        self.lexer.blank();
        let term = loop {
            let before = self.lexer;
            if !self.lexer.fixed("not") {
                break self.primary()?;
            }
            negated = !negated;
            if self.lexer.blank() {
                continue;
            }
            if self.lexer.fixed("(") {
                break self.embedded()?;
            }
            negated = !negated;
            self.lexer = before;
            break self.primary()?;
        };
        Ok(match term {
            Expr::Not(inner) if negated => *inner,
            term if negated => Expr::Not(Box::new(term)),
            term => term,
        })
    }

    fn primary(&mut self) -> Parsed<Expr> {
        if self.lexer.fixed("(") {
            return self.embedded();
        }
        let start = self.lexer.offset();
        if let Some(left) = self.left()? {
            self.lexer.blank();
            return self.check(left, start);
        }
        match self.lexer.identifier() {
            Some("and" | "or" | "not") => {
                let range = start..self.lexer.offset();
                Err(self.fault(range, "expected a comparison, a macro or a parenthesis".to_owned()))
            }
            Some(text) => {
                let span = self.span_from(start);
                Ok(Expr::Macro(Name { text: text.to_owned(), span }))
            }
            None => Err(self.expected("a comparison, a macro or a parenthesis")),
        }
    }

    /// A condition whose opening parenthesis is already taken.
    fn embedded(&mut self) -> Parsed<Expr> {
        let open = self.lexer.offset().saturating_sub(1);
        let inner = self.nested(Self::either)?;
        self.lexer.blank();
        if self.lexer.fixed(")") {
            return Ok(inner);
        }
        if self.lexer.is_at_end() {
            return Err(self.fault(open..open + 1, "this parenthesis is not closed".to_owned()));
        }
        Err(self.trailing())
    }

    /// A field or a transformer, the left side of a comparison.
    fn left(&mut self) -> Parsed<Option<Operand>> {
        if let Some(transform) = self.transform()? {
            return Ok(Some(Operand::Transform(transform)));
        }
        Ok(self.field()?.map(Operand::Field))
    }

    fn field(&mut self) -> Parsed<Option<FieldRef>> {
        let start = self.lexer.offset();
        let Some(name) = self.lexer.field_name() else { return Ok(None) };
        let arg = self.argument()?;
        Ok(Some(FieldRef { name: name.to_owned(), arg, span: self.span_from(start) }))
    }

    /// `[argument]`, if there is one.
    fn argument(&mut self) -> Parsed<Option<Literal>> {
        if !self.lexer.fixed("[") {
            return Ok(None);
        }
        let start = self.lexer.offset();
        let word = self.lexer.argument();
        let Some(literal) = self.literal(word, start)? else {
            return Err(self.expected("a valid field argument: a quoted string or a bare string"));
        };
        if self.lexer.fixed("]") { Ok(Some(literal)) } else { Err(self.expected("a `]` after the argument")) }
    }

    fn transform(&mut self) -> Parsed<Option<Transform>> {
        let before = self.lexer;
        let start = before.offset();
        let name = self.lexer.identifier().filter(|name| TRANSFORMERS.contains(name));
        let Some(name) = name.filter(|_| self.lexer.fixed("(")) else {
            self.lexer = before;
            return Ok(None);
        };
        let args = self.nested(Self::transform_args)?;
        let arg = self.argument()?;
        Ok(Some(Transform { name: name.to_owned(), args, arg, span: self.span_from(start) }))
    }

    fn transform_args(&mut self) -> Parsed<Vec<Operand>> {
        let mut args = Vec::new();
        loop {
            self.lexer.blank();
            args.push(self.transform_arg(true)?);
            self.lexer.blank();
            if self.lexer.fixed(")") {
                return Ok(args);
            }
            if !self.lexer.fixed(",") {
                return Err(self.expected("a `,` or a `)` in the arguments"));
            }
        }
    }

    fn transform_arg(&mut self, list_ok: bool) -> Parsed<Operand> {
        if let Some(operand) = self.left()? {
            return Ok(operand);
        }
        let start = self.lexer.offset();
        let word = self.lexer.quoted();
        if let Some(literal) = self.literal(word, start)? {
            return Ok(Operand::Text(literal));
        }
        if let Some(number) = self.lexer.number() {
            let literal =
                Literal { bytes: number.as_bytes().to_vec(), quoted: false, span: self.span_from(start) };
            return Ok(Operand::Text(literal));
        }
        if list_ok && self.lexer.fixed("(") {
            let mut items = Vec::new();
            self.lexer.blank();
            if !self.lexer.fixed(")") {
                loop {
                    self.lexer.blank();
                    items.push(self.transform_arg(false)?);
                    self.lexer.blank();
                    if self.lexer.fixed(")") {
                        break;
                    }
                    if !self.lexer.fixed(",") {
                        return Err(self.expected("a `,` or a `)` in the list"));
                    }
                }
            }
            return Ok(Operand::List(items, self.span_from(start)));
        }
        Err(self.expected("a field, a transformer, a quoted string or a number"))
    }

    /// Operator and right side.
    fn check(&mut self, left: Operand, start: usize) -> Parsed<Expr> {
        let op_start = self.lexer.offset();
        let op = self.operator()?;
        let op_span = self.span_from(op_start);
        // Word operators have taken their blank along.
        let blank = self.lexer.blank() || !matches!(op, Op::Eq | Op::Ne);
        let right = if op == Op::Exists {
            Right::None
        } else if op.takes_list() {
            self.list_right()?
        } else if op.is_ordering() {
            self.number_right()?
        } else {
            let modified = if blank { self.modified_list()? } else { None };
            match modified {
                Some(right) => right,
                None => self.value_right()?,
            }
        };
        let span = self.span_from(start);
        Ok(Expr::Check(Box::new(Check { left, op, op_span, right, span })))
    }

    fn operator(&mut self) -> Parsed<Op> {
        const SYMBOLS: [(&str, Op); 7] = [
            ("<=", Op::Le),
            ("<", Op::Lt),
            (">=", Op::Ge),
            (">", Op::Gt),
            ("==", Op::Eq),
            ("=", Op::Eq),
            ("!=", Op::Ne),
        ];
        for (text, op) in SYMBOLS {
            if self.lexer.fixed(text) {
                return Ok(op);
            }
        }
        for op in Op::ALL {
            let text = op.as_str();
            // These four may touch what follows: `in(a)`.
            let loose = op.takes_list() || op == Op::Exists;
            if text.starts_with(|first: char| first.is_ascii_alphabetic())
                && if loose { self.lexer.fixed(text) } else { self.lexer.word(text) }
            {
                return Ok(op);
            }
        }
        let start = self.lexer.offset();
        let word = self.lexer.rest().split([' ', '\t', '\n', '\r', '(', ')', ',']).next().unwrap_or("");
        let range = start..start + word.len();
        if word.is_empty() {
            return Err(self.expected("a comparison operator"));
        }
        Err(self.fault(range, format!("`{}` is not a comparison operator", shorten(word))))
    }

    fn list_right(&mut self) -> Parsed<Right> {
        if let Some(right) = self.field_right()? {
            return Ok(right);
        }
        match self.list()? {
            Some(values) => Ok(Right::List(None, values)),
            None => Err(self.expected("a list in parentheses, or the name of a list")),
        }
    }

    fn number_right(&mut self) -> Parsed<Right> {
        if let Some(right) = self.field_right()? {
            return Ok(right);
        }
        let start = self.lexer.offset();
        match self.lexer.number() {
            Some(number) => Ok(Right::Value(Literal {
                bytes: number.as_bytes().to_vec(),
                quoted: false,
                span: self.span_from(start),
            })),
            None => Err(self.expected("a number")),
        }
    }

    fn value_right(&mut self) -> Parsed<Right> {
        if let Some(right) = self.field_right()? {
            return Ok(right);
        }
        let start = self.lexer.offset();
        let word = self.lexer.value();
        match self.literal(word, start)? {
            Some(literal) => Ok(Right::Value(literal)),
            None => Err(self.expected("a value")),
        }
    }

    /// `oneof`, `anyof` or `allof` with its list; the bare words are values when no list follows.
    fn modified_list(&mut self) -> Parsed<Option<Right>> {
        let before = self.lexer;
        for modifier in [Modifier::OneOf, Modifier::AnyOf, Modifier::AllOf] {
            if !self.lexer.word(modifier.as_str()) {
                continue;
            }
            let mut ahead = self.lexer;
            if !matches!(ahead.identifier(), Some("and" | "or"))
                && let Some(values) = self.list()?
            {
                return Ok(Some(Right::List(Some(modifier), values)));
            }
            self.lexer = before;
            return Ok(None);
        }
        Ok(None)
    }

    /// Values in parentheses, or one identifier: the name of a list that does not exist is a value.
    fn list(&mut self) -> Parsed<Option<Vec<Literal>>> {
        let start = self.lexer.offset();
        if !self.lexer.fixed("(") {
            let Some(name) = self.lexer.identifier() else { return Ok(None) };
            let literal = Literal { bytes: name.into(), quoted: false, span: self.span_from(start) };
            return Ok(Some(vec![literal]));
        }
        let mut values = Vec::new();
        self.lexer.blank();
        if self.lexer.fixed(")") {
            return Ok(Some(values));
        }
        loop {
            self.lexer.blank();
            let at = self.lexer.offset();
            let word = self.lexer.value();
            let Some(literal) = self.literal(word, at)? else {
                return Err(self.expected("a value in the list"));
            };
            values.push(literal);
            self.lexer.blank();
            if self.lexer.fixed(")") {
                return Ok(Some(values));
            }
            if !self.lexer.fixed(",") {
                return Err(self.expected("a `,` or a `)` in the list"));
            }
        }
    }

    /// `val(field)` or a transformer.
    fn field_right(&mut self) -> Parsed<Option<Right>> {
        if let Some(transform) = self.transform()? {
            return Ok(Some(Right::Transform(transform)));
        }
        if !self.lexer.fixed("val(") {
            return Ok(None);
        }
        self.lexer.blank();
        let Some(field) = self.field()? else { return Err(self.expected("a field inside `val()`")) };
        self.lexer.blank();
        if !self.lexer.fixed(")") {
            return Err(self.expected("a `)` after the field"));
        }
        let arg = self.argument()?;
        Ok(Some(Right::Val(field, arg)))
    }

    fn literal(&self, word: Option<Word>, start: usize) -> Parsed<Option<Literal>> {
        let range = start..self.lexer.offset();
        let (bytes, quoted) = match word {
            None => return Ok(None),
            Some(Word::Bare(text)) => (text.into_bytes(), false),
            Some(Word::Quoted(bytes)) => (bytes, true),
            Some(Word::Open) => {
                return Err(self.fault(start..start + 1, "this quote is not closed".to_owned()));
            }
            Some(Word::Bad(error)) => return Err(self.fault(range, error.to_string())),
        };
        Ok(Some(Literal { bytes, quoted, span: self.text.span(range) }))
    }

    fn nested<T>(&mut self, inner: fn(&mut Self) -> Parsed<T>) -> Parsed<T> {
        let Some(depth) = self.depth.checked_sub(1) else {
            let at = self.lexer.offset().saturating_sub(1);
            return Err(SyntaxError {
                message: "condition is nested too deeply".to_owned(),
                range: at..at + 1,
                help: Some("split it into macros"),
                too_deep: true,
            });
        };
        self.depth = depth;
        let result = inner(self);
        self.depth += 1;
        result
    }

    fn span_from(&self, start: usize) -> Span {
        self.text.span(start..self.lexer.offset())
    }

    /// A fault where something else was expected.
    fn expected(&self, what: &str) -> SyntaxError {
        let at = self.lexer.offset();
        let next = self.lexer.rest().chars().next();
        let found = next.map_or_else(|| "the end".to_owned(), |next| format!("`{}`", next.escape_debug()));
        self.fault(at..at + next.map_or(0, char::len_utf8), format!("expected {what}, found {found}"))
    }

    /// A fault behind a complete condition.
    fn trailing(&self) -> SyntaxError {
        let at = self.lexer.offset();
        let rest = self.lexer.rest();
        let word = rest.split([' ', '\t', '\n', '\r']).next().unwrap_or("");
        let mut error = self.fault(
            at..at + word.len(),
            format!("expected `and` or `or` or the end, found `{}`", shorten(word)),
        );
        if matches!(word, "and" | "or") {
            error.message = format!("nothing follows `{word}`");
        } else if word.starts_with(')') {
            "this `)` closes nothing".clone_into(&mut error.message);
            error.range = at..at + 1;
        } else if word.starts_with(['(', '=', '"', '\'', ',']) {
            error.help = Some("a value with blanks or any of `( ) , = \" '` needs quotes");
        }
        error
    }

    fn fault(&self, range: Range<usize>, message: String) -> SyntaxError {
        let end = range.end.min(self.text.text().len());
        SyntaxError { message, range: range.start.min(end)..end, help: None, too_deep: false }
    }
}

/// Messages quote the rule text; a very long word would drown them.
fn shorten(word: &str) -> String {
    const LIMIT: usize = 40;
    if word.chars().count() <= LIMIT {
        return word.escape_debug().to_string();
    }
    word.chars().take(LIMIT).flat_map(char::escape_debug).chain(['…']).collect()
}
