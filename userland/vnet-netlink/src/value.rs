// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! What an attribute can hold, and records of attributes: each field is named once, and read, written and serialized
//! by what is here.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::{Serialize, Serializer};
use vnet_core::abi::{host, key, varp};
use vnet_core::{Mac, VnetId};

use crate::Error;
use crate::attributes::{Attribute, Writer};

/// A value of an attribute.
pub(crate) trait Value: Sized + fmt::Display {
    /// Reads it.
    fn read(attribute: Attribute<'_>) -> Result<Self, Error>;

    /// Its bytes.
    fn bytes(&self) -> Vec<u8>;

    /// As JSON.
    fn json<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error>;
}

/// Serializes a field.
pub(crate) fn json<T: Value, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
    value.json(serializer)
}

/// Serializes a field that may be missing: null then, unless it is skipped.
#[expect(clippy::ref_option, reason = "serde passes the field")]
pub(crate) fn json_some<T: Value, S: Serializer>(
    value: &Option<T>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match value {
        Some(value) => value.json(serializer),
        None => serializer.serialize_none(),
    }
}

/// Adds an attribute.
pub(crate) fn put(writer: &mut Writer, kind: u16, value: &impl Value) -> Result<(), Error> {
    writer.put(kind, &value.bytes()).map(drop)
}

/// What an answer must have.
pub(crate) fn required<T>(value: Option<T>) -> Result<T, Error> {
    value.ok_or(Error::Malformed("an answer lacks an attribute"))
}

macro_rules! number {
    ($($type:ident)*) => {
        $(impl Value for $type {
            fn read(attribute: Attribute<'_>) -> Result<Self, Error> {
                attribute.$type()
            }

            fn bytes(&self) -> Vec<u8> {
                self.to_ne_bytes().to_vec()
            }

            fn json<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                self.serialize(serializer)
            }
        })*
    };
}

number! { u8 u16 u32 i32 u64 }

macro_rules! array {
    ($($type:ident)*) => {
        $(impl Value for $type {
            fn read(attribute: Attribute<'_>) -> Result<Self, Error> {
                attribute.bytes().map(Self::from_bytes)
            }

            fn bytes(&self) -> Vec<u8> {
                self.as_bytes().to_vec()
            }

            fn json<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        })*
    };
}

array! { Mac VnetId }

impl Value for IpAddr {
    fn read(attribute: Attribute<'_>) -> Result<Self, Error> {
        match attribute.value.len() {
            4 => Ok(Ipv4Addr::from(attribute.bytes::<4>()?).into()),
            16 => Ok(Ipv6Addr::from(attribute.bytes::<16>()?).into()),
            _ => Err(Error::Malformed("an address has the wrong length")),
        }
    }

    fn bytes(&self) -> Vec<u8> {
        match self {
            Self::V4(address) => address.octets().to_vec(),
            Self::V6(address) => address.octets().to_vec(),
        }
    }

    fn json<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Declares an enum of the numbers that have a name. Another number, of a newer kernel, is kept as it is.
macro_rules! names {
    ($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $number:expr, $text:literal;)* }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name {
            $($(#[$doc])* $variant,)*
            /// A number that is not known here.
            Other(u32),
        }

        impl $name {
            /// The names, as in vnet.yaml.
            pub const NAMES: &'static [&'static str] = &[$($text,)*];
        }

        impl Value for $name {
            fn read(attribute: Attribute<'_>) -> Result<Self, Error> {
                let number = attribute.u32()?;
                Ok(match number {
                    $(_ if number == $number => Self::$variant,)*
                    _ => Self::Other(number),
                })
            }

            fn bytes(&self) -> Vec<u8> {
                let number: u32 = match self {
                    $(Self::$variant => $number,)*
                    Self::Other(number) => *number,
                };
                number.bytes()
            }

            fn json<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                match self {
                    Self::Other(number) => serializer.serialize_u32(*number),
                    name => serializer.collect_str(name),
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self {
                    $(Self::$variant => f.write_str($text),)*
                    Self::Other(number) => write!(f, "{number}"),
                }
            }
        }
    };
}

names! {
    /// How an entry of the VARP table came about.
    VarpState {
        /// From a frame or an announcement.
        Learned = varp::STATE_LEARNED, "learned";
        /// By command.
        Static = varp::STATE_STATIC, "static";
        /// Hosts are being asked where the MAC is.
        Probing = varp::STATE_PROBING, "probing";
        /// Nobody answered, which is remembered for a while.
        Absent = varp::STATE_ABSENT, "absent";
    }
}

names! {
    /// Where a key of a vnet is.
    KeySlot {
        /// With it is sealed, and opened.
        Current = key::SLOT_CURRENT, "current";
        /// Opened with; the next rotation makes it the current one.
        Next = key::SLOT_NEXT, "next";
        /// Opened with, as others may not have rotated yet.
        Previous = key::SLOT_PREVIOUS, "previous";
    }
}

names! {
    /// Where floods go.
    Flood {
        /// To the group, and to each peer as a forwarded packet.
        Group = host::FLOOD_GROUP, "group";
        /// As data straight to each peer, and not to the group.
        Peers = host::FLOOD_PEERS, "peers";
    }
}

/// Declares a record: a set of attributes, some of which it must have. Those that are not known here are skipped.
macro_rules! record {
    (
        $(#[$meta:meta])*
        $name:ident, $set:ident,
        required { $($(#[$rdoc:meta])* $rfield:ident: $rtype:ty = $rattr:ident,)* }
        optional { $($(#[$odoc:meta])* $ofield:ident: $otype:ty = $oattr:ident,)* }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
        #[serde(rename_all = "kebab-case")]
        pub struct $name {
            $($(#[$rdoc])* #[serde(serialize_with = "crate::value::json")] pub $rfield: $rtype,)*
            $(
                $(#[$odoc])*
                #[serde(serialize_with = "crate::value::json_some", skip_serializing_if = "Option::is_none")]
                pub $ofield: Option<$otype>,
            )*
        }

        impl $name {
            /// With what it must have, and nothing else.
            pub fn new($($rfield: $rtype,)*) -> Self {
                Self { $($rfield,)* $($ofield: None,)* }
            }

            /// Reads the attributes of a message.
            pub fn parse(bytes: &[u8]) -> Result<Self, $crate::Error> {
                $(let mut $rfield = None;)*
                $(let mut $ofield = None;)*
                for attribute in $crate::attributes::Reader::new(bytes) {
                    let attribute = attribute?;
                    match attribute.kind {
                        $(vnet_core::abi::$set::$rattr => {
                            $rfield = Some(crate::value::Value::read(attribute)?);
                        })*
                        $(vnet_core::abi::$set::$oattr => {
                            $ofield = Some(crate::value::Value::read(attribute)?);
                        })*
                        _ => {}
                    }
                }
                Ok(Self { $($rfield: crate::value::required($rfield)?,)* $($ofield,)* })
            }

            /// Names, as in vnet.yaml, and values of what there is, as they are shown.
            pub fn fields(&self) -> Vec<(String, String)> {
                let name = |field: &str| field.replace('_', "-");
                let present = [
                    $(Some((name(stringify!($rfield)), self.$rfield.to_string())),)*
                    $(self.$ofield.as_ref().map(|value| (name(stringify!($ofield)), value.to_string())),)*
                ];
                present.into_iter().flatten().collect()
            }

            /// Writes what there is.
            pub fn write(&self, writer: &mut $crate::attributes::Writer) -> Result<(), $crate::Error> {
                $(crate::value::put(writer, vnet_core::abi::$set::$rattr, &self.$rfield)?;)*
                $(if let Some(value) = &self.$ofield {
                    crate::value::put(writer, vnet_core::abi::$set::$oattr, value)?;
                })*
                Ok(())
            }
        }
    };
}
pub(crate) use record;
