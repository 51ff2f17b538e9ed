//! Selection of endpoints by their zone (`loadBalancer.zoneAware` of BackendTrafficPolicy).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// How the zones of endpoints share the requests of a rule.
#[derive(Clone, Debug, Eq, Hash, PartialEq, Serialize, Deserialize)]
pub enum ZoneBalancing {
    /// The zone of the gateway is preferred.
    PreferLocal(LocalZone),
    /// Zones share the requests by their weights; a zone that is not listed has weight 1.
    Weighted(BTreeMap<String, u32>),
}

/// Preference of the gateway's own zone. It has no effect if the gateway has no zone, or if its zone or all other
/// zones have no endpoint.
#[derive(Clone, Debug, Eq, Hash, PartialEq, Serialize, Deserialize)]
pub struct LocalZone {
    /// Minimum number of endpoints of the backend for the zone to be preferred. Default: 6, as in Envoy.
    pub min_endpoints: u32,
    /// Share of the requests to which the preference applies, in percent. Default: 100.
    pub percent: u32,
    /// Minimum number of endpoints in the zone for all requests to stay in it, even if its endpoints then receive more
    /// requests than those of other zones. `None`: every endpoint of the backend receives the same share. Default:
    /// `None`.
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
