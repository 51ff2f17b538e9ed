//! For each entry there is also a table that contains only this entry. A lookup finds an entry if and only if
//! at least one of these tables matches. The result is an entry whose table matches.
//!
//! Input, one item per line: host, path and query of the request, then the entries. An entry consists of a
//! hostname, a character for the kind of path (`=` for exact, `~` for a regular expression, any other for a
//! prefix), and the path, separated by spaces.

use std::cell::RefCell;
use std::collections::HashMap;

use http::{HeaderMap, Method};
use towergate_core::plan::{Match, PathMatch, TextMatch};
use towergate_core::route::{Query, RouteTable};
use towergate_tls::NamePattern;

thread_local! {
    /// Compiled expressions. They are cached, because most inputs contain expressions of earlier inputs.
    static REGEXES: RefCell<HashMap<String, Option<PathMatch>>> = RefCell::default();
}

/// Input: see the module.
pub fn check(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let mut lines = text.lines();
    let (host, path, query) = (lines.next(), lines.next(), lines.next());
    let headers = HeaderMap::new();
    let query = Query {
        host: host.unwrap_or_default(),
        path: path.unwrap_or_default(),
        compared: None,
        query,
        method: &Method::GET,
        headers: &headers,
    };
    let entries: Vec<(NamePattern, Match)> = lines.take(16).filter_map(entry).collect();

    let table = RouteTable::build(
        entries
            .iter()
            .enumerate()
            .map(|(i, (host, m))| (host.clone(), m, i)),
    );
    let found = table.find(&query, false).map(|found| *found.payload);
    let alone = |i: usize| {
        let (host, m) = &entries[i];
        RouteTable::build([(host.clone(), m, ())])
            .find(&query, false)
            .is_some()
    };

    match found {
        Some(i) => assert!(alone(i)),
        None => assert!((0..entries.len()).all(|i| !alone(i))),
    }
}

fn entry(line: &str) -> Option<(NamePattern, Match)> {
    let mut words = line.splitn(3, ' ');
    let (host, kind, path) = (words.next()?, words.next()?, words.next()?);
    let path = match kind {
        "=" => PathMatch::Exact(path.to_owned()),
        "~" => regex(path)?,
        _ => PathMatch::Prefix(path.to_owned()),
    };
    let path = Match {
        path,
        ..Match::default()
    };
    Some((host.parse().ok()?, path))
}

fn regex(path: &str) -> Option<PathMatch> {
    let compile = || match TextMatch::regex(path).ok()? {
        TextMatch::Regex(regex) => Some(PathMatch::Regex(regex)),
        _ => None,
    };
    REGEXES.with_borrow_mut(|known| {
        if known.len() > 1000 {
            known.clear();
        }
        known.entry(path.to_owned()).or_insert_with(compile).clone()
    })
}
