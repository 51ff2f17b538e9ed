//! Metric families with one or more samples per row.

use foldhash::HashMap;
use towergate_core::prometheus::{Labels, MetricType, TextWriter};

use super::counts::{BOUNDS, Histogram, Reasons};

/// Counts with their labels, sorted by the labels.
pub(super) type Rows<'a, C> = [(Labels, &'a C)];

/// Writes families of rows.
#[derive(Default)]
pub(super) struct Families(pub(super) TextWriter);

impl Families {
    pub(super) fn counters<C>(
        &mut self,
        name: &str,
        help: &str,
        rows: &Rows<'_, C>,
        value: fn(&C) -> u64,
    ) {
        self.values(name, MetricType::Counter, help, rows, value);
    }

    pub(super) fn gauges<C>(
        &mut self,
        name: &str,
        help: &str,
        rows: &Rows<'_, C>,
        value: fn(&C) -> u64,
    ) {
        self.values(name, MetricType::Gauge, help, rows, value);
    }

    fn values<C>(
        &mut self,
        name: &str,
        kind: MetricType,
        help: &str,
        rows: &Rows<'_, C>,
        value: fn(&C) -> u64,
    ) {
        self.0.family(name, kind, help);
        for (labels, counts) in rows {
            self.0.sample(name, labels, value(counts));
        }
    }

    /// Writes a counter for each reason. The reason is the value of `label`.
    pub(super) fn reasons<C>(
        &mut self,
        name: &str,
        help: &str,
        label: &str,
        rows: &Rows<'_, C>,
        reasons: fn(&C) -> &Reasons,
    ) {
        self.0.family(name, MetricType::Counter, help);
        for (labels, counts) in rows {
            for (reason, count) in reasons(counts) {
                let labels = labels.clone().with(label, reason);
                self.0.sample(name, &labels, count);
            }
        }
    }

    /// Writes a counter for each status class that occurred.
    pub(super) fn classes<C>(
        &mut self,
        name: &str,
        help: &str,
        rows: &Rows<'_, C>,
        classes: fn(&C) -> &[u64; 10],
    ) {
        self.0.family(name, MetricType::Counter, help);
        for (labels, counts) in rows {
            let classes = classes(counts).iter().enumerate();
            for (class, count) in classes.filter(|(_, count)| **count > 0) {
                let class = class.to_string();
                let labels = labels.clone().with("envoy_response_code_class", &class);
                self.0.sample(name, &labels, count);
            }
        }
    }

    pub(super) fn histograms<C>(
        &mut self,
        name: &str,
        help: &str,
        rows: &Rows<'_, C>,
        histogram: fn(&C) -> &Histogram,
    ) {
        self.0.family(name, MetricType::Histogram, help);
        for (labels, counts) in rows {
            let Histogram { sum, buckets } = histogram(counts);
            self.0.histogram(name, labels, &BOUNDS, buckets, *sum);
        }
    }

    /// Writes a family with one sample without labels.
    pub(super) fn single(&mut self, name: &str, kind: MetricType, help: &str, value: u64) {
        self.0.family(name, kind, help);
        self.0.sample(name, &Labels::default(), value);
    }
}

/// Pairs each count with the labels of its key, sorted by the labels.
pub(super) fn rows<K, C>(
    counts: &HashMap<K, C>,
    labels: impl Fn(&K) -> Labels,
) -> Vec<(Labels, &C)> {
    sorted(counts.iter().map(|(key, counts)| (labels(key), counts)))
}

/// Sorts rows by their labels.
pub(super) fn sorted<T>(rows: impl Iterator<Item = (Labels, T)>) -> Vec<(Labels, T)> {
    let mut rows: Vec<_> = rows.collect();
    rows.sort_by(|a, b| a.0.cmp(&b.0));
    rows
}
