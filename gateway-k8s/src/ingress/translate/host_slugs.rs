//! Parts of object names that identify hosts.

use std::collections::{BTreeSet, HashMap};

use crate::ingress::servers::Servers;

/// Maximum number of characters of a slug, the part of an object name that identifies a host. The name of an
/// object has at most 253 characters in Kubernetes; the rest of the name needs less than the other 53.
const MAX_LENGTH: usize = 200;

/// The slugs of all hosts of a translation: the parts of object names that identify the hosts. Different
/// hosts have different slugs, because hosts with equal slugs would share a listener and its policy.
#[derive(Debug, Default)]
pub(super) struct HostSlugs {
    /// Slugs with a number, by host.
    numbered: HashMap<String, String>,
}

impl HostSlugs {
    /// Slugs of all names of `servers`.
    pub(super) fn of_servers(servers: &Servers<'_>) -> Self {
        let names = servers.servers.iter().flat_map(|server| {
            let names = std::iter::once(&server.host).chain(&server.aliases);
            names.chain(&server.redirect_from)
        });
        Self::new(names.chain(servers.certificates.keys()))
    }

    /// Slugs of `hosts`. If hosts differ only in punctuation, all but the first in alphabetical order have a
    /// number.
    fn new<'h>(hosts: impl Iterator<Item = &'h String>) -> Self {
        let hosts: BTreeSet<&str> = hosts.map(String::as_str).collect();
        let plain: BTreeSet<String> = hosts.iter().map(|host| slug(host)).collect();
        let mut used = BTreeSet::new();
        let mut numbered = HashMap::new();
        for host in hosts {
            let base = slug(host);
            if used.insert(base.clone()) {
                continue;
            }
            let mut candidates = (2..).map(|number: u32| format!("{base}-{number}"));
            let free = candidates.find(|name| !plain.contains(name) && !used.contains(name));
            let free = free.unwrap_or(base);
            used.insert(free.clone());
            numbered.insert(host.to_owned(), free);
        }
        Self { numbered }
    }

    /// The slug of a host.
    pub(super) fn of(&self, host: &str) -> String {
        let numbered = self.numbered.get(host).cloned();
        numbered.unwrap_or_else(|| slug(host))
    }
}

/// A host with hyphens instead of punctuation; `default` for the empty host.
fn slug(host: &str) -> String {
    let host = match host.strip_prefix("*.") {
        Some(rest) => format!("wildcard-{rest}"),
        None => host.to_owned(),
    };
    let characters = host.chars().map(|c| match c.is_ascii_alphanumeric() {
        true => c.to_ascii_lowercase(),
        false => '-',
    });
    let name: String = characters.take(MAX_LENGTH).collect();
    match name.trim_matches('-') {
        "" => "default".to_owned(),
        name => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_that_differ_in_punctuation_have_different_slugs() {
        let hosts = ["a.b.test", "a-b.test", "a.b-test", "a-b-test-2", "*.b.test"];
        let hosts = hosts.map(str::to_owned);
        let slugs = HostSlugs::new(hosts.iter());

        let named: BTreeSet<String> = hosts.iter().map(|host| slugs.of(host)).collect();

        assert_eq!(named.len(), hosts.len());
        assert_eq!(slugs.of("a-b.test"), "a-b-test");
        assert_eq!(slugs.of("a.b.test"), "a-b-test-4");
        assert_eq!(slugs.of("*.b.test"), "wildcard-b-test");
        assert_eq!(slugs.of(""), "default");
    }
}
