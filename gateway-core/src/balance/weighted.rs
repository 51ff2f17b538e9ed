//! Weighted random choice.

/// A list of weights. An index of the list is picked at random, in proportion to its weight.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Weights {
    /// Sum of the weights up to and including each index.
    sums: Vec<u64>,
}

impl Weights {
    /// Creates an instance from `weights`.
    pub fn new(weights: impl IntoIterator<Item = u32>) -> Self {
        let add = |sum: &mut u64, weight: u32| {
            *sum += u64::from(weight);
            Some(*sum)
        };
        let sums = weights.into_iter().scan(0, add).collect();
        Self { sums }
    }

    /// Sum of all weights.
    pub fn total(&self) -> u64 {
        self.sums.last().copied().unwrap_or(0)
    }

    /// Index whose range contains `point`. The ranges of all indices follow each other from 0 to
    /// [`total`](Self::total), and each is as long as the weight. `point` must be below the total.
    pub fn index_of(&self, point: u64) -> usize {
        self.sums.partition_point(|sum| *sum <= point)
    }

    /// Picks an index at random. Returns `None` if all weights are zero.
    pub fn pick_random(&self) -> Option<usize> {
        match self.total() {
            0 => None,
            _ if self.sums.len() == 1 => Some(0),
            total => Some(self.index_of(fastrand::u64(..total))),
        }
    }
}

impl Weights {
    /// Picks an index by a hash. Equal hashes pick the same index. Over many hashes, each index is picked in
    /// proportion to its weight.
    pub fn pick_by(&self, hash: u64) -> Option<usize> {
        // The hash is mixed first, because the unmixed hash also picks the endpoint. Without the mix, the
        // distribution over endpoints would depend on the picked index.
        let mixed = hash.wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(29);
        let mixed = (mixed ^ mixed >> 32).wrapping_mul(0xD6E8_FEB8_6659_FD93);
        match self.total() {
            0 => None,
            total => Some(self.index_of((mixed ^ mixed >> 32) % total)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn equal_hashes_have_one_index_and_many_hashes_are_spread_by_weight() {
        let weights = Weights::new([1, 0, 3]);
        let mut picked = [0; 3];

        for hash in 0..10_000 {
            let index = weights.pick_by(hash).unwrap();
            assert_eq!(weights.pick_by(hash), Some(index));
            picked[index] += 1;
        }

        assert!((2_200..2_800).contains(&picked[0]), "{picked:?}");
        assert_eq!(picked[1], 0);
        assert_eq!(Weights::new([]).pick_by(1), None);
    }

    proptest! {
        #[test]
        fn an_index_covers_as_many_points_as_its_weight(weights in proptest::collection::vec(0u32..20, 0..8)) {
            let summed = Weights::new(weights.iter().copied());

            let mut covered = vec![0u32; weights.len()];
            for point in 0..summed.total() {
                covered[summed.index_of(point)] += 1;
            }

            prop_assert_eq!(covered, weights);
        }
    }

    #[test]
    fn picks_follow_the_weights_and_weight_zero_is_never_picked() {
        fastrand::seed(7);
        let weights = [1u32, 0, 3, 6];
        let summed = Weights::new(weights);
        let n = 100_000;

        let mut counts = [0u32; 4];
        for _ in 0..n {
            counts[summed.pick_random().unwrap()] += 1;
        }

        assert_eq!(counts[1], 0);
        for (count, weight) in counts.iter().zip(weights) {
            let p = f64::from(weight) / 10.0;
            let sigma = (f64::from(n) * p * (1.0 - p)).sqrt();
            assert!((f64::from(*count) - f64::from(n) * p).abs() <= 3.0 * sigma + 1e-9);
        }
    }

    #[test]
    fn nothing_is_picked_if_all_weights_are_zero() {
        assert_eq!(Weights::new([0, 0]).pick_random(), None);
        assert_eq!(Weights::new([]).pick_random(), None);
    }
}
