//! Putting tables in force: the idle slot is written, then the generation.

use std::{thread, time::Duration};

use aya::maps::{HashMap, LpmTrie, MapData, lpm_trie::Key};
use rampart_common::limit::{
    abi::{
        self, Config, GRANTS, Grant, POLICIES, PUBLISH_GAP_NS, Policy, RULE_KEY_BITS, Rule, RuleKey, Service,
        ServiceKey,
    },
    wire,
};

use super::{Limiter, LimiterError, collect, map};

/// Tables of one generation. Slots in keys are set when they are written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tables {
    /// Settings.
    pub config: Config,
    /// Policies, from number 0 on, which stays empty.
    pub policies: Vec<Policy>,
    /// Grants, from number 0 on, which stays empty.
    pub grants: Vec<Grant>,
    /// Services.
    pub services: Vec<(ServiceKey, Service)>,
    /// Rules of single addresses.
    pub addresses: Vec<(RuleKey, Rule)>,
    /// Rules of prefixes, with the bits of the address that count (IPv4 in the mapped form).
    pub prefixes: Vec<(u32, RuleKey, Rule)>,
}

/// Keys of a slot.
#[derive(Debug, Default)]
pub(super) struct Written {
    services: Vec<[u8; size_of::<ServiceKey>()]>,
    addresses: Vec<[u8; size_of::<RuleKey>()]>,
    prefixes: Vec<(u32, [u8; size_of::<RuleKey>()])>,
}

type Services<'a> = HashMap<&'a mut MapData, [u8; size_of::<ServiceKey>()], [u8; size_of::<Service>()]>;
type Addresses<'a> = HashMap<&'a mut MapData, [u8; size_of::<RuleKey>()], [u8; size_of::<Rule>()]>;
type Prefixes<'a> = LpmTrie<&'a mut MapData, [u8; size_of::<RuleKey>()], [u8; size_of::<Rule>()]>;

impl Limiter {
    /// Puts tables in force. On an error the tables before stay in force.
    pub fn publish(&mut self, tables: &Tables) -> Result<u32, LimiterError> {
        let now = self.generation()?;
        // 0 means off, and the parity must change.
        let next = if now >= u32::MAX - 1 { 1 + (now & 1 ^ 1) } else { now + 1 };
        let slot = (next & 1) as u8;
        // Whoever published before this may have done so just now, and a program may still read what it replaced.
        thread::sleep(Duration::from_nanos(PUBLISH_GAP_NS));
        self.clear(slot)?;
        self.fill(slot, tables)?;
        self.set_generation(next)?;
        Ok(next)
    }

    /// Switches the limiter off: everything passes.
    pub fn switch_off(&mut self) -> Result<(), LimiterError> {
        self.set_generation(0)
    }

    fn set_generation(&mut self, generation: u32) -> Result<(), LimiterError> {
        self.array_mut::<u32>(abi::MAP_GENERATION)?.set(0, generation, 0).map_err(map(abi::MAP_GENERATION))
    }

    fn fill(&mut self, slot: u8, tables: &Tables) -> Result<(), LimiterError> {
        let base = u32::from(slot);
        let image: [u8; size_of::<Config>()] = wire::bytes(&tables.config);
        self.array_mut::<[u8; size_of::<Config>()]>(abi::MAP_CONFIG)?
            .set(base, image, 0)
            .map_err(map(abi::MAP_CONFIG))?;
        let mut policies = self.array_mut::<[u8; size_of::<Policy>()]>(abi::MAP_POLICIES)?;
        for number in 0..POLICIES {
            let policy = tables.policies.get(number as usize).copied().unwrap_or_default();
            policies
                .set(base * POLICIES + number, wire::bytes(&policy), 0)
                .map_err(map(abi::MAP_POLICIES))?;
        }
        let mut grants = self.array_mut::<[u8; size_of::<Grant>()]>(abi::MAP_GRANTS)?;
        for number in 0..GRANTS {
            let grant = tables.grants.get(number as usize).copied().unwrap_or_default();
            grants.set(base * GRANTS + number, wire::bytes(&grant), 0).map_err(map(abi::MAP_GRANTS))?;
        }
        let mut written = Written::default();
        let mut services: Services<'_> = self.services()?;
        for (key, service) in &tables.services {
            let key = wire::bytes(&ServiceKey { slot, ..*key });
            services
                .insert(key, wire::bytes::<{ size_of::<Service>() }, _>(service), 0)
                .map_err(map(abi::MAP_SERVICES))?;
            written.services.push(key);
        }
        let mut addresses: Addresses<'_> = self.addresses()?;
        for (key, rule) in &tables.addresses {
            let key = wire::bytes(&RuleKey { slot, ..*key });
            addresses
                .insert(key, wire::bytes::<{ size_of::<Rule>() }, _>(rule), 0)
                .map_err(map(abi::MAP_ADDRESSES))?;
            written.addresses.push(key);
        }
        let mut prefixes: Prefixes<'_> = self.prefixes()?;
        for (bits, key, rule) in &tables.prefixes {
            let (bits, key) = (RULE_KEY_BITS + bits, wire::bytes(&RuleKey { slot, ..*key }));
            prefixes
                .insert(&Key::new(bits, key), wire::bytes::<{ size_of::<Rule>() }, _>(rule), 0)
                .map_err(map(abi::MAP_PREFIXES))?;
            written.prefixes.push((bits, key));
        }
        if let Some(of) = self.written.get_mut(usize::from(slot)) {
            *of = written;
        }
        Ok(())
    }

    /// Takes everything out of a slot that is not in force.
    fn clear(&mut self, slot: u8) -> Result<(), LimiterError> {
        let Some(written) = self.written.get_mut(usize::from(slot)).map(std::mem::take) else {
            return Ok(());
        };
        let mut services = self.services()?;
        for key in written.services {
            let _ = services.remove(&key);
        }
        let mut addresses = self.addresses()?;
        for key in written.addresses {
            let _ = addresses.remove(&key);
        }
        let mut prefixes = self.prefixes()?;
        for (bits, key) in written.prefixes {
            let _ = prefixes.remove(&Key::new(bits, key));
        }
        Ok(())
    }

    /// Learns what an agent before wrote into maps that were taken over.
    pub(super) fn remember_written(&mut self) -> Result<(), LimiterError> {
        let services = collect(abi::MAP_SERVICES, &self.services()?)?;
        let addresses = collect(abi::MAP_ADDRESSES, &self.addresses()?)?;
        let mut prefixes = Vec::new();
        for key in self.prefixes()?.keys() {
            let key = key.map_err(map(abi::MAP_PREFIXES))?;
            prefixes.push((key.prefix_len(), key.data()));
        }
        for (slot, written) in (0_u8..).zip(&mut self.written) {
            let of_service =
                |key: &&[u8; size_of::<ServiceKey>()]| wire::value::<ServiceKey>(*key).slot == slot;
            let of_rule = |key: &[u8; size_of::<RuleKey>()]| wire::value::<RuleKey>(key).slot == slot;
            written.services = services.iter().filter(of_service).copied().collect();
            written.addresses = addresses.iter().filter(|key| of_rule(key)).copied().collect();
            written.prefixes = prefixes.iter().filter(|(_, key)| of_rule(key)).copied().collect();
        }
        Ok(())
    }

    fn services(&mut self) -> Result<Services<'_>, LimiterError> {
        let of = self.ebpf.map_mut(abi::MAP_SERVICES).ok_or(LimiterError::Missing(abi::MAP_SERVICES))?;
        HashMap::try_from(of).map_err(map(abi::MAP_SERVICES))
    }

    fn addresses(&mut self) -> Result<Addresses<'_>, LimiterError> {
        let of = self.ebpf.map_mut(abi::MAP_ADDRESSES).ok_or(LimiterError::Missing(abi::MAP_ADDRESSES))?;
        HashMap::try_from(of).map_err(map(abi::MAP_ADDRESSES))
    }

    fn prefixes(&mut self) -> Result<Prefixes<'_>, LimiterError> {
        let of = self.ebpf.map_mut(abi::MAP_PREFIXES).ok_or(LimiterError::Missing(abi::MAP_PREFIXES))?;
        LpmTrie::try_from(of).map_err(map(abi::MAP_PREFIXES))
    }
}
