//! Trees to typed conditions, reporting every fault on the way.

use std::{mem, sync::Arc};

use crate::{
    catalog::{self, EVENTS, FieldType, ids},
    condition::ast::{Check, Expr, Literal, Op, Operand, Right as Written},
    diagnostic::{Diagnostic, code},
    pattern,
    set::{Set, SetKind, Sets},
    typed::{Const, FieldUse, Node, Right, Source, Test, Type, field, literal, suspicious, transform},
};

/// Findings about one condition behind which the rest of it is not looked at.
const FINDING_LIMIT: usize = 100;

/// What conditions are checked against.
#[derive(Clone, Copy, Debug)]
pub struct Environment {
    /// Whether fields of containers and pods exist.
    pub container_fields: bool,
    /// Whether upstream's faults are reproduced instead of fixed.
    pub strict: bool,
}

/// Checks conditions; keeps what it reports.
#[derive(Debug)]
pub struct Checker {
    environment: Environment,
    sets: Sets,
    diagnostics: Vec<Diagnostic>,
}

impl Checker {
    /// A checker that has reported nothing.
    pub fn new(environment: Environment) -> Self {
        Self { environment, sets: Sets::default(), diagnostics: Vec::new() }
    }

    /// Also knows these sets: a bare word among the constants of `in` and `intersects` may name one.
    #[must_use]
    pub fn with_sets(self, sets: &Sets) -> Self {
        Self { sets: sets.clone(), ..self }
    }

    /// Types a condition without macros. `None` when an error was reported.
    pub fn condition(&mut self, expr: &Expr) -> Option<Node> {
        self.node(expr, false)
    }

    /// What was reported since the last call.
    pub fn take(&mut self) -> Vec<Diagnostic> {
        mem::take(&mut self.diagnostics)
    }

    /// Types a field or a transformer.
    pub fn operand(&mut self, operand: &Operand) -> Option<Source> {
        match operand {
            Operand::Field(written) => self.field(written).map(Source::Field),
            Operand::Transform(written) => transform::check(self, written),
            Operand::Text(text) => Some(Source::Text(text.bytes.clone())),
            Operand::List(items, _) => transform::list(self, items),
        }
    }

    pub(super) fn report(&mut self, diagnostic: Diagnostic) {
        self.diagnostics.push(diagnostic);
    }

    fn node(&mut self, expr: &Expr, negated: bool) -> Option<Node> {
        let (parts, all) = match expr {
            Expr::And(parts) => (parts, !negated),
            Expr::Or(parts) => (parts, negated),
            Expr::Not(inner) => return self.node(inner, !negated),
            Expr::Macro(name) => {
                self.report(
                    Diagnostic::new(code::UNDEFINED_MACRO, format!("undefined macro `{}`", name.text))
                        .at(name.span),
                );
                return None;
            }
            Expr::Check(check) => return self.test(check, negated).map(|test| Node::Test(Box::new(test))),
        };
        let mut typed = Vec::with_capacity(parts.len());
        let mut complete = true;
        for part in parts {
            match self.node(part, negated) {
                // Chains are flat, so that walking a condition needs little stack.
                Some(Node::All(inner)) if all => typed.extend(inner),
                Some(Node::Any(inner)) if !all => typed.extend(inner),
                Some(node) => typed.push(node),
                None if self.diagnostics.len() >= FINDING_LIMIT => return None,
                None => complete = false,
            }
        }
        complete.then_some(if all { Node::All(typed) } else { Node::Any(typed) })
    }

    fn field(&mut self, written: &crate::condition::ast::FieldRef) -> Option<FieldUse> {
        match field::resolve(written, self.environment.container_fields) {
            Ok(field) => Some(field),
            Err(diagnostic) => {
                self.report(*diagnostic);
                None
            }
        }
    }

    fn test(&mut self, check: &Check, negated: bool) -> Option<Test> {
        let left = self.operand(&check.left)?;
        let ty = left.ty();
        if !fits(check.op, ty) {
            let what = if ty.list { "a list" } else { describe(ty.base) };
            self.report(
                Diagnostic::new(
                    code::OPERATOR_TYPE,
                    format!("operator `{}` does not fit {what}", check.op.as_str()),
                )
                .at(check.op_span)
                .label(check.left.span(), format!("this is {what}")),
            );
            return None;
        }
        let right = match &check.right {
            Written::None => Right::None,
            Written::Value(value) => Right::Values(None, vec![self.constant(&left, check.op, value)?]),
            Written::List(modifier, values) => {
                let is_set = check.op.takes_list() && modifier.is_none();
                let converted: Vec<Option<Const>> = values
                    .iter()
                    .map(|value| match self.set(value) {
                        Some(set) if is_set => self.members(&left, set, value),
                        Some(set) => self.not_comparable(&set, check.op, value),
                        None => self.constant(&left, check.op, value),
                    })
                    .collect();
                Right::Values(*modifier, converted.into_iter().collect::<Option<Vec<_>>>()?)
            }
            Written::Val(written, arg) => {
                if let Some(arg) = arg {
                    self.report(
                        Diagnostic::new(code::TRANSFORMER, "transformer `val` takes no argument in brackets")
                            .at(arg.span),
                    );
                    return None;
                }
                let field = self.field(written)?;
                self.right_source(check, ty, Source::Field(field))?
            }
            Written::Transform(written) => {
                let source = transform::check(self, written)?;
                self.right_source(check, ty, source)?
            }
        };
        Some(Test { negated, left, op: check.op, right, span: check.span })
    }

    /// Checks a right side that is a value of the event.
    fn right_source(&mut self, check: &Check, left: Type, source: Source) -> Option<Right> {
        let ty = source.ty();
        let fault = if matches!(check.op, Op::PMatch | Op::Regex) {
            Some(format!("operator `{}` needs constants on its right side", check.op.as_str()))
        } else if left.base == FieldType::Net || ty.base == FieldType::Net {
            Some("networks can only be compared with constants".to_owned())
        } else if ty != left {
            Some(format!("{} cannot be compared with {}", named(left), named(ty)))
        } else {
            match &source {
                Source::Field(field) if !field.id.def().rhs_ok => {
                    Some(format!("field `{}` cannot stand on the right side", field.id.def().name))
                }
                _ => None,
            }
        };
        match fault {
            None => Some(Right::Source(source)),
            Some(message) => {
                self.report(Diagnostic::new(code::RIGHT_SIDE, message).at(check.span));
                None
            }
        }
    }

    /// The set that a bare word names.
    fn set(&self, value: &Literal) -> Option<Arc<Set>> {
        if value.quoted || self.sets.is_empty() {
            return None;
        }
        self.sets.get(std::str::from_utf8(&value.bytes).ok()?).cloned()
    }

    /// A set as a constant, if its members are of the field's kind.
    fn members(&mut self, left: &Source, set: Arc<Set>, value: &Literal) -> Option<Const> {
        let base = left.ty().base;
        if set.kind().fits(base) {
            return Some(Const::Set(set));
        }
        let message = format!(
            "`{}` is a list of {}, but this is {}",
            set.name(),
            set.kind().describe(),
            describe(base)
        );
        let help = match set.kind() {
            SetKind::Ip => "compare an address with it, as in `fd.rip in (…)`",
            SetKind::Domain => "compare a host name with it, as in `fd.rip.name in (…)`",
            SetKind::Sha256 => "compare a digest with it, as in `proc.exe.sha256 in (…)`",
            SetKind::Text => "compare a text or a path with it",
        };
        self.report(Diagnostic::new(code::LITERAL_TYPE, message).at(value.span).help(help));
        None
    }

    fn not_comparable(&mut self, set: &Set, op: Op, value: &Literal) -> Option<Const> {
        let message = format!("operator `{}` cannot look into the list `{}`", op.as_str(), set.name());
        self.report(Diagnostic::new(code::LITERAL_TYPE, message).at(value.span).help("use `in`"));
        None
    }

    /// Converts a literal and looks at whether it is meant as written.
    fn constant(&mut self, left: &Source, op: Op, value: &Literal) -> Option<Const> {
        let ty = left.ty();
        let converted = match literal::convert(value, ty, op) {
            Ok(converted) => converted,
            Err(reason) => {
                let shown = value.text();
                self.report(
                    Diagnostic::new(
                        code::LITERAL_TYPE,
                        format!("`{}` {reason}", shown.chars().take(60).collect::<String>().escape_debug()),
                    )
                    .at(value.span),
                );
                return None;
            }
        };
        if let (Source::Field(FieldUse { id: ids::EVT_TYPE, .. }), Const::Bytes(name)) = (left, &converted) {
            let name = String::from_utf8_lossy(name);
            if catalog::event(&name).is_none() {
                self.report(
                    Diagnostic::new(
                        code::UNKNOWN_EVENT,
                        format!("unknown event type `{}`", name.escape_debug()),
                    )
                    .at(value.span)
                    .did_you_mean(&name, EVENTS.iter().map(|event| event.name)),
                );
                return None;
            }
        }
        if op == Op::Regex
            && let Err(error) = pattern::regex(&value.text())
        {
            self.report(
                Diagnostic::new(code::BAD_PATTERN, format!("invalid regular expression: {error}"))
                    .at(value.span),
            );
            return None;
        }
        if ty.is_text() {
            self.diagnostics.extend(suspicious::text(value));
            if op == Op::Regex {
                self.diagnostics.extend(suspicious::regex(value));
            }
        }
        Some(converted)
    }
}

/// Whether an operator can be applied to a type.
fn fits(op: Op, ty: Type) -> bool {
    if op == Op::Exists {
        return true;
    }
    if ty.list {
        return matches!(op, Op::In | Op::Intersects);
    }
    match op {
        Op::Exists | Op::Eq | Op::Ne | Op::In | Op::Intersects => true,
        Op::Lt | Op::Le | Op::Gt | Op::Ge => {
            !matches!(ty.base, FieldType::Bool | FieldType::Buffer | FieldType::Ip | FieldType::Net)
        }
        Op::Contains | Op::StartsWith | Op::EndsWith => ty.is_text() || ty.base == FieldType::Buffer,
        Op::IContains | Op::Glob | Op::IGlob | Op::Regex | Op::PMatch => ty.is_text(),
        Op::BContains | Op::BStartsWith => ty.base == FieldType::Buffer,
    }
}

fn named(ty: Type) -> String {
    let base = describe(ty.base);
    let base = if ty.bits > 0 { format!("{base} of {} bits", ty.bits) } else { base.to_owned() };
    if ty.list { format!("a list of which each is {base}") } else { base }
}

fn describe(base: FieldType) -> &'static str {
    match base {
        FieldType::Int => "a signed number",
        FieldType::Uint => "an unsigned number",
        FieldType::Float => "a floating-point number",
        FieldType::Bool => "a truth value",
        FieldType::Text => "text",
        FieldType::Path => "a path",
        FieldType::Buffer => "a byte buffer",
        FieldType::Ip => "an address",
        FieldType::Net => "a network",
        FieldType::Port => "a port",
        FieldType::RelTime => "a duration",
        FieldType::AbsTime => "a time",
        FieldType::Dyn => "a value without type",
    }
}
