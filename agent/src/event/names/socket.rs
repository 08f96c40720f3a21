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

/// Name of a socket option level.
pub fn socket_level(level: u64) -> Option<&'static str> {
    Some(match level {
        0 => "SOL_IP",
        1 => "SOL_SOCKET",
        6 => "SOL_TCP",
        17 => "SOL_UDP",
        41 => "SOL_IPV6",
        58 => "SOL_ICMPV6",
        132 => "SOL_SCTP",
        255 => "SOL_RAW",
        263 => "SOL_PACKET",
        270 => "SOL_NETLINK",
        _ => return None,
    })
}

/// Name of an option of the level `SOL_SOCKET`.
pub fn socket_option(option: u64) -> Option<&'static str> {
    const NAMES: [&str; 55] = [
        "SO_UNKNOWN",
        "SO_DEBUG",
        "SO_REUSEADDR",
        "SO_TYPE",
        "SO_ERROR",
        "SO_DONTROUTE",
        "SO_BROADCAST",
        "SO_SNDBUF",
        "SO_RCVBUF",
        "SO_KEEPALIVE",
        "SO_OOBINLINE",
        "SO_NO_CHECK",
        "SO_PRIORITY",
        "SO_LINGER",
        "SO_BSDCOMPAT",
        "SO_REUSEPORT",
        "SO_PASSCRED",
        "SO_PEERCRED",
        "SO_RCVLOWAT",
        "SO_SNDLOWAT",
        "SO_RCVTIMEO",
        "SO_SNDTIMEO",
        "SO_SECURITY_AUTHENTICATION",
        "SO_SECURITY_ENCRYPTION_TRANSPORT",
        "SO_SECURITY_ENCRYPTION_NETWORK",
        "SO_BINDTODEVICE",
        "SO_ATTACH_FILTER",
        "SO_DETACH_FILTER",
        "SO_PEERNAME",
        "SO_TIMESTAMP",
        "SO_ACCEPTCONN",
        "SO_PEERSEC",
        "SO_SNDBUFFORCE",
        "SO_RCVBUFFORCE",
        "SO_PASSSEC",
        "SO_TIMESTAMPNS",
        "SO_MARK",
        "SO_TIMESTAMPING",
        "SO_PROTOCOL",
        "SO_DOMAIN",
        "SO_RXQ_OVFL",
        "SO_WIFI_STATUS",
        "SO_PEEK_OFF",
        "SO_NOFCS",
        "SO_LOCK_FILTER",
        "SO_SELECT_ERR_QUEUE",
        "SO_BUSY_POLL",
        "SO_MAX_PACING_RATE",
        "SO_BPF_EXTENSIONS",
        "SO_INCOMING_CPU",
        "SO_ATTACH_BPF",
        "SO_ATTACH_REUSEPORT_CBPF",
        "SO_ATTACH_REUSEPORT_EBPF",
        "SO_CNX_ADVICE",
        "SCM_TIMESTAMPING_OPT_STATS",
    ];
    NAMES.get(usize::try_from(option).ok()?).copied()
}

/// Name of an option of the levels `SOL_IP` and `SOL_IPV6` that joins or leaves a group.
pub fn membership_option(level: u64, option: u64) -> Option<&'static str> {
    Some(match (level, option) {
        (0, 35) => "IP_ADD_MEMBERSHIP",
        (0, 36) => "IP_DROP_MEMBERSHIP",
        (0, 39) => "IP_ADD_SOURCE_MEMBERSHIP",
        (0, 40) => "IP_DROP_SOURCE_MEMBERSHIP",
        (0 | 41, 42) => "MCAST_JOIN_GROUP",
        (0 | 41, 45) => "MCAST_LEAVE_GROUP",
        (0 | 41, 46) => "MCAST_JOIN_SOURCE_GROUP",
        (0 | 41, 47) => "MCAST_LEAVE_SOURCE_GROUP",
        (41, 20) => "IPV6_ADD_MEMBERSHIP",
        (41, 21) => "IPV6_DROP_MEMBERSHIP",
        _ => return None,
    })
}
