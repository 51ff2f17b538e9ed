//! Paths of OpenID Connect that the policy does not serve.
//!
//! A browser's request for the redirect URL or `logoutPath` is handled by the policy of the rule that the
//! request matches. The checks match such a request against the routes of each host where a login may begin.

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet};

use http::{HeaderMap, Method};
use towergate_core::plan::Match;
use towergate_core::route::{Query, RouteTable};
use towergate_policy::oidc::{RedirectHost, RedirectUrl};
use towergate_tls::{NameMap, NamePattern};

use super::super::super::gateway::ListenerProtocol;
use super::super::super::indexed::{GatewayIndex, ListenerIndex, ListenerPlace};
use super::super::super::port::bound;
use super::super::super::report::{Report, Subject};
use super::{Inputs, Place, PlacedRule, PolicyUse, SecurityPolicy, peer_address};
use crate::finding::FindingCode;

type Rules<'u, 'p, 'a> = RouteTable<&'u PlacedRule<'p, 'a>>;

/// Finds the rules that serve the paths of logins.
pub(super) struct LoginPaths<'u, 'p, 'a> {
    inputs: Inputs<'p, 'a>,
    rules: &'u [PlacedRule<'p, 'a>],
    /// The routes of each listener. Built for the first policy that needs them.
    tables: OnceCell<BTreeMap<ListenerPlace, Rules<'u, 'p, 'a>>>,
}

/// A host on a listener where a login may begin.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
struct LoginOrigin {
    gateway: GatewayIndex,
    listener: ListenerIndex,
    host: String,
}

/// The request of a browser, and the Gateway to which it is sent.
#[derive(Debug)]
struct BrowserRequest<'r> {
    gateway: GatewayIndex,
    secure: bool,
    host: &'r str,
    /// `None`: any.
    port: Option<i32>,
    path: &'r str,
}

impl<'u, 'p, 'a> LoginPaths<'u, 'p, 'a> {
    pub(super) fn new(inputs: Inputs<'p, 'a>, rules: &'u [PlacedRule<'p, 'a>]) -> Self {
        Self {
            inputs,
            rules,
            tables: OnceCell::new(),
        }
    }

    /// Reports a redirect URL or `logoutPath` that no rule under the policy serves.
    pub(super) fn check(
        &self,
        used: &PolicyUse<'_, '_>,
        subject: &Subject<'_>,
        report: &mut Report,
    ) {
        let Some(oidc) = &used.policy.spec.oidc else {
            return;
        };
        let origins = origins(used);
        let text = oidc.redirect_url.as_deref().unwrap_or(RedirectUrl::DEFAULT);
        // Errors of the policy are reported elsewhere.
        if let Ok(url) = RedirectUrl::parse(text)
            && let Err(reason) = self.serves_redirect(used.policy, &origins, &url)
        {
            let shown = oidc.redirect_url.as_deref().unwrap_or(url.path());
            report.warn(
                FindingCode::OidcRedirectNotServed,
                subject,
                "spec.oidc.redirectURL",
                format!(
                    "no rule under the policy serves {shown}, to which the provider redirects: {reason}; no login can complete"
                ),
                "use a scheme, host, port and path that a route under the policy matches without further conditions",
            );
        }
        let Some(path) = &oidc.logout_path else {
            return;
        };
        let mut answers = origins.iter().map(|origin| {
            let request = self.at_origin(origin, path);
            self.serves(used.policy, &request)
        });
        let first = answers.next();
        if let Some(Err(reason)) = first
            && !answers.any(|answer| answer.is_ok())
        {
            report.warn(
                FindingCode::OidcLogoutNotServed,
                subject,
                "spec.oidc.logoutPath",
                format!("no rule under the policy serves {path}: {reason}; no logout is possible"),
                "use a path that a route under the policy matches",
            );
        }
    }

    /// Checks that rules under the policy serve the URL after a login at each of the origins.
    ///
    /// # Errors
    /// Why no rule under the policy serves the URL.
    fn serves_redirect(
        &self,
        policy: &SecurityPolicy,
        origins: &BTreeSet<LoginOrigin>,
        url: &RedirectUrl,
    ) -> Result<(), String> {
        let mut answers = origins.iter().map(|origin| {
            let own = self.at_origin(origin, url.path());
            let secure = url.scheme().map_or(own.secure, |scheme| scheme == "https");
            match url.host() {
                RedirectHost::OfRequest => {
                    let port = match secure == own.secure {
                        true => own.port,
                        false => Some(default_port(secure)),
                    };
                    let request = BrowserRequest {
                        secure,
                        port,
                        ..own
                    };
                    self.serves(policy, &request)
                }
                RedirectHost::Composed => {
                    let request = BrowserRequest {
                        secure,
                        port: None,
                        ..own
                    };
                    self.serves(policy, &request)
                }
                RedirectHost::Fixed { host, port } => {
                    let port = port.map_or(default_port(secure), i32::from);
                    self.serves_fixed(policy, (secure, host, port), url.path())
                }
            }
        });
        if url.host() != RedirectHost::Composed {
            return answers.collect();
        }
        // A composed host contains the value of a request header, which is unknown here. One origin whose URL
        // is served suffices.
        let first = answers.next().unwrap_or(Ok(()));
        match answers.any(|answer| answer.is_ok()) {
            true => Ok(()),
            false => first,
        }
    }

    /// Checks that at least one Gateway serves a host under the policy.
    fn serves_fixed(
        &self,
        policy: &SecurityPolicy,
        (secure, host, port): (bool, &str, i32),
        path: &str,
    ) -> Result<(), String> {
        let host = host.to_ascii_lowercase();
        let mut last = Ok(());
        for gateway in self.inputs.gateways.list.indices() {
            let request = BrowserRequest {
                gateway,
                secure,
                host: &host,
                port: Some(port),
                path,
            };
            let answer = self.serves(policy, &request);
            if answer.is_ok() {
                return answer;
            }
            // The error of a Gateway that accepts the host is more helpful than the error of a Gateway that
            // does not.
            if last.is_ok() || self.listeners(&request).next().is_some() {
                last = answer;
            }
        }
        last
    }

    /// A request for `path` at the host and listener where a login began.
    fn at_origin<'r>(&self, origin: &'r LoginOrigin, path: &'r str) -> BrowserRequest<'r> {
        let gateway = &self.inputs.gateways.list[origin.gateway];
        let listener = &gateway.listeners[origin.listener];
        BrowserRequest {
            gateway: origin.gateway,
            secure: listener.protocol == Some(ListenerProtocol::Https),
            host: &origin.host,
            port: Some(listener.spec.port),
            path,
        }
    }

    /// Checks that the policy receives the request.
    ///
    /// # Errors
    /// Why the policy does not receive the request.
    fn serves(&self, policy: &SecurityPolicy, request: &BrowserRequest<'_>) -> Result<(), String> {
        let BrowserRequest { host, path, .. } = request;
        let mut listeners = self.listeners(request).peekable();
        if listeners.peek().is_none() {
            let protocol = if request.secure { "HTTPS" } else { "HTTP" };
            let port = request.port.map(|port| format!(" on port {port}"));
            let port = port.unwrap_or_default();
            return Err(format!("no {protocol} listener{port} accepts host {host}"));
        }
        let (method, headers) = (Method::GET, HeaderMap::new());
        let query = Query {
            host,
            path,
            compared: None,
            query: Some("code=code&state=state"),
            method: &method,
            headers: &headers,
        };
        let tables = self.tables();
        let found = listeners.find_map(|at| {
            let table = tables.get(&(request.gateway, at))?;
            let strict = self.has_strict_host((request.gateway, at));
            Some(*table.find(&query, strict)?.payload)
        });
        match found {
            None => Err(format!(
                "a browser's GET request for {path} on host {host} matches no rule"
            )),
            Some(placed) if placed.is_under(policy) => Ok(()),
            Some(placed) => {
                let route = self.inputs.routes[placed.route].route;
                let rule = placed.rule.map(|rule| rule.index).unwrap_or_default();
                Err(format!(
                    "on host {host} the path belongs to {} {} spec.rules[{rule}], to which the policy does not apply",
                    route.kind(),
                    route.key()
                ))
            }
        }
    }

    /// Whether the listener searches only the rules of the most specific hostname.
    fn has_strict_host(&self, (gateway, listener): ListenerPlace) -> bool {
        let effect = self.inputs.policies.client.find(gateway, listener);
        let settings = effect.and_then(|effect| Some(&effect.as_ref().ok()?.settings));
        self.inputs.index.options.parity.strict_host
            || settings.is_some_and(|settings| settings.strict_host)
    }

    /// The listeners that may receive the request, the most specific hostname first.
    fn listeners(&self, request: &BrowserRequest<'_>) -> impl Iterator<Item = ListenerIndex> {
        let gateway = &self.inputs.gateways.list[request.gateway];
        let mut by_name: NameMap<Vec<ListenerIndex>> = NameMap::default();
        for (at, listener) in gateway.listeners.indexed() {
            let place = Place {
                gateway: request.gateway,
                at,
                listener,
                hostnames: &[],
            };
            if listener.is_valid() && self.fits(&place, request) {
                match by_name.pattern_mut(&listener.hostname) {
                    Some(listeners) => listeners.push(at),
                    None => {
                        by_name.insert(listener.hostname.clone(), vec![at]);
                    }
                }
            }
        }
        let found: Vec<_> = by_name.find_all(request.host).flatten().copied().collect();
        found.into_iter()
    }

    /// Whether a listener has the scheme and port of a request. Behind a proxy, a listener with another
    /// scheme or port also fits, because the proxy can terminate TLS and use other ports.
    fn fits(&self, place: &Place<'_, '_>, request: &BrowserRequest<'_>) -> bool {
        if !place.is_http() && !place.is_https() {
            return false;
        }
        let port = place.listener.spec.port;
        let own = [port, i32::from(bound(self.inputs.index, port))];
        let on_port = request.port.is_none_or(|port| own.contains(&port));
        place.is_https() == request.secure && on_port || self.has_proxy_in_front(place)
    }

    fn has_proxy_in_front(&self, place: &Place<'_, '_>) -> bool {
        let policy = self.inputs.policies.client.policy(place.gateway, place.at);
        let detection = policy.and_then(|policy| policy.spec.client_ip_detection.as_ref());
        let by_header = detection
            .is_some_and(|one| one.x_forwarded_for.is_some() || one.custom_header.is_some());
        by_header || peer_address::expects_proxy_header(place, self.inputs)
    }

    fn tables(&self) -> &BTreeMap<ListenerPlace, Rules<'u, 'p, 'a>> {
        self.tables.get_or_init(|| {
            let any = Match::default();
            let mut entries: BTreeMap<ListenerPlace, Vec<(NamePattern, &Match, _)>> =
                BTreeMap::new();
            for placed in self.rules {
                let Some(rule) = placed.rule else { continue };
                let place = (placed.place.gateway, placed.place.at);
                let own = entries.entry(place).or_default();
                let default = rule.matches.is_empty().then_some(&any);
                for name in placed.place.hostnames {
                    let matches = rule.matches.iter().chain(default);
                    own.extend(matches.map(|one| (name.clone(), one, placed)));
                }
            }
            let tables = entries.into_iter();
            tables
                .map(|(place, entries)| (place, RouteTable::build(entries)))
                .collect()
        })
    }
}

/// The hosts where a login under the policy may begin.
fn origins(used: &PolicyUse<'_, '_>) -> BTreeSet<LoginOrigin> {
    let placed = used.rules.iter().filter(|placed| placed.rule.is_some());
    let origins = placed.flat_map(|placed| {
        let place = placed.place;
        place.hostnames.iter().map(move |name| LoginOrigin {
            gateway: place.gateway,
            listener: place.at,
            host: host_of(name),
        })
    });
    origins.collect()
}

/// A host that matches a pattern.
fn host_of(pattern: &NamePattern) -> String {
    match pattern {
        NamePattern::Exact(name) => name.clone(),
        NamePattern::Wildcard(suffix) => format!("any-host.{suffix}"),
        NamePattern::Any => "any-host".to_owned(),
    }
}

const fn default_port(secure: bool) -> i32 {
    if secure { 443 } else { 80 }
}
