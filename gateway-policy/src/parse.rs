//! Parsers of single values: from text and numbers of a spec to values of the plan. Each error
//! names the field.

use std::fmt::Display;
use std::net::IpAddr;
use std::time::Duration;

use http::HeaderName;
use ipnet::{IpNet, Ipv4Net};
use towergate_core::http::reserved::is_reserved;
use towergate_core::plan::Text;

use crate::FieldError;
use crate::common::{DurationText, Quantity};

/// Parses an optional duration.
pub(crate) fn duration(
    field: impl Display,
    text: Option<&DurationText>,
) -> Result<Option<Duration>, FieldError> {
    text.map(|text| {
        let invalid = || FieldError::invalid(field, format_args!("{:?} is not a duration", text.0));
        text.parse().ok_or_else(invalid)
    })
    .transpose()
}

/// Parses an optional duration greater than zero.
pub(crate) fn positive_duration(
    field: impl Display,
    text: Option<&DurationText>,
) -> Result<Option<Duration>, FieldError> {
    match duration(&field, text)? {
        Some(Duration::ZERO) => Err(FieldError::invalid(field, "must be greater than 0")),
        time => Ok(time),
    }
}

/// Parses a timeout. Absent: `default`. Zero: `None`, no limit.
pub(crate) fn timeout(
    field: impl Display,
    text: Option<&DurationText>,
    default: Option<Duration>,
) -> Result<Option<Duration>, FieldError> {
    let given = duration(field, text)?;
    Ok(given.map_or(default, |time| (time > Duration::ZERO).then_some(time)))
}

/// Converts an optional number to the range of `T`.
pub(crate) fn number<T: TryFrom<i64>>(
    field: impl Display,
    number: Option<i64>,
) -> Result<Option<T>, FieldError> {
    number
        .map(|n| {
            let invalid = |_| FieldError::invalid(field, format_args!("{n} is out of range"));
            T::try_from(n).map_err(invalid)
        })
        .transpose()
}

/// Converts an optional percentage between 0 and 100.
pub(crate) fn percent(field: impl Display, value: Option<i64>) -> Result<Option<u32>, FieldError> {
    match number(&field, value)? {
        Some(percent) if percent > 100 => Err(FieldError::invalid(field, "is more than 100")),
        percent => Ok(percent),
    }
}

/// Converts an HTTP status between 100 and 599.
pub(crate) fn status(field: impl Display, code: i64) -> Result<u16, FieldError> {
    u16::try_from(code)
        .ok()
        .filter(|code| (100..600).contains(code))
        .ok_or_else(|| FieldError::invalid(field, format_args!("{code} is not an HTTP status")))
}

/// Parses an optional number of bytes between `low` and `high`.
pub(crate) fn bytes(
    field: impl Display,
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
        None => Err(FieldError::invalid(field, "is not a number of bytes")),
    }
}

/// Parses an optional size of a buffer, at most 4 GiB.
pub(crate) fn buffer_size(
    field: impl Display,
    quantity: Option<&Quantity>,
) -> Result<Option<usize>, FieldError> {
    let bytes = bytes(field, quantity, 0, u64::from(u32::MAX))?;
    Ok(bytes.and_then(|bytes| usize::try_from(bytes).ok()))
}

/// Parses a network in CIDR notation. Host bits are cleared. A network of IPv4-mapped addresses becomes the
/// IPv4 network, because client addresses are canonical.
pub(crate) fn network(field: impl Display, text: &str) -> Result<IpNet, FieldError> {
    let network = parse_cidr(text).ok_or_else(|| {
        FieldError::invalid(
            field,
            format_args!("{text:?} is not a network in CIDR notation"),
        )
    })?;
    if let IpNet::V6(mapped) = network
        && let Some(address) = mapped.addr().to_ipv4_mapped()
        && let Some(length) = mapped.prefix_len().checked_sub(96)
        && let Ok(network) = Ipv4Net::new(address, length)
    {
        return Ok(network.into());
    }
    Ok(network)
}

/// Parses a network like Go's `net.ParseCIDR`. Host bits are cleared. Addresses with leading zeros are
/// rejected, because some parsers read them as octal; the parser of [`IpNet`] ignores the zeros. `None`: not
/// a network.
pub fn parse_cidr(text: &str) -> Option<IpNet> {
    let (address, length) = text.split_once('/')?;
    let address: IpAddr = address.parse().ok()?;
    if !length.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let network = IpNet::new(address, length.parse().ok()?).ok()?;
    Some(network.trunc())
}

/// Parses the name of a header field that a policy sets for the backend. Fields that frame the message or
/// select the route, and hop-by-hop fields, are not allowed.
pub(crate) fn forwarded_header_name(
    field: impl Display,
    text: &str,
) -> Result<Text<HeaderName>, FieldError> {
    let name = header_name(&field, text)?;
    if is_reserved(&name) {
        let message = format_args!("a policy must not set {text}").to_string();
        return Err(FieldError::invalid(field, message));
    }
    Ok(name)
}

/// Parses the name of a header field.
pub(crate) fn header_name(field: impl Display, text: &str) -> Result<Text<HeaderName>, FieldError> {
    HeaderName::from_bytes(text.as_bytes())
        .map(Text::from)
        .map_err(|_| FieldError::invalid(field, format_args!("{text:?} is not a header name")))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Cases from the documentation of Go's `net.ParseCIDR`.
    #[test]
    fn networks_are_those_of_parse_cidr() {
        for (text, expected) in [
            ("135.104.0.0/32", "135.104.0.0/32"),
            ("0.0.0.0/24", "0.0.0.0/24"),
            ("135.104.0.0/24", "135.104.0.0/24"),
            ("135.104.0.1/24", "135.104.0.0/24"),
            ("10.1.2.3/8", "10.0.0.0/8"),
            ("0.0.0.0/0", "0.0.0.0/0"),
            ("::1/128", "::1/128"),
            ("abcd:2345::/127", "abcd:2345::/127"),
            ("abcd:2345::/33", "abcd:2345::/33"),
            ("2001:DB8::/48", "2001:db8::/48"),
            ("2001:db8::1/48", "2001:db8::/48"),
            ("::/0", "::/0"),
            ("::ffff:10.1.2.3/104", "10.0.0.0/8"),
        ] {
            let network = network("spec.cidr", text).unwrap();

            assert_eq!(network.to_string(), expected, "{text}");
        }
        for text in [
            "",
            "192.168.1.1",
            "192.168.1.1/",
            "192.168.1.1/255.255.255.0",
            "192.168.1.1/35",
            "192.168.1.1/-1",
            "192.168.1.1/+8",
            "192.168.1/24",
            "192.168.1.256/24",
            "192.168.01.1/24",
            "2001:db8::1/-1",
            "2001:db8::1/129",
            "2001:db8::/0x20",
            "2001:db8::g/64",
            "fe80::1%eth0/64",
            " 10.0.0.0/8",
            "10.0.0.0 /8",
        ] {
            assert!(network("spec.cidr", text).is_err(), "{text:?}");
        }
    }
}
