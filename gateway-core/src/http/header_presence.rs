//! Set of the well-known field names in a head.
//!
//! Most lookups of a field in a head find nothing, and each lookup takes as long as several comparisons of
//! names. Therefore one pass over all names of the head replaces these lookups. The set is not updated when
//! the head is edited.

use std::ops::{BitOr, BitOrAssign};

use http::{HeaderMap, HeaderName};

/// A set of field names and name patterns.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct HeaderPresence(u16);

impl HeaderPresence {
    pub(crate) const CONNECTION: Self = Self(1);
    pub(crate) const UPGRADE: Self = Self(1 << 1);
    /// Other hop-by-hop fields: `TE`, `Keep-Alive`, `Proxy-Connection`, `HTTP2-Settings`.
    const OTHER_HOP: Self = Self(1 << 2);
    pub(crate) const TRANSFER_ENCODING: Self = Self(1 << 3);
    pub(crate) const CONTENT_LENGTH: Self = Self(1 << 4);
    pub(crate) const CONTENT_TYPE: Self = Self(1 << 5);
    pub(crate) const COOKIE: Self = Self(1 << 6);
    pub(crate) const EXPECT: Self = Self(1 << 7);
    pub(crate) const REFERER: Self = Self(1 << 8);
    pub(crate) const X_FORWARDED_FOR: Self = Self(1 << 9);
    pub(crate) const X_FORWARDED_CLIENT_CERT: Self = Self(1 << 10);
    /// Names that begin with `x-envoy-`.
    pub(crate) const X_ENVOY: Self = Self(1 << 11);
    /// Names with an underscore.
    pub(crate) const UNDERSCORE: Self = Self(1 << 12);

    /// Hop-by-hop fields (RFC 9110, section 7.6.1).
    pub(crate) const HOP_BY_HOP: Self =
        Self(Self::CONNECTION.0 | Self::UPGRADE.0 | Self::OTHER_HOP.0 | Self::TRANSFER_ENCODING.0);
    /// Fields that define the length of a message.
    pub(crate) const FRAMING: Self = Self(Self::TRANSFER_ENCODING.0 | Self::CONTENT_LENGTH.0);

    /// The names in a head.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let mut names = Self::default();
        for name in headers.keys() {
            names |= Self::of_one(name);
        }
        names
    }

    /// Whether the set contains any of `others`.
    pub(crate) fn has(self, others: Self) -> bool {
        self.0 & others.0 != 0
    }

    fn of_one(name: &HeaderName) -> Self {
        match name.as_str() {
            "connection" => Self::CONNECTION,
            "upgrade" => Self::UPGRADE,
            "te" | "keep-alive" | "proxy-connection" | "http2-settings" => Self::OTHER_HOP,
            "transfer-encoding" => Self::TRANSFER_ENCODING,
            "content-length" => Self::CONTENT_LENGTH,
            "content-type" => Self::CONTENT_TYPE,
            "cookie" => Self::COOKIE,
            "expect" => Self::EXPECT,
            "referer" => Self::REFERER,
            "x-forwarded-for" => Self::X_FORWARDED_FOR,
            "x-forwarded-client-cert" => Self::X_FORWARDED_CLIENT_CERT,
            name => Self::of_kind(name.as_bytes()),
        }
    }

    fn of_kind(name: &[u8]) -> Self {
        let mut kinds = Self::default();
        if name.starts_with(b"x-envoy-") {
            kinds |= Self::X_ENVOY;
        }
        if name.contains(&b'_') {
            kinds |= Self::UNDERSCORE;
        }
        kinds
    }
}

impl BitOr for HeaderPresence {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitOrAssign for HeaderPresence {
    fn bitor_assign(&mut self, other: Self) {
        *self = *self | other;
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    const KNOWN: [(&str, HeaderPresence); 14] = [
        ("connection", HeaderPresence::CONNECTION),
        ("upgrade", HeaderPresence::UPGRADE),
        ("te", HeaderPresence::OTHER_HOP),
        ("keep-alive", HeaderPresence::OTHER_HOP),
        ("proxy-connection", HeaderPresence::OTHER_HOP),
        ("http2-settings", HeaderPresence::OTHER_HOP),
        ("transfer-encoding", HeaderPresence::TRANSFER_ENCODING),
        ("content-length", HeaderPresence::CONTENT_LENGTH),
        ("content-type", HeaderPresence::CONTENT_TYPE),
        ("cookie", HeaderPresence::COOKIE),
        ("expect", HeaderPresence::EXPECT),
        ("referer", HeaderPresence::REFERER),
        ("x-forwarded-for", HeaderPresence::X_FORWARDED_FOR),
        (
            "x-forwarded-client-cert",
            HeaderPresence::X_FORWARDED_CLIENT_CERT,
        ),
    ];

    fn of(names: &[&str]) -> HeaderPresence {
        let line = |name: &&str| {
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            (name, HeaderValue::from_static("x"))
        };
        HeaderPresence::of(&names.iter().map(line).collect())
    }

    #[test]
    fn each_name_is_told_apart_whatever_stands_beside_it() {
        for (name, expected) in KNOWN {
            assert_eq!(of(&["Accept", name, "X-Other"]), expected, "{name}");
        }
        assert_eq!(of(&["X-Envoy-Foo"]), HeaderPresence::X_ENVOY);
        assert_eq!(of(&["a_b"]), HeaderPresence::UNDERSCORE);
        assert_eq!(
            of(&["x-envoy-a_b"]),
            HeaderPresence::X_ENVOY | HeaderPresence::UNDERSCORE
        );
    }

    proptest! {
        #[test]
        fn a_set_has_what_was_put_in(
            places in prop::collection::vec(0..KNOWN.len(), 0..6),
            other in "[a-z][a-z_-]{0,12}",
        ) {
            let mut names: Vec<&str> = places.iter().map(|at| KNOWN[*at].0).collect();
            names.push(&other);

            let set = of(&names);

            for (name, flag) in KNOWN {
                let put_in = KNOWN.iter().any(|(n, f)| *f == flag && names.contains(n));
                prop_assert_eq!(set.has(flag), put_in, "{}", name);
            }
            prop_assert_eq!(set.has(HeaderPresence::UNDERSCORE), other.contains('_'));
        }
    }
}
