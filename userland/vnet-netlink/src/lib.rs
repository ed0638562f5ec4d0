// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! Client of the generic netlink family `vnet`, and the few requests of rtnetlink that go with it.
//!
//! Everything is synchronous: a request waits for its answer. Whatever the kernel says about a refusal in its
//! extended acknowledgement is in [`Error`]. The numbers come from `vnet_core::abi`.
//!
//! Of neli it uses sockets, headers and constants. Answers are parsed here ([`attributes`], [`message`]): its parser drops
//! the text of a warning and trusts every length in an error.

pub mod attributes;
mod client;
mod error;
mod genl;
pub mod link;
pub mod message;
mod monitor;
pub mod netns;
mod socket;
mod types;

pub use client::Client;
pub use error::{Error, Refusal};
pub use link::{Link, Links};
pub use monitor::{Event, Monitor, Subject};
pub use types::{
    Counters, Flushed, Host, HostConfig, Net, NetChange, NetConfig, Peer, Varp, VarpState, Vif,
};
