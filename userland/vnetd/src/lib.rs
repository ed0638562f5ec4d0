// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! `vnetd`: carries vnets between hosts from user space.
//!
//! Threads: one that controls, and one for each queue. See `docs/design.md`, "The daemon".

mod checksum;
mod control;
mod daemon;
mod dump;
mod expression;
mod family;
#[cfg(test)]
mod harness;
mod host;
mod icmp;
mod inner;
mod key_requests;
mod links;
mod merge;
mod message;
mod notice;
mod offload;
mod post;
mod requests;
mod rtnl;
mod rx;
mod sealed;
mod shared;
mod startup;
mod state;
mod sys;
mod table;
mod tap;
mod tx;
mod udp;
mod varp;
mod vnet;
mod worker;

pub mod fuzz;
pub mod options;

pub use daemon::run;

/// Writes a line to the log, which is standard error.
fn log(text: &str) {
    use std::io::Write;
    // There is nobody to tell that nobody can be told.
    let _ = writeln!(std::io::stderr(), "vnetd: {text}");
}
