//! Path matches.

use towergate_core::http::path::{ComparedPath, Normalized, normalize};
use towergate_core::plan::{EscapedSlashes, PathMatch, PathSettings, TextMatch};

use super::reading::{Readings, literal_start, looks_like_expression, starting_with};
use super::{LostPath, MatchReader};
use crate::api::http_route::HttpPathMatch;

/// How a path is compared.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum PathType {
    Prefix,
    Exact,
    Regex,
}

impl PathType {
    /// Parses the type of a path match. `None`: the type is unknown.
    fn parse(word: Option<&str>) -> Option<Self> {
        match word.unwrap_or("PathPrefix") {
            "PathPrefix" => Some(Self::Prefix),
            "Exact" => Some(Self::Exact),
            "RegularExpression" => Some(Self::Regex),
            _ => None,
        }
    }
}

impl MatchReader<'_> {
    /// The paths that a path match may stand for. Fails if it may stand for any path.
    pub(super) fn path(
        &mut self,
        written: &HttpPathMatch,
    ) -> Result<Readings<PathMatch>, LostPath> {
        let value = written.value.as_deref().unwrap_or("/");
        let unread = self.is_unread(".path");
        if unread && written.value.is_none() {
            return Err(LostPath::Unknown);
        }
        let kind = PathType::parse(written.kind.as_deref());
        match kind {
            // The decoder has already reported the field, which may be the type.
            _ if unread => of_unknown_type(value).ok_or(LostPath::Unknown),
            Some(PathType::Prefix) => self
                .plain(value, PathMatch::Prefix)
                .ok_or(LostPath::Unknown),
            Some(PathType::Exact) => self.plain(value, PathMatch::Exact).ok_or(LostPath::Unknown),
            Some(PathType::Regex) => self.expression(value).ok_or(LostPath::Expression),
            None => {
                let word = written.kind.as_deref().unwrap_or_default();
                self.fault(
                    ".path.type",
                    format!("unknown path match type {word:?}; use PathPrefix, Exact or RegularExpression"),
                );
                of_unknown_type(value).ok_or(LostPath::Unknown)
            }
        }
    }

    /// A path that is compared literally.
    fn plain(
        &mut self,
        value: &str,
        compared: impl Fn(String) -> PathMatch,
    ) -> Option<Readings<PathMatch>> {
        match check(value) {
            Ok(path) => Some(Readings::One(compared(path))),
            Err(fault) => {
                self.fault(".path.value", format!("invalid path {value:?}: {fault}"));
                let paths = spellings(value)?.into_iter().map(compared);
                Some(Readings::Several(paths.collect()))
            }
        }
    }

    fn expression(&mut self, value: &str) -> Option<Readings<PathMatch>> {
        match regex(value) {
            Ok(path) => Some(Readings::One(path)),
            Err(fault) => {
                let message = format!("invalid regular expression {value:?}: {fault}");
                self.fault(".path.value", message);
                of_broken_expression(value).map(|path| Readings::Several(vec![path]))
            }
        }
    }
}

fn regex(expression: &str) -> Result<PathMatch, String> {
    match TextMatch::regex(expression) {
        Ok(TextMatch::Regex(regex)) => Ok(PathMatch::Regex(regex)),
        Ok(TextMatch::Exact(_) | TextMatch::Prefix(_) | TextMatch::Suffix(_)) => {
            Err("not an expression".to_owned())
        }
        Err(fault) => Err(fault.to_string()),
    }
}

/// A path of unknown type: one match for each possible type.
fn of_unknown_type(value: &str) -> Option<Readings<PathMatch>> {
    let mut all = Vec::new();
    for path in spellings(value).unwrap_or_default() {
        all.extend([PathMatch::Exact(path.clone()), PathMatch::Prefix(path)]);
    }
    if looks_like_expression(value) {
        match regex(value) {
            Ok(path) => all.push(path),
            Err(_) => all.push(of_broken_expression(value)?),
        }
    }
    (!all.is_empty()).then_some(Readings::Several(all))
}

/// Every path that starts with the literal text of an invalid expression; `None`: it does not start
/// with literal text.
fn of_broken_expression(expression: &str) -> Option<PathMatch> {
    let literal = literal_start(expression);
    if literal.len() < 2 || !literal.starts_with('/') {
        return None;
    }
    regex(&starting_with(&literal, expression)).ok()
}

/// The literal form of the normalised path, as in sanitized requests.
///
/// # Errors
/// Why it is invalid (Gateway API, `HTTPPathMatch`).
fn check(value: &str) -> Result<String, &'static str> {
    if !value.starts_with('/') {
        return Err("it must start with /");
    }
    if !value.bytes().all(is_path_byte) {
        return Err("it contains characters that a path cannot have");
    }
    let contains = |part: &str| value.contains(part);
    if contains("//") || contains("/./") || contains("/../") {
        return Err("it must not contain //, /./ or /../");
    }
    if value.ends_with("/.") || value.ends_with("/..") {
        return Err("it must not end in /. or /..");
    }
    if contains("%2f") || contains("%2F") {
        return Err("it must not contain an escaped slash");
    }
    const INVALID: &str = "it cannot be the path of a request";
    let path = match normalize(value, &PathSettings::default()) {
        Ok(Normalized::Unchanged) => value.to_owned(),
        Ok(Normalized::Changed(path) | Normalized::Redirect(path)) => path,
        Err(_) => return Err(INVALID),
    };
    match ComparedPath::of(&path, false) {
        Ok(compared) => Ok(compared.map_or(path, |compared| compared.literal().to_owned())),
        Err(_) => Err(INVALID),
    }
}

/// Whether a byte may be in a path (RFC 3986, section 3.3).
fn is_path_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"/-._~!$&'()*+,;=:@%".contains(&byte)
}

/// The normalised paths that an invalid path may stand for; `None`: any path.
fn spellings(value: &str) -> Option<Vec<String>> {
    let value = value.trim();
    let value = value.split_once("://").map_or(value, |(_, rest)| {
        rest.find('/').map_or("", |path| &rest[path..])
    });
    let value = value.split(['?', '#']).next().unwrap_or_default();
    if value.is_empty() {
        return None;
    }
    let path = match value.starts_with('/') {
        true => encoded(value),
        false if looks_like_expression(value) => return None,
        false => format!("/{}", encoded(value)),
    };
    let settings = PathSettings {
        escaped_slashes: EscapedSlashes::UnescapeAndForward,
        ..PathSettings::default()
    };
    // The path as sent is included, because policies may turn off parts of the normalisation.
    let mut all = vec![path.clone()];
    if let Ok(Normalized::Changed(normal) | Normalized::Redirect(normal)) =
        normalize(&path, &settings)
    {
        all.push(normal);
    }
    Some(all)
}

/// A path with bytes other than visible ASCII escaped, as clients send it.
fn encoded(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    for byte in path.bytes() {
        match byte.is_ascii_graphic() {
            true => out.push(char::from(byte)),
            false => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}
