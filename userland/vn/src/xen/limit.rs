// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! The limit on what a guest sends to everybody, so that it cannot take the vnet from others. It is a filter of the device that the
//! guest's frames come from: the kernel removes it with the device, so there is nothing to clean up.

use std::time::Duration;

use vnet_netlink::{Link, Links};

use crate::exec::Program;

const LIMIT: Duration = Duration::from_secs(20);
/// Which frames: those with the group bit, broadcast among them.
const GROUP: &str = "01:00:00:00:00:00/01:00:00:00:00:00";
/// What may come at once.
const BURST: &str = "128k";

/// The devices of dom0 behind which the first device of a domain is: paravirtual, and emulated.
pub(crate) fn devices(domid: u32) -> anyhow::Result<Vec<Link>> {
    let mut links = Links::open()?;
    let mut found = Vec::new();
    for name in [
        format!("vif{domid}.0"),
        format!("vif{domid}.0-emu"),
        format!("tap{domid}.0"),
    ] {
        found.extend(links.by_name(&name)?);
    }
    Ok(found)
}

/// Limits them to so many Mbit/s together with all that a group is sent; 0 is no limit.
pub(crate) fn apply(domid: u32, rate: u32) -> anyhow::Result<()> {
    if rate == 0 {
        return Ok(());
    }
    for device in devices(domid)? {
        for words in commands(&device.name, rate) {
            Program::find("tc", LIMIT)?
                .arguments(words)
                .hint("the kernel needs sch_ingress, cls_flower and act_police for it; without the limit: --flood 0")
                .run()?;
        }
    }
    Ok(())
}

fn commands(device: &str, rate: u32) -> [Vec<String>; 2] {
    let words = |text: &str| text.split(' ').map(str::to_owned).collect();
    [
        words(&format!("qdisc replace dev {device} clsact")),
        words(&format!(
            "filter replace dev {device} ingress protocol all prio 1 handle 1 flower dst_mac {GROUP} \
             action police rate {rate}mbit burst {BURST} conform-exceed drop/continue"
        )),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_tc_is_told() {
        let [qdisc, filter] = commands("vif7.0", 10);
        assert_eq!(qdisc, ["qdisc", "replace", "dev", "vif7.0", "clsact"]);
        assert_eq!(
            filter.join(" "),
            "filter replace dev vif7.0 ingress protocol all prio 1 handle 1 flower dst_mac 01:00:00:00:00:00/01:00:00:00:00:00 \
             action police rate 10mbit burst 128k conform-exceed drop/continue"
        );
    }
}
