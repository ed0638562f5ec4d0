// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! The settings of a vnet as options, one for each; `vn net create` and `vn net set` have the same.

use clap::builder::{PossibleValuesParser, TypedValueParser, ValueParser};
use clap::error::ErrorKind;
use clap::{Arg, ArgMatches, Args, Command, FromArgMatches};
use vnet_core::{Setting, abi};
use vnet_netlink::{NetChange, Shown, SomeSettings, value_names};

/// The heading in the help.
const HEADING: &str = "Settings of the vnet (MS: milliseconds)";
/// Name of the option for the MTU.
const MTU: &str = "mtu";

/// What of a vnet can be set.
#[derive(Clone, Debug, Default)]
pub(crate) struct Change(pub(crate) NetChange);

/// As [`Change`], but at least one thing must be set.
#[derive(Clone, Debug)]
pub(crate) struct SomeChange(pub(crate) NetChange);

/// What a setting is for.
fn help(setting: Setting) -> &'static str {
    match setting {
        Setting::Ageing => "Time after which a MAC address that was not heard is forgotten",
        Setting::MaxMacs => "Most MAC addresses that are learned, remote and local apart",
        Setting::Unknown => {
            "What becomes of unicast to an unknown MAC address: held while hosts are asked for it, and flooded if nobody \
             answers; flooded at once; or held, and dropped if nobody answers"
        }
        Setting::HoldMac => "Most frames held for one MAC address while hosts are asked",
        Setting::HoldNet => "Most frames held in the vnet",
        Setting::MaxUnresolved => "Most MAC addresses that are asked for or known to be nowhere",
        Setting::Probes => "How often hosts are asked for a MAC address",
        Setting::ProbeInterval => "Time between the first two times; doubled each time",
        Setting::Negative => "Time for which it is remembered that nobody has a MAC address",
        Setting::UnknownRate => {
            "Most frames to unknown MAC addresses flooded in a second; 0 for no limit"
        }
        Setting::Announces => {
            "How often it is announced that a MAC address has appeared here; 0 for never"
        }
        Setting::AnnounceInterval => "Time between the first two announcements; doubled each time",
        Setting::VarpRate => {
            "Most requests, announcements and answers, each, sent in a second; 0 for no limit"
        }
        Setting::MoveLimit => {
            "How often a MAC address may move within the window before it is damped; 0 for no limit"
        }
        Setting::MoveWindow => "Time within which moves are counted",
        Setting::Damp => "Time for which a MAC address that moves too often stays where it is",
        Setting::Remotes => "Hosts that are accepted from: any, or those of vn remote add",
        Setting::RemoteMacs => "Most MAC addresses learned from one host; 0 for no limit",
        Setting::RemoteFloods => {
            "Most frames to groups accepted from one host in a second; 0 for no limit"
        }
        Setting::SourcePort => {
            "UDP source port of data: that of everything, which the original needs, or one for each flow, which spreads \
             them over the paths of the underlay"
        }
        Setting::Seal => {
            "Whether everything is sealed, with the key of vn key set, and nothing else accepted: not; so that nobody can change \
             or make it; or so that nobody can read it either"
        }
        Setting::Cipher => "Cipher that this host seals with; both are accepted",
        Setting::MaxSenders => "Most hosts whose sealed messages are accepted at a time",
    }
}

/// What stands for the value in the help.
fn value_name(setting: Setting) -> &'static str {
    match setting {
        Setting::Unknown => "hold|flood|drop",
        Setting::Remotes => "any|listed",
        Setting::SourcePort => "fixed|flow",
        Setting::Seal => "none|auth|conf",
        Setting::Cipher => "chacha20-poly1305|aes-256-gcm",
        Setting::Ageing
        | Setting::ProbeInterval
        | Setting::Negative
        | Setting::AnnounceInterval
        | Setting::MoveWindow
        | Setting::Damp => "MS",
        _ => "N",
    }
}

fn option(setting: Setting) -> Arg {
    let names = value_names(setting);
    let default = Shown {
        setting,
        value: setting.default(),
    };
    let parser = if names.is_empty() {
        range(setting.range())
    } else {
        PossibleValuesParser::new(names)
            .try_map(move |name| {
                let mut values = (0..).zip(names);
                let found = values.find(|(_, candidate)| **candidate == name);
                found
                    .map(|(value, _): (u32, _)| value)
                    .ok_or("not one of the names")
            })
            .into()
    };
    Arg::new(setting.name())
        .long(setting.name())
        .value_name(value_name(setting))
        .value_parser(parser)
        .hide_possible_values(true)
        .help(format!("{} [default: {default}]", help(setting)))
        .help_heading(HEADING)
}

fn range((least, most): (u32, u32)) -> ValueParser {
    clap::value_parser!(u32)
        .range(i64::from(least)..=i64::from(most))
        .into()
}

impl Args for Change {
    fn augment_args(command: Command) -> Command {
        let mtu = Arg::new(MTU)
            .long(MTU)
            .value_name("N")
            .value_parser(range(abi::MTU_RANGE))
            .help("MTU of the device [default: what the underlay carries unfragmented]")
            .help_heading(HEADING);
        let settings = Setting::ALL.iter().map(|setting| option(*setting));
        command.arg(mtu).args(settings)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for Change {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut settings = SomeSettings::new();
        for setting in Setting::ALL {
            settings.set(*setting, matches.get_one(setting.name()).copied());
        }
        Ok(Self(NetChange {
            mtu: matches.get_one(MTU).copied(),
            settings,
        }))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl Args for SomeChange {
    fn augment_args(command: Command) -> Command {
        Change::augment_args(command)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Change::augment_args(command)
    }
}

impl FromArgMatches for SomeChange {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let Change(change) = Change::from_arg_matches(matches)?;
        if change.is_empty() {
            return Err(clap::Error::raw(
                ErrorKind::MissingRequiredArgument,
                "there is nothing to change: name at least one setting\n",
            ));
        }
        Ok(Self(change))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse<T: Args>(arguments: &[&str]) -> Result<T, clap::Error> {
        let command = T::augment_args(Command::new("test").no_binary_name(true));
        T::from_arg_matches(&command.try_get_matches_from(arguments)?)
    }

    #[test]
    fn every_setting_is_an_option() {
        for setting in Setting::ALL {
            let names = value_names(*setting);
            if !names.is_empty() {
                assert_eq!(value_name(*setting), names.join("|"));
            }
            let (least, most) = setting.range();
            for value in [least, most] {
                let index = usize::try_from(value).expect("small");
                let text = match names.get(index) {
                    Some(name) => (*name).to_owned(),
                    None => value.to_string(),
                };
                let option = format!("--{}={text}", setting.name());
                let change = parse::<SomeChange>(&[&option]).expect("in range").0;
                let expected = SomeSettings::new().with(*setting, value);
                assert_eq!((change.mtu, change.settings), (None, expected));
            }
            let option = format!("--{}={}", setting.name(), u64::from(most) + 1);
            assert!(parse::<Change>(&[&option]).is_err(), "{option}");
        }
    }

    #[test]
    fn a_change_of_nothing_is_refused() {
        assert!(parse::<Change>(&[]).expect("nothing").0.is_empty());
        let error = parse::<SomeChange>(&[]).expect_err("nothing");
        assert!(error.to_string().contains("nothing to change"));
        let change = parse::<SomeChange>(&["--mtu", "1500"]).expect("an MTU");
        assert_eq!(change.0.mtu, Some(1500));
    }
}
