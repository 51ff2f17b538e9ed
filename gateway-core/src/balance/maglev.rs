//! Maglev hashing (Eisenbud et al., NSDI 2016): a lookup table that spreads keys evenly. When an endpoint is
//! removed, few keys of other endpoints are remapped.

use super::hash_key::hash_bytes;

/// Lookup table from hashes to endpoint indexes.
#[derive(Debug)]
pub struct Maglev {
    table: Vec<u32>,
}

/// State of an endpoint while the table is filled: the endpoint's permutation of the table entries, and its
/// position in this permutation.
struct Candidate {
    offset: u64,
    skip: u64,
    next: u64,
    weight: f64,
    /// Credit of the endpoint. It increases by `weight` in each round. When it reaches 1, the endpoint takes
    /// an entry of the table.
    credit: f64,
}

impl Maglev {
    /// Builds a table of `size` entries from names and weights; `size` should be prime. The permutation of an
    /// endpoint depends only on the name of the endpoint, so removing one endpoint remaps few keys of other
    /// endpoints.
    pub fn build(endpoints: impl Iterator<Item = (String, u32)>, size: usize) -> Self {
        let size = size.max(2) as u64;
        let endpoints: Vec<_> = endpoints.collect();
        let heaviest = endpoints
            .iter()
            .map(|(_, weight)| *weight)
            .max()
            .unwrap_or(1);
        let mut candidates: Vec<_> = endpoints
            .iter()
            .map(|(name, weight)| Candidate {
                offset: hash_bytes(0, name.as_bytes()) % size,
                skip: hash_bytes(1, name.as_bytes()) % (size - 1) + 1,
                next: 0,
                weight: f64::from(*weight) / f64::from(heaviest),
                credit: 0.0,
            })
            .collect();
        Self {
            table: fill(&mut candidates, size),
        }
    }

    /// Number of entries.
    pub fn size(&self) -> usize {
        self.table.len()
    }

    /// Index of the endpoint for `hash`. `None` if the table has no endpoints.
    pub fn find(&self, hash: u64) -> Option<usize> {
        let entry = self.table[(hash % self.table.len() as u64) as usize];
        (entry != EMPTY).then_some(entry as usize)
    }
}

const EMPTY: u32 = u32::MAX;

fn fill(candidates: &mut [Candidate], size: u64) -> Vec<u32> {
    let mut table = vec![EMPTY; size as usize];
    let mut left = if candidates.is_empty() { 0 } else { size };
    while left > 0 {
        for (index, candidate) in candidates.iter_mut().enumerate() {
            candidate.credit += candidate.weight;
            if candidate.credit < 1.0 {
                continue;
            }
            candidate.credit -= 1.0;
            let free = candidate.next_free(&table, size);
            table[free] = index as u32;
            left -= 1;
            if left == 0 {
                break;
            }
        }
    }
    table
}

impl Candidate {
    fn next_free(&mut self, table: &[u32], size: u64) -> usize {
        while self.next < size {
            let entry = ((self.offset + self.next * self.skip) % size) as usize;
            self.next += 1;
            if table[entry] == EMPTY {
                return entry;
            }
        }
        // If the size is not a prime number, the permutation does not contain all entries, so a free entry is
        // searched.
        let free = table.iter().position(|entry| *entry == EMPTY);
        free.expect("the table has a free entry")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: usize = 65537;

    fn table(names: &[&str]) -> Maglev {
        Maglev::build(names.iter().map(|name| ((*name).to_owned(), 1)), SIZE)
    }

    #[test]
    fn equal_weights_get_equally_many_entries() {
        let table = table(&["a", "b", "c", "d", "e"]);

        for index in 0..5 {
            let share = table.table.iter().filter(|entry| **entry == index).count();
            assert!(share.abs_diff(SIZE / 5) <= 1, "{share}");
        }
    }

    #[test]
    fn entries_follow_the_weights() {
        let endpoints = [("a".to_owned(), 3), ("b".to_owned(), 1)];
        let table = Maglev::build(endpoints.into_iter(), SIZE);

        let a = table.table.iter().filter(|entry| **entry == 0).count();

        assert!(a.abs_diff(SIZE * 3 / 4) <= 2, "{a}");
    }

    #[test]
    fn few_keys_are_remapped_when_an_endpoint_is_removed() {
        let names: Vec<String> = (0..10).map(|n| format!("10.0.0.{n}:80")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let (before, after) = (table(&names), table(&names[..9]));

        let moved = (0..SIZE as u64)
            .filter(|hash| before.find(*hash) != Some(9) && before.find(*hash) != after.find(*hash))
            .count();

        assert!(moved < SIZE / 10, "{moved} entries were remapped");
    }

    proptest::proptest! {
        /// The sizes include numbers that are not prime, and the weights differ by up to a factor of 999.
        #[test]
        fn every_entry_has_an_endpoint(weights in proptest::collection::vec(1u32..1000, 1..6), size in 2usize..300) {
            let endpoints = weights.iter().enumerate().map(|(n, weight)| (n.to_string(), *weight));

            let table = Maglev::build(endpoints, size);

            for hash in 0..size as u64 {
                proptest::prop_assert!(table.find(hash).is_some_and(|index| index < weights.len()));
            }
        }
    }

    #[test]
    fn an_empty_table_returns_no_index() {
        assert_eq!(table(&[]).find(5), None);
    }
}
