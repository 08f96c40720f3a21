//! The limiter's tables in userspace: what a packet would get, and why.
//!
//! Runs the very pipeline of the kernel over the same tables, with state and a clock of its own. It changes nothing on
//! the node. Tests compare it with the kernel packet by packet.

use std::{
    cell::{Cell as Value, RefCell},
    collections::BTreeMap,
    rc::Rc,
};

use rampart_common::limit::{
    abi::{
        Config, Control, Entry, EntryKey, GRANTS, Grant, POLICIES, Policy, Rule, RuleKey, Service, ServiceKey,
    },
    gcra::Cell,
    packet::{Address, Packet, parse},
    pipeline::{Judgement, Known, Place, World, judge},
};

use crate::kernel::limiter::Tables;

/// Tables of one generation with their state.
pub struct Twin {
    tables: Tables,
    services: BTreeMap<ServiceKey, Service>,
    addresses: BTreeMap<RuleKey, Rule>,
    control: Control,
    now: Value<u64>,
    entries: RefCell<BTreeMap<EntryKey, KnownKey>>,
    cells: RefCell<BTreeMap<u32, Word>>,
    budget: Word,
    flows: RefCell<BTreeMap<u64, u64>>,
}

/// A word of state.
#[derive(Clone, Debug, Default)]
pub struct Word(Rc<Value<u64>>);

/// A known key.
#[derive(Clone, Debug)]
pub struct KnownKey(Rc<Value<Entry>>);

/// The only generation of a twin; its slot is that of odd ones.
pub(super) const GENERATION: u32 = 1;

impl Twin {
    /// A twin of tables that nobody has used yet, at a time of the boot clock.
    pub fn new(tables: Tables, control: Control, now_ns: u64) -> Self {
        // The pipeline asks with its own slot; tables have none before they are written.
        let slot = GENERATION as u8;
        let services = tables.services.iter().map(|(key, service)| (ServiceKey { slot, ..*key }, *service));
        let addresses = tables.addresses.iter().map(|(key, rule)| (RuleKey { slot, ..*key }, *rule));
        Self {
            services: services.collect(),
            addresses: addresses.collect(),
            control,
            now: Value::new(now_ns),
            entries: RefCell::default(),
            cells: RefCell::default(),
            budget: Word::default(),
            flows: RefCell::default(),
            tables,
        }
    }

    /// Sets the clock.
    pub fn set_now(&self, now_ns: u64) {
        self.now.set(now_ns);
    }

    /// Parses and judges a frame that begins with an Ethernet header.
    pub fn judge_frame(&self, frame: &[u8], place: &Place, is_loopback: bool) -> (Packet, Judgement) {
        let packet = parse(frame, is_loopback);
        (packet, self.judge(&packet, place))
    }

    /// Judges a packet.
    pub fn judge(&self, packet: &Packet, place: &Place) -> Judgement {
        judge(self, packet, place)
    }

    /// Forgets all state: nobody has used anything.
    pub fn forget(&self) {
        self.entries.borrow_mut().clear();
        self.cells.borrow_mut().clear();
        self.flows.borrow_mut().clear();
        self.budget.0.set(0);
    }

    /// Gives a key the state that another table has of it.
    pub fn set_known(&self, key: EntryKey, entry: Entry) {
        self.entries.borrow_mut().insert(key, KnownKey(Rc::new(Value::new(entry))));
    }

    /// State of a key.
    pub fn known(&self, key: &EntryKey) -> Option<Entry> {
        self.entries.borrow().get(key).map(|known| known.0.get())
    }

    /// Keys that are known.
    pub fn keys(&self) -> Vec<EntryKey> {
        self.entries.borrow().keys().copied().collect()
    }
}

impl Cell for Word {
    fn load(&self) -> u64 {
        self.0.get()
    }

    fn exchange(&self, old: u64, new: u64) -> bool {
        let same = self.0.get() == old;
        if same {
            self.0.set(new);
        }
        same
    }
}

impl Cell for KnownKey {
    fn load(&self) -> u64 {
        self.0.get().tat
    }

    fn exchange(&self, old: u64, new: u64) -> bool {
        let entry = self.0.get();
        if entry.tat == old {
            self.0.set(Entry { tat: new, ..entry });
        }
        entry.tat == old
    }
}

impl Known for KnownKey {
    fn terms(&self) -> (u32, u16, u16) {
        let entry = self.0.get();
        (entry.generation, entry.policy, entry.grant)
    }

    fn set_terms(&self, generation: u32, policy: u16, grant: u16) {
        self.0.set(Entry { generation, policy, grant, ..self.0.get() });
    }

    fn count_used(&self, units: u32) {
        let entry = self.0.get();
        self.0.set(Entry { used: entry.used + u64::from(units), ..entry });
    }

    fn count_over(&self) {
        let entry = self.0.get();
        self.0.set(Entry { over: entry.over.wrapping_add(1), ..entry });
    }
}

impl World for Twin {
    type Cell = Word;
    type Known = KnownKey;

    fn generation(&self) -> u32 {
        GENERATION
    }

    fn config(&self, _slot: u32) -> Option<&Config> {
        Some(&self.tables.config)
    }

    fn control(&self) -> Option<&Control> {
        Some(&self.control)
    }

    fn policy(&self, index: u32) -> Option<&Policy> {
        self.tables.policies.get((index % POLICIES) as usize)
    }

    fn grant(&self, index: u32) -> Option<&Grant> {
        self.tables.grants.get((index % GRANTS) as usize)
    }

    fn service(&self, key: &ServiceKey) -> Option<Service> {
        self.services.get(key).copied()
    }

    fn address_rule(&self, key: &RuleKey) -> Option<Rule> {
        self.addresses.get(key).copied()
    }

    fn prefix_rule(&self, key: &RuleKey) -> Option<Rule> {
        let source = Address::of_words(key.address);
        let holds = |bits: u32, prefix: &RuleKey| {
            prefix.service == key.service
                && Address::of_words(prefix.address).masked(bits) == source.masked(bits)
        };
        let found = self.tables.prefixes.iter().filter(|(bits, prefix, _)| holds(*bits, prefix));
        found.max_by_key(|(bits, ..)| *bits).map(|(.., rule)| *rule)
    }

    fn entry(&self, key: &EntryKey) -> Option<KnownKey> {
        self.entries.borrow().get(key).cloned()
    }

    fn add_entry(&self, key: &EntryKey, entry: &Entry) -> bool {
        let mut entries = self.entries.borrow_mut();
        let absent = !entries.contains_key(key);
        if absent {
            entries.insert(*key, KnownKey(Rc::new(Value::new(*entry))));
        }
        absent
    }

    fn cell(&self, index: u32) -> Option<Word> {
        Some(self.cells.borrow_mut().entry(index).or_default().clone())
    }

    fn budget(&self) -> Option<Word> {
        Some(self.budget.clone())
    }

    fn flow(&self, hash: u64) -> Option<u64> {
        self.flows.borrow().get(&hash).copied()
    }

    fn set_flow(&self, hash: u64, now: u64) {
        self.flows.borrow_mut().insert(hash, now);
    }

    fn now(&self) -> u64 {
        self.now.get()
    }
}
