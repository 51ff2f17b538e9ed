//! `circuitBreaker`: limits of concurrent connections and requests.

use towergate_core::plan;

use crate::FieldError;
use crate::api_struct::api_struct;
use crate::check::{Check, Report};
use crate::common::Fraction;
use crate::field_path::FieldPath;
use crate::parse::number;

api_struct! {
    /// Limits of concurrent connections and requests. Requests above a limit receive 503.
    pub struct CircuitBreaker {
        /// Maximum number of connections. Default: 1024.
        max_connections: i64 = "maxConnections" [Range(0, 4294967295), DefaultNumber(1024)],
        /// Maximum number of requests that wait for a connection. Default: 1024.
        max_pending_requests: i64 = "maxPendingRequests" [Range(0, 4294967295), DefaultNumber(1024)],
        /// Maximum number of concurrent requests. Default: 1024.
        max_parallel_requests: i64 = "maxParallelRequests" [Range(0, 4294967295), DefaultNumber(1024)],
        /// Maximum number of concurrent retries. Default: 1024.
        max_parallel_retries: i64 = "maxParallelRetries" [Range(0, 4294967295), DefaultNumber(1024)],
        /// Maximum number of requests per connection. 0: unlimited. Default: unlimited.
        max_requests_per_connection: i64 = "maxRequestsPerConnection" [Range(0, 4294967295)],
        /// Limits of each endpoint.
        per_endpoint: PerEndpoint = "perEndpoint",
        /// Limit of retries relative to requests. Takes precedence over `maxParallelRetries`.
        retry_budget: RetryBudget = "retryBudget",
    }

    /// Limits of an endpoint.
    pub struct PerEndpoint {
        /// Maximum number of connections. Default: 1024.
        max_connections: i64 = "maxConnections" [Range(0, 4294967295), DefaultNumber(1024)],
    }

    /// Limit of retries relative to requests.
    pub struct RetryBudget {
        /// Maximum number of concurrent retries as a fraction of the concurrent requests.
        percent: Fraction = "percent" [Required],
        /// Number of concurrent retries that are always allowed. Default: 3.
        min_retry_concurrency: i64 = "minRetryConcurrency" [Range(0, 4294967295)],
    }
}

impl CircuitBreaker {
    /// Returns the limits of the section, and the maximum number of requests per connection.
    pub(super) fn breaker(
        &self,
        at: FieldPath<'_>,
    ) -> Result<(plan::Breaker, Option<u32>), FieldError> {
        let Self {
            max_connections,
            max_pending_requests,
            max_parallel_requests,
            max_parallel_retries,
            max_requests_per_connection,
            per_endpoint,
            retry_budget,
        } = self;
        let defaults = plan::Breaker::default();
        let limit = |name, value: Option<i64>, default| {
            Ok::<_, FieldError>(number(at.field(name), value)?.unwrap_or(default))
        };
        let per_connection = at.field("maxRequestsPerConnection");
        let per_connection = number(per_connection, *max_requests_per_connection)?;
        let per_endpoint = match per_endpoint {
            Some(limits) => Some(limits.connections(at.field("perEndpoint"))?),
            None => None,
        };
        let retry_budget = match retry_budget {
            Some(budget) => Some(budget.budget(at.field("retryBudget"))?),
            None => None,
        };
        let requests = limit(
            "maxParallelRequests",
            *max_parallel_requests,
            defaults.requests,
        )?;
        let breaker = plan::Breaker {
            connections: limit("maxConnections", *max_connections, defaults.connections)?,
            pending: limit(
                "maxPendingRequests",
                *max_pending_requests,
                defaults.pending,
            )?,
            requests,
            // A limit other than the default states what the backend can serve, so a single connection may
            // use the whole limit. An absent limit is treated as the default, because the API server fills in
            // the default.
            fair_requests: requests == defaults.requests,
            retries: limit(
                "maxParallelRetries",
                *max_parallel_retries,
                defaults.retries,
            )?,
            retry_budget,
            connections_per_endpoint: per_endpoint,
        };
        Ok((breaker, per_connection.filter(|requests| *requests > 0)))
    }
}

impl PerEndpoint {
    fn connections(&self, at: FieldPath<'_>) -> Result<u32, FieldError> {
        let Self { max_connections } = self;
        let limit = number(at.field("maxConnections"), *max_connections)?;
        Ok(limit.unwrap_or(plan::Breaker::default().connections))
    }
}

impl RetryBudget {
    fn budget(&self, at: FieldPath<'_>) -> Result<plan::RetryBudget, FieldError> {
        let Self {
            percent,
            min_retry_concurrency,
        } = self;
        Report::at(at, |report| self.check(report)).require_valid()?;
        let Fraction {
            numerator,
            denominator,
        } = percent.clone().unwrap_or_default();
        let percent = at.field("percent");
        let min_retries = number(at.field("minRetryConcurrency"), *min_retry_concurrency)?;
        Ok(plan::RetryBudget {
            numerator: number(percent.field("numerator"), numerator)?.unwrap_or(0),
            denominator: number(percent.field("denominator"), denominator)?.unwrap_or(100),
            min_retries: min_retries.unwrap_or(3),
        })
    }
}
