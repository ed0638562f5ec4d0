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
    pub const MAX: u16 = 11;
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
    pub const MAX: u16 = 8;
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
    pub const MAX: u16 = 6;

    /// Values of [`STATE`].
    pub const STATE_LEARNED: u32 = 0;
    pub const STATE_STATIC: u32 = 1;
}

/// Attributes of a local MAC.
#[expect(missing_docs, reason = "described in vnet.yaml")]
pub mod vif {
    pub const NET: u16 = 1;
    pub const MAC: u16 = 2;
    pub const AGE: u16 = 3;
    pub const MAX: u16 = 3;
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
    }
}

/// Smallest and largest MTU of a vnet, in bytes. The largest leaves room for the outer headers in an IPv4 packet.
pub const MTU_RANGE: (u32, u32) = (68, 65471);
/// Range of the ageing time, in milliseconds.
pub const AGEING_RANGE: (u32, u32) = (100, 86_400_000);
/// Ageing time unless set, in milliseconds.
pub const AGEING_DEFAULT: u32 = 300_000;
/// Range of the limit on MAC addresses.
pub const MAX_MACS_RANGE: (u32, u32) = (1, 16_777_216);
/// Limit on MAC addresses unless set.
pub const MAX_MACS_DEFAULT: u32 = 65_536;
/// TTL unless set; the original's.
pub const TTL_DEFAULT: u8 = 64;
