//! Hosts whose regular expressions only remove a prefix.
//!
//! In ingress-nginx, a prefix is removed by `/app(/|$)(.*)` with `rewrite-target: /$2`. The equivalent in
//! Gateway API is a path prefix with `ReplacePrefixMatch`. The path prefix is used only if every path of the
//! host permits it, because nginx orders the regular expressions of a host by length. If the paths have
//! different guards, the path prefix is not used: `/LOGIN` and `/loginx` do not match the prefix `/login`, so
//! they would be served with the guards of another path.

use super::Translator;
use crate::ingress::servers::{Location, Server};
use crate::ingress::settings::IngressSettings;
use crate::ingress::verdict::{Aspect, ExampleExchange, Finding};

/// Aspects that differ if patterns become prefixes.
pub(super) const PREFIXES: &[Aspect] = &[
    Aspect::Status,
    Aspect::Calls,
    Aspect::RequestPath,
    Aspect::Body,
    Aspect::ResponseHeaders,
];

/// Ends of patterns that capture the path below a prefix, with the number of the group.
const ENDS: [(&str, usize); 3] = [("(/|$)(.*)", 2), ("/?(.*)", 1), ("/(.*)", 1)];

/// The prefix of a pattern and its replacement. `None`: the rewrite does more than replace a prefix.
fn prefix(path: &str, target: &str) -> Option<(String, String)> {
    let path = path.strip_prefix('^').unwrap_or(path);
    let (prefix, group) = ENDS
        .iter()
        .find_map(|(end, group)| Some((path.strip_suffix(end)?, *group)))?;
    let base = target.strip_suffix(&format!("/${group}"))?;
    if !is_literal(prefix) || !is_literal(base) {
        return None;
    }
    let or_root = |text: &str| match text {
        "" => "/".to_owned(),
        text => text.to_owned(),
    };
    Some((or_root(prefix), or_root(base)))
}

/// A request that only ingress-nginx forwards: a prefix in upper case. `None` if a path matches all requests
/// of the host.
fn example(server: &Server) -> Option<ExampleExchange> {
    let takes_all = |location: &Location| location.path == "/" && location.backend.is_some();
    if server.locations.iter().any(takes_all) || server.host.is_empty() {
        return None;
    }
    let mut locations = server.locations.iter();
    let (location, path) = locations.find_map(|location| {
        let upper = location.path.to_ascii_uppercase();
        (location.replaces_prefix.is_some() && upper != location.path).then_some((location, upper))
    })?;
    let to = location.replaces_prefix.as_deref().unwrap_or_default();
    let scheme = if server.tls { "https" } else { "http" };
    let host = server.host.replace("*.", "sample.");
    Some(ExampleExchange {
        method: "GET".to_owned(),
        url: format!("{scheme}://{host}{path}/x"),
        with: String::new(),
        ingress_nginx: format!("the backend receives {}/x", to.trim_end_matches('/')),
        towergate: "404".to_owned(),
    })
}

fn is_literal(path: &str) -> bool {
    path.bytes()
        .all(|b| b.is_ascii_alphanumeric() || b"/-_.~".contains(&b))
}

impl Translator<'_> {
    /// Whether the paths of the host have different guards.
    fn has_different_guards(&self, server: &Server) -> bool {
        let default = IngressSettings::default();
        let settings = |location| self.servers.settings(location).unwrap_or(&default);
        let mut locations = server.locations.iter();
        let Some(first) = locations.next() else {
            return false;
        };
        locations.any(|location| !settings(location).has_guards_of(settings(first)))
    }

    /// The server with prefixes instead of regular expressions, if all its paths permit that; otherwise the
    /// unchanged server.
    pub(crate) fn prefix_form(&mut self, server: &Server) -> Server {
        let mut changed = server.clone();
        if !server.regex {
            return changed;
        }
        if self.has_different_guards(server) {
            return changed;
        }
        let mut rewrites = false;
        for location in &mut changed.locations {
            let settings = self.servers.settings(location);
            let rewrite = settings.and_then(|settings| settings.rewrite.as_ref());
            let rewrite = rewrite.filter(|target| **target != location.path);
            match rewrite {
                // The default backend of the host also receives rewritten paths, which prefixes cannot
                // express.
                Some(_) if location.catch_all && location.backend.is_some() => {
                    return server.clone();
                }
                Some(_) if location.catch_all => {}
                Some(target) => {
                    let Some((from, to)) = prefix(&location.path, target) else {
                        return server.clone();
                    };
                    location.path = from;
                    location.replaces_prefix = Some(to);
                    rewrites = true;
                }
                None if is_literal(&location.path) => {}
                None => return server.clone(),
            }
        }
        if !rewrites {
            return server.clone();
        }
        if changed
            .locations
            .iter()
            .any(|l| l.path == "/" && !l.catch_all)
        {
            changed.locations.retain(|location| !location.catch_all);
        }
        let mut paths: Vec<&str> = changed.locations.iter().map(|l| l.path.as_str()).collect();
        paths.sort_unstable();
        paths.dedup();
        if paths.len() < changed.locations.len() {
            return server.clone();
        }
        let text = format!(
            "paths of host `{}` become prefixes that match whole segments, case-sensitively; ingress-nginx matches them as case-insensitive regular expressions, so `/app` also matches `/APP` and `/apple`",
            server.host
        );
        let example = example(&changed);
        for ingress in server.ingresses() {
            self.field_of(ingress, "spec.rules", Finding::differs(&*text, PREFIXES));
            if let Some(verdict) = self.verdicts.last_mut() {
                verdict.example.clone_from(&example);
            }
        }
        changed.regex = false;
        changed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_patterns_remove_a_prefix() {
        let of = |from: &str, to: &str| Some((from.to_owned(), to.to_owned()));

        assert_eq!(prefix("/app(/|$)(.*)", "/$2"), of("/app", "/"));
        assert_eq!(prefix("/app/?(.*)", "/base/$1"), of("/app", "/base"));
        assert_eq!(prefix("/(.*)", "/$1"), of("/", "/"));
        assert_eq!(prefix("/app(/|$)(.*)", "/$1"), None);
        assert_eq!(prefix("/v[0-9]+/(.*)", "/$1"), None);
    }
}
