//! Numbers of bytes in the format of Kubernetes.

use std::fmt;

use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::check::{Check, Report};

/// A number of bytes, with an optional suffix: `32768`, `32Ki`, `1M`. Serialized as it was read.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum Quantity {
    /// A plain number.
    Number(i64),
    /// A number with a suffix.
    Text(String),
}

impl Quantity {
    /// Parses the number of bytes. `None` if it is not an integer between 0 and 2^64 - 1.
    pub fn bytes(&self) -> Option<u64> {
        let text = match self {
            Self::Number(number) => return u64::try_from(*number).ok(),
            Self::Text(text) => text,
        };
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, suffix) = text.split_at(digits);
        number.parse::<u64>().ok()?.checked_mul(factor(suffix)?)
    }
}

/// The factor of a suffix: a power of 1000, or of 1024 with an `i`.
fn factor(suffix: &str) -> Option<u64> {
    let (letter, base) = match suffix.strip_suffix('i') {
        Some(letter) => (letter, 1024_u64),
        None => (suffix, 1000),
    };
    let power = match (letter, base) {
        ("", 1000) => 0,
        ("k", 1000) | ("K", 1024) => 1,
        ("M", _) => 2,
        ("G", _) => 3,
        ("T", _) => 4,
        ("P", _) => 5,
        ("E", _) => 6,
        _ => return None,
    };
    Some(base.pow(power))
}

/// The pattern of quantities in the schemas of the CRDs.
pub(crate) const QUANTITY: &str = "^[1-9]+[0-9]*([EPTGMK]i|[EPTGMk])?$";

impl Check for Quantity {
    fn check(&self, report: &mut Report) {
        let starts_with_zero = matches!(self, Self::Text(text) if text.starts_with('0'));
        if self.bytes().is_none() || starts_with_zero {
            report.violation(format!("should match '{QUANTITY}'"));
        }
    }
}

impl Serialize for Quantity {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Number(number) => serializer.serialize_i64(*number),
            Self::Text(text) => serializer.serialize_str(text),
        }
    }
}

impl<'de> Deserialize<'de> for Quantity {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(QuantityVisitor)
    }
}

struct QuantityVisitor;

impl Visitor<'_> for QuantityVisitor {
    type Value = Quantity;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number or a quantity such as 32Ki")
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Quantity, E> {
        Ok(Quantity::Number(number))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Quantity, E> {
        i64::try_from(number)
            .map(Quantity::Number)
            .map_err(|_| E::custom("the number is too large"))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Quantity, E> {
        Ok(Quantity::Text(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suffixes_are_powers_of_1000_or_of_1024_with_an_i() {
        let bytes = |text: &str| Quantity::Text(text.to_owned()).bytes();

        assert_eq!(bytes("60Ki"), Some(61440));
        assert_eq!(bytes("1k"), Some(1000));
        assert_eq!(bytes("2Gi"), Some(2 << 30));
        assert_eq!(bytes("7"), Some(7));
        assert_eq!(bytes("15E"), Some(15_000_000_000_000_000_000));
    }

    /// The suffixes of Kubernetes' `resource.Quantity`. The schemas of the policies exclude fractions,
    /// exponents, signs and the suffixes below 1.
    #[test]
    fn quantities_are_those_of_the_schema() {
        let checked = |text: &str| {
            let pattern = regex::Regex::new(QUANTITY).unwrap();
            let quantity = Quantity::Text(text.to_owned());
            let bytes = quantity.bytes();
            let valid = Report::of(&quantity).violations.is_empty();
            (pattern.is_match(text), valid, bytes)
        };
        for (text, expected) in [
            ("1", 1),
            ("1k", 1_000),
            ("1Ki", 1 << 10),
            ("12M", 12_000_000),
            ("12Mi", 12 << 20),
            ("1G", 1_000_000_000),
            ("1Gi", 1 << 30),
            ("1T", 1_000_000_000_000),
            ("1Ti", 1 << 40),
            ("1P", 1_000_000_000_000_000),
            ("1Pi", 1 << 50),
            ("1E", 1_000_000_000_000_000_000),
            ("1Ei", 1 << 60),
        ] {
            assert_eq!(checked(text), (true, true, Some(expected)), "{text}");
        }
        for text in [
            "", "0", "01", "1.5Gi", "1e3", "1E3", "100m", "1n", "1u", "-1", "+1", "1K", "1ki",
            "1 Ki", "1Kib", "Ki",
        ] {
            let (matches, valid, _) = checked(text);
            assert_eq!((matches, valid), (false, false), "{text:?}");
        }
    }

    #[test]
    fn texts_that_are_not_integers_with_a_known_suffix_are_rejected() {
        let bytes = |text: &str| Quantity::Text(text.to_owned()).bytes();

        for text in ["", "K", "1K", "1ki", "1.5Mi", "-1", "16Ei", "1 Ki", "1Kib"] {
            assert_eq!(bytes(text), None, "{text}");
        }
        assert_eq!(Quantity::Number(-1).bytes(), None);
    }

    #[test]
    fn numbers_and_texts_are_serialized_as_they_were_read() {
        for json in ["32768", "\"32Ki\""] {
            let quantity: Quantity = serde_json::from_str(json).unwrap();

            assert_eq!(serde_json::to_string(&quantity).unwrap(), json);
        }
    }
}
