use super::*;
use crate::plan::{BackendId, Endpoint};

const ERROR: Outcome = Outcome::Response(500);
const SUCCESS: Outcome = Outcome::Response(200);

fn address(port: u16) -> EndpointAddress {
    ([10, 0, 0, 1], port).into()
}

fn cluster(endpoints: u16) -> Cluster {
    let cluster = Cluster::new(BackendId::service("default", "web", 80));
    fill(&cluster, endpoints);
    cluster
}

fn fill(cluster: &Cluster, endpoints: u16) {
    let list: Vec<Endpoint> = (1..=endpoints).map(|port| address(port).into()).collect();
    cluster.set(&list);
}

fn rule() -> OutlierDetection {
    OutlierDetection {
        consecutive_5xx: 3,
        max_percent: 100,
        ..Default::default()
    }
}

/// Ports of the endpoints that receive requests.
fn usable(detector: &OutlierDetector, cluster: &Cluster) -> Vec<u16> {
    let view = detector.view(cluster);
    let endpoints = view.usable.endpoints().iter();
    endpoints
        .map(|live| live.address().port().unwrap())
        .collect()
}

fn report(detector: &OutlierDetector, port: u16, outcomes: &[Outcome]) {
    for outcome in outcomes {
        detector.report(&address(port), *outcome);
    }
}

#[tokio::test(start_paused = true)]
async fn consecutive_errors_eject_an_endpoint_and_a_success_resets_the_count() {
    let (detector, cluster) = (OutlierDetector::new(rule(), 50, None), cluster(3));
    assert_eq!(usable(&detector, &cluster), [1, 2, 3]);

    report(&detector, 2, &[ERROR, ERROR, SUCCESS, ERROR, ERROR]);
    assert_eq!(usable(&detector, &cluster), [1, 2, 3]);
    report(&detector, 2, &[ERROR]);

    assert_eq!(usable(&detector, &cluster), [1, 3]);
}

#[tokio::test(start_paused = true)]
async fn each_ejection_is_longer_until_the_endpoint_has_been_healthy_for_a_while() {
    let (detector, cluster) = (OutlierDetector::new(rule(), 50, None), cluster(3));
    let mut ejections = Vec::new();
    for pause in [0, 0, 0, 60] {
        tokio::time::advance(Duration::from_secs(pause)).await;
        usable(&detector, &cluster);
        report(&detector, 1, &[ERROR; 3]);
        let since = Instant::now();
        while usable(&detector, &cluster).len() < 3 {
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        ejections.push(since.elapsed().as_secs());
    }

    // The first ejection ends with the first review after 30 s. Reviews take place every 3 s.
    assert!((30..33).contains(&ejections[0]), "{ejections:?}");
    assert!((60..63).contains(&ejections[1]), "{ejections:?}");
    assert!((90..93).contains(&ejections[2]), "{ejections:?}");
    assert!((30..33).contains(&ejections[3]), "{ejections:?}");
}

#[tokio::test(start_paused = true)]
async fn an_ejection_lasts_at_most_five_minutes() {
    let (detector, cluster) = (OutlierDetector::new(rule(), 50, None), cluster(3));
    let mut longest = 0;
    for _ in 0..15 {
        usable(&detector, &cluster);
        report(&detector, 1, &[ERROR; 3]);
        let since = Instant::now();
        while usable(&detector, &cluster).len() < 3 {
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        longest = longest.max(since.elapsed().as_secs());
    }

    assert!((300..303).contains(&longest), "{longest}");
}

#[tokio::test(start_paused = true)]
async fn the_share_of_ejected_endpoints_is_limited() {
    let remaining = |max_percent, always_one, endpoints| {
        let rule = OutlierDetection {
            max_percent,
            always_one,
            ..rule()
        };
        let (detector, cluster) = (OutlierDetector::new(rule, 0, None), cluster(endpoints));
        usable(&detector, &cluster);
        for port in 1..=endpoints {
            report(&detector, port, &[ERROR; 3]);
        }
        usable(&detector, &cluster).len()
    };

    assert_eq!(remaining(10, false, 9), 9);
    assert_eq!(remaining(10, true, 9), 8);
    assert_eq!(remaining(10, false, 10), 9);
    assert_eq!(remaining(50, false, 4), 2);
    assert_eq!(remaining(100, false, 4), 0);
}

#[tokio::test(start_paused = true)]
async fn health_is_ignored_when_too_few_endpoints_are_healthy() {
    for (panic, expected) in [(50, vec![2, 3]), (51, vec![1, 2, 3, 4]), (0, vec![2, 3])] {
        let (detector, cluster) = (OutlierDetector::new(rule(), panic, None), cluster(4));
        usable(&detector, &cluster);

        report(&detector, 1, &[ERROR; 3]);
        report(&detector, 4, &[ERROR; 3]);

        assert_eq!(usable(&detector, &cluster), expected, "{panic}");
    }
}

#[tokio::test(start_paused = true)]
async fn connect_failures_count_as_errors_unless_they_are_split() {
    let ejects = |rule: OutlierDetection, outcomes: &[Outcome]| {
        let (detector, cluster) = (OutlierDetector::new(rule, 50, None), cluster(2));
        usable(&detector, &cluster);
        report(&detector, 1, outcomes);
        usable(&detector, &cluster).len() == 1
    };
    let split = OutlierDetection {
        split_local: true,
        consecutive_local: 2,
        ..rule()
    };

    assert!(ejects(rule(), &[Outcome::Reset, ERROR, Outcome::Timeout]));
    assert!(!ejects(split.clone(), &[Outcome::Reset, ERROR, ERROR]));
    assert!(!ejects(
        split.clone(),
        &[Outcome::Reset, ERROR, Outcome::Timeout]
    ));
    assert!(ejects(split, &[ERROR, Outcome::Reset, Outcome::Timeout]));
}

#[tokio::test(start_paused = true)]
async fn gateway_errors_are_counted_only_if_configured() {
    let ejects = |consecutive_gateway, outcomes: &[u16]| {
        let rule = OutlierDetection {
            consecutive_gateway,
            consecutive_5xx: 0,
            ..rule()
        };
        let (detector, cluster) = (OutlierDetector::new(rule, 50, None), cluster(2));
        usable(&detector, &cluster);
        for status in outcomes {
            report(&detector, 1, &[Outcome::Response(*status)]);
        }
        usable(&detector, &cluster).len() == 1
    };

    assert!(ejects(2, &[503, 504]));
    assert!(!ejects(2, &[503, 500, 502]));
    assert!(!ejects(0, &[503; 9]));
}

#[tokio::test(start_paused = true)]
async fn a_high_failure_rate_ejects_an_endpoint_after_the_interval() {
    let rule = OutlierDetection {
        consecutive_5xx: 0,
        failure_percent: Some(40),
        ..rule()
    };
    for (endpoints, expected) in [(5, vec![2, 3, 4, 5]), (4, vec![1, 2, 3, 4])] {
        let (detector, cluster) = (
            OutlierDetector::new(rule.clone(), 50, None),
            cluster(endpoints),
        );
        usable(&detector, &cluster);
        for port in 1..=endpoints {
            report(&detector, port, &[SUCCESS; 30]);
            let last = if port == 1 { ERROR } else { SUCCESS };
            report(&detector, port, &[last; 20]);
        }
        assert_eq!(usable(&detector, &cluster).len(), usize::from(endpoints));

        tokio::time::advance(Duration::from_secs(3)).await;

        assert_eq!(usable(&detector, &cluster), expected);
    }
}

#[tokio::test(start_paused = true)]
async fn an_ejection_is_kept_when_other_endpoints_change() {
    let (detector, cluster) = (OutlierDetector::new(rule(), 0, None), cluster(3));
    usable(&detector, &cluster);
    report(&detector, 1, &[ERROR; 3]);

    fill(&cluster, 4);
    assert_eq!(usable(&detector, &cluster), [2, 3, 4]);
    report(&detector, 4, &[ERROR; 3]);
    fill(&cluster, 2);

    assert_eq!(usable(&detector, &cluster), [2]);
}

#[tokio::test(start_paused = true)]
async fn an_ejected_endpoint_with_failing_probes_returns_when_both_end() {
    let (detector, cluster) = (OutlierDetector::new(rule(), 0, None), cluster(2));
    usable(&detector, &cluster);

    report(&detector, 1, &[ERROR; 3]);
    detector.set_unhealthy(&address(1), true);
    tokio::time::advance(Duration::from_secs(60)).await;
    assert_eq!(usable(&detector, &cluster), [2]);
    detector.set_unhealthy(&address(1), false);

    assert_eq!(usable(&detector, &cluster), [1, 2]);
}

#[test]
fn a_grpc_response_without_a_body_is_counted_by_its_grpc_status() {
    let head = |kind: &str, code: &str| {
        let response = http::Response::builder()
            .header("content-type", kind)
            .header("grpc-status", code);
        response.body(()).unwrap().into_parts().0
    };

    assert_eq!(
        outcome_of_response(&head("application/grpc", "14")),
        Outcome::Response(503)
    );
    assert_eq!(
        outcome_of_response(&head("application/grpc+proto", "5")),
        SUCCESS
    );
    assert_eq!(outcome_of_response(&head("text/plain", "14")), SUCCESS);
}
