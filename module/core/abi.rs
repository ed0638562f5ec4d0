// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! Numbers of the generic netlink family `vnet`.
//!
//! `module/uapi/vnet.yaml` is the source of truth and says what each means; a test compares the two.
//! Attribute numbers are counted within their set.

/// Name of the generic netlink family, and of the rtnetlink link kind.
pub const FAMILY: &str = "vnet";
/// Version of the family.
pub const VERSION: u8 = 1;
/// Multicast group to which one notification per change is sent.
pub const GROUP_CONFIG: &str = "config";
/// Multicast group to which is told what happens on the wire.
pub const GROUP_EVENTS: &str = "events";

/// Commands.
#[expect(missing_docs, reason = "described in vnet.yaml")]
pub mod cmd {
    pub const NET_NEW: u8 = 1;
    pub const NET_SET: u8 = 2;
    pub const NET_GET: u8 = 3;
    pub const NET_DEL: u8 = 4;
    pub const HOST_SET: u8 = 5;
    pub const HOST_GET: u8 = 6;
    pub const PEER_NEW: u8 = 7;
    pub const PEER_GET: u8 = 8;
    pub const PEER_DEL: u8 = 9;
    pub const VARP_NEW: u8 = 10;
    pub const VARP_GET: u8 = 11;
    pub const VARP_DEL: u8 = 12;
    pub const VARP_FLUSH: u8 = 13;
    pub const VIF_GET: u8 = 14;
    pub const NET_NEW_NTF: u8 = 15;
    pub const NET_SET_NTF: u8 = 16;
    pub const NET_DEL_NTF: u8 = 17;
    pub const HOST_SET_NTF: u8 = 18;
    pub const PEER_NEW_NTF: u8 = 19;
    pub const PEER_DEL_NTF: u8 = 20;
    pub const VARP_NEW_NTF: u8 = 21;
    pub const VARP_DEL_NTF: u8 = 22;
    pub const VARP_FLUSH_NTF: u8 = 23;
    pub const REMOTE_NEW: u8 = 24;
    pub const REMOTE_GET: u8 = 25;
    pub const REMOTE_DEL: u8 = 26;
    pub const PROBE: u8 = 27;
    pub const REMOTE_NEW_NTF: u8 = 28;
    pub const REMOTE_DEL_NTF: u8 = 29;
    pub const VARP_DAMPED_NTF: u8 = 30;
    pub const PROBE_NTF: u8 = 31;
    pub const KEY_NEW: u8 = 32;
    pub const KEY_GET: u8 = 33;
    pub const KEY_DEL: u8 = 34;
    pub const KEY_ROTATE: u8 = 35;
    pub const KEY_NEW_NTF: u8 = 36;
    pub const KEY_DEL_NTF: u8 = 37;
    pub const KEY_ROTATED_NTF: u8 = 38;
    pub const KEY_EXPIRING_NTF: u8 = 39;
}

/// Attributes of a vnet.
#[expect(missing_docs, reason = "described in vnet.yaml")]
pub mod net {
    pub const ID: u16 = 1;
    pub const IFNAME: u16 = 2;
    pub const IFINDEX: u16 = 3;
    pub const MTU: u16 = 4;
    pub const AGEING: u16 = 5;
    pub const MAX_MACS: u16 = 6;
    pub const MACS: u16 = 7;
    pub const VIFS: u16 = 8;
    pub const NETNSID: u16 = 9;
    pub const UNDERLAY_MTU: u16 = 10;
    pub const STATS: u16 = 11;
    pub const UNKNOWN: u16 = 12;
    pub const HOLD_MAC: u16 = 13;
    pub const HOLD_NET: u16 = 14;
    pub const MAX_UNRESOLVED: u16 = 15;
    pub const PROBES: u16 = 16;
    pub const PROBE_INTERVAL: u16 = 17;
    pub const NEGATIVE: u16 = 18;
    pub const UNKNOWN_RATE: u16 = 19;
    pub const ANNOUNCES: u16 = 20;
    pub const ANNOUNCE_INTERVAL: u16 = 21;
    pub const VARP_RATE: u16 = 22;
    pub const MOVE_LIMIT: u16 = 23;
    pub const MOVE_WINDOW: u16 = 24;
    pub const DAMP: u16 = 25;
    pub const REMOTES: u16 = 26;
    pub const REMOTE_MACS: u16 = 27;
    pub const REMOTE_FLOODS: u16 = 28;
    pub const SOURCE_PORT: u16 = 29;
    pub const HELD: u16 = 30;
    pub const UNRESOLVED: u16 = 31;
    pub const SEAL: u16 = 32;
    pub const CIPHER: u16 = 33;
    pub const MAX_SENDERS: u16 = 34;
    pub const SENDERS: u16 = 35;
    pub const MAX: u16 = 35;

    /// Values of [`UNKNOWN`].
    pub const UNKNOWN_HOLD: u32 = 0;
    pub const UNKNOWN_FLOOD: u32 = 1;
    pub const UNKNOWN_DROP: u32 = 2;
    /// Values of [`REMOTES`].
    pub const REMOTES_ANY: u32 = 0;
    pub const REMOTES_LISTED: u32 = 1;
    /// Values of [`SOURCE_PORT`].
    pub const SOURCE_PORT_FIXED: u32 = 0;
    pub const SOURCE_PORT_FLOW: u32 = 1;
    /// Values of [`SEAL`].
    pub const SEAL_NONE: u32 = 0;
    pub const SEAL_AUTH: u32 = 1;
    pub const SEAL_CONF: u32 = 2;
    /// Values of [`CIPHER`].
    pub const CIPHER_CHACHA: u32 = 0;
    pub const CIPHER_AES: u32 = 1;
}

/// Attributes of the namespace's settings.
#[expect(missing_docs, reason = "described in vnet.yaml")]
pub mod host {
    pub const PORT: u16 = 1;
    pub const GROUP: u16 = 2;
    pub const DEVICE: u16 = 3;
    pub const TTL: u16 = 4;
    pub const NETS: u16 = 5;
    pub const JOINED: u16 = 6;
    pub const VERSION: u16 = 7;
    pub const STATS: u16 = 8;
    pub const FLOOD: u16 = 9;
    pub const DSCP: u16 = 10;
    pub const MAX: u16 = 10;

    /// Values of [`FLOOD`].
    pub const FLOOD_GROUP: u32 = 0;
    pub const FLOOD_PEERS: u32 = 1;
}

/// Attributes of a peer.
#[expect(missing_docs, reason = "described in vnet.yaml")]
pub mod peer {
    pub const ADDR: u16 = 1;
    pub const MAX: u16 = 1;
}

/// Attributes of an entry of the VARP table.
#[expect(missing_docs, reason = "described in vnet.yaml")]
pub mod varp {
    pub const NET: u16 = 1;
    pub const MAC: u16 = 2;
    pub const ADDR: u16 = 3;
    pub const STATE: u16 = 4;
    pub const AGE: u16 = 5;
    pub const COUNT: u16 = 6;
    pub const HELD: u16 = 7;
    pub const MOVES: u16 = 8;
    pub const DAMPED: u16 = 9;
    pub const OTHER: u16 = 10;
    pub const MAX: u16 = 10;

    /// Values of [`STATE`].
    pub const STATE_LEARNED: u32 = 0;
    pub const STATE_STATIC: u32 = 1;
    pub const STATE_PROBING: u32 = 2;
    pub const STATE_ABSENT: u32 = 3;
}

/// Attributes of a local MAC.
#[expect(missing_docs, reason = "described in vnet.yaml")]
pub mod vif {
    pub const NET: u16 = 1;
    pub const MAC: u16 = 2;
    pub const AGE: u16 = 3;
    pub const MOVES: u16 = 4;
    pub const DAMPED: u16 = 5;
    pub const MAX: u16 = 5;
}

/// Attributes of a host from which a vnet accepts, or has learned.
#[expect(missing_docs, reason = "described in vnet.yaml")]
pub mod remote {
    pub const NET: u16 = 1;
    pub const ADDR: u16 = 2;
    pub const LISTED: u16 = 3;
    pub const MACS: u16 = 4;
    pub const MAX: u16 = 4;
}

/// Attributes of a question to other hosts, and of an answer.
#[expect(missing_docs, reason = "described in vnet.yaml")]
pub mod probe {
    pub const NET: u16 = 1;
    pub const MAC: u16 = 2;
    pub const ADDR: u16 = 3;
    pub const SIZE: u16 = 4;
    pub const CARE_OF: u16 = 5;
    pub const MAX: u16 = 5;
}

/// Attributes of a key of a vnet.
#[expect(missing_docs, reason = "described in vnet.yaml")]
pub mod key {
    pub const NET: u16 = 1;
    pub const INDEX: u16 = 2;
    pub const SLOT: u16 = 3;
    pub const KEY: u16 = 4;
    pub const AGE: u16 = 5;
    pub const COUNTER: u16 = 6;
    pub const MAX: u16 = 6;

    /// Values of [`SLOT`].
    pub const SLOT_CURRENT: u32 = 0;
    pub const SLOT_NEXT: u32 = 1;
    pub const SLOT_PREVIOUS: u32 = 2;
}

/// Declares an enum of counters whose attribute numbers count from `$first`, and the names of all of them.
macro_rules! counters {
    ($(#[$meta:meta])* $name:ident, $first:literal, { $($variant:ident = $text:literal,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u16)]
        pub enum $name {
            $(#[doc = concat!("`", $text, "` in vnet.yaml.")] $variant,)*
        }

        impl $name {
            /// All counters, in the order of their attribute numbers.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];
            /// How many there are.
            pub const COUNT: usize = Self::ALL.len();

            /// The attribute number.
            pub const fn attr(self) -> u16 {
                self as u16 + $first
            }

            /// The name, as in vnet.yaml.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)*
                }
            }
        }
    };
}

/// Attributes of the nest [`net::STATS`] that the network stack counts itself.
#[expect(missing_docs, reason = "described in vnet.yaml")]
pub mod net_stats {
    pub const RX_PACKETS: u16 = 1;
    pub const RX_BYTES: u16 = 2;
    pub const TX_PACKETS: u16 = 3;
    pub const TX_BYTES: u16 = 4;
    pub const NAMES: [&str; 4] = ["rx-packets", "rx-bytes", "tx-packets", "tx-bytes"];
}

counters! {
    /// Counters of one vnet, beside [`net_stats`].
    NetCounter, 5, {
        RxShort = "rx-short",
        RxBadSource = "rx-bad-source",
        RxOwnSource = "rx-own-source",
        RxDown = "rx-down",
        RxEcn = "rx-ecn",
        RxNoMemory = "rx-no-memory",
        RxBacklog = "rx-backlog",
        TxShort = "tx-short",
        TxNoDestination = "tx-no-destination",
        TxNoRoute = "tx-no-route",
        TxLoop = "tx-loop",
        TxTooBig = "tx-too-big",
        TxNoMemory = "tx-no-memory",
        TxNoSocket = "tx-no-socket",
        Flooded = "flooded",
        Unknown = "unknown",
        Moves = "moves",
        TableFull = "table-full",
        TxUnderlay = "tx-underlay",
        RxElsewhere = "rx-elsewhere",
        RxNotListed = "rx-not-listed",
        RxFloodLimit = "rx-flood-limit",
        RemoteFull = "remote-full",
        Damped = "damped",
        Held = "held",
        HoldDropped = "hold-dropped",
        UnknownDropped = "unknown-dropped",
        Resolved = "resolved",
        Unresolved = "unresolved",
        RxRequest = "rx-request",
        RxAnnounce = "rx-announce",
        RxWithdraw = "rx-withdraw",
        RxVarpRefused = "rx-varp-refused",
        TxRequest = "tx-request",
        TxAnnounce = "tx-announce",
        TxWithdraw = "tx-withdraw",
        VarpLimited = "varp-limited",
        RxNotSealed = "rx-not-sealed",
        RxBadSeal = "rx-bad-seal",
        RxReplay = "rx-replay",
        RxUnknownSender = "rx-unknown-sender",
        TxNoKey = "tx-no-key",
        Challenges = "challenges",
        Admitted = "admitted",
        Evicted = "evicted",
    }
}

counters! {
    /// Counters of the namespace: what was dropped before a vnet was found.
    HostCounter, 1, {
        RxShort = "rx-short",
        RxBadMessage = "rx-bad-message",
        RxBadVersion = "rx-bad-version",
        RxUnknownNet = "rx-unknown-net",
        RxOtherGroup = "rx-other-group",
        RxVarp = "rx-varp",
        RxForward = "rx-forward",
        RxBadOuter = "rx-bad-outer",
        RxForwardRefused = "rx-forward-refused",
        RxDuplicate = "rx-duplicate",
        TxForward = "tx-forward",
        Relayed = "relayed",
        RxUnknownKey = "rx-unknown-key",
    }
}

/// Smallest and largest MTU of a vnet, in bytes. The largest leaves room for the outer headers in an IPv4 packet.
pub const MTU_RANGE: (u32, u32) = (68, 65471);
/// TTL unless set; the original's.
pub const TTL_DEFAULT: u8 = 64;
/// Value of [`host::TTL`] that takes over that of the inner packet.
pub const TTL_INHERIT: u8 = 0;
/// Value of [`host::DSCP`] that takes over that of the inner packet.
pub const DSCP_INHERIT: u8 = 255;
/// Largest DSCP.
pub const DSCP_MAX: u8 = 63;
/// Bytes of the UDP payload of a probe: the message itself, and what fits an IPv4 packet.
pub const PROBE_SIZE_RANGE: (u32, u32) = (43, 65507);
/// Most peers of a namespace: a flooded frame is sent to each of them at once.
pub const MAX_PEERS: usize = 256;
/// Most hosts that a vnet may list.
pub const MAX_LISTED: usize = 1024;
/// Range of the index of a key.
pub const KEY_INDEX_RANGE: (u32, u32) = (1, 65535);
/// Milliseconds after a probe for which answers are told of.
pub const PROBE_WATCH: u64 = 10_000;
