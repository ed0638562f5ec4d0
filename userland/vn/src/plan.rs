// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! Making and removing a vnet with its bridge: what is to be done is decided first, from what is there; then it is
//! done step by step. If a step of making fails, those before it are undone, last first. Removing goes on after a
//! failure, and tells all of them.

use std::fmt;

use nix::errno::Errno;
use vnet_core::VnetId;
use vnet_core::abi;
use vnet_netlink::{Error, Link, Net, NetConfig, Shown};

use crate::failure::{self, Attempt, Refused};
use crate::world::World;

/// One change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    CreateNet(NetConfig),
    CreateBridge(String),
    /// The host must not be on its customers' networks, where IPv6 would put it by itself.
    NoAddress(String),
    Attach {
        port: String,
        bridge: String,
    },
    Up(String),
    Down(String),
    /// Down and up again.
    Bounce(String),
    Detach {
        port: String,
        bridge: String,
    },
    DeleteBridge(String),
    DeleteNet(VnetId),
}

impl fmt::Display for Step {
    /// In the alternate form with all details.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CreateNet(config) => {
                write!(f, "create vnet {}", config.id)?;
                if f.alternate() {
                    write!(f, " with device {}", device_of(config))?;
                    if let Some(mtu) = config.change.mtu {
                        write!(f, ", mtu {mtu}")?;
                    }
                    for shown in config.change.settings.iter() {
                        write!(f, ", {} {shown}", shown.setting.name())?;
                    }
                }
                Ok(())
            }
            Self::CreateBridge(name) => write!(f, "create bridge {name}"),
            Self::NoAddress(name) => write!(f, "keep IPv6 addresses off {name}"),
            Self::Attach { port, bridge } => write!(f, "attach {port} to bridge {bridge}"),
            Self::Up(name) => write!(f, "take {name} up"),
            Self::Down(name) => write!(f, "take {name} down"),
            Self::Bounce(name) => write!(f, "take {name} down and up again"),
            Self::Detach { port, bridge } => write!(f, "detach {port} from bridge {bridge}"),
            Self::DeleteBridge(name) => write!(f, "delete bridge {name}"),
            Self::DeleteNet(id) => write!(f, "delete vnet {id}"),
        }
    }
}

/// The device that a vnet will have.
fn device_of(config: &NetConfig) -> String {
    let default = || config.id.default_ifname().to_string();
    config.ifname.clone().unwrap_or_else(default)
}

/// What is to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Create {
    pub(crate) config: NetConfig,
    /// The bridge that the device is to be a port of.
    pub(crate) bridge: Option<String>,
    pub(crate) may_exist: bool,
    pub(crate) bounce: bool,
}

impl Create {
    /// Decides what is to be done.
    pub(crate) fn plan(&self, world: &mut dyn World) -> anyhow::Result<Vec<Step>> {
        let id = self.config.id;
        let mut steps = Vec::new();
        let net = world.find_net(id)?;
        let device = match &net {
            Some(net) => {
                self.check_existing(net)?;
                net.ifname.clone()
            }
            None => {
                let device = device_of(&self.config);
                steps.push(Step::CreateNet(self.config.clone()));
                steps.push(Step::NoAddress(device.clone()));
                device
            }
        };
        // A device that was moved to another namespace is out of reach; nor may one of the same name here be touched.
        if net.as_ref().is_some_and(|net| net.netnsid.is_some()) {
            return match self.bridge {
                None => Ok(steps),
                Some(_) => Err(Refused::new(format!(
                    "{device} of vnet {id} was moved to another network namespace"
                ))
                .into()),
            };
        }
        let link = match &net {
            Some(_) => world.link(&device)?,
            None => None,
        };
        if let Some(bridge) = &self.bridge {
            self.plan_bridge(world, &mut steps, &device, link.as_ref(), bridge)?;
        }
        if !link.is_some_and(|link| link.up) {
            steps.push(Step::Up(device.clone()));
        }
        let attached = |step: &Step| matches!(step, Step::Attach { .. });
        if self.bounce && steps.iter().any(attached) {
            steps.push(Step::Bounce(device));
        }
        Ok(steps)
    }

    fn plan_bridge(
        &self,
        world: &mut dyn World,
        steps: &mut Vec<Step>,
        device: &str,
        link: Option<&Link>,
        name: &str,
    ) -> anyhow::Result<()> {
        let attach = Step::Attach {
            port: device.to_owned(),
            bridge: name.to_owned(),
        };
        let master = link.and_then(|link| link.master);
        let Some(bridge) = world.link(name)? else {
            if let Some(master) = master {
                return Err(self.attached_elsewhere(world, device, master)?.into());
            }
            steps.extend([
                Step::CreateBridge(name.to_owned()),
                Step::NoAddress(name.to_owned()),
                attach,
                Step::Up(name.to_owned()),
            ]);
            return Ok(());
        };
        if !bridge.is_bridge() {
            return Err(Refused::new(format!("{name} exists and is not a bridge")).into());
        }
        match master {
            Some(master) if master == bridge.index => {}
            Some(master) => return Err(self.attached_elsewhere(world, device, master)?.into()),
            None => {
                // Two vnets on one bridge would be one network.
                let other = world
                    .links()?
                    .into_iter()
                    .find(|port| port.master == Some(bridge.index) && port.kind == abi::FAMILY);
                if let Some(other) = other {
                    return Err(Refused::new(format!(
                        "bridge {name} has {} of another vnet as a port; the two would be joined",
                        other.name
                    ))
                    .hint("name another bridge with: --bridge BR")
                    .into());
                }
                steps.push(attach);
            }
        }
        if !bridge.up {
            steps.push(Step::Up(name.to_owned()));
        }
        Ok(())
    }

    fn attached_elsewhere(
        &self,
        world: &mut dyn World,
        device: &str,
        master: u32,
    ) -> anyhow::Result<Refused> {
        let master = world.links()?.into_iter().find(|link| link.index == master);
        let name = master.map_or_else(|| "another device".to_owned(), |link| link.name);
        Ok(Refused::new(format!(
            "vnet {} exists and its {device} is attached to {name}",
            self.config.id
        )))
    }

    /// Refuses a vnet that exists, unless that is allowed and it is as it is wanted.
    fn check_existing(&self, net: &Net) -> anyhow::Result<()> {
        let id = net.id;
        if !self.may_exist {
            return Err(Refused::new(format!("vnet {id} exists already"))
                .hint("complete what is missing with: --may-exist")
                .into());
        }
        if let Some(ifname) = self
            .config
            .ifname
            .as_ref()
            .filter(|name| **name != net.ifname)
        {
            return Err(Refused::new(format!(
                "vnet {id} exists with device {}, not {ifname}",
                net.ifname
            ))
            .into());
        }
        let mut differences = Vec::new();
        if let (Some(wanted), Some(found)) = (self.config.change.mtu, net.mtu) {
            if wanted != found {
                differences.push(("mtu", found.to_string(), wanted.to_string()));
            }
        }
        for wanted in self.config.change.settings.iter() {
            let setting = wanted.setting;
            // An older module, which does not have the setting, would have refused to make such a vnet.
            let Some(value) = net.settings.get(setting) else {
                return Err(Refused::new(format!(
                    "vnet {id} exists and has no setting {}",
                    setting.name()
                ))
                .into());
            };
            if value != wanted.value {
                let found = Shown { setting, value }.to_string();
                differences.push((setting.name(), found, wanted.to_string()));
            }
        }
        match differences.first() {
            None => Ok(()),
            Some((name, found, wanted)) => {
                let options = differences
                    .iter()
                    .map(|(name, _, wanted)| format!(" --{name} {wanted}"));
                Err(Refused::new(format!(
                    "vnet {id} exists with {name} {found}, not {wanted}"
                ))
                .hint(format!(
                    "change it with: vn net set {id}{}",
                    options.collect::<String>()
                ))
                .into())
            }
        }
    }
}

/// What is to be removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Delete {
    pub(crate) id: VnetId,
    pub(crate) bridge: bool,
    pub(crate) if_exists: bool,
}

impl Delete {
    /// Decides what is to be done.
    pub(crate) fn plan(&self, world: &mut dyn World) -> anyhow::Result<Vec<Step>> {
        let id = self.id;
        let Some(net) = world.find_net(id)? else {
            if !self.if_exists {
                return Err(Refused::new(format!("vnet {id} does not exist"))
                    .hint("vn net list shows the vnets")
                    .into());
            }
            return self.plan_leftover(world);
        };
        let mut steps = Vec::new();
        if self.bridge && net.netnsid.is_none() {
            let links = world.links()?;
            let device = links.iter().find(|link| link.name == net.ifname);
            let master = device.and_then(|link| link.master);
            let bridge = links
                .iter()
                .find(|link| Some(link.index) == master && link.is_bridge());
            if let Some(bridge) = bridge {
                refuse_ports(&links, bridge, &net.ifname)?;
                steps.push(Step::Detach {
                    port: net.ifname,
                    bridge: bridge.name.clone(),
                });
                steps.push(Step::DeleteBridge(bridge.name.clone()));
            }
        }
        steps.push(Step::DeleteNet(id));
        Ok(steps)
    }

    /// The default bridge of a vnet that is gone, if an earlier run could not delete it, and nothing uses it.
    fn plan_leftover(&self, world: &mut dyn World) -> anyhow::Result<Vec<Step>> {
        let name = self.id.default_bridge().to_string();
        let links = world.links()?;
        let bridge = links
            .iter()
            .find(|link| link.name == name && link.is_bridge());
        let unused = |bridge: &&Link| !links.iter().any(|link| link.master == Some(bridge.index));
        match bridge.filter(unused) {
            Some(_) if self.bridge => Ok(vec![Step::DeleteBridge(name)]),
            _ => Ok(Vec::new()),
        }
    }
}

/// Refuses to delete a bridge that has ports beside `device`.
fn refuse_ports(links: &[Link], bridge: &Link, device: &str) -> Result<(), Refused> {
    let ports: Vec<_> = links
        .iter()
        .filter(|link| link.master == Some(bridge.index) && link.name != device)
        .map(|link| link.name.as_str())
        .collect();
    if ports.is_empty() {
        return Ok(());
    }
    Err(Refused::new(format!(
        "bridge {} is in use: {} {} attached to it",
        bridge.name,
        ports.join(", "),
        if ports.len() == 1 { "is" } else { "are" }
    ))
    .hint("detach them first, or leave the bridge: without --bridge"))
}

/// The network device of this name.
fn find(world: &mut dyn World, name: &str) -> anyhow::Result<Link> {
    let link = world.link(name)?;
    link.ok_or_else(|| Refused::new(format!("there is no device {name}")).into())
}

/// What a step did.
struct Done {
    /// How to undo it.
    undo: Option<Step>,
    /// The vnet that it made.
    net: Option<Net>,
}

impl Step {
    fn perform(&self, world: &mut dyn World) -> anyhow::Result<Done> {
        let result = self.try_perform(world);
        result.map_err(|error| {
            let hint = self.hint(&error);
            error.context(Attempt::new(self).hint(hint))
        })
    }

    /// The next step after a refusal.
    fn hint(&self, error: &anyhow::Error) -> Option<&'static str> {
        let Self::CreateNet(_) = self else {
            return None;
        };
        match error.downcast_ref().and_then(Error::errno)? {
            Errno::EADDRINUSE => {
                Some("take another port, on all hosts, with: vn host set --port N")
            }
            Errno::ENODEV | Errno::EADDRNOTAVAIL | Errno::ENETUNREACH => Some(
                "name the underlay device with: vn host set --device IF; to do without a group: vn host set \
                 --group none",
            ),
            _ => None,
        }
    }

    fn try_perform(&self, world: &mut dyn World) -> anyhow::Result<Done> {
        let mut net = None;
        let undo = match self {
            Self::CreateNet(config) => {
                net = Some(world.net_new(config)?);
                Some(Self::DeleteNet(config.id))
            }
            Self::CreateBridge(name) => {
                if world.create_bridge(name)? {
                    Some(Self::DeleteBridge(name.clone()))
                } else if find(world, name)?.is_bridge() {
                    // Somebody else made it meanwhile; it is theirs.
                    None
                } else {
                    return Err(Refused::new(format!("{name} exists and is not a bridge")).into());
                }
            }
            Self::NoAddress(name) => {
                let index = find(world, name)?.index;
                world.set_no_address(index)?;
                None
            }
            Self::Attach { port, bridge } => {
                let master = find(world, bridge)?.index;
                let index = find(world, port)?.index;
                world.set_master(index, Some(master))?;
                Some(Self::Detach {
                    port: port.clone(),
                    bridge: bridge.clone(),
                })
            }
            Self::Detach { port, .. } => {
                let index = find(world, port)?.index;
                world.set_master(index, None)?;
                None
            }
            Self::Up(name) => {
                let link = find(world, name)?;
                world.set_up(link.index, true)?;
                (!link.up).then(|| Self::Down(name.clone()))
            }
            Self::Down(name) => {
                let index = find(world, name)?.index;
                world.set_up(index, false)?;
                None
            }
            Self::Bounce(name) => {
                let index = find(world, name)?.index;
                world.set_up(index, false)?;
                world.set_up(index, true)?;
                None
            }
            Self::DeleteBridge(name) => {
                let bridge = find(world, name)?;
                // A guest may have come since it was decided.
                refuse_ports(&world.links()?, &bridge, "")?;
                world.delete_link(bridge.index)?;
                None
            }
            Self::DeleteNet(id) => {
                world.net_del(*id)?;
                None
            }
        };
        Ok(Done { undo, net })
    }
}

/// Does all steps or none. Returns the vnet that was made.
pub(crate) fn all_or_nothing(world: &mut dyn World, steps: &[Step]) -> anyhow::Result<Option<Net>> {
    let mut undo = Vec::new();
    let mut net = None;
    for step in steps {
        match step.perform(world) {
            Ok(done) => {
                undo.extend(done.undo);
                net = net.or(done.net);
            }
            Err(error) => {
                let mut errors = vec![error];
                for step in undo.iter().rev() {
                    if let Err(error) = step.perform(world) {
                        errors.push(error.context("while undoing"));
                    }
                }
                failure::all(errors)?;
            }
        }
    }
    Ok(net)
}

/// Does all steps that can be done.
pub(crate) fn as_many_as_possible(world: &mut dyn World, steps: &[Step]) -> anyhow::Result<()> {
    let failed = steps.iter().filter_map(|step| step.perform(world).err());
    failure::all(failed.collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::Report;
    use vnet_netlink::{NetChange, Refusal};

    #[test]
    fn a_refused_creation_names_the_next_step() {
        let step = Step::CreateNet(create("5").config);
        let hint = |errno| step.hint(&refusal(errno).into());
        assert!(hint(Errno::ENODEV).is_some_and(|hint| hint.contains("--device IF")));
        assert!(hint(Errno::EADDRINUSE).is_some_and(|hint| hint.contains("--port N")));
        assert_eq!(hint(Errno::ENOMEM), None);
    }

    /// A kernel of vnets and devices; the `fail`th change is refused.
    #[derive(Clone, Debug, Default, PartialEq)]
    struct Fake {
        nets: Vec<Net>,
        links: Vec<Link>,
        changes: usize,
        fail: Option<usize>,
    }

    impl Fake {
        fn change(&mut self) -> Result<(), Error> {
            self.changes += 1;
            if Some(self.changes) == self.fail {
                return Err(refusal(Errno::EINVAL));
            }
            Ok(())
        }

        fn add(&mut self, name: &str, kind: &str, up: bool) -> u32 {
            let index = self.links.iter().map(|link| link.index).max().unwrap_or(0) + 1;
            self.links.push(Link {
                index,
                name: name.to_owned(),
                kind: kind.to_owned(),
                up,
                ..Link::default()
            });
            index
        }

        fn at(&mut self, index: u32) -> &mut Link {
            let link = self.links.iter_mut().find(|link| link.index == index);
            link.expect("a device")
        }

        fn named(&self, name: &str) -> Option<&Link> {
            self.links.iter().find(|link| link.name == name)
        }

        /// What is there, without what was done to get there.
        fn state(&self) -> (Vec<Net>, Vec<Link>) {
            (self.nets.clone(), self.links.clone())
        }
    }

    fn refusal(errno: Errno) -> Error {
        Error::Refused(Refusal {
            errno,
            text: None,
            missing: None,
            offset: None,
            attribute: None,
        })
    }

    impl World for Fake {
        fn find_net(&mut self, id: VnetId) -> Result<Option<Net>, Error> {
            Ok(self.nets.iter().find(|net| net.id == id).cloned())
        }

        fn net_new(&mut self, config: &NetConfig) -> Result<Net, Error> {
            self.change()?;
            let mut net = Net::new(config.id);
            net.ifname = device_of(config);
            net.mtu = Some(config.change.mtu.unwrap_or(1436));
            net.ifindex = Some(self.add(&net.ifname, "vnet", false));
            self.nets.push(net.clone());
            Ok(net)
        }

        fn net_del(&mut self, id: VnetId) -> Result<(), Error> {
            self.change()?;
            let place = self.nets.iter().position(|net| net.id == id);
            let net = self
                .nets
                .remove(place.ok_or_else(|| refusal(Errno::ENOENT))?);
            self.links.retain(|link| link.name != net.ifname);
            Ok(())
        }

        fn links(&mut self) -> Result<Vec<Link>, Error> {
            Ok(self.links.clone())
        }

        fn link(&mut self, name: &str) -> Result<Option<Link>, Error> {
            Ok(self.named(name).cloned())
        }

        fn create_bridge(&mut self, name: &str) -> Result<bool, Error> {
            self.change()?;
            if self.named(name).is_some() {
                return Ok(false);
            }
            self.add(name, "bridge", false);
            Ok(true)
        }

        fn delete_link(&mut self, index: u32) -> Result<(), Error> {
            self.change()?;
            self.links.retain(|link| link.index != index);
            Ok(())
        }

        fn set_master(&mut self, index: u32, master: Option<u32>) -> Result<(), Error> {
            self.change()?;
            self.at(index).master = master;
            Ok(())
        }

        fn set_no_address(&mut self, _: u32) -> Result<(), Error> {
            self.change()
        }

        fn set_up(&mut self, index: u32, up: bool) -> Result<(), Error> {
            self.change()?;
            self.at(index).up = up;
            Ok(())
        }
    }

    fn id(text: &str) -> VnetId {
        text.parse().expect("an id")
    }

    fn create(text: &str) -> Create {
        Create {
            config: NetConfig {
                id: id(text),
                ifname: None,
                change: NetChange::default(),
            },
            bridge: Some(id(text).default_bridge().to_string()),
            may_exist: false,
            bounce: false,
        }
    }

    fn run(create: &Create, world: &mut Fake) -> anyhow::Result<Option<Net>> {
        let steps = create.plan(world)?;
        all_or_nothing(world, &steps)
    }

    fn delete(text: &str, world: &mut Fake) -> anyhow::Result<()> {
        let delete = Delete {
            id: id(text),
            bridge: true,
            if_exists: false,
        };
        let steps = delete.plan(world)?;
        as_many_as_possible(world, &steps)
    }

    fn shown(steps: &[Step]) -> Vec<String> {
        steps.iter().map(|step| format!("{step:#}")).collect()
    }

    fn words(error: &anyhow::Error) -> String {
        Report(error).to_string()
    }

    #[test]
    fn a_vnet_with_its_bridge() {
        let mut world = Fake::default();
        let mut create = create("5");
        create.config.change.mtu = Some(1500);
        create.bounce = true;
        let steps = create.plan(&mut world).expect("a plan");
        assert_eq!(
            shown(&steps),
            [
                "create vnet 0005 with device vnif0005, mtu 1500",
                "keep IPv6 addresses off vnif0005",
                "create bridge vnbr0005",
                "keep IPv6 addresses off vnbr0005",
                "attach vnif0005 to bridge vnbr0005",
                "take vnbr0005 up",
                "take vnif0005 up",
                "take vnif0005 down and up again",
            ]
        );
        assert_eq!(world, Fake::default(), "planning changes nothing");
        let net = all_or_nothing(&mut world, &steps)
            .expect("done")
            .expect("a vnet");
        assert_eq!(net.mtu, Some(1500));
        let (vnif, bridge) = (world.named("vnif0005"), world.named("vnbr0005"));
        assert!(vnif.is_some_and(|vnif| vnif.up && vnif.master == bridge.map(|b| b.index)));
    }

    #[test]
    fn whatever_step_fails_nothing_is_left() {
        for (with_bridge, up) in [(false, true), (true, true), (true, false)] {
            let mut before = Fake::default();
            before.add("eth0", "", true);
            if with_bridge {
                let bridge = before.add("vnbr0005", "bridge", up);
                let tap = before.add("tap1", "tun", true);
                before.at(tap).master = Some(bridge);
            }
            let mut create = create("5");
            create.bounce = true;
            let mut complete = before.clone();
            run(&create, &mut complete).expect("done");
            for fail in 1..=complete.changes {
                let mut world = before.clone();
                world.fail = Some(fail);
                let error = run(&create, &mut world).expect_err("a failure");
                assert!(words(&error).starts_with("vn: cannot "), "{error:#}");
                assert_eq!(world.state(), before.state(), "failure of change {fail}");
            }
        }
    }

    #[test]
    fn existing_vnet_is_refused_or_completed() {
        let mut world = Fake::default();
        let mut create = create("5");
        create.bridge = None;
        run(&create, &mut world).expect("done");

        let error = run(&create, &mut world).expect_err("exists");
        assert!(
            words(&error).starts_with("vn: vnet 0005 exists already\nhint: "),
            "{error}"
        );

        create.may_exist = true;
        assert_eq!(create.plan(&mut world).expect("a plan"), []);
        create.bridge = Some("br7".to_owned());
        let steps = create.plan(&mut world).expect("a plan");
        assert_eq!(
            shown(&steps),
            [
                "create bridge br7",
                "keep IPv6 addresses off br7",
                "attach vnif0005 to bridge br7",
                "take br7 up"
            ]
        );
        all_or_nothing(&mut world, &steps).expect("done");
        assert_eq!(create.plan(&mut world).expect("a plan"), []);

        create.bridge = Some("br8".to_owned());
        let error = create.plan(&mut world).expect_err("attached elsewhere");
        assert_eq!(
            error.to_string(),
            "vnet 0005 exists and its vnif0005 is attached to br7"
        );

        create.bridge = None;
        create.config.change.mtu = Some(1400);
        let error = create.plan(&mut world).expect_err("another MTU");
        assert_eq!(
            words(&error),
            "vn: vnet 0005 exists with mtu 1436, not 1400\n\
             hint: change it with: vn net set 0005 --mtu 1400\n"
        );
        create.config.change.mtu = None;
        create.config.ifname = Some("x0".to_owned());
        let error = create.plan(&mut world).expect_err("another device");
        assert_eq!(
            error.to_string(),
            "vnet 0005 exists with device vnif0005, not x0"
        );
    }

    #[test]
    fn a_failed_completion_leaves_the_vnet() {
        let mut before = Fake::default();
        let mut create = create("5");
        create.bridge = None;
        run(&create, &mut before).expect("done");
        create.bridge = Some("vnbr0005".to_owned());
        create.may_exist = true;
        for fail in 1..=4 {
            let mut world = before.clone();
            world.fail = Some(world.changes + fail);
            run(&create, &mut world).expect_err("a failure");
            assert_eq!(world.state(), before.state());
        }
    }

    #[test]
    fn a_bridge_carries_one_vnet() {
        let mut world = Fake::default();
        run(&create("5"), &mut world).expect("done");
        // The default bridge of this one has the same name.
        let mut other = create("1:5");
        other.config.ifname = Some("other".to_owned());
        let error = run(&other, &mut world).expect_err("would be joined");
        assert_eq!(
            error.to_string(),
            "bridge vnbr0005 has vnif0005 of another vnet as a port; the two would be joined"
        );
        assert_eq!(world.nets.len(), 1);
    }

    #[test]
    fn what_is_not_a_bridge_is_not_used() {
        let mut world = Fake::default();
        world.add("vnbr0005", "dummy", true);
        let error = run(&create("5"), &mut world).expect_err("no bridge");
        assert_eq!(error.to_string(), "vnbr0005 exists and is not a bridge");
        assert_eq!(world.nets, []);
    }

    #[test]
    fn a_moved_device_is_out_of_reach() {
        let mut world = Fake::default();
        run(&create("5"), &mut world).expect("done");
        world.nets[0].netnsid = Some(3);
        let mut again = create("5");
        again.may_exist = true;
        assert!(again.plan(&mut world).is_err());
        again.bridge = None;
        assert_eq!(again.plan(&mut world).expect("a plan"), []);
        let steps = Delete {
            id: id("5"),
            bridge: true,
            if_exists: false,
        }
        .plan(&mut world);
        assert_eq!(steps.expect("a plan"), [Step::DeleteNet(id("5"))]);
    }

    #[test]
    fn deleting_takes_the_bridge_along() {
        let mut world = Fake::default();
        run(&create("5"), &mut world).expect("done");
        delete("5", &mut world).expect("done");
        assert_eq!(world.state(), Fake::default().state());
        let error = delete("5", &mut world).expect_err("gone");
        assert_eq!(error.to_string(), "vnet 0005 does not exist");
    }

    #[test]
    fn a_bridge_with_guests_stays_and_so_does_the_vnet() {
        let mut world = Fake::default();
        run(&create("5"), &mut world).expect("done");
        let bridge = world.named("vnbr0005").expect("a bridge").index;
        for guest in ["vif1.0", "vif2.0"] {
            let vif = world.add(guest, "", true);
            world.at(vif).master = Some(bridge);
        }
        let before = world.state();
        let error = delete("5", &mut world).expect_err("in use");
        assert_eq!(
            error.to_string(),
            "bridge vnbr0005 is in use: vif1.0, vif2.0 are attached to it"
        );
        assert_eq!(world.state(), before);
    }

    #[test]
    fn deleting_goes_on_after_a_failure_and_can_be_run_again() {
        let mut world = Fake::default();
        run(&create("5"), &mut world).expect("done");
        world.fail = Some(world.changes + 2);
        let error = delete("5", &mut world).expect_err("a failure");
        assert_eq!(
            words(&error),
            "vn: cannot delete bridge vnbr0005: Invalid argument\n"
        );
        assert_eq!(world.nets, []);
        assert!(world.named("vnbr0005").is_some());

        let again = Delete {
            id: id("5"),
            bridge: true,
            if_exists: true,
        };
        let steps = again.plan(&mut world).expect("a plan");
        as_many_as_possible(&mut world, &steps).expect("done");
        assert_eq!(world.state(), Fake::default().state());
        assert_eq!(again.plan(&mut world).expect("a plan"), []);
    }

    #[test]
    fn all_failures_of_deleting_are_told() {
        struct Refuses(Fake);
        impl World for Refuses {
            fn find_net(&mut self, id: VnetId) -> Result<Option<Net>, Error> {
                self.0.find_net(id)
            }
            fn net_new(&mut self, _: &NetConfig) -> Result<Net, Error> {
                Err(refusal(Errno::EPERM))
            }
            fn net_del(&mut self, _: VnetId) -> Result<(), Error> {
                Err(refusal(Errno::EPERM))
            }
            fn links(&mut self) -> Result<Vec<Link>, Error> {
                self.0.links()
            }
            fn link(&mut self, name: &str) -> Result<Option<Link>, Error> {
                self.0.link(name)
            }
            fn create_bridge(&mut self, _: &str) -> Result<bool, Error> {
                Err(refusal(Errno::EPERM))
            }
            fn delete_link(&mut self, _: u32) -> Result<(), Error> {
                Err(refusal(Errno::EPERM))
            }
            fn set_master(&mut self, _: u32, _: Option<u32>) -> Result<(), Error> {
                Err(refusal(Errno::EPERM))
            }
            fn set_no_address(&mut self, _: u32) -> Result<(), Error> {
                Err(refusal(Errno::EPERM))
            }
            fn set_up(&mut self, _: u32, _: bool) -> Result<(), Error> {
                Err(refusal(Errno::EPERM))
            }
        }
        let mut world = Fake::default();
        run(&create("5"), &mut world).expect("done");
        let mut world = Refuses(world);
        let plan = Delete {
            id: id("5"),
            bridge: true,
            if_exists: false,
        };
        let steps = plan.plan(&mut world).expect("a plan");
        let error = as_many_as_possible(&mut world, &steps).expect_err("refused");
        let words = words(&error);
        assert_eq!(words.lines().count(), 5, "{words}");
        assert!(words.contains("cannot detach vnif0005 from bridge vnbr0005: Operation"));
        assert!(words.contains("cannot delete vnet 0005: Operation"));
    }
}
