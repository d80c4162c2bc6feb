//! One flat JSON object: its members' names and plain values, borrowed where they can be.
//!
//! What is nested is skipped, without recursion, and remembered only as that: no message of the
//! protocol nests anything, and a newer client may send what is not known here. Bounded by
//! [`MEMBERS_MAX`] and by the caller, who bounds the text.

use std::{borrow::Cow, fmt};

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::Wrong;
use crate::code;

/// Most members of an object; the message with most has fifteen.
pub(crate) const MEMBERS_MAX: usize = 64;
/// Of a text that is named in an error, so many characters are shown.
const SHOWN_CHARACTERS: usize = 32;
/// Longest error text taken over from the parser, characters.
const SYNTAX_CHARACTERS: usize = 120;

/// A member's value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Scalar<'a> {
    Null,
    Flag(bool),
    Number(u64),
    /// Negative, too large, or with a fraction or an exponent.
    NotWhole,
    Text(Cow<'a, str>),
    Nested,
}

/// An object that was read.
#[derive(Clone, Debug)]
pub(crate) struct Object<'a> {
    members: Vec<(Cow<'a, str>, Scalar<'a>)>,
    /// Stands before the member's name in errors.
    pub(crate) what: &'static str,
}

impl<'a> Object<'a> {
    /// Reads `text`, which must be one object and nothing else.
    pub(crate) fn read(text: &'a str) -> Result<Self, Wrong> {
        let malformed = |text: String| Wrong { code: code::MALFORMED, text };
        let mut deserializer = serde_json::Deserializer::from_str(text);
        let object = Object::deserialize(&mut deserializer)
            .and_then(|object| deserializer.end().map(|()| object))
            .map_err(|error| malformed(cut(&error.to_string(), SYNTAX_CHARACTERS)))?;
        for (at, (name, _)) in object.members.iter().enumerate() {
            if object.members[..at].iter().any(|(earlier, _)| earlier == name) {
                let shown = cut(name, SHOWN_CHARACTERS);
                return Err(malformed(format!("member {shown:?} comes twice")));
            }
        }
        Ok(object)
    }

    fn member(&self, name: &str) -> Option<&Scalar<'a>> {
        let found = self.members.iter().find(|(member, _)| member == name);
        found.map(|(_, value)| value).filter(|value| **value != Scalar::Null)
    }

    /// A text, if the member is there.
    pub(crate) fn text(&self, name: &str) -> Result<Option<&str>, Wrong> {
        match self.member(name) {
            None => Ok(None),
            Some(Scalar::Text(text)) => Ok(Some(text)),
            Some(other) => Err(self.wrong(name, other, "a text")),
        }
    }

    /// The text of a member that must be there.
    pub(crate) fn required_text(&self, name: &str) -> Result<&str, Wrong> {
        self.text(name)?.ok_or_else(|| self.missing(name, "a text"))
    }

    /// A number within these bounds, if the member is there: a JSON number or a text of digits.
    pub(crate) fn number(&self, name: &str, min: u64, max: u64) -> Result<Option<u64>, Wrong> {
        let number = match self.member(name) {
            None => return Ok(None),
            Some(Scalar::Number(number)) => Some(*number),
            Some(Scalar::Text(digits)) => digits_of(digits),
            Some(_) => None,
        };
        match number {
            Some(number) if (min..=max).contains(&number) => Ok(Some(number)),
            Some(number) => {
                let text = format!("{}{name}: {number}, allowed {min} to {max}", self.what);
                Err(Wrong { code: code::BAD_REQUEST, text })
            }
            None => {
                let value = self.member(name).unwrap_or(&Scalar::Null);
                Err(self.wrong(name, value, &format!("a whole number, {min} to {max}")))
            }
        }
    }

    /// The number of a member that must be there.
    pub(crate) fn required_number(&self, name: &str, min: u64, max: u64) -> Result<u64, Wrong> {
        let missing = || self.missing(name, &format!("a whole number, {min} to {max}"));
        self.number(name, min, max)?.ok_or_else(missing)
    }

    /// True or false, if the member is there.
    pub(crate) fn flag(&self, name: &str) -> Result<Option<bool>, Wrong> {
        match self.member(name) {
            None => Ok(None),
            Some(Scalar::Flag(flag)) => Ok(Some(*flag)),
            Some(other) => Err(self.wrong(name, other, "true or false")),
        }
    }

    /// One of these words as its place among them, or a number up to `max`.
    pub(crate) fn choice(
        &self,
        name: &str,
        words: &[&str],
        max: u64,
    ) -> Result<Option<u64>, Wrong> {
        if let Some(Scalar::Text(text)) = self.member(name)
            && let Some(at) = words.iter().position(|word| word == text)
        {
            return Ok(Some(at as u64));
        }
        let value = self.member(name);
        match value {
            None => Ok(None),
            Some(Scalar::Number(number)) if *number <= max => Ok(Some(*number)),
            Some(value) => {
                let words: Vec<_> = words.iter().filter(|word| !word.is_empty()).collect();
                Err(self.wrong(name, value, &format!("a number up to {max} or one of {words:?}")))
            }
        }
    }

    /// The error of a member that has a wrong value.
    pub(crate) fn wrong(&self, name: &str, found: &Scalar<'_>, wanted: &str) -> Wrong {
        let found = match found {
            Scalar::Null => "null".into(),
            Scalar::Flag(flag) => flag.to_string(),
            Scalar::Number(number) => number.to_string(),
            Scalar::NotWhole => "a number that is negative, too large or not whole".into(),
            Scalar::Text(text) => format!("{:?}", cut(text, SHOWN_CHARACTERS)),
            Scalar::Nested => "an object or array".into(),
        };
        let text = format!("{}{name}: {found}, must be {wanted}", self.what);
        Wrong { code: code::BAD_REQUEST, text }
    }

    fn missing(&self, name: &str, wanted: &str) -> Wrong {
        let text = format!("{}{name}: missing, must be {wanted}", self.what);
        Wrong { code: code::BAD_REQUEST, text }
    }
}

/// A number of decimal digits alone.
pub(crate) fn digits_of(digits: &str) -> Option<u64> {
    // `parse` would take a plus sign.
    if digits.bytes().all(|byte| byte.is_ascii_digit()) { digits.parse().ok() } else { None }
}

/// At most so many characters of `text`.
pub(crate) fn cut(text: &str, characters: usize) -> String {
    text.chars().take(characters).collect()
}

impl<'de: 'a, 'a> Deserialize<'de> for Object<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ObjectVisitor)
    }
}

struct ObjectVisitor;

impl<'de> Visitor<'de> for ObjectVisitor {
    type Value = Object<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("one JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = Vec::with_capacity(16);
        while let Some((name, value)) = map.next_entry::<Scalar<'de>, Scalar<'de>>()? {
            if members.len() == MEMBERS_MAX {
                return Err(serde::de::Error::custom("more than 64 members"));
            }
            if let Scalar::Text(name) = name {
                members.push((name, value));
            }
        }
        Ok(Object { members, what: "" })
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Scalar<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ScalarVisitor)
    }
}

struct ScalarVisitor;

impl<'de> Visitor<'de> for ScalarVisitor {
    type Value = Scalar<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Scalar::Null)
    }

    fn visit_bool<E>(self, flag: bool) -> Result<Self::Value, E> {
        Ok(Scalar::Flag(flag))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Self::Value, E> {
        Ok(Scalar::Number(number))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Self::Value, E> {
        Ok(u64::try_from(number).map_or(Scalar::NotWhole, Scalar::Number))
    }

    fn visit_f64<E>(self, _number: f64) -> Result<Self::Value, E> {
        Ok(Scalar::NotWhole)
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Scalar::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Scalar::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<Self::Value, A::Error> {
        while array.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Scalar::Nested)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Scalar::Nested)
    }
}
