//! The limit of all examples: two requests per hour and client.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use towergate_core::plan::ListenerSettings;
use towergate_policy::rate_limit::{Limit, LimitRule, LocalRateLimit, Selector, SourceRule};
use towergate_policy::{
    BackendTrafficPolicySpec, ClientTrafficPolicySpec, Policy, backend_traffic, client_traffic,
};

/// The limit built from values, with one bucket per client address.
pub(crate) fn from_values() -> LocalRateLimit {
    let each_client = Selector {
        source: Some(SourceRule {
            network: "0.0.0.0/0"
                .parse()
                .expect("the string is a network in CIDR notation"),
            distinct: true,
            invert: false,
        }),
        ..Selector::default()
    };
    LocalRateLimit {
        headers: true,
        rules: vec![LimitRule {
            selectors: vec![each_client],
            limit: Limit::new(2, Duration::from_secs(3600)),
        }],
        ..LocalRateLimit::default()
    }
}

/// The spec of a ClientTrafficPolicy: source of the client address, normalisation of paths.
const CLIENTS: &str = r#"{
    "clientIPDetection": {"xForwardedFor": {"numTrustedHops": 1}},
    "path": {"escapedSlashesAction": "RejectRequest"}
}"#;

/// The spec of a BackendTrafficPolicy: the rate limit.
const LIMIT: &str = r#"{"rateLimit": {"type": "Local", "local": {"rules": [{
    "clientSelectors": [{"sourceCIDR": {"type": "Distinct", "value": "0.0.0.0/0"}}],
    "limit": {"requests": 2, "unit": "Hour"}
}]}}}"#;

/// The limit and the listener settings, converted from policies of Envoy Gateway.
pub(crate) fn from_specs() -> Result<(Arc<ListenerSettings>, LocalRateLimit), Box<dyn Error>> {
    let clients: ClientTrafficPolicySpec = serde_json::from_str(CLIENTS)?;
    let limit: BackendTrafficPolicySpec = serde_json::from_str(LIMIT)?;
    let settings = clients
        .listener_settings(client_traffic::ListenerContext::default())?
        .settings;
    let limit = limit.traffic(backend_traffic::RouteContext {
        policy: "default/limit",
        rate_limit_headers: true,
        listener: "default/gateway/http",
        references: &towergate_policy::references::NoReferences,
        annotations: &Default::default(),
    })?;
    match limit.policies.into_iter().next() {
        Some(Policy::LocalRateLimit(limit)) => Ok((settings.into(), limit)),
        Some(_) | None => Err("the policy sets no rate limit".into()),
    }
}
