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

    /// Takes in who has connected.
    pub(crate) fn accept(&mut self, epoll: &Epoll) {
        loop {
            let fd = match sys::accept(&self.listener) {
                Ok(fd) => fd,
                Err(Errno::EINTR | Errno::ECONNABORTED) => continue,
                Err(Errno::EMFILE | Errno::ENFILE) => {
                    if self.turn_away() {
                        continue;
                    }
                    return;
                }
                Err(_) => return,
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
            self.clients.remove(&token);
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
        self.clients
            .retain(|_, client| client.stuck.is_none_or(|since| now.since(since) < PATIENCE));
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
mod tests {
    use std::sync::Arc;

    use nix::sys::socket::MsgFlags;

    use super::*;
    use crate::message::{Answer, FLAG_REQUEST};
    use crate::shared::Shared;

    const GET: [u8; 4] = [vnet_core::abi::cmd::HOST_GET, VERSION, 0, 0];

    fn packet(sequence: u32) -> Vec<u8> {
        message::message(requests::FAMILY, FLAG_REQUEST, sequence, 0, &GET)
    }

    /// A control socket with one client, what the client has of it, and the number of its events.
    fn connected(name: &str) -> (Control, Host, Epoll, OwnedFd, u64) {
        let directory = std::env::temp_dir().join(format!("vnetd-{name}-{}", std::process::id()));
        let mut control = Control::open(&directory.join("control")).expect("a socket");
        let shared = Arc::new(Shared::new(0).expect("no workers"));
        let host = Host::new(shared).expect("the kernel's devices");
        let epoll = Epoll::new(nix::sys::epoll::EpollCreateFlags::EPOLL_CLOEXEC).expect("epoll");
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let fd = socket(AddressFamily::Unix, SockType::SeqPacket, flags, None).expect("a socket");
        let address = UnixAddr::new(&control.path).expect("an address");
        connect(fd.as_raw_fd(), &address).expect("connected");
        control.accept(&epoll);
        // Connected is connected: the socket's name is not needed any more.
        std::fs::remove_dir_all(&directory).expect("removed");
        (control, host, epoll, fd, FIRST_CLIENT)
    }

    #[test]
    fn without_a_file_descriptor_who_comes_is_turned_away() {
        let (mut control, _host, epoll, _fd, _token) = connected("away");
        let directory = std::env::temp_dir().join(format!("vnetd-away-new-{}", std::process::id()));
        std::fs::create_dir_all(&directory).expect("made");
        let path = directory.join("control");
        control.listener = listen_at(&path).expect("a socket");
        assert!(!control.turn_away(), "nobody is there");
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let fd = socket(AddressFamily::Unix, SockType::SeqPacket, flags, None).expect("a socket");
        let address = UnixAddr::new(&path).expect("an address");
        connect(fd.as_raw_fd(), &address).expect("connected");
        assert!(control.turn_away());
        assert!(control.spare.is_some(), "for the next one");
        let mut byte = [0];
        assert_eq!(
            recv(fd.as_raw_fd(), &mut byte, MsgFlags::MSG_DONTWAIT),
            Ok(0)
        );
        control.accept(&epoll);
        assert_eq!(control.clients.len(), 1, "who was there before");
        std::fs::remove_dir_all(&directory).expect("removed");
    }

    /// Asks without reading until nothing more is answered. How many answers wait in the socket.
    fn fill(control: &mut Control, host: &mut Host, epoll: &Epoll, fd: &OwnedFd, token: u64) {
        for sequence in 1..100_000 {
            let _ = send(fd.as_raw_fd(), &packet(sequence), MsgFlags::MSG_DONTWAIT);
            control.ready(token, host, epoll);
            if control.clients[&token].stuck.is_some() {
                return;
            }
        }
        panic!("answers are taken without end");
    }

    fn read_all(fd: &OwnedFd) -> nix::Result<usize> {
        let mut bytes = vec![0; 65_536];
        let mut count = 0;
        loop {
            match recv(fd.as_raw_fd(), &mut bytes, MsgFlags::MSG_DONTWAIT) {
                Ok(0) => return Ok(count),
                Ok(_) => count += 1,
                Err(error) => return if count > 0 { Ok(count) } else { Err(error) },
            }
        }
    }

    const ID: [u8; 16] = [5; 16];

    fn with_net(host: &mut Host) {
        let id = vnet_core::VnetId::from_bytes(ID);
        host.nets.push(crate::host::Local {
            vnet: Arc::new(crate::vnet::Vnet::new(id, 1, crate::tap::Tap::none())),
            settings: vnet_core::Settings::default(),
            index: 1,
            name: "none".to_owned(),
            mtu: 1400,
            up: false,
            address: vnet_core::Mac::from_bytes([2; 6]),
            master: 0,
            wanted: None,
            away: false,
            seal: Default::default(),
        });
    }

    fn probe(sequence: u32) -> Vec<u8> {
        let mut attributes = Answer::new();
        attributes.put(vnet_core::abi::probe::NET, &ID);
        let mut payload = vec![vnet_core::abi::cmd::PROBE, VERSION, 0, 0];
        payload.extend(attributes.bytes());
        let flags = FLAG_REQUEST | message::FLAG_ACK;
        message::message(requests::FAMILY, flags, sequence, 0, &payload)
    }

    /// The errno of the next answer, if there is one.
    fn errno(fd: &OwnedFd) -> Option<i32> {
        let mut bytes = vec![0; 65_536];
        recv(fd.as_raw_fd(), &mut bytes, MsgFlags::MSG_DONTWAIT).ok()?;
        Some(i32::from_ne_bytes(*bytes[16..].first_chunk()?))
    }

    #[test]
    fn who_waits_for_a_worker_waits_alone() {
        let (mut control, mut host, epoll, fd, token) = connected("asked");
        with_net(&mut host);
        control.clients.get_mut(&token).expect("there").admin = true;
        let now = host.shared.clock.now();
        for sequence in 1..=3 {
            send(fd.as_raw_fd(), &probe(sequence), MsgFlags::empty()).expect("sent");
        }
        // Comes back although no worker is there to do it.
        control.ready(token, &mut host, &epoll);
        assert_eq!((errno(&fd), host.tickets), (None, 1), "one after another");
        control.answered(7, Ok(()), &mut host, &epoll);
        assert_eq!(errno(&fd), None, "that is somebody else's");
        control.answered(1, Ok(()), &mut host, &epoll);
        assert_eq!((errno(&fd), host.tickets), (Some(0), 2));
        control.answered(2, Err(Errno::EMSGSIZE), &mut host, &epoll);
        assert_eq!(errno(&fd), Some(-(Errno::EMSGSIZE as i32)));
        let due = control.late(now, &mut host, &epoll).expect("there is one");
        assert_eq!(errno(&fd), None);
        assert_eq!(control.late(due, &mut host, &epoll), None);
        assert_eq!(errno(&fd), Some(-(Errno::ETIMEDOUT as i32)));
        control.answered(3, Ok(()), &mut host, &epoll);
        assert_eq!(errno(&fd), None, "it was told already");
    }

    #[test]
    fn who_goes_while_a_worker_is_busy_is_forgotten() {
        let (mut control, mut host, epoll, fd, token) = connected("goes");
        with_net(&mut host);
        control.clients.get_mut(&token).expect("there").admin = true;
        send(fd.as_raw_fd(), &probe(1), MsgFlags::empty()).expect("sent");
        control.ready(token, &mut host, &epoll);
        drop(fd);
        let mut events = [EpollEvent::empty(); 2];
        let timeout = nix::sys::epoll::EpollTimeout::ZERO;
        assert_eq!(epoll.wait(&mut events, timeout), Ok(1), "it is told");
        control.ready(events[0].data(), &mut host, &epoll);
        assert!(control.clients.is_empty());
        control.answered(1, Ok(()), &mut host, &epoll);
    }

    #[test]
    fn of_two_daemons_that_start_at_once_one_goes_on() {
        let directory = std::env::temp_dir().join(format!("vnetd-two-{}", std::process::id()));
        let path = directory.join("control");
        let first = Control::open(&path).expect("a socket");
        // The other one has found no socket yet, or has just removed an old one.
        std::fs::remove_file(&path).expect("removed");
        let refused = Control::open(&path).err().expect("refused").to_string();
        assert!(refused.starts_with("another vnetd has"), "{refused}");
        first.close();
        assert!(!lock_path(&path).exists(), "nothing is left behind");
        Control::open(&path).expect("free again").close();
        // Left behind by one that was killed.
        std::fs::write(lock_path(&path), "").expect("written");
        Control::open(&path).expect("not locked").close();
        std::fs::remove_dir(&directory).expect("empty");
    }

    #[test]
    fn who_does_not_read_is_cut_off_in_time_and_not_before() {
        let (mut control, mut host, epoll, fd, token) = connected("cut-off");
        assert_eq!(control.cut_off(host.shared.clock.now()), None);
        fill(&mut control, &mut host, &epoll, &fd, token);
        let since = control.clients[&token].stuck.expect("it is stuck");
        assert_eq!(control.cut_off(since), Some(since.plus(PATIENCE)));
        let last = since.plus(PATIENCE - 1);
        assert_eq!(control.cut_off(last), Some(since.plus(PATIENCE)));
        assert_eq!(control.clients.len(), 1, "there is time left");
        assert_eq!(control.cut_off(since.plus(PATIENCE)), None);
        assert!(control.clients.is_empty());
        assert!(read_all(&fd).expect("what was answered") > 0);
        assert_eq!(read_all(&fd), Ok(0), "then comes the end");
    }

    #[test]
    fn who_reads_again_has_all_its_time_again() {
        let (mut control, mut host, epoll, fd, token) = connected("reads");
        fill(&mut control, &mut host, &epoll, &fd, token);
        let since = control.clients[&token].stuck.expect("it is stuck");
        assert!(read_all(&fd).expect("answers") > 0);
        control.ready(token, &mut host, &epoll);
        assert_eq!(control.clients[&token].stuck, None);
        assert_eq!(control.cut_off(since.plus(10 * PATIENCE)), None);
        assert_eq!(control.clients.len(), 1);
    }

    #[test]
    fn who_listens_and_does_not_read_loses_notifications_and_is_told() {
        let (mut control, mut host, epoll, fd, token) = connected("lost");
        let client = control.clients.get_mut(&token).expect("the client");
        client.groups = 1 << crate::notice::CONFIG;
        let mut answer = Answer::new();
        answer.put(1, &[0; 1024]);
        for _ in 0..100_000 {
            let notice = Notice {
                group: crate::notice::CONFIG,
                command: 1,
                answer: answer.clone(),
            };
            control.tell(&notice, &mut host, &epoll);
            if control.clients[&token].lost {
                break;
            }
        }
        let client = &control.clients[&token];
        assert!(client.lost && client.waiting.len() <= WAITING);
        let since = client.stuck.expect("it is stuck");
        let mut last = Vec::new();
        let mut bytes = vec![0; 65_536];
        // It reads all of it before its time is up.
        while control.clients[&token].lost || !control.clients[&token].waiting.is_empty() {
            while let Ok(length) = recv(fd.as_raw_fd(), &mut bytes, MsgFlags::MSG_DONTWAIT) {
                last = bytes[..length].to_vec();
            }
            control.ready(token, &mut host, &epoll);
        }
        while let Ok(length) = recv(fd.as_raw_fd(), &mut bytes, MsgFlags::MSG_DONTWAIT) {
            last = bytes[..length].to_vec();
        }
        assert_eq!(last, message::overrun());
        assert_eq!(control.cut_off(since.plus(PATIENCE)), None);
        assert_eq!(control.clients.len(), 1);
    }
}
