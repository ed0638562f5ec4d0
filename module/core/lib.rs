// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! What the kernel module and the daemon have in common: wire formats, the VARP state machines, vnet ids, settings and
//! the numbers of the netlink interface.
//!
//! No I/O, no clock, no allocation, no `unsafe`; nothing in here panics, whatever bytes it is given. One source, two
//! build systems: kbuild links it into `vnet.ko`, cargo builds it through `userland/vnet-core`. Its tests are there.

// Kbuild passes `no_std` on the command line.
#![cfg_attr(not(CONFIG_RUST), no_std)]
#![forbid(unsafe_code)]
#![warn(missing_docs, unreachable_pub)]

pub mod abi;
pub mod id;
pub mod mac;
pub mod rate;
pub mod sealed;
pub mod settings;
pub mod time;
pub mod varp;
pub mod wire;

pub use id::{IdError, IfName, VnetId};
pub use mac::{Mac, MacError};
pub use rate::Bucket;
pub use settings::{Setting, Settings, Unknown};
pub use time::Instant;
pub use wire::WireError;
