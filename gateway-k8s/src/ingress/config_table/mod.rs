//! Keys of the controller's ConfigMap, its flags, and the differences that no setting affects.

mod by_value;
mod client_address;
mod defaults;
mod flags;
mod global_auth;
mod keys;
mod off;

pub(crate) use client_address::AddressSource;
pub(crate) use defaults::{DefaultFacts, defaults};

use self::ConfigRow::{By, Decide, Differs, Never, Same};
use self::flags::FLAGS;
use self::keys::KEYS;
use super::controller::ControllerConfig;
use super::input::Manifests;
use super::verdict::Aspect::{
    self, Body, Calls, RequestHeaders, RequestPath, ResponseHeaders, Status,
};
use super::verdict::Finding;

/// The verdict on a key or flag.
#[derive(Clone, Copy)]
pub(crate) enum ConfigRow {
    Same(&'static str),
    Differs(&'static str, &'static [Aspect]),
    Decide(&'static str, &'static [Aspect]),
    Never(&'static str, &'static [Aspect]),
    /// The verdict depends on the value, on other keys, or on objects.
    By(fn(&ConfigValue<'_>) -> Finding),
}

/// A key or flag of a controller, with all inputs of its verdict.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ConfigValue<'a> {
    /// Name of the key or flag.
    pub(crate) name: &'a str,
    /// Value of the key or flag, without surrounding white space.
    pub(crate) text: &'a str,
    /// All keys and flags.
    pub(crate) config: &'a ControllerConfig,
    /// The manifests.
    pub(crate) manifests: &'a Manifests,
}

impl ConfigRow {
    /// The verdict on `value`.
    pub(crate) fn finding(&self, value: &ConfigValue<'_>) -> Finding {
        if let Some(finding) = off::finding(value) {
            return finding;
        }
        match self {
            Same(text) => Finding::same(*text),
            Differs(text, affects) => Finding::differs(*text, affects),
            Decide(text, affects) => Finding::decision(*text, affects),
            Never(text, affects) => Finding::impossible(*text, affects),
            By(of) => of(value),
        }
    }
}

const NGINX: ConfigRow = Same("internal to nginx: the gateway needs no equivalent");
const LOG: ConfigRow = Differs(
    "the access log has Envoy Gateway's JSON format, or Envoy's text format",
    &[],
);
const ALL: &[Aspect] = &[
    Status,
    ResponseHeaders,
    Body,
    Calls,
    RequestHeaders,
    RequestPath,
];
const SNIPPET: ConfigRow = Never(
    "nginx configuration for all requests: move header edits to the ClientTrafficPolicy and rules to the routes",
    ALL,
);
const AUTH: ConfigRow = By(global_auth::finding);
const TRACING: ConfigRow = Decide("configure tracing for the gateway", &[]);
const GEOIP: ConfigRow = Never(
    "nginx variables and headers of a GeoIP database: to allow or deny by location, use SecurityPolicy `authorization` with `clientIPGeoLocations`",
    &[RequestHeaders],
);
const WAF_TEXT: &str = "ModSecurity is not supported: put a web application firewall in front";
const WAF: ConfigRow = Never(WAF_TEXT, &[Status]);

/// Looks up a key.
pub(crate) fn key(name: &str) -> Option<&'static ConfigRow> {
    KEYS.iter()
        .find(|(key, _)| *key == name)
        .map(|(_, row)| row)
}

/// Names of all keys.
pub(crate) fn keys() -> impl Iterator<Item = &'static str> {
    KEYS.iter().map(|(key, _)| *key)
}

/// Looks up a flag.
pub(crate) fn flag(name: &str) -> Option<&'static ConfigRow> {
    FLAGS
        .iter()
        .find(|(flag, _)| *flag == name)
        .map(|(_, row)| row)
}

/// Names of all flags.
pub(crate) fn flags() -> impl Iterator<Item = &'static str> {
    FLAGS.iter().map(|(flag, _)| *flag)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_flags_are_unique() {
        for mut names in [keys().collect::<Vec<_>>(), flags().collect()] {
            let number = names.len();
            names.sort_unstable();
            names.dedup();

            assert_eq!(names.len(), number);
        }
    }
}
