//! How single things stand in a document: ids by their names in every dump,
//! ranges as `0..64`, floats as the shortest text that reads back exactly.

use std::fmt::{Debug, Display};
use std::ops::Range;
use std::str::FromStr;

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::entity::Entity;
use crate::graph::{Extent, LoopRef};
use crate::schedule::Plane;

/// A float, in quotes: JSON readers do not agree on how a number is rounded,
/// and the last bit counts here.
#[derive(Debug, Clone, Copy)]
pub(super) struct Exact<T>(pub T);

impl<T: Debug> Serialize for Exact<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{:?}", self.0))
    }
}

impl<'de, T: FromStr> Deserialize<'de> for Exact<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        parsed(deserializer, "a number in quotes", |text| text.parse().ok().map(Self))
    }
}

/// An id by its name: `layer3`, `wt12`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Id<T>(pub T);

impl<T: Display> Serialize for Id<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de, T: Entity> Deserialize<'de> for Id<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let first = T::from_index(0).to_string();
        let prefix = first.trim_end_matches('0');
        parsed(deserializer, &format!("an id like `{first}`"), |text| {
            let number: u32 = digits(text.strip_prefix(prefix)?)?;
            Some(Self(T::from_index(number as usize)))
        })
    }
}

/// A range of lines, positions or conversions: `0..64`.
#[derive(Debug, Clone)]
pub(super) struct Span(pub Range<u32>);

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{}..{}", self.0.start, self.0.end))
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        parsed(deserializer, "a range like `0..64`", |text| {
            let (start, end) = text.split_once("..")?;
            Some(Self(digits(start)?..digits(end)?))
        })
    }
}

/// A bit-plane as the plan's text form has it: `+0`, `-7`.
#[derive(Debug, Clone, Copy)]
pub(super) struct PlaneText(pub Plane);

impl Serialize for PlaneText {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let sign = if self.0.negative { '-' } else { '+' };
        serializer.collect_str(&format_args!("{sign}{}", self.0.bit))
    }
}

impl<'de> Deserialize<'de> for PlaneText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        parsed(deserializer, "a plane like `+0`", |text| {
            let negative = text.starts_with('-');
            let bit = digits(text.strip_prefix(['+', '-'])?)?;
            Some(Self(Plane { bit, negative }))
        })
    }
}

/// The extent of a position loop: `28` for every batch, `4N` for each input
/// four.
#[derive(Debug, Clone)]
pub(super) struct ExtentText(pub Extent);

impl Serialize for ExtentText {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for ExtentText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        parsed(deserializer, "an extent like `28` or `4N`", |text| {
            Some(Self(match text.strip_suffix('N') {
                Some("") => Extent::PerInput(1),
                Some(n) => Extent::PerInput(digits(n)?),
                None => Extent::Fixed(digits(text)?),
            }))
        })
    }
}

/// A loop of a nest: `row2`.
#[derive(Debug, Clone, Copy)]
pub(super) struct LoopText(pub LoopRef);

impl Serialize for LoopText {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (kind, index) = match self.0 {
            LoopRef::Position(index) => ("position", index),
            LoopRef::Group(index) => ("group", index),
            LoopRef::Row(index) => ("row", index),
            LoopRef::Column(index) => ("column", index),
        };
        serializer.collect_str(&format_args!("{kind}{index}"))
    }
}

impl<'de> Deserialize<'de> for LoopText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        parsed(deserializer, "a loop like `row0`", |text| {
            let (kind, index) = text.split_at(text.find(|c: char| c.is_ascii_digit())?);
            let index = digits(index)?;
            Some(Self(match kind {
                "position" => LoopRef::Position(index),
                "group" => LoopRef::Group(index),
                "row" => LoopRef::Row(index),
                "column" => LoopRef::Column(index),
                _ => return None,
            }))
        })
    }
}

/// Digits and nothing else; `parse` alone would take a sign too.
fn digits<T: FromStr>(text: &str) -> Option<T> {
    text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok())?
}

fn parsed<'de, D: Deserializer<'de>, T>(
    deserializer: D,
    wanted: &str,
    parse: impl Fn(&str) -> Option<T>,
) -> Result<T, D::Error> {
    let text = String::deserialize(deserializer)?;
    let shown: String = text.chars().take(40).collect();
    parse(&text).ok_or_else(|| D::Error::custom(format!("`{shown}` is not {wanted}")))
}
