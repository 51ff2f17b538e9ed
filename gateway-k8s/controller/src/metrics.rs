//! Metrics of the controller.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use towergate_core::prometheus::{Labels, MetricType, TextWriter};

use crate::serve::{DataPlaneReport, PlaneReport, Reports};

/// Counters and gauges.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    by_kind: Mutex<BTreeMap<&'static str, KindCounts>>,
    leads: AtomicBool,
    published_first: AtomicBool,
    serving: AtomicBool,
    resolved: AtomicU64,
    resolving_micros: AtomicU64,
    published: AtomicU64,
    due: AtomicU64,
    written: AtomicU64,
    conflicts: AtomicU64,
    failed: AtomicU64,
    without_address: AtomicU64,
    /// Settings of Ingresses by outcome of their translation.
    ingress_settings: Mutex<BTreeMap<&'static str, usize>>,
}

#[derive(Clone, Copy, Debug, Default)]
struct KindCounts {
    objects: usize,
    failures: u64,
}

/// The result of writing a status.
#[derive(Clone, Copy, Debug)]
pub(crate) enum WriteResult {
    /// The API server stored the status.
    Written,
    /// The object changed since it was read.
    Conflict,
    /// The API server rejected the status or is unreachable.
    Failed,
}

impl Metrics {
    /// Counts a failed watch.
    pub(crate) fn watch_failed(&self, kind: &'static str) {
        self.update(kind, |counts| counts.failures += 1);
    }

    /// Sets the number of objects of a kind.
    pub(crate) fn count_objects(&self, kind: &'static str, objects: usize) {
        self.update(kind, |counts| counts.objects = objects);
    }

    fn update(&self, kind: &'static str, change: impl FnOnce(&mut KindCounts)) {
        // A panic in another thread leaves the counts valid.
        let mut by_kind = self.by_kind.lock().unwrap_or_else(PoisonError::into_inner);
        change(by_kind.entry(kind).or_default());
    }

    /// Counts a resolution whose plans are published.
    pub(crate) fn resolved(&self, took: Duration) {
        self.published_first.store(true, Ordering::Relaxed);
        self.resolved.fetch_add(1, Ordering::Relaxed);
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.resolving_micros.fetch_add(micros, Ordering::Relaxed);
    }

    /// Counts a publication to data planes.
    pub(crate) fn published(&self) {
        self.published.fetch_add(1, Ordering::Relaxed);
    }

    /// Records that data planes can connect.
    pub(crate) fn set_serving(&self) {
        self.serving.store(true, Ordering::Relaxed);
    }

    /// Whether data planes can receive a plan.
    pub(crate) fn is_ready(&self) -> bool {
        self.published_first.load(Ordering::Relaxed) && self.serving.load(Ordering::Relaxed)
    }

    /// Sets whether this controller is the leader.
    pub(crate) fn set_leads(&self, leads: bool) {
        self.leads.store(leads, Ordering::Relaxed);
    }

    /// Sets the number of statuses that differ from the desired statuses.
    pub(crate) fn set_due(&self, due: usize) {
        self.due.store(due as u64, Ordering::Relaxed);
    }

    /// Sets the number of Gateways without an address.
    pub(crate) fn set_without_address(&self, gateways: usize) {
        self.without_address
            .store(gateways as u64, Ordering::Relaxed);
    }

    /// Sets the number of settings of Ingresses whose translation has this outcome.
    pub(crate) fn count_ingress_settings(&self, outcome: &'static str, settings: usize) {
        let counts = self.ingress_settings.lock();
        let mut counts = counts.unwrap_or_else(PoisonError::into_inner);
        counts.insert(outcome, settings);
    }

    /// Counts a write of a status.
    pub(crate) fn status_written(&self, result: WriteResult) {
        let counter = match result {
            WriteResult::Written => &self.written,
            WriteResult::Conflict => &self.conflicts,
            WriteResult::Failed => &self.failed,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// Renders all metrics, including metrics of the reports of data planes, in the Prometheus text format.
    pub(crate) fn render(&self, reports: &Reports) -> String {
        let mut page = Page::default();
        page.data_planes(reports);
        let load = |value: &AtomicU64| value.load(Ordering::Relaxed);
        page.gauge(
            "leader",
            "1 if this controller writes to the API server.",
            u8::from(self.leads.load(Ordering::Relaxed)),
        );
        page.gauge(
            "ready",
            "1 once data planes can receive a plan.",
            u8::from(self.is_ready()),
        );
        page.counter(
            "resolutions_total",
            "Resolutions of all objects.",
            load(&self.resolved),
        );
        let seconds = Duration::from_micros(load(&self.resolving_micros)).as_secs_f64();
        page.counter(
            "resolution_seconds_total",
            "Time spent on resolutions in seconds.",
            seconds,
        );
        page.counter(
            "publications_total",
            "Plans and endpoints published to data planes.",
            load(&self.published),
        );
        page.gauge(
            "statuses_due",
            "Statuses that differ from the desired statuses.",
            load(&self.due),
        );
        page.gauge(
            "gateways_without_address",
            "Gateways without an address.",
            load(&self.without_address),
        );
        self.render_writes(&mut page);
        self.render_kinds(&mut page);
        self.render_ingresses(&mut page);
        page.0.finish()
    }

    fn render_writes(&self, page: &mut Page) {
        let name = page.family(
            "status_writes_total",
            MetricType::Counter,
            "Writes of statuses by result.",
        );
        for (result, counter) in [
            ("written", &self.written),
            ("conflict", &self.conflicts),
            ("failed", &self.failed),
        ] {
            let value = counter.load(Ordering::Relaxed);
            page.0.sample(&name, &Labels::new("result", result), value);
        }
    }

    /// Renders the metrics of Ingresses. Renders nothing if no Ingresses are served.
    fn render_ingresses(&self, page: &mut Page) {
        let counts = self.ingress_settings.lock();
        let counts = counts.unwrap_or_else(PoisonError::into_inner);
        if counts.is_empty() {
            return;
        }
        let name = page.family(
            "ingress_settings",
            MetricType::Gauge,
            "Settings of Ingresses by outcome of the translation.",
        );
        for (outcome, settings) in &*counts {
            page.0
                .sample(&name, &Labels::new("outcome", outcome), settings);
        }
    }

    fn render_kinds(&self, page: &mut Page) {
        let by_kind = self.by_kind.lock().unwrap_or_else(PoisonError::into_inner);
        let name = page.family("objects", MetricType::Gauge, "Objects by kind.");
        for (kind, counts) in &*by_kind {
            page.0
                .sample(&name, &Labels::new("kind", kind), counts.objects);
        }
        let name = page.family(
            "watch_failures_total",
            MetricType::Counter,
            "Failed watches by kind.",
        );
        for (kind, counts) in &*by_kind {
            page.0
                .sample(&name, &Labels::new("kind", kind), counts.failures);
        }
    }
}

/// The text of metrics whose names start with `towergate_controller_`.
#[derive(Default)]
struct Page(TextWriter);

impl Page {
    /// Starts a metric family. Returns its full name.
    fn family(&mut self, name: &str, kind: MetricType, help: &str) -> String {
        let name = format!("towergate_controller_{name}");
        self.0.family(&name, kind, help);
        name
    }

    fn counter(&mut self, name: &str, help: &str, value: impl Display) {
        let name = self.family(name, MetricType::Counter, help);
        self.0.sample(&name, &Labels::default(), value);
    }

    fn gauge(&mut self, name: &str, help: &str, value: impl Display) {
        let name = self.family(name, MetricType::Gauge, help);
        self.0.sample(&name, &Labels::default(), value);
    }

    fn data_planes(&mut self, reports: &Reports) {
        type Counts = fn(&PlaneReport, &DataPlaneReport) -> bool;
        let families: [(&str, &str, Counts); 3] = [
            ("data_planes", "Connected data planes.", |_, _| true),
            (
                "data_planes_behind",
                "Connected data planes that do not serve the newest version.",
                |plane, one| one.in_force < plane.published,
            ),
            (
                "data_planes_refusing",
                "Connected data planes that rejected a version, or cannot bind one of its addresses.",
                |_, one| one.refused.is_some(),
            ),
        ];
        for (name, help, counts) in families {
            let name = self.family(name, MetricType::Gauge, help);
            for (plane, report) in &reports.planes {
                let all = report.data_planes.values();
                let count = all.filter(|one| counts(report, one)).count();
                self.0.sample(&name, &Labels::new("plane", plane), count);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_each_metric_with_its_labels() {
        let metrics = Metrics::default();
        metrics.set_leads(true);
        metrics.count_objects("Gateway", 3);
        metrics.watch_failed("Gateway");
        metrics.status_written(WriteResult::Conflict);
        metrics.resolved(Duration::from_millis(250));

        let behind = DataPlaneReport {
            name: "pod".to_owned(),
            address: ([192, 0, 2, 1], 1).into(),
            in_force: Some(1),
            refused: None,
        };
        let plane = PlaneReport {
            published: Some(2),
            data_planes: [(0, behind)].into(),
        };
        let reports = Reports {
            planes: [("d/edge".to_owned(), plane)].into(),
        };

        let page = metrics.render(&reports);

        for line in [
            "towergate_controller_leader 1",
            "towergate_controller_ready 0",
            "towergate_controller_objects{kind=\"Gateway\"} 3",
            "towergate_controller_watch_failures_total{kind=\"Gateway\"} 1",
            "towergate_controller_status_writes_total{result=\"conflict\"} 1",
            "towergate_controller_resolution_seconds_total 0.25",
            "# TYPE towergate_controller_objects gauge",
            "towergate_controller_data_planes{plane=\"d/edge\"} 1",
            "towergate_controller_data_planes_behind{plane=\"d/edge\"} 1",
            "towergate_controller_data_planes_refusing{plane=\"d/edge\"} 0",
        ] {
            assert!(page.lines().any(|found| found == line), "{line} in\n{page}");
        }
    }
}
