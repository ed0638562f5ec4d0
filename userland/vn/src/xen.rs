// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! Virtual machines and routing domains on a dom0, with Xen's `xl`. docs/xen.md says how the parts belong together.

pub(crate) mod config;
pub(crate) mod console;
pub(crate) mod dad;
pub(crate) mod domr;
pub(crate) mod image;
pub(crate) mod keys;
pub(crate) mod limit;
pub(crate) mod net;
pub(crate) mod opening;
pub(crate) mod record;
pub(crate) mod remote;
pub(crate) mod sent;
pub(crate) mod vm;
pub(crate) mod vnc;
pub(crate) mod words;
pub(crate) mod xl;

use crate::failure::Refused;

/// Where everything is that `vn` writes down of machines.
pub(crate) const DIRECTORY: &str = "/etc/xen/vn";

/// A refusal, with the next step.
fn refuse<T>(reason: impl Into<String>, hint: impl Into<String>) -> anyhow::Result<T> {
    Err(Refused::new(reason).hint(hint).into())
}
