// SPDX-License-Identifier: GPL-2.0-only

//! The hosts of a vnet, as far as they are allowed or limited.
//!
//! Locking: the list is changed under RTNL and read under RCU; it is replaced whole. The lock of [`FloodLimits`] is innermost,
//! taken in softirq, and only where a limit is set.

use core::net::IpAddr;

use kernel::prelude::*;
use kernel::rbtree::{RBTree, RBTreeNode};
use vnet_core::{abi, Bucket};

use crate::sys::rcu::{Guard, RcuBoxCell};
use crate::sys::rtnl::Rtnl;
use crate::sys::sync::{BhLock, LockKind};
use crate::sys::{self, rcu, Refusal, Result};

/// The hosts that are listed, in order.
pub(crate) struct Listed(RcuBoxCell<KVec<IpAddr>>);

impl Listed {
    /// No host.
    pub(crate) fn empty() -> Self {
        Self(RcuBoxCell::empty())
    }

    /// Whether a host is listed.
    pub(crate) fn contains(&self, host: IpAddr, guard: &Guard) -> bool {
        self.0
            .load(guard)
            .is_some_and(|list| list.binary_search(&host).is_ok())
    }

    /// A copy, with room for more. Sleeps.
    pub(crate) fn copy(&self, more: usize, _rtnl: &Rtnl) -> Result<KVec<IpAddr>> {
        let len = {
            let guard = rcu::read_lock();
            self.0.load(&guard).map_or(0, |list| list.len())
        };
        let room = len.saturating_add(more);
        let mut copy = KVec::with_capacity(room, GFP_KERNEL)?;
        let guard = rcu::read_lock();
        for host in self.0.load(&guard).into_iter().flatten() {
            // RTNL has kept the list as long as it was.
            if copy.push_within_capacity(*host).is_err() {
                break;
            }
        }
        Ok(copy)
    }

    /// Lists a host. False if it is listed. Sleeps.
    pub(crate) fn add(&self, host: IpAddr, rtnl: &mut Rtnl) -> Result<bool> {
        let mut list = self.copy(1, rtnl)?;
        if list.binary_search(&host).is_ok() {
            return Ok(false);
        }
        if list.len() >= abi::MAX_LISTED {
            let full = Refusal::new(ENOSPC, c"as many hosts are listed as can be");
            return Err(full.with(abi::MAX_LISTED as u32));
        }
        let at = list.partition_point(|other| *other < host);
        list.push(host, GFP_KERNEL)?;
        if let Some(tail) = list.get_mut(at..) {
            tail.rotate_right(1);
        }
        self.set(list)?;
        Ok(true)
    }

    /// Takes a host off the list. False if it was not on it. Sleeps.
    pub(crate) fn remove(&self, host: IpAddr, rtnl: &mut Rtnl) -> Result<bool> {
        let mut list = self.copy(0, rtnl)?;
        if list.binary_search(&host).is_err() {
            return Ok(false);
        }
        list.retain(|other| *other != host);
        self.set(list)?;
        Ok(true)
    }

    fn set(&self, list: KVec<IpAddr>) -> Result {
        drop(self.0.replace(Some(KBox::new(list, GFP_KERNEL)?)));
        Ok(())
    }
}

/// Hosts whose floods are counted at a time. Who makes up more addresses gains the burst of each.
const FLOODERS: usize = 1024;

/// How many floods come from each host.
#[pin_data]
pub(crate) struct FloodLimits {
    #[pin]
    hosts: BhLock<(RBTree<IpAddr, Bucket>, usize)>,
}

impl FloodLimits {
    /// None yet.
    pub(crate) fn new() -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            hosts <- BhLock::new((RBTree::new(), 0), LockKind::Floods),
        }? Error)
    }

    /// Whether one more is allowed from a host. Does not sleep.
    pub(crate) fn allow(&self, host: IpAddr, rate: u32) -> bool {
        let now = sys::now();
        let mut hosts = self.hosts.lock();
        let (tree, len) = &mut *hosts;
        if let Some(bucket) = tree.get_mut(&host) {
            return bucket.allow(now, rate);
        }
        if *len >= FLOODERS {
            *tree = RBTree::new();
            *len = 0;
        }
        let mut bucket = Bucket::new();
        let allowed = bucket.allow(now, rate);
        match RBTreeNode::new(host, bucket, GFP_ATOMIC | __GFP_NOWARN) {
            Ok(node) => {
                tree.insert(node);
                *len = len.saturating_add(1);
                allowed
            }
            Err(_) => false,
        }
    }
}
