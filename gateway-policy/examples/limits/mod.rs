//! What the examples of this folder enforce: two requests an hour for each client.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use towergate_core::plan::ListenerSettings;
use towergate_policy::rate_limit::{Limit, LimitRule, LocalRateLimit, Selector, SourceRule};
use towergate_policy::{
    BackendTrafficPolicySpec, ClientTrafficPolicySpec, Policy, backend_traffic, client_traffic,
};

/// The limit as values: a bucket for each address.
pub(crate) fn by_hand() -> LocalRateLimit {
    let everybody = Selector {
        source: Some(SourceRule {
            network: "0.0.0.0/0".parse().expect("this is a network"),
            distinct: true,
            invert: false,
        }),
        ..Selector::default()
    };
    LocalRateLimit {
        headers: true,
        rules: vec![LimitRule {
            selectors: vec![everybody],
            limit: Limit::new(2, Duration::from_secs(3600)),
        }],
        ..LocalRateLimit::default()
    }
}

/// `spec` of a ClientTrafficPolicy: how requests are cleaned, and who the client is.
const CLIENTS: &str = r#"{
    "clientIPDetection": {"xForwardedFor": {"numTrustedHops": 1}},
    "path": {"escapedSlashesAction": "RejectRequest"}
}"#;

/// `spec` of a BackendTrafficPolicy: how many requests a client may send.
const LIMIT: &str = r#"{"rateLimit": {"type": "Local", "local": {"rules": [{
    "clientSelectors": [{"sourceCIDR": {"type": "Distinct", "value": "0.0.0.0/0"}}],
    "limit": {"requests": 2, "unit": "Hour"}
}]}}}"#;

/// The limit, and settings for requests, as users of Envoy Gateway write them.
pub(crate) fn as_written() -> Result<(Arc<ListenerSettings>, LocalRateLimit), Box<dyn Error>> {
    let clients: ClientTrafficPolicySpec = serde_json::from_str(CLIENTS)?;
    let limit: BackendTrafficPolicySpec = serde_json::from_str(LIMIT)?;
    let settings = clients
        .listener_settings(client_traffic::ListenerContext::default())?
        .settings;
    let limit = limit.traffic(backend_traffic::RouteContext {
        policy: "default/limit",
        rate_limit_headers: true,
    })?;
    match limit.policies.into_iter().next() {
        Some(Policy::LocalRateLimit(limit)) => Ok((settings.into(), limit)),
        None => Err("there is no limit".into()),
    }
}
