//! The tree of a condition. Every node has the place it came from; no meaning is stored in it.

use crate::source::Span;

/// A condition.
#[derive(Clone, Debug, PartialEq)]
pub enum Expr {
    /// All must hold.
    And(Vec<Expr>),
    /// One must hold.
    Or(Vec<Expr>),
    /// It must not hold.
    Not(Box<Expr>),
    /// A bare word: a macro.
    Macro(Name),
    /// A comparison.
    Check(Box<Check>),
}

/// A name and its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name {
    /// The text.
    pub text: String,
    /// The place.
    pub span: Span,
}

/// One comparison.
#[derive(Clone, Debug, PartialEq)]
pub struct Check {
    /// Left side: a field or a transformer.
    pub left: Operand,
    /// Operator.
    pub op: Op,
    /// Place of the operator.
    pub op_span: Span,
    /// Right side.
    pub right: Right,
    /// The whole comparison.
    pub span: Span,
}

/// Something with a value.
#[derive(Clone, Debug, PartialEq)]
pub enum Operand {
    /// A field.
    Field(FieldRef),
    /// A transformer.
    Transform(Transform),
    /// A quoted text or a number, as an argument of a transformer.
    Text(Literal),
    /// A list in parentheses, as an argument of a transformer.
    List(Vec<Operand>, Span),
}

/// A field with its argument.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldRef {
    /// Name, dots included.
    pub name: String,
    /// Text in brackets.
    pub arg: Option<Literal>,
    /// The place.
    pub span: Span,
}

/// A transformer applied to arguments.
#[derive(Clone, Debug, PartialEq)]
pub struct Transform {
    /// Name.
    pub name: String,
    /// Arguments.
    pub args: Vec<Operand>,
    /// Text in brackets.
    pub arg: Option<Literal>,
    /// The place.
    pub span: Span,
}

/// A value as written, escapes resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Literal {
    /// The bytes.
    pub bytes: Vec<u8>,
    /// Whether it stood in quotes.
    pub quoted: bool,
    /// The place.
    pub span: Span,
}

/// Right side of a comparison.
#[derive(Clone, Debug, PartialEq)]
pub enum Right {
    /// None, for `exists`.
    None,
    /// One value.
    Value(Literal),
    /// Several values, with a modifier for operators that take one value.
    List(Option<Modifier>, Vec<Literal>),
    /// `val(field)`; the argument after the parentheses is kept to be refused.
    Val(FieldRef, Option<Literal>),
    /// A transformer.
    Transform(Transform),
}

/// Operators.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Op {
    /// `exists`
    Exists,
    /// `=` or `==`
    Eq,
    /// `!=`
    Ne,
    /// `<`
    Lt,
    /// `<=`
    Le,
    /// `>`
    Gt,
    /// `>=`
    Ge,
    /// `contains`
    Contains,
    /// `icontains`
    IContains,
    /// `bcontains`
    BContains,
    /// `startswith`
    StartsWith,
    /// `bstartswith`
    BStartsWith,
    /// `endswith`
    EndsWith,
    /// `glob`
    Glob,
    /// `iglob`
    IGlob,
    /// `regex`
    Regex,
    /// `in`
    In,
    /// `intersects`
    Intersects,
    /// `pmatch`
    PMatch,
}

/// How an operator applies to several values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Modifier {
    /// Exactly one value satisfies it.
    OneOf,
    /// At least one does.
    AnyOf,
    /// Every one does.
    AllOf,
}

impl Expr {
    /// The place of the whole condition.
    pub fn span(&self) -> Span {
        match self {
            Self::And(parts) | Self::Or(parts) => match (parts.first(), parts.last()) {
                (Some(first), Some(last)) => first.span().to(last.span()),
                _ => Span::default(),
            },
            Self::Not(inner) => inner.span(),
            Self::Macro(name) => name.span,
            Self::Check(check) => check.span,
        }
    }
}

impl Operand {
    /// The place.
    pub fn span(&self) -> Span {
        match self {
            Self::Field(field) => field.span,
            Self::Transform(transform) => transform.span,
            Self::Text(text) => text.span,
            Self::List(_, span) => *span,
        }
    }
}

impl Literal {
    /// The value as text; bytes that are not UTF-8 are replaced.
    pub fn text(&self) -> std::borrow::Cow<'_, str> {
        String::from_utf8_lossy(&self.bytes)
    }
}

impl Op {
    /// All operators; one that begins another stands behind it.
    pub const ALL: [Self; 19] = [
        Self::Exists,
        Self::Eq,
        Self::Ne,
        Self::Lt,
        Self::Le,
        Self::Gt,
        Self::Ge,
        Self::Contains,
        Self::IContains,
        Self::BContains,
        Self::StartsWith,
        Self::BStartsWith,
        Self::EndsWith,
        Self::Glob,
        Self::IGlob,
        Self::Regex,
        Self::Intersects,
        Self::In,
        Self::PMatch,
    ];

    /// Canonical spelling.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Exists => "exists",
            Self::Eq => "=",
            Self::Ne => "!=",
            Self::Lt => "<",
            Self::Le => "<=",
            Self::Gt => ">",
            Self::Ge => ">=",
            Self::Contains => "contains",
            Self::IContains => "icontains",
            Self::BContains => "bcontains",
            Self::StartsWith => "startswith",
            Self::BStartsWith => "bstartswith",
            Self::EndsWith => "endswith",
            Self::Glob => "glob",
            Self::IGlob => "iglob",
            Self::Regex => "regex",
            Self::In => "in",
            Self::Intersects => "intersects",
            Self::PMatch => "pmatch",
        }
    }

    /// Finds an operator by its spelling.
    pub fn find(text: &str) -> Option<Self> {
        if text == "==" {
            return Some(Self::Eq);
        }
        Self::ALL.into_iter().find(|op| op.as_str() == text)
    }

    /// Whether it compares with a number or orders.
    pub fn is_ordering(self) -> bool {
        matches!(self, Self::Lt | Self::Le | Self::Gt | Self::Ge)
    }

    /// Whether its right side is a list.
    pub fn takes_list(self) -> bool {
        matches!(self, Self::In | Self::Intersects | Self::PMatch)
    }

    /// Whether it may carry a [`Modifier`].
    pub fn takes_modifier(self) -> bool {
        !self.takes_list() && !self.is_ordering() && self != Self::Exists
    }
}

impl Modifier {
    /// Spelling.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::OneOf => "oneof",
            Self::AnyOf => "anyof",
            Self::AllOf => "allof",
        }
    }

    /// Finds a modifier by its spelling.
    pub fn find(text: &str) -> Option<Self> {
        [Self::OneOf, Self::AnyOf, Self::AllOf].into_iter().find(|modifier| modifier.as_str() == text)
    }
}
