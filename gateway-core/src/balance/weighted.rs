//! The share of each backend of a rule.

/// Weights of which one is drawn at random, each in proportion to its size.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Weights {
    /// Sums of the weights up to and including each place.
    sums: Vec<u64>,
}

impl Weights {
    /// The weights in their order.
    pub fn new(weights: impl IntoIterator<Item = u32>) -> Self {
        let add = |sum: &mut u64, weight: u32| {
            *sum += u64::from(weight);
            Some(*sum)
        };
        let sums = weights.into_iter().scan(0, add).collect();
        Self { sums }
    }

    /// The sum of all weights.
    pub fn total(&self) -> u64 {
        self.sums.last().copied().unwrap_or(0)
    }

    /// The place to which `point` belongs, `point` being below [`total`](Self::total).
    pub fn place(&self, point: u64) -> usize {
        self.sums.partition_point(|sum| *sum <= point)
    }

    /// Draws a place; `None` if no weight is above zero.
    pub fn draw(&self) -> Option<usize> {
        match self.total() {
            0 => None,
            _ if self.sums.len() == 1 => Some(0),
            total => Some(self.place(fastrand::u64(..total))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Each weight owns exactly as many points as it is large.
        #[test]
        fn a_place_owns_as_many_points_as_its_weight(weights in proptest::collection::vec(0u32..20, 0..8)) {
            let drawn = Weights::new(weights.iter().copied());

            let mut owned = vec![0u32; weights.len()];
            for point in 0..drawn.total() {
                owned[drawn.place(point)] += 1;
            }

            prop_assert_eq!(owned, weights);
        }
    }

    #[test]
    fn shares_are_within_three_sigma_and_zero_is_exact() {
        fastrand::seed(7);
        let weights = [1u32, 0, 3, 6];
        let drawn = Weights::new(weights);
        let n = 100_000;

        let mut counts = [0u32; 4];
        for _ in 0..n {
            counts[drawn.draw().unwrap()] += 1;
        }

        assert_eq!(counts[1], 0);
        for (count, weight) in counts.iter().zip(weights) {
            let p = f64::from(weight) / 10.0;
            let sigma = (f64::from(n) * p * (1.0 - p)).sqrt();
            assert!((f64::from(*count) - f64::from(n) * p).abs() <= 3.0 * sigma + 1e-9);
        }
    }

    #[test]
    fn nothing_is_drawn_from_zeros() {
        assert_eq!(Weights::new([0, 0]).draw(), None);
        assert_eq!(Weights::new([]).draw(), None);
    }
}
