//! The attempts of one request.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, HeaderValue, Request, Response, StatusCode};
use tokio::time::{Instant, sleep, sleep_until};

use super::breaker::{Permit, Resource};
use super::deadline::Deadline;
use super::forward::{ForwardContext, Forwarded, Picked, Tunnel, TunnelGuard};
use super::replay::{LIMIT, Replay};
use super::{Failure, outlier, retry};
use crate::Body;
use crate::balance::{Active, Node, Pick, hash_key};
use crate::error::Error;
use crate::http::upgrade::Upgrade;
use crate::observer::Event;
use crate::plan::{BackendProtocol, LoadBalancer, Retry};
use crate::upstream::{
    Checkout, Counted, ResponseBody, Sent, Source, Target, Unanswered, Upload, Wire, prepare, take,
};

const EXPECTED_TIME: HeaderName = HeaderName::from_static("x-envoy-expected-rq-timeout-ms");
const SERVICE_TIME: HeaderName = HeaderName::from_static("x-envoy-upstream-service-time");

/// How often a connection may turn out to be closed before a byte was sent.
const MAX_UNSENT: u32 = 8;

/// One request on its way. It holds what its steps work on, so that their futures are small.
pub(crate) struct Run<'a> {
    picked: Picked<'a>,
    context: ForwardContext<'a>,
    /// The request as it came, until an attempt makes it ready to be sent.
    request: Request<Upload>,
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
    time: Duration,
}

impl<'a> Run<'a> {
    pub(super) fn new(
        picked: Picked<'a>,
        context: ForwardContext<'a>,
        request: Request<Body>,
    ) -> Self {
        let traffic = &picked.forwarder.backends.traffic;
        Self {
            picked,
            context,
            request: request.map(|body| Upload::track(Source::Once(body))),
            deadline: Deadline::new(traffic.request_timeout, traffic.max_stream_duration),
            hash: None,
            attempts: 0,
            endpoint: None,
            tried: Vec::new(),
        }
    }

    /// Forwards the request.
    ///
    /// # Errors
    /// Why there is no response; [`Self::into_failure`] tells how far the request came.
    pub(crate) async fn forward(&mut self) -> Result<Forwarded, Error> {
        self.check_upgrade()?;
        let breaker = &self.picked.forwarder.breaker;
        let Some(permit) = breaker.acquire(Resource::Request) else {
            let id = self.picked.way.cluster.id();
            self.context.observer.observe(&Event::Overflowed(id));
            return Err(Error::Overflow);
        };
        let set_cookie = self.find_hash();
        let mut forwarded = match &self.picked.forwarder.backends.traffic.retry {
            Some(retry) if retry.retries > 0 => {
                // Boxed, so that the many requests without retries need no room for it.
                Box::pin(self.try_often(retry, permit)).await
            }
            _ => self.try_once(permit).await,
        };
        if let Ok(forwarded) = &mut forwarded {
            forwarded.set_cookie = set_cookie;
        }
        forwarded
    }

    /// Finds what the request is hashed by, if that decides about its endpoint; gives the cookie that is
    /// made for it.
    fn find_hash(&mut self) -> Option<HeaderValue> {
        let LoadBalancer::ConsistentHash { key, .. } =
            &self.picked.forwarder.backends.traffic.load_balancer
        else {
            return None;
        };
        let (head, upload) = take(&mut self.request).into_parts();
        let hashed = hash_key(key, self.context.client, &head);
        self.request = Request::from_parts(head, upload);
        self.hash = hashed.hash;
        hashed.set_cookie
    }

    /// Tells of `error` and how far the request came.
    pub(crate) fn into_failure(self, error: Error) -> Failure {
        Failure {
            error,
            endpoint: self.endpoint,
            attempts: self.attempts,
        }
    }

    /// Refuses an upgrade that the rule does not allow, or that cannot be asked of the backend.
    fn check_upgrade(&self) -> Result<(), Error> {
        let upgrades = &self.picked.forwarder.backends.traffic.upgrades;
        match self.context.upgrade {
            Some(upgrade) if !upgrade.is_one_of(upgrades) => Err(Error::UpgradeRefused),
            Some(_) if self.picked.way.protocol == BackendProtocol::Http2 => {
                Err(Error::UpgradeRefused)
            }
            _ => Ok(()),
        }
    }

    /// The only attempt: nothing is kept of the request.
    async fn try_once(&mut self, permit: Permit) -> Result<Forwarded, Error> {
        let limit = self.picked.forwarder.backends.traffic.attempt_timeout;
        self.make_ready(limit);
        match self.attempt(limit).await {
            Ok(attempted) => Ok(self.finish(attempted, permit, "")),
            // Without retries the attempt is the request.
            Err(Error::AttemptTimeout) => Err(Error::Timeout),
            Err(error) => Err(error),
        }
    }

    /// Attempts until one is good enough or none is left.
    async fn try_often(&mut self, rule: &Retry, permit: Permit) -> Result<Forwarded, Error> {
        let (head, upload) = take(&mut self.request).into_parts();
        let replay = Replay::new(upload.into_body());
        let limit = rule
            .attempt_timeout
            .or(self.picked.forwarder.backends.traffic.attempt_timeout);
        let mut source = replay.attempt();
        // Held until the next attempt has its result.
        let mut _retrying = None;
        loop {
            let Some(body) = source else {
                return Err(Error::RequestBody("the body was not kept".into()));
            };
            let upload = Upload::track(Source::Replay(body));
            self.request = Request::from_parts(head.clone(), upload);
            self.make_ready(limit);
            let result = self.attempt(limit).await;
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
        let pause = pin!(async {
            sleep(pause).await;
            Ok(())
        });
        let now = Instant::now();
        self.deadline.run(now, None, None, &mut None, pause).await
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

    /// Makes the request ready for the wire.
    fn make_ready(&mut self, limit: Option<Duration>) {
        if self.context.envoy_headers {
            self.say_time(limit);
        }
        let wire = Wire {
            protocol: self.picked.way.protocol,
            tls: self.picked.way.pool.is_tls(),
            upgrade: self.context.upgrade,
        };
        prepare(&mut self.request, wire);
    }

    /// Sends the request once and waits for the response's head.
    async fn attempt(&mut self, limit: Option<Duration>) -> Result<Attempted, Error> {
        let (way, context) = (self.picked.way, self.context);
        let forwarder = self.picked.forwarder;
        self.attempts += 1;
        let node = self.pick()?;
        self.endpoint = Some(node.address());
        let active = Active::new(node);
        let to = Target {
            cluster: &way.cluster,
            node: active.node(),
            breaker: &forwarder.breaker,
            observer: context.observer,
            pools: &forwarder.backends.pools,
            by_hyper: context.preserve_header_case || context.upgrade.is_some(),
        };
        let start = Instant::now();
        let progress = self.request.body().progress().cloned();
        let mut at_hand = way.pool.take(&to);
        let mut alarm = at_hand.as_mut().and_then(Checkout::take_alarm);
        let mut result = {
            let request = &mut self.request;
            let work = pin!(send(&way.pool, &to, at_hand, request, context.upgrade));
            let run = self
                .deadline
                .run(start, progress.as_deref(), limit, &mut alarm, work);
            run.await
        };
        if let Ok(sent) = &mut result {
            sent.received.keep_alarm(alarm);
        }
        if let Some(outlier) = &way.outlier {
            let outcome = match &result {
                Ok(sent) => Some(outlier::of_response(&sent.head)),
                Err(error) => outlier::of_error(error),
            };
            if let Some(outcome) = outcome {
                outlier.report(active.node().address(), outcome);
            }
        }
        Ok(Attempted {
            sent: result?,
            time: start.elapsed(),
            active,
        })
    }

    /// An endpoint; one that was not tried, if there is any.
    fn pick(&self) -> Result<Arc<Node>, Error> {
        let pick = Pick {
            hash: self.hash,
            tried: &self.tried,
        };
        self.picked
            .forwarder
            .backends
            .endpoint(self.picked.way, pick)
    }

    /// Tells the backend how long it may take.
    fn say_time(&mut self, limit: Option<Duration>) {
        let times = [self.deadline.left(), limit];
        if let Some(time) = times.into_iter().flatten().min() {
            let headers = self.request.headers_mut();
            headers.insert(EXPECTED_TIME, milliseconds(time));
        }
    }

    /// The response for the client.
    fn finish(&self, attempted: Attempted, permit: Permit, flags: &'static str) -> Forwarded {
        let Attempted { sent, active, time } = attempted;
        let endpoint = active.node().address();
        let counted = Counted::new(active, permit);
        let Sent {
            head,
            received,
            local,
        } = sent;
        let mut response = Response::from_parts(head, Body::empty());
        if self.context.envoy_headers {
            response
                .headers_mut()
                .insert(SERVICE_TIME, milliseconds(time));
        }
        let upgrade = if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            Some(Tunnel {
                io: hyper::upgrade::on(&mut response),
                expires: self.deadline.expires(),
                counted: TunnelGuard(counted, received.detach()),
            })
        } else {
            let mut body = ResponseBody::new(received, Some(counted));
            if let Some(whole) = body.take_whole() {
                *response.body_mut() = whole.into();
            } else {
                if let Some(at) = self.deadline.expires() {
                    body.expire(sleep_until(at));
                }
                *response.body_mut() = Body::upstream(body);
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
        ResponseBody::new(self.sent.received, None).drain(LIMIT);
    }
}

/// Sends a request over the connection at hand, an idle or a new one. A connection that ended before a byte
/// was sent costs nothing: another one is taken.
async fn send(
    pool: &Arc<crate::upstream::Pool>,
    to: &Target<'_>,
    mut at_hand: Option<Checkout>,
    request: &mut Request<Upload>,
    upgrade: Option<&Upgrade>,
) -> Result<Sent, Error> {
    for _ in 0..MAX_UNSENT {
        let connection = match at_hand.take() {
            Some(connection) => connection,
            None => pool.checkout(to).await?,
        };
        match connection.send(request, upgrade).await {
            Ok(sent) => return Ok(sent),
            Err(Unanswered::Sent(error)) => return Err(error),
            Err(Unanswered::Unsent) => {}
        }
    }
    Err(Error::Terminated(None))
}
