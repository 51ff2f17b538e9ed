//! Injection of faults: delays and failures of a share of the requests, for tests.
//!
//! A delay does not count towards the request timeout, because it simulates a slow network in front of the
//! gateway.

use std::time::Duration;

use http::StatusCode;
use serde::{Deserialize, Serialize};
use towergate_core::LocalReply;
use towergate_core::policy::{
    BuiltPolicy, HeadPolicy, PolicyFuture, PolicyRequest, RequestHead, WaitingPolicy,
};

/// Denominator of a share.
const MILLION: u32 = 1_000_000;

/// A number of requests in a million.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq, Serialize, Deserialize)]
pub struct RequestShare(u32);

impl RequestShare {
    /// All requests.
    pub const ALL: Self = Self(MILLION);

    /// Converts a percentage. `None` if the percentage is not between 0 and 100.
    pub fn percent(percent: f64) -> Option<Self> {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "in range"
        )]
        let share = |percent: f64| Self((percent * f64::from(MILLION / 100)).round() as u32);
        (0.0..=100.0).contains(&percent).then(|| share(percent))
    }

    /// Whether a request is selected, at random.
    fn selects(self) -> bool {
        self.0 > fastrand::u32(0..MILLION)
    }
}

/// Faults of a rule. At least one of `delay` and `abort` is set.
#[derive(Clone, Debug, Eq, Hash, PartialEq, Serialize, Deserialize)]
pub struct FaultRule {
    /// Delay and the share of requests that are delayed.
    pub delay: Option<(Duration, RequestShare)>,
    /// Failure and the share of requests that fail.
    pub abort: Option<(FaultStatus, RequestShare)>,
}

/// The status of a request that fails.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq, Serialize, Deserialize)]
pub enum FaultStatus {
    /// HTTP status. gRPC clients receive the gRPC status that corresponds to it.
    Http(u16),
    /// gRPC status. Other clients receive HTTP status 200.
    Grpc(u16),
}

impl FaultRule {
    /// Builds the policy: a waiting policy if there is a delay, else a head policy.
    pub fn built(&self) -> BuiltPolicy {
        if self.delay.is_some() {
            BuiltPolicy::waiting(self.clone())
        } else {
            BuiltPolicy::head(self.clone())
        }
    }

    fn abort(&self) -> Result<(), LocalReply> {
        let selected = self.abort.filter(|(_, share)| share.selects());
        let Some((status, _)) = selected else {
            return Ok(());
        };
        let (code, grpc_status) = match status {
            FaultStatus::Http(code) => (StatusCode::from_u16(code), None),
            FaultStatus::Grpc(code) => (Ok(StatusCode::OK), Some(code)),
        };
        let code = code.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let reply = LocalReply::new(code, "fault_filter_abort")
            .with_body("fault filter abort")
            .with_flag("FI");
        Err(LocalReply {
            grpc_status,
            ..reply
        })
    }
}

impl HeadPolicy for FaultRule {
    fn check(&self, _request: &mut RequestHead<'_>) -> Result<(), LocalReply> {
        self.abort()
    }
}

impl WaitingPolicy for FaultRule {
    fn run<'a>(&'a self, request: &'a mut PolicyRequest<'_>) -> PolicyFuture<'a> {
        Box::pin(async move {
            let delay = self.delay.filter(|(_, share)| share.selects());
            let Some((delay, _)) = delay else {
                return self.abort();
            };
            tokio::time::sleep(delay).await;
            self.abort().map_err(|reply| reply.with_flag("DI,FI"))?;
            request.on_response(|response| {
                if !response.local {
                    response.set_flag("DI");
                }
            });
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use http::{Request, Response};
    use tokio::time::Instant;
    use tower::{ServiceExt, service_fn};
    use tower_layer::Layer;
    use towergate_core::Body;
    use towergate_core::policy::PolicyLayer;

    use super::*;

    async fn send(rule: FaultRule, kind: &str) -> Response<Body> {
        let backend = service_fn(|_: Request<Body>| async {
            Ok::<_, Infallible>(Response::new(Body::from("backend")))
        });
        let service = PolicyLayer::new(rule.built()).layer(backend);
        let request = Request::post("/").header("content-type", kind);
        service
            .oneshot(request.body(Body::empty()).unwrap())
            .await
            .unwrap()
    }

    fn abort(status: FaultStatus, percent: f64) -> FaultRule {
        let share = RequestShare::percent(percent).unwrap();
        FaultRule {
            delay: None,
            abort: Some((status, share)),
        }
    }

    #[tokio::test]
    async fn a_share_of_requests_fails() {
        assert_eq!(
            send(abort(FaultStatus::Http(418), 100.0), "a/b")
                .await
                .status(),
            418
        );
        assert_eq!(
            send(abort(FaultStatus::Http(418), 0.0), "a/b")
                .await
                .status(),
            200
        );
        assert_eq!(RequestShare::percent(100.1), None);
        assert_eq!(RequestShare::percent(0.0001), Some(RequestShare(1)));
    }

    #[tokio::test]
    async fn grpc_clients_receive_a_grpc_status() {
        let by_http = send(abort(FaultStatus::Http(503), 100.0), "application/grpc").await;
        let by_grpc = send(abort(FaultStatus::Grpc(5), 100.0), "application/grpc").await;
        let plain = send(abort(FaultStatus::Grpc(5), 100.0), "a/b").await;

        assert_eq!(by_http.headers()["grpc-status"], "14");
        assert_eq!(by_grpc.headers()["grpc-status"], "5");
        assert_eq!(plain.status(), 200);
    }

    #[tokio::test(start_paused = true)]
    async fn a_delayed_request_may_fail_afterwards() {
        let start = Instant::now();
        let rule = FaultRule {
            delay: Some((Duration::from_secs(3), RequestShare::ALL)),
            ..abort(FaultStatus::Http(429), 100.0)
        };

        let response = send(rule, "a/b").await;

        assert_eq!(response.status(), 429);
        assert_eq!(start.elapsed(), Duration::from_secs(3));
    }
}
