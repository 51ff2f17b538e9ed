//! Credentials and keys that are sent without encryption.

use std::net::IpAddr;

use http::Uri;
use towergate_core::plan::Filter;
use towergate_policy::SecurityPolicySpec;

use super::super::super::report::{Report, Subject};
use super::{PlacedRule, PolicyUse};
use crate::finding::FindingCode;

/// Reports credentials of clients on listeners without TLS, and secrets and keys that are exchanged with a
/// provider without TLS.
pub(super) fn check(used: &PolicyUse<'_, '_>, subject: &Subject<'_>, report: &mut Report) {
    of_clients(used, subject, report);
    for (field, what, url) in provider_urls(&used.policy.spec) {
        if leaves_host_in_plain_text(url) {
            report.warn(
                FindingCode::CredentialsInPlainText,
                subject,
                field,
                format!("{what} without encryption: {url} is an http URL of another host"),
                "use an https URL",
            );
        }
    }
}

fn of_clients(used: &PolicyUse<'_, '_>, subject: &Subject<'_>, report: &mut Report) {
    let spec = &used.policy.spec;
    let external = "credentials for the authorization service";
    let sections = [
        (spec.basic_auth.is_some(), "spec.basicAuth", "passwords"),
        (spec.api_key_auth.is_some(), "spec.apiKeyAuth", "API keys"),
        (spec.jwt.is_some(), "spec.jwt", "tokens"),
        (spec.oidc.is_some(), "spec.oidc", "sessions"),
        (spec.ext_auth.is_some(), "spec.extAuth", external),
    ];
    let plain = |placed: &&PlacedRule<'_, '_>| placed.rule.is_some() && placed.place.is_http();
    let plain = used.rules.iter().filter(plain);
    let (redirects, others): (Vec<&PlacedRule<'_, '_>>, Vec<_>) =
        plain.partition(|placed| has_redirect(placed));
    let (placed, help) = match (others.first(), redirects.first()) {
        (Some(placed), _) => (
            placed,
            "attach the routes to an HTTPS listener, and redirect the HTTP listener to it",
        ),
        // Policies run before the redirect, so clients send their credentials without encryption.
        (None, Some(placed)) => (
            placed,
            "the routes only redirect, but the policy is enforced before the redirect: target the policy at the HTTPS listener (sectionName), or at the routes that do not redirect",
        ),
        (None, None) => return,
    };
    for (_, field, what) in sections.into_iter().filter(|(is_set, ..)| *is_set) {
        let message = format!(
            "{what} are sent without encryption: the policy is in force on listener {:?}, which has protocol HTTP",
            placed.place.listener.spec.name
        );
        report.warn(
            FindingCode::CredentialsInPlainText,
            subject,
            field,
            message,
            help,
        );
    }
}

fn has_redirect(placed: &PlacedRule<'_, '_>) -> bool {
    let is_redirect = |filter: &Filter| matches!(filter, Filter::Redirect(_));
    placed
        .rule
        .is_some_and(|rule| rule.filters.iter().any(is_redirect))
}

/// URLs to which secrets are sent, or from which keys are fetched: field, effect, URL. Endpoints with
/// `backendRefs` are left out, because the backends configure the TLS of these connections.
fn provider_urls(spec: &SecurityPolicySpec) -> Vec<(String, &'static str, &str)> {
    let mut urls = Vec::new();
    if let Some(provider) = spec.oidc.as_ref().and_then(|oidc| oidc.provider.as_ref()) {
        if let Some(url) = &provider.authorization_endpoint {
            let field = "spec.oidc.provider.authorizationEndpoint".to_owned();
            urls.push((field, "users log in at the provider", url.as_str()));
        }
        if let (Some(url), None) = (&provider.token_endpoint, &provider.backend_refs) {
            let field = "spec.oidc.provider.tokenEndpoint".to_owned();
            urls.push((field, "the client secret and tokens are sent", url.as_str()));
        }
    }
    let providers = spec.jwt.as_ref().and_then(|jwt| jwt.providers.as_ref());
    for (at, provider) in providers.into_iter().flatten().enumerate() {
        let Some(remote) = &provider.remote_jwks else {
            continue;
        };
        if let (Some(url), None) = (&remote.uri, &remote.backend_refs) {
            let field = format!("spec.jwt.providers[{at}].remoteJWKS.uri");
            urls.push((
                field,
                "the keys that verify tokens are fetched",
                url.as_str(),
            ));
        }
    }
    urls
}

/// Whether a URL has no TLS and its host is not the machine of the data plane.
fn leaves_host_in_plain_text(url: &str) -> bool {
    let Ok(uri) = url.parse::<Uri>() else {
        return false;
    };
    let host = uri.host().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']');
    let is_loopback = |address: IpAddr| address.is_loopback();
    let local = host.eq_ignore_ascii_case("localhost") || address.parse().is_ok_and(is_loopback);
    uri.scheme_str() == Some("http") && !local
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_http_urls_of_other_hosts_leave_the_host_in_plain_text() {
        for (url, leaves) in [
            ("http://op.test/token", true),
            ("http://192.0.2.1:8080/token", true),
            ("https://op.test/token", false),
            ("http://localhost:8080/token", false),
            ("http://127.0.0.1/token", false),
            ("http://[::1]:8080/token", false),
            ("op.test", false),
        ] {
            assert_eq!(leaves_host_in_plain_text(url), leaves, "{url}");
        }
    }
}
