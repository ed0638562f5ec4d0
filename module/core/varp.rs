// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! VARP: which host a MAC address is behind, and how hosts come to know it.
//!
//! State machines without I/O, clock or memory of their own. A driver (kernel module, daemon) gives them storage, frames, the time and
//! what it received, and carries out what they say. They know nothing of tables of known addresses, sockets and locks; a driver
//! calls each under a lock of its own. See `docs/protocol.md` for what they are to achieve.
//!
//! * [`Resolver`]: unicast frames to unknown addresses, requests, negative knowledge.
//! * [`Announcer`]: addresses that have appeared here, and are announced a few times.
//! * [`Moves`]: how often one address moved, and whether it is damped.
//! * [`judge`]: what a received message calls for, if it is plausible.
//! * [`Recent`]: whether a packet to the group came by another [`Way`] a moment ago.

mod announce;
mod judge;
mod moves;
mod recent;
mod resolve;

pub use announce::{Announcer, Appearance};
pub use judge::{is_host, is_of_link, judge, Judged};
pub use moves::{Move, Moves};
pub use recent::{digest, Recent, Sighting, Way};
pub use resolve::{Due, Fate, Held, Pending, PendingState, Resolver, Submitted};
