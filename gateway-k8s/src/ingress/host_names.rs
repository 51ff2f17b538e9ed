//! Names of hosts: adds the names of `server-alias`, and selects the host that serves a name of several
//! hosts.
//!
//! nginx compares exact names first, then the longest wildcard, then regular expressions in the order of the servers.
//! ingress-nginx writes a wildcard host as a regular expression, and a wildcard of `server-alias` as it is. Therefore
//! a wildcard of `server-alias` takes precedence over all wildcard hosts below it.

use std::collections::{BTreeMap, BTreeSet};

use super::servers::{Overlap, OverlapKind, Server, Servers, host_of};

/// The position of a host in the configuration of nginx. The servers are sorted by name. `_` is the name of
/// the server of all hosts that have no own server.
pub(super) fn position(host: &str) -> &str {
    if host.is_empty() { "_" } else { host }
}

/// Adds the names of `server-alias`. If several Ingresses of a host have the annotation, the oldest of them
/// determines the names. A name of several hosts belongs to the first host in alphabetical order.
pub(super) fn add_aliases(built: &mut Servers<'_>, index: &BTreeMap<String, usize>) {
    let mut owners: BTreeMap<String, usize> = BTreeMap::new();
    for (number, read) in built.ingresses.iter().enumerate() {
        let settings = &read.settings;
        let has_none = settings.aliases.is_empty() && settings.alias_patterns.is_empty();
        if settings.canary.is_some() || has_none {
            continue;
        }
        for rule in &read.ingress.spec.rules {
            let host = host_of(rule.host.as_deref());
            let owner = *owners.entry(host.clone()).or_insert(number);
            if settings.aliases != built.ingresses[owner].settings.aliases {
                built.overlaps.insert(Overlap {
                    ingress: number,
                    winner: Some(owner),
                    what: OverlapKind::Aliases(host),
                });
            }
        }
    }
    let others = built.servers.iter();
    let others = others.filter_map(|server| server.redirect_from.clone());
    let mut taken: BTreeSet<String> = index.keys().cloned().chain(others).collect();
    let mut owners: Vec<(String, usize)> = owners.into_iter().collect();
    owners.sort_by(|(a, _), (b, _)| position(a).cmp(position(b)));
    for (host, ingress) in owners {
        let Some(server) = index.get(&host) else {
            continue;
        };
        let server = &mut built.servers[*server];
        let settings = &built.ingresses[ingress].settings;
        server.alias_patterns.clone_from(&settings.alias_patterns);
        for alias in &settings.aliases {
            if taken.insert(alias.clone()) {
                server.aliases.push(alias.clone());
            } else if *alias != host && !server.aliases.contains(alias) {
                built.overlaps.insert(Overlap {
                    ingress,
                    winner: None,
                    what: OverlapKind::Alias(alias.clone()),
                });
            }
        }
    }
}

/// Separates aliases that cannot be in one route with their host, and removes hosts that receive no requests.
pub(super) fn separate(built: &mut Servers<'_>) {
    let aliases = std::mem::take(&mut built.servers[0].aliases);
    if let Some(server) = of_aliases(&built.servers[0], aliases) {
        built.servers.push(server);
    }
    let names = built.servers.iter().flat_map(Server::alias_names);
    let wildcards: Vec<String> = names
        .filter(|name| name.starts_with("*."))
        .cloned()
        .collect();
    let mut kept = Vec::new();
    for server in std::mem::take(&mut built.servers) {
        let is_wildcard = server.host.starts_with("*.") && !server.is_alias;
        let mut covering = wildcards.iter().filter(|_| is_wildcard);
        let Some(alias) = covering.find(|alias| server.host.ends_with(&alias[1..])) else {
            kept.push(server);
            continue;
        };
        for ingress in server.ingresses() {
            built.overlaps.insert(Overlap {
                ingress,
                winner: None,
                what: OverlapKind::Host {
                    host: server.host.clone(),
                    alias: alias.clone(),
                },
            });
        }
        kept.extend(of_aliases(&server, server.aliases.clone()));
    }
    built.servers = kept;
}

/// A host with the locations of `server` and the names `aliases`. `None`: there are no names.
fn of_aliases(server: &Server, mut aliases: Vec<String>) -> Option<Server> {
    // Routes are named after the first alias, so wildcards come last.
    aliases.sort_by_key(|name| name.starts_with('*'));
    let host = (!aliases.is_empty()).then(|| aliases.remove(0))?;
    Some(Server {
        host,
        aliases,
        alias_patterns: Vec::new(),
        tls: false,
        redirect_from: None,
        is_alias: true,
        ..server.clone()
    })
}
