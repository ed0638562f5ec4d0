// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! Client of the family `vnet`, over generic netlink to the module or over the socket of `vnetd` ([`Endpoint`]), and the few
//! requests of rtnetlink that go with it.
//!
//! Everything is synchronous: a request waits for its answer. Whatever the other side says about a refusal in its
//! extended acknowledgement is in [`Error`]. The numbers come from `vnet_core::abi`.
//!
//! Of neli it uses sockets, headers and constants. Answers are parsed here ([`attributes`], [`message`]): its parser drops
//! the text of a warning and trusts every length in an error.

pub mod attributes;
mod client;
mod daemon;
mod endpoint;
mod error;
mod event;
mod genl;
pub mod inspect;
pub mod link;
pub mod message;
mod monitor;
pub mod netns;
mod settings;
mod socket;
mod types;
mod value;

pub use client::Client;
pub use daemon::JOIN;
pub use endpoint::{Endpoint, Via};
pub use error::{Error, Refusal};
pub use event::Event;
pub use inspect::{Device, Inspector};
pub use link::{Link, Links};
pub use monitor::Monitor;
pub use settings::{Shown, SomeSettings, value_names};
pub use types::{
    Answer, Counters, Damped, Flushed, Host, HostConfig, Key, Net, NetChange, NetConfig, Peer,
    Probe, Remote, Varp, Vif,
};
pub use value::{Flood, KeySlot, VarpState};
