//! Keys that determine the source of the client address.

use super::ConfigValue;
use crate::ingress::controller::ControllerConfig;
use crate::ingress::value::networks;
use crate::ingress::verdict::Aspect::{self, Body, Calls, RequestHeaders, ResponseHeaders, Status};
use crate::ingress::verdict::Finding;

const FORWARDED: &[Aspect] = &[RequestHeaders, Status, ResponseHeaders, Calls, Body];

/// Source of the client address in the translation.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum AddressSource {
    /// The peer of the connection.
    Peer,
    /// The PROXY header of the connection.
    ProxyProtocol,
    /// A custom header field, such as `CF-Connecting-IP`, from any peer.
    Header(String),
    /// `X-Forwarded-For`, if the peer is in one of these networks.
    Trusted(Vec<String>),
    /// The last entry of `X-Forwarded-For`, from any peer.
    OneHop,
}

impl AddressSource {
    /// The source that the keys of `config` select.
    pub(crate) fn of(config: &ControllerConfig) -> Self {
        if config.bool("use-proxy-protocol", false) {
            return Self::ProxyProtocol;
        }
        if !config.bool("use-forwarded-headers", false) && !config.bool("enable-real-ip", false) {
            return Self::Peer;
        }
        let header = config
            .text("forwarded-for-header")
            .unwrap_or("X-Forwarded-For");
        if !header.eq_ignore_ascii_case("X-Forwarded-For") {
            return Self::Header(header.to_owned());
        }
        let trusted = config
            .text("proxy-real-ip-cidr")
            .and_then(|text| networks(text).ok());
        let all = |networks: &[String]| networks.iter().any(|one| one == "0.0.0.0/0");
        match trusted.filter(|trusted| !trusted.is_empty() && !all(trusted)) {
            Some(trusted) => Self::Trusted(trusted),
            None => Self::OneHop,
        }
    }

    /// The choice that the user must confirm, as text of the verdict.
    fn choice(&self) -> String {
        match self {
            Self::Peer => "the address of the client is that of the connection".to_owned(),
            Self::ProxyProtocol => {
                "`use-proxy-protocol` determines the address of the client: header fields, which ingress-nginx prefers, are not used".to_owned()
            }
            Self::Header(name) => format!(
                "`clientIPDetection.customHeader` takes the address of the client from `{name}` of every request. A client that reaches the gateway directly can set the field, and so bypass source ranges and rate limits: configure the load balancer to admit only the networks of the proxy that sets the field"
            ),
            Self::Trusted(networks) => format!(
                "`clientIPDetection.xForwardedFor.trustedCIDRs` takes the address of the client from `X-Forwarded-For` if the peer is in {}: check that these are the networks of the proxies",
                networks.join(", ")
            ),
            Self::OneHop => {
                "`clientIPDetection.xForwardedFor.numTrustedHops: 1` takes the address of the client from the last entry of `X-Forwarded-For`, which exactly one proxy in front of the gateway must set: if there are more, write their number, or `trustedCIDRs` with their networks. ingress-nginx trusts the field from every peer".to_owned()
            }
        }
    }
}

/// The verdict on `use-forwarded-headers` and `enable-real-ip`.
pub(super) fn detection(value: &ConfigValue<'_>) -> Finding {
    let source = AddressSource::of(value.config);
    let both = value.config.bool("use-forwarded-headers", false);
    if value.name == "enable-real-ip" && both {
        return Finding::same("`use-forwarded-headers` includes it");
    }
    let mut text = source.choice();
    if both {
        text.push_str(". `X-Forwarded-Host` does not become the backend's `Host`, and redirects depend on the listener, not on `X-Forwarded-Proto`");
    }
    Finding::decision(text, FORWARDED)
}

/// The verdict on `forwarded-for-header`.
pub(super) fn header(value: &ConfigValue<'_>) -> Finding {
    match AddressSource::of(value.config) {
        AddressSource::Header(_) => Finding::differs(
            "`clientIPDetection.customHeader`; the backend receives the address alone in `X-Forwarded-For`, and the field itself as the client sent it",
            &[RequestHeaders],
        ),
        AddressSource::Trusted(_) | AddressSource::OneHop => Finding::same(
            "`X-Forwarded-For` is the header that `clientIPDetection.xForwardedFor` reads",
        ),
        AddressSource::ProxyProtocol => Finding::differs(
            "the PROXY header has the address of the client: the field, which ingress-nginx prefers with `use-forwarded-headers`, is not used",
            FORWARDED,
        ),
        AddressSource::Peer => without_detection(),
    }
}

/// The verdict on `proxy-real-ip-cidr`.
pub(super) fn trusted_networks(value: &ConfigValue<'_>) -> Finding {
    match AddressSource::of(value.config) {
        AddressSource::Trusted(_) => {
            Finding::same("`clientIPDetection.xForwardedFor.trustedCIDRs`")
        }
        AddressSource::OneHop => Finding::decision(
            "no list of networks: see `use-forwarded-headers`",
            FORWARDED,
        ),
        AddressSource::Header(name) => Finding::decision(
            format!(
                "`clientIPDetection.customHeader` has no list of trusted networks: `{name}` is read from every peer. Let only these networks reach the gateway, in the load balancer or by a NetworkPolicy"
            ),
            FORWARDED,
        ),
        AddressSource::ProxyProtocol => Finding::decision(
            "PROXY headers are accepted from every peer: let only these networks reach the gateway, in the load balancer or by a NetworkPolicy",
            FORWARDED,
        ),
        AddressSource::Peer => without_detection(),
    }
}

/// The verdict on `compute-full-forwarded-for`.
pub(super) fn full(value: &ConfigValue<'_>) -> Finding {
    let appends = !value.config.replaces_forwarded_for();
    match value.config.bool("use-forwarded-headers", false) {
        true if appends => Finding::same("the gateway appends to `X-Forwarded-For`"),
        true => Finding::same("off: backends receive the address of the client alone"),
        false => Finding::same(
            "without `use-forwarded-headers`, the setting has no effect, in ingress-nginx and in the gateway",
        ),
    }
}

fn without_detection() -> Finding {
    Finding::same(
        "without `use-forwarded-headers` or `enable-real-ip`, the setting has no effect, in ingress-nginx and in the gateway",
    )
}
