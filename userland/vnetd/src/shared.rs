// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! What threads share: the configuration as the control thread has made it, counters, timers, and what they tell each other.
//!
//! The configuration, a [`World`], is never changed but replaced whole. Who works on a packet keeps the one it began with.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet, VecDeque};
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use nix::errno::Errno;
use nix::sys::eventfd::{EfdFlags, EventFd};
use vnet_core::abi::HostCounter;
use vnet_core::varp::{Recent, Sighting};
use vnet_core::{Instant, Mac, Settings, VnetId};

use crate::rtnl::Addresses;
use crate::sealed::{Keys, Use};
use crate::udp::{Flows, Sockets};
use crate::vnet::Vnet;

/// Forwarded packets that are remembered.
const SIGHTINGS: usize = 1024;
/// Most events that wait to be told.
const EVENTS: usize = 1024;
/// Most jobs that wait for a worker, of those that can be done without.
const JOBS: usize = 4096;

/// Takes a lock. What a thread that panicked left behind is whole: changes under locks are single steps.
pub(crate) fn locked<T>(lock: &Mutex<T>) -> MutexGuard<'_, T> {
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Counters that every thread adds to.
pub(crate) struct Counters<const N: usize>([AtomicU64; N]);

impl<const N: usize> Counters<N> {
    pub(crate) fn new() -> Self {
        Self(std::array::from_fn(|_| AtomicU64::new(0)))
    }

    /// Adds to a counter.
    pub(crate) fn add(&self, index: usize, by: u64) {
        if let Some(counter) = self.0.get(index) {
            counter.fetch_add(by, Ordering::Relaxed);
        }
    }

    /// A counter's value.
    pub(crate) fn get(&self, index: usize) -> u64 {
        self.0
            .get(index)
            .map_or(0, |counter| counter.load(Ordering::Relaxed))
    }
}

/// A clock that does not go back.
pub(crate) struct Clock(std::time::Instant);

impl Clock {
    pub(crate) fn now(&self) -> Instant {
        let millis = self.0.elapsed().as_millis();
        Instant::from_millis(u64::try_from(millis).unwrap_or(u64::MAX))
    }
}

/// The network below, while there are vnets.
pub(crate) struct Underlay {
    /// The workers' sockets.
    pub(crate) sockets: Arc<Sockets>,
    /// Those with other source ports, if any vnet wants them.
    pub(crate) flows: Option<Arc<Flows>>,
    /// UDP port, source and destination.
    pub(crate) port: u16,
    /// Index of the device that everything must leave through, or 0.
    pub(crate) device: u32,
    /// TTL; none to take over the inner one.
    pub(crate) ttl: Option<u8>,
    /// DSCP; none to take over the inner one.
    pub(crate) dscp: Option<u8>,
    /// The group.
    pub(crate) group: Option<IpAddr>,
    /// Index of the device on which the group is joined, or 0.
    pub(crate) joined: u32,
    /// Whether floods go straight to the peers.
    pub(crate) flood_peers: bool,
    /// The peers.
    pub(crate) peers: Vec<IpAddr>,
    /// The addresses of this host.
    pub(crate) own: Arc<Addresses>,
    /// Our address as the group and the peers see it, where that is known.
    pub(crate) sources: HashMap<IpAddr, IpAddr>,
}

impl Underlay {
    /// Whether what goes to the group goes wrapped to the peers, too.
    pub(crate) fn forwards(&self) -> bool {
        !self.flood_peers && !self.peers.is_empty()
    }
}

/// A vnet as it is configured now.
pub(crate) struct Net {
    /// What stays when the configuration changes.
    pub(crate) vnet: Arc<Vnet>,
    /// Its settings.
    pub(crate) settings: Settings,
    /// Whether the device is up; true if it is in another namespace, where only the device knows.
    pub(crate) up: bool,
    /// Address of the device.
    pub(crate) address: Mac,
    /// Whether outer packets may be fragmented: if the MTU does not fit the underlay.
    pub(crate) fragment: bool,
    /// The hosts that are accepted from, if not all are.
    pub(crate) listed: Option<HashSet<IpAddr>>,
    /// There if everything is to be sealed.
    pub(crate) sealed: Option<Arc<Keys>>,
}

impl Net {
    /// Whether anything is accepted from a host.
    pub(crate) fn accepts(&self, host: IpAddr) -> bool {
        self.listed
            .as_ref()
            .is_none_or(|listed| listed.contains(&host))
    }

    /// Whether the source port of data follows from the inner flow. No original is in a sealed vnet.
    pub(crate) fn flow_port(&self) -> bool {
        self.sealed.is_some() || self.settings.flow_port()
    }
}

/// The configuration.
#[derive(Clone, Default)]
pub(crate) struct World {
    /// The network below.
    pub(crate) underlay: Option<Arc<Underlay>>,
    /// The vnets.
    pub(crate) nets: HashMap<VnetId, Arc<Net>>,
    /// What the tags of sealed messages stand for.
    pub(crate) tags: HashMap<u64, (Arc<Net>, Arc<Use>)>,
}

/// Something to tell the subscribers of `events`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// A MAC moved too often.
    Damped {
        id: VnetId,
        mac: Mac,
        /// Where it stays; none if that is here.
        stays: Option<IpAddr>,
        /// Where it would have moved; none if that is here.
        other: Option<IpAddr>,
        /// How often it moved.
        moves: u32,
        /// Milliseconds.
        damped: u32,
    },
    /// A host answered a probe.
    Answer {
        id: VnetId,
        mac: Mac,
        from: IpAddr,
        care_of: IpAddr,
    },
    /// A key is nearly used up.
    KeyExpiring {
        id: VnetId,
        index: u16,
        /// Messages that were sealed.
        counter: u64,
    },
}

/// Something that a worker is to do.
pub(crate) enum Job {
    /// What is due of a vnet.
    Poll(VnetId),
    /// A MAC has become known: what is held for it is sent.
    Known(VnetId, Mac),
    /// The bridge has learned a MAC behind another port.
    Bridged(VnetId, Mac),
    /// The bridge has forgotten a MAC.
    Gone(VnetId, Mac),
    /// A vnet can seal, or somebody new may hear it: others in it are told.
    Greet(VnetId),
    /// A vnet is sealed in another way: what was learned from hosts before is forgotten.
    Resealed(VnetId),
    /// A question is to be sent.
    Probe {
        id: VnetId,
        mac: Mac,
        /// A host, and the address by which it knows us; everyone if there is none.
        to: Option<(IpAddr, IpAddr)>,
        size: usize,
        /// By which who asked knows what has become of it.
        ticket: u64,
    },
    /// The daemon ends.
    End,
}

impl Job {
    /// Whether it can be done without. There are few of the others: one for each vnet, or for each client.
    fn may_be_lost(&self) -> bool {
        matches!(
            self,
            Self::Known(..) | Self::Bridged(..) | Self::Gone(..) | Self::Greet(_)
        )
    }
}

/// Where a worker is told things.
pub(crate) struct Inbox {
    jobs: Mutex<VecDeque<Job>>,
    wake: EventFd,
}

impl Inbox {
    fn new() -> nix::Result<Self> {
        Ok(Self {
            jobs: Mutex::default(),
            wake: EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?,
        })
    }

    /// What becomes readable when there is something.
    pub(crate) fn wake(&self) -> &EventFd {
        &self.wake
    }

    /// Gives the worker a job. Of what a bridge or a client causes, no more waits than a limit; beyond it, it is lost: an
    /// address is then announced or forgotten later, and what is held for it is flooded in the end.
    pub(crate) fn put(&self, job: Job) {
        let mut jobs = locked(&self.jobs);
        if jobs.len() < JOBS || !job.may_be_lost() {
            jobs.push_back(job);
        }
        drop(jobs);
        self.kick();
    }

    /// Has the worker look at the configuration.
    pub(crate) fn kick(&self) {
        // EAGAIN: the counter is full, so it is readable.
        let _ = self.wake.write(1);
    }

    pub(crate) fn take(&self) -> Option<Job> {
        locked(&self.jobs).pop_front()
    }
}

/// Goes with a worker's thread, however that ends: the control thread is told.
pub(crate) struct Presence(Arc<Shared>);

impl Presence {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self(shared)
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        self.0.worker_ended.store(true, Ordering::Release);
        let _ = self.0.control.write(1);
    }
}

/// When what is due of which vnet.
type Timers = BinaryHeap<Reverse<(Instant, VnetId)>>;

/// All of it.
pub(crate) struct Shared {
    pub(crate) clock: Clock,
    world: RwLock<Arc<World>>,
    generation: AtomicU64,
    counters: Counters<{ HostCounter::COUNT }>,
    /// What was forwarded of late.
    pub(crate) recent: Mutex<Recent<Vec<Sighting>>>,
    timers: Mutex<Timers>,
    events: Mutex<VecDeque<Event>>,
    /// What has become of questions, by ticket.
    answers: Mutex<Vec<(u64, nix::Result<()>)>>,
    control: EventFd,
    worker_ended: AtomicBool,
    /// One for each worker.
    pub(crate) inboxes: Vec<Inbox>,
}

impl Shared {
    pub(crate) fn new(workers: usize) -> nix::Result<Self> {
        Ok(Self {
            clock: Clock(std::time::Instant::now()),
            world: RwLock::default(),
            generation: AtomicU64::new(0),
            counters: Counters::new(),
            recent: Mutex::new(Recent::new(vec![Sighting::UNUSED; SIGHTINGS])),
            timers: Mutex::default(),
            events: Mutex::default(),
            answers: Mutex::default(),
            control: EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?,
            worker_ended: AtomicBool::new(false),
            inboxes: (0..workers)
                .map(|_| Inbox::new())
                .collect::<Result<_, Errno>>()?,
        })
    }

    /// Counts something.
    pub(crate) fn count(&self, counter: HostCounter) {
        self.counters.add(counter as usize, 1);
    }

    /// A counter's value.
    pub(crate) fn counted(&self, counter: HostCounter) -> u64 {
        self.counters.get(counter as usize)
    }

    /// The configuration.
    pub(crate) fn world(&self) -> Arc<World> {
        let world = self.world.read().unwrap_or_else(PoisonError::into_inner);
        world.clone()
    }

    /// A number that changes with the configuration.
    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Replaces the configuration. Only the control thread does.
    pub(crate) fn publish(&self, world: World) {
        *self.world.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(world);
        self.generation.fetch_add(1, Ordering::Release);
        for inbox in &self.inboxes {
            inbox.kick();
        }
    }

    /// What becomes readable when the control thread has something to do.
    pub(crate) fn control(&self) -> &EventFd {
        &self.control
    }

    /// Whether any worker has ended. None does before it is told to, unless something is wrong.
    pub(crate) fn has_lost_worker(&self) -> bool {
        self.worker_ended.load(Ordering::Acquire)
    }

    /// Tells the subscribers of `events`, unless too many wait to be told.
    pub(crate) fn tell(&self, event: Event) {
        let mut events = locked(&self.events);
        if events.len() < EVENTS {
            events.push_back(event);
        }
        drop(events);
        let _ = self.control.write(1);
    }

    /// What is to be told.
    pub(crate) fn take_events(&self) -> VecDeque<Event> {
        std::mem::take(&mut *locked(&self.events))
    }

    /// Tells what has become of a question.
    pub(crate) fn answer(&self, ticket: u64, sent: nix::Result<()>) {
        locked(&self.answers).push((ticket, sent));
        let _ = self.control.write(1);
    }

    /// What has become of questions since the last call.
    pub(crate) fn take_answers(&self) -> Vec<(u64, nix::Result<()>)> {
        std::mem::take(&mut *locked(&self.answers))
    }

    /// Has a vnet polled at some time.
    pub(crate) fn schedule(&self, id: VnetId, due: Instant) {
        let mut timers = locked(&self.timers);
        let is_first = timers.peek().is_none_or(|Reverse((first, _))| due < *first);
        timers.push(Reverse((due, id)));
        drop(timers);
        if is_first {
            let _ = self.control.write(1);
        }
    }

    /// Takes a vnet that is due, or tells when one is.
    pub(crate) fn next_timer(&self, now: Instant) -> Result<VnetId, Option<Instant>> {
        let mut timers = locked(&self.timers);
        match timers.peek() {
            Some(Reverse((due, id))) if *due <= now => {
                let id = *id;
                timers.pop();
                Ok(id)
            }
            Some(Reverse((due, _))) => Err(Some(*due)),
            None => Err(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_be_done_without_does_not_fill_the_memory() {
        let shared = Shared::new(1).expect("made");
        let inbox = &shared.inboxes[0];
        let (id, mac) = (
            VnetId::from_bytes([5; 16]),
            Mac::from_bytes([2, 0, 0, 0, 0, 1]),
        );
        for _ in 0..2 * JOBS {
            inbox.put(Job::Bridged(id, mac));
        }
        inbox.put(Job::Gone(id, mac));
        inbox.put(Job::Poll(id));
        inbox.put(Job::End);
        let all: Vec<Job> = std::iter::from_fn(|| inbox.take()).collect();
        assert_eq!(all.len(), JOBS + 2);
        assert!(matches!(all[JOBS..], [Job::Poll(_), Job::End]));
    }

    #[test]
    fn a_worker_that_ends_is_noticed_however_it_ends() {
        for panics in [false, true] {
            let shared = Arc::new(Shared::new(1).expect("made"));
            let presence = Presence::new(shared.clone());
            assert!(!shared.has_lost_worker());
            let worker = std::thread::spawn(move || {
                let _presence = presence;
                assert!(!panics, "as it is meant to");
            });
            assert_eq!(worker.join().is_err(), panics);
            assert!(shared.has_lost_worker());
            assert_eq!(shared.control().read(), Ok(1), "the control thread wakes");
        }
    }
}
