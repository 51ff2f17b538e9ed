//! Filters of rules and backendRefs, validated as in Envoy Gateway.
//!
//! Gateway API sets no order, so filters run in a fixed one: CORS, header edits, redirect or
//! rewrite, mirrors. External authorization is a policy, which runs before them. An unsupported
//! filter (extensions) makes the rule return 500, because it may restrict access. Only a mirror
//! without a backend is omitted, as Gateway API requires.

use towergate_core::filter::{Cors, PathEdit, Redirect, RedirectStatus, Rewrite, WebScheme};
use towergate_core::plan::{Filter, Fraction, Mirror};
use towergate_tls::NamePattern;

use super::cors;
use super::extension::Extensions;
use super::external_auth;
use super::filter_type::FilterType;
use super::headers::Modifiers;
use crate::api::grpc_route::GrpcRouteFilter;
use crate::api::http_route::{
    ExternalAuth, HttpRouteFilter, PathModifier, RequestMirror, RequestRedirect, UrlRewrite,
};
use crate::api::reference::{BackendObjectReference, LocalObjectReference};
use crate::status::{ConditionType, RouteReason};

/// Filters of a rule or backendRef.
#[derive(Debug, Default)]
pub(super) struct Filters {
    request: Modifiers,
    response: Modifiers,
    redirect: Option<Redirect>,
    rewrite: Option<Rewrite>,
    cors: Option<Cors>,
    /// External authorization services whose backends are not resolved yet.
    pub(super) external_auth: Vec<WantedExternalAuth>,
    /// Mirrors whose backends are not resolved yet.
    pub(super) mirrors: Vec<WantedMirror>,
    /// References to HTTPRouteFilters, each with the index of its filter.
    pub(super) extensions: Vec<(usize, LocalObjectReference)>,
    /// Invalid filters.
    pub(super) faults: Vec<FilterError>,
}

/// A mirror whose backend is not resolved yet.
#[derive(Debug)]
pub(super) struct WantedMirror {
    /// Index of the filter.
    pub(super) at: usize,
    /// Backend of the copies.
    pub(super) backend: BackendObjectReference,
    /// Fraction of the requests that are copied.
    pub(super) fraction: Fraction,
}

/// An external authorization whose backend is not resolved yet.
#[derive(Debug)]
pub(super) struct WantedExternalAuth {
    /// Index of the filter.
    pub(super) at: usize,
    /// The filter. It is valid; its backend has not been checked.
    pub(super) settings: ExternalAuth,
}

/// An invalid filter.
#[derive(Debug)]
pub(super) struct FilterError {
    /// Condition that becomes false.
    pub(super) condition: ConditionType,
    pub(super) reason: RouteReason,
    /// Index of the filter.
    pub(super) at: usize,
    /// Error message: a clause without a full stop.
    pub(super) message: String,
}

impl Filters {
    /// The filters of a rule of an HTTPRoute.
    pub(super) fn http(written: &[HttpRouteFilter]) -> Self {
        let mut filters = Self::default();
        for (at, filter) in written.iter().enumerate() {
            filters.add_http(at, filter);
        }
        let others = [
            ("URLRewrite", filters.rewrite.is_some()),
            // A redirected request is not forwarded, so it cannot be mirrored either.
            ("RequestMirror", filters.mirror_requests()),
        ];
        for (other, is_used) in others {
            if !is_used || !filters.redirects() {
                continue;
            }
            let message = format!("RequestRedirect and {other} must not be used together");
            filters.fault(
                ConditionType::Accepted,
                RouteReason::IncompatibleFilters,
                0,
                message,
            );
        }
        filters
    }

    /// The filters of a rule of a GRPCRoute.
    pub(super) fn grpc(written: &[GrpcRouteFilter]) -> Self {
        let mut filters = Self::default();
        for (at, filter) in written.iter().enumerate() {
            filters.add_http(at, &as_http(filter));
        }
        filters
    }

    /// Whether requests get a redirect.
    pub(super) fn redirects(&self) -> bool {
        self.redirect.is_some()
    }

    /// Whether copies of requests are sent to other backends.
    pub(super) fn mirror_requests(&self) -> bool {
        !self.mirrors.is_empty()
    }

    /// Whether a URLRewrite sets the host, and whether it sets the path.
    pub(super) fn rewrites(&self) -> (bool, bool) {
        let rewrite = self.rewrite.as_ref();
        rewrite.map_or((false, false), |rewrite| {
            (rewrite.hostname.is_some(), rewrite.path.is_some())
        })
    }

    /// Whether the matched prefix is replaced.
    pub(super) fn replaces_prefix(&self) -> bool {
        let redirect = self
            .redirect
            .as_ref()
            .and_then(|redirect| redirect.path.as_ref());
        let rewrite = self
            .rewrite
            .as_ref()
            .and_then(|rewrite| rewrite.path.as_ref());
        let paths = [redirect, rewrite];
        paths
            .into_iter()
            .flatten()
            .any(|path| matches!(path, PathEdit::Prefix(_)))
    }

    /// Whether preflight requests are answered.
    pub(super) fn answers_preflights(&self) -> bool {
        self.cors.is_some()
    }

    /// The filters in the order in which they run, with the resolved mirrors.
    pub(super) fn finish(self, mirrors: Vec<Mirror>, extensions: Extensions) -> Vec<Filter> {
        let cors = self.cors.map(Filter::Cors);
        let request = self.request.finish().map(Filter::RequestHeaders);
        let response = self.response.finish().map(Filter::ResponseHeaders);
        let redirect = self.redirect.map(Filter::Redirect);
        let rewrite = self.rewrite.map(Filter::Rewrite);
        let regex = extensions.rewrite.map(Filter::RegexRewrite);
        let direct = extensions.direct.map(Filter::DirectResponse);
        [cors, request, response, direct, redirect, regex, rewrite]
            .into_iter()
            .flatten()
            .chain(mirrors.into_iter().map(Filter::Mirror))
            .collect()
    }

    fn fault(&mut self, condition: ConditionType, reason: RouteReason, at: usize, message: String) {
        self.faults.push(FilterError {
            condition,
            reason,
            at,
            message,
        });
    }

    fn add_http(&mut self, at: usize, filter: &HttpRouteFilter) {
        let missing = || {
            Err(format!(
                "the settings of the {} filter are missing",
                filter.kind
            ))
        };
        let outcome = match FilterType::from_name(&filter.kind) {
            Some(FilterType::RequestHeaderModifier) => {
                let settings = filter.request_header_modifier.as_ref();
                settings.map_or_else(missing, |settings| self.request.add(settings))
            }
            Some(FilterType::ResponseHeaderModifier) => {
                let settings = filter.response_header_modifier.as_ref();
                settings.map_or_else(missing, |settings| self.response.add(settings))
            }
            Some(FilterType::RequestRedirect) => {
                let settings = filter.request_redirect.as_ref();
                settings.map_or_else(missing, |settings| self.redirect(settings))
            }
            Some(FilterType::UrlRewrite) => {
                let settings = filter.url_rewrite.as_ref();
                settings.map_or_else(missing, |settings| self.rewrite(settings))
            }
            Some(FilterType::RequestMirror) => {
                let settings = filter.request_mirror.as_ref();
                settings.map_or_else(missing, |settings| self.mirror(at, settings))
            }
            Some(FilterType::Cors) => {
                let settings = filter.cors.as_ref();
                settings.map_or_else(missing, |settings| self.cors(settings))
            }
            Some(FilterType::ExternalAuth) => {
                let settings = filter.external_auth.as_ref();
                settings.map_or_else(missing, |settings| self.external_auth(at, settings))
            }
            Some(FilterType::ExtensionRef) => match &filter.extension_ref {
                Some(reference) => {
                    self.extensions.push((at, reference.clone()));
                    Ok(())
                }
                None => missing(),
            },
            None => Err(format!("filter type {:?} is not supported", filter.kind)),
        };
        if let Err(message) = outcome {
            self.fault(
                ConditionType::Accepted,
                RouteReason::UnsupportedValue,
                at,
                message,
            );
        }
    }

    fn redirect(&mut self, written: &RequestRedirect) -> Result<(), String> {
        if self.redirect.is_some() {
            return Err("RequestRedirect must not be repeated".to_owned());
        }
        let scheme = match written.scheme.as_deref() {
            None => None,
            Some("http") => Some(WebScheme::Http),
            Some("https") => Some(WebScheme::Https),
            Some(other) => {
                return Err(format!(
                    "scheme {other:?} is not supported; use http or https"
                ));
            }
        };
        let status = match written.status_code {
            None => Some(RedirectStatus::default()),
            Some(code) => u16::try_from(code)
                .ok()
                .and_then(|code| code.try_into().ok()),
        };
        let status = status.ok_or_else(|| {
            let code = written.status_code.unwrap_or_default();
            format!("statusCode {code} is not supported; use 301, 302, 303, 307 or 308")
        })?;
        self.redirect = Some(Redirect {
            scheme,
            hostname: written.hostname.as_deref().map(hostname).transpose()?,
            port: written.port.map(port).transpose()?,
            path: written.path.as_ref().map(path).transpose()?,
            status,
        });
        Ok(())
    }

    fn rewrite(&mut self, written: &UrlRewrite) -> Result<(), String> {
        if self.rewrite.is_some() {
            return Err("URLRewrite must not be repeated".to_owned());
        }
        self.rewrite = Some(Rewrite {
            hostname: written.hostname.as_deref().map(hostname).transpose()?,
            path: written.path.as_ref().map(path).transpose()?,
        });
        Ok(())
    }
}

impl Filters {
    fn mirror(&mut self, at: usize, written: &RequestMirror) -> Result<(), String> {
        self.mirrors.push(WantedMirror {
            at,
            backend: written.backend_ref.clone(),
            fraction: fraction(written)?,
        });
        Ok(())
    }

    fn external_auth(&mut self, at: usize, written: &ExternalAuth) -> Result<(), String> {
        external_auth::check(written)?;
        self.external_auth.push(WantedExternalAuth {
            at,
            settings: written.clone(),
        });
        Ok(())
    }

    fn cors(&mut self, written: &crate::api::http_route::Cors) -> Result<(), String> {
        if self.cors.is_some() {
            return Err("CORS must not be repeated".to_owned());
        }
        self.cors = Some(cors::resolve(written)?);
        Ok(())
    }
}

/// Fraction of the requests that are copied.
fn fraction(written: &RequestMirror) -> Result<Fraction, String> {
    let (numerator, denominator) = match (written.percent, &written.fraction) {
        (None, None) => return Ok(Fraction::ALL),
        (Some(percent), None) => (percent, 100),
        (None, Some(fraction)) => (fraction.numerator, fraction.denominator.unwrap_or(100)),
        (Some(_), Some(_)) => {
            return Err("percent and fraction must not be used together".to_owned());
        }
    };
    match (u32::try_from(numerator), u32::try_from(denominator)) {
        (Ok(numerator), Ok(denominator)) if denominator > 0 && numerator <= denominator => {
            Ok(Fraction {
                numerator,
                denominator,
            })
        }
        _ => Err(format!(
            "fraction {numerator}/{denominator} is not between 0 and 1"
        )),
    }
}

/// An exact hostname; not an IP address.
fn hostname(written: &str) -> Result<String, String> {
    match written.parse() {
        Ok(NamePattern::Exact(name)) if name.parse::<std::net::IpAddr>().is_err() => Ok(name),
        _ => Err(format!("hostname {written:?} is not an exact hostname")),
    }
}

fn port(written: i32) -> Result<u16, String> {
    let port = u16::try_from(written).ok().filter(|port| *port > 0);
    port.ok_or_else(|| format!("port {written} is not between 1 and 65535"))
}

fn path(written: &PathModifier) -> Result<PathEdit, String> {
    match (
        written.kind.as_str(),
        &written.replace_full_path,
        &written.replace_prefix_match,
    ) {
        ("ReplaceFullPath", Some(path), None) => Ok(PathEdit::Full(path.clone())),
        ("ReplacePrefixMatch", None, Some(prefix)) => Ok(PathEdit::Prefix(prefix.clone())),
        ("ReplaceFullPath", ..) => {
            Err("path.type ReplaceFullPath requires replaceFullPath only".to_owned())
        }
        ("ReplacePrefixMatch", ..) => {
            Err("path.type ReplacePrefixMatch requires replacePrefixMatch only".to_owned())
        }
        (other, ..) => Err(format!(
            "unknown path.type {other:?}; use ReplaceFullPath or ReplacePrefixMatch"
        )),
    }
}

fn as_http(filter: &GrpcRouteFilter) -> HttpRouteFilter {
    HttpRouteFilter {
        kind: filter.kind.clone(),
        request_header_modifier: filter.request_header_modifier.clone(),
        response_header_modifier: filter.response_header_modifier.clone(),
        request_mirror: filter.request_mirror.clone(),
        extension_ref: filter.extension_ref.clone(),
        ..Default::default()
    }
}

/// The filters of a backendRef: all but CORS, since preflight requests are answered before a backend is
/// picked.
///
/// # Errors
///
/// Reason and message if a filter is unsupported or invalid.
pub(super) fn of_backend(written: &[HttpRouteFilter]) -> Result<Filters, (RouteReason, String)> {
    for filter in written {
        let kind = FilterType::from_name(&filter.kind);
        if !kind.is_some_and(FilterType::is_of_backends) {
            let message = format!(
                "filter type {:?} is not supported in a backendRef",
                filter.kind
            );
            return Err((RouteReason::UnsupportedRefValue, message));
        }
    }
    let filters = Filters::http(written);
    match filters.faults.first() {
        Some(fault) => Err((RouteReason::InvalidBackendFilters, fault.message.clone())),
        None => Ok(filters),
    }
}

/// As [`of_backend`], for a GRPCRoute.
///
/// # Errors
///
/// As [`of_backend`].
pub(super) fn of_grpc_backend(
    written: &[GrpcRouteFilter],
) -> Result<Filters, (RouteReason, String)> {
    of_backend(&written.iter().map(as_http).collect::<Vec<_>>())
}
