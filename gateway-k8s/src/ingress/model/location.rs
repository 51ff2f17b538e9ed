//! Finds the location of a path, in the order in which nginx compares locations.

use crate::ingress::servers::{Location, Server};

/// Finds the location of a path. Also returns whether the path matches the location only after a final slash
/// is added.
pub(crate) fn find_location<'s>(server: &'s Server, uri: &str) -> (&'s Location, bool) {
    let locations = &server.locations;
    let fallback = &locations[locations.len() - 1];
    if server.regex {
        let found = locations.iter().find(|location| {
            let path = location.path.strip_prefix('^').unwrap_or(&location.path);
            let regex = regex::Regex::new(&format!("(?i)^{path}"));
            regex.is_ok_and(|regex| regex.is_match(uri))
        });
        return (found.unwrap_or(fallback), false);
    }
    let exact = locations
        .iter()
        .find(|location| location.exact && location.path == uri);
    let same = locations
        .iter()
        .find(|location| !location.exact && location.path == uri);
    if let Some(found) = exact.or(same) {
        return (found, false);
    }
    let slash = locations.iter().find(|location| {
        location
            .path
            .strip_suffix('/')
            .is_some_and(|path| path == uri && !path.is_empty())
    });
    if let Some(found) = slash {
        return (found, true);
    }
    let below = locations.iter().find(|location| {
        let path = location.path.strip_suffix('/').unwrap_or(&location.path);
        !location.exact
            && uri
                .strip_prefix(path)
                .is_some_and(|rest| rest.starts_with('/'))
    });
    (below.unwrap_or(fallback), false)
}
