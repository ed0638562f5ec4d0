// SPDX-License-Identifier: GPL-2.0-only

//! VARP of one vnet: carries out what the state machines of the core decide.
//!
//! Frames to unknown addresses, announcements, withdrawals and events wait here. One delayed work does what is due.
//!
//! Locking: one lock, taken in process context and softirq; inside it only RCU. Nothing is sent with it held, as what is
//! sent may come back into the vnet. Who has learned an address first puts it into the table and then calls
//! [`Varp::resolved`], which takes the lock; [`Varp::submit`] looks into the table with the lock held: no frame is left
//! behind.

use core::net::IpAddr;

use kernel::prelude::*;
use vnet_core::abi::{self, NetCounter};
use vnet_core::varp::{
    Announcer, Appearance, Due, Fate, Held, Pending, PendingState, Resolver, Submitted,
};
use vnet_core::wire::VarpOpcode;
use vnet_core::{Bucket, Instant, Mac, Setting, Settings};

use crate::device::Vnet;
use crate::netlink;
use crate::sys::netdev::OwnDevice;
use crate::sys::once::Once;
use crate::sys::rcu::{self, Guard};
use crate::sys::rtnl;
use crate::sys::skb::SkBuff;
use crate::sys::sync::{BhLock, LockKind};
use crate::sys::work::{Delayed, Task};
use crate::sys::{self, SoftirqsOff};
use crate::tx::Sender;

/// Most addresses that are announced again.
const APPEARANCES: usize = 64;
/// Most messages, and most events, that wait for the work.
const WAITING: usize = 256;
/// Packets that one run of the work sends, or other things that it does, before it lets others run.
const BATCH: usize = 256;

/// Something to tell who listens.
pub(crate) enum Event {
    /// A MAC address was damped where it is; it was heard somewhere else.
    Damped {
        /// The address.
        mac: Mac,
        /// Where it was heard; none if here.
        other: Option<IpAddr>,
    },
    /// A host answered.
    Answer {
        /// What was announced; zero if only that the vnet is there.
        mac: Mac,
        /// Who sent it.
        host: IpAddr,
        /// The address in the message.
        care_of: IpAddr,
    },
    /// The key with an index is nearly used up: so many messages were sealed.
    KeyExpiring {
        /// Its index.
        index: u16,
        /// The messages.
        counter: u64,
    },
}

/// An address that is unknown, for listings.
pub(crate) struct Unresolved {
    pub(crate) mac: Mac,
    pub(crate) state: PendingState,
    pub(crate) frames: u16,
}

type Frames = Resolver<SkBuff, KVec<Pending>, KVec<Held<SkBuff>>>;

struct State {
    /// Made when the first frame has to wait.
    resolver: Option<Frames>,
    /// Made when the first address appears.
    announcer: Option<Announcer<KVec<Appearance>>>,
    /// Messages to everyone that are to be sent at once.
    outbox: KVec<(VarpOpcode, Mac)>,
    events: KVec<Event>,
    answers: Bucket,
    /// Of answers to who is mistaken about where an address is.
    corrections: Bucket,
    withdrawals: Bucket,
    /// Whether others are to be told that we are here, see `Sender::greet`.
    greet: bool,
    /// The vnet is being removed: nothing waits any more.
    closed: bool,
}

/// As a task, does what is due.
#[pin_data]
struct Work {
    device: OwnDevice<Vnet>,
    #[pin]
    state: BhLock<State>,
    /// Addresses in the resolver, for those who do not want to take the lock for nothing.
    unresolved: Once<u32>,
    /// Until when answers are told of, in milliseconds since boot.
    watched_until: Once<u64>,
}

/// VARP of one vnet.
#[pin_data]
pub(crate) struct Varp {
    #[pin]
    work: Delayed<Work>,
}

/// What becomes of a frame to an unknown address.
pub(crate) enum Unknown {
    /// The address is known after all.
    Known(SkBuff),
    /// It was submitted to the resolver.
    Submitted(Submitted<SkBuff>),
}

fn filled<T>(len: usize, value: impl Fn() -> T) -> Result<KVec<T>> {
    let flags = GFP_ATOMIC | __GFP_NOWARN;
    let mut vec = KVec::with_capacity(len, flags)?;
    for _ in 0..len {
        vec.push(value(), flags)?;
    }
    Ok(vec)
}

impl State {
    /// The resolver; none without memory, or when the vnet is being removed.
    fn resolver(&mut self, settings: &Settings) -> Option<&mut Frames> {
        if self.resolver.is_none() && !self.closed {
            let pending = filled(settings.get(Setting::MaxUnresolved) as usize, || {
                Pending::UNUSED
            });
            let frames = filled(settings.get(Setting::HoldNet) as usize, Held::unused);
            if let (Ok(pending), Ok(frames)) = (pending, frames) {
                self.resolver = Some(Resolver::new(pending, frames));
            }
        }
        self.resolver.as_mut()
    }

    fn has_room(&self) -> bool {
        !self.closed && self.outbox.len() < WAITING
    }

    fn post(&mut self, opcode: VarpOpcode, mac: Mac) -> bool {
        let flags = GFP_ATOMIC | __GFP_NOWARN;
        self.has_room() && self.outbox.push((opcode, mac), flags).is_ok()
    }

    /// When something is due next.
    fn next_due(&self) -> Option<Instant> {
        if self.greet || !self.outbox.is_empty() || !self.events.is_empty() {
            return Some(Instant::default());
        }
        let resolver = self.resolver.as_ref().and_then(Resolver::next_due);
        let announcer = self.announcer.as_ref().and_then(Announcer::next_due);
        match (resolver, announcer) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        }
    }
}

impl Varp {
    /// Nothing to do yet, for the vnet of a device.
    pub(crate) fn new(device: OwnDevice<Vnet>) -> impl PinInit<Self, Error> {
        let state = State {
            resolver: None,
            announcer: None,
            outbox: KVec::new(),
            events: KVec::new(),
            answers: Bucket::new(),
            corrections: Bucket::new(),
            withdrawals: Bucket::new(),
            greet: false,
            closed: false,
        };
        let work = try_pin_init!(Work {
            device,
            state <- BhLock::new(state, LockKind::Varp),
            unresolved: Once::new(0),
            watched_until: Once::new(0),
        }? Error);
        try_pin_init!(Self {
            work <- Delayed::new(work),
        }? Error)
    }

    fn inner(&self) -> &Work {
        self.work.task()
    }

    /// Has the work done when something is due.
    fn schedule(&self, due: Option<Instant>, now: Instant) {
        if let Some(due) = due {
            self.work.requeue(sys::msecs_to_jiffies(now.until(due)));
        }
    }

    /// A frame to an address that the table did not have.
    pub(crate) fn submit(
        &self,
        vnet: &Vnet,
        mac: Mac,
        mut frame: SkBuff,
        guard: &Guard,
    ) -> Unknown {
        let settings = vnet.settings().now();
        let now = sys::now();
        let may_wait = frame.keep();
        let mut state = self.inner().state.lock();
        let known = vnet.fdb().get(mac, guard);
        if known.is_some_and(|entry| entry.remote(guard).is_some()) {
            return Unknown::Known(frame);
        }
        let Some(resolver) = state.resolver(&settings).filter(|_| may_wait) else {
            // Without memory, or of a vnet that is being removed. Nothing limits what would be flooded now.
            return Unknown::Submitted(Submitted {
                ask: false,
                limited: false,
                fate: Fate::Drop(frame),
                evicted: None,
            });
        };
        if vnet.fdb().is_full() {
            // Whatever the answer is, it cannot be remembered.
            return Unknown::Submitted(Submitted {
                ask: false,
                limited: false,
                fate: resolver.flood(frame, now, &settings),
                evicted: None,
            });
        }
        let submitted = resolver.submit(mac, frame, now, &settings);
        let count = resolver.pending().len() as u32;
        self.inner().unresolved.store(count);
        if submitted.ask {
            // With the lock held, so that nobody puts off what another has made due.
            self.schedule(state.next_due(), now);
        }
        Unknown::Submitted(submitted)
    }

    /// An address was heard that the table has no room for: what waited for it is sent to everyone.
    ///
    /// Who makes addresses up comes here with each frame, and then does not take the lock for nothing. A frame that begins to
    /// wait at the same moment waits for the next one.
    pub(crate) fn heard_of(&self, vnet: &Vnet, mac: Mac, guard: &Guard) {
        if self.inner().unresolved.load() != 0 {
            self.resolved(vnet, mac, guard);
        }
    }

    /// An address has appeared here: what waited for it is dropped, as the bridge has reached it. Sends nothing.
    pub(crate) fn abandon(&self, vnet: &Vnet, mac: Mac) {
        let mut was_unknown = false;
        while self.take(mac, &mut was_unknown).is_some() {
            vnet.count(NetCounter::HoldDropped);
            self.inner().device.count_tx_dropped();
        }
        if was_unknown {
            vnet.count(NetCounter::Resolved);
        }
    }

    /// Takes a frame that waits for an address, and forgets that it is unknown if there is none.
    fn take(&self, mac: Mac, was_unknown: &mut bool) -> Option<SkBuff> {
        let inner = self.inner();
        let mut state = inner.state.lock();
        let resolver = state.resolver.as_mut()?;
        *was_unknown |= resolver.knows(mac);
        let frame = resolver.take(mac);
        let count = resolver.pending().len() as u32;
        inner.unresolved.store(count);
        frame
    }

    /// The table has just learned an address: what waited for it is sent.
    pub(crate) fn resolved(&self, vnet: &Vnet, mac: Mac, guard: &Guard) {
        let inner = self.inner();
        let (mut was_unknown, mut was_unlearned) = (false, false);
        while let Some(mut frame) = self.take(mac, &mut was_unknown) {
            let entry = vnet.fdb().get(mac, guard);
            let remote = entry.and_then(|entry| entry.remote(guard));
            let Some(underlay) = vnet.namespace().underlay(guard) else {
                vnet.count(NetCounter::TxNoSocket);
                inner.device.count_tx_dropped();
                continue;
            };
            let sender = Sender::for_held(vnet, &inner.device, underlay, &mut frame, guard);
            match (entry, remote) {
                (_, Some(remote)) => sender.send(frame, remote),
                // The table has no room for it.
                (None, None) => {
                    was_unlearned = true;
                    match self.fate_of(frame, vnet) {
                        Fate::Flood(frame) => sender.flood(frame),
                        Fate::Drop(_) | Fate::Held => {
                            vnet.count(NetCounter::UnknownDropped);
                            inner.device.count_tx_dropped();
                        }
                    }
                }
                // It has appeared here, where the bridge has reached it.
                (Some(_), None) => {
                    vnet.count(NetCounter::HoldDropped);
                    inner.device.count_tx_dropped();
                }
            }
        }
        if was_unlearned {
            self.unlearned(vnet, mac);
        }
        if was_unknown {
            vnet.count(NetCounter::Resolved);
        }
    }

    /// What becomes of a frame to an address that cannot be learned.
    fn fate_of(&self, frame: SkBuff, vnet: &Vnet) -> Fate<SkBuff> {
        let settings = vnet.settings().now();
        match self.inner().state.lock().resolver.as_mut() {
            Some(resolver) => resolver.flood(frame, sys::now(), &settings),
            None => Fate::Drop(frame),
        }
    }

    /// An address is known for which the table has no room.
    fn unlearned(&self, vnet: &Vnet, mac: Mac) {
        let (now, settings) = (sys::now(), vnet.settings().now());
        let mut state = self.inner().state.lock();
        let Some(resolver) = state.resolver.as_mut() else {
            return;
        };
        resolver.unlearned(mac, now, &settings);
        let count = resolver.pending().len() as u32;
        self.inner().unresolved.store(count);
        self.schedule(state.next_due(), now);
    }

    /// An address has appeared here, or moved here.
    pub(crate) fn appeared(&self, vnet: &Vnet, mac: Mac) {
        let settings = vnet.settings().now();
        let now = sys::now();
        let mut state = self.inner().state.lock();
        if state.closed || settings.get(Setting::Announces) == 0 {
            return;
        }
        if state.announcer.is_none() {
            let places = filled(APPEARANCES, || Appearance::UNUSED);
            state.announcer = places.ok().map(Announcer::new);
        }
        let at_once = match state.announcer.as_mut() {
            Some(announcer) => announcer.appeared(mac, now, &settings),
            None => true,
        };
        if !at_once || !state.post(VarpOpcode::Announce, mac) {
            vnet.count(NetCounter::VarpLimited);
        }
        drop(state);
        self.work.requeue(0);
    }

    /// An address is not here any more, and nowhere else as far as is known.
    pub(crate) fn disappeared(&self, vnet: &Vnet, mac: Mac) {
        let rate = vnet.settings().get(Setting::VarpRate);
        let mut state = self.inner().state.lock();
        if let Some(announcer) = state.announcer.as_mut() {
            announcer.gone(mac);
        }
        // What cannot be posted is not charged for.
        let posted = state.has_room()
            && state.withdrawals.allow(sys::now(), rate)
            && state.post(VarpOpcode::Withdraw, mac);
        if !posted {
            vnet.count(NetCounter::VarpLimited);
            return;
        }
        drop(state);
        self.work.requeue(0);
    }

    /// An address has moved away: it is not announced again.
    pub(crate) fn moved_away(&self, mac: Mac) {
        if let Some(announcer) = self.inner().state.lock().announcer.as_mut() {
            announcer.gone(mac);
        }
    }

    /// Whether one more answer to a request may be sent; counted if not.
    pub(crate) fn may_answer(&self, vnet: &Vnet) -> bool {
        self.may(vnet, |state| &mut state.answers)
    }

    /// Whether one more host may be told that it is mistaken; counted if not. Hosts that flood frames to each peer are told
    /// often: that must not keep requests from being answered.
    pub(crate) fn may_correct(&self, vnet: &Vnet) -> bool {
        self.may(vnet, |state| &mut state.corrections)
    }

    fn may(&self, vnet: &Vnet, bucket: impl FnOnce(&mut State) -> &mut Bucket) -> bool {
        let rate = vnet.settings().get(Setting::VarpRate);
        let allowed = bucket(&mut self.inner().state.lock()).allow(sys::now(), rate);
        if !allowed {
            vnet.count(NetCounter::VarpLimited);
        }
        allowed
    }

    /// Tells of an event. What is too much is not told.
    pub(crate) fn tell(&self, event: Event) {
        let mut state = self.inner().state.lock();
        if !state.closed && state.events.len() < WAITING {
            // Nobody is told without memory.
            let _ = state.events.push(event, GFP_ATOMIC | __GFP_NOWARN);
        }
        drop(state);
        self.work.requeue(0);
    }

    /// Who else is in the vnet is told that we are, if it is sealed.
    pub(crate) fn greet(&self) {
        let mut state = self.inner().state.lock();
        state.greet = !state.closed;
        drop(state);
        self.work.requeue(0);
    }

    /// Answers are told of from now on, for a while.
    pub(crate) fn watch(&self) {
        let until = sys::now().plus(abi::PROBE_WATCH).as_millis();
        self.inner().watched_until.store(until);
    }

    /// Whether answers are told of.
    pub(crate) fn is_watched(&self) -> bool {
        self.inner().watched_until.load() > sys::now().as_millis()
    }

    /// Frames that are held, and addresses that are unknown.
    pub(crate) fn counts(&self) -> (u32, u32) {
        let state = self.inner().state.lock();
        match &state.resolver {
            Some(resolver) => (resolver.held() as u32, resolver.pending().len() as u32),
            None => (0, 0),
        }
    }

    /// The unknown addresses. Sleeps.
    pub(crate) fn unresolved(&self) -> Result<KVec<Unresolved>> {
        let mut list = KVec::with_capacity(self.counts().1 as usize, GFP_KERNEL)?;
        let state = self.inner().state.lock();
        for entry in state
            .resolver
            .iter()
            .flat_map(|resolver| resolver.pending())
        {
            let unresolved = Unresolved {
                mac: entry.mac(),
                state: entry.state(),
                frames: entry.frames(),
            };
            if list.push_within_capacity(unresolved).is_err() {
                break;
            }
        }
        Ok(list)
    }

    /// The settings were changed: what waits does not wait longer than it would from now on, and no more frames wait than may.
    pub(crate) fn settings_changed(&self, vnet: &Vnet, settings: &Settings) {
        let now = sys::now();
        let excess = || {
            let mut state = self.inner().state.lock();
            state.resolver.as_mut()?.excess(settings)
        };
        while let Some(frame) = excess() {
            drop(frame);
            self.count_dropped(vnet);
        }
        let mut state = self.inner().state.lock();
        if let Some(resolver) = state.resolver.as_mut() {
            resolver.settings_changed(now, settings);
        }
        if let Some(announcer) = state.announcer.as_mut() {
            announcer.settings_changed(now, settings);
        }
        self.schedule(state.next_due(), now);
    }

    /// The storage is made anew, when it is needed, of the size that is set then; what waits is dropped.
    pub(crate) fn resize(&self, vnet: &Vnet) {
        self.drop_all(vnet, false);
    }

    /// Ends everything for good. Sleeps.
    pub(crate) fn end(&self, vnet: &Vnet) {
        self.drop_all(vnet, true);
        self.work.end();
    }

    fn drop_all(&self, vnet: &Vnet, close: bool) {
        let inner = self.inner();
        // Taken whole: who keeps sending cannot keep this from coming to an end.
        let resolver = {
            let mut state = inner.state.lock();
            state.closed |= close;
            inner.unresolved.store(0);
            state.resolver.take()
        };
        let Some(mut resolver) = resolver else { return };
        while let Some(frame) = resolver.clear() {
            drop(frame);
            self.count_dropped(vnet);
        }
    }

    /// Counts a held frame that was dropped. In process context.
    fn count_dropped(&self, vnet: &Vnet) {
        // Counters are of the CPU.
        let _softirqs = SoftirqsOff::new();
        vnet.count(NetCounter::HoldDropped);
        self.inner().device.count_tx_dropped();
    }
}

impl Work {
    /// Announces what is here, and withdraws what is not: it may have changed since that was decided.
    fn tell_if_so(
        &self,
        vnet: &Vnet,
        sender: &Sender<'_>,
        opcode: VarpOpcode,
        mac: Mac,
        guard: &Guard,
    ) {
        let entry = vnet.fdb().get(mac, guard);
        let is_here = entry.is_some_and(|entry| entry.remote(guard).is_none());
        if is_here == (opcode == VarpOpcode::Announce) {
            sender.tell_all(opcode, mac);
        }
    }

    /// Sends what is due, as much as a batch. True if there may be more.
    fn send_due(&self, vnet: &Vnet, settings: &Settings, now: Instant) -> bool {
        let _softirqs = SoftirqsOff::new();
        let guard = rcu::read_lock();
        let Some(underlay) = vnet.namespace().underlay(&guard) else {
            return false;
        };
        let sender = Sender::for_message(vnet, &self.device, underlay, &guard);
        // What goes to everyone is as many packets as there are hosts to send it to.
        for _ in 0..(BATCH / underlay.targets().max(1)).max(1) {
            let mut state = self.state.lock();
            if core::mem::take(&mut state.greet) {
                drop(state);
                sender.greet();
                continue;
            }
            if !state.outbox.is_empty() {
                let next = state.outbox.remove(0).ok();
                drop(state);
                if let Some((opcode, mac)) = next {
                    self.tell_if_so(vnet, &sender, opcode, mac, &guard);
                }
                continue;
            }
            if let Some(due) = state.resolver.as_mut().and_then(|r| r.poll(now, settings)) {
                let count = state
                    .resolver
                    .as_ref()
                    .map_or(0, |r| r.pending().len() as u32);
                self.unresolved.store(count);
                drop(state);
                match due {
                    Due::Ask(mac) => sender.tell_all(VarpOpcode::Request, mac),
                    Due::Flood(mut frame) => {
                        Sender::for_held(vnet, &self.device, underlay, &mut frame, &guard)
                            .flood(frame);
                    }
                    Due::Drop(_) => {
                        vnet.count(NetCounter::UnknownDropped);
                        self.device.count_tx_dropped();
                    }
                    Due::Unresolved(_) => vnet.count(NetCounter::Unresolved),
                    Due::Limited => vnet.count(NetCounter::VarpLimited),
                }
                continue;
            }
            let announced = state.announcer.as_mut().and_then(|a| a.poll(now, settings));
            drop(state);
            match announced {
                Some(mac) => self.tell_if_so(vnet, &sender, VarpOpcode::Announce, mac, &guard),
                None => return false,
            }
        }
        true
    }
}

impl Task for Work {
    fn run(&self) -> Option<usize> {
        let vnet = self.device.state()?;
        let settings = vnet.settings().now();
        let now = sys::now();
        if self.send_due(vnet, &settings, now) {
            return Some(1);
        }
        // Who removes the vnet holds RTNL while it waits for us.
        if !self.state.lock().events.is_empty() {
            let Some(rtnl) = rtnl::try_lock() else {
                return Some(1);
            };
            let events = core::mem::replace(&mut self.state.lock().events, KVec::new());
            for event in &events {
                netlink::notify_event(vnet, event, &rtnl);
            }
        }
        let due = self.state.lock().next_due()?;
        Some(sys::msecs_to_jiffies(sys::now().until(due)).max(1))
    }
}
