//! The cookies of a request.

use std::borrow::Cow;
use std::fmt::Write;

use http::header::COOKIE;
use http::{HeaderMap, HeaderValue};

use super::chunks;

/// The cookies of a request, in the order in which the request contains them. If two cookies have the same
/// name, the first one is used.
#[derive(Clone, Debug, Default)]
pub(super) struct CookieJar<'h>(Vec<(&'h str, &'h str)>);

impl<'h> CookieJar<'h> {
    /// The cookies of all `Cookie` lines. Parts without `=` are ignored.
    pub(super) fn of(headers: &'h HeaderMap) -> Self {
        let lines = headers.get_all(COOKIE).iter();
        let pairs = lines
            .filter_map(|line| line.to_str().ok())
            .flat_map(|line| line.split(';'))
            .filter_map(|pair| pair.split_once('='));
        Self(
            pairs
                .map(|(name, value)| (name.trim(), value.trim()))
                .collect(),
        )
    }

    /// The value of a cookie; `None` if it is absent or empty.
    pub(super) fn get(&self, name: &str) -> Option<&'h str> {
        let found = self.0.iter().find(|(known, _)| *known == name);
        found
            .map(|(_, value)| *value)
            .filter(|value| !value.is_empty())
    }

    /// The value of a cookie, which may be split over several cookies.
    pub(super) fn get_split(&self, name: &str) -> Option<Cow<'h, str>> {
        chunks::join(self.get(name)?, |index| {
            self.get(&chunks::name(name, index))
        })
    }

    /// All names.
    pub(super) fn names(&self) -> impl Iterator<Item = &'h str> + '_ {
        self.0.iter().map(|(name, _)| *name)
    }

    /// A `Cookie` line with the cookies whose names `keep` accepts, and those of `added`. `None` if the line
    /// would be empty.
    pub(super) fn rewritten(
        &self,
        keep: impl Fn(&str) -> bool,
        added: &[(&str, &str)],
    ) -> Option<HeaderValue> {
        let mut line = String::new();
        let kept = self.0.iter().filter(|(name, _)| keep(name));
        for (name, value) in kept.chain(added) {
            let separator = if line.is_empty() { "" } else { "; " };
            // Writing to a String cannot fail.
            let _ = write!(line, "{separator}{name}={value}");
        }
        (!line.is_empty())
            .then(|| HeaderValue::try_from(line).ok())
            .flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[&'static str]) -> HeaderMap {
        let lines = lines
            .iter()
            .map(|line| (COOKIE, HeaderValue::from_static(line)));
        lines.collect()
    }

    #[test]
    fn the_first_cookie_of_a_name_counts() {
        let headers = headers(&["a=1; b=2;c", "a=3; d==4; e="]);
        let jar = CookieJar::of(&headers);

        assert_eq!(jar.get("a"), Some("1"));
        assert_eq!(jar.get("d"), Some("=4"));
        assert_eq!((jar.get("c"), jar.get("e")), (None, None));
    }

    #[test]
    fn a_rewritten_line_keeps_other_cookies_and_adds_new_ones() {
        let headers = headers(&["a=1; b=2", "c=3"]);
        let jar = CookieJar::of(&headers);

        let line = jar.rewritten(|name| name != "b", &[("d", "4")]);

        assert_eq!(line.unwrap(), "a=1; c=3; d=4");
        assert_eq!(jar.rewritten(|_| false, &[]), None);
    }
}
