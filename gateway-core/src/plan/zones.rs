//! Selection of endpoints by their zone (`loadBalancer.zoneAware` of BackendTrafficPolicy).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Distribution of the requests of a rule over zones.
#[derive(Clone, Debug, Eq, Hash, PartialEq, Serialize, Deserialize)]
pub enum ZoneBalancing {
    /// Prefers the zone of the gateway.
    PreferLocal(LocalZone),
    /// Distributes requests over zones in proportion to their weights. A zone that is not listed has weight
    /// 1.
    Weighted(BTreeMap<String, u32>),
}

/// Preference of the gateway's own zone. It has no effect in these cases: the zone of the gateway is unknown,
/// the zone has no endpoint, or no other zone has an endpoint.
#[derive(Clone, Debug, Eq, Hash, PartialEq, Serialize, Deserialize)]
pub struct LocalZone {
    /// Minimum number of endpoints of the backend. If the backend has fewer endpoints, the zone is not
    /// preferred. Default: 6, as in Envoy.
    pub min_endpoints: u32,
    /// Percentage of the requests for which the zone of the gateway is preferred. Default: 100.
    pub percent: u32,
    /// Minimum number of endpoints in the zone. If the zone has at least this number of endpoints, all
    /// requests stay in the zone, even if its endpoints then receive more requests than the endpoints of
    /// other zones. `None`: every endpoint of the backend receives the same share. Default: `None`.
    pub force: Option<u32>,
}

impl Default for LocalZone {
    fn default() -> Self {
        Self {
            min_endpoints: 6,
            percent: 100,
            force: None,
        }
    }
}
