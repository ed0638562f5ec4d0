// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! `vn key`: keys of sealed vnets. Keys come from files or standard input and are shown nowhere.

use std::path::PathBuf;

use clap::Subcommand;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use vnet_core::VnetId;
use vnet_core::abi;
use vnet_netlink::{Client, Key, KeySlot};

use super::varp::of_nets;
use super::{Context, remarks};
use crate::failure::{Attempt, Refused};
use crate::keyfile;
use crate::output::{Table, some};
use crate::timestamp::Timestamp;

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Make a random key, and write it as a line of 64 hexadecimal digits
    Generate {
        /// Make this file, with mode 0600; never overwritten [default: standard output]
        #[arg(long, value_name = "FILE")]
        file: Option<PathBuf>,
    },
    /// Give a vnet a key; the same one again is no failure
    ///
    /// The first key of a vnet is the current one, with which it seals. Any other is the next one, with which it only opens until vn key
    /// rotate makes it the current one: give it to all hosts, with the same index, before any of them rotates. What was in the slot is forgotten.
    ///
    /// Keys are kept in memory only. They are gone with the vnet, and when vnetd ends or the module is unloaded.
    Set {
        /// The vnet
        id: VnetId,
        /// File with the key (64 hexadecimal digits, or 32 bytes), yours or root's, with mode 0600; - for standard input
        #[arg(long, value_name = "FILE")]
        file: PathBuf,
        /// Number of the key, the same on all hosts [default: one more than the largest that the vnet has, or 1]
        #[arg(long, value_name = "N", value_parser = index())]
        index: Option<u32>,
        /// Where to put it [default: current if the vnet has no current key, else next]
        #[arg(long, value_name = "current|next|previous", hide_possible_values = true, value_parser = slot())]
        slot: Option<KeySlot>,
    },
    /// Have a vnet seal with its next key; the one that was current is opened with as before
    ///
    /// Hosts may rotate in any order and at any time, once all of them have the next key: nothing is lost.
    Rotate {
        /// The vnet
        id: VnetId,
        /// Only if this is the next key; if it is the current one already, there is nothing to do
        #[arg(long, value_name = "N", value_parser = index())]
        index: Option<u32>,
        /// Wait here until then, and rotate: a time by the system's clock like 2026-01-31T03:00:00Z, or @SECONDS since 1970. Who interrupts
        /// it before has rotated nothing. A time that has passed is now
        #[arg(long, value_name = "TIME")]
        at: Option<Timestamp>,
    },
    /// Show the keys of a vnet, or of all, without the keys themselves: index, slot, age, and how much was sealed so far
    List {
        /// The vnet
        id: Option<VnetId>,
    },
    /// Take a key away from a vnet; without a current key it sends nothing
    #[command(alias = "delete")]
    Del {
        /// The vnet
        id: VnetId,
        /// Number of the key
        #[arg(value_parser = index())]
        index: u32,
    },
}

fn index() -> impl TypedValueParser<Value = u32> {
    let (min, max) = abi::KEY_INDEX_RANGE;
    clap::value_parser!(u32).range(i64::from(min)..=i64::from(max))
}

fn slot() -> impl TypedValueParser<Value = KeySlot> {
    PossibleValuesParser::new(["current", "next", "previous"]).map(|name| match name.as_str() {
        "current" => KeySlot::Current,
        "next" => KeySlot::Next,
        _ => KeySlot::Previous,
    })
}

pub(crate) fn run(context: &mut Context, verb: Verb) -> anyhow::Result<()> {
    match verb {
        Verb::Generate { file } => generate(context, file),
        Verb::Set {
            id,
            file,
            index,
            slot,
        } => {
            let secret = keyfile::read(&file)?;
            let mut client = context.client()?;
            let keys = keys_of(&mut client, id)?;
            let index = match index {
                Some(index) => index,
                None => next_index(&keys)?,
            };
            context.change(format_args!("give vnet {id} the key {index}"), || {
                client.key_new(id, index, slot, &secret)
            })?;
            remarks(&mut client);
            Ok(())
        }
        Verb::Rotate { id, index, at } => rotate(context, id, index, at),
        Verb::List { id } => {
            let mut client = context.client()?;
            let keys = of_nets(&mut client, id, "list the keys of", Client::keys)?;
            context.list(&keys, || table(&keys))
        }
        Verb::Del { id, index } => {
            let mut client = context.client()?;
            context.change(
                format_args!("take the key {index} away from vnet {id}"),
                || client.key_del(id, index),
            )?;
            remarks(&mut client);
            Ok(())
        }
    }
}

fn generate(context: &mut Context, file: Option<PathBuf>) -> anyhow::Result<()> {
    if context.options.dry_run {
        let to = file.map_or_else(
            || "to standard output".to_owned(),
            |file| format!("into {}", file.display()),
        );
        return context.line(format_args!("write a new key {to}"));
    }
    let secret = keyfile::generate()?;
    match file {
        Some(file) => keyfile::create(&secret, &file),
        // Not through a buffer that is not wiped.
        None => Ok(keyfile::print(&secret, &mut keyfile::unbuffered()?)?),
    }
}

fn keys_of(client: &mut Client, id: VnetId) -> anyhow::Result<Vec<Key>> {
    let failed = |error| {
        anyhow::Error::from(error).context(Attempt::new(format!("list the keys of vnet {id}")))
    };
    client.keys(id).map_err(failed)
}

fn next_index(keys: &[Key]) -> anyhow::Result<u32> {
    let (first, last) = abi::KEY_INDEX_RANGE;
    let largest = keys.iter().map(|key| key.index).max();
    match largest.map_or(Some(first), |largest| largest.checked_add(1)) {
        Some(index) if index <= last => Ok(index),
        _ => Err(Refused::new(format!(
            "the vnet has a key {last}, and there is no larger number"
        ))
        .hint("choose a number with: --index N, the same on all hosts")
        .into()),
    }
}

fn rotate(
    context: &mut Context,
    id: VnetId,
    index: Option<u32>,
    at: Option<Timestamp>,
) -> anyhow::Result<()> {
    let mut wanted = index;
    if let Some(at) = at.filter(|_| !context.options.dry_run) {
        // What would be refused then is refused now.
        let keys = keys_of(&mut context.client()?, id)?;
        let found = target(&keys, index).ok_or_else(|| {
            let what = match index {
                Some(index) => format!("vnet {id} has no next key {index}"),
                None => format!("vnet {id} has no next key"),
            };
            Refused::new(what).hint(format!("give it one with: vn key set {id} --file FILE"))
        })?;
        wanted = Some(found);
        at.wait()?;
    }
    let mut client = context.client()?;
    let what = match wanted {
        Some(index) => format!("have vnet {id} seal with key {index}"),
        None => format!("have vnet {id} seal with its next key"),
    };
    context.change(what, || client.key_rotate(id, wanted))?;
    remarks(&mut client);
    Ok(())
}

/// The key that a rotation leads to: the next one, or the current one if it is named.
fn target(keys: &[Key], index: Option<u32>) -> Option<u32> {
    let is = |key: &&Key| match key.slot {
        Some(KeySlot::Next) => index.is_none_or(|index| index == key.index),
        Some(KeySlot::Current) => index == Some(key.index),
        _ => false,
    };
    keys.iter().find(is).map(|key| key.index)
}

fn table(keys: &[Key]) -> Table {
    let mut table = Table::new(["NET", "INDEX", "SLOT", "AGE", "COUNTER"]);
    for key in keys {
        table.row([
            key.net.to_string(),
            key.index.to_string(),
            some(key.slot),
            some(key.age.map(age)),
            some(key.counter),
        ]);
    }
    table
}

/// A time in its two largest units, as keys are old.
fn age(millis: u64) -> String {
    let seconds = millis / 1000;
    match (
        seconds / 86_400,
        seconds / 3600 % 24,
        seconds / 60 % 60,
        seconds % 60,
    ) {
        (0, 0, 0, s) => format!("{s}s"),
        (0, 0, m, s) => format!("{m}m{s}s"),
        (0, h, m, _) => format!("{h}h{m}m"),
        (d, h, ..) => format!("{d}d{h}h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(index: u32, slot: KeySlot) -> Key {
        Key {
            slot: Some(slot),
            age: Some(90_061_000),
            ..Key::new("5".parse().expect("an id"), index)
        }
    }

    #[test]
    fn listing() {
        let current = Key {
            counter: Some(7),
            ..key(1, KeySlot::Current)
        };
        let keys = [current, key(2, KeySlot::Next)];
        let mut out = Vec::new();
        table(&keys).print(&mut out).expect("memory");
        assert_eq!(
            String::from_utf8(out).expect("text"),
            "\
NET   INDEX  SLOT     AGE   COUNTER
0005  1      current  1d1h  7
0005  2      next     1d1h  -
"
        );
        let ages = [999, 61_000, 3_661_000].map(age);
        assert_eq!(ages, ["0s", "1m1s", "1h1m"]);
    }

    #[test]
    fn numbers() {
        let index = |keys: &[Key]| next_index(keys).ok();
        assert_eq!(index(&[]), Some(1));
        let keys = [key(7, KeySlot::Current), key(3, KeySlot::Previous)];
        assert_eq!(index(&keys), Some(8));
        assert_eq!(index(&[key(65535, KeySlot::Current)]), None);
        assert_eq!(target(&keys, None), None);
        assert_eq!(
            target(&keys, Some(7)),
            Some(7),
            "nothing to do is no failure"
        );
        assert_eq!(target(&keys, Some(3)), None);
        assert_eq!(target(&[key(8, KeySlot::Next)], None), Some(8));
        assert_eq!(target(&[key(8, KeySlot::Next)], Some(9)), None);
    }
}
