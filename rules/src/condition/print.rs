//! A tree as text, in the form Falco prints compiled conditions.

use std::fmt;

use super::{
    ast::{Check, Expr, FieldRef, Literal, Operand, Right, Transform},
    quote,
};

impl fmt::Display for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (parts, word) = match self {
            Self::And(parts) => (parts, " and "),
            Self::Or(parts) => (parts, " or "),
            Self::Not(inner) => return write!(f, "not {inner}"),
            Self::Macro(name) => return f.write_str(&name.text),
            Self::Check(check) => return check.fmt(f),
        };
        f.write_str("(")?;
        join(f, parts, word)?;
        f.write_str(")")
    }
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.left, self.op.as_str())?;
        match &self.right {
            Right::None => Ok(()),
            Right::Value(value) => write!(f, " {value}"),
            Right::List(modifier, values) => {
                if let Some(modifier) = modifier {
                    write!(f, " {}", modifier.as_str())?;
                }
                f.write_str(" (")?;
                join(f, values, ", ")?;
                f.write_str(")")
            }
            Right::Val(field, None) => write!(f, " val({field})"),
            Right::Val(field, Some(arg)) => write!(f, " val({field})[{}]", Argument(arg)),
            Right::Transform(transform) => write!(f, " {transform}"),
        }
    }
}

impl fmt::Display for Operand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Field(field) => field.fmt(f),
            Self::Transform(transform) => transform.fmt(f),
            Self::Text(text) if text.quoted => f.write_str(&quote::quoted(&text.bytes)),
            Self::Text(text) => text.fmt(f),
            Self::List(items, _) => {
                f.write_str("(")?;
                join(f, items, ", ")?;
                f.write_str(")")
            }
        }
    }
}

impl fmt::Display for FieldRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        self.arg.as_ref().map_or(Ok(()), |arg| write!(f, "[{}]", Argument(arg)))
    }
}

impl fmt::Display for Transform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}(", self.name)?;
        join(f, &self.args, ", ")?;
        f.write_str(")")?;
        self.arg.as_ref().map_or(Ok(()), |arg| write!(f, "[{}]", Argument(arg)))
    }
}

impl fmt::Display for Literal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&quote::escape(&self.bytes))
    }
}

/// A literal in brackets, where other bytes than elsewhere need quotes.
struct Argument<'a>(&'a Literal);

impl fmt::Display for Argument<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = &self.0.bytes;
        let ends = |byte: &u8| matches!(byte, b'[' | b']' | b'"' | b'\'' | b'\\');
        if !bytes.is_empty() && bytes.iter().all(|byte| byte.is_ascii_graphic() && !ends(byte)) {
            f.write_str(&self.0.text())
        } else {
            f.write_str(&quote::quoted(bytes))
        }
    }
}

fn join<T: fmt::Display>(f: &mut fmt::Formatter<'_>, parts: &[T], word: &str) -> fmt::Result {
    for (index, part) in parts.iter().enumerate() {
        if index > 0 {
            f.write_str(word)?;
        }
        part.fmt(f)?;
    }
    Ok(())
}
