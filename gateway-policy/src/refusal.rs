//! Why a policy cannot be carried out.

use std::fmt;

use http::HeaderName;
use ipnet::IpNet;
use towergate_core::plan::Text;

use crate::common::{DurationText, Quantity};

/// A field that asks for what the gateway cannot do, or does not do yet.
///
/// It makes the whole policy invalid: `Accepted=False`, reason `Invalid`, and the routes that the
/// policy covers fail closed. Leaving the field out of account would be a gateway that is less
/// protected than its configuration says.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub struct Refusal {
    /// The path of the field, from `spec` on.
    pub field: String,
    /// What is wrong, as a sentence of its own.
    pub message: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl Refusal {
    /// A field whose value does not do.
    pub(crate) fn invalid(field: impl Into<String>, reason: impl fmt::Display) -> Self {
        let field = field.into();
        let message = format!("{field}: {reason}");
        Self { field, message }
    }

    /// A field that is not supported.
    pub(crate) fn unsupported(field: impl Into<String>) -> Self {
        let field = field.into();
        let message = format!("{field} is not supported");
        Self { field, message }
    }

    /// A field with a word that has no meaning there.
    pub(crate) fn unknown(field: &str, word: &str) -> Self {
        Self::invalid(field, format_args!("Unsupported value: {word:?}"))
    }

    /// Refuses `field` as not supported unless `holds`.
    pub(crate) fn unless(holds: bool, field: &str) -> Result<(), Self> {
        if holds {
            Ok(())
        } else {
            Err(Self::unsupported(field))
        }
    }
}

/// A duration of the spec, if it is given.
pub(crate) fn duration(
    field: &str,
    text: Option<&DurationText>,
) -> Result<Option<std::time::Duration>, Refusal> {
    text.map(|text| {
        text.parse()
            .ok_or_else(|| Refusal::invalid(field, format_args!("{:?} is no duration", text.0)))
    })
    .transpose()
}

/// A number of the spec, if it is given, in the range of `T`.
pub(crate) fn number<T: TryFrom<i64>>(
    field: &str,
    number: Option<i64>,
) -> Result<Option<T>, Refusal> {
    number
        .map(|n| {
            T::try_from(n).map_err(|_| Refusal::invalid(field, format_args!("{n} is out of range")))
        })
        .transpose()
}

/// An amount of bytes of the spec, if it is given, between `low` and `high`.
pub(crate) fn bytes(
    field: &str,
    quantity: Option<&Quantity>,
    low: u64,
    high: u64,
) -> Result<Option<u64>, Refusal> {
    let Some(quantity) = quantity else {
        return Ok(None);
    };
    match quantity.bytes() {
        Some(bytes) if (low..=high).contains(&bytes) => Ok(Some(bytes)),
        Some(bytes) => Err(Refusal::invalid(
            field,
            format_args!("{bytes} is out of range, must be between {low} and {high}"),
        )),
        None => Err(Refusal::invalid(field, "is no amount of bytes")),
    }
}

/// A network of the spec.
pub(crate) fn network(field: &str, text: &str) -> Result<IpNet, Refusal> {
    let network: Result<IpNet, _> = text.parse();
    network
        .map(|network| network.trunc())
        .map_err(|_| Refusal::invalid(field, format_args!("{text:?} is no network")))
}

/// The name of a header field.
pub(crate) fn header_name(field: &str, text: &str) -> Result<Text<HeaderName>, Refusal> {
    HeaderName::from_bytes(text.as_bytes())
        .map(Text::from)
        .map_err(|_| Refusal::invalid(field, format_args!("{text:?} is no name of a header")))
}
