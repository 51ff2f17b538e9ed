//! Exact paths and path prefixes of a host, found by binary search.
//!
//! The strings are stored contiguously and sorted by bytes. A prefix of a path is sorted before the path, and
//! every string between the two starts with this prefix. A binary search finds the last string that is not
//! greater than the path. If the table contains the path, the found string is the path. In any case, every
//! string that is a prefix of the path is also a prefix of the found string. Each string links to the longest
//! other string that is its prefix.
//!
//! Most hosts have few paths, whose strings fit in a few cache lines.

use std::ops::Range;

/// Paths of a host, with the ranges of their entries.
#[derive(Clone, Debug, Default)]
pub(super) struct Paths {
    texts: Box<[u8]>,
    /// One place per string, in the order of the strings. A further place marks the end.
    places: Box<[Place]>,
}

#[derive(Clone, Copy, Debug)]
struct Place {
    /// Start of the string in `texts`.
    text: u32,
    /// Index of the longest other string that is a prefix of this one. If there is none, the index of this
    /// string.
    shorter: u32,
    /// Start of the entries that match this string as the whole path. They end at `prefix`.
    exact: u32,
    /// Start of the entries that match this string as a prefix. They end at `exact` of the next place.
    prefix: u32,
}

/// Index of a string in [`Paths`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Known(usize);

impl Paths {
    /// Builds the table from different paths, sorted by bytes. Each item consists of the path, the number of
    /// entries that match it as the whole path, and the number of entries that match it as a prefix.
    pub(super) fn build<'t>(paths: impl IntoIterator<Item = (&'t str, usize, usize)>) -> Self {
        let (mut texts, mut places, mut end) = (Vec::new(), Vec::new(), 0);
        for (text, exact, prefix) in paths {
            places.push(Place {
                text: narrow(texts.len()),
                shorter: narrow(places.len()),
                exact: narrow(end),
                prefix: narrow(end + exact),
            });
            texts.extend_from_slice(text.as_bytes());
            end += exact + prefix;
        }
        places.push(Place {
            text: narrow(texts.len()),
            shorter: narrow(places.len()),
            exact: narrow(end),
            prefix: narrow(end),
        });
        let mut built = Self {
            texts: texts.into(),
            places: places.into(),
        };
        for at in 1..built.len() {
            if let Some(shorter) = built.shorter(at) {
                built.places[at].shorter = narrow(shorter.0);
            }
        }
        built
    }

    /// The longest other string that is a prefix of the string at `at`. The links of all strings before `at`
    /// must be set.
    fn shorter(&self, at: usize) -> Option<Known> {
        let text = self.text(Known(at));
        self.and_shorter(Known(at - 1))
            .find(|known| text.starts_with(self.text(*known)))
    }

    /// The last string that is not greater than `path`.
    pub(super) fn last(&self, path: &str) -> Option<Known> {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = low.midpoint(high);
            match self.text(Known(middle)) <= path.as_bytes() {
                true => low = middle + 1,
                false => high = middle,
            }
        }
        low.checked_sub(1).map(Known)
    }

    /// The range of the entries that match `path` as the whole path. `last` is the result of [`Self::last`].
    pub(super) fn exact(&self, last: Option<Known>, path: &str) -> Option<Range<usize>> {
        let known = last.filter(|known| self.text(*known) == path.as_bytes())?;
        let place = self.places[known.0];
        Some(place.exact as usize..place.prefix as usize)
    }

    /// The ranges of the entries that match a prefix of `path`, and the length of each prefix in bytes. The
    /// longest prefix is first. `last` is the result of [`Self::last`].
    pub(super) fn prefixes<'p>(
        &'p self,
        last: Option<Known>,
        path: &'p str,
    ) -> impl Iterator<Item = (Range<usize>, usize)> + use<'p> {
        let path = path.as_bytes();
        let all = last.into_iter().flat_map(|last| self.and_shorter(last));
        all.filter_map(move |known| {
            let length = self.text(known).len();
            let whole = matches!(path.get(length), None | Some(b'/'));
            let entries = self.places[known.0].prefix..self.places[known.0 + 1].exact;
            let found = whole && !entries.is_empty() && path.starts_with(self.text(known));
            found.then_some((entries.start as usize..entries.end as usize, length))
        })
    }

    /// Iterates over a string and all strings that are its prefixes. The longest string is first.
    fn and_shorter(&self, known: Known) -> impl Iterator<Item = Known> + use<'_> {
        std::iter::successors(Some(known), |known| {
            let shorter = self.places[known.0].shorter as usize;
            (shorter < known.0).then_some(Known(shorter))
        })
    }

    fn text(&self, known: Known) -> &[u8] {
        let [start, end] = [known.0, known.0 + 1].map(|at| self.places[at].text as usize);
        &self.texts[start..end]
    }

    fn len(&self) -> usize {
        self.places.len().saturating_sub(1)
    }
}

fn narrow(at: usize) -> u32 {
    u32::try_from(at).expect("a host has fewer than 2^32 entries and bytes of paths")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn any_path() -> impl Strategy<Value = String> {
        let element = proptest::sample::select(vec!["", "a", "b", "ab", "a-b", "é"]);
        proptest::collection::vec(element, 0..5)
            .prop_map(|elements| elements.iter().flat_map(|e| ["/", e]).collect())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1_000))]

        #[test]
        fn what_is_found_agrees_with_a_plain_scan(
            known in proptest::collection::btree_map(any_path(), (0..2usize, 0..2usize), 0..12),
            paths in proptest::collection::vec(any_path(), 20),
        ) {
            let mut end = 0;
            let mut entries = BTreeMap::new();
            for (text, (exact, prefix)) in &known {
                entries.insert(text, (end..end + exact, end + exact..end + exact + prefix));
                end += exact + prefix;
            }
            let built = Paths::build(known.iter().map(|(text, (e, p))| (text.as_str(), *e, *p)));

            for path in &paths {
                let last = built.last(path);
                let exact = entries.get(path).map(|(exact, _)| exact.clone());
                prop_assert_eq!(built.exact(last, path), exact, "{}", path);

                let holds = |text: &str| path == text || path.starts_with(&format!("{text}/"));
                let expected = entries.iter().filter(|(text, (_, prefix))| holds(text) && !prefix.is_empty());
                let mut expected: Vec<_> = expected.map(|(text, (_, prefix))| (prefix.clone(), text.len())).collect();
                expected.reverse();
                prop_assert_eq!(built.prefixes(last, path).collect::<Vec<_>>(), expected, "{}", path);
            }
        }
    }
}
