//! Settings that one Ingress of a host sets for all paths of the host: snippets of the server, the required
//! subject of client certificates, and the verification of backends.

use std::sync::Arc;

use super::annotations::global_snippets;
use super::deny_rules::{DenyRule, PartTest};
use super::servers::{Location, Server, Servers};
use super::settings::IngressSettings;

impl Servers<'_> {
    /// The settings of a location with those of its host. `None`: the location belongs to no Ingress.
    pub(crate) fn settings_on(
        &self,
        server: &Server,
        location: &Location,
    ) -> Option<Arc<IngressSettings>> {
        let own = &self.ingresses[location.ingress?].settings;
        let verifier = server.verifier.map(|index| &self.ingresses[index].settings);
        let subject = verifier.and_then(|settings| settings.match_subject.clone());
        let ssl = server
            .proxy_ssl
            .map(|index| &self.ingresses[index].settings);
        let ssl = ssl.and_then(|settings| settings.backend.ssl.as_ref());
        let ssl = ssl.filter(|_| own.backend.ssl.is_none());
        if server.snippets.is_empty() && own.match_subject == subject && ssl.is_none() {
            return Some(Arc::clone(own));
        }
        let mut settings = (**own).clone();
        settings.match_subject = subject;
        if ssl.is_some() {
            settings.backend.ssl = ssl.cloned();
        }
        let closes = |settings: &&Arc<IngressSettings>| {
            settings.denied.as_deref() == Some("auth-tls-match-cn")
        };
        if settings.denied.is_none() && verifier.filter(closes).is_some() {
            settings.denied = Some("auth-tls-match-cn".to_owned());
        }
        for snippet in &server.snippets {
            global_snippets::add(&mut settings, (**snippet).clone(), "server-snippet");
        }
        settings
            .deny_rules
            .retain(|rule| !precedes(location, server, rule));
        Some(Arc::new(settings))
    }
}

/// Whether a location takes precedence over the prefix location of a snippet, because the path of the
/// location is longer.
fn precedes(location: &Location, server: &Server, rule: &DenyRule) -> bool {
    let tests = rule.conditions.iter().map(|condition| &condition.test);
    let is_longer = |test: &PartTest| match test {
        PartTest::StartsWith(path) => {
            location.path.len() > path.len() && location.path.starts_with(path.as_str())
        }
        _ => false,
    };
    rule.below_paths && !server.regex && !location.catch_all && tests.into_iter().any(is_longer)
}
