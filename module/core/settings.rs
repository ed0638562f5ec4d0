// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! What can be set of a vnet: every timer and limit of the protocol, with its range, its default and its place in the
//! netlink ABI. Times are in milliseconds, rates in events per second.

use crate::abi::net;
use crate::sealed::{Cipher, Mode};

macro_rules! settings {
    ($($(#[$meta:meta])* $variant:ident = $name:literal, $attr:ident, $min:literal ..= $max:literal, $default:literal;)*) => {
        /// One setting of a vnet.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Setting {
            $($(#[$meta])* $variant,)*
        }

        impl Setting {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];
            /// How many there are.
            pub const COUNT: usize = Self::ALL.len();

            /// Name, as in vnet.yaml and on the command line.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// Number of the attribute of a vnet that has it.
            pub const fn attr(self) -> u16 {
                match self { $(Self::$variant => net::$attr,)* }
            }

            /// Smallest and largest value.
            pub const fn range(self) -> (u32, u32) {
                match self { $(Self::$variant => ($min, $max),)* }
            }

            /// Value unless set.
            #[inline]
            pub const fn default(self) -> u32 {
                match self { $(Self::$variant => $default,)* }
            }
        }

        impl Default for Settings {
            fn default() -> Self {
                Self([$($default,)*])
            }
        }
    };
}

/// The settings of a vnet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings([u32; Setting::COUNT]);

settings! {
    /// After how long a MAC that was not heard is forgotten.
    Ageing = "ageing", AGEING, 100..=86_400_000, 300_000;
    /// Most MACs that are learned, remote and local apart.
    MaxMacs = "max-macs", MAX_MACS, 1..=16_777_216, 65_536;
    /// What becomes of unicast to an unknown MAC; see [`Settings::unknown`].
    Unknown = "unknown", UNKNOWN, 0..=2, 0;
    /// Most frames held for one MAC.
    HoldMac = "hold-mac", HOLD_MAC, 0..=256, 16;
    /// Most frames held in the vnet.
    HoldNet = "hold-net", HOLD_NET, 0..=1024, 256;
    /// Most MACs that are asked for or known to be nowhere.
    MaxUnresolved = "max-unresolved", MAX_UNRESOLVED, 1..=1024, 128;
    /// How often is asked for a MAC.
    Probes = "probes", PROBES, 1..=16, 5;
    /// Time between the first two requests; doubled each time.
    ProbeInterval = "probe-interval", PROBE_INTERVAL, 10..=10_000, 100;
    /// For how long is remembered that nobody has a MAC.
    Negative = "negative", NEGATIVE, 0..=600_000, 5_000;
    /// Most unknown unicast frames flooded in a second; 0 for no limit.
    UnknownRate = "unknown-rate", UNKNOWN_RATE, 0..=1_000_000, 100;
    /// How often is announced that a MAC appeared here.
    Announces = "announces", ANNOUNCES, 0..=10, 3;
    /// Time between the first two announcements; doubled each time.
    AnnounceInterval = "announce-interval", ANNOUNCE_INTERVAL, 10..=10_000, 200;
    /// Most requests, announcements and answers, each, in a second; 0 for no limit.
    VarpRate = "varp-rate", VARP_RATE, 0..=1_000_000, 200;
    /// Moves within the window after which a MAC is damped; 0 for never.
    MoveLimit = "move-limit", MOVE_LIMIT, 0..=1_000, 5;
    /// The window.
    MoveWindow = "move-window", MOVE_WINDOW, 100..=3_600_000, 10_000;
    /// For how long a MAC is damped.
    Damp = "damp", DAMP, 100..=3_600_000, 30_000;
    /// From which hosts is accepted; see [`Settings::listed_only`].
    Remotes = "remotes", REMOTES, 0..=1, 0;
    /// Most MACs learned from one host; 0 for no limit of its own.
    RemoteMacs = "remote-macs", REMOTE_MACS, 0..=16_777_216, 0;
    /// Most frames to groups accepted from one host in a second; 0 for no limit.
    RemoteFloods = "remote-floods", REMOTE_FLOODS, 0..=10_000_000, 0;
    /// UDP source port of data; see [`Settings::flow_port`].
    SourcePort = "source-port", SOURCE_PORT, 0..=1, 0;
    /// Whether and how messages are sealed; see [`Settings::sealed`].
    Seal = "seal", SEAL, 0..=2, 0;
    /// With which cipher is sealed; see [`Settings::sealed`].
    Cipher = "cipher", CIPHER, 0..=1, 0;
    /// Most senders of sealed messages that are remembered.
    MaxSenders = "max-senders", MAX_SENDERS, 1..=4096, 1024;
}

/// What becomes of a unicast frame to a MAC of which nothing is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unknown {
    /// Held while hosts are asked; flooded at a limited rate if nobody answers.
    Hold,
    /// Flooded at a limited rate at once.
    Flood,
    /// Held while hosts are asked; dropped if nobody answers.
    Drop,
}

impl Settings {
    /// A setting's value.
    #[inline]
    pub fn get(&self, setting: Setting) -> u32 {
        self.0
            .get(setting as usize)
            .copied()
            .unwrap_or(setting.default())
    }

    /// Sets a value; false, and nothing is changed, if it is not in the range.
    #[must_use]
    pub fn set(&mut self, setting: Setting, value: u32) -> bool {
        let (min, max) = setting.range();
        match self.0.get_mut(setting as usize) {
            Some(place) if (min..=max).contains(&value) => {
                *place = value;
                true
            }
            _ => false,
        }
    }

    /// What becomes of unicast to an unknown MAC.
    pub fn unknown(&self) -> Unknown {
        match self.get(Setting::Unknown) {
            net::UNKNOWN_FLOOD => Unknown::Flood,
            net::UNKNOWN_DROP => Unknown::Drop,
            _ => Unknown::Hold,
        }
    }

    /// Whether only listed hosts are accepted from.
    pub fn listed_only(&self) -> bool {
        self.get(Setting::Remotes) == net::REMOTES_LISTED
    }

    /// Whether the source port of data follows from the inner flow.
    pub fn flow_port(&self) -> bool {
        self.get(Setting::SourcePort) == net::SOURCE_PORT_FLOW
    }

    /// How messages are sealed; none if they are not.
    pub fn sealed(&self) -> Option<(Mode, Cipher)> {
        let mode = match self.get(Setting::Seal) {
            net::SEAL_AUTH => Mode::Auth,
            net::SEAL_CONF => Mode::Conf,
            _ => return None,
        };
        let cipher = match self.get(Setting::Cipher) {
            net::CIPHER_AES => Cipher::Aes256Gcm,
            _ => Cipher::ChaCha20Poly1305,
        };
        Some((mode, cipher))
    }
}
