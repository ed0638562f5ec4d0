// SPDX-License-Identifier: GPL-2.0-only

//! The settings of a vnet, as the data path reads them while they are changed.
//!
//! Each is a word of its own, read without a lock. Written under RTNL.

use vnet_core::{Setting, Settings};

use crate::sys::once::Once;

/// Settings that may change at any time.
pub(crate) struct Live {
    values: [Once<u32>; Setting::COUNT],
    /// Whether any of them keeps out what would be taken otherwise, so that the data path looks at one word for all of them.
    gated: Once<u32>,
}

fn gated(settings: &Settings) -> u32 {
    (settings.listed_only() || settings.sealed().is_some()).into()
}

impl Live {
    /// These settings.
    pub(crate) fn new(settings: &Settings) -> Self {
        Self {
            values: core::array::from_fn(|index| {
                let setting = Setting::ALL.get(index);
                Once::new(setting.map_or(0, |setting| settings.get(*setting)))
            }),
            gated: Once::new(gated(settings)),
        }
    }

    /// One of them.
    #[inline]
    pub(crate) fn get(&self, setting: Setting) -> u32 {
        let value = self.values.get(setting as usize);
        value.map_or(setting.default(), |value| value.load())
    }

    /// Whether a message that is not sealed, or from whatever host, may have to be kept out.
    #[inline]
    pub(crate) fn is_gated(&self) -> bool {
        self.gated.load() != 0
    }

    /// All of them, each as it is now.
    pub(crate) fn now(&self) -> Settings {
        let mut settings = Settings::default();
        for setting in Setting::ALL {
            // What is stored was in the range.
            let _ = settings.set(*setting, self.get(*setting));
        }
        settings
    }

    /// Sets all of them.
    pub(crate) fn set(&self, settings: &Settings) {
        for (setting, value) in Setting::ALL.iter().zip(&self.values) {
            value.store(settings.get(*setting));
        }
        self.gated.store(gated(settings));
    }
}
