// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! Passwords of consoles. They are in what is written down of a machine, which is root's alone, and nowhere else.

use std::fmt;
use std::fs;
use std::path::Path;
use std::str::FromStr;

use anyhow::Context;
use serde::{Deserialize, Serialize};

use crate::failure::Refused;

/// VNC looks at so many characters and no more.
const LENGTH: usize = 8;
/// What those that are made here consist of: nothing that looks like something else.
const ALPHABET: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";

/// A password. It does not show in what is told of errors.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Password(String);

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password")
    }
}

impl TryFrom<String> for Password {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl FromStr for Password {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let good = |byte: u8| byte.is_ascii_graphic() && !b",\"'\\=".contains(&byte);
        if (1..=LENGTH).contains(&text.len()) && text.bytes().all(good) {
            Ok(Self(text.to_owned()))
        } else {
            Err(format!(
                "a VNC password has 1 to {LENGTH} characters, without spaces, commas, quotes, = and \\"
            ))
        }
    }
}

impl Password {
    /// For what is asked of clients, and to be told once.
    pub(crate) fn text(&self) -> &str {
        &self.0
    }

    /// What the old script took when none was given.
    pub(crate) fn old_default() -> Self {
        Self("password".to_owned())
    }

    /// A new one.
    pub(crate) fn generate() -> anyhow::Result<Self> {
        let mut bytes = [0; LENGTH];
        getrandom::fill(&mut bytes).context("the kernel gave no random bytes")?;
        let character = |byte: u8| char::from(ALPHABET[usize::from(byte) % ALPHABET.len()]);
        Ok(Self(bytes.into_iter().map(character).collect()))
    }

    /// The first line of a file.
    pub(crate) fn read(path: &Path) -> anyhow::Result<Self> {
        let text =
            fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        let line = text.lines().next().unwrap_or_default();
        line.parse()
            .map_err(|error| Refused::new(format!("{}: {error}", path.display())).into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords() {
        for good in ["password", "x", "a-b_c.d"] {
            assert!(good.parse::<Password>().is_ok(), "{good}");
        }
        for bad in [
            "",
            "ninechars",
            "a b",
            "a,b",
            "a\"b",
            "a'b",
            "a\\b",
            "a=b",
            "ä",
            "a\n",
        ] {
            assert!(bad.parse::<Password>().is_err(), "{bad:?}");
        }
        let [one, two] = [(), ()].map(|()| Password::generate().expect("random bytes"));
        assert_ne!(one, two);
        assert_eq!(one.text().parse(), Ok(one.clone()));
        assert_eq!(format!("{one:?}"), "Password");
        assert!(Password::old_default().text().parse::<Password>().is_ok());
    }
}
