// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! Sealed messages against those of another implementation (`tests/wire/sealed.py`), and what is believed of whom.

use std::collections::BTreeSet;

use aes_gcm::aead::{AeadInOut, KeyInit};
use aes_gcm::Aes256Gcm;
use chacha20poly1305::ChaCha20Poly1305;
use hmac::{Hmac as HmacOf, Mac as _};
use proptest::prelude::*;
use sha2::Sha256;

use vnet_core::sealed::derive::{Purpose, Root};
use vnet_core::sealed::{
    Cipher, Cookies, Hmac, Key, Loaded, Mode, Replayed, Slot, Slots, WideWindow, Window, WindowOf,
    WIDE_WINDOW, WINDOW,
};
use vnet_core::wire::{
    Hello, HelloStep, Message, Opened, Relay, SealedHeader, VarpMessage, SEALED_HEADER_LEN,
    SEALED_TAG_LEN,
};
use vnet_core::{Instant, VnetId, WireError};

struct Sha;

impl Hmac for Sha {
    fn hmac(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
        let mut mac =
            <HmacOf<Sha256> as KeyInit>::new_from_slice(key).expect("any length is a key");
        for part in parts {
            mac.update(part);
        }
        mac.finalize().into_bytes().into()
    }
}

fn bytes(value: &serde_json::Value) -> Vec<u8> {
    let text = value.as_str().expect("a string");
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).expect("hex"))
        .collect()
}

fn tag(cipher: Cipher, key: &Key, counter: u64, aad: &[u8], buffer: &mut [u8]) -> Vec<u8> {
    let nonce = Cipher::nonce(counter);
    let buffer = buffer.into();
    match cipher {
        Cipher::ChaCha20Poly1305 => ChaCha20Poly1305::new(key.as_bytes().into())
            .encrypt_inout_detached(&nonce.into(), aad, buffer)
            .expect("short enough")
            .to_vec(),
        Cipher::Aes256Gcm => Aes256Gcm::new(key.as_bytes().into())
            .encrypt_inout_detached(&nonce.into(), aad, buffer)
            .expect("short enough")
            .to_vec(),
    }
}

fn seal(header: SealedHeader, purpose: Purpose, key: &Key, plain: &[u8]) -> Vec<u8> {
    let mut message = header.emit().to_vec();
    let mut body = plain.to_vec();
    let tag = match purpose.mode {
        Mode::Conf => tag(purpose.cipher, key, header.counter, &message, &mut body),
        Mode::Auth => {
            let all = [&message[..], plain].concat();
            tag(purpose.cipher, key, header.counter, &all, &mut [])
        }
    };
    message.extend(body);
    message.extend(tag);
    message
}

#[test]
fn what_another_implementation_sealed() {
    let text = include_str!("../../../tests/wire/sealed.json");
    let vectors: Vec<serde_json::Value> = serde_json::from_str(text).expect("JSON");
    assert_eq!(vectors.len(), 24);
    for vector in &vectors {
        let name = vector["name"].as_str().expect("a name");
        let key = Key::from_bytes(bytes(&vector["key"]).try_into().expect("32 bytes"));
        let purpose = Purpose {
            id: VnetId::from_bytes(bytes(&vector["id"]).try_into().expect("16 bytes")),
            mode: match vector["mode"].as_str() {
                Some("auth") => Mode::Auth,
                _ => Mode::Conf,
            },
            cipher: match vector["cipher"].as_str() {
                Some("aes-256-gcm") => Cipher::Aes256Gcm,
                _ => Cipher::ChaCha20Poly1305,
            },
        };
        let message = bytes(&vector["message"]);
        let plain = bytes(&vector["plain"]);
        let Ok(Message::Sealed(header, sealed)) = Message::parse(&message) else {
            panic!("{name}: is not read");
        };
        assert_eq!(sealed.len(), plain.len() + SEALED_TAG_LEN, "{name}");
        assert_eq!(
            header.counter,
            vector["counter"].as_u64().expect("a number"),
            "{name}"
        );

        let root = Root::new::<Sha>(&key);
        assert_eq!(header.tag, root.tag::<Sha>(purpose), "{name}: tag");
        let sender = root.sender::<Sha>(purpose, header.sender);
        assert_eq!(
            &sender.as_bytes()[..],
            bytes(&vector["sender-key"]),
            "{name}: key"
        );
        assert_eq!(
            seal(header, purpose, &sender, &plain),
            message,
            "{name}: {purpose:?}"
        );

        match Opened::parse(&plain).expect(name) {
            Opened::Frame(frame) => assert_eq!(frame, &plain[2..], "{name}"),
            Opened::Varp(varp) => {
                let varp = VarpMessage::parse(varp).expect(name);
                assert_eq!(&varp.emit()[..], plain, "{name}");
            }
            Opened::Hello(hello) => assert_eq!(&hello.emit()[..], plain, "{name}"),
        }
    }
}

#[test]
fn tags_and_keys_are_of_one_use() {
    let root = Root::new::<Sha>(&Key::from_bytes([7; 32]));
    let other = Root::new::<Sha>(&Key::from_bytes([8; 32]));
    let ids = ["0005", "0006"].map(|id| id.parse::<VnetId>().expect("an id"));
    let mut seen = BTreeSet::new();
    for root in [&root, &other] {
        for id in ids {
            for mode in [Mode::Auth, Mode::Conf] {
                for cipher in Cipher::ALL {
                    let purpose = Purpose { id, mode, cipher };
                    let tag = root.tag::<Sha>(purpose);
                    assert!(seen.insert(tag.to_be_bytes().to_vec()), "{purpose:?}");
                    for sender in [1, 2] {
                        let key = root.sender::<Sha>(purpose, sender);
                        assert!(seen.insert(key.as_bytes().to_vec()), "{purpose:?} {sender}");
                        assert_ne!(key.as_bytes()[..8], tag.to_be_bytes());
                    }
                }
            }
        }
    }
}

#[test]
fn a_mark_changes_nothing_that_is_authenticated() {
    let header = SealedHeader {
        tag: 1,
        sender: 2,
        counter: 3,
    };
    let message = [&header.emit()[..], &[0; 18]].concat();
    let relay = Relay::of([192, 0, 2, 1].into());
    let relayed = relay.mark(&message).expect("it is relayed");
    let marked = [relayed.head(), relayed.rest()].concat();
    assert_eq!(Relay::read(&marked), Some(relay));
    assert_ne!(marked, message);
    let again = SealedHeader::parse(&marked).expect("it is read");
    assert_eq!(again, header);
    assert_eq!(again.emit()[..], message[..SEALED_HEADER_LEN]);
}

#[test]
fn what_is_too_short_is_refused() {
    let whole = [
        &SealedHeader {
            tag: 1,
            sender: 2,
            counter: 3,
        }
        .emit()[..],
        &[0; 18],
    ]
    .concat();
    for length in 4..whole.len() {
        assert_eq!(
            SealedHeader::parse(&whole[..length]),
            Err(WireError::Short),
            "{length}"
        );
    }
    assert_eq!(Opened::parse(&[0]), Err(WireError::Short));
    assert_eq!(Opened::parse(&[0, 2, 0, 0]), Err(WireError::BadMessage(2)));
    let hello = Hello {
        step: HelloStep::Answer,
        to: 9,
        cookie: [3; 16],
    }
    .emit();
    for length in 2..hello.len() {
        assert_eq!(
            Opened::parse(&hello[..length]),
            Err(WireError::Short),
            "{length}"
        );
    }
}

#[test]
fn cookies_are_for_one_sender_and_a_short_time() {
    let cookies = Cookies::new(Key::from_bytes([1; 32]));
    let id = "0005".parse::<VnetId>().expect("an id");
    let at = Instant::from_millis(1_000_000);
    let cookie = cookies.make::<Sha>(id, 7, at);
    assert!(cookies.check::<Sha>(id, 7, &cookie, at));
    assert!(cookies.check::<Sha>(id, 7, &cookie, at.plus(5_000)));
    assert!(!cookies.check::<Sha>(id, 7, &cookie, at.plus(10_000)));
    assert!(!cookies.check::<Sha>(id, 8, &cookie, at));
    assert!(!cookies.check::<Sha>("0006".parse().expect("an id"), 7, &cookie, at));
    assert!(!Cookies::new(Key::from_bytes([2; 32])).check::<Sha>(id, 7, &cookie, at));
    for bit in 0..128 {
        let mut wrong = cookie;
        wrong[bit / 8] ^= 1 << (bit % 8);
        assert!(!cookies.check::<Sha>(id, 7, &wrong, at), "bit {bit}");
    }
}

#[test]
fn keys_go_from_slot_to_slot() {
    let mut slots = Slots::new();
    let key = |index| Some(Loaded { index, key: () });
    assert!(slots.rotate().is_err(), "there is none");
    assert_eq!(slots.place(), Slot::Current);
    slots.set(Slot::Current, key(1));
    assert!(
        slots.rotate().is_err(),
        "there is no next one, and the current one stays"
    );
    assert_eq!(slots.get(Slot::Current).map(|key| key.index), Some(1));
    assert_eq!(slots.place(), Slot::Next);
    slots.set(Slot::Next, key(2));
    assert!(slots.rotate().expect("there is one").is_none());
    slots.set(Slot::Next, key(3));
    let gone = slots.rotate().expect("there is one").expect("the first");
    assert_eq!(gone.index, 1);
    let left: Vec<_> = slots.iter().map(|(slot, key)| (slot, key.index)).collect();
    assert_eq!(left, [(Slot::Current, 3), (Slot::Previous, 2)]);
}

#[test]
fn a_window_starts_with_nothing_but_what_follows() {
    let mut window = Window::starting_after(5_000);
    for old in [0, 1, 2_951, 2_953, 4_999, 5_000] {
        assert!(window.take(old).is_err(), "{old}");
    }
    assert_eq!(window.take(5_001), Ok(()));
    assert_eq!(window.take(5_001), Err(Replayed::Seen));
}

/// What the window has to do, said as simply as possible.
struct Model {
    start: u64,
    last: u64,
    seen: BTreeSet<u64>,
}

impl Model {
    fn take(&mut self, counter: u64, window: u64) -> bool {
        let late = self.last.saturating_sub(counter) >= window;
        self.last = self.last.max(counter);
        counter > self.start && !late && self.seen.insert(counter)
    }
}

/// Whether a window takes what it has to, and nothing else, when counters go such steps.
fn takes_each_once<const WORDS: usize>(
    mut window: WindowOf<WORDS>,
    size: u64,
    start: u64,
    steps: &[i64],
) -> Result<(), TestCaseError> {
    let mut model = Model {
        start,
        last: start,
        seen: BTreeSet::new(),
    };
    let mut at = start;
    for step in steps {
        let counter = at.saturating_add_signed(*step);
        prop_assert_eq!(
            window.take(counter).is_ok(),
            model.take(counter, size),
            "{} after {}",
            counter,
            at
        );
        at = at.max(counter);
        prop_assert_eq!(window.last(), at);
    }
    Ok(())
}

#[test]
fn how_far_back_windows_reach() {
    assert_eq!((WINDOW, WIDE_WINDOW), (2_048, 32_768));
}

proptest! {
    #[test]
    fn the_window_takes_each_message_once(
        start in prop_oneof![Just(0), 0..10_000_u64, Just(u64::MAX - 5_000)],
        steps in prop::collection::vec(
            prop_oneof![8 => -80..80_i64, 2 => -2_200..2_200_i64, 1 => 0..5_000_i64],
            1..400,
        ),
    ) {
        takes_each_once(Window::starting_after(start), WINDOW, start, &steps)?;
    }

    #[test]
    fn so_does_the_wide_one(
        start in prop_oneof![Just(0), 0..100_000_u64, Just(u64::MAX - 50_000)],
        steps in prop::collection::vec(
            prop_oneof![8 => -80..80_i64, 2 => -33_000..33_000_i64, 1 => 0..70_000_i64],
            1..400,
        ),
    ) {
        takes_each_once(WideWindow::starting_after(start), WIDE_WINDOW, start, &steps)?;
    }
}
