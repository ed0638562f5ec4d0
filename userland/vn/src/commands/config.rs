// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! `vn export` and `vn apply`: the whole configuration in one file.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;
use serde::Serialize;

use super::{Context, remarks};
use crate::config::Config;
use crate::config::act::all_or_nothing;
use crate::config::diff::{Permission, diff};
use crate::config::state::State;
use crate::failure::Refused;
use crate::lock::Lock;
use crate::output;
use crate::world::Kernel;

/// Longest file that is read, in bytes.
const FILE_MAX: u64 = 64 * 1024 * 1024;

const APPLY_HELP: &str = "\
A whole file:

  [host]
  port = 1798
  group = \"224.10.0.1\"             # or \"none\"
  device = \"eth0\"                  # or \"none\": by the routing table
  ttl = 64                         # or \"inherit\"
  flood = \"group\"                  # or \"peers\"
  dscp = 0                         # or \"inherit\"
  peers = [\"192.0.2.2\", \"192.0.2.3\"]

  [[net]]
  id = \"0005\"
  bridge = \"vnbr0005\"
  mtu = 1500
  unknown = \"drop\"                 # every option of vn net set has a key of its name
  remotes = \"listed\"
  listed = [\"192.0.2.2\"]           # hosts from which it accepts

  [net.static]
  \"02:00:00:05:00:01\" = \"192.0.2.3\"

  [[net]]
  id = \"0006\"
  ifname = \"cust6\"

What the file does not say of the host stays as it is. A vnet's setting that it does not say is the default, but for the MTU, \
which stays. Nothing is removed without --prune.";

#[derive(Debug, Args)]
#[command(after_help = APPLY_HELP)]
pub(crate) struct ApplyArgs {
    /// The file, or - for standard input
    file: PathBuf,
    /// Remove what the file does not have: vnets with their bridges vnbrXXXX, peers, listed hosts, static entries
    #[arg(long)]
    prune: bool,
    /// Cut off guests that are attached to a bridge from which a vnet is taken
    #[arg(long)]
    force: bool,
}

pub(crate) fn export(context: &mut Context) -> anyhow::Result<()> {
    let mut kernel = Kernel::open(&context.endpoint)?;
    let config = {
        let _lock = Lock::take()?;
        State::gather(&mut kernel)?.config()
    };
    context.out.write_all(config.render().as_bytes())?;
    Ok(context.out.flush()?)
}

/// What was or would be done, as JSON.
#[derive(Serialize)]
struct Changes<'a> {
    changes: &'a [String],
}

pub(crate) fn apply(context: &mut Context, arguments: &ApplyArgs) -> anyhow::Result<()> {
    let (name, text) = read(&arguments.file)?;
    let wanted = Config::parse(&text).with_context(|| format!("cannot use {name}"))?;
    let mut kernel = Kernel::open(&context.endpoint)?;
    let _lock = Lock::take()?;
    let state = State::gather(&mut kernel)?;
    let permission = Permission {
        prune: arguments.prune,
        force: arguments.force,
    };
    let diff = diff(&wanted, &state, permission)?;
    // Whoever reads what is said may stop reading: it is done all the same.
    let mut said = Ok(());
    if !context.json() {
        said = diff.lines.iter().try_for_each(|line| context.line(line));
    }
    if !context.options.dry_run {
        kernel.hold_interrupts()?;
        let done = all_or_nothing(&mut kernel, &diff.acts);
        remarks(&mut kernel.client);
        done?;
    }
    said?;
    if context.json() {
        let changes = Changes {
            changes: &diff.lines,
        };
        output::json(&mut context.out, &changes, context.options.pretty)?;
        context.out.flush()?;
    }
    Ok(())
}

/// The name of a file for people, and its text.
fn read(path: &PathBuf) -> anyhow::Result<(String, String)> {
    let is_input = path.as_os_str() == "-";
    let name = if is_input {
        "standard input".to_owned()
    } else {
        path.display().to_string()
    };
    let mut bytes = Vec::new();
    let length = if is_input {
        io::stdin()
            .lock()
            .take(FILE_MAX + 1)
            .read_to_end(&mut bytes)
    } else {
        File::open(path).and_then(|file| file.take(FILE_MAX + 1).read_to_end(&mut bytes))
    };
    let length = length.with_context(|| format!("cannot read {name}"))?;
    if u64::try_from(length).is_ok_and(|length| length > FILE_MAX) {
        return Err(Refused::new(format!("{name} is longer than {FILE_MAX} bytes")).into());
    }
    match String::from_utf8(bytes) {
        Ok(text) => Ok((name, text)),
        Err(_) => Err(Refused::new(format!("{name} is not UTF-8 text")).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_in_the_help_is_one() {
        let lines = APPLY_HELP
            .lines()
            .filter(|line| line.is_empty() || line.starts_with("  "));
        let text = lines.collect::<Vec<_>>().join("\n");
        let config = Config::parse(&text).expect("a file");
        assert_eq!((config.host.peers.len(), config.nets.len()), (2, 2));
    }
}
