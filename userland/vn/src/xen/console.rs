// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! The consoles of machines. QEMU shows a machine's screen at a socket that is root's alone, and asks nobody for a password: those of
//! Debian cannot. A process of `vn` for each machine listens at the console's port, asks for the password as VNC does, and hands the
//! connection on to that socket. It goes when QEMU has gone, or when `end` says so.
//!
//! The messages are those of RFC 6143, section 7.1 and 7.2; versions 3.3, 3.7 and 3.8 are spoken.

use std::fs::OpenOptions;
use std::io::{self, ErrorKind, Read, Write, copy, stderr, stdin, stdout};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio, exit};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;
use des::Des;
use des::cipher::{BlockCipherEncrypt, KeyInit};
use nix::sys::socket::shutdown;

use crate::files;
use crate::interrupt;

use super::record::{self, Console};
use super::refuse;
use super::vnc::Password;
use crate::until::until;

/// Where the sockets are.
const DIRECTORY: &str = "/run/vn/console";
/// Where Xen's programs write theirs, too.
const LOGS: &str = "/var/log/xen";
/// How long a client may take until it is let in.
const HANDSHAKE: Duration = Duration::from_secs(30);
/// How long a wrong password takes, so that nobody can try many.
const WRONG: Duration = Duration::from_secs(1);
/// Clients of a console at one time.
const CLIENTS: usize = 32;
/// How long QEMU may be away: a machine that reboots gets another one.
const AWAY: Duration = Duration::from_secs(60);
/// How long the process of a console may take to go.
const END: Duration = Duration::from_secs(10);
const VERSION: &[u8; 12] = b"RFB 003.008\n";
/// RFC 6143, 7.2: kinds of security.
const NO_PASSWORD: u8 = 1;
const WITH_PASSWORD: u8 = 2;

/// The socket at which QEMU shows the screen.
pub(crate) fn screen(name: &str) -> PathBuf {
    Path::new(DIRECTORY).join(name)
}

/// The socket of the process that asks for the password: who connects to it ends that.
fn control(name: &str) -> PathBuf {
    Path::new(DIRECTORY).join(format!("{name}.end"))
}

/// A console whose port is taken, and which nobody serves yet.
pub(crate) struct Reserved {
    port: TcpListener,
    control: UnixListener,
}

/// Takes the port of a console. What is left of an earlier one is ended first.
pub(crate) fn reserve(name: &str, console: &Console) -> anyhow::Result<Reserved> {
    // The screen may be that of a QEMU that runs; one that starts takes its place.
    end_process(name)?;
    files::private_directory(Path::new(DIRECTORY))?;
    let address = (console.listen, console.port());
    let port = match TcpListener::bind(address) {
        Ok(port) => port,
        Err(error) => {
            return refuse(
                format!(
                    "cannot listen at {}:{} for the console {}: {error}",
                    address.0, address.1, console.display
                ),
                "choose another number, or see who has the port with: ss -ltnp",
            );
        }
    };
    let path = control(name);
    let control = UnixListener::bind(&path)
        .with_context(|| format!("cannot listen at {}", path.display()))?;
    Ok(Reserved { port, control })
}

impl Reserved {
    /// Leaves a process behind that serves it.
    pub(crate) fn serve(self, name: &str) -> anyhow::Result<()> {
        std::fs::create_dir_all(LOGS).with_context(|| format!("cannot make {LOGS}"))?;
        let path = Path::new(LOGS).join(format!("vn-console-{name}.log"));
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(&path)
            .with_context(|| format!("cannot write {}", path.display()))?;
        // Not waited for: it stays when this process has ended.
        let mut command = Command::new("/proc/self/exe");
        interrupt::not_inherited(&mut command)
            .arg0("vn")
            .args(["vm", "serve-console", name])
            .env_clear()
            .current_dir("/")
            .stdin(OwnedFd::from(self.port))
            .stdout(OwnedFd::from(self.control))
            .stderr(Stdio::from(log))
            .spawn()
            .map(drop)
            .context("cannot run vn for the console")
    }
}

/// Ends the process of a console whose QEMU has gone, and removes the sockets of both. That there is none is no failure.
pub(crate) fn end(name: &str) -> anyhow::Result<()> {
    end_process(name)?;
    files::remove(&screen(name))
}

fn end_process(name: &str) -> anyhow::Result<()> {
    let path = control(name);
    match UnixStream::connect(&path) {
        Ok(mut stream) => {
            stream.set_read_timeout(Some(END))?;
            // Nothing comes but the end of the connection, which is that of the process.
            match stream.read(&mut [0]) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    return refuse(
                        format!("the process of the console of {name} does not end"),
                        "end it: pkill -f 'vm serve-console'",
                    );
                }
                _ => {}
            }
        }
        Err(error)
            if matches!(
                error.kind(),
                ErrorKind::NotFound | ErrorKind::ConnectionRefused
            ) => {}
        Err(error) => {
            return Err(error).with_context(|| format!("cannot connect to {}", path.display()));
        }
    }
    files::remove(&path)
}

/// Serves a console: what `Reserved::serve` runs. Standard input is its port, standard output the socket that ends it.
pub(crate) fn serve(name: &str) -> anyhow::Result<()> {
    let record = record::read(name)?;
    let Some(password) = record.and_then(|record| record.password) else {
        return refuse(
            format!("{name} has no console with a password"),
            "this is for vn alone",
        );
    };
    let listening = |fd: io::Result<OwnedFd>| fd.context("the console's sockets are missing");
    let port = TcpListener::from(listening(stdin().as_fd().try_clone_to_owned())?);
    let control = UnixListener::from(listening(stdout().as_fd().try_clone_to_owned())?);
    port.local_addr().context("standard input is no port")?;
    control
        .local_addr()
        .context("standard output is no socket")?;
    // Not to be ended with the terminal of who has started the machine.
    nix::unistd::setsid().context("cannot leave the terminal")?;
    let own = port.as_fd().try_clone_to_owned();
    let own = listening(own)?;
    thread::spawn(move || {
        // In vain or not, somebody wants this to end.
        let asked = control.accept();
        // The kernel closes what a process leaves open in no order: the port is to be free when `asked` is closed.
        let _ = shutdown(own.as_raw_fd(), nix::sys::socket::Shutdown::Both);
        drop(asked);
        exit(0);
    });
    let path = screen(name);
    let watched = path.clone();
    thread::spawn(move || {
        watch(&watched);
        exit(0);
    });
    // One of them is not a client's.
    let place = Arc::new(());
    loop {
        let (stream, from) = match port.accept() {
            Ok(accepted) => accepted,
            // The port is closed.
            Err(error) if error.kind() == ErrorKind::InvalidInput => return Ok(()),
            Err(error) => {
                log(format_args!("no client: {error}"));
                thread::sleep(WRONG);
                continue;
            }
        };
        if Arc::strong_count(&place) > CLIENTS {
            log(format_args!("{from}: there are {CLIENTS} clients already"));
            continue;
        }
        let (taken, path, password) = (Arc::clone(&place), path.clone(), password.clone());
        thread::spawn(move || {
            if let Err(error) = connect(&stream, from, &path, &password) {
                log(format_args!("{from}: {error}"));
            }
            drop(taken);
        });
    }
}

fn log(text: std::fmt::Arguments<'_>) {
    // Where nothing can be written, nobody can be told.
    let _ = writeln!(stderr(), "{text}");
}

/// Returns when QEMU has been away for too long: a connection that says nothing lasts as long as QEMU does.
fn watch(screen: &Path) {
    loop {
        let mut found = None;
        let connected = until(AWAY, || {
            found = UnixStream::connect(screen).ok();
            Ok(found.is_some())
        });
        let Some(mut stream) = found.filter(|_| connected.is_ok()) else {
            return;
        };
        let mut greeting = [0; 64];
        while matches!(stream.read(&mut greeting), Ok(1..)) {}
    }
}

/// A client, from its greeting to its end.
fn connect(
    client: &TcpStream,
    from: SocketAddr,
    screen: &Path,
    password: &Password,
) -> io::Result<()> {
    let mut limited = Limited {
        stream: client,
        until: Instant::now() + HANDSHAKE,
    };
    if !admit(&mut limited, password)? {
        log(format_args!("{from}: a wrong password"));
        return Ok(());
    }
    client.set_read_timeout(None)?;
    let mut screen = UnixStream::connect(screen)?;
    enter(&mut screen)?;
    log(format_args!("{from}: connected"));
    let (mut of_client, mut of_screen) = (client.try_clone()?, screen.try_clone()?);
    let back = thread::spawn(move || {
        let copied = copy(&mut of_screen, &mut of_client);
        // Either end ends the other; one that is closed already is what is wanted.
        let _ = of_client.shutdown(Shutdown::Both);
        copied
    });
    let copied = copy(&mut { client }, &mut screen);
    let _ = screen.shutdown(Shutdown::Both);
    let _ = back.join();
    log(format_args!("{from}: has left"));
    // One that goes without a word has gone, too.
    copied.map(drop).or_else(|error| match error.kind() {
        ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => Ok(()),
        _ => Err(error),
    })
}

/// A connection whose every read ends by one point in time.
struct Limited<'a> {
    stream: &'a TcpStream,
    until: Instant,
}

impl Read for Limited<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(ErrorKind::TimedOut.into());
        }
        self.stream.set_read_timeout(Some(left))?;
        self.stream.read(buffer)
    }
}

impl Write for Limited<'_> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.stream.write(buffer)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

fn bytes<const LENGTH: usize>(stream: &mut impl Read) -> io::Result<[u8; LENGTH]> {
    let mut bytes = [0; LENGTH];
    stream.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn wrong(text: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, text)
}

/// The last number of a version, as RFC 6143, 7.1.1 wants it to be understood.
fn minor(version: [u8; 12]) -> io::Result<u32> {
    let number = std::str::from_utf8(&version)
        .ok()
        .and_then(|text| text.strip_prefix("RFB 003.")?.strip_suffix('\n'))
        .and_then(|number| number.parse().ok());
    match number {
        Some(number @ (7 | 8)) => Ok(number),
        Some(8..) => Ok(8),
        Some(_) => Ok(3),
        None => Err(wrong("it does not speak VNC")),
    }
}

/// Greets a client and asks it for the password. Returns whether it knows it; if it does not, it has been told so.
fn admit(client: &mut (impl Read + Write), password: &Password) -> io::Result<bool> {
    client.write_all(VERSION)?;
    let minor = minor(bytes(client)?)?;
    if minor == 3 {
        client.write_all(&u32::from(WITH_PASSWORD).to_be_bytes())?;
    } else {
        client.write_all(&[1, WITH_PASSWORD])?;
        if bytes(client)? != [WITH_PASSWORD] {
            return Err(wrong("it wants another kind of security"));
        }
    }
    let mut challenge = [0; 16];
    getrandom::fill(&mut challenge).map_err(|error| io::Error::other(error.to_string()))?;
    client.write_all(&challenge)?;
    let answer: [u8; 16] = bytes(client)?;
    let difference = answer
        .iter()
        .zip(response(password, challenge))
        .fold(0, |so_far, (a, b)| so_far | (a ^ b));
    if difference == 0 {
        client.write_all(&0_u32.to_be_bytes())?;
        return Ok(true);
    }
    thread::sleep(WRONG);
    client.write_all(&1_u32.to_be_bytes())?;
    if minor == 8 {
        let reason = b"wrong password";
        client.write_all(&14_u32.to_be_bytes())?;
        client.write_all(reason)?;
    }
    Ok(false)
}

/// What a client that knows the password makes of a challenge: DES by the password, of which VNC takes the bits of each byte from
/// the other end.
fn response(password: &Password, challenge: [u8; 16]) -> [u8; 16] {
    let mut key = [0; 8];
    for (byte, character) in key.iter_mut().zip(password.text().bytes()) {
        *byte = character.reverse_bits();
    }
    let cipher = Des::new(&key.into());
    let mut response = challenge;
    for block in response.chunks_exact_mut(8) {
        // A chunk has the size that it was asked for.
        if let Ok(block) = block.try_into() {
            cipher.encrypt_block(block);
        }
    }
    response
}

/// Greets QEMU, up to where a client has come that was let in.
fn enter(screen: &mut (impl Read + Write)) -> io::Result<()> {
    minor(bytes(screen)?)?;
    screen.write_all(VERSION)?;
    let [count] = bytes(screen)?;
    let mut kinds = vec![0; count.into()];
    screen.read_exact(&mut kinds)?;
    if !kinds.contains(&NO_PASSWORD) {
        return Err(wrong("QEMU wants a password, which it was not given"));
    }
    screen.write_all(&[NO_PASSWORD])?;
    match u32::from_be_bytes(bytes(screen)?) {
        0 => Ok(()),
        _ => Err(wrong("QEMU lets nobody in")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A client whose words are known before.
    struct Said {
        input: io::Cursor<Vec<u8>>,
        output: Vec<u8>,
    }

    impl Said {
        fn new(input: &[u8]) -> Self {
            Self {
                input: io::Cursor::new(input.to_vec()),
                output: Vec::new(),
            }
        }
    }

    impl Read for Said {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.input.read(buffer)
        }
    }

    impl Write for Said {
        fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
            self.output.write(buffer)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn password(text: &str) -> Password {
        text.parse().expect("a password")
    }

    /// A client over a real connection, which answers with the password that it is given.
    fn asks(version: &[u8; 12], tried: &str) -> (bool, Vec<u8>) {
        let (mut client, mut server) = UnixStream::pair().expect("a pair");
        let tried = password(tried);
        let version = *version;
        let asking = thread::spawn(move || {
            assert_eq!(bytes(&mut client).expect("a version"), *VERSION);
            client.write_all(&version).expect("written");
            if version.contains(&b'3') && version[10] == b'3' {
                assert_eq!(bytes(&mut client).expect("a kind"), [0, 0, 0, 2]);
            } else {
                assert_eq!(bytes(&mut client).expect("kinds"), [1, 2]);
                client.write_all(&[2]).expect("written");
            }
            let challenge = bytes(&mut client).expect("a challenge");
            client
                .write_all(&response(&tried, challenge))
                .expect("written");
            let mut rest = Vec::new();
            client.read_to_end(&mut rest).expect("the rest");
            rest
        });
        let known = admit(&mut server, &password("secret")).expect("an answer");
        drop(server);
        (known, asking.join().expect("a client"))
    }

    #[test]
    fn every_version() {
        for version in [b"RFB 003.003\n", b"RFB 003.007\n", b"RFB 003.008\n"] {
            let (known, rest) = asks(version, "secret");
            assert!(known);
            assert_eq!(rest, [0; 4]);
            let (known, rest) = asks(version, "secreT");
            assert!(!known);
            assert_eq!(rest[..4], [0, 0, 0, 1]);
            let told = version == b"RFB 003.008\n";
            assert_eq!(rest[4..].ends_with(b"wrong password"), told, "{rest:?}");
        }
    }

    #[test]
    fn a_known_answer() {
        // By an implementation of DES of its own: tests/xen/vnc.py.
        let challenge = *b"0123456789abcdef";
        let answer = response(&password("password"), challenge);
        assert_eq!(
            u128::from_be_bytes(answer),
            0x5645_abeb_5f1e_6475_e8fe_b11b_eb66_ea19
        );
    }

    #[test]
    fn what_is_no_client() {
        for bad in [
            &b""[..],
            b"GET / HTTP/1",
            b"RFB 004.000\n",
            b"RFB 003.008\n",
            b"RFB 003.008\n\x01",
            b"RFB 003.008\n\x02short",
        ] {
            let mut said = Said::new(bad);
            assert!(admit(&mut said, &password("secret")).is_err(), "{bad:?}");
        }
        assert_eq!(minor(*b"RFB 003.889\n").ok(), Some(8));
        assert_eq!(minor(*b"RFB 003.005\n").ok(), Some(3));
    }

    #[test]
    fn the_screen_is_entered() {
        let mut said = Said::new(b"RFB 003.008\n\x02\x10\x01\0\0\0\0more");
        enter(&mut said).expect("entered");
        assert_eq!(said.output, b"RFB 003.008\n\x01");
        assert_eq!(bytes(&mut said).ok(), Some(*b"more"));
        for bad in [
            &b"RFB 003.008\n\x01\x02"[..],
            b"RFB 003.008\n\x01\x01\0\0\0\x01",
            b"RFB 003.008\n\0",
            b"RFB",
        ] {
            assert!(enter(&mut Said::new(bad)).is_err(), "{bad:?}");
        }
    }
}
