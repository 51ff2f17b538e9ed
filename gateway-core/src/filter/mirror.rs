//! Copies of requests for another backend (Gateway API `HTTPRequestMirrorFilter`).
//!
//! What is sent, and when a copy is given up, is told in [`traffic::mirror`](crate::traffic::mirror).

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::plan::Backend;

/// Sends a copy of some requests to a backend.
#[derive(Clone, Debug, Eq, Hash, PartialEq, Serialize, Deserialize)]
pub struct Mirror {
    /// Where copies go.
    pub backend: Arc<Backend>,
    /// Of which requests.
    pub share: Share,
}

/// A part of all requests: `numerator` of `denominator`, drawn for each request by itself.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq, Serialize, Deserialize)]
pub struct Share {
    /// Of these.
    pub numerator: u32,
    /// Out of these; 0 is taken as 1.
    pub denominator: u32,
}

impl Share {
    /// Every request.
    pub const ALL: Self = Self {
        numerator: 1,
        denominator: 1,
    };

    /// Whether a request is one of them.
    pub fn draw(self) -> bool {
        let all = self.denominator.max(1);
        self.numerator >= all || fastrand::u32(..all) < self.numerator
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(numerator: u32, denominator: u32) -> usize {
        let share = Share {
            numerator,
            denominator,
        };
        (0..10_000).filter(|_| share.draw()).count()
    }

    #[test]
    fn all_and_none_are_exact() {
        assert_eq!(drawn(1, 1), 10_000);
        assert_eq!(drawn(100, 100), 10_000);
        assert_eq!(drawn(7, 3), 10_000);
        assert_eq!(drawn(1, 0), 10_000);
        assert_eq!(drawn(0, 100), 0);
        assert_eq!(drawn(0, 0), 0);
    }

    /// The bounds are ten standard deviations wide.
    #[test]
    fn a_share_is_about_as_large_as_it_says() {
        fastrand::seed(7);
        for (numerator, denominator, expected) in [(20, 100, 2000), (25, 50, 5000), (35, 100, 3500)]
        {
            assert!(drawn(numerator, denominator).abs_diff(expected) < 500);
        }
    }
}
