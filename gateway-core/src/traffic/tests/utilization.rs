//! Balancing by the load reports of endpoints.

use super::backend::{Backend, Step};
use super::*;
use crate::plan::{LoadBalancer, UtilizationBalancing};

/// A response whose load report states this utilization, in a header field or in a trailer.
fn reporting(utilization: f64, in_trailer: bool) -> Vec<Vec<Step>> {
    let report =
        format!("endpoint-load-metrics: TEXT rps_fractional=90,cpu_utilization={utilization}\r\n");
    let response = match in_trailer {
        false => format!("HTTP/1.1 200 OK\r\n{report}content-length: 2\r\n\r\nok"),
        true => format!(
            "HTTP/1.1 200 OK\r\ntrailer: endpoint-load-metrics, x-kept\r\ntransfer-encoding: chunked\r\n\r\n\
             2\r\nok\r\n0\r\n{report}x-kept: 1\r\n\r\n"
        ),
    };
    vec![vec![Step::Send(response.into_bytes())]]
}

/// Of 400 requests, the number that the first of two endpoints receives. The second endpoint reports nine
/// times the utilization of the first endpoint.
async fn share_of_first(in_trailer: bool) -> usize {
    fastrand::seed(3);
    let first = Backend::start(reporting(0.1, in_trailer)).await;
    let second = Backend::start(reporting(0.9, in_trailer)).await;
    let traffic = Traffic {
        load_balancer: LoadBalancer::Utilization(UtilizationBalancing {
            blackout: Duration::ZERO,
            update_period: Duration::ZERO,
            ..UtilizationBalancing::default()
        }),
        ..Traffic::default()
    };
    let rig = Rig::new(traffic, &[first.address, second.address]);
    let mut count = 0;
    for _ in 0..400 {
        let forwarded = rig.forward(get("/")).await.unwrap();
        count += usize::from(forwarded.endpoint == first.address.into());
        assert!(
            !forwarded
                .response
                .headers()
                .contains_key("endpoint-load-metrics")
        );
        let body = forwarded.response.into_body().collect().await.unwrap();
        if in_trailer {
            let trailers = body.trailers().unwrap();
            assert_eq!(trailers.len(), 1, "{trailers:?}");
        }
        assert_eq!(body.to_bytes(), "ok");
    }
    count
}

#[tokio::test]
async fn an_endpoint_that_is_less_utilized_receives_more_requests() {
    for in_trailer in [false, true] {
        let count = share_of_first(in_trailer).await;

        assert!((320..400).contains(&count), "{count} {in_trailer}");
    }
}
