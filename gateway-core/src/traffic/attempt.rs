//! The attempts of one request.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, request};
use tokio::time::{Instant, sleep, sleep_until};

use super::breaker::{Permit, Resource};
use super::deadline::Deadline;
use super::forward::{ForwardContext, Forwarded, Picked, Tunnel, TunnelGuard};
use super::replay::{LIMIT, Replay};
use super::{Failure, outlier, retry};
use crate::Body;
use crate::balance::{Active, Hashed, Node, Pick, hash_key};
use crate::error::Error;
use crate::http::upgrade::Upgrade;
use crate::observer::Event;
use crate::plan::{BackendProtocol, LoadBalancer, Retry};
use crate::upstream::{
    Counted, Progress, ResponseBody, Sent, Source, Target, Unanswered, Upload, Wire, prepare,
};

const EXPECTED_TIME: HeaderName = HeaderName::from_static("x-envoy-expected-rq-timeout-ms");
const SERVICE_TIME: HeaderName = HeaderName::from_static("x-envoy-upstream-service-time");

/// How often a connection may turn out to be closed before a byte was sent.
const MAX_UNSENT: u32 = 8;

/// One request on its way.
pub(super) struct Run<'a> {
    picked: Picked<'a>,
    context: &'a ForwardContext<'a>,
    deadline: Deadline,
    hash: Option<u64>,
    attempts: u32,
    endpoint: Option<SocketAddr>,
    /// Endpoints that failed.
    tried: Vec<SocketAddr>,
}

/// The head of a response and what belongs to it.
struct Attempted {
    sent: Sent,
    active: Active,
    local: Option<SocketAddr>,
    time: Duration,
}

impl<'a> Run<'a> {
    pub(super) fn new(picked: Picked<'a>, context: &'a ForwardContext<'a>) -> Self {
        let traffic = &picked.forwarder.traffic;
        Self {
            picked,
            context,
            deadline: Deadline::new(traffic.request_timeout, traffic.max_stream_duration),
            hash: None,
            attempts: 0,
            endpoint: None,
            tried: Vec::new(),
        }
    }

    pub(super) async fn forward(&mut self, request: Request<Body>) -> Result<Forwarded, Error> {
        let (head, body) = request.into_parts();
        let traffic = &self.picked.forwarder.traffic;
        self.check_upgrade()?;
        let breaker = &self.picked.forwarder.breaker;
        let Some(permit) = breaker.acquire(Resource::Request) else {
            let id = self.picked.way.cluster.id();
            self.context.observer.observe(&Event::Overflowed(id));
            return Err(Error::Overflow);
        };
        let hashed = match &traffic.load_balancer {
            LoadBalancer::ConsistentHash { key, .. } => hash_key(key, self.context.client, &head),
            _ => Hashed::default(),
        };
        self.hash = hashed.hash;
        let forwarded = match &traffic.retry {
            Some(retry) if retry.retries > 0 => {
                // Boxed, so that the many requests without retries need no room for it.
                Box::pin(self.try_often(retry, head, body, permit)).await
            }
            _ => self.try_once(head, body, permit).await,
        };
        forwarded.map(|forwarded| Forwarded {
            set_cookie: hashed.set_cookie,
            ..forwarded
        })
    }

    pub(super) fn into_failure(self, error: Error) -> Failure {
        Failure {
            error,
            endpoint: self.endpoint,
            attempts: self.attempts,
        }
    }

    /// Refuses an upgrade that the rule does not allow, or that cannot be asked of the backend.
    fn check_upgrade(&self) -> Result<(), Error> {
        let upgrades = &self.picked.forwarder.traffic.upgrades;
        match self.context.upgrade {
            Some(upgrade) if !upgrade.is_one_of(upgrades) => Err(Error::UpgradeRefused),
            Some(_) if self.picked.way.protocol == BackendProtocol::Http2 => {
                Err(Error::UpgradeRefused)
            }
            _ => Ok(()),
        }
    }

    /// The only attempt: nothing is kept of the request.
    async fn try_once(
        &mut self,
        head: request::Parts,
        body: Body,
        permit: Permit,
    ) -> Result<Forwarded, Error> {
        let limit = self.picked.forwarder.traffic.attempt_timeout;
        let attempted = self.attempt(head, Source::Once(body), limit).await;
        match attempted {
            Ok(attempted) => Ok(self.finish(attempted, permit, "")),
            // Without retries the attempt is the request.
            Err(Error::AttemptTimeout) => Err(Error::Timeout),
            Err(error) => Err(error),
        }
    }

    /// Attempts until one is good enough or none is left.
    async fn try_often(
        &mut self,
        rule: &Retry,
        head: request::Parts,
        body: Body,
        permit: Permit,
    ) -> Result<Forwarded, Error> {
        let replay = Replay::new(body);
        let limit = rule
            .attempt_timeout
            .or(self.picked.forwarder.traffic.attempt_timeout);
        let mut source = replay.attempt();
        // Held until the next attempt has its result.
        let mut _retrying = None;
        loop {
            let Some(body) = source else {
                return Err(Error::RequestBody("the body was not kept".into()));
            };
            let result = self
                .attempt(head.clone(), Source::Replay(body), limit)
                .await;
            let again = match &result {
                Ok(attempted) => retry::on_response(&rule.on, &attempted.sent.head),
                Err(error) => retry::on_error(&rule.on, error),
            };
            _retrying = None;
            if !again {
                return self.give(result, permit, false, "");
            }
            if self.attempts > rule.retries {
                return self.give(result, permit, true, "URX");
            }
            if !replay.is_kept() {
                return self.give(result, permit, false, "");
            }
            _retrying = self.picked.forwarder.breaker.acquire(Resource::Retry);
            if _retrying.is_none() {
                return self.give(result, permit, false, "UO");
            }
            // From here on the attempt before gets nothing more of the body.
            source = replay.attempt();
            if let Ok(attempted) = result {
                attempted.discard();
            }
            self.wait(rule).await?;
        }
    }

    /// The pause before the next attempt, within the request's time.
    async fn wait(&mut self, rule: &Retry) -> Result<(), Error> {
        self.tried.extend(self.endpoint);
        let id = self.picked.way.cluster.id();
        self.context.observer.observe(&Event::Retried(id));
        let pause = retry::pause(rule, self.attempts - 1);
        self.deadline.run(None, None, pin!(sleep(pause))).await
    }

    /// What the client gets of the last attempt.
    fn give(
        &self,
        result: Result<Attempted, Error>,
        permit: Permit,
        exhausted: bool,
        flags: &'static str,
    ) -> Result<Forwarded, Error> {
        match result {
            Ok(attempted) => Ok(self.finish(attempted, permit, flags)),
            Err(last) if self.attempts > 1 => Err(Error::Retried {
                last: Box::new(last),
                exhausted,
            }),
            Err(error) => Err(error),
        }
    }

    /// Sends the request once and waits for the response's head.
    async fn attempt(
        &mut self,
        mut head: request::Parts,
        source: Source,
        limit: Option<Duration>,
    ) -> Result<Attempted, Error> {
        let (way, context) = (self.picked.way, self.context);
        let forwarder = self.picked.forwarder;
        self.attempts += 1;
        let node = self.pick()?;
        self.endpoint = Some(node.address());
        let active = Active::new(node);
        if context.envoy_headers {
            self.say_time(&mut head.headers, limit);
        }
        let upload = Upload::track(source);
        let progress = upload.progress().cloned();
        let wire = Wire {
            protocol: way.protocol,
            tls: way.pool.is_tls(),
            upgrade: context.upgrade,
        };
        prepare(&mut head, &upload, wire);
        let to = Target {
            cluster: &way.cluster,
            node: active.node(),
            breaker: &forwarder.breaker,
            observer: context.observer,
            pools: &forwarder.pools,
            keep_case: context.preserve_header_case,
        };
        let start = Instant::now();
        let request = Request::from_parts(head, upload);
        let result = {
            let work = pin!(send(&way.pool, &to, request, context.upgrade));
            let progress: Option<&Progress> = progress.as_deref();
            self.deadline.run(progress, limit, work).await.flatten()
        };
        if let Some(outlier) = &way.outlier {
            let outcome = match &result {
                Ok((sent, _)) => Some(outlier::of_response(&sent.head)),
                Err(error) => outlier::of_error(error),
            };
            if let Some(outcome) = outcome {
                outlier.report(active.node().address(), outcome);
            }
        }
        let (sent, local) = result?;
        Ok(Attempted {
            sent,
            local,
            time: start.elapsed(),
            active,
        })
    }

    /// An endpoint; one that was not tried, if there is any.
    fn pick(&self) -> Result<Arc<Node>, Error> {
        let way = self.picked.way;
        let pick = Pick {
            hash: self.hash,
            tried: &self.tried,
        };
        let Some(outlier) = &way.outlier else {
            let node = way.balancer.pick(&way.cluster, pick);
            return node.ok_or_else(|| self.picked.forwarder.no_endpoint());
        };
        let node = way
            .balancer
            .pick_of(&outlier.view(&way.cluster).usable, pick);
        node.ok_or_else(|| match way.cluster.members().nodes().is_empty() {
            true => self.picked.forwarder.no_endpoint(),
            false => Error::NoHealthyEndpoint,
        })
    }

    /// Tells the backend how long it may take.
    fn say_time(&self, headers: &mut HeaderMap, limit: Option<Duration>) {
        let times = [self.deadline.left(), limit];
        if let Some(time) = times.into_iter().flatten().min() {
            headers.insert(EXPECTED_TIME, milliseconds(time));
        }
    }

    /// The response for the client.
    fn finish(&self, attempted: Attempted, permit: Permit, flags: &'static str) -> Forwarded {
        let Attempted {
            sent,
            active,
            local,
            time,
        } = attempted;
        let endpoint = active.node().address();
        let counted = Counted::new(active, permit);
        let Sent {
            head,
            incoming,
            held,
        } = sent;
        let mut response = Response::from_parts(head, Body::Empty);
        if self.context.envoy_headers {
            response
                .headers_mut()
                .insert(SERVICE_TIME, milliseconds(time));
        }
        let upgrade = if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            Some(Tunnel {
                io: hyper::upgrade::on(&mut response),
                expires: self.deadline.expires(),
                counted: TunnelGuard(counted, held.detach()),
            })
        } else {
            let mut body = ResponseBody::new(incoming, held, Some(counted));
            if !http_body::Body::is_end_stream(&body) {
                if let Some(at) = self.deadline.expires() {
                    body.expire(sleep_until(at));
                }
                *response.body_mut() = Body::Upstream(body);
            }
            None
        };
        Forwarded {
            response,
            endpoint,
            local,
            upstream_time: time,
            attempts: self.attempts,
            flags,
            set_cookie: None,
            upgrade,
        }
    }
}

fn milliseconds(time: Duration) -> HeaderValue {
    HeaderValue::from(u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
}

impl Attempted {
    /// Reads what is there of a response that nobody gets, so that its connection can be used again.
    fn discard(self) {
        ResponseBody::new(self.sent.incoming, self.sent.held, None).drain(LIMIT);
    }
}

/// Sends a request over an idle or a new connection. A connection that ended before a byte was sent costs
/// nothing: another one is taken.
async fn send(
    pool: &Arc<crate::upstream::Pool>,
    to: &Target<'_>,
    mut request: Request<Upload>,
    upgrade: Option<&Upgrade>,
) -> Result<(Sent, Option<SocketAddr>), Error> {
    for _ in 0..MAX_UNSENT {
        let connection = pool.checkout(to).await?;
        let local = connection.local();
        match connection.send(request, upgrade).await {
            Ok(sent) => return Ok((sent, local)),
            Err(Unanswered::Sent(error)) => return Err(error),
            Err(Unanswered::Unsent(unsent)) => request = *unsent,
        }
    }
    Err(Error::Terminated(None))
}
