//! Why a rule does not match an event of a test.

use super::event::Event;
use crate::{
    condition::{
        self, Expr,
        ast::{Operand, Right},
    },
    filter::Filter,
    output::OutputFormat,
    rule::Rule,
    source::Mapped,
    typed::Environment,
    value::Truth,
};

const ENVIRONMENT: Environment = Environment { container_fields: true, strict: false };

/// The parts of the condition that do not hold, each with the values of the fields it compares.
pub(super) fn not(rule: &Rule, event: &Event<'_>) -> Vec<String> {
    let text = Mapped::plain(rule.condition_text.as_str());
    let mut out = Vec::new();
    if let Ok(tree) = condition::parse(&text, condition::DEFAULT_DEPTH) {
        failing(&tree, event, &mut out);
    }
    out
}

fn failing(expr: &Expr, event: &Event<'_>, out: &mut Vec<String>) {
    if let Expr::And(parts) = expr {
        for part in parts {
            failing(part, event, out);
        }
        return;
    }
    let text = expr.to_string();
    let Some(filter) = Filter::compile(&text, ENVIRONMENT).0 else { return };
    if filter.evaluate(None, event) == Truth::True {
        return;
    }
    let mut names = Vec::new();
    fields(expr, &mut names);
    let values: Vec<String> = names.iter().filter_map(|name| shown(name, event)).collect();
    out.push(format!("{text}   [{}]", values.join(", ")));
}

/// The fields an expression compares, each once.
fn fields(expr: &Expr, out: &mut Vec<String>) {
    match expr {
        Expr::And(parts) | Expr::Or(parts) => parts.iter().for_each(|part| fields(part, out)),
        Expr::Not(inner) => fields(inner, out),
        Expr::Macro(_) => {}
        Expr::Check(check) => {
            operand(&check.left, out);
            match &check.right {
                Right::Val(field, _) => add(field.to_string(), out),
                Right::Transform(transform) => transform.args.iter().for_each(|arg| operand(arg, out)),
                Right::None | Right::Value(_) | Right::List(..) => {}
            }
        }
    }
}

fn operand(operand: &Operand, out: &mut Vec<String>) {
    match operand {
        Operand::Field(field) => add(field.to_string(), out),
        Operand::Transform(transform) => transform.args.iter().for_each(|arg| self::operand(arg, out)),
        Operand::List(items, _) => items.iter().for_each(|item| self::operand(item, out)),
        Operand::Text(_) => {}
    }
}

fn add(name: String, out: &mut Vec<String>) {
    if !out.contains(&name) {
        out.push(name);
    }
}

/// A field with its value; nothing for one that cannot be printed.
fn shown(name: &str, event: &Event<'_>) -> Option<String> {
    let format = OutputFormat::parse(&format!("%{name}")).ok()?.lenient();
    let mut out = format!("{name} = ");
    format.render(event, &mut out);
    Some(out)
}
