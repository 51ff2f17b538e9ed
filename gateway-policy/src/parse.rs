//! From single values of a spec to values of the plan. What does not parse is refused by the name of
//! its field.

use std::time::Duration;

use http::HeaderName;
use ipnet::IpNet;
use towergate_core::plan::Text;

use crate::FieldError;
use crate::common::{DurationText, Quantity};

/// A duration of the spec, if it is given.
pub(crate) fn duration(
    field: &str,
    text: Option<&DurationText>,
) -> Result<Option<Duration>, FieldError> {
    text.map(|text| {
        text.parse()
            .ok_or_else(|| FieldError::invalid(field, format_args!("{:?} is no duration", text.0)))
    })
    .transpose()
}

/// A timer of the spec, which 0 switches off; `default` if it is not given.
pub(crate) fn timer(
    field: &str,
    text: Option<&DurationText>,
    default: Option<Duration>,
) -> Result<Option<Duration>, FieldError> {
    let given = duration(field, text)?;
    Ok(given.map_or(default, |time| (time > Duration::ZERO).then_some(time)))
}

/// A number of the spec, if it is given, in the range of `T`.
pub(crate) fn number<T: TryFrom<i64>>(
    field: &str,
    number: Option<i64>,
) -> Result<Option<T>, FieldError> {
    number
        .map(|n| {
            T::try_from(n)
                .map_err(|_| FieldError::invalid(field, format_args!("{n} is out of range")))
        })
        .transpose()
}

/// An amount of bytes of the spec, if it is given, between `low` and `high`.
pub(crate) fn bytes(
    field: &str,
    quantity: Option<&Quantity>,
    low: u64,
    high: u64,
) -> Result<Option<u64>, FieldError> {
    let Some(quantity) = quantity else {
        return Ok(None);
    };
    match quantity.bytes() {
        Some(bytes) if (low..=high).contains(&bytes) => Ok(Some(bytes)),
        Some(bytes) => Err(FieldError::invalid(
            field,
            format_args!("{bytes} is out of range, must be between {low} and {high}"),
        )),
        None => Err(FieldError::invalid(field, "is no amount of bytes")),
    }
}

/// A network of the spec.
pub(crate) fn network(field: &str, text: &str) -> Result<IpNet, FieldError> {
    let network: Result<IpNet, _> = text.parse();
    network
        .map(|network| network.trunc())
        .map_err(|_| FieldError::invalid(field, format_args!("{text:?} is no network")))
}

/// The name of a header field.
pub(crate) fn header_name(field: &str, text: &str) -> Result<Text<HeaderName>, FieldError> {
    HeaderName::from_bytes(text.as_bytes())
        .map(Text::from)
        .map_err(|_| FieldError::invalid(field, format_args!("{text:?} is no name of a header")))
}
