//! Filters of rules and of backendRefs, checked as Envoy Gateway checks them.
//!
//! What comes out is in a fixed order, since Gateway API gives none: CORS, header edits, then the redirect
//! or the rewrite, then mirrors. What Towergate does not have (external authorization, filters of
//! extensions) is a fault of the rule, which then answers 500: a filter that is left out could be the
//! one that keeps people out. Only a mirror that leads nowhere is left out, as the API wants it.

use towergate_core::filter::{Cors, PathEdit, Redirect, Rewrite};
use towergate_core::plan::{Filter, Fraction, Mirror};
use towergate_tls::NamePattern;

use super::cors;
use super::headers::Modifiers;
use crate::api::grpc_route::GrpcRouteFilter;
use crate::api::http_route::{
    HttpRouteFilter, PathModifier, RequestMirror, RequestRedirect, UrlRewrite,
};
use crate::api::reference::BackendObjectReference;

/// The statuses that a redirect can have.
const REDIRECTS: [i32; 5] = [301, 302, 303, 307, 308];

/// What filters mean.
#[derive(Debug, Default)]
pub(super) struct Filters {
    request: Modifiers,
    response: Modifiers,
    redirect: Option<Redirect>,
    rewrite: Option<Rewrite>,
    cors: Option<Cors>,
    /// Where copies should go.
    pub(super) mirrors: Vec<WantedMirror>,
    /// Faults, by the condition that they make false.
    pub(super) faults: Vec<FilterFault>,
}

/// A mirror whose backend was not looked for yet.
#[derive(Debug)]
pub(super) struct WantedMirror {
    /// The filter's place.
    pub(super) at: usize,
    /// Where copies should go.
    pub(super) backend: BackendObjectReference,
    /// Of which requests.
    pub(super) fraction: Fraction,
}

/// Something wrong with a filter.
#[derive(Debug)]
pub(super) struct FilterFault {
    /// `Accepted` or `ResolvedRefs`.
    pub(super) condition: &'static str,
    /// The word of the API.
    pub(super) reason: &'static str,
    /// The filter's place.
    pub(super) at: usize,
    /// A sentence.
    pub(super) message: String,
}

impl Filters {
    /// The filters of a rule of an HTTPRoute.
    pub(super) fn http(written: &[HttpRouteFilter]) -> Self {
        let mut filters = Self::default();
        for (at, filter) in written.iter().enumerate() {
            filters.add_http(at, filter);
        }
        if filters.redirect.is_some() && filters.rewrite.is_some() {
            let message = "a rule cannot both redirect and rewrite".to_owned();
            filters.fault("Accepted", "IncompatibleFilters", 0, message);
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

    /// Whether requests are answered with a redirect.
    pub(super) fn redirects(&self) -> bool {
        self.redirect.is_some()
    }

    /// Whether the prefix that a rule matched is replaced.
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

    /// Whether browsers are answered.
    pub(super) fn answers_preflights(&self) -> bool {
        self.cors.is_some()
    }

    /// The filters, in the order in which they run, with those mirrors whose backend was found.
    pub(super) fn finish(self, mirrors: Vec<Mirror>) -> Vec<Filter> {
        let cors = self.cors.map(Filter::Cors);
        let request = self.request.finish().map(Filter::RequestHeaders);
        let response = self.response.finish().map(Filter::ResponseHeaders);
        let redirect = self.redirect.map(Filter::Redirect);
        let rewrite = self.rewrite.map(Filter::Rewrite);
        [cors, request, response, redirect, rewrite]
            .into_iter()
            .flatten()
            .chain(mirrors.into_iter().map(Filter::Mirror))
            .collect()
    }

    fn fault(&mut self, condition: &'static str, reason: &'static str, at: usize, message: String) {
        self.faults.push(FilterFault {
            condition,
            reason,
            at,
            message,
        });
    }

    fn add_http(&mut self, at: usize, filter: &HttpRouteFilter) {
        let missing = || {
            Err(format!(
                "a filter of type {} needs its settings",
                filter.kind
            ))
        };
        let outcome = match filter.kind.as_str() {
            "RequestHeaderModifier" => {
                let settings = filter.request_header_modifier.as_ref();
                settings.map_or_else(missing, |settings| self.request.add(settings))
            }
            "ResponseHeaderModifier" => {
                let settings = filter.response_header_modifier.as_ref();
                settings.map_or_else(missing, |settings| self.response.add(settings))
            }
            "RequestRedirect" => {
                let settings = filter.request_redirect.as_ref();
                settings.map_or_else(missing, |settings| self.redirect(settings))
            }
            "URLRewrite" => {
                let settings = filter.url_rewrite.as_ref();
                settings.map_or_else(missing, |settings| self.rewrite(settings))
            }
            "RequestMirror" => {
                let settings = filter.request_mirror.as_ref();
                settings.map_or_else(missing, |settings| self.mirror(at, settings))
            }
            "CORS" => {
                let settings = filter.cors.as_ref();
                settings.map_or_else(missing, |settings| self.cors(settings))
            }
            "ExtensionRef" => {
                let name = filter
                    .extension_ref
                    .as_ref()
                    .map_or("", |reference| &*reference.name);
                let message = format!("filters of extensions are not supported ({name})");
                return self.fault("ResolvedRefs", "UnsupportedValue", at, message);
            }
            other => Err(format!("filters of type {other} are not supported")),
        };
        if let Err(message) = outcome {
            self.fault("Accepted", "UnsupportedValue", at, message);
        }
    }

    fn redirect(&mut self, written: &RequestRedirect) -> Result<(), String> {
        if self.redirect.is_some() {
            return Err("a rule has one RequestRedirect at most".to_owned());
        }
        if let Some(scheme) = written.scheme.as_deref()
            && !matches!(scheme, "http" | "https")
        {
            return Err(format!(
                "scheme {scheme:?} is not supported: http and https are"
            ));
        }
        let status = written.status_code.unwrap_or(302);
        if !REDIRECTS.contains(&status) {
            return Err(format!(
                "statusCode {status} is none of 301, 302, 303, 307, 308"
            ));
        }
        self.redirect = Some(Redirect {
            scheme: written.scheme.clone(),
            hostname: written.hostname.as_deref().map(hostname).transpose()?,
            port: written.port.map(port).transpose()?,
            path: written.path.as_ref().map(path).transpose()?,
            status: u16::try_from(status).map_err(|_| "statusCode is out of range".to_owned())?,
        });
        Ok(())
    }

    fn rewrite(&mut self, written: &UrlRewrite) -> Result<(), String> {
        if self.rewrite.is_some() {
            return Err("a rule has one URLRewrite at most".to_owned());
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

    fn cors(&mut self, written: &crate::api::http_route::Cors) -> Result<(), String> {
        if self.cors.is_some() {
            return Err("a rule has one CORS filter at most".to_owned());
        }
        self.cors = Some(cors::resolve(written)?);
        Ok(())
    }
}

/// Which requests are copied.
fn fraction(written: &RequestMirror) -> Result<Fraction, String> {
    let (numerator, denominator) = match (written.percent, &written.fraction) {
        (None, None) => return Ok(Fraction::ALL),
        (Some(percent), None) => (percent, 100),
        (None, Some(fraction)) => (fraction.numerator, fraction.denominator.unwrap_or(100)),
        (Some(_), Some(_)) => return Err("a mirror has percent or fraction, not both".to_owned()),
    };
    match (u32::try_from(numerator), u32::try_from(denominator)) {
        (Ok(numerator), Ok(denominator)) if denominator > 0 && numerator <= denominator => {
            Ok(Fraction {
                numerator,
                denominator,
            })
        }
        _ => Err(format!(
            "{numerator} of {denominator} is no share of the requests"
        )),
    }
}

/// An exact host name, and no IP address.
fn hostname(written: &str) -> Result<String, String> {
    match written.parse() {
        Ok(NamePattern::Exact(name)) if name.parse::<std::net::IpAddr>().is_err() => Ok(name),
        _ => Err(format!("hostname {written:?} is not an exact host name")),
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
            Err("path.type ReplaceFullPath needs replaceFullPath and nothing else".to_owned())
        }
        ("ReplacePrefixMatch", ..) => {
            Err("path.type ReplacePrefixMatch needs replacePrefixMatch and nothing else".to_owned())
        }
        (other, ..) => Err(format!(
            "path.type {other:?} is not known: ReplaceFullPath and ReplacePrefixMatch are"
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

/// The filters of a backendRef: all but CORS, as a preflight is answered before a backend is drawn.
///
/// # Errors
/// The reason of the API and a sentence, if there is another or one that is wrong.
pub(super) fn of_backend(written: &[HttpRouteFilter]) -> Result<Filters, (&'static str, String)> {
    for filter in written {
        let supported = matches!(
            filter.kind.as_str(),
            "RequestHeaderModifier"
                | "ResponseHeaderModifier"
                | "RequestRedirect"
                | "URLRewrite"
                | "RequestMirror"
        );
        if !supported {
            let message = format!("{} is not supported in a backendRef", filter.kind);
            return Err(("UnsupportedRefValue", message));
        }
    }
    let filters = Filters::http(written);
    match filters.faults.first() {
        Some(fault) => Err(("InvalidBackendFilters", fault.message.clone())),
        None => Ok(filters),
    }
}

/// As [`of_backend`], for a GRPCRoute.
///
/// # Errors
/// As [`of_backend`].
pub(super) fn of_grpc_backend(
    written: &[GrpcRouteFilter],
) -> Result<Filters, (&'static str, String)> {
    of_backend(&written.iter().map(as_http).collect::<Vec<_>>())
}
