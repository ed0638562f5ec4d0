// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! A worker: one thread, one queue of each device, one socket of each family.

use std::collections::HashMap;
use std::net::IpAddr;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::sync::Arc;

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::socket::{getsockopt, sockopt};
use vnet_core::VnetId;

use crate::merge::Merger;
use crate::offload::FRAME_MAX;
use crate::post::Post;
use crate::rx::{self, Turn};
use crate::shared::{Inbox, Job, Net, Shared, Underlay, World};
use crate::sys::{self, Batch};
use crate::udp::{Family, Flows, Patience};
use crate::{log, tap};

/// Frames that are read from one device before others have their turn.
const TAP_BUDGET: usize = 64;
/// Batches that are received from one socket before others have their turn.
const UDP_BUDGET: usize = 4;
/// What an event is about: the inbox, a socket, one of those for flows by its place, or a device by its place.
const INBOX: u64 = 0;
const SOCKET_V4: u64 = 1;
const SOCKET_V6: u64 = 2;
const FIRST_FLOW: u64 = 16;
const FIRST_TAP: u64 = 64;

/// A worker.
pub(crate) struct Worker {
    /// Its number.
    pub(crate) index: usize,
    pub(crate) shared: Arc<Shared>,
    /// Datagrams that are to be sent.
    pub(crate) post: Post,
    /// A frame of which the congestion mark was changed.
    pub(crate) marked: Vec<u8>,
    /// Sockets of which datagrams must not be fragmented now.
    pub(crate) strict: HashMap<RawFd, bool>,
    /// For the messages of this turn: one that goes to many waits once for a full socket, not once for each.
    pub(crate) patience: Patience,
    /// What the kernel said of paths.
    pub(crate) paths: HashMap<IpAddr, u32>,
    epoll: Epoll,
    /// The devices that are watched, by number of the event.
    taps: HashMap<u64, Arc<Net>>,
    next_tap: u64,
    /// The underlay whose sockets are watched.
    underlay: Option<Arc<Underlay>>,
}

impl Worker {
    /// A worker that watches nothing yet but its inbox.
    pub(crate) fn new(index: usize, shared: Arc<Shared>) -> nix::Result<Self> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        if let Some(inbox) = shared.inboxes.get(index) {
            epoll.add(inbox.wake(), EpollEvent::new(EpollFlags::EPOLLIN, INBOX))?;
        }
        Ok(Self {
            index,
            shared,
            post: Post::default(),
            marked: Vec::new(),
            strict: HashMap::new(),
            patience: Patience::default(),
            paths: HashMap::new(),
            epoll,
            taps: HashMap::new(),
            next_tap: FIRST_TAP,
            underlay: None,
        })
    }

    /// Works until it is told to end.
    pub(crate) fn run(mut self) {
        let mut batch = Batch::new();
        let mut frame = vec![0; FRAME_MAX];
        let mut events = [EpollEvent::empty(); 64];
        let mut seen = None;
        let mut world = Arc::<World>::default();
        loop {
            let generation = self.shared.generation();
            if seen != Some(generation) {
                world = self.shared.world();
                seen = Some(generation);
                self.watch(&world);
            }
            let count = match self.epoll.wait(&mut events, EpollTimeout::NONE) {
                Ok(count) => count,
                Err(Errno::EINTR) => continue,
                Err(error) => {
                    log(&format!("worker {}: cannot wait: {error}", self.index));
                    return;
                }
            };
            self.patience = Patience::default();
            for event in events.get(..count).unwrap_or_default() {
                match event.data() {
                    INBOX => {
                        if !self.work(&mut world) {
                            return;
                        }
                    }
                    SOCKET_V4 => self.drain_socket(&world, Family::V4, &mut batch),
                    SOCKET_V6 => self.drain_socket(&world, Family::V6, &mut batch),
                    flow @ FIRST_FLOW..FIRST_TAP => self.drain_flow(flow),
                    tap => self.drain_tap(&world, tap, &mut frame),
                }
                match &world.underlay {
                    Some(underlay) => self.dispatch(underlay),
                    None => self.post = Post::default(),
                }
            }
        }
    }

    /// Does the jobs of the inbox. False if the last one is the end.
    fn work(&mut self, world: &mut Arc<World>) -> bool {
        let shared = self.shared.clone();
        let Some(inbox) = shared.inboxes.get(self.index) else {
            return false;
        };
        let _ = inbox.wake().read();
        *world = shared.world();
        while let Some(job) = Inbox::take(inbox) {
            // It may be about what was published after the last one.
            *world = shared.world();
            let find = |id: &VnetId| world.nets.get(id).cloned();
            match job {
                Job::Poll(id) => {
                    if let Some(net) = find(&id) {
                        self.poll(world, &net);
                    }
                }
                Job::Known(id, mac) => {
                    if let Some(net) = find(&id) {
                        self.known(world, &net, mac);
                    }
                }
                Job::Bridged(id, mac) => {
                    if let Some(net) = find(&id) {
                        self.bridged(world, &net, mac);
                    }
                }
                Job::Gone(id, mac) => {
                    if let Some(net) = find(&id) {
                        self.gone(world, &net, mac);
                    }
                }
                Job::Greet(id) => {
                    if let Some(net) = find(&id) {
                        self.greet(world, &net);
                    }
                }
                Job::Resealed(id) => {
                    if let Some(net) = find(&id) {
                        net.vnet.table.forget_learned(shared.clock.now());
                    }
                }
                Job::Probe {
                    id,
                    mac,
                    to,
                    size,
                    ticket,
                } => {
                    let sent = match find(&id) {
                        Some(net) => self.probe(world, &net, mac, to, size),
                        None => Err(Errno::ENOENT),
                    };
                    shared.answer(ticket, sent);
                }
                Job::End => return false,
            }
        }
        true
    }

    /// Watches the sockets and devices of a new configuration, and no others.
    fn watch(&mut self, world: &World) {
        let same_sockets = match (&self.underlay, &world.underlay) {
            (Some(old), Some(new)) => Arc::ptr_eq(&old.sockets, &new.sockets),
            (None, None) => true,
            _ => false,
        };
        if !same_sockets {
            for (family, token) in [(Family::V4, SOCKET_V4), (Family::V6, SOCKET_V6)] {
                if let Some(old) = socket(self.underlay.as_ref(), family, self.index) {
                    let _ = self.epoll.delete(old);
                }
                if let Some(new) = socket(world.underlay.as_ref(), family, self.index) {
                    self.add(new, token, EpollFlags::EPOLLIN);
                }
            }
        }
        let same_flows = match (
            flows(self.underlay.as_ref()),
            flows(world.underlay.as_ref()),
        ) {
            (Some(old), Some(new)) => Arc::ptr_eq(old, new),
            (None, None) => true,
            _ => false,
        };
        if !same_flows {
            for old in flows(self.underlay.as_ref())
                .iter()
                .flat_map(|old| old.all(self.index))
            {
                let _ = self.epoll.delete(old);
            }
            // They receive nothing; errors are told of unasked.
            let new = flows(world.underlay.as_ref());
            for (fd, token) in new
                .iter()
                .flat_map(|new| new.all(self.index))
                .zip(FIRST_FLOW..)
            {
                self.add(fd, token, EpollFlags::empty());
            }
        }
        // Numbers of descriptors are used again.
        self.strict.clear();
        self.underlay = world.underlay.clone();
        let index = self.index;
        let epoll = &self.epoll;
        self.taps.retain(|_, net| {
            let now = world.nets.get(&net.vnet.id);
            let stays = now.is_some_and(|now| Arc::ptr_eq(&now.vnet, &net.vnet));
            match now {
                Some(now) if stays => *net = now.clone(),
                _ => {
                    if let Some(queue) = net.vnet.tap.queue(index) {
                        let _ = epoll.delete(queue);
                    }
                }
            }
            stays
        });
        let known: std::collections::HashSet<_> =
            self.taps.values().map(|net| net.vnet.serial).collect();
        for net in world.nets.values() {
            if known.contains(&net.vnet.serial) {
                continue;
            }
            if let Some(queue) = net.vnet.tap.queue(index) {
                let token = self.next_tap;
                self.next_tap += 1;
                self.add(queue, token, EpollFlags::EPOLLIN);
                self.taps.insert(token, net.clone());
            }
        }
    }

    fn add(&self, fd: BorrowedFd<'_>, token: u64, interest: EpollFlags) {
        if let Err(error) = self.epoll.add(fd, EpollEvent::new(interest, token)) {
            log(&format!(
                "worker {}: cannot watch descriptor {}: {error}",
                self.index,
                fd.as_raw_fd()
            ));
        }
    }

    fn drain_socket(&mut self, world: &World, family: Family, batch: &mut Batch) {
        let Some(underlay) = self.underlay.clone() else {
            return;
        };
        let Some(fd) = underlay.sockets.of(family, self.index) else {
            return;
        };
        for _ in 0..UDP_BUDGET {
            match batch.receive(fd) {
                Ok(0) => break,
                Ok(count) => {
                    let mut turn = Turn {
                        world,
                        underlay: &underlay,
                        merger: Merger::new(),
                    };
                    for datagram in batch.datagrams() {
                        self.receive(&mut turn, datagram);
                    }
                    turn.merger.flush(&mut rx::out(self.index));
                    if count < sys::BATCH {
                        break;
                    }
                }
                Err(Errno::EAGAIN) => {
                    self.take_errors(fd);
                    break;
                }
                Err(Errno::EINTR) => {}
                // An error of something that was sent; the next call tells what is there to be received.
                Err(_) => self.take_errors(fd),
            }
        }
    }

    /// Takes the errors of a socket for flows. Left there, one would be taken for that of the next datagram.
    fn drain_flow(&mut self, token: u64) {
        let Some(flows) = flows(self.underlay.as_ref()).cloned() else {
            return;
        };
        let place = usize::try_from(token.saturating_sub(FIRST_FLOW)).unwrap_or(usize::MAX);
        if let Some(fd) = flows.all(self.index).nth(place) {
            self.take_errors(fd);
            // One for which the queue had no room, too: until it is taken, there is no end of events.
            let _ = getsockopt(&fd, sockopt::SocketError);
        }
    }

    /// Takes what the network says of datagrams that were sent. The kernel has noted the MTUs; here they are for the senders.
    fn take_errors(&mut self, fd: BorrowedFd<'_>) {
        while let Some(error) = sys::take_error(fd) {
            if let (Errno::EMSGSIZE, Some(to)) = (error.errno, error.to) {
                if self.paths.len() >= 4096 {
                    self.paths.clear();
                }
                self.paths.insert(to, error.mtu);
            }
        }
    }

    fn drain_tap(&mut self, world: &World, token: u64, frame: &mut [u8]) {
        let Some(net) = self.taps.get(&token).cloned() else {
            return;
        };
        let Some(queue) = net.vnet.tap.queue(self.index) else {
            return;
        };
        for _ in 0..TAP_BUDGET {
            match tap::read(queue, frame) {
                Ok((header, length)) => match frame.get_mut(..length) {
                    Some(frame) => self.transmit(world, &net, &header, frame),
                    None => continue,
                },
                Err(Errno::EAGAIN) => break,
                Err(Errno::EINTR) => {}
                Err(Errno::EBADFD | Errno::EIO | Errno::ENODEV) => {
                    // The device is gone; the control thread hears of it by itself.
                    let _ = self.epoll.delete(queue);
                    self.taps.remove(&token);
                    break;
                }
                // Want of memory, for one: what waits is tried again in the next turn.
                Err(_) => break,
            }
        }
    }
}

fn flows(underlay: Option<&Arc<Underlay>>) -> Option<&Arc<Flows>> {
    underlay?.flows.as_ref()
}

fn socket(
    underlay: Option<&Arc<Underlay>>,
    family: Family,
    worker: usize,
) -> Option<BorrowedFd<'_>> {
    underlay?.sockets.of(family, worker)
}

#[cfg(test)]
mod tests;
