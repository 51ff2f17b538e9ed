//! Admission control: while too few responses are successes, some of the requests are rejected.
//!
//! The share of rejected requests grows with the share of failures. Some requests are always admitted, so a
//! recovered backend is detected:
//!
//! ```text
//!                    requests - successes / min_success_rate
//! share = min( max, ( ---------------------------------------- ) ^ (1 / aggression) )
//!                                 requests + 1
//! ```
//!
//! Requests and successes are those of the last window. Requests that admission control rejects are not
//! counted. All requests of a rule are counted together, by all workers, without a lock.

mod observed_body;
mod window;

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, StatusCode};
use http_body::Body as _;
use serde::{Deserialize, Serialize};
use towergate_core::policy::{BodyPolicy, BuildContext, BuiltPolicy, PolicyRequest};
use towergate_core::{Body, LocalReply};

use observed_body::ObservedBody;
use window::{Counts, Window};

/// Settings of admission control.
#[derive(Clone, Debug, Eq, Hash, PartialEq, Serialize, Deserialize)]
pub struct AdmissionRule {
    /// Time over which requests are counted.
    pub window: Duration,
    /// Success rate in percent, 1 to 100, below which requests are rejected.
    pub min_success_rate: u32,
    /// Steepness of the rejection: the share of rejected requests is raised to the power `1 / aggression`. At
    /// least 1.
    pub aggression: u32,
    /// Number of requests per second below which no request is rejected.
    pub min_request_rate: u32,
    /// Maximum percentage of rejected requests.
    pub max_rejection: u32,
    /// HTTP statuses that count as success. `None`: all statuses below 500.
    pub http_success: Option<Vec<u16>>,
    /// gRPC statuses that count as success. `None`: all statuses except the six that indicate a failure of
    /// the backend, as in Envoy.
    pub grpc_success: Option<Vec<u16>>,
}

/// gRPC statuses that are failures by default, as in Envoy: DEADLINE_EXCEEDED, RESOURCE_EXHAUSTED, ABORTED,
/// INTERNAL, UNAVAILABLE, DATA_LOSS.
const GRPC_FAILURES: [u16; 6] = [4, 8, 10, 13, 14, 15];

impl AdmissionRule {
    /// Builds the policy. The counts of a rule survive changes of the configuration.
    pub fn build(&self, context: &BuildContext<'_>) -> BuiltPolicy {
        let key = (context.route.clone(), context.rule, self.clone());
        let controller = context
            .live
            .share(key, |(.., rule)| Arc::new(Controller::new(rule.clone())));
        BuiltPolicy::body(AdmissionPolicy(controller))
    }

    /// The share of requests to reject, from 0 to 1.
    fn rejected_share(&self, counts: Counts) -> f64 {
        let Counts {
            requests,
            successes,
        } = counts;
        let seconds = self.window.as_secs_f64().max(1.0);
        if (requests as f64) / seconds < f64::from(self.min_request_rate) {
            return 0.0;
        }
        let expected = successes as f64 * 100.0 / f64::from(self.min_success_rate.max(1));
        let excess = ((requests as f64 - expected) / (requests as f64 + 1.0)).max(0.0);
        let share = excess.powf(1.0 / f64::from(self.aggression.max(1)));
        share.min(f64::from(self.max_rejection) / 100.0)
    }

    fn is_http_success(&self, status: StatusCode) -> bool {
        match &self.http_success {
            Some(known) => known.contains(&status.as_u16()),
            None => status.as_u16() < 500,
        }
    }

    fn is_grpc_success(&self, fields: &HeaderMap) -> Option<bool> {
        let status = fields.get("grpc-status")?;
        let status = status
            .to_str()
            .ok()
            .and_then(|text| text.parse::<u16>().ok());
        Some(status.is_some_and(|status| match &self.grpc_success {
            Some(known) => known.contains(&status),
            None => !GRPC_FAILURES.contains(&status),
        }))
    }
}

/// The settings of a rule, with the counts of its requests.
#[derive(Debug)]
struct Controller {
    rule: AdmissionRule,
    window: Window,
}

impl Controller {
    fn new(rule: AdmissionRule) -> Self {
        Self {
            window: Window::new(rule.window),
            rule,
        }
    }

    fn rejects(&self) -> bool {
        let share = self.rule.rejected_share(self.window.counts());
        share > 0.0 && fastrand::f64() < share
    }
}

/// Rejects requests depending on the results of earlier requests.
struct AdmissionPolicy(Arc<Controller>);

impl BodyPolicy for AdmissionPolicy {
    fn wrap(&self, request: &mut PolicyRequest<'_>) -> Result<(), LocalReply> {
        if self.0.rejects() {
            let reply = LocalReply::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "denied_by_admission_control",
            );
            return Err(reply);
        }
        let controller = self.0.clone();
        let grpc = request.is_grpc();
        request.on_response(move |response| {
            let response = &mut *response.response;
            if !grpc {
                let success = controller.rule.is_http_success(response.status());
                return controller.window.record(success);
            }
            match controller.rule.is_grpc_success(response.headers()) {
                Some(success) => controller.window.record(success),
                None if response.body().is_end_stream() => controller.window.record(false),
                None => {
                    let inner = std::mem::take(response.body_mut());
                    *response.body_mut() = Body::new(ObservedBody::new(inner, controller));
                }
            }
        });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use bytes::Bytes;
    use http::{HeaderName, HeaderValue, Request, Response};
    use http_body::Frame;
    use http_body_util::{BodyExt, StreamBody};
    use tower::{ServiceExt, service_fn};
    use tower_layer::Layer;
    use towergate_core::policy::PolicyLayer;

    use super::*;

    fn rule() -> AdmissionRule {
        AdmissionRule {
            window: Duration::from_secs(30),
            min_success_rate: 95,
            aggression: 1,
            min_request_rate: 0,
            max_rejection: 80,
            http_success: None,
            grpc_success: None,
        }
    }

    fn share(rule: &AdmissionRule, requests: u64, successes: u64) -> f64 {
        let share = rule.rejected_share(Counts {
            requests,
            successes,
        });
        (share * 1000.0).round() / 1000.0
    }

    #[test]
    fn the_share_grows_with_failures_up_to_the_maximum() {
        assert_eq!(share(&rule(), 0, 0), 0.0);
        assert_eq!(share(&rule(), 100, 95), 0.0);
        assert_eq!(share(&rule(), 99, 57), 0.39);
        assert_eq!(share(&rule(), 1000, 0), 0.8);
        let steep = AdmissionRule {
            aggression: 2,
            ..rule()
        };
        assert_eq!(share(&steep, 99, 57), 0.624);
        let busy = AdmissionRule {
            min_request_rate: 4,
            ..rule()
        };
        assert_eq!(share(&busy, 119, 0), 0.0);
        assert_eq!(share(&busy, 120, 0), 0.8);
    }

    async fn send(
        controller: &Arc<Controller>,
        kind: &str,
        respond: fn() -> Response<Body>,
    ) -> u16 {
        let backend =
            service_fn(move |_: Request<Body>| async move { Ok::<_, Infallible>(respond()) });
        let policy = BuiltPolicy::body(AdmissionPolicy(controller.clone()));
        let service = PolicyLayer::new(policy).layer(backend);
        let request = Request::post("/").header("content-type", kind);
        let response = service
            .oneshot(request.body(Body::empty()).unwrap())
            .await
            .unwrap();
        let status = response.status().as_u16();
        response.into_body().collect().await.unwrap();
        status
    }

    fn with_status(status: u16) -> Response<Body> {
        Response::builder()
            .status(status)
            .body(Body::from("x"))
            .unwrap()
    }

    fn with_grpc_trailer(status: &'static str) -> Response<Body> {
        let name = HeaderName::from_static("grpc-status");
        let trailers = HeaderMap::from_iter([(name, HeaderValue::from_static(status))]);
        let frames = [
            Ok::<_, Infallible>(Frame::data(Bytes::from("x"))),
            Ok(Frame::trailers(trailers)),
        ];
        Response::new(Body::new(StreamBody::new(futures_util::stream::iter(
            frames,
        ))))
    }

    #[tokio::test(start_paused = true)]
    async fn responses_are_counted_by_status_and_grpc_by_its_trailer() {
        let never = AdmissionRule {
            max_rejection: 0,
            ..rule()
        };
        let controller = Arc::new(Controller::new(never));

        send(&controller, "a/b", || with_status(200)).await;
        send(&controller, "a/b", || with_status(503)).await;
        send(&controller, "application/grpc", || with_grpc_trailer("5")).await;
        send(&controller, "application/grpc", || with_grpc_trailer("14")).await;
        send(&controller, "application/grpc", || with_status(200)).await;

        let Counts {
            requests,
            successes,
        } = controller.window.counts();
        assert_eq!((requests, successes), (5, 2));
    }

    #[tokio::test(start_paused = true)]
    async fn failures_are_rejected_until_the_window_has_passed() {
        let all = AdmissionRule {
            max_rejection: 100,
            ..rule()
        };
        let controller = Arc::new(Controller::new(all));
        for _ in 0..1_000_000 {
            controller.window.record(false);
        }

        assert_eq!(send(&controller, "a/b", || with_status(200)).await, 503);
        tokio::time::advance(Duration::from_secs(34)).await;
        assert_eq!(send(&controller, "a/b", || with_status(200)).await, 200);
    }
}
