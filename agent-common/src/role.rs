//! Which side opened a TCP connection, remembered by its socket for as long as it lasts.
//!
//! A table of sets: a socket's address says which set, and one of its eight places holds the address with the role in the
//! low bits, which addresses do not need. A connection costs one cache line instead of an insertion and a removal. Every
//! connection comes by here when it begins, so what was left behind at an address is replaced when the address is used again.

#![expect(clippy::inline_always, reason = "kernel programs are made of it: a call is not free there")]

/// Sets of the table; a power of two.
pub const SETS: u32 = 4096;
/// Places of a set, a cache line.
pub const WAYS: usize = 8;
/// Bits that hold the role.
const ROLE: u64 = 3;
/// Bits of a set's number.
const SET_BITS: u32 = SETS.ilog2();

/// A set. A place is written whole; of two connections that begin at once in one set, one may be lost.
pub type Set = [u64; WAYS];

/// The set of a socket. Sockets lie at least a cache line apart.
#[inline(always)]
pub const fn set_of(sk: u64) -> u32 {
    ((sk >> 6).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - SET_BITS)) as u32
}

/// What a place holds for a socket.
#[inline(always)]
pub const fn entry(sk: u64, role: u8) -> u64 {
    sk & !ROLE | role as u64 & ROLE
}

/// Role of a socket; 0 when it is not there. Without a branch, which programs that are large already would pay for.
#[inline(always)]
pub fn role_of(place: impl Fn(usize) -> u64, sk: u64) -> u8 {
    let mut role = 0;
    for way in 0..WAYS {
        let differs = place(way) ^ sk;
        let is_it = (differs >> 2).wrapping_sub(1) >> 63;
        role |= differs & ROLE & 0_u64.wrapping_sub(is_it);
    }
    role as u8
}

/// Where a socket goes: where it is, else where nothing is, else a place of another, whose ports must do then.
#[inline(always)]
pub fn place_for(place: impl Fn(usize) -> u64, sk: u64) -> usize {
    place_of(&place, sk)
        .or_else(|| (0..WAYS).find(|way| place(*way) == 0))
        .unwrap_or((sk >> 10) as usize % WAYS)
}

/// Where a socket is.
#[inline(always)]
pub fn place_of(place: impl Fn(usize) -> u64, sk: u64) -> Option<usize> {
    (0..WAYS).find(|way| (place(*way) ^ sk) >> 2 == 0)
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::{vec, vec::Vec};

    use super::*;
    use crate::event::{ROLE_CLIENT, ROLE_SERVER, ROLE_UNKNOWN};

    /// Addresses of one set.
    fn neighbours(count: usize) -> Vec<u64> {
        let first = 0xffff_8880_0000_0000_u64;
        let wanted = set_of(first);
        (0..).map(|step| first + step * 64).filter(|sk| set_of(*sk) == wanted).take(count).collect()
    }

    #[test]
    fn a_set_holds_eight_and_the_ninth_takes_a_place() {
        let mut set = Set::default();
        let sockets = neighbours(WAYS + 1);
        for (at, sk) in sockets.iter().enumerate() {
            let role = if at % 2 == 0 { ROLE_CLIENT } else { ROLE_SERVER };
            let place = place_for(|way| set[way], *sk);
            set[place] = entry(*sk, role);
            assert_eq!(role_of(|way| set[way], *sk), role);
        }
        let known = sockets.iter().filter(|sk| role_of(|way| set[way], **sk) != ROLE_UNKNOWN).count();
        assert_eq!(known, WAYS);
    }

    #[test]
    fn what_ends_makes_room_and_what_begins_again_replaces() {
        let mut set = Set::default();
        let sockets = neighbours(3);
        for sk in &sockets {
            set[place_for(|way| set[way], *sk)] = entry(*sk, ROLE_CLIENT);
        }
        set[place_of(|way| set[way], sockets[0]).unwrap()] = 0;
        assert_eq!(role_of(|way| set[way], sockets[0]), ROLE_UNKNOWN);
        assert_eq!(place_of(|way| set[way], sockets[0]), None);
        let place = place_for(|way| set[way], sockets[1]);
        set[place] = entry(sockets[1], ROLE_SERVER);
        assert_eq!(role_of(|way| set[way], sockets[1]), ROLE_SERVER);
        assert_eq!(set.iter().filter(|place| **place != 0).count(), 2);
    }

    #[test]
    fn sets_are_used_evenly() {
        let mut counts = vec![0_u32; SETS as usize];
        // Slabs of TCP sockets: objects of 2,432 bytes, thirteen in 32 KiB.
        for slab in 0..2048_u64 {
            for object in 0..13 {
                let sk = 0xffff_8881_0000_0000 + slab * 32768 + object * 2432;
                counts[set_of(sk) as usize] += 1;
            }
        }
        let over: u32 = counts.iter().map(|count| count.saturating_sub(WAYS as u32)).sum();
        assert!(over < 2048 * 13 / 20, "{over} of {} have no place", 2048 * 13);
    }
}
