//! Sets of strings, a bit for each, and the table that searches for all of them.

use rampart_common::pushdown::{SIGNATURE_BITS, Signature};

use super::Text;
use crate::pushdown::automaton::{Strings, Table};

/// A bit for each set of strings. When there are more sets than bits, half of the bits are shared by those that come
/// late; bits about the path as given are not shared with others.
pub(super) fn share(texts: impl Iterator<Item = Text> + Clone) -> Vec<u8> {
    let verbatim = texts.clone().filter(|text| *text == Text::Verbatim).count();
    let total = texts.clone().count();
    // Bits for each kind: as many as it needs, or a share by number.
    let fits = total <= SIGNATURE_BITS;
    let for_verbatim = if fits { verbatim } else { verbatim.min((verbatim * SIGNATURE_BITS / total).max(1)) };
    let for_normal = (total - verbatim).min(SIGNATURE_BITS - for_verbatim);
    let bit = |number: usize, bits: usize| {
        let own = if number < bits / 2 || bits == 0 {
            number
        } else {
            bits / 2 + (number - bits / 2) % (bits - bits / 2)
        };
        own as u8
    };
    let (mut normals, mut verbatims) = (0, 0);
    texts
        .map(|text| match text {
            Text::Normal => {
                normals += 1;
                bit(normals - 1, for_normal)
            }
            Text::Verbatim => {
                verbatims += 1;
                for_normal as u8 + bit(verbatims - 1, for_verbatim)
            }
        })
        .collect()
}

/// Builds the table, with strings cut as short as it takes, and tells the length they are cut to.
pub(super) fn build(sets: &[(Text, Vec<Vec<u8>>)], bits: &[u8]) -> (Table, usize) {
    let mut limit = usize::MAX;
    loop {
        let mut strings = Strings::new();
        for (bit, string) in
            sets.iter().zip(bits).flat_map(|((_, all), bit)| all.iter().map(move |one| (bit, one)))
        {
            let kept = string.get(..limit.min(string.len())).unwrap_or(string);
            set(strings.entry(kept.to_vec()).or_default(), *bit);
        }
        match Table::new(&strings) {
            Ok(table) => return (table, limit),
            // Strings of one byte fit whatever their number.
            Err(_) => limit = if limit > 256 { 256 } else { (limit / 2).max(1) },
        }
    }
}

pub(super) fn set(signature: &mut Signature, bit: u8) {
    if let Some(word) = signature.get_mut(usize::from(bit) / 64) {
        *word |= 1 << (bit % 64);
    }
}
