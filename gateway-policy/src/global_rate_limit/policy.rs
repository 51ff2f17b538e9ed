//! Global rate limit as a policy: calls the service and applies its decision.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, StatusCode, request};
use http_body_util::BodyExt as _;
use prost::Message as _;
use tokio::runtime::Handle;
use towergate_core::conn::LogThrottle;
use towergate_core::plan::{
    Backend, BackendId, BackendKind, BackendProtocol, Destination, DnsHost, Traffic,
    WeightedBackend,
};
use towergate_core::policy::{
    BuildContext, BuiltPolicy, PolicyFuture, PolicyRequest, WaitingPolicy,
};
use towergate_core::policy::{CallError, InternalClient};
use towergate_core::{Body, LocalReply};

use super::answer::Decision;
use super::descriptor::{Descriptor, DescriptorEntry};
use super::message::{
    Entry, LimitReplacement, RateLimitDescriptor, RateLimitRequest, RateLimitResponse,
    SHOULD_RATE_LIMIT, UInt64Value,
};
use super::{GlobalRateLimit, RateLimitService};
use crate::request_metadata::LimitOverride;
use crate::unary_call::{self, UnaryCallError};

/// Maximum length of a response from the service, in bytes.
const MAX_ANSWER_LENGTH: usize = 64 * 1024;

/// Calls the service for each request that a rule matches.
#[derive(Debug)]
pub struct GlobalRateLimitPolicy {
    limit: GlobalRateLimit,
    authority: String,
    client: InternalClient,
}

/// The descriptors of a request in one domain.
struct Call<'l> {
    domain: &'l str,
    descriptors: Vec<Descriptor>,
    /// For each descriptor, whether its limit is sent in responses.
    shown: Vec<bool>,
}

/// The reason why the service returned no decision.
#[derive(Debug, thiserror::Error)]
enum CallFailure {
    #[error(transparent)]
    Call(#[from] CallError),
    #[error(transparent)]
    Answer(#[from] UnaryCallError),
    #[error("the response cannot be decoded")]
    Message(#[from] prost::DecodeError),
    #[error("the request cannot be described to the service: {0}")]
    Question(#[from] http::Error),
}

impl GlobalRateLimitPolicy {
    /// A policy that calls the service through `client`.
    pub fn new(limit: GlobalRateLimit, client: InternalClient) -> Self {
        let RateLimitService {
            host,
            port,
            timeout,
            ..
        } = &limit.service;
        let authority = match host.contains(':') {
            true => format!("[{host}]:{port}"),
            false => format!("{host}:{port}"),
        };
        Self {
            client: client.with_timeout(*timeout),
            authority,
            limit,
        }
    }

    /// Builds the policy for a rule of a route.
    pub(crate) fn built(limit: &GlobalRateLimit, context: &BuildContext<'_>) -> BuiltPolicy {
        let traffic = Traffic {
            // The timeout of the service limits the whole call, so the request timeout is not set.
            request_timeout: None,
            ..Traffic::default()
        };
        let backends = [limit.service.backend()];
        let client = context.http_client("rate_limit", &backends, Arc::new(traffic));
        BuiltPolicy::waiting(Self::new(limit.clone(), client))
    }

    /// The descriptors of the rules that match, by domain. `hits` returns the number by which the request
    /// counts for a rule. Rules for which it returns `None` are omitted.
    fn calls(
        &self,
        head: &request::Parts,
        client: Option<IpAddr>,
        route: &str,
        hits: impl Fn(&super::GlobalLimitRule) -> Option<Option<u32>>,
    ) -> Vec<Call<'_>> {
        let mut calls: Vec<Call<'_>> = Vec::new();
        for (index, rule) in self.limit.rules.iter().enumerate() {
            let Some(hits) = hits(rule) else {
                continue;
            };
            let (domain, entries) = match rule.shared {
                true => {
                    let owner = format!("{}/rule/{index}", self.limit.policy);
                    let entries = rule.entries(index, &owner, head, client);
                    (&self.limit.policy, entries)
                }
                false => (
                    &self.limit.listener,
                    rule.entries(index, route, head, client),
                ),
            };
            let Some(entries) = entries else {
                continue;
            };
            let known = calls.iter().position(|call| call.domain == domain);
            let at = known.unwrap_or_else(|| {
                calls.push(Call {
                    domain,
                    descriptors: Vec::new(),
                    shown: Vec::new(),
                });
                calls.len() - 1
            });
            let limit = rule.limit_from.as_ref();
            let limit = limit.and_then(|key| key.limit(head));
            let descriptor = Descriptor {
                entries,
                hits,
                limit,
            };
            calls[at].descriptors.push(descriptor);
            calls[at]
                .shown
                .push(rule.headers.unwrap_or(self.limit.headers));
        }
        calls
    }

    async fn ask(&self, call: &Call<'_>) -> Result<RateLimitResponse, CallFailure> {
        let question = self.question(call)?;
        let answer = self
            .client
            .send_collected(question, MAX_ANSWER_LENGTH)
            .await?;
        let (head, body) = answer.into_parts();
        let trailers = body.trailers.as_ref();
        let message = unary_call::read_message(head.status, &head.headers, &body.data, trailers)?;
        Ok(RateLimitResponse::decode(message)?)
    }

    fn question(&self, call: &Call<'_>) -> Result<Request<Body>, http::Error> {
        let message = RateLimitRequest {
            domain: call.domain.to_owned(),
            descriptors: call.descriptors.iter().map(descriptor).collect(),
        };
        let timeout = self.limit.service.timeout;
        unary_call::request(&self.authority, SHOULD_RATE_LIMIT, &message, timeout)
    }

    /// Rejects or allows a request for which the service returned no decision.
    fn fail(&self, error: &CallFailure) -> Result<(), LocalReply> {
        static THROTTLE: LogThrottle = LogThrottle::new(Duration::from_secs(10));
        let closed = self.limit.service.fail_closed;
        if THROTTLE.allows() {
            let error = error as &dyn std::error::Error;
            tracing::warn!(error, allowed = !closed, "the rate limit service failed");
        }
        match closed {
            true => Err(
                LocalReply::new(StatusCode::INTERNAL_SERVER_ERROR, "rate_limiter_error")
                    .with_flag("RLSE"),
            ),
            false => Ok(()),
        }
    }

    /// Counts the costs of a response at its end, even if the client disconnects earlier.
    fn count_response(&self, request: &mut PolicyRequest<'_>, route: &str) {
        let client = request.facts.client;
        let head = &*request.head;
        let calls = self.calls(head, client, route, |rule| {
            rule.response_cost.as_ref()?.of(head).map(Some)
        });
        let questions = calls.iter().filter_map(|call| self.question(call).ok());
        let at_end = CallsAtEnd {
            client: self.client.clone(),
            questions: questions.collect(),
        };
        if at_end.questions.is_empty() {
            return;
        }
        request.on_response(move |response| {
            let body = std::mem::take(response.response.body_mut());
            *response.response.body_mut() = Body::new(body.map_frame(move |frame| {
                // The closure owns the calls, so they are made when the body is dropped.
                let _ = &at_end;
                frame
            }));
        });
    }
}

impl WaitingPolicy for GlobalRateLimitPolicy {
    fn run<'a>(&'a self, request: &'a mut PolicyRequest<'_>) -> PolicyFuture<'a> {
        Box::pin(async move {
            let mut route = Vec::new();
            if let Some(name) = request.facts.route {
                name.write_route_name(&mut route);
            }
            let route = String::from_utf8_lossy(&route);
            let client = request.facts.client;
            let head = &*request.head;
            let calls = self.calls(head, client, &route, |rule| {
                Some(rule.request_cost.as_ref().and_then(|cost| cost.of(head)))
            });
            let mut decision = Decision::default();
            for call in &calls {
                match self.ask(call).await {
                    Ok(answer) => decision.add(answer, &call.shown),
                    Err(error) => self.fail(&error)?,
                }
                if decision.over_limit {
                    return Err(decision.reply());
                }
            }
            for (name, value) in decision.request_headers.drain(..) {
                request.head.headers.append(name, value);
            }
            request.add_response_headers(decision.response_headers());
            self.count_response(request, &route);
            Ok(())
        })
    }
}

/// Calls that are made when this value is dropped. Their responses have no effect.
struct CallsAtEnd {
    client: InternalClient,
    questions: Vec<Request<Body>>,
}

impl Drop for CallsAtEnd {
    fn drop(&mut self) {
        // Without a runtime, the program is exiting.
        let Ok(runtime) = Handle::try_current() else {
            return;
        };
        for question in self.questions.drain(..) {
            let client = self.client.clone();
            runtime.spawn(async move {
                if let Err(error) = client.send_collected(question, MAX_ANSWER_LENGTH).await {
                    tracing::debug!(%error, "the cost of a response was not counted");
                }
            });
        }
    }
}

impl RateLimitService {
    /// The rate limit service as the backend of calls. The data plane looks up the addresses of the service.
    fn backend(&self) -> WeightedBackend {
        let host = DnsHost {
            name: self.host.clone(),
            port: self.port,
        };
        let id = BackendId {
            kind: BackendKind::RateLimitService,
            namespace: String::new(),
            name: self.host.clone(),
            port: self.port,
        };
        WeightedBackend {
            weight: 1,
            filters: Vec::new(),
            destination: Destination::Backend(Arc::new(Backend {
                id,
                protocol: BackendProtocol::Http2,
                tls: None,
                hosts: vec![host],
                fallback: false,
                dynamic: None,
            })),
        }
    }
}

fn descriptor(descriptor: &Descriptor) -> RateLimitDescriptor {
    let entry = |entry: &DescriptorEntry| Entry {
        key: entry.key.clone(),
        value: entry.value.clone().unwrap_or_default(),
    };
    let value = |hits: u32| UInt64Value { value: hits.into() };
    let limit = |limit: LimitOverride| LimitReplacement {
        requests_per_unit: limit.requests,
        unit: limit.unit.number(),
    };
    RateLimitDescriptor {
        entries: descriptor.entries.iter().map(entry).collect(),
        limit: descriptor.limit.map(limit),
        hits_addend: descriptor.hits.map(value),
    }
}

#[cfg(test)]
mod tests {
    use super::super::LimitUnit;
    use super::*;

    #[test]
    fn a_limit_of_the_request_is_sent_with_its_descriptor() {
        let sent = descriptor(&Descriptor {
            entries: Vec::new(),
            hits: Some(3),
            limit: Some(LimitOverride {
                requests: 42,
                unit: LimitUnit::Week,
            }),
        });

        let expected = LimitReplacement {
            requests_per_unit: 42,
            unit: 7,
        };
        assert_eq!(sent.limit, Some(expected));
        assert_eq!(sent.hits_addend, Some(UInt64Value { value: 3 }));
    }
}
