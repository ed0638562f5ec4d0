// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! What is read from /proc, in the network namespace of this thread.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, ErrorKind};

use super::{PortUser, Process};

/// Inodes of the UDP sockets on a port, from the text of `/proc/net/udp` or `udp6`.
fn inodes(text: &str, port: u16) -> Vec<u64> {
    let line = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (_, local) = fields.get(1)?.rsplit_once(':')?;
        let inode = fields.get(9)?.parse().ok()?;
        (u16::from_str_radix(local, 16) == Ok(port)).then_some(inode)
    };
    text.lines().skip(1).filter_map(line).collect()
}

/// A counter of the text of `/proc/net/snmp`: two lines for each protocol, one of names and one of numbers.
fn snmp(text: &str, protocol: &str, name: &str) -> Option<u64> {
    let mut lines = text.lines().filter_map(|line| line.split_once(':'));
    let (_, names) = lines.find(|(found, _)| *found == protocol)?;
    let (_, numbers) = lines.find(|(found, _)| *found == protocol)?;
    let mut pairs = names.split_whitespace().zip(numbers.split_whitespace());
    let (_, number) = pairs.find(|(found, _)| *found == name)?;
    number.parse().ok()
}

/// A counter of the text of `/proc/net/snmp6`: a name and a number on each line.
fn snmp6(text: &str, name: &str) -> Option<u64> {
    let mut lines = text
        .lines()
        .filter_map(|line| line.split_once(char::is_whitespace));
    let (_, number) = lines.find(|(found, _)| *found == name)?;
    number.trim().parse().ok()
}

/// The inode of a socket, from what a file descriptor links to.
fn socket_of(link: &str) -> Option<u64> {
    link.strip_prefix("socket:[")?
        .strip_suffix(']')?
        .parse()
        .ok()
}

fn net(file: &str) -> String {
    // A file that is not there, or may not be read, tells nothing.
    fs::read_to_string(format!("/proc/thread-self/net/{file}")).unwrap_or_default()
}

/// Whether the kernel does not let us look into a program.
fn is_denied<T>(result: &io::Result<T>) -> bool {
    let kind = result.as_ref().err().map(io::Error::kind);
    kind == Some(ErrorKind::PermissionDenied)
}

/// Programs that have sockets open, by inode, and whether there are others that may not be looked into.
fn programs(wanted: &[u64]) -> (BTreeMap<u64, Process>, bool) {
    let mut found = BTreeMap::new();
    let mut hidden = false;
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let path = entry.path();
        let pid = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok());
        let Some(pid) = pid else { continue };
        let files = fs::read_dir(path.join("fd"));
        hidden |= is_denied(&files);
        for file in files.into_iter().flatten().flatten() {
            // Root without the capability may list them, but not see what they are.
            let link = fs::read_link(file.path());
            hidden |= is_denied(&link);
            let link = link.unwrap_or_default();
            let Some(inode) = link.to_str().and_then(socket_of) else {
                continue;
            };
            if wanted.contains(&inode) {
                let name = fs::read_to_string(path.join("comm")).unwrap_or_default();
                let name = name.trim().to_owned();
                found.entry(inode).or_insert(Process { pid, name });
            }
        }
    }
    (found, hidden)
}

/// Who has a UDP port, and whether there are programs that may not be looked into.
pub(super) fn port_users(port: u16) -> (Vec<PortUser>, bool) {
    let mut all = inodes(&net("udp"), port);
    all.extend(inodes(&net("udp6"), port));
    let (programs, hidden) = programs(&all);
    let user = |inode| PortUser {
        process: programs.get(inode).cloned(),
    };
    (all.iter().map(user).collect(), hidden)
}

/// UDP packets that were dropped for a wrong checksum.
pub(super) fn wrong_checksums() -> u64 {
    let v4 = snmp(&net("snmp"), "Udp", "InCsumErrors").unwrap_or_default();
    let v6 = snmp6(&net("snmp6"), "Udp6InCsumErrors").unwrap_or_default();
    v4.saturating_add(v6)
}

/// Whether bridges pass packets to iptables.
pub(super) fn bridge_filter() -> Option<bool> {
    let text = fs::read_to_string("/proc/sys/net/bridge/bridge-nf-call-iptables");
    text.ok().map(|text| text.trim() == "1")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::UdpSocket;

    const UDP: &str = "\
   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops
  431: 00000000:0706 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 40521 2 0000000000000000 0
  432: 0100007F:0035 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 40522 2 0000000000000000 0
 nonsense
";

    #[test]
    fn sockets_on_a_port() {
        assert_eq!(inodes(UDP, 1798), [40521]);
        assert_eq!(inodes(UDP, 53), [40522]);
        assert_eq!(inodes(UDP, 1), [0; 0]);
        assert_eq!(inodes("", 1), [0; 0]);
        assert_eq!(socket_of("socket:[40521]"), Some(40521));
        assert_eq!(socket_of("pipe:[40521]"), None);
    }

    #[test]
    fn what_is_hidden_is_not_what_is_gone() {
        let fails = |kind: ErrorKind| io::Result::<()>::Err(kind.into());
        assert!(is_denied(&fails(ErrorKind::PermissionDenied)));
        assert!(!is_denied(&fails(ErrorKind::NotFound)));
        assert!(!is_denied(&Ok(())));
    }

    #[test]
    fn numbers() {
        let text = "Ip: A B\nIp: 1 2\nUdp: InDatagrams InCsumErrors\nUdp: 7 3\nUdpLite: InCsumErrors\nUdpLite: 9\n";
        assert_eq!(snmp(text, "Udp", "InCsumErrors"), Some(3));
        assert_eq!(snmp(text, "Udp", "Other"), None);
        assert_eq!(snmp("Udp: InCsumErrors", "Udp", "InCsumErrors"), None);
        let text = "Udp6InErrors    \t4\nUdp6InCsumErrors  \t5\n";
        assert_eq!(snmp6(text, "Udp6InCsumErrors"), Some(5));
    }

    #[test]
    fn this_program_is_found() {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        let port = socket.local_addr().expect("an address").port();
        let (users, _) = port_users(port);
        let ours = |user: &PortUser| {
            let process = user.process.as_ref();
            process.is_some_and(|process| process.pid == std::process::id())
        };
        assert!(users.iter().any(ours), "{users:?}");
    }
}
