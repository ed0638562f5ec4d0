// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! What must hold before the daemon starts, and what the service manager is told.

use std::fs;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use anyhow::{Context, bail};
use nix::errno::Errno;

use crate::rtnl;
use crate::udp::Sockets;

/// The inodes of the sockets that have a UDP port.
fn inodes(port: u16) -> Vec<String> {
    let mut found = Vec::new();
    for table in ["/proc/self/net/udp", "/proc/self/net/udp6"] {
        let text = fs::read_to_string(table).unwrap_or_default();
        for line in text.lines().skip(1) {
            let words: Vec<_> = line.split_whitespace().collect();
            let (Some(local), Some(inode)) = (words.get(1), words.get(9)) else {
                continue;
            };
            let has = local
                .rsplit(':')
                .next()
                .and_then(|digits| u16::from_str_radix(digits, 16).ok());
            if has == Some(port) {
                found.push((*inode).to_owned());
            }
        }
    }
    found
}

/// Who has a UDP port, as far as can be seen: name and number of the process.
fn holder(port: u16) -> Option<String> {
    let wanted: Vec<_> = inodes(port)
        .into_iter()
        .map(|inode| format!("socket:[{inode}]"))
        .collect();
    for process in fs::read_dir("/proc").ok()?.flatten() {
        let name = process.file_name().to_string_lossy().into_owned();
        if !name.bytes().all(|byte| byte.is_ascii_digit()) {
            continue;
        }
        let Ok(files) = fs::read_dir(process.path().join("fd")) else {
            continue;
        };
        for file in files.flatten() {
            let Ok(target) = fs::read_link(file.path()) else {
                continue;
            };
            if wanted
                .iter()
                .any(|wanted| target.as_os_str() == wanted.as_str())
            {
                let command = fs::read_to_string(process.path().join("comm")).unwrap_or_default();
                return Some(format!("{} (process {name})", command.trim_end()));
            }
        }
    }
    None
}

/// Refuses if the kernel module is at work in this network namespace.
pub(crate) fn check_module() -> anyhow::Result<()> {
    match rtnl::module_nets() {
        Ok(None | Some(0)) => Ok(()),
        Ok(Some(nets)) => bail!(
            "the kernel module vnet has {nets} vnets in this network namespace; remove them with 'vn net delete' \
             or 'vn host unload --force' first"
        ),
        // Without generic netlink there is no module either.
        Err(Errno::EPROTONOSUPPORT | Errno::EAFNOSUPPORT) => Ok(()),
        Err(error) => Err(error).context("cannot ask whether the kernel module vnet is at work"),
    }
}

/// Refuses if the UDP port is taken, and says by whom.
pub(crate) fn check_port(port: u16) -> anyhow::Result<()> {
    match Sockets::open(port, 1) {
        Ok(_) => Ok(()),
        Err(Errno::EADDRINUSE) => match holder(port) {
            Some(holder) => bail!("{holder} has UDP port {port}; stop it, or choose another with --port"),
            None => bail!(
                "UDP port {port} is taken, by the kernel or by a process that cannot be seen from here: those of other users are shown \
                 only with CAP_SYS_PTRACE, those of other PID namespaces not at all; choose another with --port"
            ),
        },
        Err(error @ (Errno::EPERM | Errno::EACCES)) => Err(error)
            .context("cannot open the UDP socket: vnetd needs CAP_NET_ADMIN and CAP_NET_RAW; start it as root"),
        Err(error) => Err(error).context("cannot open the UDP socket"),
    }
}

/// Tells the service manager, if there is one, how things are.
pub(crate) fn notify(text: &str) {
    let Ok(path) = std::env::var("NOTIFY_SOCKET") else {
        return;
    };
    let address = match path.strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name),
        None => SocketAddr::from_pathname(&path),
    };
    let told = address
        .and_then(|address| UnixDatagram::unbound()?.send_to_addr(text.as_bytes(), &address));
    if let Err(error) = told {
        crate::log(&format!("cannot tell the service manager: {error}"));
    }
}
