//! Annotations of a ClientTrafficPolicy: behaviour for which its spec has no field.
//!
//! | annotation | meaning |
//! |---|---|
//! | [`ROUTE_MATCHING`] | `ingress-nginx`: routes are matched as in ingress-nginx |
//! | [`TRUSTED_PROXIES`] | networks of the proxies that supply the address of the client |
//!
//! A policy is invalid, and requests of its listeners receive 500, if an annotation has an invalid value, or
//! an unknown name with the prefix `towergate.dev/`.

use std::collections::BTreeMap;

use ipnet::IpNet;
use towergate_core::http::client_ip::ClientIpRule;
use towergate_core::plan::{EscapedSlashes, ListenerSettings};

use super::ListenerConfig;
use crate::backend_traffic::ANNOTATION_PREFIX;
use crate::{FieldError, parse_cidr};

/// Annotation of a ClientTrafficPolicy. `ingress-nginx`: rules are compared with the decoded path
/// ([`ListenerSettings::decoded_paths`]), and 404 is returned if no rule of the most specific hostname matches
/// ([`ListenerSettings::strict_host`]). Escaped slashes must be decoded (`path.escapedSlashesAction:
/// UnescapeAndForward`) and consecutive slashes merged.
pub const ROUTE_MATCHING: &str = "towergate.dev/route-matching";

/// Annotation of a ClientTrafficPolicy: networks of the proxies, separated by commas. From other peers, the
/// addresses in the PROXY header (`proxyProtocol`), or the header of `clientIPDetection.customHeader`, are
/// ignored: the peer is the client. Empty: no peer is trusted. Default: every peer is trusted.
pub const TRUSTED_PROXIES: &str = "towergate.dev/trusted-proxies";

/// Applies the annotations of a ClientTrafficPolicy to its converted spec.
///
/// # Errors
/// An annotation is unknown or invalid, or the spec does not permit it.
pub fn apply_annotations(
    annotations: &BTreeMap<String, String>,
    config: &mut ListenerConfig,
) -> Result<(), FieldError> {
    let extensions = annotations
        .iter()
        .filter(|(name, _)| name.starts_with(ANNOTATION_PREFIX));
    for (name, value) in extensions {
        let applied = match name.as_str() {
            ROUTE_MATCHING => match_as(value, &mut config.settings),
            TRUSTED_PROXIES => networks(value).and_then(|networks| restrict(networks, config)),
            _ => Err("no annotation of ClientTrafficPolicies has this name".to_owned()),
        };
        applied.map_err(|reason| {
            FieldError::invalid("metadata.annotations", format_args!("{name}: {reason}"))
        })?;
    }
    Ok(())
}

fn match_as(value: &str, settings: &mut ListenerSettings) -> Result<(), String> {
    if value != "ingress-nginx" {
        return Err(format!("{value:?} is unknown; use ingress-nginx"));
    }
    let path = &settings.path;
    if path.escaped_slashes != EscapedSlashes::UnescapeAndForward || !path.merge_slashes {
        return Err(
            "the annotation requires path.escapedSlashesAction: UnescapeAndForward, and merged slashes"
                .to_owned(),
        );
    }
    settings.decoded_paths = true;
    settings.strict_host = true;
    Ok(())
}

fn networks(value: &str) -> Result<Vec<IpNet>, String> {
    let entries = value.split(',').map(str::trim);
    let entries = entries.filter(|entry| !entry.is_empty());
    let network = |entry| parse_cidr(entry).ok_or_else(|| format!("{entry:?} is not a network"));
    entries.map(network).collect()
}

/// Restricts the peers that supply the address of the client to `networks`.
fn restrict(networks: Vec<IpNet>, config: &mut ListenerConfig) -> Result<(), String> {
    let rule = &mut config.settings.client_ip;
    match (&mut config.tcp.proxy_protocol, &*rule) {
        (Some(proxy), ClientIpRule::Peer) => proxy.trusted = Some(networks),
        (
            None,
            ClientIpRule::Header {
                name,
                fail_closed: false,
            },
        ) => {
            let name = name.clone();
            *rule = ClientIpRule::TrustedHeader { name, networks };
        }
        _ => {
            return Err(
                "it needs either proxyProtocol without clientIPDetection, or clientIPDetection.customHeader without failClosed"
                    .to_owned(),
            );
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::ClientTrafficPolicySpec;
    use crate::client_traffic::ListenerContext;

    fn applied(spec: &str, name: &str, value: &str) -> Result<ListenerSettings, FieldError> {
        let spec: ClientTrafficPolicySpec = serde_json::from_str(spec).unwrap();
        let mut config = spec.listener_settings(ListenerContext::default()).unwrap();
        let annotations = BTreeMap::from([(name.to_owned(), value.to_owned())]);
        apply_annotations(&annotations, &mut config)?;
        Ok(config.settings)
    }

    #[test]
    fn routes_are_matched_as_in_ingress_nginx() {
        let spec = r#"{"path": {"escapedSlashesAction": "UnescapeAndForward"}}"#;

        let settings = applied(spec, ROUTE_MATCHING, "ingress-nginx").unwrap();

        assert!(settings.decoded_paths && settings.strict_host);
    }

    #[test]
    fn an_invalid_annotation_makes_the_policy_invalid() {
        let spec = r#"{"path": {"escapedSlashesAction": "UnescapeAndForward"}}"#;
        for (spec, name, value) in [
            (spec, ROUTE_MATCHING, "nginx"),
            (spec, "towergate.dev/route-match", "ingress-nginx"),
            ("{}", ROUTE_MATCHING, "ingress-nginx"),
        ] {
            assert!(applied(spec, name, value).is_err(), "{spec} {name}");
        }
        assert!(applied("{}", "example.com/a", "b").is_ok());
    }

    fn apply(spec: Value, name: &str, value: &str) -> Result<ListenerConfig, FieldError> {
        let spec: ClientTrafficPolicySpec = serde_json::from_value(spec).unwrap();
        let mut config = spec.listener_settings(ListenerContext::default()).unwrap();
        let annotations = BTreeMap::from([(name.to_owned(), value.to_owned())]);
        apply_annotations(&annotations, &mut config).map(|()| config)
    }

    #[test]
    fn trusted_proxies_restrict_the_proxy_header_and_the_custom_header() {
        let networks: Vec<IpNet> = vec!["10.0.0.0/8".parse().unwrap(), "::1/128".parse().unwrap()];
        let value = "10.0.0.0/8, ::1/128";

        let proxy = apply(json!({"proxyProtocol": {}}), TRUSTED_PROXIES, value).unwrap();
        let detection = json!({"clientIPDetection": {"customHeader": {"name": "CF-IP"}}});
        let header = apply(detection, TRUSTED_PROXIES, value).unwrap();

        let expected = proxy.tcp.proxy_protocol.and_then(|proxy| proxy.trusted);
        assert_eq!(expected.as_ref(), Some(&networks));
        let name = "CF-IP".parse().unwrap();
        let expected = ClientIpRule::TrustedHeader { name, networks };
        assert_eq!(header.settings.client_ip, expected);
    }

    #[test]
    fn an_annotation_that_cannot_be_applied_is_an_error() {
        let proxy = json!({"proxyProtocol": {}});
        let closed =
            json!({"clientIPDetection": {"customHeader": {"name": "A", "failClosed": true}}});
        for (spec, name, value) in [
            (&proxy, TRUSTED_PROXIES, "10.0.0.0/8,x"),
            (&proxy, "towergate.dev/trusted", "10.0.0.0/8"),
            (&json!({}), TRUSTED_PROXIES, "10.0.0.0/8"),
            (&closed, TRUSTED_PROXIES, "10.0.0.0/8"),
        ] {
            let error = apply(spec.clone(), name, value).unwrap_err();

            assert_eq!(error.field, "metadata.annotations");
        }
    }
}
