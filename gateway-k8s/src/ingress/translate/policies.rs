//! Policies of routes, from the settings of an Ingress.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use serde_json::{Map, Value, json};
use towergate_policy::backend_traffic::{LOCAL_RATE_LIMIT, MAX_REQUEST_BODY, RateLimitExtension};
use towergate_policy::ext_auth::SubrequestSettings;
use towergate_policy::security::{
    AUTHORIZATION_BEFORE_AUTHENTICATION, BASIC_AUTH_REALM, CORS_ORIGINS, CORS_RESPONSES,
    EXT_AUTH_SUBREQUEST,
};

use super::Translator;
use super::backends::ENVOY;
use super::locations::LocationSource;
use crate::ingress::deny_rules::literal;
use crate::ingress::settings::{
    AccessRule, ExternalAuthSettings, HashInput, IngressSettings, Limits, ProxySettings,
};
use crate::ingress::value::duration;
use crate::objects::ObjectKey;

/// Policies of a route, without targets.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct RoutePolicies {
    /// `spec` of a BackendTrafficPolicy.
    pub(crate) traffic: Option<Value>,
    /// `spec` of a SecurityPolicy.
    pub(crate) security: Option<Value>,
    /// Annotations of the BackendTrafficPolicy.
    pub(crate) traffic_annotations: Annotations,
    /// Annotations of the SecurityPolicy.
    pub(crate) security_annotations: Annotations,
}

/// Annotations of an object.
pub(crate) type Annotations = BTreeMap<&'static str, String>;

/// A number of bytes as a quantity, with the suffix that makes it shortest.
pub(crate) fn quantity(bytes: u64) -> String {
    const KIB: u64 = 1024;
    match bytes {
        0 => "0".to_owned(),
        _ if bytes.is_multiple_of(KIB * KIB) => format!("{}Mi", bytes / KIB / KIB),
        _ if bytes.is_multiple_of(KIB) => format!("{}Ki", bytes / KIB),
        _ => bytes.to_string(),
    }
}

impl RoutePolicies {
    /// Whether requests are counted. Each Ingress counts separately.
    pub(crate) fn has_rate_limit(&self) -> bool {
        let traffic = self.traffic.as_ref();
        traffic.is_some_and(|spec| !spec["rateLimit"].is_null())
    }

    /// A text that is equal for equal policies.
    pub(crate) fn fingerprint(&self) -> String {
        format!("{self:?}")
    }
}

/// The settings that a location takes from its Ingress.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PolicyScope {
    /// Whether authentication applies. It does not apply to paths of ACME challenges.
    pub(crate) auth: bool,
    /// Whether the backend belongs to the Ingress itself, so that session affinity applies.
    pub(crate) own_backend: bool,
    /// Whether the location is reachable over HTTPS only.
    pub(crate) https_only: bool,
}

impl Translator<'_> {
    /// The policies of a location of an Ingress.
    pub(super) fn policies(
        &mut self,
        source: &LocationSource,
        scope: PolicyScope,
        path: &str,
    ) -> RoutePolicies {
        let settings = &source.settings;
        let mut traffic_annotations = Annotations::new();
        if let Some(bytes) = settings.proxy.body_size {
            traffic_annotations.insert(MAX_REQUEST_BODY, quantity(bytes));
        }
        let limits = &settings.limits;
        if limits.per_second + limits.per_minute > 0 {
            let extension = RateLimitExtension {
                burst_periods: Some(u32::try_from(limits.burst).unwrap_or(u32::MAX)),
                exempt: limits
                    .allow
                    .iter()
                    .filter_map(|network| network.parse().ok())
                    .collect(),
            };
            traffic_annotations.insert(LOCAL_RATE_LIMIT, json!(extension).to_string());
        }
        let limit_status = self.config.number("limit-req-status-code");
        let limit_status = limit_status
            .filter(|status| (400..600).contains(status))
            .unwrap_or(503);
        let mut traffic = traffic(settings, scope, path, (limit_status, &self.as_500));
        if traffic.is_none() && !traffic_annotations.is_empty() {
            traffic = Some(json!({"mergeType": "StrategicMerge"}));
        }
        RoutePolicies {
            traffic,
            security: self.security(settings, &source.key, scope, &source.comments),
            traffic_annotations,
            security_annotations: security_annotations(settings, scope),
        }
    }

    /// The SecurityPolicy of a location.
    pub(super) fn security(
        &mut self,
        settings: &IngressSettings,
        ingress: &ObjectKey,
        scope: PolicyScope,
        comments: &BTreeSet<String>,
    ) -> Option<Value> {
        let mut spec = Map::new();
        if let Some(cors) = &settings.cors {
            let mut value = json!({
                "allowMethods": cors.methods,
                "allowHeaders": cors.headers,
                "allowCredentials": cors.credentials,
                "maxAge": duration(cors.max_age),
            });
            let (common, _) = cors.split_origins();
            if !common.is_empty() {
                value["allowOrigins"] = json!(common);
            }
            if !cors.expose.is_empty() {
                value["exposeHeaders"] = json!(cors.expose);
            }
            spec.insert("cors".to_owned(), value);
        }
        if let Some(basic) = settings.basic_auth.as_ref().filter(|_| scope.auth) {
            let name = self.users(basic, &ingress.namespace, comments);
            spec.insert("basicAuth".to_owned(), json!({"users": {"name": name}}));
        }
        if let Some(auth) = settings.external_auth.as_ref().filter(|_| scope.auth) {
            let value = self.ext_auth(auth, ingress, comments);
            spec.insert("extAuth".to_owned(), value);
        }
        if let Some(value) = authorization(settings) {
            spec.insert("authorization".to_owned(), value);
        }
        (!spec.is_empty()).then_some(Value::Object(spec))
    }

    fn ext_auth(
        &mut self,
        auth: &ExternalAuthSettings,
        ingress: &ObjectKey,
        comments: &BTreeSet<String>,
    ) -> Value {
        let kind = (ENVOY, "SecurityPolicy", ingress.namespace.as_str());
        let name = format!("{}-auth", ingress.name);
        let backend = self.url_backend(&auth.url, kind, &name, comments);
        let mut http = json!({"backendRefs": [backend], "pathOverride": auth.url.target()});
        let mut names = auth.response_headers.clone();
        names.dedup();
        if !names.is_empty() {
            http["headersToBackend"] = json!(names);
        }
        json!({"http": http, "statusOnError": 500})
    }
}

/// Annotations for settings that a SecurityPolicy cannot express.
fn security_annotations(settings: &IngressSettings, scope: PolicyScope) -> Annotations {
    let mut annotations = Annotations::new();
    let authenticates = settings.basic_auth.is_some() || settings.external_auth.is_some();
    if authenticates && scope.auth && authorization(settings).is_some() {
        annotations.insert(AUTHORIZATION_BEFORE_AUTHENTICATION, "true".to_owned());
    }
    if let Some(cors) = &settings.cors {
        annotations.insert(CORS_RESPONSES, "every-response".to_owned());
        let (_, texts) = cors.split_origins();
        if !texts.is_empty() {
            annotations.insert(CORS_ORIGINS, texts.join(", "));
        }
    }
    if let Some(basic) = settings.basic_auth.as_ref().filter(|_| scope.auth) {
        annotations.insert(BASIC_AUTH_REALM, basic.realm.clone());
    }
    if let Some(auth) = settings.external_auth.as_ref().filter(|_| scope.auth) {
        let subrequest = SubrequestSettings {
            host: auth.host_header.as_ref().unwrap_or(&auth.url.host).clone(),
            method: auth.method.clone(),
            redirect: auth.redirect.clone(),
            // The conversion succeeds, because the reader of the annotation writes only valid templates.
            sign_in: auth.signin.clone().and_then(|text| text.try_into().ok()),
            always_set_cookies: auth.always_set_cookies,
        };
        annotations.insert(EXT_AUTH_SUBREQUEST, json!(subrequest).to_string());
    }
    annotations
}

fn authorization(settings: &IngressSettings) -> Option<Value> {
    let mut rules = Vec::new();
    for rule in &settings.deny_rules {
        // Without an expression, every request is rejected.
        let cel = rule.cel().unwrap_or_else(|| "true".to_owned());
        rules.push(json!({"action": "Deny", "cel": cel}));
    }
    if let Some(pattern) = &settings.match_subject {
        let known = literal(pattern).map_or_else(
            || "false".to_owned(),
            |pattern| format!("connection.subject_peer_certificate.matches({pattern})"),
        );
        let cel = format!("!(connection.mtls && {known})");
        rules.push(json!({"action": "Deny", "cel": cel}));
    }
    if !settings.deny.is_empty() {
        rules.push(json!({"action": "Deny", "principal": {"clientCIDRs": settings.deny}}));
    }
    if !settings.allow.is_empty() {
        rules.push(json!({"action": "Allow", "principal": {"clientCIDRs": settings.allow}}));
    } else {
        let equal = |a: &AccessRule, b: &AccessRule| a.allow == b.allow;
        for group in settings.access_rules.chunk_by(equal) {
            let action = if group[0].allow { "Allow" } else { "Deny" };
            let networks: Vec<&str> = group.iter().map(|rule| rule.network.as_str()).collect();
            rules.push(json!({"action": action, "principal": {"clientCIDRs": networks}}));
        }
    }
    let default = if settings.allow.is_empty() {
        "Allow"
    } else {
        "Deny"
    };
    (!rules.is_empty()).then(|| json!({"defaultAction": default, "rules": rules}))
}

/// Replaces the status of local replies that match.
fn status_override(matching: &Value, status: u64) -> Value {
    json!({"match": matching, "source": "Local", "response": {"statusCode": status}})
}

/// `responseOverride` of the Gateway's policy, or of the policy of a route. `limited` is the status that
/// replaces 429 in the policy of a route. `as_500` are statuses that ingress-nginx turns into 500.
///
/// For a backend that fails, Envoy returns 503 and ingress-nginx 502. A 503 without content means that the
/// backend has no endpoints; ingress-nginx also returns 503 in this case.
pub(crate) fn response_overrides(limited: Option<u64>, as_500: &[u16]) -> Value {
    let of_nginx = |status: u64| match as_500.iter().any(|code| u64::from(*code) == status) {
        true => 500,
        false => status,
    };
    let mut overrides = Vec::new();
    if let Some(status) = limited {
        let matching = json!({"statusCodes": [{"type": "Value", "value": 429}]});
        overrides.push(status_override(&matching, of_nginx(status)));
    }
    let text = json!({"type": "Prefix", "value": "text/plain"});
    let failed = json!({
        "statusCodes": [{"type": "Value", "value": 503}],
        "responseHeaders": [{"name": "Content-Type", "value": text}],
    });
    overrides.push(status_override(&failed, of_nginx(502)));
    if !as_500.is_empty() {
        let codes: Vec<Value> = as_500
            .iter()
            .map(|code| json!({"type": "Value", "value": code}))
            .collect();
        overrides.push(json!({
            "match": {"statusCodes": codes},
            "response": {
                "statusCode": 500,
                "contentType": "text/plain",
                "body": {"type": "Inline", "inline": "500 Internal Server Error\n"},
            },
        }));
    }
    overrides.into()
}

fn traffic(
    settings: &IngressSettings,
    scope: PolicyScope,
    path: &str,
    (limit_status, as_500): (u64, &[u16]),
) -> Option<Value> {
    let mut spec = Map::new();
    let proxy = &settings.proxy;
    let mut timeout = Map::new();
    if let Some(seconds) = proxy.connect_timeout {
        timeout.insert(
            "tcp".to_owned(),
            json!({"connectTimeout": duration(seconds)}),
        );
    }
    if let Some(seconds) = proxy.idle_timeout {
        timeout.insert(
            "http".to_owned(),
            json!({"streamIdleTimeout": duration(seconds)}),
        );
    }
    if !timeout.is_empty() {
        spec.insert("timeout".to_owned(), Value::Object(timeout));
    }
    if let Some(retry) = retry(proxy) {
        spec.insert("retry".to_owned(), retry);
    }
    if let Some(balancer) = balancer(settings, scope, path) {
        spec.insert("loadBalancer".to_owned(), balancer);
    }
    if let Some(rules) = rate_limit(&settings.limits) {
        spec.insert("rateLimit".to_owned(), json!({"local": {"rules": rules}}));
        if limit_status != 429 {
            // This list replaces that of the Gateway's policy, so it repeats the entries of the Gateway's
            // policy.
            let overrides = response_overrides(Some(limit_status), as_500);
            spec.insert("responseOverride".to_owned(), overrides);
        }
    }
    if spec.is_empty() {
        return None;
    }
    // Settings of the Gateway's policy that this policy does not set stay in force.
    spec.insert("mergeType".to_owned(), "StrategicMerge".into());
    Some(Value::Object(spec))
}

/// `retry` of a BackendTrafficPolicy for `proxy-next-upstream` and its number of tries.
pub(crate) fn retry(proxy: &ProxySettings) -> Option<Value> {
    let default = ["error".to_owned(), "timeout".to_owned()];
    let words = match (&proxy.retry_on, proxy.tries) {
        (None, None) => return None,
        (Some(words), _) => words.as_slice(),
        (None, Some(_)) => &default,
    };
    let retries = match proxy.tries {
        // In nginx, 0 means no limit: each endpoint is tried once. 10 exceeds the usual number of endpoints.
        Some(0) => 10,
        Some(tries) => tries - 1,
        None => 2,
    };
    if words.iter().any(|word| word == "off") || retries == 0 {
        return Some(json!({"numRetries": 0}));
    }
    let statuses: Vec<u16> = words
        .iter()
        .filter_map(|word| word.strip_prefix("http_")?.parse().ok())
        .collect();
    let mut triggers = Vec::new();
    if words.iter().any(|word| word == "error") {
        triggers.extend(["connect-failure", "refused-stream", "reset-before-request"]);
    }
    if words
        .iter()
        .any(|word| word == "non_idempotent" || word == "invalid_header")
    {
        triggers.push("reset");
    }
    let mut on = Map::new();
    if !statuses.is_empty() {
        triggers.push("retriable-status-codes");
        on.insert("httpStatusCodes".to_owned(), json!(statuses));
    }
    if triggers.is_empty() {
        triggers.push("connect-failure");
    }
    on.insert("triggers".to_owned(), json!(triggers));
    Some(json!({"numRetries": retries, "retryOn": on}))
}

fn balancer(settings: &IngressSettings, scope: PolicyScope, path: &str) -> Option<Value> {
    if let Some(affinity) = settings.affinity.as_ref().filter(|_| scope.own_backend) {
        if affinity.persistent {
            // The rule has `sessionPersistence` instead.
            return None;
        }
        let mut attributes = Map::new();
        let own = affinity.path.as_deref().unwrap_or(path);
        attributes.insert("Path".to_owned(), own.into());
        if let Some(domain) = &affinity.domain {
            attributes.insert("Domain".to_owned(), domain.clone().into());
        }
        if let Some(same_site) = &affinity.same_site {
            attributes.insert("SameSite".to_owned(), same_site.clone().into());
        }
        if affinity.secure || scope.https_only {
            attributes.insert("Secure".to_owned(), "".into());
        }
        let ttl = duration(affinity.max_age.unwrap_or(0));
        let cookie = json!({"name": affinity.name, "ttl": ttl, "attributes": attributes});
        return Some(hash("Cookie", "cookie", cookie));
    }
    let hashed = settings.hash_by.as_ref().map(|input| match input {
        HashInput::SourceIp => {
            json!({"type": "ConsistentHash", "consistentHash": {"type": "SourceIP"}})
        }
        HashInput::Header(name) => hash("Headers", "headers", json!([{"name": name}])),
        HashInput::Cookie(name) => hash("Cookie", "cookie", json!({"name": name})),
        HashInput::Query(name) => hash("QueryParams", "queryParams", json!([{"name": name}])),
    });
    hashed.or_else(|| Some(json!({"type": settings.load_balance.as_ref()?})))
}

fn hash(kind: &str, field: &str, value: Value) -> Value {
    let mut hash = Map::from_iter([("type".to_owned(), kind.into())]);
    hash.insert(field.to_owned(), value);
    json!({"type": "ConsistentHash", "consistentHash": hash})
}

fn rate_limit(limits: &Limits) -> Option<Vec<Value>> {
    let mut rules = Vec::new();
    for (requests, unit) in [(limits.per_second, "Second"), (limits.per_minute, "Minute")] {
        if requests == 0 {
            continue;
        }
        for every in ["0.0.0.0/0", "::/0"] {
            rules.push(json!({
                "clientSelectors": [{"sourceCIDR": {"type": "Distinct", "value": every}}],
                "limit": {"requests": requests, "unit": unit},
                "shared": true,
            }));
        }
    }
    (!rules.is_empty()).then_some(rules)
}
