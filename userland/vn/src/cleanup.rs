// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! Removing vnets with their bridges, and bridges whose vnet is gone: what is to be done is decided from what is there.

use std::collections::BTreeSet;

use vnet_core::VnetId;
use vnet_core::abi;
use vnet_netlink::{Link, Net};

use crate::failure::Refused;
use crate::plan::Step;

/// What every bridge that is made for a vnet begins with; four hex digits follow.
const PREFIX: &str = "vnbr";

/// What is to be removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// All vnets, and every bridge of a vnet that is gone.
    All,
    /// One vnet and its bridge, whichever of them is there.
    One(VnetId),
}

impl Scope {
    fn covers(self, id: VnetId) -> bool {
        self == Self::All || self == Self::One(id)
    }

    /// Whether a bridge of this name belongs to a vnet that may be gone. Digits may be in either case: the scripts of
    /// old left both.
    fn names(self, bridge: &str) -> bool {
        match self {
            Self::All => is_vnet_bridge(bridge),
            Self::One(id) => bridge.eq_ignore_ascii_case(id.default_bridge().as_str()),
        }
    }
}

/// Whether the name is that of a vnet's bridge: `vnbr` and four hex digits.
pub(crate) fn is_vnet_bridge(name: &str) -> bool {
    name.strip_prefix(PREFIX)
        .is_some_and(|rest| rest.len() == 4 && rest.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

/// Decides what is to be done. Refused while anything but the vnet's own device is a port of a bridge, unless forced.
pub(crate) fn plan(
    scope: Scope,
    force: bool,
    nets: &[Net],
    links: &[Link],
) -> Result<Vec<Step>, Refused> {
    let doomed: Vec<&Net> = nets.iter().filter(|net| scope.covers(net.id)).collect();
    let device = |net: &Net| {
        // In another namespace the name means another device, and an index, too.
        let here = links.iter().find(|link| link.name == net.ifname);
        here.filter(|_| net.netnsid.is_none())
    };
    let staying: BTreeSet<u32> = nets
        .iter()
        .filter(|net| !scope.covers(net.id))
        .filter_map(|net| device(net)?.master)
        .collect();
    let bridges: Vec<&Link> = links
        .iter()
        .filter(|link| link.is_bridge() && !staying.contains(&link.index))
        .filter(|bridge| {
            let recorded =
                |net: &&Net| device(net).is_some_and(|device| device.master == Some(bridge.index));
            doomed.iter().any(recorded) || scope.names(&bridge.name)
        })
        .collect();

    let ours: BTreeSet<u32> = doomed
        .iter()
        .filter_map(|net| device(net))
        .map(|device| device.index)
        .collect();
    let guests = |bridge: &Link| {
        let ports = links
            .iter()
            .filter(|link| link.master == Some(bridge.index) && !ours.contains(&link.index));
        ports.cloned().collect::<Vec<Link>>()
    };
    if !force {
        refuse_guests(&bridges, &guests)?;
    }

    let mut steps = Vec::new();
    for bridge in bridges {
        let own = links
            .iter()
            .filter(|link| link.master == Some(bridge.index) && ours.contains(&link.index));
        for port in guests(bridge).iter().chain(own) {
            steps.push(Step::Detach {
                port: port.name.clone(),
                bridge: bridge.name.clone(),
            });
        }
        steps.push(Step::DeleteBridge(bridge.name.clone()));
    }
    steps.extend(doomed.iter().map(|net| Step::DeleteNet(net.id)));
    Ok(steps)
}

/// Names every port that is not ours of every bridge.
fn refuse_guests(bridges: &[&Link], guests: &dyn Fn(&Link) -> Vec<Link>) -> Result<(), Refused> {
    let mut busy = Vec::new();
    for bridge in bridges {
        let ports = guests(bridge);
        if !ports.is_empty() {
            let foreign = ports.iter().any(|port| port.kind == abi::FAMILY);
            let names: Vec<_> = ports.iter().map(|port| port.name.as_str()).collect();
            let note = if foreign { " (a vnet's device)" } else { "" };
            busy.push(format!("{} has {}{note}", bridge.name, names.join(", ")));
        }
    }
    if busy.is_empty() {
        return Ok(());
    }
    Err(Refused::new(format!(
        "nothing was removed, as interfaces are attached to bridges: {}",
        busy.join("; ")
    ))
    .hint("stop the guests or detach them first, or cut them off with: --force"))
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Scene {
        nets: Vec<Net>,
        links: Vec<Link>,
    }

    impl Scene {
        fn new() -> Self {
            Self {
                nets: Vec::new(),
                links: Vec::new(),
            }
        }

        fn link(&mut self, name: &str, kind: &str, master: Option<&str>) -> &mut Self {
            let index = u32::try_from(self.links.len()).expect("few") + 1;
            let master = master.map(|name| {
                let found = self.links.iter().find(|link| link.name == name);
                found.expect("the master first").index
            });
            self.links.push(Link {
                index,
                name: name.to_owned(),
                kind: kind.to_owned(),
                master,
                up: true,
                ..Link::default()
            });
            self
        }

        fn net(&mut self, text: &str, master: Option<&str>) -> &mut Self {
            let id = id(text);
            let mut net = Net::new(id);
            net.ifname = id.default_ifname().to_string();
            let name = net.ifname.clone();
            self.nets.push(net);
            self.link(&name, abi::FAMILY, master)
        }

        fn plan(&self, scope: Scope, force: bool) -> Result<Vec<String>, String> {
            let steps = plan(scope, force, &self.nets, &self.links);
            let steps = steps.map_err(|refused| refused.to_string())?;
            Ok(steps.iter().map(Step::to_string).collect())
        }
    }

    fn id(text: &str) -> VnetId {
        text.parse().expect("an id")
    }

    fn usual() -> Scene {
        let mut scene = Scene::new();
        scene
            .link("eth0", "", None)
            .link("br0", "bridge", None)
            .link("vnbr0005", "bridge", None)
            .link("vnbr0006", "bridge", None)
            .link("vnbr00AB", "bridge", None)
            .link("vnbr12345", "bridge", None)
            .link("vnbrabcg", "bridge", None)
            .link("vnbr0009", "dummy", None)
            .net("5", Some("vnbr0005"))
            .net("6", Some("br0"));
        scene
    }

    #[test]
    fn everything() {
        assert_eq!(
            usual().plan(Scope::All, false),
            Ok([
                "detach vnif0006 from bridge br0",
                "delete bridge br0",
                "detach vnif0005 from bridge vnbr0005",
                "delete bridge vnbr0005",
                "delete bridge vnbr0006",
                "delete bridge vnbr00AB",
                "delete vnet 0005",
                "delete vnet 0006",
            ]
            .map(str::to_owned)
            .to_vec())
        );
        assert_eq!(Scene::new().plan(Scope::All, false), Ok(Vec::new()));
    }

    #[test]
    fn one_vnet_or_what_is_left_of_it() {
        let scene = usual();
        let plan = |text| scene.plan(Scope::One(id(text)), false).expect("a plan");
        assert_eq!(
            plan("5"),
            [
                "detach vnif0005 from bridge vnbr0005",
                "delete bridge vnbr0005",
                "delete vnet 0005"
            ]
        );
        assert_eq!(plan("ab"), ["delete bridge vnbr00AB"]);
        assert_eq!(plan("7"), [""; 0]);
    }

    #[test]
    fn guests_are_named_and_nothing_is_planned() {
        let mut scene = usual();
        scene
            .link("vif1.0", "", Some("vnbr0005"))
            .link("tap1.0", "tun", Some("vnbr0005"))
            .link("vif2.0", "", Some("vnbr00AB"));
        assert_eq!(
            scene.plan(Scope::All, false),
            Err(
                "nothing was removed, as interfaces are attached to bridges: vnbr0005 has vif1.0, \
                 tap1.0; vnbr00AB has vif2.0"
                    .to_owned()
            )
        );
        assert!(scene.plan(Scope::One(id("6")), false).is_ok());
        let forced = scene.plan(Scope::One(id("5")), true).expect("a plan");
        assert_eq!(
            forced,
            [
                "detach vif1.0 from bridge vnbr0005",
                "detach tap1.0 from bridge vnbr0005",
                "detach vnif0005 from bridge vnbr0005",
                "delete bridge vnbr0005",
                "delete vnet 0005"
            ]
        );
    }

    #[test]
    fn the_bridge_of_a_vnet_that_stays_stays() {
        let mut scene = Scene::new();
        // The other vnet's default name is the same.
        scene
            .link("vnbr0005", "bridge", None)
            .net("1:5", Some("vnbr0005"));
        assert_eq!(scene.plan(Scope::One(id("5")), true), Ok(Vec::new()));
        assert_eq!(
            scene.plan(Scope::All, false).map(|steps| steps.len()),
            Ok(3)
        );
    }

    #[test]
    fn a_device_elsewhere_is_left_alone() {
        let mut scene = Scene::new();
        scene.link("br0", "bridge", None).net("5", Some("br0"));
        scene.nets[0].netnsid = Some(1);
        assert_eq!(
            scene.plan(Scope::All, true),
            Ok(vec!["delete vnet 0005".to_owned()])
        );
    }

    #[test]
    fn names() {
        for name in ["vnbr0005", "vnbrffff", "vnbr00Ab"] {
            assert!(is_vnet_bridge(name), "{name}");
        }
        for name in [
            "vnbr",
            "vnbr005",
            "vnbr00005",
            "vnbr000g",
            "xvnbr0005",
            "VNBR0005",
            "vnbré00",
        ] {
            assert!(!is_vnet_bridge(name), "{name}");
        }
    }
}
