//! A load report is malformed, or its weight is a positive number.

use towergate_core::balance::LoadReport;
use towergate_core::plan::UtilizationBalancing;

/// Input: the value of `endpoint-load-metrics`.
pub fn check(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let report = LoadReport::parse(text).unwrap_or_default();
    let weight = report.weight(&UtilizationBalancing::default());
    assert!(weight.is_none_or(|weight| weight > 0.0 && weight.is_finite()));
}
