//! Words of the limiter: directions, units, actions, and the reasons that packets are counted under.

#![expect(clippy::inline_always, reason = "kernel programs are made of it: a call is not free there")]

/// Which way a packet goes through the interface.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Direction {
    /// From the wire into the node; on the node's side of a pod's veth: from the pod.
    Ingress = 0,
    /// The other way.
    Egress = 1,
}

/// What a policy counts.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Unit {
    /// Beginnings: SYNs of TCP, datagrams of UDP that continue no admitted flow, every packet of other protocols.
    NewFlows = 0,
    /// Packets as on the wire: segmentation offload counts its segments where the hook knows them.
    Packets = 1,
    /// Bytes from the IP header on.
    Bytes = 2,
}

/// What a policy does to what is over it.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Drops it.
    Drop = 0,
    /// Lets it pass with a mark on the packet (tc hooks only; XDP lets it pass and counts it).
    Mark = 1,
    /// Lets it pass and counts it.
    Observe = 2,
    /// Drops it, and answers TCP with a reset, so that a client knows at once. Where that is not possible it is only
    /// dropped.
    Reset = 3,
}

/// Why a packet got its verdict. Each packet is counted under exactly one.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// The limiter is off.
    Off = 0,
    /// Not IP, or no packet at all.
    NotIp = 1,
    /// Neighbour discovery, path MTU: never limited.
    Vital = 2,
    /// On the safety list.
    Safe = 3,
    /// On the allow list.
    Allowed = 4,
    /// On the deny list.
    Denied = 5,
    /// No policy is about it.
    NoPolicy = 6,
    /// Costs nothing in the policy's unit: goes on with a flow.
    Continues = 7,
    /// Within its limit.
    Within = 8,
    /// Within the limits of its prefixes; the budget left it without an entry of its own.
    WithinPrefix = 9,
    /// Over its limit.
    Over = 10,
    /// Unknown, and over the limit of its near prefix.
    OverNear = 11,
    /// Unknown, and over the limit of its far prefix.
    OverFar = 12,
    /// Malformed, and the limiter is strict.
    Malformed = 13,
    /// Its source has used up what it may use in a day or month.
    OverQuota = 14,
}

/// Number of reasons, rounded up to a power of two.
pub const REASONS: u32 = 16;

/// What is wrong with a packet. Counted beside the verdict; only a strict limiter drops for it.
#[repr(u8)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Defect {
    /// Nothing.
    #[default]
    None = 0,
    /// The frame ends before its headers do.
    Truncated = 1,
    /// A header's length or version field is impossible.
    BadHeader = 2,
    /// The packet claims more bytes than the frame has.
    BadLength = 3,
    /// From an address that nobody sends from: 0/8, or 127/8 on another interface than `lo`.
    BadSource = 4,
    /// From the address it is for.
    Land = 5,
    /// TCP flags that no connection has: none, SYN with FIN, FIN with URG and PSH.
    BadFlags = 6,
}

/// Number of defects, rounded up to a power of two.
pub const DEFECTS: u32 = 8;

/// What is done with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// Goes on.
    Pass,
    /// Goes on with this mark.
    Mark(u32),
    /// Ends here.
    Drop,
    /// Ends here and is answered by a reset.
    Reset,
}

impl Unit {
    /// The unit of its number; unknown ones are the mildest.
    #[inline(always)]
    pub const fn of(number: u8) -> Self {
        match number {
            1 => Self::Packets,
            2 => Self::Bytes,
            _ => Self::NewFlows,
        }
    }
}

impl Action {
    /// The action of its number; unknown ones change nothing.
    #[inline(always)]
    pub const fn of(number: u8) -> Self {
        match number {
            0 => Self::Drop,
            1 => Self::Mark,
            3 => Self::Reset,
            _ => Self::Observe,
        }
    }
}

impl Reason {
    /// Whether packets end for it, unless they are only observed.
    #[inline(always)]
    pub const fn rejects(self) -> bool {
        matches!(
            self,
            Self::Denied | Self::Over | Self::OverNear | Self::OverFar | Self::Malformed | Self::OverQuota
        )
    }
}

#[cfg(any(test, feature = "user"))]
impl Direction {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Ingress, Self::Egress];

    /// The word in settings and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ingress => "ingress",
            Self::Egress => "egress",
        }
    }
}

#[cfg(any(test, feature = "user"))]
impl Reason {
    /// All, in the order of their numbers.
    pub const ALL: [Self; 15] = [
        Self::Off,
        Self::NotIp,
        Self::Vital,
        Self::Safe,
        Self::Allowed,
        Self::Denied,
        Self::NoPolicy,
        Self::Continues,
        Self::Within,
        Self::WithinPrefix,
        Self::Over,
        Self::OverNear,
        Self::OverFar,
        Self::Malformed,
        Self::OverQuota,
    ];

    /// The word in metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::NotIp => "not_ip",
            Self::Vital => "vital",
            Self::Safe => "safe",
            Self::Allowed => "allowed",
            Self::Denied => "denied",
            Self::NoPolicy => "no_policy",
            Self::Continues => "continues",
            Self::Within => "within",
            Self::WithinPrefix => "within_prefix",
            Self::Over => "over",
            Self::OverNear => "over_near_prefix",
            Self::OverFar => "over_far_prefix",
            Self::Malformed => "malformed",
            Self::OverQuota => "over_quota",
        }
    }
}

#[cfg(any(test, feature = "user"))]
impl Defect {
    /// All that are one, in the order of their numbers.
    pub const ALL: [Self; 6] =
        [Self::Truncated, Self::BadHeader, Self::BadLength, Self::BadSource, Self::Land, Self::BadFlags];

    /// The word in metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Truncated => "truncated",
            Self::BadHeader => "bad_header",
            Self::BadLength => "bad_length",
            Self::BadSource => "bad_source",
            Self::Land => "land",
            Self::BadFlags => "bad_flags",
        }
    }
}
