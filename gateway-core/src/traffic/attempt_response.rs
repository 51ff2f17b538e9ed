//! The response of one attempt, and the report of the result to the load balancer and the outlier detection.

use std::time::Duration;

use super::backends::BackendRoute;
use super::outlier;
use crate::balance::InFlightGuard;
use crate::error::Error;
use crate::plan::EndpointAddress;
use crate::upstream::{BackendBody, REPLAY_BUFFER, UpstreamResponse};

/// The response of one attempt.
pub(super) struct AttemptResponse {
    pub(super) response: UpstreamResponse,
    pub(super) in_flight: InFlightGuard,
    /// Time from the start of the attempt to the head of the response.
    pub(super) time: Duration,
}

impl AttemptResponse {
    /// Reads the received part of a discarded response, so that its connection can be reused.
    pub(super) fn discard(self) {
        BackendBody::new(self.response.source, None).drain(REPLAY_BUFFER);
    }
}

/// Reports the result of an attempt to the load balancer and to the outlier detection of `route`. Removes the
/// endpoint's load report from the response, unless the load balancer is configured to forward it.
pub(super) fn report(
    route: &BackendRoute,
    endpoint: &EndpointAddress,
    result: &mut Result<UpstreamResponse, Error>,
) {
    if let (Some(loads), Ok(response)) = (route.balancer.loads(), &mut *result) {
        loads.learn(endpoint, &mut response.head.headers);
    }
    let Some(outlier) = &route.outlier else {
        return;
    };
    let outcome = match result {
        Ok(response) => Some(outlier::outcome_of_response(&response.head)),
        Err(error) => outlier::outcome_of_error(error),
    };
    if let Some(outcome) = outcome {
        outlier.report(endpoint, outcome);
    }
}
