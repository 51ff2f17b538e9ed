//! Source ranges, and requests that snippets reject.

use std::net::IpAddr;

use ipnet::IpNet;

use super::ModelRequest;
use crate::ingress::servers::Server;
use crate::ingress::settings::IngressSettings;

/// Whether a client is in the source ranges of annotations and snippets.
pub(super) fn in_range(client: IpAddr, settings: &IngressSettings) -> bool {
    let has = |networks: &[String]| {
        let mut networks = networks.iter().filter_map(|n| n.parse::<IpNet>().ok());
        networks.any(|network| network.contains(&client))
    };
    if has(&settings.deny) || !settings.allow.is_empty() {
        return !has(&settings.deny) && has(&settings.allow);
    }
    let mut rules = settings.access_rules.iter();
    let first = rules.find(|rule| has(std::slice::from_ref(&rule.network)));
    first.is_none_or(|rule| rule.allow)
}

/// The status with which a snippet rejects a request. On hosts with regular expressions, the paths of Ingresses take
/// precedence over prefix locations of snippets.
pub(super) fn rejection(
    settings: &IngressSettings,
    request: &ModelRequest,
    (server, uri): (&Server, &str),
) -> Option<u16> {
    let mut rules = settings.deny_rules.iter();
    rules.find_map(|rule| {
        let applies = !(rule.below_paths && server.regex) && rule.holds(request, uri);
        rule.status.filter(|_| applies)
    })
}
