//! Items by name, as they stand after all redefinitions, appends and overrides.

use std::{
    cell::Cell,
    collections::{BTreeSet, HashMap},
};

use super::{exception::Exception, version::Version, window};
use crate::{
    diagnostic::{Diagnostic, Severity, code},
    response::Responses,
    rule::Priority,
    source::{Mapped, Span},
};

/// Most names compared with all known ones.
const COMPARED_LIMIT: usize = 200;

/// All items of a load.
#[derive(Debug, Default)]
pub(super) struct Collection {
    pub(super) lists: Named<List>,
    pub(super) macros: Named<Macro>,
    pub(super) rules: Named<RuleDraft>,
    pub(super) plugins: Vec<PluginRequirement>,
    pub(super) redefined: Vec<Redefinition>,
    /// Counts definitions and appends; orders items for visibility.
    clock: usize,
    /// How many names were compared with all that are known.
    compared: Cell<usize>,
}

/// Items of one kind in definition order.
#[derive(Debug)]
pub(super) struct Named<T> {
    items: Vec<T>,
    index: HashMap<String, usize>,
}

/// A list.
#[derive(Debug)]
pub(super) struct List {
    pub(super) name: String,
    pub(super) items: Vec<Mapped>,
    pub(super) defined: usize,
    /// It sees what was defined before this.
    pub(super) visible: usize,
    pub(super) span: Span,
    /// The item it was last defined by.
    pub(super) whole: Span,
}

/// A macro.
#[derive(Debug)]
pub(super) struct Macro {
    pub(super) name: String,
    pub(super) condition: Mapped,
    pub(super) defined: usize,
    /// It sees what was defined before this.
    pub(super) visible: usize,
    pub(super) span: Span,
    /// The item it was last defined by.
    pub(super) whole: Span,
}

/// A rule.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "keys of a rule item, one for one")]
pub(super) struct RuleDraft {
    pub(super) name: String,
    pub(super) desc: String,
    pub(super) condition: Mapped,
    pub(super) output: Mapped,
    pub(super) priority: Priority,
    pub(super) source: String,
    pub(super) unknown_source: bool,
    pub(super) enabled: bool,
    pub(super) tags: BTreeSet<String>,
    pub(super) warn_evttypes: bool,
    pub(super) skip_if_unknown: bool,
    pub(super) exceptions: Vec<Exception>,
    pub(super) capture: bool,
    pub(super) capture_duration_ms: u64,
    pub(super) window: window::Draft,
    pub(super) responses: Option<Responses>,
    pub(super) span: Span,
}

/// One line of `required_plugin_versions`: any of these plugins will do.
#[derive(Debug)]
pub(super) struct PluginRequirement {
    pub(super) any_of: Vec<(String, Version)>,
    pub(super) span: Span,
}

/// A definition that replaced an earlier one as a whole.
#[derive(Debug)]
pub(super) struct Redefinition {
    kind: &'static str,
    name: String,
    old: Span,
    new: Span,
}

impl Redefinition {
    /// What to say of it. Replacing items of an earlier file is how rule files are adapted to a place; within one
    /// file the first definition is dead text.
    pub(super) fn finding(&self) -> Diagnostic {
        let Self { kind, name, old, new } = self;
        let severity = if old.source == new.source { Severity::Warning } else { Severity::Note };
        Diagnostic::new(code::REDEFINED, format!("{kind} `{}` is defined twice", name.escape_debug()))
            .severity(severity)
            .at(*new)
            .label(*old, "this definition is replaced")
            .help("remove one of the two, or change single keys with `override`")
            .item(kind, name)
    }
}

/// Where macros and lists are defined, for places found in them.
#[derive(Debug)]
pub(super) struct Definitions<'a> {
    /// Item, kind and name; sorted by item, which never overlap.
    items: Vec<(Span, &'static str, &'a str)>,
}

impl<'a> Definitions<'a> {
    /// The definition a place lies in.
    pub(super) fn around(&self, place: Span) -> Option<(&'static str, &'a str)> {
        let after = self.items.partition_point(|item| key(item.0) <= key(place));
        let &(whole, kind, name) = self.items.get(after.checked_sub(1)?)?;
        let inside = whole.source == place.source && place.end <= whole.end;
        inside.then_some((kind, name))
    }
}

fn key(span: Span) -> (u32, u32) {
    (span.source.0, span.start)
}

impl Collection {
    /// Where its macros and lists are defined.
    pub(super) fn definitions(&self) -> Definitions<'_> {
        let lists = self.lists.iter().map(|list| (list.whole, "list", list.name.as_str()));
        let macros = self.macros.iter().map(|entry| (entry.whole, "macro", entry.name.as_str()));
        let mut items: Vec<_> = lists.chain(macros).collect();
        items.sort_unstable_by_key(|item| key(item.0));
        Definitions { items }
    }

    /// Keeps in mind that a definition replaces one of the same name.
    pub(super) fn replaced(&mut self, kind: &'static str, name: &str, old: Span, new: Span) {
        self.redefined.push(Redefinition { kind, name: name.to_owned(), old, new });
    }

    /// Whether a name may still be compared with all known ones, to offer the nearest. Thousands of unknown names
    /// among thousands of known ones are no slips, and would take quadratic time.
    pub(super) fn may_compare(&self) -> bool {
        self.compared.set(self.compared.get().saturating_add(1));
        self.compared.get() <= COMPARED_LIMIT
    }

    /// The next point in definition order.
    pub(super) fn tick(&mut self) -> usize {
        self.clock += 1;
        self.clock
    }
}

impl<T> Default for Named<T> {
    fn default() -> Self {
        Self { items: Vec::new(), index: HashMap::new() }
    }
}

impl<T> Named<T> {
    /// In definition order; a redefinition keeps the place of the first.
    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.items.iter()
    }

    pub(super) fn get(&self, name: &str) -> Option<&T> {
        self.items.get(*self.index.get(name)?)
    }

    /// Place in definition order.
    pub(super) fn position(&self, name: &str) -> Option<usize> {
        self.index.get(name).copied()
    }

    pub(super) fn get_mut(&mut self, name: &str) -> Option<&mut T> {
        self.items.get_mut(*self.index.get(name)?)
    }

    /// Adds an item or replaces the one of that name.
    pub(super) fn set(&mut self, name: &str, item: T) {
        if let Some(old) = self.get_mut(name) {
            *old = item;
        } else {
            self.index.insert(name.to_owned(), self.items.len());
            self.items.push(item);
        }
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.index.keys().map(String::as_str)
    }
}
