// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! Plans against a world that is only imagined, every change of which can be made to fail.

use super::*;
use crate::failure::Report;
use nix::errno::Errno;
use vnet_core::Setting;
use vnet_netlink::{Error, NetChange, Refusal, SomeSettings};

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
    Refusal::from(errno).into()
}

impl World for Fake {
    fn nets(&mut self) -> Result<Vec<Net>, Error> {
        Ok(self.nets.clone())
    }

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
    create.config.change.settings = SomeSettings::new().with(Setting::Remotes, 1);
    create.bounce = true;
    let steps = create.plan(&mut world).expect("a plan");
    assert_eq!(
        shown(&steps),
        [
            "create vnet 0005 with device vnif0005, mtu 1500, remotes listed",
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
    world.nets[0].settings = SomeSettings::new()
        .with(Setting::Ageing, 5000)
        .with(Setting::Unknown, 0);
    create.config.change.settings = world.nets[0].settings;
    assert!(create.plan(&mut world).is_ok_and(|steps| steps.is_empty()));
    create.config.change.settings = SomeSettings::new()
        .with(Setting::Ageing, 6000)
        .with(Setting::Unknown, 2);
    let error = create.plan(&mut world).expect_err("other settings");
    assert_eq!(
        words(&error),
        "vn: vnet 0005 exists with ageing 5000, not 6000\n\
         hint: change it with: vn net set 0005 --ageing 6000 --unknown drop\n"
    );
    create.config.change.settings = SomeSettings::new().with(Setting::Damp, 100);
    let error = create.plan(&mut world).expect_err("an older module");
    assert_eq!(
        error.to_string(),
        "vnet 0005 exists and has no setting damp"
    );
    create.config.change.settings = SomeSettings::new();
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
        fn nets(&mut self) -> Result<Vec<Net>, Error> {
            self.0.nets()
        }

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
