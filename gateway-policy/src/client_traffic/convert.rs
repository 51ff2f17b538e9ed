//! From a ClientTrafficPolicy to settings of the plan.

use std::time::Duration;

use towergate_core::http::client_ip::ClientIpRule;
use towergate_core::plan;

use super::headers::{header_settings, text_match};
use super::model::{
    ClientIpDetection, ClientTrafficPolicySpec, CustomHeader, EnableWeb, Http1, PathSettings,
    ProxyProtocol, Scheme, SlashesAction, XForwardedFor,
};
use super::tls::TlsParameters;
use super::{connection, tls};
use crate::FieldError;
use crate::check::count;
use crate::common::Deprecated;

/// What a policy has to know of the listener that it is applied to.
#[derive(Clone, Copy, Debug, Default)]
pub struct ListenerContext<'a> {
    /// The host name that requests without one are meant for: that of the listener, or else of its
    /// routes; `None`: there is none without a wildcard.
    pub hostname: Option<&'a str>,
}

/// What a policy becomes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ListenerConfig {
    /// Settings of the listener.
    pub settings: plan::ListenerSettings,
    /// Settings of the port.
    pub tcp: plan::TcpSettings,
    /// Settings of TLS, for a listener that speaks it.
    pub tls: TlsParameters,
    /// How long a connection that is proxied as it is may go without a byte; `None`: for ever.
    pub connection_idle: Option<Duration>,
    /// Deprecated fields that are given.
    pub warnings: Vec<Deprecated>,
}

impl ClientTrafficPolicySpec {
    /// The settings that this policy asks for. What it does not say has the default of Envoy Gateway.
    ///
    /// # Errors
    /// The first field that asks for what the gateway does not do, or whose value does not parse.
    pub fn listener_settings(
        &self,
        context: ListenerContext<'_>,
    ) -> Result<ListenerConfig, FieldError> {
        let Self {
            target_ref: _,
            target_refs: _,
            target_selectors: _,
            tcp_keepalive,
            enable_proxy_protocol,
            proxy_protocol,
            client_ip_detection,
            tls,
            path,
            headers,
            timeout,
            connection,
            http1,
            http2,
            http3,
            health_check,
            scheme,
            grpc,
        } = self;
        FieldError::require(http3.is_none(), "spec.http3")?;
        check_scheme(scheme.as_ref())?;
        check_grpc(grpc.as_ref())?;
        let (timeouts, inspection) = connection::timeouts(timeout.as_ref())?;
        let (limits, socket) = connection::limits(connection.as_ref())?;
        let settings = plan::ListenerSettings {
            client_ip: client_ip(client_ip_detection.as_ref())?,
            headers: header_settings(headers.as_ref())?,
            path: path_settings(path.as_ref())?,
            timeouts,
            http1: http1_settings(http1.as_ref(), context)?,
            http2: connection::http2("spec.http2", http2.as_ref())?,
            limits,
            health_check_path: health_check.as_ref().and_then(|check| check.path.clone()),
            ..Default::default()
        };
        let tcp = plan::TcpSettings {
            proxy_protocol: expected_header(*enable_proxy_protocol, proxy_protocol.as_ref()),
            inspection_timeout: inspection,
            keepalive: connection::keepalive(tcp_keepalive.as_ref())?,
            ..socket
        };
        Ok(ListenerConfig {
            settings,
            tcp,
            tls: tls::parameters(tls.as_ref())?,
            connection_idle: connection::connection_idle(timeout.as_ref())?,
            warnings: self.deprecated(),
        })
    }

    /// The deprecated fields that are given; also of a policy that is refused.
    pub fn deprecated(&self) -> Vec<Deprecated> {
        let request_id = self.headers.as_ref().and_then(|h| h.preserve_x_request_id);
        let validation = self.tls.as_ref().and_then(|t| t.client_validation.as_ref());
        [
            (
                self.target_ref.is_some(),
                "spec.targetRef",
                "spec.targetRefs",
            ),
            (
                self.enable_proxy_protocol.is_some(),
                "spec.enableProxyProtocol",
                "spec.proxyProtocol",
            ),
            (
                request_id.is_some(),
                "spec.headers.preserveXRequestID",
                "spec.headers.requestID",
            ),
            (
                validation.is_some_and(|validation| validation.optional.is_some()),
                "spec.tls.clientValidation.optional",
                "spec.tls.clientValidation.mode",
            ),
        ]
        .into_iter()
        .filter(|(given, ..)| *given)
        .map(|(_, field, instead)| Deprecated { field, instead })
        .collect()
    }
}

fn check_scheme(scheme: Option<&Scheme>) -> Result<(), FieldError> {
    match scheme {
        None | Some(Scheme::Preserve) => Ok(()),
        Some(Scheme::MatchBackend) => Err(FieldError::invalid(
            "spec.scheme",
            "MatchBackend is not supported",
        )),
        Some(Scheme::Other(word)) => Err(FieldError::unknown_value("spec.scheme", word)),
    }
}

fn check_grpc(grpc: Option<&EnableWeb>) -> Result<(), FieldError> {
    let Some(EnableWeb { enable_web }) = grpc else {
        return Ok(());
    };
    FieldError::require(*enable_web != Some(true), "spec.grpc.enableWeb")
}

/// `enableProxyProtocol` loses against `proxyProtocol`.
fn expected_header(
    enabled: Option<bool>,
    expected: Option<&ProxyProtocol>,
) -> Option<plan::ProxyProtocol> {
    match expected {
        Some(ProxyProtocol { optional }) => Some(plan::ProxyProtocol {
            optional: optional.unwrap_or(false),
        }),
        None => (enabled == Some(true)).then(plan::ProxyProtocol::default),
    }
}

fn client_ip(detection: Option<&ClientIpDetection>) -> Result<ClientIpRule, FieldError> {
    const FIELD: &str = "spec.clientIPDetection";
    let Some(detection) = detection else {
        return Ok(ClientIpRule::Peer);
    };
    let ClientIpDetection {
        x_forwarded_for,
        custom_header,
        direct_source_ip,
    } = detection;
    match (x_forwarded_for, custom_header, direct_source_ip) {
        (Some(forwarded), None, None) => forwarded_for(forwarded),
        (None, Some(header), None) => from_header(header),
        (None, None, Some(_)) => Ok(ClientIpRule::Peer),
        _ => Err(FieldError::invalid(
            FIELD,
            "exactly one of xForwardedFor, customHeader, or directSourceIP must be set",
        )),
    }
}

fn forwarded_for(forwarded: &XForwardedFor) -> Result<ClientIpRule, FieldError> {
    const FIELD: &str = "spec.clientIPDetection.xForwardedFor";
    let XForwardedFor {
        num_trusted_hops,
        trusted_cidrs,
        disable_append,
    } = forwarded;
    if count(&[num_trusted_hops.is_some(), trusted_cidrs.is_some()]) != 1 {
        return Err(FieldError::invalid(
            FIELD,
            "only one of numTrustedHops or trustedCIDRs must be set",
        ));
    }
    let append = *disable_append != Some(true);
    let hops = crate::parse::number(&format!("{FIELD}.numTrustedHops"), *num_trusted_hops)?;
    if let Some(hops) = hops {
        return Ok(ClientIpRule::TrustedHops { hops, append });
    }
    let texts = trusted_cidrs.as_deref().unwrap_or_default();
    let networks = texts
        .iter()
        .enumerate()
        .map(|(index, text)| crate::parse::network(&format!("{FIELD}.trustedCIDRs[{index}]"), text))
        .collect::<Result<_, _>>()?;
    Ok(ClientIpRule::TrustedNetworks { networks, append })
}

fn from_header(header: &CustomHeader) -> Result<ClientIpRule, FieldError> {
    let CustomHeader { name, fail_closed } = header;
    let name = crate::parse::header_name(
        "spec.clientIPDetection.customHeader.name",
        name.as_deref().unwrap_or_default(),
    )?;
    Ok(ClientIpRule::Header {
        name,
        fail_closed: fail_closed.unwrap_or(false),
    })
}

fn path_settings(path: Option<&PathSettings>) -> Result<plan::PathSettings, FieldError> {
    let Some(PathSettings {
        escaped_slashes_action,
        disable_merge_slashes,
    }) = path
    else {
        return Ok(plan::PathSettings::default());
    };
    let escaped_slashes = match escaped_slashes_action {
        None | Some(SlashesAction::UnescapeAndRedirect) => {
            plan::EscapedSlashes::UnescapeAndRedirect
        }
        Some(SlashesAction::KeepUnchanged) => plan::EscapedSlashes::KeepUnchanged,
        Some(SlashesAction::RejectRequest) => plan::EscapedSlashes::RejectRequest,
        Some(SlashesAction::UnescapeAndForward) => plan::EscapedSlashes::UnescapeAndForward,
        Some(SlashesAction::Other(word)) => {
            return Err(FieldError::unknown_value(
                "spec.path.escapedSlashesAction",
                word,
            ));
        }
    };
    Ok(plan::PathSettings {
        merge_slashes: *disable_merge_slashes != Some(true),
        escaped_slashes,
    })
}

fn http1_settings(
    http1: Option<&Http1>,
    context: ListenerContext<'_>,
) -> Result<plan::Http1Settings, FieldError> {
    let Some(Http1 {
        enable_trailers,
        preserve_header_case,
        http10,
        ignored_upgrade_types,
        disable_safe_max_connection_duration,
    }) = http1
    else {
        return Ok(plan::Http1Settings::default());
    };
    let http10 = match http10 {
        None => None,
        Some(http10) if http10.use_default_host == Some(true) => {
            let Some(host) = context.hostname else {
                return Err(FieldError::invalid(
                    "spec.http1.http10.useDefaultHost",
                    "needs exactly one host name without a wildcard, of the listener or else of its routes",
                ));
            };
            Some(plan::Http10 {
                default_host: Some(host.to_owned()),
            })
        }
        Some(_) => Some(plan::Http10::default()),
    };
    let ignored_upgrades = ignored_upgrade_types
        .iter()
        .flatten()
        .map(|m| text_match("spec.http1.ignoredUpgradeTypes", m))
        .collect::<Result<_, _>>()?;
    Ok(plan::Http1Settings {
        trailers: enable_trailers.unwrap_or(false),
        preserve_header_case: preserve_header_case.unwrap_or(false),
        http10,
        ignored_upgrades,
        close_at_max_duration: disable_safe_max_connection_duration.unwrap_or(false),
    })
}
