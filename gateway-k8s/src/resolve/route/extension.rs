//! Filters of type ExtensionRef: HTTPRouteFilters of Envoy Gateway.

use std::fmt::Display;
use std::str::FromStr;

use http::{HeaderName, HeaderValue};
use towergate_core::filter::{
    CredentialHeader, DirectResponse, HeaderEdit, HeaderEdits, HostRewrite, RegexReplacement,
    RegexRewrite, SecretHeaderValue,
};
use towergate_core::format::FieldText;
use towergate_core::http::reserved::is_reserved;
use towergate_core::plan::{Match, NameMatch, Text, TextMatch};
use towergate_policy::check;
use towergate_policy::common::Header;
use towergate_policy::credential_injection::RequestCredential;
use towergate_policy::route_filter::{
    self, BodyKind, CookieMatch, CookieMatchKind, HostRewriteKind, HttpRouteFilterSpec,
    ResponseBody,
};
use towergate_policy::secret::SecretText;

use super::super::object_index::ObjectIndex;
use super::RouteRef;
use crate::api::ENVOY_GROUP;
use crate::api::reference::LocalObjectReference;
use crate::objects::{Object, ObjectKey};
use crate::status::{ConditionType, RouteReason};

/// Key of a credential in its Secret.
const CREDENTIAL: &str = "credential";
/// Preferred key of a body in its ConfigMap.
const BODY: &str = "response.body";
/// Message about an HTTPRouteFilter of a backendRef.
const ONLY_CREDENTIAL: &str =
    "a backendRef supports only credentialInjection of an HTTPRouteFilter";
/// Maximum number of matches of a rule after they are combined with the matches of its filters.
const MAX_MATCHES: usize = 512;

/// The effects of a rule's HTTPRouteFilters.
#[derive(Debug, Default)]
pub(super) struct Extensions {
    pub(super) rewrite: Option<RegexRewrite>,
    /// If set, `Host` is the Backend's host name; the value states whether `X-Forwarded-Host` is
    /// appended.
    pub(super) host_of_backend: Option<bool>,
    pub(super) direct: Option<DirectResponse>,
    pub(super) credential: Option<RequestCredential>,
    /// Alternative conditions on cookies; empty: none.
    cookies: Vec<Vec<NameMatch<String>>>,
}

/// Why a filter is not in force.
#[derive(Debug)]
pub(super) struct ExtensionError {
    pub(super) condition: ConditionType,
    /// Error message: a clause without a full stop.
    pub(super) message: String,
}

fn invalid<T>(message: impl Into<String>) -> Result<T, ExtensionError> {
    Err(ExtensionError {
        condition: ConditionType::Accepted,
        message: message.into(),
    })
}

impl ExtensionError {
    pub(super) const REASON: RouteReason = RouteReason::UnsupportedValue;
}

impl Extensions {
    /// Adds the filter that `reference` names.
    ///
    /// # Errors
    /// If the filter does not exist or is invalid. The rule must not be served.
    pub(super) fn add(
        &mut self,
        index: &ObjectIndex<'_>,
        route: RouteRef<'_>,
        reference: &LocalObjectReference,
    ) -> Result<(), ExtensionError> {
        let namespace = &*route.meta().namespace;
        let key = ObjectKey::new(namespace, &*reference.name);
        let unresolved = |message: String| ExtensionError {
            condition: ConditionType::ResolvedRefs,
            message,
        };
        if (&*reference.group, &*reference.kind) != (ENVOY_GROUP, "HTTPRouteFilter") {
            let (kind, group) = (&reference.kind, &reference.group);
            let message = format!("ExtensionRef to {kind} of group {group:?} is not supported");
            return Err(unresolved(message));
        }
        let Some(filter) = index.objects.route_filters.get(&key) else {
            return Err(unresolved(format!("HTTPRouteFilter {key} not found")));
        };
        self.add_filter(index, route, filter)
            .map_err(|error| ExtensionError {
                message: format!("HTTPRouteFilter {key}: {}", error.message),
                ..error
            })
    }

    fn add_filter(
        &mut self,
        index: &ObjectIndex<'_>,
        route: RouteRef<'_>,
        filter: &Object<HttpRouteFilterSpec>,
    ) -> Result<(), ExtensionError> {
        if let Some(violation) = filter.unreadable_fields.first() {
            return invalid(violation.to_string());
        }
        let spec = &filter.spec;
        let checked = check::Report::of(spec);
        if let Some(unsupported) = checked.unsupported.first() {
            return invalid(unsupported.to_string());
        }
        if let Some(violation) = checked.violations.first() {
            return invalid(violation.to_string());
        }
        let namespace = &*filter.meta.namespace;
        if let Some(rewrite) = &spec.url_rewrite {
            if self.rewrite.is_some() || self.host_of_backend.is_some() {
                return invalid("urlRewrite must not be repeated");
            }
            self.add_rewrite(rewrite)?;
        }
        if let Some(direct) = &spec.direct_response {
            if self.direct.is_some() {
                return invalid("directResponse must not be repeated");
            }
            let direct = direct_response(index, namespace, direct)?;
            if matches!(route, RouteRef::Grpc(_)) && (200..300).contains(&direct.status) {
                return invalid("directResponse.statusCode of a GRPCRoute must not be 2xx");
            }
            self.direct = Some(direct);
        }
        if let Some(injection) = &spec.credential_injection {
            if self.credential.is_some() {
                return invalid("credentialInjection must not be repeated");
            }
            self.credential = Some(credential(index, namespace, injection)?);
        }
        if let Some(matches) = spec.matches.as_ref().filter(|matches| !matches.is_empty()) {
            if !self.cookies.is_empty() {
                return invalid("matches must not be repeated");
            }
            for one in matches {
                let cookies = one.cookies.iter().flatten().map(cookie);
                self.cookies.push(cookies.collect::<Result<_, _>>()?);
            }
        }
        Ok(())
    }

    fn add_rewrite(&mut self, written: &route_filter::UrlRewrite) -> Result<(), ExtensionError> {
        let append = written.append_x_forwarded_host.unwrap_or(true);
        let path = written
            .path
            .as_ref()
            .map(|path| {
                replacement(
                    "urlRewrite.path.replaceRegexMatch",
                    path.replace_regex_match.as_ref(),
                )
            })
            .transpose()?;
        let host = match &written.hostname {
            None => None,
            Some(host) => match &host.kind {
                Some(HostRewriteKind::Backend) => {
                    self.host_of_backend = Some(append);
                    None
                }
                Some(HostRewriteKind::Header) => {
                    let name = host.header.as_deref().unwrap_or_default();
                    Some(HostRewrite::Header(parse(
                        "urlRewrite.hostname.header",
                        name,
                    )?))
                }
                Some(HostRewriteKind::PathRegex) => {
                    let written = host.path_regex.as_ref();
                    let found = replacement("urlRewrite.hostname.pathRegex", written)?;
                    Some(HostRewrite::Path(found))
                }
                Some(HostRewriteKind::Other(_)) | None => {
                    return invalid(
                        "urlRewrite.hostname.type must be Header, Backend or PathRegex",
                    );
                }
            },
        };
        if path.is_some() || host.is_some() {
            self.rewrite = Some(RegexRewrite {
                path,
                host,
                append_forwarded_host: append,
            });
        }
        Ok(())
    }

    /// The credential for a backendRef, which supports no other effect.
    ///
    /// # Errors
    /// There is another effect, or the credential is not a header value.
    pub(super) fn into_credential(self) -> Result<Option<CredentialHeader>, ExtensionError> {
        let Self {
            rewrite: None,
            host_of_backend: None,
            direct: None,
            credential,
            cookies,
        } = self
        else {
            return invalid(ONLY_CREDENTIAL);
        };
        if !cookies.is_empty() {
            return invalid(ONLY_CREDENTIAL);
        }
        let Some(credential) = credential else {
            return Ok(None);
        };
        Ok(Some(CredentialHeader {
            secret: parse_secret(credential.credential.expose())?,
            header: credential.header,
            overwrite: credential.overwrite,
        }))
    }

    /// The matches of the rule with the conditions on cookies; `None`: the filters have no conditions on
    /// cookies.
    ///
    /// # Errors
    /// There are too many combinations.
    pub(super) fn restrict(&self, matches: &[Match]) -> Result<Option<Vec<Match>>, ExtensionError> {
        if self.cookies.is_empty() {
            return Ok(None);
        }
        if matches.len() * self.cookies.len() > MAX_MATCHES {
            return invalid("matches: too many combinations with the matches of the rule");
        }
        let product = matches.iter().flat_map(|one| {
            self.cookies.iter().map(|cookies| Match {
                cookies: cookies.clone(),
                ..one.clone()
            })
        });
        Ok(Some(product.collect()))
    }
}

/// Parses a credential. Error messages do not contain it.
fn parse_secret(text: &str) -> Result<SecretHeaderValue, ExtensionError> {
    text.parse()
        .or_else(|_| invalid("credentialInjection: the credential is not a header value"))
}

/// Parses the string of a field.
fn parse<T: FromStr>(field: &str, text: &str) -> Result<T, ExtensionError>
where
    T::Err: Display,
{
    text.parse()
        .or_else(|error: T::Err| invalid(format!("{field}: {text:?}: {error}")))
}

fn replacement(
    field: &str,
    written: Option<&route_filter::RegexReplacement>,
) -> Result<RegexReplacement, ExtensionError> {
    let Some(written) = written else {
        return invalid(format!("{field} is missing"));
    };
    let pattern = written.pattern.as_deref().unwrap_or_default();
    let substitution = written.substitution.as_deref().unwrap_or_default();
    let pattern = TextMatch::search(pattern)
        .or_else(|error| invalid(format!("{field}.pattern: {pattern:?}: {error}")))?;
    Ok(RegexReplacement {
        pattern: pattern.into(),
        substitution: parse(&format!("{field}.substitution"), substitution)?,
    })
}

fn direct_response(
    index: &ObjectIndex<'_>,
    namespace: &str,
    written: &route_filter::DirectResponse,
) -> Result<DirectResponse, ExtensionError> {
    let status = written.status_code.unwrap_or(200);
    let Some(status) = u16::try_from(status)
        .ok()
        .filter(|status| (200..600).contains(status))
    else {
        return invalid(format!(
            "directResponse.statusCode {status} is not between 200 and 599"
        ));
    };
    let body = written
        .body
        .as_ref()
        .map(|body| body_text(index, namespace, body));
    let body = match body.transpose()? {
        None => None,
        Some(text) => Some(parse("directResponse.body", &text)?),
    };
    let content_type = match &written.content_type {
        None => None,
        Some(text) => Some(parse("directResponse.contentType", text)?),
    };
    let mut edits = Vec::new();
    if let Some(header) = &written.header {
        if header
            .remove
            .as_ref()
            .is_some_and(|remove| !remove.is_empty())
        {
            return invalid("directResponse.header.remove is not supported");
        }
        for field in header.set.iter().flatten() {
            edits.push(edit(field, HeaderEdit::set)?);
        }
        for field in header.add.iter().flatten() {
            edits.push(edit(field, HeaderEdit::add)?);
        }
    }
    Ok(DirectResponse {
        status,
        body,
        content_type,
        headers: HeaderEdits(edits),
    })
}

fn edit(
    field: &Header,
    make: impl Fn(Text<HeaderName>, FieldText) -> HeaderEdit,
) -> Result<HeaderEdit, ExtensionError> {
    let name = field.name.as_deref().unwrap_or_default();
    let parsed = parse("directResponse.header", name)?;
    match FieldText::parse(field.value.as_deref().unwrap_or_default()) {
        Ok(value) => Ok(make(parsed, value)),
        Err(error) => invalid(format!("directResponse.header: {name}: {error}")),
    }
}

fn body_text(
    index: &ObjectIndex<'_>,
    namespace: &str,
    written: &ResponseBody,
) -> Result<String, ExtensionError> {
    if written.kind != Some(BodyKind::ValueRef) {
        return Ok(written.inline.clone().unwrap_or_default());
    }
    let Some(reference) = &written.value_ref else {
        return invalid("directResponse.body.valueRef is missing");
    };
    let kind = reference.kind.as_deref().unwrap_or("ConfigMap");
    if (reference.group.as_deref().unwrap_or_default(), kind) != ("", "ConfigMap") {
        return invalid(format!(
            "directResponse.body.valueRef: {kind} is not supported; use ConfigMap"
        ));
    }
    let key = ObjectKey::new(namespace, reference.name.as_deref().unwrap_or_default());
    let Some(map) = index.objects.config_maps.get(&key) else {
        return invalid(format!("ConfigMap {key} not found"));
    };
    let data = &map.spec.data;
    match data.get(BODY).or_else(|| data.values().next()) {
        Some(text) => Ok(text.clone()),
        None => invalid(format!("ConfigMap {key} has no value")),
    }
}

/// Whether `text` is a header value without blanks at its ends (RFC 9110, section 5.5).
fn is_credential(text: &str) -> bool {
    !text.is_empty()
        && text.trim_matches([' ', '\t']) == text
        && HeaderValue::from_str(text).is_ok()
}

fn credential(
    index: &ObjectIndex<'_>,
    namespace: &str,
    written: &route_filter::CredentialInjection,
) -> Result<RequestCredential, ExtensionError> {
    let name = written.header.as_deref().unwrap_or("authorization");
    let header: Text<HeaderName> = parse("credentialInjection.header", name)?;
    if is_reserved(&header) {
        return invalid(format!(
            "credentialInjection.header: the gateway itself sets {}; use another field",
            header.as_str()
        ));
    }
    let reference = written
        .credential
        .as_ref()
        .and_then(|one| one.value_ref.as_ref());
    let Some(reference) = reference else {
        return invalid("credentialInjection.credential.valueRef is missing");
    };
    let kind = reference.kind.as_deref().unwrap_or("Secret");
    let other = reference
        .namespace
        .as_deref()
        .is_some_and(|other| other != namespace);
    if (reference.group.as_deref().unwrap_or_default(), kind) != ("", "Secret") || other {
        return invalid(
            "credentialInjection.credential.valueRef must be a Secret of the same namespace",
        );
    }
    let key = ObjectKey::new(namespace, reference.name.as_deref().unwrap_or_default());
    let Some(secret) = index.objects.secrets.get(&key) else {
        return invalid(format!("Secret {key} not found"));
    };
    let value = match secret.spec.value(CREDENTIAL) {
        Ok(Some(value)) => value,
        Ok(None) => return invalid(format!("Secret {key} has no {CREDENTIAL}")),
        Err(fault) => return invalid(format!("{CREDENTIAL} of Secret {key} is {fault}")),
    };
    // Editors add a line break at the end of a file; it is not part of the credential.
    let text = String::from_utf8(value).map(|text| text.trim_end_matches(['\r', '\n']).to_owned());
    match text {
        Ok(text) if is_credential(&text) => Ok(RequestCredential {
            header,
            credential: SecretText::new(text),
            overwrite: written.overwrite.unwrap_or(false),
        }),
        _ => invalid(format!(
            "{CREDENTIAL} of Secret {key} is not a header value"
        )),
    }
}

fn cookie(written: &CookieMatch) -> Result<NameMatch<String>, ExtensionError> {
    let name = written.name.clone().unwrap_or_default();
    let value = written.value.clone().unwrap_or_default();
    let value = match &written.kind {
        None | Some(CookieMatchKind::Exact) => TextMatch::Exact(value),
        Some(CookieMatchKind::RegularExpression) => match TextMatch::regex(&value) {
            Ok(value) => value,
            Err(error) => return invalid(format!("matches: cookie {name}: {error}")),
        },
        Some(CookieMatchKind::Other(kind)) => {
            return invalid(format!("matches: cookie type {kind:?} is not supported"));
        }
    };
    Ok(NameMatch { name, value })
}

#[cfg(test)]
mod tests {
    use towergate_policy::route_filter::FilterMatch;

    use crate::decode::decode;
    use crate::resolve::{Resolution, ResolveOptions, resolve};

    const OBJECTS: &str = "
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge, namespace: apps}
spec:
  gatewayClassName: eg
  listeners: [{name: http, port: 80, protocol: HTTP}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: route, namespace: apps}
spec:
  parentRefs: [{name: edge}]
  rules:
  - filters: [{type: ExtensionRef, extensionRef: {group: gateway.envoyproxy.io, kind: HTTPRouteFilter, name: beta}}]
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: HTTPRouteFilter
metadata: {name: beta, namespace: apps}
spec:
  directResponse: {statusCode: 200}
  matches: [{cookies: [{name: beta, value: 'yes'}]}]
";

    /// An API server with an older CRD accepts a match without a condition.
    #[test]
    fn a_match_without_a_condition_does_not_hold_for_every_request() {
        let mut objects = decode("test.yaml", OBJECTS).objects;
        let valid = resolve(&objects, &ResolveOptions::default());
        for filter in objects.route_filters.values_mut() {
            filter.spec.matches = Some(vec![FilterMatch::default()]);
        }

        let resolution = resolve(&objects, &ResolveOptions::default());

        let is_closed = |resolution: &Resolution| {
            let plan = serde_json::to_string(&resolution.plan).unwrap();
            plan.contains("\"respond\":500")
        };
        assert!(!is_closed(&valid));
        assert!(is_closed(&resolution));
        let found = format!("{:?}", resolution.diagnostics);
        let message =
            "HTTPRouteFilter apps/beta: spec.matches[0]: should have at least 1 properties";
        assert!(found.contains(message), "{found}");
    }
}
