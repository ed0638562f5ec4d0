// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! Templates, images and disks: on a storage host with ZFS, LIO and NFS, and as a dom0 uses them. docs/storage.md says how
//! the parts belong together.

pub(crate) mod content;
pub(crate) mod copy;
pub(crate) mod delete;
pub(crate) mod disk;
pub(crate) mod export;
pub(crate) mod image;
pub(crate) mod iscsi;
pub(crate) mod lio;
pub(crate) mod mount;
pub(crate) mod nfs;
pub(crate) mod size;
pub(crate) mod template;
pub(crate) mod unmount;
pub(crate) mod zfs;

use crate::failure::Refused;

/// A refusal, with the next step.
fn refuse<T>(reason: impl Into<String>, hint: impl Into<String>) -> anyhow::Result<T> {
    Err(Refused::new(reason).hint(hint).into())
}
