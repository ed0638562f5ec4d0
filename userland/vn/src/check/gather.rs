// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! Gathering the facts: what is configured, what is around it, and what other hosts say.

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use vnet_core::VnetId;
use vnet_core::wire::{VarpAddr, VarpMessage, VarpOpcode};
use vnet_netlink::{Client, Counters, Error, Inspector, Key, KeySlot, Net};

use super::reach::{beside, is_sealed};
use super::{Checksums, DampedMac, Facts, NetFacts, Path, Port, Presence, Remote, proc};
use crate::probe::{Asker, PRESENCE, Times, ask_all, ask_each, ask_machines, sweep};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_millis(500);
/// How long until the system says that a host on the same network is not there.
const KNOCK: Duration = Duration::from_millis(3500);
/// Most hosts whose paths are measured, and that are knocked at.
const HOSTS_MAX: usize = 64;
/// Most machines for which one host is asked.
const MACHINES_MAX: usize = 4;

/// Gathers all. `only` names one vnet.
pub(crate) fn gather(
    client: &mut Client,
    asker: &mut dyn Asker,
    only: Option<VnetId>,
) -> Result<Facts, Error> {
    let mut inspector = Inspector::open()?;
    let host = client.host()?;
    let all = client.nets()?;
    let wrong_before = proc::wrong_checksums();
    let peers: Vec<IpAddr> = client.peers()?.iter().map(|peer| peer.addr).collect();
    let mut keys = BTreeMap::new();
    for net in &all {
        match client.keys(net.id) {
            Ok(of_net) => {
                keys.insert(net.id, of_net);
            }
            // Deleted since it was listed, or of a version that knows of none.
            Err(error) if error.is_absent() || error.errno() == Some(Errno::EOPNOTSUPP) => {}
            Err(error) => return Err(error),
        }
    }
    let mut nets = Vec::new();
    let chosen = all.iter().filter(|net| only.is_none_or(|id| net.id == id));
    for net in chosen {
        match of_net(client, net, keys.get(&net.id)) {
            // Deleted since it was listed.
            Err(error) if only.is_none() && error.is_absent() => {}
            other => nets.push(other?),
        }
    }

    let mut routes = BTreeMap::new();
    for addr in peers.iter().copied().chain(host.group) {
        routes.insert(addr, inspector.route(addr)?);
    }
    let (port_users, hidden_programs) = proc::port_users(host.port);
    let mut facts = Facts {
        via: client.via(),
        version: env!("CARGO_PKG_VERSION"),
        before: host.stats.clone().unwrap_or_default(),
        port_users,
        hidden_programs,
        host,
        peers,
        nets,
        named: only.is_some(),
        vnifs: all.iter().map(|net| net.ifname.clone()).collect(),
        devices: inspector.devices()?,
        addresses: inspector.addresses()?,
        routes,
        remotes: BTreeMap::new(),
        checksums: Checksums::default(),
        offloads: BTreeMap::new(),
        bridge_filter: proc::bridge_filter(),
    };
    // Those that can ask.
    let ids = all.iter().filter(|net| {
        let of_net = keys.get(&net.id).map(Vec::as_slice);
        !is_sealed(net) || of_net.is_some_and(has_current)
    });
    let ids: Vec<VnetId> = ids.map(|net| net.id).collect();
    let times = ask_all(asker, &ids, &known(&facts), PATIENCE)?;
    again(client, &mut facts)?;
    facts.checksums = Checksums {
        wrong: proc::wrong_checksums(),
        wrong_before,
    };
    if facts.checksums.wrong > 0 {
        let names: Vec<_> = facts.underlay().iter().map(|d| d.name.clone()).collect();
        for name in names {
            let features = inspector.features(&name).unwrap_or_default();
            let sums = features
                .into_iter()
                .filter(|name| name.contains("checksum"));
            facts.offloads.insert(name, sums.collect());
        }
    }
    facts.remotes = ask_hosts(asker, &facts, &ids, times)?;
    ask_silent(asker, &mut facts, &ids)?;
    knock_at_silent(&mut facts);
    Ok(facts)
}

/// Whether there is a key to seal with.
pub(super) fn has_current(keys: &[Key]) -> bool {
    keys.iter().any(|key| key.slot == Some(KeySlot::Current))
}

fn of_net(client: &mut Client, net: &Net, keys: Option<&Vec<Key>>) -> Result<NetFacts, Error> {
    let remotes = client.remotes(net.id)?;
    let varps = client.varps(net.id)?;
    let vifs = client.vifs(net.id)?;
    let is_damped = |damped: Option<u32>| damped.is_some_and(|left| left > 0);
    let behind = varps.iter().filter(|varp| is_damped(varp.damped));
    let here = vifs.iter().filter(|vif| is_damped(vif.damped));
    let mut damped: Vec<_> = behind
        .map(|varp| DampedMac {
            mac: varp.mac,
            addr: varp.addr,
            moves: varp.moves,
        })
        .collect();
    damped.extend(here.map(|vif| DampedMac {
        mac: vif.mac,
        addr: None,
        moves: vif.moves,
    }));
    let learned: BTreeSet<IpAddr> = varps.iter().filter_map(|varp| varp.addr).collect();
    let mut machines: Vec<_> = varps
        .iter()
        .filter_map(|varp| Some((varp.age, varp.mac, varp.addr?)))
        .collect();
    machines.sort();
    let listed = remotes.iter().filter(|remote| remote.is_listed());
    Ok(NetFacts {
        before: net.stats.clone().unwrap_or_default(),
        net: net.clone(),
        listed: listed.map(|remote| remote.addr).collect(),
        learned: learned.into_iter().collect(),
        machines: machines
            .into_iter()
            .map(|(_, mac, addr)| (mac, addr))
            .collect(),
        damped,
        keys: keys.cloned().unwrap_or_default(),
    })
}

/// The counters once more, to see which of them rise.
fn again(client: &mut Client, facts: &mut Facts) -> Result<(), Error> {
    facts.host.stats = client.host()?.stats;
    for net in &mut facts.nets {
        let now: Option<Counters> = match client.find_net(net.net.id)? {
            Some(now) => now.stats,
            None => None,
        };
        net.net.stats = now;
    }
    Ok(())
}

/// All hosts that are named somewhere.
fn known(facts: &Facts) -> BTreeSet<IpAddr> {
    let mut known: BTreeSet<IpAddr> = facts.peers.iter().copied().collect();
    for net in &facts.nets {
        known.extend(net.listed.iter().chain(&net.learned));
    }
    known
}

/// Asks each host that did not answer with the others, and measures the paths to those that did.
fn ask_hosts(
    asker: &mut dyn Asker,
    facts: &Facts,
    ids: &[VnetId],
    times: Times,
) -> Result<BTreeMap<IpAddr, Remote>, Error> {
    let known = known(facts);
    let mut remotes: BTreeMap<IpAddr, Remote> = BTreeMap::new();
    for addr in known.iter().chain(times.keys().map(|(_, addr)| addr)) {
        remotes.entry(*addr).or_default().is_peer = facts.peers.contains(addr);
    }
    for remote in remotes.values_mut() {
        remote.nets = ids.iter().map(|id| (*id, Presence::default())).collect();
    }
    for ((id, addr), time) in times {
        if let Some(presence) = presence_of(&mut remotes, id, addr) {
            presence.all = Some(time);
        }
    }
    let mut questions = BTreeSet::new();
    for (addr, remote) in &remotes {
        let silent = remote
            .nets
            .iter()
            .filter(|(_, presence)| presence.all.is_none());
        if known.contains(addr) {
            questions.extend(silent.map(|(id, _)| (*id, *addr)));
        }
    }
    for ((id, addr), time) in ask_each(asker, &questions, PATIENCE)? {
        if let Some(presence) = presence_of(&mut remotes, id, addr) {
            presence.alone = Some(time);
        }
    }
    for (addr, remote) in remotes.iter_mut().take(HOSTS_MAX) {
        // Vnets of one MTU have one path.
        let mut measured: BTreeMap<u32, u32> = BTreeMap::new();
        for net in &facts.nets {
            let Some(mtu) = net.net.mtu else { continue };
            let presence = remote.nets.get_mut(&net.net.id);
            let Some((presence, time)) = presence.and_then(|p| p.time().map(|time| (p, time)))
            else {
                continue;
            };
            // What is larger is fragmented, which is told of elsewhere.
            let needed = mtu.min(net.net.underlay_mtu.unwrap_or(mtu)) + beside(&net.net);
            let answered = match measured.get(&needed) {
                Some(answered) => *answered,
                None => {
                    let patience = (PATIENCE / 2).max(4 * time);
                    sweep(asker, net.net.id, *addr, needed, patience)?
                }
            };
            measured.insert(needed, answered);
            presence.path = Some(Path { needed, answered });
        }
    }
    Ok(remotes)
}

fn presence_of(
    remotes: &mut BTreeMap<IpAddr, Remote>,
    id: VnetId,
    addr: IpAddr,
) -> Option<&mut Presence> {
    remotes.get_mut(&addr)?.nets.get_mut(&id)
}

/// Asks hosts that do not answer for any vnet what the original answers, too: for machines that were learned from them.
fn ask_silent(asker: &mut dyn Asker, facts: &mut Facts, ids: &[VnetId]) -> Result<(), Error> {
    let mut questions = BTreeSet::new();
    let silent = facts.remotes.iter().filter(|(_, remote)| !remote.answers());
    for (host, _) in silent.take(HOSTS_MAX) {
        // No original is in a sealed vnet.
        let nets = facts.nets.iter().map(|net| (net.net.id, net));
        let nets = nets.filter(|(id, net)| ids.contains(id) && !is_sealed(&net.net));
        let machines = nets.flat_map(|(id, net)| net.machines.iter().map(move |it| (id, it)));
        let behind = machines.filter(|(_, (_, addr))| addr == host);
        questions.extend(
            behind
                .map(|(id, (mac, addr))| (id, *mac, *addr))
                .take(MACHINES_MAX),
        );
    }
    for addr in ask_machines(asker, &questions, PATIENCE)? {
        if let Some(remote) = facts.remotes.get_mut(&addr) {
            remote.is_original = true;
        }
    }
    Ok(())
}

/// Finds out more of the hosts that do not answer at all.
fn knock_at_silent(facts: &mut Facts) {
    let Some(net) = facts.nets.first().map(|net| net.net.id) else {
        return;
    };
    let port = facts.host.port;
    let silent = facts.remotes.iter();
    let silent = silent.filter(|(_, remote)| !remote.answers() && !remote.is_original);
    let silent: Vec<IpAddr> = silent.map(|(addr, _)| *addr).take(HOSTS_MAX).collect();
    for (addr, state) in knock(&silent, port, net) {
        if let Some(remote) = facts.remotes.get_mut(&addr) {
            remote.port = state;
        }
    }
}

/// Sends a request to each host from a socket of our own: unlike the vnets' socket, it is told what ICMP says. What is
/// sent is as harmless as any question; an answer goes to the vnets' socket.
fn knock(hosts: &[IpAddr], port: u16, net: VnetId) -> Vec<(IpAddr, Port)> {
    let request = VarpMessage {
        opcode: VarpOpcode::Request,
        id: net,
        mac: PRESENCE,
        addr: VarpAddr::V4(Ipv4Addr::UNSPECIFIED),
    };
    let bytes = request.emit();
    let opened: Vec<_> = hosts
        .iter()
        .map(|addr| (*addr, open(*addr, port, &bytes)))
        .collect();
    let until = Instant::now() + KNOCK;
    let state = |socket: std::io::Result<UdpSocket>| {
        let heard = socket.and_then(|socket| {
            let left = until.saturating_duration_since(Instant::now());
            socket.set_read_timeout(Some(left.max(Duration::from_millis(1))))?;
            socket.recv(&mut [0; 1])
        });
        match heard {
            Ok(_) => Port::Silent,
            Err(error) => match error.kind() {
                ErrorKind::ConnectionRefused => Port::Refused,
                ErrorKind::WouldBlock | ErrorKind::TimedOut => Port::Silent,
                _ => Port::Unreachable(words(&error)),
            },
        }
    };
    opened
        .into_iter()
        .map(|(addr, socket)| (addr, state(socket)))
        .collect()
}

/// What the system says, without its number.
fn words(error: &std::io::Error) -> String {
    match error.raw_os_error() {
        Some(number) => Errno::from_raw(number).desc().to_owned(),
        None => error.to_string(),
    }
}

fn open(addr: IpAddr, port: u16, bytes: &[u8]) -> std::io::Result<UdpSocket> {
    let any: IpAddr = match addr {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind(SocketAddr::new(any, 0))?;
    socket.connect(SocketAddr::new(addr, port))?;
    socket.send(bytes)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{addr, id, sound};
    use super::*;
    use crate::probe::tests::Fake;
    use vnet_core::wire::VARP_LEN;

    #[test]
    fn hosts_are_asked_and_their_paths_measured() {
        let (five, six) = (id("5"), id("6"));
        let [two, three, four] = ["192.0.2.2", "192.0.2.3", "192.0.2.4"].map(addr);
        let mut facts = sound();
        facts.peers = vec![three, four];
        let mut fake = Fake::default();
        fake.hosts.insert((five, two), (1300, true));
        fake.hosts.insert((five, three), (2000, false));
        fake.hosts.insert((six, three), (2000, false));
        let ids = [five, six];
        let long = Duration::from_secs(60);
        let times = ask_all(&mut fake, &ids, &known(&facts), long).expect("times");
        let remotes = ask_hosts(&mut fake, &facts, &ids, times).expect("remotes");
        assert_eq!(remotes.len(), 3);
        let path = |addr| remotes[addr].nets[&five].path;
        let measured = |answered| {
            Some(Path {
                needed: 1472,
                answered,
            })
        };
        assert_eq!((path(&two), path(&three)), (measured(1300), measured(1472)));
        assert!(remotes[&two].nets[&five].all.is_some() && !remotes[&two].has(six));
        assert!(remotes[&three].nets[&five].alone.is_some() && remotes[&three].has(six));
        assert!(remotes[&three].is_peer && !remotes[&two].is_peer);
        assert!(!remotes[&four].answers());
    }

    #[test]
    fn a_silent_host_is_asked_for_its_machines() {
        let five = id("5");
        let [two, three, four] = ["192.0.2.2", "192.0.2.3", "192.0.2.4"].map(addr);
        let mut facts = sound();
        facts.remotes = [two, three, four]
            .map(|addr| (addr, Remote::default()))
            .into();
        let answers = Presence {
            all: Some(Duration::from_millis(1)),
            ..Presence::default()
        };
        let remote = facts.remotes.get_mut(&four).expect("it");
        remote.nets.insert(five, answers);
        let mac = |last| vnet_core::Mac::from_bytes([2, 0, 0, 0, 0, last]);
        let mut machines: Vec<_> = (0..20).map(|last| (mac(last), two)).collect();
        machines.extend([(mac(30), three), (mac(40), four)]);
        facts.nets[0].machines = machines;
        let mut fake = Fake::default();
        for (last, host) in [(3, two), (4, two), (30, four), (40, four)] {
            fake.macs.insert((five, mac(last)), host);
        }
        ask_silent(&mut fake, &mut facts, &[five]).expect("asked");
        let originals: Vec<_> = facts
            .remotes
            .iter()
            .filter(|(_, it)| it.is_original)
            .collect();
        assert_eq!(originals.len(), 1);
        assert_eq!(*originals[0].0, two);
        let asked = |host| {
            fake.asked
                .iter()
                .filter(|probe| probe.addr == Some(host))
                .count()
        };
        assert_eq!(
            (asked(two), asked(three), asked(four)),
            (MACHINES_MAX, 2, 0)
        );
        let settings = &mut facts.nets[0].net.settings;
        settings.set(vnet_core::Setting::Seal, Some(1));
        facts.remotes.insert(two, Remote::default());
        let before = fake.asked.len();
        ask_silent(&mut fake, &mut facts, &[five]).expect("nothing to ask");
        assert_eq!(fake.asked.len(), before, "the original cannot be there");
    }

    #[test]
    fn knocking_at_a_port() {
        let here = IpAddr::from(Ipv4Addr::LOCALHOST);
        let socket = UdpSocket::bind((here, 0)).expect("a socket");
        let port = socket.local_addr().expect("an address").port();
        drop(socket);
        assert_eq!(knock(&[here], port, id("5")), [(here, Port::Refused)]);
        let answering = UdpSocket::bind((here, 0)).expect("a socket");
        let port = answering.local_addr().expect("an address").port();
        let thread = std::thread::spawn(move || {
            let mut bytes = [0; 100];
            let (length, from) = answering.recv_from(&mut bytes).expect("a request");
            answering.send_to(&[1], from).expect("sent");
            length
        });
        assert_eq!(knock(&[here], port, id("5")), [(here, Port::Silent)]);
        assert_eq!(thread.join().expect("heard"), VARP_LEN);
    }
}
