// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! What survives a restart: a file with the requests that make the configuration, as they would come over the control socket,
//! and beside them which bridge each device was a port of and the name of the underlay device, whose number may change.

use std::fs;
use std::io::Write;
use std::path::Path;

use anyhow::{Context, bail};
use vnet_core::abi::{cmd, host, net, peer, remote, varp};
use vnet_core::{Setting, VnetId};
use vnet_netlink::attributes::Reader;

use crate::host::{DEVICE_LOST, Host};
use crate::log;
use crate::message::{self, Answer, FLAG_REQUEST, Header};
use crate::requests::{self, FAMILY, Outcome};

/// What the file begins with.
const MAGIC: &[u8; 8] = b"vnetd 1\n";
/// Message types of the daemon's own.
const DEVICE: u16 = 0x13;
const PORT: u16 = 0x14;
/// Attributes of PORT: id, bridge, whether the device was up; of DEVICE: a name.
const PORT_ID: u16 = 1;
const PORT_BRIDGE: u16 = 2;
const PORT_UP: u16 = 3;
const DEVICE_NAME: u16 = 1;

fn request(kind: u16, command: u8, answer: &Answer) -> Vec<u8> {
    let mut payload = if kind == FAMILY {
        vec![command, vnet_core::abi::VERSION, 0, 0]
    } else {
        Vec::new()
    };
    payload.extend(answer.bytes());
    message::message(kind, FLAG_REQUEST, 0, 0, &payload)
}

/// The bytes of the file for the present configuration.
fn encode(of: &Host) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    let settings = &of.settings;
    let mut answer = Answer::new();
    answer.u16(host::PORT, settings.port);
    let none = std::net::IpAddr::from([0; 4]);
    answer.address(host::GROUP, settings.group.unwrap_or(none));
    answer.u8(host::TTL, settings.ttl);
    answer.u32(host::FLOOD, settings.flood);
    answer.u8(host::DSCP, settings.dscp);
    bytes.extend(request(FAMILY, cmd::HOST_SET, &answer));
    let there = of.links.get(&settings.device).map(|link| &link.name);
    if let Some(name) = there.or(of.lost_device.as_ref()) {
        let mut answer = Answer::new();
        answer.text(DEVICE_NAME, name);
        bytes.extend(request(DEVICE, 0, &answer));
    }
    for address in &settings.peers {
        let mut answer = Answer::new();
        answer.address(peer::ADDR, *address);
        bytes.extend(request(FAMILY, cmd::PEER_NEW, &answer));
    }
    for local in &of.nets {
        let id = local.vnet.id;
        let mut answer = Answer::new();
        answer.put(net::ID, id.as_bytes());
        answer.text(net::IFNAME, &local.name);
        answer.u32(net::MTU, local.mtu);
        for setting in Setting::ALL {
            answer.u32(setting.attr(), local.settings.get(*setting));
        }
        bytes.extend(request(FAMILY, cmd::NET_NEW, &answer));
        for (address, listed, _) in local.vnet.table.hosts() {
            if listed {
                let mut answer = Answer::new();
                answer.put(remote::NET, id.as_bytes());
                answer.address(remote::ADDR, address);
                bytes.extend(request(FAMILY, cmd::REMOTE_NEW, &answer));
            }
        }
        for (mac, address) in local.vnet.table.statics() {
            let mut answer = Answer::new();
            answer.put(varp::NET, id.as_bytes());
            answer.put(varp::MAC, mac.as_bytes());
            answer.address(varp::ADDR, address);
            bytes.extend(request(FAMILY, cmd::VARP_NEW, &answer));
        }
        let mut answer = Answer::new();
        answer.put(PORT_ID, id.as_bytes());
        let bridge = of.links.get(&local.master).map(|bridge| &bridge.name);
        // One that is not there yet is not forgotten.
        if let Some(name) = bridge.or(local.wanted.as_ref()) {
            answer.text(PORT_BRIDGE, name);
        }
        answer.u8(PORT_UP, u8::from(local.up));
        bytes.extend(request(PORT, 0, &answer));
    }
    bytes
}

/// Writes the file: what was there is there until the new one is complete.
pub(crate) fn save(of: &Host, path: &Path) -> anyhow::Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let written = fs::File::create(&name).and_then(|mut file| file.write_all(&encode(of)));
    written.with_context(|| format!("cannot write {}", Path::new(&name).display()))?;
    fs::rename(&name, path).with_context(|| format!("cannot replace {}", path.display()))
}

/// The requests of a file.
pub(crate) fn decode(bytes: &[u8]) -> anyhow::Result<Vec<(Header, Vec<u8>)>> {
    let Some(mut rest) = bytes.strip_prefix(MAGIC) else {
        bail!("it is no state file of this vnetd");
    };
    let mut all = Vec::new();
    while !rest.is_empty() {
        let length = rest.first_chunk().map(|bytes| u32::from_ne_bytes(*bytes));
        let padded = length
            .and_then(|length| usize::try_from(length).ok())
            .and_then(|length| length.checked_next_multiple_of(4));
        let parts = padded.and_then(|padded| rest.split_at_checked(padded));
        let (packet, after) = parts.context("it is cut off")?;
        let (header, payload) = message::split(packet).context("it is damaged")?;
        all.push((header, payload.to_vec()));
        rest = after;
    }
    Ok(all)
}

/// Whether a request is about the host rather than a vnet.
fn is_of_host(header: &Header, payload: &[u8]) -> bool {
    match header.kind {
        DEVICE => true,
        FAMILY => matches!(payload.first(), Some(&(cmd::HOST_SET | cmd::PEER_NEW))),
        _ => false,
    }
}

fn apply(of: &mut Host, header: &Header, payload: &[u8]) -> anyhow::Result<()> {
    match header.kind {
        DEVICE => {
            for attribute in Reader::new(payload).map_while(Result::ok) {
                let name = attribute.text();
                let found = of.links.values().find(|link| link.name == name);
                let index = found.map(|link| link.index);
                let mut settings = of.settings.clone();
                // Until it is there, nothing is sent through another.
                settings.device = index.unwrap_or(DEVICE_LOST);
                if index.is_none() {
                    log(&format!(
                        "the underlay device {name} is not there; it is used when it comes up"
                    ));
                    of.lost_device = Some(name);
                }
                of.configure(settings, false)
                    .map_err(|refusal| anyhow::anyhow!("{refusal}"))?;
            }
            Ok(())
        }
        PORT => {
            let (mut id, mut bridge, mut up) = (None, None, false);
            for attribute in Reader::new(payload).map_while(Result::ok) {
                match attribute.kind {
                    PORT_ID => id = attribute.bytes().ok().map(VnetId::from_bytes),
                    PORT_BRIDGE => bridge = Some(attribute.text()),
                    PORT_UP => up = attribute.u8().unwrap_or_default() != 0,
                    _ => {}
                }
            }
            of.reattach(&id.context("it is damaged")?, bridge.as_deref(), up);
            Ok(())
        }
        _ => match requests::handle(of, header, payload, true) {
            Outcome::Refused(refusal, _) => bail!("{refusal}"),
            _ => Ok(()),
        },
    }
}

/// What a request was about, for people.
fn subject(payload: &[u8]) -> String {
    let command = payload.first().copied().unwrap_or_default();
    let attributes = Reader::new(payload.get(4..).unwrap_or_default());
    let first = attributes.map_while(Result::ok).next();
    let id = first
        .and_then(|attribute| attribute.bytes().ok())
        .map(VnetId::from_bytes);
    match (command, id) {
        (cmd::NET_NEW, Some(id)) => format!("vnet {id}"),
        (_, Some(id)) => format!("an entry of vnet {id}"),
        _ => "the host's settings".to_owned(),
    }
}

/// Makes the configuration of a file again. `between` is called when the host's settings are there and the vnets are not.
pub(crate) fn restore(
    of: &mut Host,
    path: &Path,
    between: impl FnOnce(&mut Host) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return between(of),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
    };
    let context = || {
        format!(
            "cannot restore what {} says; start with --no-restore to begin anew",
            path.display()
        )
    };
    let all = decode(&bytes).with_context(context)?;
    let (of_host, others): (Vec<_>, Vec<_>) = all
        .into_iter()
        .partition(|(header, payload)| is_of_host(header, payload));
    let apply_all = |of: &mut Host, all: Vec<(Header, Vec<u8>)>| {
        for (header, payload) in all {
            apply(of, &header, &payload)
                .with_context(|| subject(&payload))
                .with_context(context)?;
        }
        Ok::<_, anyhow::Error>(())
    };
    apply_all(of, of_host)?;
    between(of)?;
    // What can be undone by pulling out a cable must not keep all vnets from coming back.
    of.may_lack_group = true;
    let done = apply_all(of, others);
    of.may_lack_group = false;
    done
}
