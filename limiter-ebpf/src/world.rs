//! The pipeline's tables, state and clock, as maps.

use aya_ebpf::{helpers::generated::bpf_ktime_get_boot_ns, maps::lpm_trie::Key};
use rampart_common::limit::{
    abi::{
        Config, Control, Entry, EntryKey, Grant, Policy, RULE_KEY_BITS, Rule, RuleKey, Service, ServiceKey,
    },
    gcra::Cell,
    pipeline::{Known, Seen, World},
};

use crate::{
    maps::{
        L_ADDRESSES, L_CELLS, L_CONFIG, L_CONTROL, L_ENTRIES, L_FLOWS, L_GENERATION, L_GRANTS, L_LOCAL,
        L_MEMOS, L_POLICIES, L_PREFIXES, L_SERVICES,
    },
    word::{Own, Shared},
};

/// `BPF_NOEXIST`.
const NO_EXIST: u64 = 1;

/// Memos of a CPU, a power of two: half of them for each direction.
pub(crate) const MEMOS: u32 = 32;

/// The service of a port, as long as its generation is in force: a look that needs no hash.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Memo {
    seen: Seen,
    service: Service,
}

/// Where the memo of such packets lies.
#[inline(always)]
fn place(seen: &Seen) -> u32 {
    ((seen.flow >> 16) << 1 | seen.flow & 1) & (MEMOS - 1)
}

/// The maps.
pub(crate) struct Maps;

/// A word of the gate or of this CPU.
#[derive(Clone, Copy)]
pub(crate) enum Word {
    Shared(Shared),
    Own(Own),
}

/// A known key.
#[derive(Clone, Copy)]
pub(crate) struct KnownKey(*mut Entry);

impl Cell for Word {
    #[inline(always)]
    fn load(&self) -> u64 {
        match self {
            Self::Shared(word) => word.load(),
            Self::Own(word) => word.load(),
        }
    }

    #[inline(always)]
    fn exchange(&self, old: u64, new: u64) -> bool {
        match self {
            Self::Shared(word) => word.exchange(old, new),
            Self::Own(word) => word.exchange(old, new),
        }
    }
}

impl KnownKey {
    #[inline(always)]
    fn tat(&self) -> Shared {
        // SAFETY: a member of a map value.
        Shared(unsafe { &raw mut (*self.0).tat })
    }
}

impl Cell for KnownKey {
    #[inline(always)]
    fn load(&self) -> u64 {
        self.tat().load()
    }

    #[inline(always)]
    fn exchange(&self, old: u64, new: u64) -> bool {
        self.tat().exchange(old, new)
    }
}

impl Known for KnownKey {
    #[inline(always)]
    fn terms(&self) -> (u32, u16, u16) {
        // SAFETY: a map value. Another CPU may be writing the terms of the same generation, which are the same.
        let entry = unsafe { &*self.0 };
        (entry.generation, entry.policy, entry.grant)
    }

    #[inline(always)]
    fn set_terms(&self, generation: u32, policy: u16, grant: u16) {
        // SAFETY: a map value. The generation is written last, so that it never vouches for older terms.
        let entry = unsafe { &mut *self.0 };
        entry.policy = policy;
        entry.grant = grant;
        // SAFETY: a member of the same value.
        unsafe { (&raw mut entry.generation).write_volatile(generation) };
    }

    #[inline(always)]
    fn count_used(&self, units: u32) {
        // SAFETY: a member of a map value.
        Shared(unsafe { &raw mut (*self.0).used }).add(u64::from(units));
    }

    #[inline(always)]
    fn count_over(&self) {
        // SAFETY: a map value; an addition that is lost to another CPU's is accepted, see the member.
        let entry = unsafe { &mut *self.0 };
        entry.over = entry.over.wrapping_add(1);
    }
}

impl World for Maps {
    type Cell = Word;
    type Known = KnownKey;

    #[inline(always)]
    fn generation(&self) -> u32 {
        // SAFETY: a map value, read whole and only here.
        L_GENERATION.get(0).map_or(0, |generation| unsafe { core::ptr::from_ref(generation).read_volatile() })
    }

    #[inline(always)]
    fn config(&self, slot: u32) -> Option<&Config> {
        L_CONFIG.get(slot)
    }

    #[inline(always)]
    fn control(&self) -> Option<&Control> {
        L_CONTROL.get(0)
    }

    #[inline(always)]
    fn policy(&self, index: u32) -> Option<&Policy> {
        L_POLICIES.get(index)
    }

    #[inline(always)]
    fn grant(&self, index: u32) -> Option<&Grant> {
        L_GRANTS.get(index)
    }

    #[inline(always)]
    fn service(&self, key: &ServiceKey) -> Option<Service> {
        // SAFETY: a map value; services of a slot change only while the other is in force.
        unsafe { L_SERVICES.get(key) }.copied()
    }

    #[inline(always)]
    fn remembered(&self, seen: &Seen) -> Option<Service> {
        let memo = L_MEMOS.get_ptr_mut(place(seen))?;
        // SAFETY: this CPU's map value; programs of one direction do not interrupt each other.
        let memo = unsafe { &*memo };
        (memo.seen.flow == seen.flow
            && memo.seen.interface == seen.interface
            && memo.seen.generation == seen.generation)
            .then_some(memo.service)
    }

    #[inline(always)]
    fn remember(&self, seen: &Seen, service: Service) {
        if let Some(memo) = L_MEMOS.get_ptr_mut(place(seen)) {
            // SAFETY: as above.
            unsafe { *memo = Memo { seen: *seen, service } };
        }
    }

    #[inline(always)]
    fn address_rule(&self, key: &RuleKey) -> Option<Rule> {
        // SAFETY: as above.
        unsafe { L_ADDRESSES.get(key) }.copied()
    }

    #[inline(always)]
    fn prefix_rule(&self, key: &RuleKey) -> Option<Rule> {
        L_PREFIXES.get(Key::new(RULE_KEY_BITS + 128, *key)).copied()
    }

    #[inline(always)]
    fn entry(&self, key: &EntryKey) -> Option<KnownKey> {
        L_ENTRIES.get_ptr_mut(key).map(KnownKey)
    }

    #[inline(always)]
    fn add_entry(&self, key: &EntryKey, entry: &Entry) -> bool {
        L_ENTRIES.insert(key, entry, NO_EXIST).is_ok()
    }

    #[inline(always)]
    fn cell(&self, index: u32) -> Option<Word> {
        L_CELLS.get_ptr_mut(index).map(|word| Word::Shared(Shared(word)))
    }

    #[inline(always)]
    fn budget(&self) -> Option<Word> {
        let local = L_LOCAL.get_ptr_mut(0)?;
        // SAFETY: a member of this CPU's map value.
        Some(Word::Own(Own(unsafe { &raw mut (*local).budget_tat })))
    }

    #[inline(always)]
    fn flow(&self, hash: u64) -> Option<u64> {
        // SAFETY: a map value, read whole.
        unsafe { L_FLOWS.get(hash) }.copied()
    }

    #[inline(always)]
    fn set_flow(&self, hash: u64, now: u64) {
        // A flow that cannot be remembered is charged again, which is what the limit is for.
        let _ = L_FLOWS.insert(hash, now, 0);
    }

    #[inline(always)]
    fn now(&self) -> u64 {
        // SAFETY: no arguments.
        unsafe { bpf_ktime_get_boot_ns() }
    }
}
