//! Reads the preferred endpoints of a request from its header fields (`loadBalancer.endpointOverride`).

use std::net::SocketAddr;

use http::{HeaderName, request};

use crate::plan::EndpointAddress;
use crate::text::Text;

/// Maximum number of addresses that are read.
const MAX_ADDRESSES: usize = 10;

/// The addresses in the first of `headers` that contains a valid address. Clients choose these addresses: the
/// caller must use only addresses of endpoints of the backend.
pub(super) fn named(headers: &[Text<HeaderName>], head: &request::Parts) -> Vec<EndpointAddress> {
    let values = headers.iter().filter_map(|name| head.headers.get(&**name));
    let lists = values.filter_map(|value| value.to_str().ok()).map(decode);
    let mut lists = lists.filter(|list| !list.is_empty());
    lists.next().unwrap_or_default()
}

/// Decodes a list of `address:port`. Invalid entries are ignored.
fn decode(text: &str) -> Vec<EndpointAddress> {
    let entries = text.split(',').take(MAX_ADDRESSES);
    entries
        .filter_map(|entry| entry.trim().parse::<SocketAddr>().ok())
        .map(EndpointAddress::from)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named_by(fields: &[(&str, &str)]) -> Vec<String> {
        let mut request = http::Request::get("/");
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let (head, ()) = request.body(()).unwrap().into_parts();
        let headers = ["x-first", "x-second"].map(|name| name.parse().unwrap());
        let named = named(&headers, &head);
        named.iter().map(EndpointAddress::to_string).collect()
    }

    #[test]
    fn the_first_header_with_a_valid_address_names_the_endpoints() {
        for (fields, expected) in [
            (&[][..], &[][..]),
            (&[("x-first", "10.0.0.1:80")], &["10.0.0.1:80"]),
            (
                &[("x-first", "10.0.0.1:80, [2001:db8::1]:81,a:1")],
                &["10.0.0.1:80", "[2001:db8::1]:81"],
            ),
            (
                &[("x-first", "localhost:80"), ("x-second", "10.0.0.2:80")],
                &["10.0.0.2:80"],
            ),
            (
                &[("x-second", "10.0.0.2:80"), ("x-first", "10.0.0.1:80")],
                &["10.0.0.1:80"],
            ),
            (&[("x-first", "10.0.0.1")], &[]),
        ] {
            assert_eq!(named_by(fields), expected, "{fields:?}");
        }
    }
}
