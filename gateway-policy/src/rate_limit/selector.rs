//! Selects the requests that a limit counts.
//!
//! A condition that cannot be evaluated matches, so that a client cannot avoid a limit by omitting a field.
//! An inverted header match also matches an absent header, and an unknown client address is in every network.

use std::borrow::Cow;
use std::hash::{Hash, Hasher};
use std::net::IpAddr;

use http::{HeaderName, HeaderValue, Method, request};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use towergate_core::http::query;
use towergate_core::plan::{Text, TextMatch};

/// Conditions on a request. All of them must match.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq, Serialize, Deserialize)]
pub struct Selector {
    /// Conditions on header fields.
    pub headers: Vec<HeaderRule>,
    /// Methods. One of them must match. Empty: every method.
    pub methods: Vec<MethodRule>,
    /// Condition on the normalised path without the query.
    pub path: Option<PathRule>,
    /// Condition on the client address.
    pub source: Option<SourceRule>,
    /// Conditions on query parameters, which are decoded as by [`query::decode`]. If a name occurs more than
    /// once, the first parameter is used.
    pub query: Vec<QueryRule>,
}

/// A condition on a header field.
#[derive(Clone, Debug, Eq, Hash, PartialEq, Serialize, Deserialize)]
pub struct HeaderRule {
    /// Name of the header field.
    pub name: Text<HeaderName>,
    /// Condition. At least one line of the field must match.
    pub test: ValueTest,
}

/// A condition on a query parameter.
#[derive(Clone, Debug, Eq, Hash, PartialEq, Serialize, Deserialize)]
pub struct QueryRule {
    /// Decoded name of the parameter.
    pub name: String,
    /// Condition on the decoded value of the parameter.
    pub test: ValueTest,
}

/// A condition on a value.
#[derive(Clone, Debug, Eq, Hash, PartialEq, Serialize, Deserialize)]
pub enum ValueTest {
    /// The value is as the condition states.
    Is {
        /// Comparison with the value.
        value: TextMatch,
        /// Whether the result is inverted.
        invert: bool,
    },
    /// The value is present; each distinct value has its own bucket.
    Distinct,
}

/// A condition on the method.
#[derive(Clone, Debug, Eq, Hash, PartialEq, Serialize, Deserialize)]
pub struct MethodRule {
    /// Method.
    pub method: Text<Method>,
    /// Whether the result is inverted.
    pub invert: bool,
}

/// A condition on the path.
#[derive(Clone, Debug, Eq, Hash, PartialEq, Serialize, Deserialize)]
pub struct PathRule {
    /// Comparison.
    pub test: PathTest,
    /// Whether the result is inverted.
    pub invert: bool,
}

/// Comparison of a path.
#[derive(Clone, Debug, Eq, Hash, PartialEq, Serialize, Deserialize)]
pub enum PathTest {
    /// A prefix of the text, as in Envoy Gateway: `/a` is a prefix of `/ab`. If the prefix ends with a slash,
    /// it also matches the path without this slash.
    Prefix(String),
    /// A comparison of the whole path with a text or a regular expression.
    Text(TextMatch),
}

/// A condition on the client address.
#[derive(Clone, Debug, Eq, Hash, PartialEq, Serialize, Deserialize)]
pub struct SourceRule {
    /// Network of client addresses.
    pub network: IpNet,
    /// Whether each address has its own bucket.
    pub distinct: bool,
    /// Whether clients outside the network match instead.
    pub invert: bool,
}

impl Selector {
    /// Whether distinct values have their own buckets.
    pub(super) fn is_distinct(&self) -> bool {
        let distinct = |test: &ValueTest| matches!(test, ValueTest::Distinct);
        self.source.as_ref().is_some_and(|source| source.distinct)
            || self.headers.iter().any(|header| distinct(&header.test))
            || self.query.iter().any(|param| distinct(&param.test))
    }

    /// Whether a request with this head and client matches. Adds distinct values to `key`.
    pub(crate) fn matches(
        &self,
        head: &request::Parts,
        client: Option<IpAddr>,
        key: &mut impl Hasher,
    ) -> bool {
        let method = |rule: &MethodRule| (*rule.method == head.method) != rule.invert;
        (self.methods.is_empty() || self.methods.iter().any(method))
            && (self.path.as_ref()).is_none_or(|path| path.matches(head.uri.path()))
            && (self.source.as_ref()).is_none_or(|source| source.matches(client, key))
            && self.headers.iter().all(|header| header.matches(head, key))
            && self.query.iter().all(|param| param.matches(head, key))
    }
}

impl HeaderRule {
    fn matches(&self, head: &request::Parts, key: &mut impl Hasher) -> bool {
        let mut lines = head.headers.get_all(&*self.name).iter();
        match &self.test {
            // A client must not avoid a limit by adding a line. One line that matches is therefore
            // sufficient, also for an inverted test.
            ValueTest::Is {
                value,
                invert: true,
            } => {
                let is_absent = !head.headers.contains_key(&*self.name);
                is_absent || lines.any(|line| !value.matches(&text(line)))
            }
            ValueTest::Is { value, .. } => lines.any(|line| value.matches(&text(line))),
            ValueTest::Distinct => {
                let mut found = false;
                for line in lines {
                    found = true;
                    line.as_bytes().hash(key);
                }
                found
            }
        }
    }
}

/// The text of a value. Bytes that are not UTF-8 become U+FFFD.
fn text(value: &HeaderValue) -> Cow<'_, str> {
    String::from_utf8_lossy(value.as_bytes())
}

impl QueryRule {
    /// The decoded value of the first parameter with this name.
    pub(crate) fn find<'h>(&self, head: &'h request::Parts) -> Option<Cow<'h, str>> {
        query::first_value(head.uri.query()?, &self.name)
    }

    fn matches(&self, head: &request::Parts, key: &mut impl Hasher) -> bool {
        match (&self.test, self.find(head)) {
            (ValueTest::Is { value, invert }, found) => {
                found.is_some_and(|text| value.matches(&text)) != *invert
            }
            (ValueTest::Distinct, Some(text)) => {
                text.hash(key);
                true
            }
            (ValueTest::Distinct, None) => false,
        }
    }
}

impl PathRule {
    fn matches(&self, path: &str) -> bool {
        let matches = match &self.test {
            PathTest::Prefix(prefix) => {
                path.starts_with(prefix.as_str()) || prefix.strip_suffix('/') == Some(path)
            }
            PathTest::Text(text) => text.matches(path),
        };
        matches != self.invert
    }
}

impl SourceRule {
    fn matches(&self, client: Option<IpAddr>, key: &mut impl Hasher) -> bool {
        let client = client.map(|client| client.to_canonical());
        if self.distinct {
            client.hash(key);
        }
        client.is_none_or(|client| self.network.contains(&client) != self.invert)
    }
}

#[cfg(test)]
mod tests {
    use std::hash::DefaultHasher;

    use http::Request;
    use towergate_core::http::client_ip::ClientIp;

    use super::*;

    fn head(method: &str, uri: &str, headers: &[(&str, &str)]) -> request::Parts {
        let mut request = Request::builder().method(method).uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    fn from(client: &str) -> request::Parts {
        let mut head = head("GET", "/", &[]);
        head.extensions.insert(ClientIp(client.parse().unwrap()));
        head
    }

    /// The key of a match. `None`: the selector does not match.
    fn key(selector: &Selector, head: &request::Parts) -> Option<u64> {
        let mut hasher = DefaultHasher::new();
        let client = head.extensions.get::<ClientIp>().map(|client| client.0);
        let matches = selector.matches(head, client, &mut hasher);
        matches.then(|| hasher.finish())
    }

    fn header(test: ValueTest) -> Selector {
        Selector {
            headers: vec![HeaderRule {
                name: HeaderName::from_static("x-user").into(),
                test,
            }],
            ..Default::default()
        }
    }

    fn is(text: &str, invert: bool) -> ValueTest {
        ValueTest::Is {
            value: TextMatch::Exact(text.to_owned()),
            invert,
        }
    }

    fn source(network: &str, distinct: bool, invert: bool) -> Selector {
        Selector {
            source: Some(SourceRule {
                network: network.parse().unwrap(),
                distinct,
                invert,
            }),
            ..Default::default()
        }
    }

    #[test]
    fn another_line_of_the_same_name_does_not_hide_a_value() {
        let head = head("GET", "/", &[("x-user", "two"), ("x-user", "one")]);

        assert!(key(&header(is("one", false)), &head).is_some());
    }

    #[test]
    fn another_line_does_not_hide_a_value_from_an_inverted_condition() {
        let others = header(is("admin", true));

        for (lines, matches) in [
            (&["admin"][..], false),
            (&["admin", "admin"], false),
            (&["a"], true),
            (&["a", "admin"], true),
            (&["admin", "a"], true),
        ] {
            let lines: Vec<_> = lines.iter().map(|line| ("x-user", *line)).collect();

            let found = key(&others, &head("GET", "/", &lines));

            assert_eq!(found.is_some(), matches, "{lines:?}");
        }
    }

    #[test]
    fn a_mapped_address_is_that_of_its_client() {
        let in_network = source("192.0.2.0/24", true, false);
        let outside = source("192.0.2.0/24", false, true);

        let plain = key(&in_network, &from("192.0.2.1"));

        assert!(plain.is_some());
        assert_eq!(key(&in_network, &from("::ffff:192.0.2.1")), plain);
        assert!(key(&outside, &from("::ffff:192.0.2.1")).is_none());
    }

    #[test]
    fn an_absent_header_matches_an_inverted_condition() {
        let head = head("GET", "/", &[]);

        assert!(key(&header(is("one", false)), &head).is_none());
        assert!(key(&header(is("one", true)), &head).is_some());
        assert!(key(&header(ValueTest::Distinct), &head).is_none());
    }

    #[test]
    fn distinct_values_have_distinct_keys() {
        let selector = header(ValueTest::Distinct);
        let one = key(&selector, &head("GET", "/", &[("x-user", "one")]));
        let two = key(&selector, &head("GET", "/", &[("x-user", "two")]));

        assert!(one.is_some() && two.is_some());
        assert_ne!(one, two);
        assert_eq!(
            one,
            key(&selector, &head("PUT", "/a", &[("x-user", "one")]))
        );
    }

    #[test]
    fn networks_match_their_clients_and_unknown_clients() {
        let inside = source("203.0.113.0/24", false, false);
        let outside = source("203.0.113.0/24", false, true);

        assert!(key(&inside, &from("203.0.113.9")).is_some());
        assert!(key(&inside, &from("198.51.100.1")).is_none());
        assert!(key(&outside, &from("198.51.100.1")).is_some());
        assert!(key(&outside, &from("203.0.113.9")).is_none());
        assert!(key(&inside, &head("GET", "/", &[])).is_some());
        assert!(key(&outside, &head("GET", "/", &[])).is_some());
    }

    #[test]
    fn addresses_have_their_own_keys_only_if_distinct() {
        let together = source("::/0", false, false);
        let apart = source("::/0", true, false);
        let (one, two) = (from("2001:db8::1"), from("2001:db8::2"));

        assert_eq!(key(&together, &one), key(&together, &two));
        assert_ne!(key(&apart, &one), key(&apart, &two));
    }

    #[test]
    fn a_prefix_is_compared_as_text() {
        let selector = |prefix: &str| Selector {
            path: Some(PathRule {
                test: PathTest::Prefix(prefix.to_owned()),
                invert: false,
            }),
            ..Default::default()
        };
        let matches =
            |prefix: &str, path: &str| key(&selector(prefix), &head("GET", path, &[])).is_some();

        assert!(matches("/a", "/a"));
        assert!(matches("/a", "/a/b?c"));
        assert!(matches("/a", "/ab"));
        assert!(!matches("/a", "/b/a"));
        assert!(matches("/a/", "/a/b"));
        assert!(matches("/a/", "/a"));
        assert!(!matches("/a/", "/ab"));
        assert!(matches("/", "/anything"));
    }

    fn parameter(test: ValueTest) -> Selector {
        Selector {
            query: vec![QueryRule {
                name: "k".to_owned(),
                test,
            }],
            ..Default::default()
        }
    }

    #[test]
    fn the_first_query_parameter_of_a_name_is_compared_decoded() {
        let selector = parameter(is("a%20b", false));

        assert!(key(&selector, &head("GET", "/?j&k=a%20b&k=c", &[])).is_some());
        assert!(key(&selector, &head("GET", "/?j&%6b=%61%20b", &[])).is_some());
        assert!(key(&selector, &head("GET", "/?k=c&k=a%20b", &[])).is_none());
        assert!(key(&selector, &head("GET", "/", &[])).is_none());
        assert!(key(&parameter(is("a", true)), &head("GET", "/?k=%61", &[])).is_none());
    }

    #[test]
    fn every_spelling_of_a_query_parameter_has_the_same_key() {
        let selector = parameter(ValueTest::Distinct);
        let plain = key(&selector, &head("GET", "/?k=secr%C3%A9t", &[]));

        assert!(plain.is_some());
        for query in ["k=%73ecr%C3%A9t", "k=s%65cr%c3%a9t", "%6b=secr%c3%A9t"] {
            let target = format!("/?{query}");
            assert_eq!(key(&selector, &head("GET", &target, &[])), plain, "{query}");
        }
        assert_ne!(key(&selector, &head("GET", "/?k=other", &[])), plain);
    }

    #[test]
    fn any_one_of_the_methods_suffices() {
        let method = |method: Method, invert| MethodRule {
            method: method.into(),
            invert,
        };
        let selector = Selector {
            methods: vec![method(Method::POST, false), method(Method::PUT, false)],
            ..Default::default()
        };
        let inverted = Selector {
            methods: vec![method(Method::GET, true)],
            ..Default::default()
        };

        assert!(key(&selector, &head("PUT", "/", &[])).is_some());
        assert!(key(&selector, &head("GET", "/", &[])).is_none());
        assert!(key(&inverted, &head("GET", "/", &[])).is_none());
        assert!(key(&inverted, &head("HEAD", "/", &[])).is_some());
    }
}
