//! Generated packets: every kind the parser knows, cut at every byte, tagged, broken.

/// A frame and what it is.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    /// For messages.
    pub(crate) name: String,
    /// Bytes from the Ethernet header on.
    pub(crate) frame: Vec<u8>,
}

/// A source of a packet.
#[derive(Clone, Copy, Debug)]
pub(crate) enum From {
    Four([u8; 4]),
    Six([u8; 16]),
}

const ETHERNET: [u8; 12] = [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
const TO_FOUR: [u8; 4] = [198, 51, 100, 1];
const TO_SIX: [u8; 16] = [0x20, 1, 0xd, 0xb8, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9];

/// A TCP header with these flags.
pub(crate) fn tcp(port: u16, flags: u8) -> Vec<u8> {
    let mut bytes = 40_000_u16.to_be_bytes().to_vec();
    bytes.extend_from_slice(&port.to_be_bytes());
    bytes.extend_from_slice(&[0, 0, 0, 1, 0, 0, 0, 0, 0x50, flags, 0x20, 0, 0, 0, 0, 0]);
    bytes
}

/// A UDP datagram.
pub(crate) fn udp(from: u16, port: u16, payload: usize) -> Vec<u8> {
    let mut bytes = from.to_be_bytes().to_vec();
    bytes.extend_from_slice(&port.to_be_bytes());
    bytes.extend_from_slice(&u16::try_from(8 + payload).unwrap_or(0).to_be_bytes());
    bytes.extend_from_slice(&[0, 0]);
    bytes.resize(8 + payload, 7);
    bytes
}

/// An IP packet over Ethernet with tags. `options` are words of IPv4 options.
pub(crate) fn packet(from: From, tags: usize, options: u8, protocol: u8, transport: &[u8]) -> Vec<u8> {
    let mut frame = ETHERNET.to_vec();
    for tag in 0..tags {
        frame.extend_from_slice(if tag + 1 < tags { &[0x88, 0xa8, 0, 5] } else { &[0x81, 0, 0, 6] });
    }
    match from {
        From::Four(source) => {
            frame.extend_from_slice(&[8, 0, 0x45 + options, 0]);
            let total = 20 + usize::from(options) * 4 + transport.len();
            frame.extend_from_slice(&u16::try_from(total).unwrap_or(0).to_be_bytes());
            frame.extend_from_slice(&[0, 1, 0, 0, 64, protocol, 0, 0]);
            frame.extend_from_slice(&source);
            frame.extend_from_slice(&TO_FOUR);
            frame.resize(frame.len() + usize::from(options) * 4, 1);
        }
        From::Six(source) => {
            frame.extend_from_slice(&[0x86, 0xdd, 0x60, 0, 0, 0]);
            frame.extend_from_slice(&u16::try_from(transport.len()).unwrap_or(0).to_be_bytes());
            frame.extend_from_slice(&[protocol, 64]);
            frame.extend_from_slice(&source);
            frame.extend_from_slice(&TO_SIX);
        }
    }
    frame.extend_from_slice(transport);
    frame
}

/// Extension headers in front of a transport header: the first number and the bytes.
fn extended(headers: &[(u8, &[u8])], last: u8, transport: &[u8]) -> (u8, Vec<u8>) {
    let mut bytes = Vec::new();
    for (index, (_, body)) in headers.iter().enumerate() {
        bytes.push(headers.get(index + 1).map_or(last, |next| next.0));
        bytes.extend_from_slice(body);
    }
    bytes.extend_from_slice(transport);
    (headers.first().map_or(last, |first| first.0), bytes)
}

/// Every kind of packet from these sources, whole.
fn kinds(four: From, six: From) -> Vec<Sample> {
    let mut all = Vec::new();
    let mut add = |name: String, frame: Vec<u8>| all.push(Sample { name, frame });
    for (family, from) in [("v4", four), ("v6", six)] {
        for tags in 0..=3 {
            add(format!("{family} syn, {tags} tags"), packet(from, tags, 0, 6, &tcp(443, 2)));
            add(format!("{family} udp, {tags} tags"), packet(from, tags, 0, 17, &udp(5000, 53, 40)));
        }
        for flags in [0x10, 0x12, 0x11, 0, 3, 0x29, 4] {
            add(format!("{family} tcp flags {flags:#x}"), packet(from, 0, 0, 6, &tcp(443, flags)));
        }
        let mut short = tcp(443, 2);
        short[12] = 0x40;
        add(format!("{family} tcp with a short header"), packet(from, 0, 0, 6, &short));
        add(format!("{family} tcp to another port"), packet(from, 0, 0, 6, &tcp(8080, 2)));
        add(format!("{family} sctp"), packet(from, 0, 0, 132, &[&udp(1, 443, 0)[..], &[0; 4]].concat()));
        add(format!("{family} gre"), packet(from, 0, 0, 47, &[0; 24]));
        add(format!("{family} jumbo"), packet(from, 0, 0, 17, &udp(5000, 53, 8900)));
        for (kind, code) in [(8, 0), (3, 4), (3, 1), (0, 0)] {
            add(
                format!("{family} icmp {kind}/{code}"),
                packet(from, 0, 0, 1, &[kind, code, 0, 0, 0, 0, 0, 0]),
            );
        }
        for kind in [1, 2, 128, 129, 132, 133, 135, 136, 137, 138] {
            add(format!("{family} icmp6 {kind}"), packet(from, 0, 0, 58, &[kind, 0, 0, 0, 0, 0, 0, 0]));
        }
    }
    for options in 1..=10 {
        add(format!("v4 with {options} words of options"), packet(four, 0, options, 6, &tcp(443, 2)));
    }
    for (name, byte, value) in [
        ("ihl 4", 14, 0x44),
        ("ihl 0", 14, 0x40),
        ("version 5", 14, 0x55),
        ("total length too long", 16, 0x10),
        ("total length too short", 17, 19),
        ("first fragment", 20, 0x20),
        ("later fragment", 21, 8),
        ("later fragment, more to come", 20, 0x21),
        ("from 127/8", 26, 127),
        ("from 0/8", 26, 0),
    ] {
        let mut frame = packet(four, 0, 0, 17, &udp(5000, 53, 40));
        frame[byte] = value;
        add(format!("v4 {name}"), frame);
    }
    let mut land = packet(four, 0, 0, 6, &tcp(443, 2));
    land.copy_within(26..30, 30);
    add("v4 land".to_owned(), land);
    for length in 0..=7 {
        let headers = vec![(60, &[0_u8; 7][..]); length];
        let (first, bytes) = extended(&headers, 17, &udp(5000, 53, 20));
        add(format!("v6 with {length} extension headers"), packet(six, 0, 0, first, &bytes));
    }
    let long = [&[31_u8][..], &[0; 254]].concat();
    let headers = vec![(60, &long[..]); 6];
    let (first, bytes) = extended(&headers, 6, &tcp(443, 2));
    add("v6 with long extension headers".to_owned(), packet(six, 0, 0, first, &bytes));
    for (name, header) in [
        ("first fragment", (44, &[0, 0, 1, 0, 0, 0, 9][..])),
        ("later fragment", (44, &[0, 1, 0, 0, 0, 0, 9][..])),
        ("authentication", (51, &[4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0][..])),
        ("no next header", (59, &[0, 0, 0, 0, 0, 0, 0][..])),
        ("extension longer than the packet", (0, &[255, 0, 0, 0, 0, 0, 0][..])),
        ("mobility", (135, &[0, 0, 0, 0, 0, 0, 0][..])),
    ] {
        let (first, bytes) = extended(&[header], 17, &udp(5000, 53, 20));
        add(format!("v6 {name}"), packet(six, 0, 0, first, &bytes));
    }
    for (name, byte, value) in
        [("version 4", 14, 0x40), ("payload too long", 18, 0x10), ("payload zero", 19, 0)]
    {
        let mut frame = packet(six, 0, 0, 17, &udp(5000, 53, 40));
        frame[byte] = value;
        add(format!("v6 {name}"), frame);
    }
    let mut mapped = packet(six, 0, 0, 17, &udp(5000, 53, 40));
    mapped[22..38].copy_from_slice(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 1, 2, 3, 4]);
    add("v6 from a mapped address".to_owned(), mapped);
    let mut own = packet(six, 0, 0, 17, &udp(5000, 53, 40));
    own.copy_within(22..38, 38);
    add("v6 land".to_owned(), own);
    add("arp".to_owned(), [&ETHERNET[..], &[8, 6], &[0; 28]].concat());
    add("unknown type".to_owned(), [&ETHERNET[..], &[0x12, 0x34], &[0; 46]].concat());
    all
}

/// The whole corpus from these sources: each kind whole, and cut at every byte from `shortest` on (of long ones, the
/// part in which headers lie).
pub(crate) fn corpus(four: From, six: From, shortest: usize) -> Vec<Sample> {
    const HEADERS: usize = 128;
    let mut all = Vec::new();
    for sample in kinds(four, six) {
        for length in shortest..sample.frame.len().min(HEADERS) {
            let frame = sample.frame.iter().take(length).copied().collect();
            all.push(Sample { name: format!("{}, {length} bytes of it", sample.name), frame });
        }
        all.push(sample);
    }
    all
}
