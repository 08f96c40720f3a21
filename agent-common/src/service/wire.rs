//! The maps' values and keys as bytes, for userspace; see [`crate::limit::wire`].

use core::net::IpAddr;

use super::{
    abi::{
        Backend, Breaker, ClientKey, Connected, Control, Counts, Event, Service, Socket, Sticky, Tally,
        VipKey,
    },
    breaker::{Order, Policy},
};
use crate::limit::wire::{Wire, structures};
pub use crate::limit::wire::{bytes, value};

structures! {
    Policy {
        recovery_ns recovery_cap_ns probe_ns half_open_ns failure_threshold half_open_calls half_open_successes
        jitter seed pad
    }
    Order { mode pad reset trip }
    Control { heartbeat_ns instance probe_mark pad }
    VipKey { address port protocol slot }
    Service {
        policy sticky_ns exclude_ns slow_ns syn_timeout syn_retries algorithm flags count pad name_low members
        tier_start tier_size
    }
    Backend { name_hash address port service weight }
    Breaker { word tokens opened closed }
    Tally { outcomes slow latency_ns latencies }
    Counts { chosen probes panics refused empty passed }
    ClientKey { client service pad }
    Sticky { until_ns backend pad }
    Socket {
        epoch token begun_ns client vip vip_port service backend seen probe is_open is_named pad
    }
    Connected { address port backend pad }
    Event {
        time_ns word epoch client age_ns service backend error retransmits kind outcome from to pad
    }
}

/// An address as the maps have it: in memory order, IPv4 in the mapped form.
pub fn address(of: IpAddr) -> [u32; 4] {
    let octets = match of {
        IpAddr::V4(four) => four.to_ipv6_mapped().octets(),
        IpAddr::V6(six) => six.octets(),
    };
    let mut words = [0; 4];
    for (word, bytes) in words.iter_mut().zip(octets.as_chunks::<4>().0) {
        *word = u32::from_ne_bytes(*bytes);
    }
    words
}

/// The address of the maps as one; an IPv4 address in the mapped form is IPv4.
pub fn address_of(words: [u32; 4]) -> IpAddr {
    let mut octets = [0; 16];
    for (bytes, word) in octets.as_chunks_mut::<4>().0.iter_mut().zip(words) {
        *bytes = word.to_ne_bytes();
    }
    IpAddr::V6(octets.into()).to_canonical()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_structure_has_hidden_padding() {
        fn filled<T: Wire>() -> usize {
            let mut image = [0_u8; 1024];
            1024 - T::take(&[0xff; 1024]).0.put(&mut image).len()
        }
        macro_rules! check {
            ($($name:ident)*) => {$( assert_eq!(filled::<$name>(), size_of::<$name>(), stringify!($name)); )*};
        }
        check! { Policy Order Control VipKey Service Backend Breaker Tally Counts ClientKey Sticky Event Socket Connected }
    }

    #[test]
    fn addresses_are_what_programs_see() {
        let four: IpAddr = "10.1.2.3".parse().expect("an address");
        assert_eq!(address(four), [0, 0, 0xffff_u32.to_be(), u32::from_ne_bytes([10, 1, 2, 3])]);
        let six: IpAddr = "fd00::7".parse().expect("an address");
        assert_eq!(address(six)[3], 7_u32.to_be());
        assert_eq!((address_of(address(four)), address_of(address(six))), (four, six));
    }

    #[test]
    fn bytes_are_the_layout() {
        let mut service = Service { algorithm: 3, syn_retries: 9, ..Service::default() };
        service.members[2] = 0x0102;
        let image: [u8; size_of::<Service>()] = bytes(&service);
        assert_eq!(image[core::mem::offset_of!(Service, algorithm)], 3);
        assert_eq!(image[core::mem::offset_of!(Service, syn_retries)], 9);
        let at = core::mem::offset_of!(Service, members) + 4;
        assert_eq!(image[at..at + 2], 0x0102_u16.to_ne_bytes());
        assert_eq!(value::<Service>(&image), service);
    }
}
