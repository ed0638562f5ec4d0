// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! Ids and Ethernet addresses.

use vnet_core::{IdError, Mac, VnetId};

fn id(text: &str) -> VnetId {
    text.parse()
        .unwrap_or_else(|error| panic!("{text}: {error}"))
}

#[test]
fn all_forms_of_five_are_the_same_vnet() {
    let mut bytes = [0; 16];
    bytes[15] = 5;
    for text in [
        "5",
        "05",
        "0005",
        "0:5",
        "0000:0000:0000:0000:0000:0000:0000:0005",
    ] {
        assert_eq!(id(text), VnetId::from_bytes(bytes), "{text}");
        assert_eq!(id(text).to_string(), "0005");
    }
}

#[test]
fn missing_fields_are_the_leading_ones() {
    assert_eq!(
        id("1:2").to_string(),
        "0000:0000:0000:0000:0000:0000:0001:0002"
    );
    assert_eq!(
        id("a:b:c:d:e:f:0:FfFf").to_string(),
        "000a:000b:000c:000d:000e:000f:0000:ffff"
    );
}

#[test]
fn digits_are_hexadecimal_and_either_case() {
    assert_eq!(id("97").last_field(), 0x97);
    assert_eq!(id("AbC"), id("0abc"));
}

#[test]
fn refused_with_the_reason() {
    for (text, error) in [
        ("", IdError::Empty),
        ("0", IdError::Zero),
        ("0000:0", IdError::Zero),
        ("1", IdError::Reserved),
        ("0:0001", IdError::Reserved),
        ("12345", IdError::LongField),
        ("00005", IdError::LongField),
        ("1:22222:3", IdError::LongField),
        ("g", IdError::BadDigit('g')),
        ("+5", IdError::BadDigit('+')),
        (" 5", IdError::BadDigit(' ')),
        ("0x5", IdError::BadDigit('x')),
        ("é", IdError::BadDigit('é')),
        (":5", IdError::EmptyField),
        ("5:", IdError::EmptyField),
        ("1::5", IdError::EmptyField),
        ("1:2:3:4:5:6:7:8:9", IdError::TooManyFields),
    ] {
        assert_eq!(text.parse::<VnetId>(), Err(error), "{text:?}");
        assert!(!error.to_string().is_empty());
    }
}

#[test]
fn one_is_reserved_only_as_a_whole() {
    assert!(VnetId::PHYSICAL.is_reserved());
    assert!(!id("1:1").is_reserved());
    assert!(!id("1:0").is_zero());
}

#[test]
fn default_names() {
    assert_eq!(id("5").default_ifname().as_str(), "vnif0005");
    assert_eq!(id("1:aBcD").default_bridge().as_str(), "vnbrabcd");
    assert_eq!(
        id("9f0a").default_ifname().as_padded(),
        b"vnif9f0a\0\0\0\0\0\0\0\0"
    );
}

#[test]
fn macs() {
    let mac: Mac = "02:00:00:05:00:aB".parse().expect("a MAC");
    assert_eq!(mac.to_string(), "02:00:00:05:00:ab");
    assert_eq!("02-00-00-05-00-ab".parse(), Ok(mac));
    assert!(mac.is_valid_source());
    for text in [
        "",
        "02:00:00:05:00",
        "02:00:00:05:00:01:02",
        "2:0:0:5:0:1",
        "02:00:00:05:00:0g",
        "02:00:00-05:00:01",
        "020000050001",
        "02:00:00:05:00:001",
    ] {
        assert!(text.parse::<Mac>().is_err(), "{text:?}");
    }
    for text in [
        "ff:ff:ff:ff:ff:ff",
        "01:00:5e:00:00:01",
        "00:00:00:00:00:00",
    ] {
        assert!(!text.parse::<Mac>().expect("a MAC").is_valid_source());
    }
}
