//! Keys that determine the source of the client address.

use towergate_policy::client_traffic::TRUSTED_PROXIES;

use super::ConfigValue;
use crate::ingress::controller::ControllerConfig;
use crate::ingress::value::{list, networks};
use crate::ingress::verdict::Aspect::{self, Body, Calls, RequestHeaders, ResponseHeaders, Status};
use crate::ingress::verdict::Finding;

const FORWARDED: &[Aspect] = &[RequestHeaders, Status, ResponseHeaders, Calls, Body];

/// The networks of the peers that supply the address of the client. `None`: every peer.
pub(crate) type TrustedPeers = Option<Vec<String>>;

/// Source of the client address in the translation.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum AddressSource {
    /// The peer of the connection.
    Peer,
    /// The PROXY header of the connection.
    ProxyProtocol(TrustedPeers),
    /// A custom header field, such as `CF-Connecting-IP`.
    Header(String, TrustedPeers),
    /// `X-Forwarded-For`, if the peer is in one of these networks.
    Trusted(Vec<String>),
    /// The last entry of `X-Forwarded-For`, from any peer.
    OneHop,
}

impl AddressSource {
    /// The source that the keys of `config` select.
    pub(crate) fn of(config: &ControllerConfig) -> Self {
        if config.bool("use-proxy-protocol", false) {
            return Self::ProxyProtocol(trusted_peers(config));
        }
        if !config.bool("use-forwarded-headers", false) && !config.bool("enable-real-ip", false) {
            return Self::Peer;
        }
        let header = config
            .text("forwarded-for-header")
            .unwrap_or("X-Forwarded-For");
        if !header.eq_ignore_ascii_case("X-Forwarded-For") {
            return Self::Header(header.to_owned(), trusted_peers(config));
        }
        match trusted_peers(config) {
            Some(trusted) if trusted.is_empty() => Self::Peer,
            Some(trusted) => Self::Trusted(trusted),
            None => Self::OneHop,
        }
    }

    /// The networks for the annotation `towergate.dev/trusted-proxies`. `None`: the policy has no annotation.
    pub(crate) fn annotation(&self) -> Option<String> {
        match self {
            Self::ProxyProtocol(Some(trusted)) | Self::Header(_, Some(trusted)) => {
                Some(trusted.join(","))
            }
            Self::ProxyProtocol(None)
            | Self::Header(_, None)
            | Self::Peer
            | Self::Trusted(_)
            | Self::OneHop => None,
        }
    }

    /// The choice that the user must confirm, as text of the verdict.
    fn choice(&self) -> String {
        match self {
            Self::Peer => "the address of the client is that of the connection".to_owned(),
            Self::ProxyProtocol(_) => {
                "`use-proxy-protocol` determines the address of the client: header fields, which ingress-nginx prefers, are not used".to_owned()
            }
            Self::Header(name, Some(trusted)) => format!(
                "`clientIPDetection.customHeader` takes the address of the client from `{name}`, and the annotation `{TRUSTED_PROXIES}` restricts it to peers in {}: check that these are the networks of the proxies",
                trusted.join(", ")
            ),
            Self::Header(name, None) => format!(
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

/// The networks of `proxy-real-ip-cidr`. Entries that are not networks are left out, so that no peer is trusted
/// because of them.
fn trusted_peers(config: &ControllerConfig) -> TrustedPeers {
    let written = list(config.text("proxy-real-ip-cidr")?);
    let trusted: Vec<String> = written
        .iter()
        .filter_map(|entry| networks(entry).ok())
        .flatten()
        .collect();
    let all = trusted.iter().any(|network| network == "0.0.0.0/0");
    (!all).then_some(trusted)
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
        AddressSource::Header(..) => Finding::differs(
            "`clientIPDetection.customHeader`; the backend receives the address alone in `X-Forwarded-For`, and the field itself as the client sent it",
            &[RequestHeaders],
        ),
        AddressSource::Trusted(_) | AddressSource::OneHop => Finding::same(
            "`X-Forwarded-For` is the header that `clientIPDetection.xForwardedFor` reads",
        ),
        AddressSource::ProxyProtocol(_) => Finding::differs(
            "the PROXY header has the address of the client: the field, which ingress-nginx prefers with `use-forwarded-headers`, is not used",
            FORWARDED,
        ),
        AddressSource::Peer => without_detection(),
    }
}

/// The verdict on `proxy-real-ip-cidr`.
pub(super) fn trusted_networks(value: &ConfigValue<'_>) -> Finding {
    let detects = [
        "use-proxy-protocol",
        "use-forwarded-headers",
        "enable-real-ip",
    ];
    if !detects.iter().any(|key| value.config.bool(key, false)) {
        return without_detection();
    }
    if let Err(entry) = networks(value.text) {
        return Finding::decision(
            format!(
                "`{entry}` is not a network: no peer is trusted because of it. Correct the list"
            ),
            FORWARDED,
        );
    }
    match AddressSource::of(value.config) {
        AddressSource::Trusted(_) => {
            Finding::same("`clientIPDetection.xForwardedFor.trustedCIDRs`")
        }
        AddressSource::ProxyProtocol(Some(_)) | AddressSource::Header(_, Some(_)) => Finding::same(
            format!("the annotation `{TRUSTED_PROXIES}` of the ClientTrafficPolicies"),
        ),
        AddressSource::ProxyProtocol(None)
        | AddressSource::Header(_, None)
        | AddressSource::OneHop => Finding::decision(
            "every peer is trusted, as in ingress-nginx: list the networks of the proxies",
            FORWARDED,
        ),
        AddressSource::Peer => Finding::same("no peer is trusted"),
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
