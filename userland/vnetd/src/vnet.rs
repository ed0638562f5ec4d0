// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! One vnet: what stays of it when its configuration changes.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed, Ordering::SeqCst};

use vnet_core::abi::{self, NetCounter};
use vnet_core::varp::{Announcer, Appearance, Held, Pending, Resolver};
use vnet_core::{Bucket, Instant, Mac, Setting, Settings, VnetId};

use crate::offload::VnetHeader;
use crate::shared::{Counters, Shared, locked};
use crate::table::Table;
use crate::tap::Tap;

/// Addresses that are announced more than once at a time.
const APPEARANCES: usize = 256;
/// The longest time between two sweeps of the table, in milliseconds.
const SWEEP_MAX: u64 = 10_000;
/// No time.
const NEVER: u64 = u64::MAX;

/// A frame that waits.
#[derive(Debug)]
pub(crate) struct Frame {
    /// What the device said of it.
    pub(crate) header: VnetHeader,
    /// The frame.
    pub(crate) bytes: Vec<u8>,
}

/// Unknown addresses, with storage of its own.
pub(crate) type FrameResolver = Resolver<Frame, Vec<Pending>, Vec<Held<Frame>>>;

/// What passed, as the network stack counts it.
#[derive(Default)]
pub(crate) struct Traffic {
    pub(crate) rx_packets: AtomicU64,
    pub(crate) rx_bytes: AtomicU64,
    pub(crate) tx_packets: AtomicU64,
    pub(crate) tx_bytes: AtomicU64,
}

/// Limits on what is sent as an answer.
#[derive(Default)]
pub(crate) struct Limits {
    /// Announcements to who has asked.
    pub(crate) answers: Bucket,
    /// Withdrawals to who sent a frame for an address that is elsewhere: they must not keep requests from being answered.
    pub(crate) corrections: Bucket,
    /// Withdrawals to everyone.
    pub(crate) withdrawals: Bucket,
}

/// A vnet.
pub(crate) struct Vnet {
    /// Its id.
    pub(crate) id: VnetId,
    /// Tells vnets apart that had the same id one after another; rises.
    pub(crate) serial: u64,
    /// Its device.
    pub(crate) tap: Tap,
    /// Where its MACs are.
    pub(crate) table: Table,
    /// What passed.
    pub(crate) traffic: Traffic,
    /// Limits on answers.
    pub(crate) limits: Mutex<Limits>,
    counters: Counters<{ NetCounter::COUNT }>,
    resolver: Mutex<Option<FrameResolver>>,
    /// Addresses in the resolver: who finds none need not take its lock.
    unresolved: AtomicUsize,
    announcer: Mutex<Option<Announcer<Vec<Appearance>>>>,
    /// When the table is swept next.
    sweep: AtomicU64,
    /// When it is polled next, as far as it was asked for.
    scheduled: AtomicU64,
    /// Until when answers to probes are told.
    watched: AtomicU64,
}

impl Vnet {
    /// A vnet of which nothing is known yet.
    pub(crate) fn new(id: VnetId, serial: u64, tap: Tap) -> Self {
        Self {
            id,
            serial,
            tap,
            table: Table::new(),
            traffic: Traffic::default(),
            limits: Mutex::default(),
            counters: Counters::new(),
            resolver: Mutex::default(),
            unresolved: AtomicUsize::new(0),
            announcer: Mutex::default(),
            sweep: AtomicU64::new(NEVER),
            scheduled: AtomicU64::new(NEVER),
            watched: AtomicU64::new(0),
        }
    }

    /// Counts something.
    pub(crate) fn count(&self, counter: NetCounter) {
        self.counters.add(counter as usize, 1);
    }

    /// A counter's value.
    pub(crate) fn counted(&self, counter: NetCounter) -> u64 {
        self.counters.get(counter as usize)
    }

    /// Whether any address is unresolved. Cheap.
    pub(crate) fn is_asking(&self) -> bool {
        self.unresolved.load(SeqCst) > 0
    }

    /// Does something with the resolver, under its lock, and has the vnet polled when it is due.
    pub(crate) fn with_resolver<T>(
        &self,
        shared: &Shared,
        work: impl FnOnce(&mut FrameResolver) -> T,
    ) -> T {
        let mut guard = locked(&self.resolver);
        let resolver = guard.get_or_insert_with(|| {
            let most = Setting::MaxUnresolved.range().1 as usize;
            let frames = Setting::HoldNet.range().1 as usize;
            let places = (0..frames).map(|_| Held::unused()).collect();
            Resolver::new(vec![Pending::UNUSED; most], places)
        });
        // While the work looks into the table, an address may become known there: then who made it known has to come here, and wait.
        self.unresolved.fetch_add(1, SeqCst);
        let done = work(resolver);
        self.unresolved.store(resolver.pending().len(), SeqCst);
        let due = resolver.next_due();
        drop(guard);
        self.schedule(shared, due);
        done
    }

    /// Looks at the resolver, if there is one.
    pub(crate) fn resolving<T>(&self, look: impl FnOnce(&FrameResolver) -> T) -> Option<T> {
        locked(&self.resolver).as_ref().map(look)
    }

    /// Does something with the announcer, under its lock, and has the vnet polled when it is due.
    pub(crate) fn with_announcer<T>(
        &self,
        shared: &Shared,
        work: impl FnOnce(&mut Announcer<Vec<Appearance>>) -> T,
    ) -> T {
        let mut guard = locked(&self.announcer);
        let announcer =
            guard.get_or_insert_with(|| Announcer::new(vec![Appearance::UNUSED; APPEARANCES]));
        let done = work(announcer);
        let due = announcer.next_due();
        drop(guard);
        self.schedule(shared, due);
        done
    }

    /// An address is not here any more.
    pub(crate) fn not_here(&self, mac: Mac) {
        if let Some(announcer) = &mut *locked(&self.announcer) {
            announcer.gone(mac);
        }
    }

    fn schedule(&self, shared: &Shared, due: Option<Instant>) {
        let Some(due) = due else { return };
        if self.scheduled.fetch_min(due.as_millis(), SeqCst) > due.as_millis() {
            shared.schedule(self.id, due);
        }
    }

    /// The vnet is about to be polled: whatever is asked for from now on is asked for anew.
    pub(crate) fn begin_poll(&self) {
        self.scheduled.store(NEVER, SeqCst);
    }

    /// After a poll: has what is still to come done in time.
    pub(crate) fn end_poll(&self, shared: &Shared) {
        let due = self.resolving(FrameResolver::next_due).flatten();
        self.schedule(shared, due);
        let due = locked(&self.announcer)
            .as_ref()
            .and_then(Announcer::next_due);
        self.schedule(shared, due);
        let sweep = self.sweep.load(SeqCst);
        self.schedule(
            shared,
            (sweep != NEVER).then(|| Instant::from_millis(sweep)),
        );
    }

    /// The table has entries: it is to be swept.
    pub(crate) fn age(&self, shared: &Shared, settings: &Settings) {
        let ageing = u64::from(settings.get(Setting::Ageing));
        let due = shared.clock.now().plus((ageing / 8).clamp(1, SWEEP_MAX));
        if self.sweep.fetch_min(due.as_millis(), SeqCst) > due.as_millis() {
            self.schedule(shared, Some(due));
        }
    }

    /// The settings were changed: what waits does not wait longer than it would from now on.
    pub(crate) fn settings_changed(&self, shared: &Shared, settings: &Settings) {
        let now = shared.clock.now();
        if let Some(resolver) = &mut *locked(&self.resolver) {
            resolver.settings_changed(now, settings);
        }
        if let Some(announcer) = &mut *locked(&self.announcer) {
            announcer.settings_changed(now, settings);
        }
        self.table.settings_changed(now, settings);
        self.schedule(shared, Some(now));
    }

    /// Whether the table is to be swept now; if so, [`Vnet::age`] has it swept again.
    pub(crate) fn begin_sweep(&self, now: Instant) -> bool {
        let due = self.sweep.load(SeqCst);
        if due == NEVER || due > now.as_millis() {
            return false;
        }
        self.sweep.store(NEVER, SeqCst);
        true
    }

    /// Has answers to probes told for a while.
    pub(crate) fn watch(&self, now: Instant) {
        let until = now.plus(abi::PROBE_WATCH);
        self.watched.store(until.as_millis(), Relaxed);
    }

    /// Whether answers to probes are told.
    pub(crate) fn is_watched(&self, now: Instant) -> bool {
        now.as_millis() < self.watched.load(Relaxed)
    }
}
