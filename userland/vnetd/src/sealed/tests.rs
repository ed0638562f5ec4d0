// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! Two hosts of one vnet, without a network between them.

use vnet_core::sealed::{Cipher, Key, Slot};
use vnet_core::wire::{Hello, HelloStep, Opened};
use vnet_core::{Instant, Setting, Settings, VnetId};

use super::*;

const RATE: u32 = 0;

fn id() -> VnetId {
    VnetId::from_bytes([5; 16])
}

fn key(number: u8) -> Box<Key> {
    Box::new(Key::from_bytes([number; 32]))
}

fn at(millis: u64) -> Instant {
    Instant::from_millis(millis)
}

fn settings(seal: u32, cipher: u32, most: u32) -> Settings {
    let mut settings = Settings::default();
    for (setting, value) in [
        (Setting::Seal, seal),
        (Setting::Cipher, cipher),
        (Setting::MaxSenders, most),
    ] {
        assert!(settings.set(setting, value));
    }
    settings
}

/// A host of the vnet.
struct Host {
    seal: Seal,
    settings: Settings,
}

impl Host {
    fn new(settings: Settings, keys: &[u8]) -> Self {
        let mut host = Self {
            seal: Seal::default(),
            settings,
        };
        for number in keys {
            host.give(*number);
        }
        host
    }

    fn give(&mut self, number: u8) {
        let given = self.seal.give(u16::from(number), None, key(number), at(0));
        assert!(given.expect("taken"));
        self.renew();
    }

    fn renew(&mut self) {
        self.seal
            .renew(id(), &self.settings)
            .expect("random numbers");
    }

    fn keys(&self) -> Arc<Keys> {
        self.seal.keys().expect("sealed").clone()
    }

    fn say(&self, body: &[u8]) -> Vec<u8> {
        let mut message = [&[0; SEALED_HEADER_LEN][..], body, &[0; SEALED_TAG_LEN]].concat();
        let size = message.len();
        let said = self.keys().seal(&mut message, size);
        assert_eq!(said, Ok(None));
        message
    }

    /// What opens a message, and who has sealed it.
    fn open(&self, message: &[u8]) -> Option<(SealedHeader, Vec<u8>)> {
        let header = SealedHeader::parse(message).expect("a header");
        let keys = self.keys();
        let key = keys.uses.iter().find(|key| key.tag == header.tag)?;
        let mut copy = message.to_vec();
        let body = key
            .aead_of(header.sender)
            .open(key.mode(), &header, &mut copy)?;
        Some((header, body.to_vec()))
    }

    /// What a receiver does with a message of another host: whether it takes it.
    fn takes(&self, message: &[u8], now: Instant) -> bool {
        let Some((header, _)) = self.open(message) else {
            return false;
        };
        let known = self.keys().believed.find(header.sender);
        known.is_some_and(|known| known.take(header.counter, now) == Taken::New)
    }

    /// The answer to a challenge by another host.
    fn answer_to(&self, other: &Self, now: Instant) -> Vec<u8> {
        let (ours, theirs) = (self.keys(), other.keys());
        let cookie = theirs
            .believed
            .challenge(id(), ours.own.number, now, RATE)
            .expect("no limit");
        let answer = Hello {
            step: HelloStep::Answer,
            to: theirs.own.number,
            cookie,
        };
        self.say(&answer.emit())
    }

    /// Hears an answer.
    fn hears(&self, message: &[u8], now: Instant) -> Admission {
        let (header, body) = self.open(message).expect("opened");
        let Ok(Opened::Hello(hello)) = Opened::parse(&body) else {
            panic!("no answer");
        };
        let keys = self.keys();
        let sealed = (header.sender, header.counter);
        let most = self.settings.get(Setting::MaxSenders) as usize;
        let believed = &keys.believed;
        believed.answered(&keys, id(), sealed, &hello.cookie, now, most)
    }
}

const CONF: u32 = 2;
const CHACHA: u32 = 0;
const AES: u32 = 1;
const FRAME_BODY: &[u8] = b"\x40\0a frame";

#[test]
fn who_answers_is_believed_from_then_on() {
    for cipher in [CHACHA, AES] {
        let a = Host::new(settings(CONF, cipher, 10), &[1]);
        let b = Host::new(settings(CONF, CHACHA, 10), &[1]);
        let recorded = a.say(FRAME_BODY);
        assert!(!b.takes(&recorded, at(0)), "nobody is believed yet");
        let answer = a.answer_to(&b, at(0));
        assert_eq!(b.hears(&answer, at(1)), Admission::Admitted(0));
        assert_eq!(b.hears(&answer, at(1)), Admission::Known);
        assert!(!b.takes(&recorded, at(2)), "it is older than the answer");
        assert!(!b.takes(&answer, at(2)), "and that itself was there");
        let new = a.say(FRAME_BODY);
        assert!(b.takes(&new, at(2)));
        assert!(!b.takes(&new, at(3)), "once");
        assert_eq!(b.open(&new).expect("opened").1, FRAME_BODY);
        let late = a.answer_to(&b, at(3));
        let c = Host::new(settings(CONF, cipher, 10), &[1]);
        assert_eq!(c.hears(&late, at(3)), Admission::Refused, "meant for b");
    }
}

#[test]
fn an_answer_is_good_for_a_short_time_and_one_sender() {
    let a = Host::new(settings(CONF, CHACHA, 10), &[1]);
    let b = Host::new(settings(CONF, CHACHA, 10), &[1]);
    let answer = a.answer_to(&b, at(0));
    assert_eq!(b.hears(&answer, at(10_000)), Admission::Refused);
    // Another one has heard the cookie, and seals it.
    let c = Host::new(settings(CONF, CHACHA, 10), &[1]);
    let (_, body) = b.open(&answer).expect("opened");
    assert_eq!(b.hears(&c.say(&body), at(1)), Admission::Refused);
    assert_eq!(b.seal.senders(), 0);
}

#[test]
fn the_one_heard_least_recently_goes_and_nothing_of_it_comes_back() {
    let b = Host::new(settings(CONF, CHACHA, 2), &[1]);
    let all: Vec<_> = (0..3)
        .map(|_| Host::new(settings(CONF, CHACHA, 2), &[1]))
        .collect();
    let answers: Vec<_> = (0..3)
        .zip(&all)
        .map(|(time, host)| {
            let answer = host.answer_to(&b, at(time));
            if time < 2 {
                assert_eq!(b.hears(&answer, at(time)), Admission::Admitted(0));
            }
            answer
        })
        .collect();
    let heard = all[0].say(FRAME_BODY);
    assert!(b.takes(&heard, at(5)));
    let gone = b.keys().believed.find(all[1].keys().own.number);
    assert_eq!(b.hears(&answers[2], at(6)), Admission::Admitted(1));
    assert_eq!(
        gone.expect("it was there").take(99, at(6)),
        Taken::Forgotten
    );
    assert_eq!(b.seal.senders(), 2);
    assert!(
        b.takes(&all[0].say(FRAME_BODY), at(6)),
        "it was heard of late"
    );
    assert_eq!(
        b.hears(&answers[1], at(7)),
        Admission::Refused,
        "it would count for nothing"
    );
    let mut b = b;
    b.settings = settings(CONF, CHACHA, 1);
    assert_eq!(b.seal.renew(id(), &b.settings).expect("done"), 1);
    assert_eq!(b.seal.senders(), 1);
    b.settings = settings(0, CHACHA, 1);
    b.renew();
    assert!(b.seal.keys().is_none());
    assert_eq!(
        (b.seal.senders(), b.seal.list(at(0)).len()),
        (0, 1),
        "keys stay"
    );
}

#[test]
fn rotation_loses_nothing() {
    let mut a = Host::new(settings(CONF, CHACHA, 10), &[1]);
    let mut b = Host::new(settings(CONF, CHACHA, 10), &[1]);
    assert_eq!(
        b.hears(&a.answer_to(&b, at(0)), at(0)),
        Admission::Admitted(0)
    );
    let said = |a: &Host, b: &Host| b.takes(&a.say(FRAME_BODY), at(1));
    assert!(said(&a, &b));
    b.give(2);
    a.give(2);
    let under_way = a.say(FRAME_BODY);
    assert!(said(&a, &b), "with the old key, the new one being there");
    assert_eq!(a.seal.rotate(Some(2)).expect("rotated"), Some(2));
    a.renew();
    assert!(said(&a, &b), "b has not rotated yet");
    assert_eq!(b.seal.rotate(None).expect("rotated"), Some(2));
    b.renew();
    assert!(said(&a, &b) && b.takes(&under_way, at(2)));
    let slots: Vec<_> = a
        .seal
        .list(at(9))
        .iter()
        .map(|key| (key.slot, key.index))
        .collect();
    assert_eq!(slots, [(Slot::Current, 2), (Slot::Previous, 1)]);
    let listed = a.seal.list(at(9));
    assert_eq!((listed[0].counter, listed[1].counter), (Some(6), None));
    a.seal.take_away(1).expect("there");
    b.seal.take_away(1).expect("there");
    b.renew();
    assert!(b.open(&under_way).is_none(), "the key is gone");
    assert!(a.seal.take_away(1).is_err());
}

#[test]
fn the_same_again_is_nothing_new_and_another_is_refused() {
    let mut seal = Seal::default();
    let mut give = |index, slot, number| {
        let given = seal.give(index, slot, key(number), at(0));
        given.map_err(|refusal| refusal.text.unwrap_or_default())
    };
    assert_eq!(give(1, None, 1), Ok(true));
    assert_eq!(give(1, None, 1), Ok(false));
    assert_eq!(give(1, Some(Slot::Current), 1), Ok(false));
    let refused = |text: &str| Err(text.to_owned());
    assert_eq!(
        give(1, Some(Slot::Next), 1),
        refused("the key is in another slot")
    );
    assert_eq!(
        give(1, None, 2),
        refused("there is another key with this index")
    );
    assert_eq!(
        give(2, None, 1),
        refused("this key is there under another index")
    );
    assert_eq!(give(1, Some(Slot::Current), 2), Ok(true), "that is meant");
    assert_eq!(give(2, None, 3), Ok(true));
    assert_eq!(give(3, Some(Slot::Previous), 4), Ok(true));
    assert!(seal.rotate(Some(3)).is_err());
    assert_eq!(seal.rotate(Some(1)).expect("it is"), None);
    assert_eq!(seal.rotate(Some(2)).expect("it is next"), Some(2));
    assert!(seal.rotate(None).is_err(), "there is no other");
}

#[test]
fn another_mode_or_vnet_opens_nothing() {
    let a = Host::new(settings(CONF, CHACHA, 10), &[1]);
    let auth = Host::new(settings(1, CHACHA, 10), &[1]);
    assert!(auth.open(&a.say(FRAME_BODY)).is_none());
    assert!(a.open(&auth.say(FRAME_BODY)).is_none());
}

#[test]
fn a_counter_ends_and_a_new_sender_begins() {
    let mut host = Host::new(settings(CONF, CHACHA, 10), &[1]);
    let keys = host.keys();
    let send = |keys: &Keys, count: usize| keys.seal(&mut vec![0; count * 100], 100);
    keys.own.counter.store(COUNTER_WARN - 2, Relaxed);
    assert_eq!(send(&keys, 1), Ok(None));
    let expiring = Expiring {
        index: 1,
        counter: COUNTER_WARN + 1,
    };
    assert_eq!(send(&keys, 2), Ok(Some(expiring)), "once");
    assert_eq!(send(&keys, 1), Ok(None));
    keys.own.counter.store(COUNTER_LAST - 3, Relaxed);
    assert_eq!(send(&keys, 3), Ok(None), "the last ones");
    for count in [1, 2, 60] {
        assert_eq!(send(&keys, count), Err(NetCounter::TxNoKey));
    }
    assert_eq!(host.seal.list(at(0))[0].counter, Some(COUNTER_LAST));
    host.give(2);
    host.seal.rotate(None).expect("rotated");
    host.renew();
    let new = host.keys();
    assert_ne!(new.own.number, keys.own.number);
    assert_eq!(send(&new, 1), Ok(None));
    assert_eq!(host.seal.list(at(0))[0].counter, Some(1));
}

#[test]
fn segments_are_messages_of_their_own() {
    let a = Host::new(settings(CONF, CHACHA, 10), &[1]);
    let mut all = Vec::new();
    for piece in [&b"one"[..], b"two", b"3"] {
        all.extend(prefix());
        all.extend(piece);
        all.extend([0; SEALED_TAG_LEN]);
    }
    let size = AROUND + 3;
    assert_eq!(a.keys().seal(&mut all, size), Ok(None));
    let opened: Vec<_> = all
        .chunks(size)
        .map(|message| a.open(message).expect("opened"))
        .collect();
    let counters: Vec<_> = opened.iter().map(|(header, _)| header.counter).collect();
    assert_eq!(counters, [1, 2, 3]);
    assert_eq!(opened[2].1, b"\x40\x003");
    assert_eq!(a.keys().reopen(&all[..size]).expect("ours"), b"one");
    assert_eq!(a.keys().reopen(&all[..size - 1]), None);
    assert!(a.keys().is_own(&all) && !Host::new(a.settings, &[1]).keys().is_own(&all));
}

#[test]
fn without_a_key_nothing_is_sent() {
    let mut host = Host::new(settings(CONF, CHACHA, 10), &[]);
    host.renew();
    assert_eq!(
        host.keys().seal(&mut [0; 100], 100),
        Err(NetCounter::TxNoKey)
    );
    assert!(!host.seal.is_ready() && !host.keys().is_ready());
    let aes = Seal::check(&settings(CONF, AES, 1));
    assert_eq!(aes.is_ok(), cipher::can_seal(Cipher::Aes256Gcm));
    assert!(Seal::check(&settings(0, AES, 1)).is_ok());
}
