//! Lists are text: a name between delimiters is replaced by the items, even inside quotes.
//!
//! A list pasted in may bring names of other lists; only those of lists behind it in definition order are
//! replaced in turn, which is what replacing list after list gives, and rules out loops.

use std::{cell::RefCell, collections::HashSet};

use crate::{
    condition::quote,
    load::collect::{Collection, List},
    set::Sets,
    source::{Mapped, Span},
};

/// Largest condition with its lists pasted in, bytes. The largest upstream one has 4 KiB.
const TEXT_LIMIT: usize = 4 << 20;

/// The lists of a collection, with the lists their own items name put in.
pub(in crate::load) struct Lists<'a> {
    collection: &'a Collection,
    /// Lists whose members are not pasted in: their names stay.
    sets: &'a Sets,
    /// Items of each list, in definition order.
    items: Vec<Vec<&'a Mapped>>,
    /// Positions of lists whose name holds delimiters; they are searched for as they are.
    odd: Vec<usize>,
    used: RefCell<HashSet<usize>>,
}

/// A condition that grows beyond all measure.
pub(in crate::load) struct TooLarge(pub(in crate::load) Span);

impl<'a> Lists<'a> {
    pub(in crate::load) fn new(collection: &'a Collection, sets: &'a Sets) -> Self {
        let mut used = HashSet::new();
        let mut items = Vec::new();
        let mut odd = Vec::new();
        for (position, list) in collection.lists.iter().enumerate() {
            let mut expanded: Vec<&Mapped> = Vec::new();
            for item in &list.items {
                // One level only, and only what was defined before.
                match collection.lists.get(item.text()) {
                    Some(inner) if inner.defined < list.visible => {
                        used.extend(collection.lists.position(&inner.name));
                        expanded.extend(&inner.items);
                        if sets.get(&inner.name).is_some() {
                            expanded.push(item);
                        }
                    }
                    _ => expanded.push(item),
                }
            }
            items.push(expanded);
            if list.name.bytes().any(is_delimiter) {
                odd.push(position);
            }
        }
        Self { collection, sets, items, odd, used: RefCell::new(used) }
    }

    /// Lists whose members are not pasted in.
    pub(in crate::load) fn sets(&self) -> &'a Sets {
        self.sets
    }

    /// Pastes all lists into a condition.
    pub(in crate::load) fn paste(&self, condition: &Mapped) -> Result<Mapped, TooLarge> {
        let mut out = Mapped::default();
        self.words(condition, 0, &mut out)?;
        for &position in &self.odd {
            out = self.paste_odd(position, out)?;
        }
        Ok(out)
    }

    /// The list whose name stands at a place of a condition.
    pub(in crate::load) fn standing_at(&self, condition: &Mapped, place: Span) -> Option<&'a List> {
        let text = condition.text();
        let mut at = 0;
        for word in text.split(|letter: char| letter.is_ascii() && is_delimiter(letter as u8)) {
            if !word.is_empty() && condition.span(at..at + word.len()) == place {
                return self.collection.lists.get(word);
            }
            at += word.len() + 1;
        }
        None
    }

    /// Lists nothing refers to.
    pub(in crate::load) fn unused(&self) -> impl Iterator<Item = &'a List> {
        let used = self.used.borrow().clone();
        let lists = self.collection.lists.iter().enumerate();
        lists.filter(move |(position, _)| !used.contains(position)).map(|(_, list)| list)
    }

    /// Copies a text, replacing names of lists from position `from` on.
    fn words(&self, text: &Mapped, from: usize, out: &mut Mapped) -> Result<(), TooLarge> {
        let bytes = text.text().as_bytes();
        let mut copied = 0;
        let mut at = 0;
        while at < bytes.len() {
            let word_end = bytes
                .iter()
                .skip(at)
                .position(|&byte| is_delimiter(byte))
                .map_or(bytes.len(), |length| at + length);
            let word = text.text().get(at..word_end).unwrap_or("");
            let list = self.collection.lists.position(word).filter(|&position| position >= from);
            if let Some(position) = list {
                out.push_range(text, copied..at);
                let span = text.span(at..word_end);
                copied = self.put(position, text, word_end, span, out)?;
            }
            at = word_end + 1;
            if out.text().len() > TEXT_LIMIT {
                return Err(TooLarge(text.span(0..text.text().len())));
            }
        }
        out.push_range(text, copied..bytes.len());
        Ok(())
    }

    /// Appends the items of a list that stood in `text` up to `end`; gives where copying goes on.
    fn put(
        &self,
        position: usize,
        text: &Mapped,
        end: usize,
        span: Span,
        out: &mut Mapped,
    ) -> Result<usize, TooLarge> {
        self.used.borrow_mut().insert(position);
        let empty = Vec::new();
        let items = self.items.get(position).unwrap_or(&empty);
        let name = self.collection.lists.iter().nth(position).map(|list| list.name.as_str());
        let set = name.filter(|name| self.sets.get(name).is_some());
        if items.is_empty() && set.is_none() {
            return Ok(drop_comma(text, end, out));
        }
        for (index, item) in items.iter().enumerate() {
            if index > 0 {
                out.push_fixed(", ", span);
            }
            self.words(item, position + 1, out)?;
            if out.text().len() > TEXT_LIMIT {
                return Err(TooLarge(span));
            }
        }
        if let Some(name) = set {
            if !items.is_empty() {
                out.push_fixed(", ", span);
            }
            out.push_fixed(name, span);
        }
        Ok(end)
    }

    /// Replaces a name with delimiters in it wherever it stands between delimiters.
    fn paste_odd(&self, position: usize, text: Mapped) -> Result<Mapped, TooLarge> {
        let Some(list) = self.collection.lists.iter().nth(position) else { return Ok(text) };
        let bytes = text.text().as_bytes();
        let (mut from, mut copied) = (0, 0);
        let mut out = Mapped::default();
        while let Some(found) = text.text().get(from..).and_then(|rest| rest.find(&list.name)) {
            let (start, end) = (from + found, from + found + list.name.len());
            let open = start == 0 || bytes.get(start - 1).is_some_and(|&byte| is_delimiter(byte));
            let close = bytes.get(end).is_none_or(|&byte| is_delimiter(byte));
            if open && close {
                out.push_range(&text, copied..start);
                copied = self.put(position, &text, end, text.span(start..end), &mut out)?;
                from = copied.max(end);
            } else {
                from = start + 1;
                while !text.text().is_char_boundary(from) {
                    from += 1;
                }
            }
        }
        if copied == 0 && from == 0 {
            return Ok(text);
        }
        out.push_range(&text, copied..bytes.len());
        Ok(out)
    }
}

/// An empty list takes the comma before it along, or else the one behind it.
fn drop_comma(text: &Mapped, end: usize, out: &mut Mapped) -> usize {
    let before = out.text().trim_end_matches(|last: char| last.is_ascii() && quote::is_blank(last as u8));
    if before.ends_with(',') {
        let keep = before.len() - 1;
        let mut shorter = Mapped::default();
        shorter.push_range(out, 0..keep);
        *out = shorter;
        return end;
    }
    let rest = text.text().get(end..).unwrap_or("");
    let blanks = rest.bytes().take_while(|&byte| quote::is_blank(byte)).count();
    if rest.as_bytes().get(blanks) == Some(&b',') { end + blanks + 1 } else { end }
}

fn is_delimiter(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | b'(' | b')' | b',' | b'=')
}
