// SPDX-License-Identifier: GPL-2.0-only

//! Other hosts, as far as packets are sent to them: an address and the route to it.
//!
//! A [`Remote`] never changes. All vnets of a namespace share it, and so its route cache. What moves to another host is
//! given another remote, hence another cache: a stale route cannot be used.
//!
//! Locking: the lock of [`Remotes`] is innermost, taken in process context and softirq.

use core::net::IpAddr;

use kernel::prelude::*;
use kernel::rbtree::{RBTree, RBTreeNode};

use crate::sys::rcu::RcuArc;
use crate::sys::route::RouteCache;
use crate::sys::sync::{BhLock, LockKind};

/// Another host, or a multicast group.
pub(crate) struct Remote {
    address: IpAddr,
    route: RouteCache,
}

impl Remote {
    /// Its address.
    #[inline]
    pub(crate) fn address(&self) -> IpAddr {
        self.address
    }

    /// The route to it, as each CPU remembers it.
    #[inline]
    pub(crate) fn route(&self) -> &RouteCache {
        &self.route
    }
}

/// All remotes that are in use in a namespace, by address.
#[pin_data]
pub(crate) struct Remotes {
    /// Each with a reference of its own, which goes when it is the last but one that is put.
    #[pin]
    known: BhLock<RBTree<IpAddr, RcuArc<Remote>>>,
}

impl Remotes {
    /// None yet.
    pub(crate) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            known <- BhLock::new(RBTree::new(), LockKind::Remotes),
        })
    }

    /// The remote with this address. It is given back with [`Remotes::put`]. Does not sleep.
    pub(crate) fn get(&self, address: IpAddr) -> Result<RcuArc<Remote>> {
        let mut known = self.known.lock();
        if let Some(remote) = known.get(&address) {
            return Ok(remote.clone());
        }
        let flags = GFP_ATOMIC | __GFP_NOWARN;
        let route = RouteCache::new(flags)?;
        let remote = RcuArc::new(Remote { address, route }, flags)?;
        known.insert(RBTreeNode::new(address, remote.clone(), flags)?);
        Ok(remote)
    }

    /// Gives a remote back. Does not sleep.
    pub(crate) fn put(&self, remote: RcuArc<Remote>) {
        let mut known = self.known.lock();
        // This reference and the tree's own: nobody else has one, and nobody can get one as long as the lock is held.
        if remote.count() <= 2 {
            drop(known.remove(&remote.address));
        }
        drop(remote);
    }

    /// Has all routes looked up anew.
    pub(crate) fn reset_routes(&self) {
        for remote in self.known.lock().values() {
            remote.route.reset();
        }
    }
}
