// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! dnsmasq and sshd: the files that they read, and how they hear of changes.

use std::ffi::OsString;
use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::cmdline::{Config, GUESTS};
use crate::paths::Paths;
use crate::rules::SSH_PORT;
use crate::state::{State, replace};
use crate::words::GATEWAY_NAME;

/// How long dnsmasq may take to be there again.
const AGAIN: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(5);

const DNSMASQ_PID: &str = "dnsmasq.pid";
const SSHD_PID: &str = "sshd.pid";

/// What dnsmasq is told at its start.
fn dnsmasq_configuration(config: &Config, paths: &Paths) -> String {
    let guests = config.guests();
    let mut text = format!(
        "# Made by vn-domr at each start.
interface={GUESTS}
except-interface=lo
bind-interfaces
pid-file={pid}
log-facility=-
no-resolv
no-hosts
domain-needed
addn-hosts={hosts}
# Addresses are given only to those that are listed; they keep them, and nothing is to be remembered of them.
dhcp-range={address},static,{mask},infinite
dhcp-hostsfile={leases}
dhcp-option=option:router,{address}
dhcp-option=option:dns-server,{address}
dhcp-authoritative
leasefile-ro
",
        pid = paths.run(DNSMASQ_PID).display(),
        hosts = paths.run("hosts").display(),
        leases = paths.run("leases").display(),
        address = guests.address,
        mask = guests.netmask(),
    );
    // A string takes everything.
    for server in &config.dns {
        let _ = writeln!(text, "server={server}");
    }
    if let Some(domain) = &config.domain {
        let _ = writeln!(text, "domain={domain}\nlocal=/{domain}/\nexpand-hosts");
    }
    if let Some(mtu) = config.mtu {
        let _ = writeln!(text, "dhcp-option=option:mtu,{mtu}");
    }
    text
}

fn sshd_configuration(config: &Config, paths: &Paths, own: &Path) -> String {
    format!(
        "# Made by vn-domr at each start.
AddressFamily inet
ListenAddress {address}:{SSH_PORT}
HostKey {key}
PidFile {pid}
AuthorizedKeysFile {keys}
AuthenticationMethods publickey
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
PermitRootLogin prohibit-password
AllowUsers root
ForceCommand {own} --root {root} ctl
PermitTTY no
DisableForwarding yes
PermitUserRC no
PermitUserEnvironment no
UseDNS no
LoginGraceTime 20
MaxAuthTries 3
MaxStartups 10:30:60
ClientAliveInterval 15
",
        address = config.private().address,
        key = paths.etc("ssh_host_ed25519_key").display(),
        keys = paths.etc("authorized_keys").display(),
        pid = paths.run(SSHD_PID).display(),
        own = own.display(),
        root = paths.root().display(),
    )
}

/// Writes what both read only at their start.
pub(crate) fn write_configuration(config: &Config, paths: &Paths) -> anyhow::Result<()> {
    let own = std::env::current_exe().context("cannot tell where this program is")?;
    replace(
        &paths.run("dnsmasq.conf"),
        &dnsmasq_configuration(config, paths),
        0o644,
    )?;
    replace(
        &paths.run("sshd_config"),
        &sshd_configuration(config, paths, &own),
        0o600,
    )
}

fn leases(state: &State) -> String {
    let mut text = String::new();
    for lease in &state.leases {
        // A string takes everything.
        let _ = writeln!(text, "{},{},{},infinite", lease.mac, lease.ip, lease.name);
    }
    text
}

fn hosts(config: &Config, state: &State) -> String {
    let mut text = format!("{} {GATEWAY_NAME}\n", config.guests().address);
    for lease in &state.leases {
        let _ = writeln!(text, "{} {}", lease.ip, lease.name);
    }
    text
}

/// Writes the leases for dnsmasq.
pub(crate) fn write_leases(config: &Config, paths: &Paths, state: &State) -> anyhow::Result<()> {
    replace(&paths.run("leases"), &leases(state), 0o644)?;
    replace(&paths.run("hosts"), &hosts(config, state), 0o644)
}

/// Names, programs and arguments.
pub(crate) fn programs(paths: &Paths) -> [(&'static str, Vec<OsString>); 2] {
    let mut conf = OsString::from("--conf-file=");
    conf.push(paths.run("dnsmasq.conf"));
    let dnsmasq = vec!["--keep-in-foreground".into(), conf];
    let sshd = vec![
        "-D".into(),
        "-e".into(),
        "-f".into(),
        paths.run("sshd_config").into(),
    ];
    [("dnsmasq", dnsmasq), ("sshd", sshd)]
}

/// The process of one of them, by the file that it writes when it listens.
fn pid(paths: &Paths, file: &str, name: &str) -> Option<Pid> {
    let pid: i32 = fs::read_to_string(paths.run(file))
        .ok()?
        .trim()
        .parse()
        .ok()?;
    let comm = fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
    (comm.trim() == name).then(|| Pid::from_raw(pid))
}

/// Whether dnsmasq runs, and whether sshd does.
pub(crate) fn running(paths: &Paths) -> (bool, bool) {
    (
        pid(paths, DNSMASQ_PID, "dnsmasq").is_some(),
        pid(paths, SSHD_PID, "sshd").is_some(),
    )
}

/// Ends what an earlier run has left, should that have been killed.
pub(crate) fn end_old(paths: &Paths) -> anyhow::Result<()> {
    let deadline = Instant::now() + AGAIN;
    for (file, name) in [(DNSMASQ_PID, "dnsmasq"), (SSHD_PID, "sshd")] {
        while let Some(old) = pid(paths, file, name) {
            // It may end just now.
            let _ = kill(old, Signal::SIGTERM);
            if Instant::now() >= deadline {
                bail!("{name} ({old}) of an earlier run does not end");
            }
            thread::sleep(POLL);
        }
        // It need not be there. A process with that number may be another one's later.
        let _ = fs::remove_file(paths.run(file));
    }
    Ok(())
}

/// Lets dnsmasq know of leases. It reads new ones when it is told to, but remembers old ones as long as it runs: for them it is
/// ended, and started again by who looks after it.
pub(crate) fn tell(paths: &Paths, before: &State, after: &State) -> anyhow::Result<()> {
    // Where it does not run, it reads everything when it does.
    let Some(old) = pid(paths, DNSMASQ_PID, "dnsmasq") else {
        return Ok(());
    };
    let kept = before
        .leases
        .iter()
        .all(|lease| after.leases.contains(lease));
    let signal = if kept {
        Signal::SIGHUP
    } else {
        Signal::SIGTERM
    };
    match kill(old, signal) {
        Ok(()) | Err(Errno::ESRCH) => {}
        Err(errno) => return Err(errno).context("cannot tell dnsmasq of the leases"),
    }
    if kept {
        return Ok(());
    }
    let deadline = Instant::now() + AGAIN;
    while pid(paths, DNSMASQ_PID, "dnsmasq").is_none_or(|new| new == old) {
        if Instant::now() >= deadline {
            bail!(
                "the leases are changed, but dnsmasq was ended for that and is not there again after {} s; see the console",
                AGAIN.as_secs()
            );
        }
        thread::sleep(POLL);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cmdline::tests::example;

    #[test]
    fn files() {
        let (config, paths) = (example(), Paths::new(Path::new("/")));
        let text = dnsmasq_configuration(&config, &paths);
        for line in [
            "interface=eth0",
            "dhcp-range=10.1.1.1,static,255.255.255.0,infinite",
            "server=192.168.1.254",
            "server=207.69.188.186",
            "domain=vmops.org",
            "local=/vmops.org/",
            "addn-hosts=/run/vn-domr/hosts",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}: {text}");
        }
        assert!(!text.contains("mtu"));
        let text = sshd_configuration(&config, &paths, Path::new("/usr/sbin/vn-domr"));
        for line in [
            "ListenAddress 192.168.1.33:3922",
            "ForceCommand /usr/sbin/vn-domr --root / ctl",
            "HostKey /etc/vn-domr/ssh_host_ed25519_key",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}: {text}");
        }
        let mut state = State::default();
        let lease = r#"{"mac":"02:00:00:05:00:56","ip":"10.1.1.56","name":"centos5-2"}"#;
        state
            .leases
            .push(serde_json::from_str(lease).expect("a lease"));
        assert_eq!(
            leases(&state),
            "02:00:00:05:00:56,10.1.1.56,centos5-2,infinite\n"
        );
        assert_eq!(
            hosts(&config, &state),
            "10.1.1.1 gateway\n10.1.1.56 centos5-2\n"
        );
    }
}
