//! Putting tables in force: the idle slot is written, then the generation.

use std::{thread, time::Duration};

use aya::maps::{Array, HashMap, MapData};
use rampart_common::service::{
    abi::{self, BACKENDS, Backend, PUBLISH_GAP_NS, SERVICES, SLOTS, Service, VipKey},
    wire,
};

use super::{Services, ServicesError, map};

pub(super) type VipImage = [u8; size_of::<VipKey>()];
type Vips<'a> = HashMap<&'a mut MapData, VipImage, u32>;

/// A service's table of slots.
pub type SlotTable = [u16; SLOTS];

/// Tables of one generation. Slots in keys are set when they are written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tables {
    /// Virtual addresses with the numbers of their services.
    pub vips: Vec<(VipKey, u32)>,
    /// Services with their tables of slots, by number.
    pub services: Vec<(u32, Service, SlotTable)>,
    /// Backends, by number.
    pub backends: Vec<(u32, Backend)>,
}

impl Services {
    /// Generation in force; 0 = off.
    pub fn generation(&self) -> Result<u32, ServicesError> {
        let name = abi::MAP_GENERATION;
        let of = self.ebpf.map(name).ok_or(ServicesError::Missing(name))?;
        let array: Array<&MapData, u32> = Array::try_from(of).map_err(map(name))?;
        array.get(&0, 0).map_err(map(name))
    }

    /// Puts tables in force. On an error the tables before stay in force.
    pub fn publish(&mut self, tables: &Tables) -> Result<u32, ServicesError> {
        let now = self.generation()?;
        // 0 means off, and the parity must change.
        let next = if now >= u32::MAX - 1 { 1 + (now & 1 ^ 1) } else { now + 1 };
        // Whoever published before this may have done so just now, and a program may still read what it replaced.
        thread::sleep(Duration::from_nanos(PUBLISH_GAP_NS));
        self.fill((next & 1) as u8, tables)?;
        self.set_generation(next)?;
        Ok(next)
    }

    /// Switches services off: nothing is given a backend any more. Sockets that have one keep it.
    pub fn switch_off(&mut self) -> Result<(), ServicesError> {
        self.set_generation(0)
    }

    fn set_generation(&mut self, generation: u32) -> Result<(), ServicesError> {
        let name = abi::MAP_GENERATION;
        let of = self.ebpf.map_mut(name).ok_or(ServicesError::Missing(name))?;
        let mut array: Array<&mut MapData, u32> = Array::try_from(of).map_err(map(name))?;
        array.set(0, generation, 0).map_err(map(name))
    }

    fn fill(&mut self, slot: u8, tables: &Tables) -> Result<(), ServicesError> {
        let base = u32::from(slot);
        let old = self.written.get_mut(usize::from(slot)).map(std::mem::take).unwrap_or_default();
        let mut vips = self.vips()?;
        for key in old {
            let _ = vips.remove(&key);
        }
        for number in 0..BACKENDS {
            let backend = tables.backends.iter().find(|(own, _)| *own == number).map(|(_, backend)| *backend);
            let backend = backend.unwrap_or_default();
            self.set::<{ size_of::<Backend>() }, _>(abi::MAP_BACKENDS, base * BACKENDS + number, &backend)?;
        }
        for number in 0..SERVICES {
            let own = tables.services.iter().find(|(own, ..)| *own == number);
            let (service, slots) =
                own.map_or((Service::default(), [0; SLOTS]), |(_, service, slots)| (*service, *slots));
            let index = base * SERVICES + number;
            self.set::<{ 2 * SLOTS }, _>(abi::MAP_SLOTS, index, &slots)?;
            self.set::<{ size_of::<Service>() }, _>(abi::MAP_SERVICES, index, &service)?;
        }
        let mut written = Vec::new();
        let mut vips = self.vips()?;
        for (key, service) in &tables.vips {
            let key = wire::bytes(&VipKey { slot, ..*key });
            vips.insert(key, service, 0).map_err(map(abi::MAP_VIPS))?;
            written.push(key);
        }
        if let Some(of) = self.written.get_mut(usize::from(slot)) {
            *of = written;
        }
        Ok(())
    }

    /// Learns what an agent before wrote into maps that were taken over.
    pub(super) fn remember_written(&mut self) -> Result<(), ServicesError> {
        let vips = self.vips()?;
        let keys: Vec<VipImage> = vips.keys().collect::<Result<_, _>>().map_err(map(abi::MAP_VIPS))?;
        for (slot, written) in (0_u8..).zip(&mut self.written) {
            *written = keys.iter().filter(|key| wire::value::<VipKey>(*key).slot == slot).copied().collect();
        }
        Ok(())
    }

    fn vips(&mut self) -> Result<Vips<'_>, ServicesError> {
        let of = self.ebpf.map_mut(abi::MAP_VIPS).ok_or(ServicesError::Missing(abi::MAP_VIPS))?;
        HashMap::try_from(of).map_err(map(abi::MAP_VIPS))
    }
}
