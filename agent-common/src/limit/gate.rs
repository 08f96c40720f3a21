//! What stands before the table of known keys, so that nobody can flush it with invented sources.
//!
//! A source without an entry is charged to two hashed cells first, of its near prefix (/24, or /64 for IPv6) and its
//! far one (/16, /48). A cell is a GCRA word like any other, at a multiple of the policy's rate. The cells lie in a
//! flat array: their number is fixed, whatever is invented. Sources that share a cell by accident share its allowance.
//!
//! Where a prefix's cell lies follows from a seed, which changes now and then, so that nobody has the time to find out
//! who shares a cell with whom. For as long as a cell may hold a debt ([`is_carried`]) the cell of the seed before is
//! looked at too, and what it holds is carried over ([`carry`]): a change of the seed gives nobody a fresh burst.
//!
//! What passes the cells needs a place in the *new-entry budget* of its CPU to become an entry. Without one it is
//! judged by the cells alone, so a flood of new sources costs neither memory nor the entries of others.

#![expect(clippy::inline_always, reason = "kernel programs are made of it: a call is not free there")]

use super::{
    gcra::{Cell, Limit, ahead},
    packet::Address,
};

/// Cells, a power of two. 512 KiB: the largest array that costs a look-up no more than a small one.
pub const CELLS: u32 = 1 << 16;
/// A near prefix gets this many times the rate and burst of a single source, as a shift.
pub const NEAR_SHIFT: u32 = 2;
/// A far prefix gets this many times the rate and burst, as a shift.
pub const FAR_SHIFT: u32 = 6;
/// The same while entries come and go quickly: invented sources are spread over few far prefixes and many near ones, and
/// what they share must not be as much as the node can bear: what passes costs it several times what is rejected does.
pub const FAR_SHIFT_CHURNING: u32 = 3;

/// The two prefixes of a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prefixes {
    /// /24 or /64.
    pub near: Address,
    /// /16 or /48.
    pub far: Address,
}

/// The prefixes that a source is charged to.
#[inline(always)]
pub const fn prefixes(source: Address) -> Prefixes {
    if source.is_v4() {
        Prefixes { near: source.masked(96 + 24), far: source.masked(96 + 16) }
    } else {
        Prefixes { near: source.masked(64), far: source.masked(48) }
    }
}

/// The cell of a prefix under a policy. `far` keeps a /16 apart from the /24 that begins it.
#[inline(always)]
pub const fn cell(seed: u64, policy: u32, prefix: Address, far: bool) -> u32 {
    let salt = ((policy as u64) << 1) | far as u64;
    let hash = mix(mix(seed ^ prefix.hi).wrapping_add(prefix.lo) ^ salt);
    (hash >> 32) as u32 & (CELLS - 1)
}

/// Whether a cell of the seed before may still hold a debt: no debt of a cell is larger than the limit's burst.
#[inline(always)]
pub const fn is_carried(seeded_ns: u64, limit: &Limit, now: u64) -> bool {
    ahead(seeded_ns.wrapping_add(limit.tau_ns), now) > 0
}

/// Brings the debt of a cell of the seed before to the cell of this one. Whoever is quicker has done the same.
#[inline(always)]
pub fn carry<C: Cell>(cell: &C, before: u64, now: u64) {
    if ahead(before, now) == 0 {
        return;
    }
    let word = cell.load();
    if ahead(before, word) > 0 {
        cell.exchange(word, before);
    }
}

/// What a request of a single source costs a cell whose rate is `1 << shift` times as high.
#[inline(always)]
pub const fn cell_step(step_ns: u64, shift: u32) -> u64 {
    step_ns >> shift
}

/// How much more than a single source a far prefix gets now.
#[inline(always)]
pub const fn far_shift(churning: bool) -> u32 {
    if churning { FAR_SHIFT_CHURNING } else { FAR_SHIFT }
}

/// TAT of a new entry. Normally it has used only this request. While the budget is more than half spent, entries come
/// and go quickly, and a full burst for each return would undo the limit: then three quarters of the burst are used up
/// already.
#[inline(always)]
pub const fn first_tat(limit: &Limit, now: u64, step_ns: u64, churning: bool) -> u64 {
    let used = if churning { limit.tau_ns - (limit.tau_ns >> 2) } else { 0 };
    now.wrapping_add(used).wrapping_add(step_ns)
}

/// Whether more than half of the budget is spent.
#[inline(always)]
pub const fn is_churning(budget_tat: u64, now: u64, budget: &Limit) -> bool {
    ahead(budget_tat, now) > budget.tau_ns >> 1
}

/// Mixes all bits of a word (the finaliser of `MurmurHash3`).
#[inline(always)]
pub const fn mix(word: u64) -> u64 {
    let word = (word ^ (word >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    let word = (word ^ (word >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    word ^ (word >> 33)
}

#[cfg(test)]
mod tests;
