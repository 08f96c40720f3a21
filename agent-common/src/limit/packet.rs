//! What the limiter knows of a packet: parsed once, the same way in the kernel and in tests.
//!
//! Ethernet, up to two VLAN tags, IPv4 with options, IPv6 with up to [`EXTENSIONS_MAX`] extension headers, and of the
//! transport header what is needed: ports, TCP flags, ICMP type and code. The parser reads only through [`Frame`],
//! never past the end, and always comes to an answer: what is broken is a [`Defect`] beside whatever was found, so
//! that a packet does not dodge a limit by being malformed.

#![expect(clippy::inline_always, reason = "kernel programs are made of it: a call is not free there")]

use super::verdict::Defect;

/// VLAN tags that are looked through.
pub const VLANS_MAX: usize = 2;
/// IPv6 extension headers that are walked; a packet with more is judged without its ports.
pub const EXTENSIONS_MAX: usize = 6;

/// Bytes of a frame that begins with an Ethernet header.
pub trait Frame {
    /// `N` bytes from `offset` on; `None` when the frame ends before.
    fn read<const N: usize>(&self, offset: usize) -> Option<[u8; N]>;

    /// Length of the whole frame, which may be more than can be read.
    fn length(&self) -> usize;

    /// The same number. In the kernel the verifier forgets by which way the parser came to it, and need not follow
    /// each combination of headers to its end.
    fn settle(&self, number: usize) -> usize {
        number
    }
}

/// An address as a number, most significant bits first. IPv4 addresses are mapped (`::ffff:a.b.c.d`); on the wire no
/// IPv6 packet may come from such an address, and the parser takes care that none does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Address {
    /// First 64 bits.
    pub hi: u64,
    /// Last 64 bits.
    pub lo: u64,
}

/// What a mapped IPv4 address has in the upper half of [`Address::lo`].
const MAPPED: u64 = 0xffff;

impl Address {
    /// An IPv4 address.
    #[inline(always)]
    pub const fn v4(address: u32) -> Self {
        Self { hi: 0, lo: (MAPPED << 32) | address as u64 }
    }

    /// Sixteen bytes as on the wire.
    #[inline(always)]
    pub const fn of_bytes(bytes: [u8; 16]) -> Self {
        let number = u128::from_be_bytes(bytes);
        Self { hi: (number >> 64) as u64, lo: number as u64 }
    }

    /// Sixteen bytes as on the wire.
    #[inline(always)]
    pub const fn bytes(self) -> [u8; 16] {
        (((self.hi as u128) << 64) | self.lo as u128).to_be_bytes()
    }

    /// The same as words whose bytes are in wire order: how map keys hold it.
    #[inline(always)]
    pub const fn words(self) -> [u32; 4] {
        [
            ((self.hi >> 32) as u32).to_be(),
            (self.hi as u32).to_be(),
            ((self.lo >> 32) as u32).to_be(),
            (self.lo as u32).to_be(),
        ]
    }

    /// From [`Self::words`].
    #[inline(always)]
    pub const fn of_words([a, b, c, d]: [u32; 4]) -> Self {
        Self {
            hi: ((u32::from_be(a) as u64) << 32) | u32::from_be(b) as u64,
            lo: ((u32::from_be(c) as u64) << 32) | u32::from_be(d) as u64,
        }
    }

    /// Whether it is an IPv4 address.
    #[inline(always)]
    pub const fn is_v4(self) -> bool {
        self.hi == 0 && self.lo >> 32 == MAPPED
    }

    /// The first `bits` bits, zeros behind them. IPv4 prefixes count from the mapped form: a /24 has 120 bits.
    #[inline(always)]
    #[must_use]
    pub const fn masked(self, bits: u32) -> Self {
        let hi = if bits >= 64 { u64::MAX } else { !(u64::MAX >> (bits & 63)) };
        let lo = if bits >= 128 {
            u64::MAX
        } else if bits <= 64 {
            0
        } else {
            !(u64::MAX >> ((bits - 64) & 63))
        };
        Self { hi: self.hi & hi, lo: self.lo & lo }
    }
}

/// [`Packet::flags`]: an IP packet; nothing else is set without it.
pub const IP: u8 = 1;
/// [`Packet::flags`]: begins a flow (SYN without ACK).
pub const SYN: u8 = 1 << 1;
/// [`Packet::flags`]: neighbour discovery or path MTU discovery, which must never be limited.
pub const VITAL: u8 = 1 << 2;
/// [`Packet::flags`]: the ports are unknown: a later fragment, a cut or a too deep header.
pub const PORTLESS: u8 = 1 << 3;

/// ICMP for IPv4.
pub const ICMP: u8 = 1;
/// TCP.
pub const TCP: u8 = 6;
/// UDP.
pub const UDP: u8 = 17;
/// ICMP for IPv6.
pub const ICMP6: u8 = 58;
/// SCTP, whose ports lie where those of TCP do.
pub const SCTP: u8 = 132;

/// What the limiter knows of a packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Packet {
    /// Where it says it is from.
    pub source: Address,
    /// Where it is for.
    pub destination: Address,
    /// Bytes from the IP header to the end of the frame.
    pub bytes: u32,
    /// Source port, where there is one.
    pub source_port: u16,
    /// Destination port, where there is one.
    pub destination_port: u16,
    /// Number of the transport protocol.
    pub protocol: u8,
    /// Bits [`IP`] to [`PORTLESS`].
    pub flags: u8,
    /// The first thing that is wrong with it.
    pub defect: Defect,
}

const ETHERNET_BYTES: usize = 14;
const TAG_BYTES: usize = 4;
const TYPE_IPV4: u16 = 0x0800;
const TYPE_IPV6: u16 = 0x86dd;
/// 802.1Q and 802.1ad.
const TYPE_TAGS: [u16; 2] = [0x8100, 0x88a8];

const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const AUTHENTICATION: u8 = 51;
const DESTINATION: u8 = 60;
const MOBILITY: u8 = 135;
const HOST_IDENTITY: u8 = 139;
const SHIM6: u8 = 140;

/// A frame of which the IP header claims to be this long at most; more comes from segmentation offload, whose packets
/// write zero.
const IP_BYTES_MAX: usize = u16::MAX as usize;

/// Parses a frame. `is_loopback`: it came by `lo`, where 127/8 and packets to oneself are ordinary.
#[inline(always)]
pub fn parse<F: Frame + ?Sized>(frame: &F, is_loopback: bool) -> Packet {
    let mut packet = Packet::default();
    parse_into(frame, is_loopback, &mut packet);
    packet
}

/// As [`parse`], into a packet that says nothing yet.
#[inline(always)]
pub fn parse_into<F: Frame + ?Sized>(frame: &F, is_loopback: bool, packet: &mut Packet) {
    let Some(header) = frame.read::<ETHERNET_BYTES>(0) else {
        packet.defect = Defect::Truncated;
        return;
    };
    let mut kind = u16::from_be_bytes([header[12], header[13]]);
    let mut offset = ETHERNET_BYTES;
    for _ in 0..VLANS_MAX {
        if kind != TYPE_TAGS[0] && kind != TYPE_TAGS[1] {
            break;
        }
        let Some(tag) = frame.read::<TAG_BYTES>(offset) else {
            packet.defect = Defect::Truncated;
            return;
        };
        kind = u16::from_be_bytes([tag[2], tag[3]]);
        offset += TAG_BYTES;
    }
    let offset = frame.settle(offset);
    match kind {
        TYPE_IPV4 => ipv4(frame, offset, is_loopback, packet),
        TYPE_IPV6 => ipv6(frame, offset, is_loopback, packet),
        _ => {}
    }
}

/// Notes a defect, unless there is one already.
#[inline(always)]
fn blame(packet: &mut Packet, defect: Defect) {
    if matches!(packet.defect, Defect::None) {
        packet.defect = defect;
    }
}

#[inline(always)]
fn ipv4<F: Frame + ?Sized>(frame: &F, start: usize, is_loopback: bool, packet: &mut Packet) {
    let Some(header) = frame.read::<20>(start) else {
        packet.defect = Defect::Truncated;
        return;
    };
    let rest = frame.length().saturating_sub(start);
    packet.flags = IP;
    packet.bytes = rest as u32;
    packet.protocol = header[9];
    let source = u32::from_be_bytes([header[12], header[13], header[14], header[15]]);
    let destination = u32::from_be_bytes([header[16], header[17], header[18], header[19]]);
    packet.source = Address::v4(source);
    packet.destination = Address::v4(destination);
    let header_bytes = ((header[0] & 15) as usize) * 4;
    if header[0] >> 4 != 4 || header_bytes < 20 {
        packet.defect = Defect::BadHeader;
        packet.flags |= PORTLESS;
        return;
    }
    let total = u16::from_be_bytes([header[2], header[3]]) as usize;
    // Segmentation offload writes zero where the packet is larger than the field.
    let is_offloaded = total == 0 && rest > IP_BYTES_MAX;
    if !is_offloaded && (total < header_bytes || total > rest) {
        blame(packet, Defect::BadLength);
    }
    let top = (source >> 24) as u8;
    if top == 0 || (top == 127 && !is_loopback) {
        blame(packet, Defect::BadSource);
    }
    if source == destination && !is_loopback {
        blame(packet, Defect::Land);
    }
    let fragment = u16::from_be_bytes([header[6], header[7]]);
    if fragment & 0x1fff != 0 {
        packet.flags |= PORTLESS;
        return;
    }
    transport(frame, start + header_bytes, packet);
}

#[inline(always)]
fn ipv6<F: Frame + ?Sized>(frame: &F, start: usize, is_loopback: bool, packet: &mut Packet) {
    let (Some(header), Some(source), Some(destination)) =
        (frame.read::<8>(start), frame.read::<16>(start + 8), frame.read::<16>(start + 24))
    else {
        packet.defect = Defect::Truncated;
        return;
    };
    let rest = frame.length().saturating_sub(start);
    packet.flags = IP;
    packet.bytes = rest as u32;
    packet.protocol = header[6];
    packet.source = Address::of_bytes(source);
    packet.destination = Address::of_bytes(destination);
    if packet.source.is_v4() {
        // Would be charged to somebody's IPv4 address.
        packet.source.hi = 1;
        blame(packet, Defect::BadSource);
    }
    if header[0] >> 4 != 6 {
        packet.defect = Defect::BadHeader;
        packet.flags |= PORTLESS;
        return;
    }
    let payload = u16::from_be_bytes([header[4], header[5]]) as usize;
    let is_offloaded = payload == 0 && rest > IP_BYTES_MAX;
    if !is_offloaded && payload > rest.saturating_sub(40) {
        blame(packet, Defect::BadLength);
    }
    if packet.source == packet.destination && !is_loopback {
        blame(packet, Defect::Land);
    }
    let mut next = header[6];
    let mut offset = start + 40;
    for _ in 0..EXTENSIONS_MAX {
        let is_fragment = next == FRAGMENT;
        if !is_fragment && !is_extension(next) {
            break;
        }
        let Some(extension) = frame.read::<4>(offset) else {
            blame(packet, Defect::Truncated);
            packet.protocol = next;
            packet.flags |= PORTLESS;
            return;
        };
        if is_fragment {
            let place = u16::from_be_bytes([extension[2], extension[3]]);
            next = extension[0];
            offset += 8;
            if place & 0xfff8 != 0 {
                packet.protocol = next;
                packet.flags |= PORTLESS;
                return;
            }
        } else {
            let length = extension[1] as usize;
            // Authentication headers count words of four bytes, without the first two.
            offset += if next == AUTHENTICATION { (length + 2) * 4 } else { (length + 1) * 8 };
            next = extension[0];
        }
        offset = frame.settle(offset);
        next = frame.settle(usize::from(next)) as u8;
    }
    packet.protocol = next;
    if next == FRAGMENT || is_extension(next) {
        packet.flags |= PORTLESS;
        return;
    }
    transport(frame, offset, packet);
}

/// Extension headers that begin with the next header's number and their length.
#[inline(always)]
const fn is_extension(next: u8) -> bool {
    matches!(next, HOP_BY_HOP | ROUTING | AUTHENTICATION | DESTINATION | MOBILITY | HOST_IDENTITY | SHIM6)
}

/// What is needed of the transport header at `start`.
#[inline(always)]
fn transport<F: Frame + ?Sized>(frame: &F, start: usize, packet: &mut Packet) {
    let start = frame.settle(start);
    match packet.protocol {
        TCP => match frame.read::<14>(start) {
            Some(header) => tcp(header, packet),
            None => cut(packet),
        },
        UDP | SCTP => match frame.read::<8>(start) {
            Some(header) => ports([header[0], header[1], header[2], header[3]], packet),
            None => cut(packet),
        },
        ICMP | ICMP6 => match frame.read::<4>(start) {
            Some(header) => icmp(header[0], header[1], packet),
            None => cut(packet),
        },
        // The others have no ports and are judged by their number.
        _ => {}
    }
}

/// The frame, or its first fragment, ends before the transport header does.
#[inline(always)]
fn cut(packet: &mut Packet) {
    blame(packet, Defect::Truncated);
    packet.flags |= PORTLESS;
}

#[inline(always)]
fn ports(header: [u8; 4], packet: &mut Packet) {
    packet.source_port = u16::from_be_bytes([header[0], header[1]]);
    packet.destination_port = u16::from_be_bytes([header[2], header[3]]);
}

#[inline(always)]
fn tcp(header: [u8; 14], packet: &mut Packet) {
    const FIN: u8 = 1;
    const SYN_FLAG: u8 = 1 << 1;
    const PSH: u8 = 1 << 3;
    const ACK: u8 = 1 << 4;
    const URG: u8 = 1 << 5;
    ports([header[0], header[1], header[2], header[3]], packet);
    if header[12] >> 4 < 5 {
        blame(packet, Defect::BadHeader);
    }
    let flags = header[13] & 0x3f;
    let is_xmas = flags & (FIN | PSH | URG) == FIN | PSH | URG;
    if flags == 0 || flags & (SYN_FLAG | FIN) == SYN_FLAG | FIN || is_xmas {
        blame(packet, Defect::BadFlags);
    }
    if flags & (SYN_FLAG | ACK) == SYN_FLAG {
        packet.flags |= SYN;
    }
}

#[inline(always)]
fn icmp(kind: u8, code: u8, packet: &mut Packet) {
    // "Packet too big", and neighbour discovery with its redirects.
    let vital6 = packet.protocol == ICMP6 && (kind == 2 || (133..=137).contains(&kind));
    // "Fragmentation needed".
    let vital4 = packet.protocol == ICMP && kind == 3 && code == 4;
    if vital4 || vital6 {
        packet.flags |= VITAL;
    }
}

impl Packet {
    /// Whether a flag is set.
    #[inline(always)]
    pub const fn is(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

#[cfg(any(test, feature = "user"))]
impl Frame for [u8] {
    fn read<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        self.get(offset..)?.first_chunk().copied()
    }

    fn length(&self) -> usize {
        self.len()
    }
}

#[cfg(test)]
mod tests;
