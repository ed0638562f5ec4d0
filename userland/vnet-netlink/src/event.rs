// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! What is told without being asked for.

use serde::Serialize;
use vnet_core::abi::cmd;

use crate::Error;
use crate::types::{Answer, Damped, Flushed, Host, Key, Net, Peer, Remote, Varp};

macro_rules! events {
    ($($(#[$doc:meta])* $variant:ident($record:ident) = $command:ident, $name:literal;)*) => {
        /// A notification. Serialized, `event` is the name of what was done, and the rest that to which it was done.
        #[derive(Clone, Debug, PartialEq, Eq, Serialize)]
        #[serde(tag = "event")]
        pub enum Event {
            $($(#[$doc])* #[serde(rename = $name)] $variant($record),)*
        }

        impl Event {
            /// Reads a notification. `None` if it is of a kind that is not known here.
            pub fn parse(command: u8, attributes: &[u8]) -> Result<Option<Self>, Error> {
                Ok(match command {
                    $(cmd::$command => Some(Self::$variant($record::parse(attributes)?)),)*
                    _ => None,
                })
            }

            /// What was done: the name of the command, or of what happened.
            pub fn name(&self) -> &'static str {
                match self {
                    $(Self::$variant(_) => $name,)*
                }
            }
        }
    };
}

events! {
    /// A vnet was made.
    NetNew(Net) = NET_NEW_NTF, "net-new";
    /// A vnet was changed.
    NetSet(Net) = NET_SET_NTF, "net-set";
    /// A vnet was removed.
    NetDel(Net) = NET_DEL_NTF, "net-del";
    /// The settings of the namespace were changed.
    HostSet(Host) = HOST_SET_NTF, "host-set";
    /// A peer was added.
    PeerNew(Peer) = PEER_NEW_NTF, "peer-new";
    /// A peer was removed.
    PeerDel(Peer) = PEER_DEL_NTF, "peer-del";
    /// A static entry of the VARP table was added or replaced.
    VarpNew(Varp) = VARP_NEW_NTF, "varp-new";
    /// An entry was removed by command.
    VarpDel(Varp) = VARP_DEL_NTF, "varp-del";
    /// Learned entries were flushed.
    VarpFlush(Flushed) = VARP_FLUSH_NTF, "varp-flush";
    /// A host was listed.
    RemoteNew(Remote) = REMOTE_NEW_NTF, "remote-new";
    /// A host was taken off the list.
    RemoteDel(Remote) = REMOTE_DEL_NTF, "remote-del";
    /// A MAC moved too often.
    VarpDamped(Damped) = VARP_DAMPED_NTF, "varp-damped";
    /// A host announced a MAC of a vnet in which something was asked.
    Probe(Answer) = PROBE_NTF, "probe";
    /// A vnet was given a key.
    KeyNew(Key) = KEY_NEW_NTF, "key-new";
    /// A key was taken away.
    KeyDel(Key) = KEY_DEL_NTF, "key-del";
    /// A vnet seals with this key from now on.
    KeyRotated(Key) = KEY_ROTATED_NTF, "key-rotated";
    /// A vnet needs another key.
    KeyExpiring(Key) = KEY_EXPIRING_NTF, "key-expiring";
}
