//! The answer to a TCP packet that a policy resets: what RFC 9293 says that somebody without a connection answers.
//!
//! Pure: fields of the packet in, headers of the answer out, from the IP header on.

#![expect(clippy::inline_always, reason = "kernel programs are made of it: a call is not free there")]

use super::{gcra::Limit, packet::TCP};

/// Answers per CPU: 10,000 a second, 1000 at once. Who invents sources must not make this node fill its own wire.
pub const BUDGET: Limit = Limit { mult: 100_000, tau_ns: 100_000_000, cap_ns: 200_000_000, shift: 0, pad: 0 };

/// Bytes of an answer over IPv4.
pub const V4_BYTES: usize = 40;
/// Bytes of an answer over IPv6.
pub const V6_BYTES: usize = 60;

const FIN: u8 = 1;
const SYN: u8 = 1 << 1;
const RST: u8 = 1 << 2;
const ACK: u8 = 1 << 4;
const HOPS: u8 = 64;

/// What of a packet decides its answer. Bytes are as on the wire. A structure of bytes in the kernel's scratch memory:
/// the stack has no room for it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Segment {
    /// The first 20 bytes of its TCP header.
    pub header: [u8; 20],
    /// Bytes from the TCP header to the end of the packet.
    pub bytes: u32,
}

/// Who completes the checksum of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Checksum {
    /// Nobody: it is whole.
    Whole,
    /// The interface it leaves by, which adds all but the addresses.
    Begun,
}

impl Segment {
    /// Bytes of its header with options; less than 20 is broken.
    #[inline(always)]
    const fn header_bytes(&self) -> u32 {
        (self.header[12] >> 4) as u32 * 4
    }

    /// Whether the packet came from this node and the interface was to complete its checksum: then it holds the sum of
    /// the addresses only. A packet with such a checksum by chance gets an answer that its receiver drops.
    #[inline(always)]
    fn checksum(&self, addresses: u32) -> Checksum {
        let own = u16::from_be_bytes([self.header[16], self.header[17]]);
        let begun = folded(addresses + u32::from(TCP) + (self.bytes & 0xffff) + (self.bytes >> 16));
        if own == begun { Checksum::Begun } else { Checksum::Whole }
    }

    /// Writes the TCP header of the answer. `addresses` is the [`sum`] of both; `by_device`: interfaces may complete
    /// checksums here.
    #[inline(always)]
    pub fn answer(&self, addresses: u32, by_device: bool, out: &mut [u8; 20]) {
        let h = &self.header;
        let flags = h[13];
        let (sequence, acknowledged, marks) = if flags & ACK != 0 {
            (u32::from_be_bytes([h[8], h[9], h[10], h[11]]), 0, RST)
        } else {
            let begins = u32::from_be_bytes([h[4], h[5], h[6], h[7]]);
            let payload = self.bytes.saturating_sub(self.header_bytes());
            let marks = (flags & SYN != 0) as u32 + (flags & FIN != 0) as u32;
            (0, begins.wrapping_add(payload).wrapping_add(marks), RST | ACK)
        };
        [out[0], out[1], out[2], out[3]] = [h[2], h[3], h[0], h[1]];
        [out[4], out[5], out[6], out[7]] = sequence.to_be_bytes();
        [out[8], out[9], out[10], out[11]] = acknowledged.to_be_bytes();
        [out[12], out[13], out[14], out[15]] = [0x50, marks, 0, 0];
        [out[16], out[17], out[18], out[19]] = [0; 4];
        let outer = addresses + u32::from(TCP) + 20;
        let checksum = match self.checksum(addresses) {
            Checksum::Begun if by_device => folded(outer),
            _ => !folded(outer + sum(out)),
        };
        [out[16], out[17]] = checksum.to_be_bytes();
    }
}

/// Whether a packet with these TCP flags gets an answer: a reset gets none.
#[inline(always)]
pub const fn is_answered(flags: u8) -> bool {
    flags & RST == 0
}

/// Writes the IPv4 header of the answer to a packet with this one; options are left out.
#[inline(always)]
pub fn ip4(header: &[u8; 20], out: &mut [u8; 20]) {
    [out[0], out[1], out[2], out[3]] = [0x45, 0, 0, V4_BYTES as u8];
    [out[4], out[5], out[6], out[7]] = [0, 0, 0x40, 0];
    [out[8], out[9], out[10], out[11]] = [HOPS, TCP, 0, 0];
    [out[12], out[13], out[14], out[15]] = [header[16], header[17], header[18], header[19]];
    [out[16], out[17], out[18], out[19]] = [header[12], header[13], header[14], header[15]];
    [out[10], out[11]] = (!folded(sum(out))).to_be_bytes();
}

/// Writes the IPv6 header of the answer to a packet with these addresses.
#[inline(always)]
pub fn ip6(addresses: &[u8; 32], out: &mut [u8; 40]) {
    [out[0], out[1], out[2], out[3]] = [0x60, 0, 0, 0];
    [out[4], out[5], out[6], out[7]] = [0, 20, TCP, HOPS];
    let (source, destination) = addresses.split_at(16);
    let (_, places) = out.split_at_mut(8);
    for (to, from) in places.iter_mut().zip(destination.iter().chain(source)) {
        *to = *from;
    }
}

/// Sum of the words.
#[inline(always)]
pub fn sum<const N: usize>(bytes: &[u8; N]) -> u32 {
    let mut sum = 0;
    for word in bytes.as_chunks::<2>().0 {
        sum += u32::from(u16::from_be_bytes(*word));
    }
    sum
}

/// A sum in one word, the carries added.
#[inline(always)]
const fn folded(sum: u32) -> u16 {
    let sum = (sum & 0xffff) + (sum >> 16);
    ((sum & 0xffff) + (sum >> 16)) as u16
}

#[cfg(test)]
mod tests {
    use etherparse::{Ipv4HeaderSlice, Ipv6HeaderSlice, TcpHeader, TcpHeaderSlice};

    use super::*;

    const FROM: [u8; 4] = [192, 0, 2, 1];
    const TO: [u8; 4] = [198, 51, 100, 7];
    const FROM6: [u8; 16] = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
    const TO6: [u8; 16] = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x99];

    fn joined<const N: usize>(ip: &[u8], tcp: &[u8]) -> [u8; N] {
        let mut all = [0; N];
        all[..ip.len()].copy_from_slice(ip);
        all[ip.len()..].copy_from_slice(tcp);
        all
    }

    fn v4(segment: &Segment, by_device: bool) -> [u8; V4_BYTES] {
        let mut header = [0; 20];
        header[12..16].copy_from_slice(&FROM);
        header[16..].copy_from_slice(&TO);
        let (mut ip, mut tcp) = ([7; 20], [7; 20]);
        ip4(&header, &mut ip);
        segment.answer(sum(&FROM) + sum(&TO), by_device, &mut tcp);
        joined(&ip, &tcp)
    }

    fn v6(segment: &Segment) -> [u8; V6_BYTES] {
        let mut addresses = [0; 32];
        addresses[..16].copy_from_slice(&FROM6);
        addresses[16..].copy_from_slice(&TO6);
        let (mut ip, mut tcp) = ([7; 40], [7; 20]);
        ip6(&addresses, &mut ip);
        segment.answer(sum(&addresses), false, &mut tcp);
        joined(&ip, &tcp)
    }

    fn segment(syn: bool, ack: bool, fin: bool, payload: u32) -> Segment {
        let mut header = TcpHeader::new(40_000, 443, 0xffff_fff0, 1024);
        (header.syn, header.ack, header.fin) = (syn, ack, fin);
        header.acknowledgment_number = 0x0102_0304;
        let bytes = header.to_bytes();
        let mut first = [0; 20];
        first.copy_from_slice(&bytes[..20]);
        Segment { header: first, bytes: 20 + payload }
    }

    #[test]
    fn a_syn_is_acknowledged_and_reset() {
        let answer = v4(&segment(true, false, false, 0), false);
        let ip = Ipv4HeaderSlice::from_slice(&answer).unwrap();
        assert_eq!((ip.source(), ip.destination(), ip.total_len()), (TO, FROM, 40));
        assert_eq!(ip.to_header().calc_header_checksum(), ip.header_checksum());
        let tcp = TcpHeaderSlice::from_slice(&answer[20..]).unwrap();
        assert!(tcp.rst() && tcp.ack() && !tcp.syn());
        assert_eq!((tcp.source_port(), tcp.destination_port()), (443, 40_000));
        assert_eq!((tcp.sequence_number(), tcp.acknowledgment_number()), (0, 0xffff_fff1));
        assert_eq!(tcp.to_header().calc_checksum_ipv4_raw(TO, FROM, &[]).unwrap(), tcp.checksum());
    }

    #[test]
    fn what_belongs_to_a_connection_is_reset_where_it_expects_it() {
        let answer = v6(&segment(false, true, false, 100));
        let ip = Ipv6HeaderSlice::from_slice(&answer).unwrap();
        assert_eq!((ip.source(), ip.destination(), ip.payload_length()), (TO6, FROM6, 20));
        let tcp = TcpHeaderSlice::from_slice(&answer[40..]).unwrap();
        assert!(tcp.rst() && !tcp.ack());
        assert_eq!((tcp.sequence_number(), tcp.acknowledgment_number()), (0x0102_0304, 0));
        assert_eq!(tcp.to_header().calc_checksum_ipv6_raw(TO6, FROM6, &[]).unwrap(), tcp.checksum());
    }

    #[test]
    fn data_and_the_end_count_as_they_do_in_a_connection() {
        let acknowledged = |segment: &Segment| {
            let answer = v4(segment, false);
            TcpHeaderSlice::from_slice(&answer[20..]).unwrap().acknowledgment_number()
        };
        assert_eq!(acknowledged(&segment(true, false, false, 10)), 0xffff_fffb);
        assert_eq!(acknowledged(&segment(false, false, true, 20)), 5);
        // A header that says it is longer than the packet.
        let mut broken = segment(true, false, false, 0);
        broken.header[12] = 0xf0;
        assert_eq!(acknowledged(&broken), 0xffff_fff1);
    }

    #[test]
    fn a_checksum_that_the_interface_completes_stays_one() {
        let mut sent = segment(true, false, false, 0);
        let begun = folded(sum(&FROM) + sum(&TO) + u32::from(TCP) + sent.bytes);
        [sent.header[16], sent.header[17]] = begun.to_be_bytes();
        let checksum = |by_device| {
            let answer = v4(&sent, by_device);
            let tcp = TcpHeaderSlice::from_slice(&answer[20..]).unwrap();
            (tcp.checksum(), tcp.to_header().calc_checksum_ipv4_raw(TO, FROM, &[]).unwrap())
        };
        let (own, whole) = checksum(false);
        assert_eq!(own, whole);
        let (own, _) = checksum(true);
        assert_eq!(own, folded(sum(&FROM) + sum(&TO) + u32::from(TCP) + 20));
    }

    #[test]
    fn a_reset_is_not_answered() {
        assert!(is_answered(SYN) && is_answered(ACK) && !is_answered(RST | ACK));
    }
}
