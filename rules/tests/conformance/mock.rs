//! Fields that exist in upstream's tests only, put into conditions as real ones.
//!
//! Upstream compares some conditions with mocks: a field for which every comparison holds, one for which none
//! does, one that equals a text. Here a comparison with such a field becomes one whose result is as certain.

use rampart_rules::{
    catalog::ids,
    condition::{
        self, Expr,
        ast::{Check, FieldRef, Op, Operand, Right},
    },
    source::{Mapped, Span},
    typed::Arg,
    unit::event::{Event, Held},
};

/// What one mock is.
enum Kind {
    /// Whether every comparison holds, or none.
    Always(bool),
    /// Its text, and the real field that holds it.
    Text(Vec<u8>, &'static str),
}

/// The mocks of a context.
pub(crate) struct Mocks(Vec<(String, Kind)>);

/// Text fields that may hold the text of a mock.
const TEXTS: [&str; 6] =
    ["proc.exe", "proc.pexe", "proc.sname", "proc.exepath", "proc.pexepath", "user.name"];

impl Mocks {
    /// Reads `mock: A always true, B/C compare equal to: TEXT / TEXT`.
    pub(crate) fn read(context: &str) -> Option<Self> {
        let text =
            context.trim().strip_prefix("mock")?.trim_start_matches('s').trim_start().strip_prefix(':')?;
        let mut mocks = Vec::new();
        let mut free = TEXTS.into_iter();
        for clause in text.split([',', ';']).map(str::trim).filter(|clause| !clause.is_empty()) {
            let (names, what) = clause.split_once(' ')?;
            let names: Vec<&str> = names.split('/').collect();
            let what = what.trim();
            if let Some(truth) = constant(what) {
                mocks.extend(names.iter().map(|name| ((*name).to_owned(), Kind::Always(truth))));
                continue;
            }
            let (_, texts) = what.split_once("equal to").or_else(|| what.split_once("equals"))?;
            let texts = texts.trim_start_matches([':', ' ']);
            let texts: Vec<&str> = if names.len() > 1 { texts.split(" / ").collect() } else { vec![texts] };
            for (name, text) in names.iter().zip(texts) {
                mocks.push(((*name).to_owned(), Kind::Text(text.trim().into(), free.next()?)));
            }
        }
        (!mocks.is_empty()).then_some(Self(mocks))
    }

    /// The event on which the replaced fields are what the mocks are.
    pub(crate) fn event(&self) -> Event<'static> {
        let mut event = super::described::ordinary();
        for (_, kind) in &self.0 {
            if let Kind::Text(text, field) = kind
                && let Some(field) = rampart_rules::catalog::field(field)
            {
                event.set(field, Arg::None, Held::Text(text.clone()));
            }
        }
        // There, and not there: see `replace`.
        event.set(ids::PROC_NAME, Arg::None, Held::Text(b"there".to_vec()));
        event
    }

    /// The condition over real fields.
    pub(crate) fn replaced(&self, condition: &str) -> Result<String, String> {
        let tree = condition::parse(&Mapped::plain(condition), condition::DEFAULT_DEPTH);
        let mut tree = tree.map_err(|error| error.message)?;
        checks(&mut tree, &mut |check| self.replace(check));
        Ok(tree.to_string())
    }

    fn replace(&self, check: &mut Check) {
        let Operand::Field(field) = &mut check.left else { return };
        match self.0.iter().find(|(name, _)| *name == field.name) {
            Some((_, Kind::Always(truth))) => {
                (if *truth { "proc.name" } else { "evt.asynctype" }).clone_into(&mut field.name);
                (check.op, check.right) = (Op::Exists, Right::None);
            }
            Some((_, Kind::Text(_, real))) => (*real).clone_into(&mut field.name),
            None => {}
        }
    }
}

fn constant(what: &str) -> Option<bool> {
    let mut words =
        what.split_whitespace().filter(|word| !matches!(*word, "is" | "are" | "compares" | "compare"));
    match (words.next(), words.next()) {
        (Some("always"), Some("true")) | (Some("true"), None) => Some(true),
        (Some("always"), Some("false")) | (Some("never"), Some("true")) | (Some("false"), None) => {
            Some(false)
        }
        _ => None,
    }
}

/// A condition in which fields that only upstream's mock has are real ones of the same type. One that does not
/// parse stays as it is.
pub(crate) fn typed(condition: &str) -> String {
    let Ok(mut tree) = condition::parse(&Mapped::plain(condition), condition::DEFAULT_DEPTH) else {
        return condition.to_owned();
    };
    let mut any = false;
    fields(&mut tree, &mut |field| {
        if let Some(name) = field.name.strip_prefix("c.") {
            let real =
                if name.starts_with("buf") || name.starts_with("byte") { "evt.buffer" } else { "proc.name" };
            real.clone_into(&mut field.name);
            any = true;
        }
    });
    if any { tree.to_string() } else { condition.to_owned() }
}

fn checks(expr: &mut Expr, f: &mut impl FnMut(&mut Check)) {
    match expr {
        Expr::And(parts) | Expr::Or(parts) => parts.iter_mut().for_each(|part| checks(part, f)),
        Expr::Not(inner) => checks(inner, f),
        Expr::Check(check) => f(check),
        // A bare name is a macro; a mock of that name holds or not like any other.
        Expr::Macro(name) if name.text.starts_with("c.") => {
            let field = FieldRef { name: name.text.clone(), arg: None, span: Span::default() };
            let mut check = Check {
                left: Operand::Field(field),
                op: Op::Exists,
                op_span: Span::default(),
                right: Right::None,
                span: Span::default(),
            };
            f(&mut check);
            *expr = Expr::Check(Box::new(check));
        }
        Expr::Macro(_) => {}
    }
}

fn fields(expr: &mut Expr, f: &mut impl FnMut(&mut FieldRef)) {
    checks(expr, &mut |check| {
        operand(&mut check.left, f);
        match &mut check.right {
            Right::Val(field, _) => f(field),
            Right::Transform(transform) => transform.args.iter_mut().for_each(|arg| operand(arg, f)),
            Right::None | Right::Value(_) | Right::List(..) => {}
        }
    });
}

fn operand(what: &mut Operand, f: &mut impl FnMut(&mut FieldRef)) {
    match what {
        Operand::Field(field) => f(field),
        Operand::Transform(transform) => transform.args.iter_mut().for_each(|arg| operand(arg, f)),
        Operand::List(items, _) => items.iter_mut().for_each(|item| operand(item, f)),
        Operand::Text(_) => {}
    }
}
