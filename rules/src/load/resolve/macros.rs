//! Macros are trees: each use is replaced by the macro's own tree, its macros replaced in turn.

use std::{
    cell::{Cell, RefCell},
    collections::{HashMap, HashSet},
};

use super::lists::Lists;
use crate::{
    condition::{self, Expr, SyntaxError, ast::Name},
    diagnostic::{Diagnostic, code},
    load::collect::{Collection, Macro},
    source::{Mapped, Span},
};

/// Nesting of parentheses in one written condition.
const PARSE_DEPTH: usize = condition::DEFAULT_DEPTH;
/// Nesting of macros in each other. Together with the limit of one condition this bounds the stack.
const MACRO_DEPTH: usize = 64;
/// Depth of a tree with its macros put in.
const TREE_DEPTH: usize = 500;
/// Nodes of a tree with its macros put in; the largest upstream rule has about 700.
const NODE_LIMIT: usize = 100_000;
/// Nodes of all trees of a load together, room for some thousands of large rules.
const TOTAL_LIMIT: usize = 3_000_000;

/// The macros of a collection, parsed.
pub(in crate::load) struct Macros<'a> {
    collection: &'a Collection,
    /// Trees by name; macros that do not parse are absent.
    trees: HashMap<&'a str, Expr>,
    broken: HashSet<&'a str>,
    used: RefCell<HashSet<&'a str>>,
    /// Nodes of all expansions so far.
    total: Cell<usize>,
}

/// One expansion under way.
struct Expansion<'m, 'a> {
    macros: &'m Macros<'a>,
    stack: Vec<&'a str>,
    nodes: usize,
    findings: Vec<Diagnostic>,
}

impl<'a> Macros<'a> {
    /// Parses all macros and checks the names they use.
    pub(in crate::load) fn new(collection: &'a Collection, lists: &Lists<'a>) -> (Self, Vec<Diagnostic>) {
        let mut findings = Vec::new();
        let mut macros = Self {
            collection,
            trees: HashMap::new(),
            broken: HashSet::new(),
            used: RefCell::new(HashSet::new()),
            total: Cell::new(0),
        };
        for entry in collection.macros.iter() {
            match parse(&entry.condition, lists, entry.span) {
                Ok(tree) => {
                    macros.trees.insert(&entry.name, tree);
                }
                Err(finding) => {
                    macros.broken.insert(&entry.name);
                    findings.push(finding.item("macro", &entry.name));
                }
            }
        }
        for entry in collection.macros.iter() {
            let Some(tree) = macros.trees.get(entry.name.as_str()) else { continue };
            let mut expansion =
                Expansion { macros: &macros, stack: vec![&entry.name], nodes: 0, findings: Vec::new() };
            let whole = expansion.expand(tree, entry.visible, 0).is_some();
            let named = |finding: Diagnostic| finding.item("macro", &entry.name);
            findings.extend(expansion.findings.into_iter().map(named));
            if !whole {
                // Reported once; whatever uses it fails at once instead of growing as far again.
                macros.broken.insert(&entry.name);
            }
        }
        (macros, findings)
    }

    /// Parses a rule's condition and puts the macros in. `place` is where an empty one stands. The error holds at least one finding, unless everything
    /// that is wrong was already reported about a macro.
    pub(in crate::load) fn condition(
        &self,
        text: &Mapped,
        lists: &Lists<'a>,
        place: Span,
    ) -> Result<Expr, Vec<Diagnostic>> {
        let tree = parse(text, lists, place).map_err(|finding| vec![finding])?;
        let mut expansion = Expansion { macros: self, stack: Vec::new(), nodes: 0, findings: Vec::new() };
        // A rule sees every macro of the collection.
        expansion.expand(&tree, usize::MAX, 0).ok_or(expansion.findings)
    }

    /// Macros nothing refers to.
    pub(in crate::load) fn unused(&self) -> impl Iterator<Item = &'a Macro> {
        let used = self.used.borrow().clone();
        self.collection.macros.iter().filter(move |entry| !used.contains(entry.name.as_str()))
    }
}

impl Expansion<'_, '_> {
    /// A copy of `expr` with the macros put in; `None` when a finding was made or a macro is broken.
    fn expand(&mut self, expr: &Expr, visible: usize, depth: usize) -> Option<Expr> {
        self.nodes += 1;
        let total = self.macros.total.get() + 1;
        self.macros.total.set(total);
        if self.nodes > NODE_LIMIT {
            self.report_once(code::TOO_LARGE, "condition grows too large with its macros", expr);
            return None;
        }
        if total > TOTAL_LIMIT {
            self.report_once(
                code::TOO_LARGE,
                "all conditions together grow too large with their macros",
                expr,
            );
            return None;
        }
        if depth > TREE_DEPTH {
            self.report_once(code::TOO_DEEP, "condition is nested too deeply with its macros", expr);
            return None;
        }
        let all = |this: &mut Self, parts: &[Expr]| {
            let mut expanded = Vec::with_capacity(parts.len());
            let mut complete = true;
            for part in parts {
                match this.expand(part, visible, depth + 1) {
                    Some(part) => expanded.push(part),
                    None if this.nodes > NODE_LIMIT || this.macros.total.get() > TOTAL_LIMIT => return None,
                    None => complete = false,
                }
            }
            complete.then_some(expanded)
        };
        match expr {
            Expr::And(parts) => all(self, parts).map(Expr::And),
            Expr::Or(parts) => all(self, parts).map(Expr::Or),
            Expr::Not(inner) => {
                self.expand(inner, visible, depth + 1).map(|inner| Expr::Not(Box::new(inner)))
            }
            Expr::Check(_) => Some(expr.clone()),
            Expr::Macro(name) => self.enter(name, visible, depth),
        }
    }

    fn enter(&mut self, name: &Name, visible: usize, depth: usize) -> Option<Expr> {
        let macros = self.macros;
        let Some(entry) = macros.collection.macros.get(&name.text).filter(|entry| entry.defined < visible)
        else {
            self.findings.push(self.undefined(name));
            return None;
        };
        macros.used.borrow_mut().insert(&entry.name);
        if self.stack.contains(&entry.name.as_str()) {
            let path: Vec<&str> =
                self.stack.iter().copied().skip_while(|known| *known != entry.name).collect();
            let message = format!("macro `{}` refers to itself: {} -> {0}", entry.name, path.join(" -> "));
            self.findings.push(Diagnostic::new(code::MACRO_LOOP, message).at(name.span));
            return None;
        }
        if macros.broken.contains(entry.name.as_str()) {
            return None;
        }
        if self.stack.len() > MACRO_DEPTH {
            let message = "macros are nested too deeply in each other";
            self.findings.push(Diagnostic::new(code::TOO_DEEP, message).at(name.span));
            return None;
        }
        let tree = macros.trees.get(entry.name.as_str())?;
        self.stack.push(&entry.name);
        let expanded = self.expand(tree, entry.visible, depth + 1);
        self.stack.pop();
        expanded
    }

    fn undefined(&self, name: &Name) -> Diagnostic {
        let macros = &self.macros.collection.macros;
        let finding =
            Diagnostic::new(code::UNDEFINED_MACRO, format!("undefined macro `{}`", name.text)).at(name.span);
        match macros.get(&name.text) {
            Some(itself) if self.stack.last() == Some(&itself.name.as_str()) => finding
                .label(itself.span, "this is its own definition")
                .help("a macro cannot refer to itself, only to macros defined before it"),
            Some(later) => finding
                .label(later.span, "defined here, behind its use")
                .help("a macro only sees macros defined before it"),
            None if self.macros.collection.lists.get(&name.text).is_some() => {
                finding.help("this is a list; a list needs an operator such as `in`")
            }
            None if self.macros.collection.may_compare() => finding.did_you_mean(&name.text, macros.names()),
            None => finding,
        }
    }

    fn report_once(&mut self, code: crate::diagnostic::Code, message: &str, expr: &Expr) {
        if !self.findings.iter().any(|finding| finding.code == code) {
            self.findings.push(Diagnostic::new(code, message).at(expr.span()));
        }
    }
}

fn parse(text: &Mapped, lists: &Lists<'_>, place: Span) -> Result<Expr, Diagnostic> {
    let pasted = lists.paste(text).map_err(|too_large| {
        Diagnostic::new(code::TOO_LARGE, "condition grows too large with its lists").at(too_large.0)
    })?;
    condition::parse(&pasted, PARSE_DEPTH).map_err(|error| {
        let SyntaxError { message, range, help, too_deep } = error;
        let code = if too_deep { code::TOO_DEEP } else { code::SYNTAX };
        let span = if pasted.text().is_empty() { place } else { pasted.span(range) };
        let finding = Diagnostic::new(code, message).at(span);
        if let Some(list) = lists.standing_at(text, span) {
            let help = format!("`{0}` is a list; compare with it, as in `proc.name in ({0})`", list.name);
            return finding.label(list.span, "its items are put in where its name stands").help(help);
        }
        match help {
            Some(help) => finding.help(help),
            None => finding,
        }
    })
}
