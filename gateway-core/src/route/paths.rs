//! Paths of a host, found by halving.
//!
//! The texts lie one after the other, in the order of their bytes. Whatever begins a path stands before
//! it in that order, and all that stands between the two begins with the same text. So the last text that
//! is not after a path is the path itself if it is there, and all texts that begin the path are among
//! those that begin that last one. Each text knows the longest other one that it begins with.
//!
//! A host with few paths, as most hosts are, is a few cache lines; one with many costs a few more steps.

use std::ops::Range;

/// What is known of the paths of a host: where the entries of each are.
#[derive(Clone, Debug, Default)]
pub(super) struct Paths {
    texts: Box<[u8]>,
    /// In the order of their texts, and one more, at which the last one ends.
    places: Box<[Place]>,
}

#[derive(Clone, Copy, Debug)]
struct Place {
    /// Where the text begins.
    text: u32,
    /// The longest other text that begins this one; itself: there is none.
    shorter: u32,
    /// Where the entries begin that want this text as the whole path.
    exact: u32,
    /// Where the entries begin that want it as the first elements, up to the next place.
    prefix: u32,
}

/// A path that is known.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known(usize);

impl Paths {
    /// Adds paths, given in the order of their bytes, each once: its text, and how many entries want it
    /// as the whole path, then how many as its first elements.
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

    /// The longest text that begins the one at `at`, of which those before it know theirs.
    fn shorter(&self, at: usize) -> Option<Known> {
        let text = self.text(Known(at));
        self.and_shorter(Known(at - 1))
            .find(|known| text.starts_with(self.text(*known)))
    }

    /// The last text that is not after `path`.
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

    /// Where the entries are that want `path` as the whole path; `last` is what was found for it.
    pub(super) fn exact(&self, last: Option<Known>, path: &str) -> Option<Range<usize>> {
        let known = last.filter(|known| self.text(*known) == path.as_bytes())?;
        let place = self.places[known.0];
        Some(place.exact as usize..place.prefix as usize)
    }

    /// Where the entries are that want some first elements of `path`, with the length of these in bytes,
    /// the longest first; `last` is what was found for `path`.
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

    /// A text and all that begin it, the longest first.
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
    u32::try_from(at).expect("a host has fewer than 2^32 bytes of paths, and entries")
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
