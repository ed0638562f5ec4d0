// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! From the command line to a routing domain: rules before devices, so that nothing passes that is not to, and daemons last.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use anyhow::{Context, ensure};

use crate::change::Domr;
use crate::cmdline::Config;
use crate::paths::Paths;
use crate::state::Public;
use crate::words::Network;
use crate::{daemon, interfaces};

/// Where sshd's processes that have no rights live; the name is built into it.
const SSHD_DIRECTORY: &str = "/run/sshd";

/// Does everything but start the daemons. All of it may be there from an earlier run.
pub(crate) fn prepare(paths: &Paths, cmdline: &str) -> anyhow::Result<()> {
    let config = Config::parse(cmdline)?;
    for key in ["ssh_host_ed25519_key", "authorized_keys"] {
        let path = paths.etc(key);
        ensure!(
            path.is_file(),
            "{} is missing: dom0 puts it there",
            path.display()
        );
    }
    daemon::end_old(paths)?;
    let domr = Domr::start(paths, config)?;
    domr.load_rules()?;
    interfaces::bring_up(&domr.config, &domr.state)?;
    daemon::write_configuration(&domr.config, paths)?;
    daemon::write_leases(&domr.config, paths, &domr.state)?;
    let made = || format!("cannot make {SSHD_DIRECTORY}");
    fs::create_dir_all(SSHD_DIRECTORY).with_context(made)?;
    fs::set_permissions(SSHD_DIRECTORY, PermissionsExt::from_mode(0o755)).with_context(made)?;
    let own: Network = domr.config.public();
    for Public(address) in [Public(own)].iter().chain(&domr.state.addresses) {
        interfaces::announce(*address);
    }
    Ok(())
}
