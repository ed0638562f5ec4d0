// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! Sealed vnets: which key seals what, who is believed, and what was there already.
//!
//! The ciphers themselves and the random numbers are the driver's. Format and reasons are in `docs/protocol.md`, what is
//! protected from whom in `docs/security.md`.

mod admission;
pub mod derive;
mod slots;
mod window;

pub use admission::{Cookies, COOKIE_LEN};
pub use derive::{Cipher, Hmac, Key, Mode, KEY_LEN};
pub use slots::{Loaded, Slot, Slots, COUNTER_LAST, COUNTER_WARN};
pub use window::{Replayed, WideWindow, Window, WindowOf, WIDE_WINDOW, WINDOW};
