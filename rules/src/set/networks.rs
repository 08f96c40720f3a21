//! Many networks, and whether an address lies in one of them.

use std::{
    collections::HashSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use rustc_hash::FxBuildHasher;

/// Networks by their length: a look-up is one hash for each length in use.
#[derive(Clone, Default)]
pub(super) struct Networks {
    v4: Vec<(u8, HashSet<u32, FxBuildHasher>)>,
    v6: Vec<(u8, HashSet<u128, FxBuildHasher>)>,
}

impl Networks {
    pub(super) fn insert(&mut self, address: IpAddr, length: u8) {
        match address {
            IpAddr::V4(address) => {
                let length = length.min(32);
                of_length(&mut self.v4, length).insert(address.to_bits() & mask_v4(length));
            }
            IpAddr::V6(address) => {
                let length = length.min(128);
                of_length(&mut self.v6, length).insert(address.to_bits() & mask_v6(length));
            }
        }
    }

    pub(super) fn contain(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(address) => {
                let bits = address.to_bits();
                self.v4.iter().any(|(length, set)| set.contains(&(bits & mask_v4(*length))))
            }
            IpAddr::V6(address) => {
                let bits = address.to_bits();
                self.v6.iter().any(|(length, set)| set.contains(&(bits & mask_v6(*length))))
            }
        }
    }

    pub(super) fn len(&self) -> usize {
        let v4: usize = self.v4.iter().map(|(_, set)| set.len()).sum();
        v4 + self.v6.iter().map(|(_, set)| set.len()).sum::<usize>()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (IpAddr, u8)> {
        let v4 = self.v4.iter().flat_map(|(length, set)| {
            set.iter().map(|bits| (IpAddr::V4(Ipv4Addr::from_bits(*bits)), *length))
        });
        let v6 = self.v6.iter().flat_map(|(length, set)| {
            set.iter().map(|bits| (IpAddr::V6(Ipv6Addr::from_bits(*bits)), *length))
        });
        v4.chain(v6)
    }
}

/// The networks of a length; longer ones first, of which feeds have most.
fn of_length<T>(
    all: &mut Vec<(u8, HashSet<T, FxBuildHasher>)>,
    length: u8,
) -> &mut HashSet<T, FxBuildHasher> {
    let at = match all.binary_search_by(|(known, _)| length.cmp(known)) {
        Ok(at) => at,
        Err(at) => {
            all.insert(at, (length, HashSet::default()));
            at
        }
    };
    #[expect(clippy::indexing_slicing, reason = "it was found or put there just now")]
    &mut all[at].1
}

fn mask_v4(length: u8) -> u32 {
    u32::MAX.checked_shl(32 - u32::from(length)).unwrap_or(0)
}

fn mask_v6(length: u8) -> u128 {
    u128::MAX.checked_shl(128 - u32::from(length)).unwrap_or(0)
}
