//! Keys of consistent hashing, and the generated cookie that binds a client to an endpoint.

use std::fmt::Write;
use std::net::IpAddr;

use http::header::COOKIE;
use http::{HeaderMap, HeaderValue, request};

use crate::plan::{CookieHash, HashKey};

/// Result of [`hash_key`].
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct HashResult {
    /// Hash of the key; `None` if the request has no key.
    pub hash: Option<u64>,
    /// Value of `Set-Cookie` for the response. `None` unless the gateway generated a cookie as the key.
    pub set_cookie: Option<HeaderValue>,
}

/// Hashes the part of a request that `key` selects. The result is the same in every process. For a
/// hash by source address, the request has no key if `client` is unknown.
pub fn hash_key(key: &HashKey, client: Option<IpAddr>, head: &request::Parts) -> HashResult {
    match key {
        HashKey::SourceIp => {
            client.map_or_else(HashResult::default, |client| hashed(hash_address(client)))
        }
        HashKey::Headers(names) => {
            let values = names.iter().flat_map(|name| head.headers.get_all(&**name));
            hash_all(values.map(HeaderValue::as_bytes))
        }
        HashKey::Query(names) => {
            let query = head.uri.query().unwrap_or_default();
            let values = names.iter().filter_map(|name| find_parameter(query, name));
            hash_all(values.map(str::as_bytes))
        }
        HashKey::Cookie(cookie) => match find_cookie(&head.headers, &cookie.name) {
            Some(value) => hashed(hash_bytes(0, value)),
            None => make_cookie(cookie),
        },
    }
}

/// Hashes a client address.
pub(crate) fn hash_address(client: IpAddr) -> u64 {
    match client {
        IpAddr::V4(v4) => hash_bytes(0, &v4.octets()),
        IpAddr::V6(v6) => hash_bytes(0, &v6.octets()),
    }
}

fn hashed(hash: u64) -> HashResult {
    HashResult {
        hash: Some(hash),
        set_cookie: None,
    }
}

fn hash_all<'a>(values: impl Iterator<Item = &'a [u8]>) -> HashResult {
    HashResult {
        hash: values.fold(None, |hash, value| {
            Some(hash_bytes(hash.unwrap_or(0).rotate_left(1), value))
        }),
        set_cookie: None,
    }
}

/// Value of the first query parameter `name`, not decoded.
fn find_parameter<'a>(query: &'a str, name: &str) -> Option<&'a str> {
    query.split('&').find_map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (key == name).then_some(value)
    })
}

/// Value of the first cookie `name`, without quotes.
pub fn find_cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a [u8]> {
    let lines = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes);
    lines
        .flat_map(|line| line.split(|b| *b == b';'))
        .find_map(|pair| {
            let pair = pair.trim_ascii();
            let value = pair.strip_prefix(name.as_bytes())?.strip_prefix(b"=")?;
            let bare = value
                .strip_prefix(b"\"")
                .and_then(|v| v.strip_suffix(b"\""));
            Some(bare.unwrap_or(value))
        })
}

/// Generates a cookie if the rule sets a TTL. If the TTL is zero, the cookie is a session cookie.
fn make_cookie(cookie: &CookieHash) -> HashResult {
    let Some(ttl) = cookie.ttl else {
        return HashResult::default();
    };
    let value = format!("{:016x}", fastrand::u64(..));
    let mut line = format!("{}=\"{value}\"", cookie.name);
    if !ttl.is_zero() {
        let _ = write!(line, "; Max-Age={}", ttl.as_secs());
    }
    for (name, value) in &cookie.attributes {
        let _ = match value.as_str() {
            "" => write!(line, "; {name}"),
            value => write!(line, "; {name}={value}"),
        };
    }
    line.push_str("; HttpOnly");
    HashResult {
        hash: Some(hash_bytes(0, value.as_bytes())),
        set_cookie: HeaderValue::from_str(&line).ok(),
    }
}

/// FNV-1a, followed by the final mix of SplitMix64. The mix is required because tables use the hash modulo
/// their size, so every bit of the hash must depend on all bytes.
pub(super) fn hash_bytes(seed: u64, bytes: &[u8]) -> u64 {
    let start = 0xcbf2_9ce4_8422_2325 ^ seed;
    let hash = bytes.iter().fold(start, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    let hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{HeaderName, Request};
    use std::time::Duration;

    const CLIENT: Option<IpAddr> = Some(IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1)));

    fn head(uri: &str, headers: &[(&'static str, &'static str)]) -> request::Parts {
        let mut request = Request::get(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    fn cookie(ttl: Option<u64>) -> HashKey {
        HashKey::Cookie(CookieHash {
            name: "sid".to_owned(),
            ttl: ttl.map(Duration::from_secs),
            attributes: vec![
                ("Path".to_owned(), "/".to_owned()),
                ("Secure".to_owned(), String::new()),
            ],
        })
    }

    #[test]
    fn equal_keys_hash_equally_and_others_do_not() {
        let key = HashKey::Headers(vec![HeaderName::from_static("x-user").into()]);
        let hash = |value| hash_key(&key, CLIENT, &head("/", &[("x-user", value)])).hash;

        assert_eq!(hash("a"), hash("a"));
        assert_ne!(hash("a"), hash("b"));
        assert_eq!(hash_key(&key, CLIENT, &head("/", &[])).hash, None);
    }

    #[test]
    fn a_request_without_a_client_has_no_source_address() {
        let hash = |client| hash_key(&HashKey::SourceIp, client, &head("/", &[])).hash;

        assert!(hash(CLIENT).is_some());
        assert_eq!(hash(None), None);
    }

    #[test]
    fn a_query_key_uses_the_first_parameter_of_that_name() {
        let key = HashKey::Query(vec!["u".to_owned()]);
        let hash = |uri| hash_key(&key, CLIENT, &head(uri, &[])).hash;

        assert_eq!(hash("/?u=1&u=2"), hash("/x?a=b&u=1"));
        assert_ne!(hash("/?u=1"), hash("/?u=2"));
        assert_eq!(hash("/?v=1"), None);
    }

    #[test]
    fn a_generated_cookie_yields_the_same_hash_when_it_returns() {
        let made = hash_key(&cookie(Some(60)), CLIENT, &head("/", &[]));
        let line = made.set_cookie.unwrap();
        let line = line.to_str().unwrap();
        let (pair, rest) = line.split_once(';').unwrap();

        let mut again = head("/", &[("cookie", "other=1; sidx=2")]);
        again.headers.append(
            COOKIE,
            HeaderValue::from_str(&format!("a=b; {pair}")).unwrap(),
        );

        assert_eq!(rest, " Max-Age=60; Path=/; Secure; HttpOnly");
        assert_eq!(
            hash_key(&cookie(Some(60)), CLIENT, &again),
            hashed(made.hash.unwrap())
        );
    }

    #[test]
    fn without_a_ttl_no_cookie_is_generated() {
        assert_eq!(
            hash_key(&cookie(None), CLIENT, &head("/", &[])),
            HashResult::default()
        );
    }
}
