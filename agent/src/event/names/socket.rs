//! Socket domains and transport protocols.

use rampart_common::event::SocketFacts;

static DOMAINS: [&str; 46] = [
    "AF_UNSPEC",
    "AF_UNIX",
    "AF_INET",
    "AF_AX25",
    "AF_IPX",
    "AF_APPLETALK",
    "AF_NETROM",
    "AF_BRIDGE",
    "AF_ATMPVC",
    "AF_X25",
    "AF_INET6",
    "AF_ROSE",
    "AF_DECnet",
    "AF_NETBEUI",
    "AF_SECURITY",
    "AF_KEY",
    "AF_NETLINK",
    "AF_PACKET",
    "AF_ASH",
    "AF_ECONET",
    "AF_ATMSVC",
    "AF_RDS",
    "AF_SNA",
    "AF_IRDA",
    "AF_PPPOX",
    "AF_WANPIPE",
    "AF_LLC",
    "AF_IB",
    "AF_MPLS",
    "AF_CAN",
    "AF_TIPC",
    "AF_BLUETOOTH",
    "AF_IUCV",
    "AF_RXRPC",
    "AF_ISDN",
    "AF_PHONET",
    "AF_IEEE802154",
    "AF_CAIF",
    "AF_ALG",
    "AF_NFC",
    "AF_VSOCK",
    "AF_KCM",
    "AF_QIPCRTR",
    "AF_SMC",
    "AF_XDP",
    "AF_MCTP",
];

/// Name of a socket domain.
pub fn socket_domain(domain: u64) -> Option<&'static str> {
    DOMAINS.get(usize::try_from(domain).ok()?).copied()
}

/// True for the ICMP protocols of either IP version.
pub fn icmp_protocol(protocol: u16) -> bool {
    i32::from(protocol) == libc::IPPROTO_ICMP || i32::from(protocol) == libc::IPPROTO_ICMPV6
}

/// Transport protocol of an IP socket as `fd.l4proto` shows it; `<NA>` when it has no name there.
pub fn l4_protocol(facts: &SocketFacts) -> &'static str {
    match i32::from(facts.kind) {
        libc::SOCK_STREAM if facts.protocol == 0 || i32::from(facts.protocol) == libc::IPPROTO_TCP => "tcp",
        libc::SOCK_DGRAM | libc::SOCK_RAW if icmp_protocol(facts.protocol) => "icmp",
        libc::SOCK_DGRAM if facts.protocol == 0 || i32::from(facts.protocol) == libc::IPPROTO_UDP => "udp",
        libc::SOCK_RAW => "raw",
        _ => "<NA>",
    }
}
