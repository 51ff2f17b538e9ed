use super::*;
use crate::plan::{BackendId, Endpoint};

const ERROR: Outcome = Outcome::Answer(500);
const FINE: Outcome = Outcome::Answer(200);

fn address(port: u16) -> SocketAddr {
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

/// The ports that get requests.
fn usable(detector: &Detector, cluster: &Cluster) -> Vec<u16> {
    let view = detector.view(cluster);
    let nodes = view.usable.nodes().iter();
    nodes.map(|node| node.address().port()).collect()
}

fn report(detector: &Detector, port: u16, outcomes: &[Outcome]) {
    for outcome in outcomes {
        detector.report(address(port), *outcome);
    }
}

#[tokio::test(start_paused = true)]
async fn errors_in_a_row_put_an_endpoint_out_and_a_success_starts_anew() {
    let (detector, cluster) = (Detector::new(rule(), 50, None), cluster(3));
    assert_eq!(usable(&detector, &cluster), [1, 2, 3]);

    report(&detector, 2, &[ERROR, ERROR, FINE, ERROR, ERROR]);
    assert_eq!(usable(&detector, &cluster), [1, 2, 3]);
    report(&detector, 2, &[ERROR]);

    assert_eq!(usable(&detector, &cluster), [1, 3]);
}

#[tokio::test(start_paused = true)]
async fn each_time_out_is_longer_until_the_endpoint_has_been_well_for_a_while() {
    let (detector, cluster) = (Detector::new(rule(), 50, None), cluster(3));
    let mut out = Vec::new();
    for pause in [0, 0, 0, 60] {
        tokio::time::advance(Duration::from_secs(pause)).await;
        usable(&detector, &cluster);
        report(&detector, 1, &[ERROR; 3]);
        let since = Instant::now();
        while usable(&detector, &cluster).len() < 3 {
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        out.push(since.elapsed().as_secs());
    }

    // They are looked after every 3 s only.
    assert!((30..33).contains(&out[0]), "{out:?}");
    assert!((60..63).contains(&out[1]), "{out:?}");
    assert!((90..93).contains(&out[2]), "{out:?}");
    assert!((30..33).contains(&out[3]), "{out:?}");
}

#[tokio::test(start_paused = true)]
async fn no_time_out_is_longer_than_five_minutes() {
    let (detector, cluster) = (Detector::new(rule(), 50, None), cluster(3));
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
async fn only_so_many_may_be_out() {
    let all_but = |max_percent, always_one, endpoints| {
        let rule = OutlierDetection {
            max_percent,
            always_one,
            ..rule()
        };
        let (detector, cluster) = (Detector::new(rule, 0, None), cluster(endpoints));
        usable(&detector, &cluster);
        for port in 1..=endpoints {
            report(&detector, port, &[ERROR; 3]);
        }
        usable(&detector, &cluster).len()
    };

    assert_eq!(all_but(10, false, 9), 9);
    assert_eq!(all_but(10, true, 9), 8);
    assert_eq!(all_but(10, false, 10), 9);
    assert_eq!(all_but(50, false, 4), 2);
    assert_eq!(all_but(100, false, 4), 0);
}

#[tokio::test(start_paused = true)]
async fn health_does_not_count_when_too_few_are_well() {
    for (panic, expected) in [(50, vec![2, 3]), (51, vec![1, 2, 3, 4]), (0, vec![2, 3])] {
        let (detector, cluster) = (Detector::new(rule(), panic, None), cluster(4));
        usable(&detector, &cluster);

        report(&detector, 1, &[ERROR; 3]);
        report(&detector, 4, &[ERROR; 3]);

        assert_eq!(usable(&detector, &cluster), expected, "{panic}");
    }
}

#[tokio::test(start_paused = true)]
async fn failures_to_connect_are_errors_unless_they_count_apart() {
    let out = |rule: OutlierDetection, outcomes: &[Outcome]| {
        let (detector, cluster) = (Detector::new(rule, 50, None), cluster(2));
        usable(&detector, &cluster);
        report(&detector, 1, outcomes);
        usable(&detector, &cluster).len() == 1
    };
    let split = OutlierDetection {
        split_local: true,
        consecutive_local: 2,
        ..rule()
    };

    assert!(out(rule(), &[Outcome::Reset, ERROR, Outcome::Timeout]));
    assert!(!out(split.clone(), &[Outcome::Reset, ERROR, ERROR]));
    assert!(!out(
        split.clone(),
        &[Outcome::Reset, ERROR, Outcome::Timeout]
    ));
    assert!(out(split, &[ERROR, Outcome::Reset, Outcome::Timeout]));
}

#[tokio::test(start_paused = true)]
async fn gateway_errors_count_only_if_asked_for() {
    let out = |consecutive_gateway, outcomes: &[u16]| {
        let rule = OutlierDetection {
            consecutive_gateway,
            consecutive_5xx: 0,
            ..rule()
        };
        let (detector, cluster) = (Detector::new(rule, 50, None), cluster(2));
        usable(&detector, &cluster);
        for status in outcomes {
            report(&detector, 1, &[Outcome::Answer(*status)]);
        }
        usable(&detector, &cluster).len() == 1
    };

    assert!(out(2, &[503, 504]));
    assert!(!out(2, &[503, 500, 502]));
    assert!(!out(0, &[503; 9]));
}

#[tokio::test(start_paused = true)]
async fn a_large_share_of_failures_puts_an_endpoint_out_after_the_interval() {
    let rule = OutlierDetection {
        consecutive_5xx: 0,
        failure_percent: Some(40),
        ..rule()
    };
    for (endpoints, expected) in [(5, vec![2, 3, 4, 5]), (4, vec![1, 2, 3, 4])] {
        let (detector, cluster) = (Detector::new(rule.clone(), 50, None), cluster(endpoints));
        usable(&detector, &cluster);
        for port in 1..=endpoints {
            report(&detector, port, &[FINE; 30]);
            let last = if port == 1 { ERROR } else { FINE };
            report(&detector, port, &[last; 20]);
        }
        assert_eq!(usable(&detector, &cluster).len(), usize::from(endpoints));

        tokio::time::advance(Duration::from_secs(3)).await;

        assert_eq!(usable(&detector, &cluster), expected);
    }
}

#[tokio::test(start_paused = true)]
async fn who_is_out_stays_out_when_other_endpoints_come_and_go() {
    let (detector, cluster) = (Detector::new(rule(), 0, None), cluster(3));
    usable(&detector, &cluster);
    report(&detector, 1, &[ERROR; 3]);

    fill(&cluster, 4);
    assert_eq!(usable(&detector, &cluster), [2, 3, 4]);
    report(&detector, 4, &[ERROR; 3]);
    fill(&cluster, 2);

    assert_eq!(usable(&detector, &cluster), [2]);
}

#[tokio::test(start_paused = true)]
async fn who_is_ill_and_out_comes_back_only_when_neither() {
    let (detector, cluster) = (Detector::new(rule(), 0, None), cluster(2));
    usable(&detector, &cluster);

    report(&detector, 1, &[ERROR; 3]);
    detector.set_ill(address(1), true);
    tokio::time::advance(Duration::from_secs(60)).await;
    assert_eq!(usable(&detector, &cluster), [2]);
    detector.set_ill(address(1), false);

    assert_eq!(usable(&detector, &cluster), [1, 2]);
}

#[test]
fn a_grpc_call_that_fails_at_once_counts_by_its_status() {
    let head = |kind: &str, code: &str| {
        let response = http::Response::builder()
            .header("content-type", kind)
            .header("grpc-status", code);
        response.body(()).unwrap().into_parts().0
    };

    assert_eq!(
        of_response(&head("application/grpc", "14")),
        Outcome::Answer(503)
    );
    assert_eq!(of_response(&head("application/grpc+proto", "5")), FINE);
    assert_eq!(of_response(&head("text/plain", "14")), FINE);
}
