// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! Settings of a vnet: any subset of them, with the names of their values.

use std::fmt;

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use vnet_core::Setting;

use crate::Error;
use crate::attributes::{Attribute, Writer};
use crate::value;

/// The names of a setting's values, in the order of their numbers; none if it is a number.
pub fn value_names(setting: Setting) -> &'static [&'static str] {
    match setting {
        Setting::Unknown => &["hold", "flood", "drop"],
        Setting::Remotes => &["any", "listed"],
        Setting::SourcePort => &["fixed", "flow"],
        Setting::Seal => &["none", "auth", "conf"],
        Setting::Cipher => &["chacha20-poly1305", "aes-256-gcm"],
        _ => &[],
    }
}

/// A value of a setting, shown by its name if it has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shown {
    /// The setting.
    pub setting: Setting,
    /// Its value.
    pub value: u32,
}

impl Shown {
    fn name(self) -> Option<&'static str> {
        let index = usize::try_from(self.value).ok()?;
        value_names(self.setting).get(index).copied()
    }
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "{}", self.value),
        }
    }
}

impl Serialize for Shown {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.name() {
            Some(name) => serializer.serialize_str(name),
            None => serializer.serialize_u32(self.value),
        }
    }
}

/// Some settings: those that are to be changed, or those that the other side told of. Values are not checked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SomeSettings([Option<u32>; Setting::COUNT]);

impl SomeSettings {
    /// None.
    pub fn new() -> Self {
        Self::default()
    }

    /// The value of a setting, if it is among them.
    pub fn get(&self, setting: Setting) -> Option<u32> {
        self.0.get(setting as usize).copied().flatten()
    }

    /// Adds a setting, or takes it away.
    pub fn set(&mut self, setting: Setting, value: Option<u32>) {
        if let Some(place) = self.0.get_mut(setting as usize) {
            *place = value;
        }
    }

    /// With a setting.
    #[must_use]
    pub fn with(mut self, setting: Setting, value: u32) -> Self {
        self.set(setting, Some(value));
        self
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }

    /// All that there are, in the order of [`Setting::ALL`].
    pub fn iter(&self) -> impl Iterator<Item = Shown> + '_ {
        Setting::ALL.iter().filter_map(|setting| {
            let value = self.get(*setting)?;
            Some(Shown {
                setting: *setting,
                value,
            })
        })
    }

    /// Takes over an attribute of a vnet, if it is a setting.
    pub(crate) fn read(&mut self, attribute: Attribute<'_>) -> Result<(), Error> {
        let setting = Setting::ALL.iter().find(|s| s.attr() == attribute.kind);
        if let Some(setting) = setting {
            self.set(*setting, Some(attribute.u32()?));
        }
        Ok(())
    }

    pub(crate) fn write(&self, writer: &mut Writer) -> Result<(), Error> {
        for Shown { setting, value } in self.iter() {
            value::put(writer, setting.attr(), &value)?;
        }
        Ok(())
    }
}

impl Serialize for SomeSettings {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for shown in self.iter() {
            map.serialize_entry(shown.setting.name(), &shown)?;
        }
        map.end()
    }
}

const _: () = {
    let mut index = 0;
    while index < Setting::COUNT {
        assert!(Setting::ALL[index] as usize == index);
        index += 1;
    }
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attributes::Reader;

    #[test]
    fn any_subset_is_written_and_read() {
        let mut all = SomeSettings::new();
        for setting in Setting::ALL {
            all.set(*setting, Some(setting.range().1));
        }
        let one = SomeSettings::new().with(Setting::Damp, 5);
        for settings in [SomeSettings::new(), one, all] {
            let mut writer = Writer::new();
            settings.write(&mut writer).expect("short");
            let mut read = SomeSettings::new();
            for attribute in Reader::new(&writer.into_bytes()) {
                read.read(attribute.expect("whole")).expect("a number");
            }
            assert_eq!(read, settings);
        }
        assert!(SomeSettings::new().is_empty() && !one.is_empty());
    }

    #[test]
    fn every_value_of_a_choice_has_a_name_and_no_other() {
        for setting in Setting::ALL {
            let names = value_names(*setting);
            if !names.is_empty() {
                assert_eq!(
                    setting.range(),
                    (0, u32::try_from(names.len() - 1).expect("few"))
                );
            }
        }
        let shown = |value| {
            Shown {
                setting: Setting::Unknown,
                value,
            }
            .to_string()
        };
        assert_eq!([shown(0), shown(2), shown(9)], ["hold", "drop", "9"]);
    }
}
