extern crate std;

use std::{vec, vec::Vec};

use etherparse::{
    IpNumber, Ipv6RawExtHeader, NetSlice, PacketBuilder, PacketBuilderStep, SlicedPacket, TransportSlice,
    VlanId, ip_number,
};
use proptest::prelude::*;

use super::*;

const FROM: [u8; 4] = [192, 0, 2, 1];
const TO: [u8; 4] = [198, 51, 100, 2];

fn ethernet() -> PacketBuilderStep<etherparse::Ethernet2Header> {
    PacketBuilder::ethernet2([2; 6], [4; 6])
}

fn parsed(bytes: &[u8]) -> Packet {
    parse(bytes, false)
}

fn written(builder: PacketBuilderStep<etherparse::UdpHeader>, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    builder.write(&mut bytes, payload).unwrap();
    bytes
}

fn syn() -> Vec<u8> {
    let mut bytes = Vec::new();
    let builder = ethernet().ipv4(FROM, TO, 64).tcp(40_000, 443, 1, 1000).syn();
    builder.write(&mut bytes, &[]).unwrap();
    bytes
}

/// An IPv6 packet over a chain of extension headers, each as its number and its bytes without the first.
fn chain(headers: &[(u8, Vec<u8>)], last: u8, transport: &[u8]) -> Vec<u8> {
    let mut payload = Vec::new();
    for (index, (_, body)) in headers.iter().enumerate() {
        payload.push(headers.get(index + 1).map_or(last, |next| next.0));
        payload.extend_from_slice(body);
    }
    payload.extend_from_slice(transport);
    let mut bytes = vec![2; 12];
    bytes.extend_from_slice(&TYPE_IPV6.to_be_bytes());
    bytes.extend_from_slice(&[0x60, 0, 0, 0]);
    bytes.extend_from_slice(&(payload.len() as u16).to_be_bytes());
    bytes.push(headers.first().map_or(last, |first| first.0));
    bytes.push(64);
    bytes.extend_from_slice(&[0x20, 1, 0xd, 0xb8, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1]);
    bytes.extend_from_slice(&[0x20, 1, 0xd, 0xb8, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 2]);
    bytes.extend_from_slice(&payload);
    bytes
}

fn udp_header(port: u16) -> Vec<u8> {
    let mut bytes = 5000_u16.to_be_bytes().to_vec();
    bytes.extend_from_slice(&port.to_be_bytes());
    bytes.extend_from_slice(&[0, 8, 0, 0]);
    bytes
}

#[test]
fn a_syn_is_one_and_its_answer_is_not() {
    let packet = parsed(&syn());
    assert_eq!(packet.source, Address::v4(u32::from_be_bytes(FROM)));
    assert_eq!((packet.source_port, packet.destination_port, packet.protocol), (40_000, 443, TCP));
    assert_eq!((packet.flags, packet.defect, packet.bytes), (IP | SYN, Defect::None, 40));
    let mut bytes = Vec::new();
    ethernet().ipv4(FROM, TO, 64).tcp(443, 40_000, 1, 1000).syn().ack(2).write(&mut bytes, &[]).unwrap();
    assert_eq!(parsed(&bytes).flags, IP);
}

#[test]
fn two_tags_are_looked_through_and_three_are_not() {
    let id = |number| VlanId::try_new(number).unwrap();
    let single = ethernet().single_vlan(id(5)).ipv4(FROM, TO, 64).udp(1, 53);
    let double = ethernet().double_vlan(id(5), id(6)).ipv4(FROM, TO, 64).udp(1, 53);
    for bytes in [written(single, &[1; 30]), written(double, &[1; 30])] {
        let packet = parsed(&bytes);
        assert_eq!((packet.destination_port, packet.flags, packet.bytes), (53, IP, 58));
    }
    let mut three = written(ethernet().ipv4(FROM, TO, 64).udp(1, 53), &[]);
    for _ in 0..3 {
        three.splice(12..12, [0x81, 0, 0, 5]);
    }
    assert_eq!((parsed(&three).flags, parsed(&three).defect), (0, Defect::None));
}

#[test]
fn every_truncation_is_named_and_still_belongs_to_its_source() {
    let whole = syn();
    for length in 0..whole.len() {
        let packet = parsed(&whole[..length]);
        if length < 34 {
            assert_eq!((packet.flags, packet.defect), (0, Defect::Truncated), "{length}");
            continue;
        }
        assert_eq!(packet.source, Address::v4(u32::from_be_bytes(FROM)));
        assert_eq!(packet.defect, Defect::BadLength, "{length}");
        assert_eq!(packet.is(PORTLESS), length < 48, "{length}");
    }
}

#[test]
fn fragments_have_ports_only_at_the_beginning() {
    let mut bytes = written(ethernet().ipv4(FROM, TO, 64).udp(1, 53), &[0; 64]);
    bytes[20] = 0x20;
    let first = parsed(&bytes);
    assert_eq!((first.flags, first.destination_port), (IP, 53));
    bytes[21] = 8;
    let later = parsed(&bytes);
    assert_eq!((later.flags, later.destination_port, later.protocol), (IP | PORTLESS, 0, UDP));
}

#[test]
fn extension_headers_are_walked_to_the_sixth() {
    for length in 0..=7_usize {
        let headers = vec![(DESTINATION, vec![0; 7]); length];
        let packet = parsed(&chain(&headers, UDP, &udp_header(53)));
        assert_eq!(packet.defect, Defect::None, "{length}");
        assert_eq!(packet.is(PORTLESS), length > EXTENSIONS_MAX, "{length}");
        let port = if length > EXTENSIONS_MAX { 0 } else { 53 };
        assert_eq!(packet.destination_port, port, "{length}");
    }
    let mixed = [
        (HOP_BY_HOP, vec![0; 7]),
        (ROUTING, [vec![1], vec![0; 14]].concat()),
        (AUTHENTICATION, [vec![4], vec![0; 22]].concat()),
        (FRAGMENT, vec![0, 0, 1, 0, 0, 0, 9]),
    ];
    assert_eq!(parsed(&chain(&mixed, UDP, &udp_header(53))).destination_port, 53);
    let later = [(FRAGMENT, vec![0, 1, 0, 0, 0, 0, 9])];
    assert!(parsed(&chain(&later, UDP, &udp_header(53))).is(PORTLESS));
    let endless = [(HOP_BY_HOP, [vec![255], vec![0; 6]].concat())];
    let packet = parsed(&chain(&endless, UDP, &udp_header(53)));
    assert_eq!((packet.defect, packet.is(PORTLESS)), (Defect::Truncated, true));
}

#[test]
fn what_the_network_needs_is_vital_and_pings_are_not() {
    let four = |kind, code| {
        let mut bytes = written(ethernet().ipv4(FROM, TO, 64).udp(1, 53), &[]);
        bytes[23] = ICMP;
        (bytes[34], bytes[35]) = (kind, code);
        parsed(&bytes).is(VITAL)
    };
    assert!(four(3, 4) && !four(3, 1) && !four(8, 0) && !four(135, 0));
    let six = |kind| parsed(&chain(&[], ICMP6, &[kind, 0, 0, 0])).is(VITAL);
    assert!(six(2) && (133..=137).all(six) && !six(128) && !six(1));
}

#[test]
fn malformed_packets_are_told_apart() {
    let defect = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = syn();
        change(&mut bytes);
        parsed(&bytes).defect
    };
    assert_eq!(defect(&|bytes| bytes[14] = 0x44), Defect::BadHeader);
    assert_eq!(defect(&|bytes| bytes[14] = 0x55), Defect::BadHeader);
    assert_eq!(defect(&|bytes| bytes[17] = 60), Defect::BadLength);
    assert_eq!(defect(&|bytes| bytes[17] = 19), Defect::BadLength);
    assert_eq!(defect(&|bytes| bytes[26] = 127), Defect::BadSource);
    assert_eq!(defect(&|bytes| bytes[26] = 0), Defect::BadSource);
    assert_eq!(defect(&|bytes| bytes.copy_within(26..30, 30)), Defect::Land);
    assert_eq!(defect(&|bytes| bytes[46] = 0x40), Defect::BadHeader);
    for flags in [0, 3, 0x29] {
        assert_eq!(defect(&|bytes| bytes[47] = flags), Defect::BadFlags);
    }
    let mut own = syn();
    own[26] = 127;
    own.copy_within(26..30, 30);
    assert_eq!(parse(own.as_slice(), true).defect, Defect::None);
}

#[test]
fn no_ipv6_packet_is_charged_to_an_ipv4_address() {
    let mut bytes = chain(&[], UDP, &udp_header(53));
    bytes[22..38].copy_from_slice(&Address::v4(0x0102_0304).bytes());
    let packet = parsed(&bytes);
    assert!(!packet.source.is_v4());
    assert_eq!(packet.defect, Defect::BadSource);
}

#[test]
fn segmentation_offload_may_leave_the_length_empty() {
    let mut large = written(ethernet().ipv4(FROM, TO, 64).udp(1, 53), &vec![0; 60_000]);
    large.resize(14 + 70_000, 0);
    (large[16], large[17]) = (0, 0);
    assert_eq!((parsed(&large).defect, parsed(&large).bytes), (Defect::None, 70_000));
    large.truncate(14 + 1500);
    assert_eq!(parsed(&large).defect, Defect::BadLength);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    /// Any bytes: an answer, never a panic, and never more bytes than there are.
    #[test]
    fn any_bytes_are_parsed(bytes in prop::collection::vec(any::<u8>(), 0..160), kind in 0..4_u8) {
        let mut bytes = bytes;
        if bytes.len() > 15 && kind < 3 {
            let (kind, first) = if kind == 0 { (TYPE_IPV4, 0x45) } else { (TYPE_IPV6, 0x60) };
            bytes[12..14].copy_from_slice(&kind.to_be_bytes());
            bytes[14] = first;
        }
        let packet = parsed(&bytes);
        prop_assert!(packet.bytes as usize <= bytes.len());
        prop_assert!(packet.is(IP) || packet.flags == 0);
    }

    /// What another parser says of well-formed packets.
    #[test]
    fn well_formed_packets_are_what_an_independent_parser_says(
        is_v6 in any::<bool>(),
        tags in 0..3_u8,
        (from, to) in (any::<[u8; 16]>(), any::<[u8; 16]>()),
        (source_port, port) in (any::<u16>(), any::<u16>()),
        kind in 0..3_u8,
        options in 0..10_u8,
        payload in prop::collection::vec(any::<u8>(), 0..100),
    ) {
        let id = |number| VlanId::try_new(number).unwrap();
        macro_rules! over {
            ($step:expr) => {{
                let mut bytes = Vec::new();
                match kind {
                    0 => $step.udp(source_port, port).write(&mut bytes, &payload),
                    1 => $step.tcp(source_port, port, 7, 8).syn().write(&mut bytes, &payload),
                    _ => $step.tcp(source_port, port, 7, 8).ack(9).write(&mut bytes, &payload),
                }
                .unwrap();
                bytes
            }};
        }
        let four = |bytes: [u8; 16]| [bytes[0], bytes[1], bytes[2], bytes[3]];
        let bytes = if is_v6 {
            let header = etherparse::IpHeaders::Ipv6(
                etherparse::Ipv6Header { source: from, destination: to, hop_limit: 9, ..Default::default() },
                etherparse::Ipv6Extensions {
                    hop_by_hop_options: (options % 2 == 1).then(|| {
                        Ipv6RawExtHeader::new_raw(IpNumber(ip_number::UDP.0), &[0; 14]).unwrap()
                    }),
                    ..Default::default()
                },
            );
            match tags {
                0 => over!(ethernet().ip(header)),
                1 => over!(ethernet().single_vlan(id(1)).ip(header)),
                _ => over!(ethernet().double_vlan(id(1), id(2)).ip(header)),
            }
        } else {
            let mut header =
                etherparse::Ipv4Header::new(0, 64, ip_number::UDP, four(from), four(to)).unwrap();
            header.options = vec![1_u8; usize::from(options) * 4].as_slice().try_into().unwrap();
            let header = etherparse::IpHeaders::Ipv4(header, etherparse::Ipv4Extensions::default());
            match tags {
                0 => over!(ethernet().ip(header)),
                1 => over!(ethernet().single_vlan(id(1)).ip(header)),
                _ => over!(ethernet().double_vlan(id(1), id(2)).ip(header)),
            }
        };
        let oracle = SlicedPacket::from_ethernet(&bytes).unwrap();
        let packet = parsed(&bytes);
        match oracle.net.unwrap() {
            NetSlice::Ipv4(net) => {
                let of = |bytes: [u8; 4]| Address::v4(u32::from_be_bytes(bytes));
                prop_assert_eq!(packet.source, of(net.header().source()));
                prop_assert_eq!(packet.destination, of(net.header().destination()));
                prop_assert_eq!(packet.bytes, u32::from(net.header().total_len()));
            }
            NetSlice::Ipv6(net) => {
                if !Address::of_bytes(net.header().source()).is_v4() {
                    prop_assert_eq!(packet.source, Address::of_bytes(net.header().source()));
                }
                prop_assert_eq!(packet.destination, Address::of_bytes(net.header().destination()));
            }
            NetSlice::Arp(_) => prop_assert!(false),
        }
        match oracle.transport.unwrap() {
            TransportSlice::Udp(udp) => {
                prop_assert_eq!(packet.protocol, UDP);
                prop_assert_eq!((packet.source_port, packet.destination_port), (udp.source_port(), udp.destination_port()));
            }
            TransportSlice::Tcp(tcp) => {
                prop_assert_eq!(packet.protocol, TCP);
                prop_assert_eq!((packet.source_port, packet.destination_port), (tcp.source_port(), tcp.destination_port()));
                prop_assert_eq!(packet.is(SYN), tcp.syn() && !tcp.ack());
            }
            _ => prop_assert!(false),
        }
        prop_assert!(!packet.is(PORTLESS) && !packet.is(VITAL));
    }
}
