// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! The control socket: one netlink message in each packet of a SOCK_SEQPACKET socket.
//!
//! What a client can cost is bounded: its requests are answered one after another, the next one is read when all that the last
//! one caused has been read by it, notifications wait in a queue of limited length, and who does not read is cut off.

use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::epoll::{Epoll, EpollEvent, EpollFlags};
use nix::sys::socket::{
    AddressFamily, Backlog, MsgFlags, SockFlag, SockType, UnixAddr, bind, connect, getsockopt,
    listen, recv, send, socket, sockopt,
};
use vnet_core::Instant;
use vnet_core::abi::VERSION;
use zeroize::Zeroizing;

use crate::dump::Cursor;
use crate::host::Host;
use crate::log;
use crate::message::{self, Header, REQUEST_MAX, Refusal};
use crate::notice::Notice;
use crate::requests::{self, Asked, Outcome};
use crate::sys;

/// Most clients at a time, and most of those who may only look: they cannot keep root out.
const CLIENTS: usize = 128;
const LOOKERS: usize = 64;
/// Most packets that wait for one client before notifications are lost.
const WAITING: usize = 1024;
/// Milliseconds for which a client need not read.
const PATIENCE: u64 = 30_000;
/// Most who are taken in before others have their turn.
const ACCEPTED: usize = 64;
/// Milliseconds until it is tried again to take in who could not be taken in.
const PAUSE: u64 = 1000;
/// Number of the event that somebody connects.
pub(crate) const LISTENER: u64 = 1;
/// Events with numbers from here on are about clients.
pub(crate) const FIRST_CLIENT: u64 = 1 << 32;

/// Who is connected.
struct Client {
    fd: OwnedFd,
    /// Whether it may change things.
    admin: bool,
    /// Groups it has joined, one bit each.
    groups: u32,
    waiting: VecDeque<Vec<u8>>,
    dump: Option<(Header, Cursor)>,
    /// A request that a worker carries out. The next one is read when it has told.
    asked: Option<(Header, Asked)>,
    /// Whether it is to be told that notifications were lost.
    lost: bool,
    /// Since when it does not read.
    stuck: Option<Instant>,
}

/// What becomes of a client.
#[derive(PartialEq, Eq)]
enum Fate {
    Stays,
    Goes,
}

/// The socket and who is connected.
pub(crate) struct Control {
    listener: OwnedFd,
    /// Given back when there is no other file descriptor.
    spare: Option<File>,
    /// Until when nobody is taken in, for want of something.
    paused: Option<Instant>,
    path: PathBuf,
    /// Held as long as the socket is ours.
    lock: Flock<File>,
    clients: HashMap<u64, Client>,
    next: u64,
}

/// Whether somebody answers at the socket.
fn is_alive(address: &UnixAddr) -> nix::Result<bool> {
    let fd = socket(
        AddressFamily::Unix,
        SockType::SeqPacket,
        SockFlag::SOCK_CLOEXEC,
        None,
    )?;
    Ok(connect(fd.as_raw_fd(), address).is_ok())
}

/// The file that is locked by the daemon whose socket has this path.
fn lock_path(socket: &Path) -> PathBuf {
    let mut name = socket.as_os_str().to_owned();
    name.push(".lock");
    name.into()
}

/// Takes the lock of a socket's path: of two daemons that start at the same time, one goes on.
fn take_lock(socket: &Path) -> anyhow::Result<Flock<File>> {
    use anyhow::{Context, bail};
    let path = lock_path(socket);
    loop {
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .custom_flags(libc::O_NOFOLLOW)
            .open(&path)
            .with_context(|| format!("cannot open {}", path.display()))?;
        let lock = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => lock,
            Err((_, Errno::EINTR)) => continue,
            Err((_, Errno::EWOULDBLOCK)) => bail!(
                "another vnetd has {}; stop it, or name another with --socket",
                socket.display()
            ),
            Err((_, error)) => {
                return Err(error).with_context(|| format!("cannot lock {}", path.display()));
            }
        };
        let ours = lock
            .metadata()
            .with_context(|| format!("cannot look at {}", path.display()))?;
        let there = std::fs::symlink_metadata(&path);
        // Who had it may have removed it between our two steps.
        if there.is_ok_and(|there| (there.dev(), there.ino()) == (ours.dev(), ours.ino())) {
            return Ok(lock);
        }
    }
}

/// Makes the socket. Its lock is ours.
fn listen_at(path: &Path) -> anyhow::Result<OwnedFd> {
    use anyhow::{Context, bail};
    let address = UnixAddr::new(path)
        .with_context(|| format!("{} is too long for a socket", path.display()))?;
    if let Ok(found) = std::fs::symlink_metadata(path) {
        if !found.file_type().is_socket() {
            bail!(
                "{} is there and no socket; remove it, or name another with --socket",
                path.display()
            );
        }
        if is_alive(&address)? {
            bail!(
                "another vnetd answers at {}; stop it, or name another with --socket",
                path.display()
            );
        }
        std::fs::remove_file(path)
            .with_context(|| format!("cannot remove what a vnetd has left: {}", path.display()))?;
    }
    let listener = socket(
        AddressFamily::Unix,
        SockType::SeqPacket,
        SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK,
        None,
    )?;
    bind(listener.as_raw_fd(), &address)
        .with_context(|| format!("cannot make the socket {}", path.display()))?;
    std::fs::set_permissions(path, PermissionsExt::from_mode(0o666))
        .with_context(|| format!("cannot set the mode of {}", path.display()))?;
    listen(&listener, Backlog::new(64)?)?;
    Ok(listener)
}

impl Control {
    /// Makes the socket; one that a daemon left behind is replaced.
    ///
    /// # Errors
    ///
    /// Text that says why.
    pub(crate) fn open(path: &Path) -> anyhow::Result<Self> {
        use anyhow::Context;
        if let Some(directory) = path
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty())
        {
            if !directory.exists() {
                std::fs::create_dir_all(directory)
                    .with_context(|| format!("cannot make {}", directory.display()))?;
                std::fs::set_permissions(directory, PermissionsExt::from_mode(0o755))
                    .with_context(|| format!("cannot set the mode of {}", directory.display()))?;
            }
        }
        let lock = take_lock(path)?;
        let listener = match listen_at(path) {
            Ok(listener) => listener,
            Err(error) => {
                let _ = std::fs::remove_file(lock_path(path));
                return Err(error);
            }
        };
        Ok(Self {
            listener,
            spare: File::open("/dev/null").ok(),
            paused: None,
            path: path.to_owned(),
            lock,
            clients: HashMap::new(),
            next: FIRST_CLIENT,
        })
    }

    /// What becomes readable when somebody connects.
    pub(crate) fn listener(&self) -> &OwnedFd {
        &self.listener
    }

    /// Removes the socket.
    pub(crate) fn close(self) {
        let _ = std::fs::remove_file(&self.path);
        // While it is held, so that nobody else's is removed.
        let _ = std::fs::remove_file(lock_path(&self.path));
        drop(self.lock);
    }

    /// Without a free file descriptor, who waits to be accepted would wake us for ever: sees the end at once. False if there was nobody.
    fn turn_away(&mut self) -> bool {
        self.spare = None;
        let turned_away = sys::accept(&self.listener).is_ok();
        self.spare = File::open("/dev/null").ok();
        turned_away
    }

    /// Takes in who has connected. Who cannot be taken in waits, and does not wake us meanwhile.
    pub(crate) fn accept(&mut self, now: Instant, epoll: &Epoll) {
        for _ in 0..ACCEPTED {
            let fd = match sys::accept(&self.listener) {
                Ok(fd) => fd,
                Err(Errno::EINTR | Errno::ECONNABORTED) => continue,
                Err(Errno::EMFILE | Errno::ENFILE) if self.turn_away() => continue,
                Err(Errno::EAGAIN) => return,
                Err(error) => return self.pause(error, now, epoll),
            };
            if self.clients.len() >= CLIENTS {
                // Dropped: who is one too many sees the end at once.
                continue;
            }
            let credentials = getsockopt(&fd, sockopt::PeerCredentials);
            let admin = credentials.is_ok_and(|who| who.uid() == 0);
            let lookers = self.clients.values().filter(|client| !client.admin);
            if !admin && lookers.count() >= LOOKERS {
                continue;
            }
            let token = self.next;
            if epoll
                .add(&fd, EpollEvent::new(EpollFlags::EPOLLIN, token))
                .is_err()
            {
                continue;
            }
            self.next += 1;
            let client = Client {
                fd,
                admin,
                groups: 0,
                waiting: VecDeque::new(),
                dump: None,
                asked: None,
                lost: false,
                stuck: None,
            };
            self.clients.insert(token, client);
        }
    }

    /// Has nobody taken in for a while.
    fn pause(&mut self, error: Errno, now: Instant, epoll: &Epoll) {
        let mut event = EpollEvent::new(EpollFlags::empty(), LISTENER);
        if let Err(error) = epoll.modify(&self.listener, &mut event) {
            log(&format!("cannot let the control socket rest: {error}"));
        }
        let first = self.paused.replace(now.plus(PAUSE)).is_none();
        if first {
            log(&format!("cannot take in who has connected: {error}"));
        }
    }

    /// After a pause, or when a client has gone: tries again to take in who has connected. When to look again.
    pub(crate) fn resume(&mut self, now: Instant, epoll: &Epoll) -> Option<Instant> {
        let until = self.paused?;
        if now < until {
            return Some(until);
        }
        if self.spare.is_none() {
            self.spare = File::open("/dev/null").ok();
        }
        let mut event = EpollEvent::new(EpollFlags::EPOLLIN, LISTENER);
        if let Err(error) = epoll.modify(&self.listener, &mut event) {
            log(&format!("cannot watch the control socket: {error}"));
            self.paused = Some(now.plus(PAUSE));
            return self.paused;
        }
        self.accept(now, epoll);
        // Else it is paused anew.
        if self.paused == Some(until) {
            self.paused = None;
        }
        self.paused
    }

    /// Lets a client go; with what it has held, another one may be taken in.
    fn release(&mut self, token: u64) {
        self.clients.remove(&token);
        self.room_again();
    }

    fn room_again(&mut self) {
        if self.paused.is_some() {
            self.paused = Some(Instant::default());
        }
    }

    /// A client can be read from or written to.
    pub(crate) fn ready(&mut self, token: u64, host: &mut Host, epoll: &Epoll) {
        let Some(client) = self.clients.get_mut(&token) else {
            return;
        };
        let fate = client.serve(host);
        self.settle(token, &fate, epoll);
    }

    fn settle(&mut self, token: u64, fate: &Fate, epoll: &Epoll) {
        let Some(client) = self.clients.get(&token) else {
            return;
        };
        let has_more = !client.waiting.is_empty() || client.dump.is_some() || client.lost;
        let interest = match &client.asked {
            _ if has_more => EpollFlags::EPOLLOUT,
            None => EpollFlags::EPOLLIN,
            // That it has gone is told all the same.
            Some(_) => EpollFlags::empty(),
        };
        let mut event = EpollEvent::new(interest, token);
        if *fate == Fate::Goes || epoll.modify(&client.fd, &mut event).is_err() {
            // Closing it takes it out of the epoll set.
            self.release(token);
        }
    }

    /// Tells those who have joined its group.
    pub(crate) fn tell(&mut self, notice: &Notice, host: &mut Host, epoll: &Epoll) {
        let message =
            message::notification(requests::FAMILY, notice.command, VERSION, &notice.answer);
        let members: Vec<u64> = self
            .clients
            .iter()
            .filter(|(_, client)| client.groups & (1 << notice.group) != 0)
            .map(|(token, _)| *token)
            .collect();
        for token in members {
            let Some(client) = self.clients.get_mut(&token) else {
                continue;
            };
            if client.lost || client.waiting.len() >= WAITING {
                client.lost = true;
            } else {
                client.waiting.push_back(message.clone());
            }
            let fate = client.write(host);
            self.settle(token, &fate, epoll);
        }
    }

    /// A worker tells what has become of a request. Who asked may be gone, or may have been told that it took too long.
    pub(crate) fn answered(
        &mut self,
        ticket: u64,
        done: nix::Result<()>,
        host: &mut Host,
        epoll: &Epoll,
    ) {
        let asked = |client: &Client| {
            let asked = client.asked.as_ref();
            asked.is_some_and(|(_, asked)| asked.ticket == ticket)
        };
        let Some((token, client)) = self.clients.iter_mut().find(|(_, client)| asked(client))
        else {
            return;
        };
        let token = *token;
        client.answer(done);
        let fate = client.serve(host);
        self.settle(token, &fate, epoll);
    }

    /// Tells those for whom no worker has done what they asked in time. When to look again.
    pub(crate) fn late(&mut self, now: Instant, host: &mut Host, epoll: &Epoll) -> Option<Instant> {
        let asked = self
            .clients
            .values()
            .filter_map(|client| client.asked.as_ref());
        let late: Vec<u64> = asked
            .filter(|(_, asked)| asked.due <= now)
            .map(|(_, asked)| asked.ticket)
            .collect();
        for ticket in late {
            self.answered(ticket, Err(Errno::ETIMEDOUT), host, epoll);
        }
        let asked = self
            .clients
            .values()
            .filter_map(|client| client.asked.as_ref());
        asked.map(|(_, asked)| asked.due).min()
    }

    /// Cuts off who has not read for long. When to look again.
    pub(crate) fn cut_off(&mut self, now: Instant) -> Option<Instant> {
        let before = self.clients.len();
        self.clients
            .retain(|_, client| client.stuck.is_none_or(|since| now.since(since) < PATIENCE));
        if self.clients.len() < before {
            self.room_again();
        }
        let stuck = self.clients.values().filter_map(|client| client.stuck);
        stuck.min().map(|since| since.plus(PATIENCE))
    }
}

impl Client {
    /// Writes what waits, and reads requests as long as nothing does.
    fn serve(&mut self, host: &mut Host) -> Fate {
        // There may be a key in it.
        let mut packet = Zeroizing::new([0; REQUEST_MAX + 1]);
        // Others have their turn, too.
        for _ in 0..16 {
            if self.write(host) == Fate::Goes {
                return Fate::Goes;
            }
            if !self.waiting.is_empty() || self.dump.is_some() || self.lost {
                return Fate::Stays;
            }
            if self.asked.is_some() {
                return if self.has_hung_up() {
                    Fate::Goes
                } else {
                    Fate::Stays
                };
            }
            let length = match recv(self.fd.as_raw_fd(), &mut *packet, MsgFlags::MSG_DONTWAIT) {
                Ok(0) => return Fate::Goes,
                Ok(length) => length,
                Err(Errno::EAGAIN) => return Fate::Stays,
                Err(Errno::EINTR) => continue,
                Err(_) => return Fate::Goes,
            };
            let packet = packet.get(..length).unwrap_or_default();
            let Some((header, payload)) = message::split(packet) else {
                return Fate::Goes;
            };
            self.request(host, header, payload);
        }
        Fate::Stays
    }

    fn request(&mut self, host: &mut Host, header: Header, payload: &[u8]) {
        if header.flags & message::FLAG_REQUEST == 0 {
            // The kernel ignores what is no request.
            return;
        }
        let acknowledge = header.flags & message::FLAG_ACK != 0;
        match requests::handle(host, &header, payload, self.admin) {
            Outcome::Done(answer) => {
                self.waiting.extend(answer);
                if acknowledge {
                    self.acknowledge(&header, None);
                }
            }
            Outcome::Dump(cursor) => self.dump = Some((header, cursor)),
            Outcome::Asked(asked) => self.asked = Some((header, asked)),
            Outcome::Membership(group, joins) => {
                if joins {
                    self.groups |= 1 << group;
                } else {
                    self.groups &= !(1 << group);
                }
                if acknowledge {
                    self.acknowledge(&header, None);
                }
            }
            Outcome::Refused(refusal, offset) => {
                self.acknowledge(&header, Some((&refusal, offset)));
            }
        }
    }

    fn has_hung_up(&self) -> bool {
        let mut fds = [PollFd::new(self.fd.as_fd(), PollFlags::empty())];
        // Errors are told of unasked, as is the end.
        poll(&mut fds, PollTimeout::ZERO).is_ok_and(|count| count > 0)
    }

    /// What a worker was asked to do has been done, or not.
    fn answer(&mut self, done: nix::Result<()>) {
        let Some((header, asked)) = self.asked.take() else {
            return;
        };
        match done {
            Ok(()) if header.flags & message::FLAG_ACK != 0 => self.acknowledge(&header, None),
            Ok(()) => {}
            Err(error) => {
                let (refusal, offset) = asked.refusal(error);
                self.acknowledge(&header, Some((&refusal, offset)));
            }
        }
    }

    fn acknowledge(&mut self, header: &Header, refusal: Option<(&Refusal, Option<u32>)>) {
        self.waiting
            .push_back(message::acknowledgement(header, refusal));
    }

    /// Writes what waits, as much as the client takes.
    fn write(&mut self, host: &mut Host) -> Fate {
        loop {
            while let Some(packet) = self.waiting.front() {
                let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
                match send(self.fd.as_raw_fd(), packet, flags) {
                    Ok(_) => {
                        self.waiting.pop_front();
                        self.stuck = None;
                    }
                    Err(Errno::EINTR) => {}
                    Err(Errno::EAGAIN | Errno::ENOBUFS) => {
                        let now = host.shared.clock.now();
                        self.stuck.get_or_insert(now);
                        return Fate::Stays;
                    }
                    Err(_) => return Fate::Goes,
                }
            }
            if self.lost {
                self.lost = false;
                self.waiting.push_back(message::overrun());
                continue;
            }
            let Some((header, mut cursor)) = self.dump.take() else {
                return Fate::Stays;
            };
            let (packet, last) = cursor.next(host, &header);
            self.waiting.push_back(packet);
            if !last {
                self.dump = Some((header, cursor));
            }
        }
    }
}

#[cfg(test)]
mod tests;
