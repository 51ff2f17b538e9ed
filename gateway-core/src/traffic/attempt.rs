//! Attempts of one request: endpoint, connection, response head, retry.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, HeaderValue, Request, Response, Version};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::attempt_response::{AttemptResponse, report};
use super::backends::BackendRoute;
use super::deadline::Deadline;
use super::dynamic::{DynamicHost, DynamicHosts};
use super::forward::{ForwardContext, ForwardError, Forwarded, SelectedBackend};
use super::loop_guard;
use super::retry;
use super::tunnel::{Tunnel, TunnelGuard, TunnelIo};
use crate::Body;
use crate::balance::{InFlightGuard, LiveEndpoint, Pick, RespondingEndpoint, hash_key};
use crate::breaker::{Permit, Resource};
use crate::error::Error;
use crate::http::Authority;
use crate::http::upgrade::Upgrade;
use crate::observer::Event;
use crate::plan::{BackendProtocol, ConnectMode, EndpointAddress, LoadBalancer, Retry};
use crate::upstream::{
    BackendBody, Checkout, ConnectTarget, Pool, Replay, RequestPermits, SendFailure, Upload,
    UploadSource, UpstreamResponse, WireFormat, prepare, take_request,
};

const EXPECTED_TIMEOUT: HeaderName = HeaderName::from_static("x-envoy-expected-rq-timeout-ms");
const SERVICE_TIME: HeaderName = HeaderName::from_static("x-envoy-upstream-service-time");

/// Maximum number of connections that one attempt tries, if each of them turns out to be closed before a byte
/// of the request is sent.
const MAX_UNSENT: u32 = 8;

/// One request while it is forwarded. The state of the request is a field here and not a local variable of
/// the steps, so that the futures of the steps stay small.
pub(crate) struct Forwarding<'a> {
    pub(super) picked: SelectedBackend<'a>,
    /// Pool of connections with the protocol of the request.
    pub(super) pool: &'a Arc<Pool>,
    /// Pool for this request only. If present, it is used instead of `pool`.
    pub(super) own_pool: Option<Arc<Pool>>,
    /// Host that the request names. `None` unless the backend is of type `DynamicResolver`, whose endpoint is
    /// this host.
    pub(super) host: Option<Arc<DynamicHost>>,
    pub(super) context: ForwardContext<'a>,
    /// The request. Each attempt prepares its head for the wire format of the backend.
    request: Request<Upload>,
    pub(super) deadline: Deadline,
    hash: Option<u64>,
    pub(super) attempts: u32,
    /// Endpoint of the latest attempt.
    pub(super) endpoint: Option<EndpointAddress>,
    /// Endpoints on which the request failed.
    tried: Vec<EndpointAddress>,
}

impl<'a> SelectedBackend<'a> {
    /// Forwards a request.
    ///
    /// # Errors
    /// The cause, if no response is received.
    pub async fn forward(
        &self,
        context: &ForwardContext<'a>,
        request: Request<Body>,
    ) -> Result<Forwarded, ForwardError> {
        let mut forwarding = self.start(*context, request);
        let result = forwarding.forward().await;
        result.map_err(|error| forwarding.into_failure(error))
    }

    /// Starts to forward a request.
    pub(crate) fn start(
        &self,
        context: ForwardContext<'a>,
        request: Request<Body>,
    ) -> Forwarding<'a> {
        Forwarding::new(self.clone(), context, request)
    }
}

impl<'a> Forwarding<'a> {
    pub(super) fn new(
        picked: SelectedBackend<'a>,
        context: ForwardContext<'a>,
        request: Request<Body>,
    ) -> Self {
        let traffic = &picked.forwarder.backends.traffic;
        let pool = picked.route.pool(request.version());
        Self {
            picked,
            pool,
            own_pool: pool.of_client(|| context.addresses()),
            host: None,
            context,
            request: request.map(|body| Upload::track(UploadSource::Once(body))),
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
    /// The cause, if no response is received. [`Self::into_failure`] adds the endpoint and the number of
    /// attempts.
    pub(crate) async fn forward(&mut self) -> Result<Forwarded, Error> {
        self.check_upgrade()?;
        let breaker = &self.picked.forwarder.breaker;
        let permit = match self.context.connection {
            Some(connection) if self.request.version() == Version::HTTP_2 => {
                breaker.acquire_shared(connection.requests())
            }
            _ => breaker.acquire(Resource::Request),
        };
        let Some(permit) = permit else {
            let id = self.picked.route.cluster.id();
            self.context.observer.observe(&Event::Overflowed(id));
            return Err(Error::Overflow);
        };
        let route = self.picked.route;
        if let Some(hosts) = &route.dynamic {
            // This future is boxed, so that requests without a lookup reserve no memory for it.
            Box::pin(self.find_host(hosts)).await?;
        }
        let set_cookie = self.compute_hash();
        let traffic = &self.picked.forwarder.backends.traffic;
        let terminates = traffic.connect == Some(ConnectMode::Terminate)
            && self.context.upgrade == Some(&Upgrade::Connect);
        let mut forwarded = match &traffic.retry {
            // This future is boxed, so that the futures of other requests stay small.
            _ if terminates => Box::pin(self.open_tunnel(permit)).await,
            Some(retry) if retry.retries > 0 => {
                // This future is boxed, so that requests without retries reserve no memory for it.
                Box::pin(self.send_with_retries(retry, permit)).await
            }
            _ => self.send_once(permit).await,
        };
        if let Ok(forwarded) = &mut forwarded {
            forwarded.set_cookie = set_cookie;
            if self.picked.preferred.is_some() {
                let responding = RespondingEndpoint(forwarded.endpoint.clone());
                forwarded.response.extensions_mut().insert(responding);
            }
        }
        forwarded
    }

    /// Looks up the host that the request names. The connect timeout limits the lookup.
    async fn find_host(&mut self, hosts: &DynamicHosts) -> Result<(), Error> {
        loop_guard::mark(self.request.headers_mut())?;
        let request = &self.request;
        let failed = |cause: &str| Error::HostNotResolved(cause.to_owned());
        let authority = Authority::of(request.uri(), request.headers());
        let authority = authority.map_err(|error| failed(&error.to_string()))?;
        let version = request.version();
        let limit = self.picked.forwarder.backends.traffic.connect_timeout;
        let limit = self.deadline.left().map_or(limit, |left| limit.min(left));
        let found = timeout(limit, hosts.find(&authority)).await;
        let host = found.map_err(|_| failed("the lookup timed out"))??;
        let pool = host.route.pool(version);
        let own_pool = pool.of_client(|| self.context.addresses());
        self.own_pool = Some(own_pool.unwrap_or_else(|| pool.clone()));
        self.host = Some(host);
        Ok(())
    }

    /// The route to the host that the request names, for a `DynamicResolver` backend; otherwise the route to
    /// the picked backend.
    fn route(&self) -> &BackendRoute {
        match &self.host {
            Some(host) => &host.route,
            None => self.picked.route,
        }
    }

    /// Computes the hash of the request if the load balancer needs a hash. If a cookie was generated for the
    /// hash, returns the cookie for the response.
    fn compute_hash(&mut self) -> Option<HeaderValue> {
        if let Some(hashed) = self.picked.hashed.take() {
            self.hash = hashed.hash;
            return hashed.set_cookie;
        }
        let LoadBalancer::ConsistentHash { key, .. } =
            &self.picked.forwarder.backends.traffic.load_balancer
        else {
            return None;
        };
        let (head, upload) = take_request(&mut self.request).into_parts();
        let hashed = hash_key(key, self.context.client, &head);
        self.request = Request::from_parts(head, upload);
        self.hash = hashed.hash;
        hashed.set_cookie
    }

    /// Adds the endpoint and the number of attempts to `error`.
    pub(crate) fn into_failure(self, error: Error) -> ForwardError {
        ForwardError {
            error,
            endpoint: self.endpoint,
            attempts: self.attempts,
        }
    }

    /// Rejects an upgrade that the rule does not allow or that the backend's protocol does not support.
    fn check_upgrade(&self) -> Result<(), Error> {
        let upgrades = &self.picked.forwarder.backends.traffic.upgrades;
        match self.context.upgrade {
            Some(Upgrade::Connect) => match &self.picked.forwarder.backends.traffic.connect {
                Some(_) => Ok(()),
                None => Err(Error::UpgradeRefused),
            },
            Some(upgrade) if !upgrade.is_one_of(upgrades) => Err(Error::UpgradeRefused),
            Some(_) if self.pool.transport().protocol == BackendProtocol::Http2 => {
                Err(Error::UpgradeRefused)
            }
            _ => Ok(()),
        }
    }

    /// Sends the request in a single attempt, without buffering its body.
    async fn send_once(&mut self, permit: Permit) -> Result<Forwarded, Error> {
        let limit = self.picked.forwarder.backends.traffic.attempt_timeout;
        self.prepare_request(limit);
        match self.attempt(limit).await {
            Ok(attempt) => {
                let rule = self.picked.forwarder.backends.traffic.retry.as_ref();
                // As in Envoy, the flag `URX` is also set if the rule has 0 retries and the response meets a
                // retry condition.
                let exhausted =
                    rule.is_some_and(|rule| retry::on_response(&rule.on, &attempt.response.head));
                Ok(self.finish(attempt, permit, if exhausted { "URX" } else { "" }))
            }
            // Without retries, the attempt timeout limits the whole request, so its expiry is reported as a
            // request timeout.
            Err(Error::AttemptTimeout) => Err(Error::Timeout),
            Err(error) => Err(error),
        }
    }

    /// Sends the request until a response needs no retry or the retries are used up.
    async fn send_with_retries(
        &mut self,
        rule: &Retry,
        permit: Permit,
    ) -> Result<Forwarded, Error> {
        let (head, upload) = take_request(&mut self.request).into_parts();
        let replay = Replay::new(upload.into_body());
        let limit = rule
            .attempt_timeout
            .or(self.picked.forwarder.backends.traffic.attempt_timeout);
        let mut source = replay.attempt();
        // The permit is held until the retry has completed.
        let mut _retry_permit = None;
        loop {
            let Some(body) = source else {
                return Err(Error::RequestBody(
                    "request body is no longer buffered".into(),
                ));
            };
            self.select_priority(rule, head.version);
            let upload = Upload::track(UploadSource::Replay(body));
            self.request = Request::from_parts(head.clone(), upload);
            self.prepare_request(limit);
            let result = self.attempt(limit).await;
            let retriable = match &result {
                Ok(attempt) => retry::on_response(&rule.on, &attempt.response.head),
                Err(error) => retry::on_error(&rule.on, &head.method, error),
            };
            _retry_permit = None;
            if !retriable {
                return self.finish_or_fail(result, permit, false, "");
            }
            if self.attempts > rule.retries {
                return self.finish_or_fail(result, permit, true, "URX");
            }
            if !replay.is_buffered() {
                return self.finish_or_fail(result, permit, false, "");
            }
            _retry_permit = self.picked.forwarder.breaker.acquire(Resource::Retry);
            if _retry_permit.is_none() {
                return self.finish_or_fail(result, permit, false, "UO");
            }
            // From here on, the previous attempt receives no more frames of the body.
            source = replay.attempt();
            if let Ok(attempt) = result {
                attempt.discard();
            }
            self.back_off(rule).await?;
        }
    }

    /// Moves the request to the backends of the other priority if enough attempts failed with the current
    /// priority (Envoy's retry priority `previous_priorities`).
    fn select_priority(&mut self, rule: &Retry, version: Version) {
        let due = rule
            .attempts_per_priority
            .is_some_and(|limit| self.attempts > 0 && self.attempts.is_multiple_of(limit.get()));
        if !due {
            return;
        }
        let backends = &self.picked.forwarder.backends;
        let hash = self.hash.filter(|_| backends.shared_hash_key().is_some());
        let Some((backend_ref, route)) =
            backends.pick_other_priority(self.picked.backend_ref, hash)
        else {
            return;
        };
        let pool = route.pool(version);
        if self.context.upgrade.is_some() && pool.transport().protocol == BackendProtocol::Http2 {
            return;
        }
        self.picked.backend_ref = backend_ref;
        self.picked.route = route;
        self.own_pool = pool.of_client(|| self.context.addresses());
        self.pool = pool;
    }

    /// Waits before the next attempt, within the request timeout.
    async fn back_off(&mut self, rule: &Retry) -> Result<(), Error> {
        self.tried.extend(self.endpoint.clone());
        let id = self.picked.route.cluster.id();
        self.context.observer.observe(&Event::Retried(id));
        let pause = retry::back_off(rule, self.attempts - 1);
        let pause = pin!(async {
            sleep(pause).await;
            Ok(())
        });
        let now = Instant::now();
        self.deadline.run(now, None, None, &mut None, pause).await
    }

    /// Returns the result of the last attempt as the result of the request.
    fn finish_or_fail(
        &self,
        result: Result<AttemptResponse, Error>,
        permit: Permit,
        exhausted: bool,
        flags: &'static str,
    ) -> Result<Forwarded, Error> {
        match result {
            Ok(attempt) => Ok(self.finish(attempt, permit, flags)),
            Err(last) if self.attempts > 1 => Err(Error::Retried {
                last: Box::new(last),
                exhausted,
            }),
            Err(error) => Err(error),
        }
    }

    /// Prepares the request head for the wire format of the backend.
    fn prepare_request(&mut self, limit: Option<Duration>) {
        if self.context.envoy_headers {
            self.set_expected_timeout(limit);
        }
        let format = WireFormat {
            protocol: self.pool.transport().protocol,
            tls: self.pool.is_tls(),
            upgrade: self.context.upgrade,
        };
        prepare(&mut self.request, format);
    }

    /// Sends the request once and waits for the response head.
    async fn attempt(&mut self, limit: Option<Duration>) -> Result<AttemptResponse, Error> {
        let context = self.context;
        let forwarder = self.picked.forwarder;
        let host = self.host.clone();
        let route = host.as_ref().map_or(self.picked.route, |host| &host.route);
        let hosts = self
            .picked
            .route
            .dynamic
            .as_ref()
            .map(|hosts| hosts.known());
        self.attempts += 1;
        if route.cluster.is_unanswered() {
            // The future below is boxed, because waiting is rare: only the first requests to a host wait for
            // its addresses.
            let limit = forwarder.backends.traffic.connect_timeout;
            Box::pin(wait_for_addresses(route, limit)).await;
        }
        let in_flight = InFlightGuard::new(self.pick()?);
        let address = in_flight.endpoint().address();
        self.endpoint = Some(address.clone());
        let to = ConnectTarget {
            cluster: &route.cluster,
            endpoint: in_flight.endpoint(),
            breaker: &forwarder.breaker,
            observer: context.observer,
            pools: match &hosts {
                Some(hosts) => &hosts.pools,
                None => &forwarder.backends.pools,
            },
            requires_hyper: context.preserve_header_case || context.upgrade.is_some(),
        };
        let start = Instant::now();
        let progress = self.request.body().progress().cloned();
        let pool = self.own_pool.as_ref().unwrap_or(self.pool);
        let mut idle = pool.take(&to);
        let mut timer = idle.as_mut().and_then(Checkout::take_timer);
        let mut result = {
            let request = &mut self.request;
            let work = pin!(send(pool, &to, idle, request, context.upgrade));
            self.deadline
                .run(start, progress.as_deref(), limit, &mut timer, work)
                .await
        };
        if let Ok(response) = &mut result {
            response.source.keep_timer(timer);
        }
        report(route, address, &mut result);
        Ok(AttemptResponse {
            response: result?,
            time: start.elapsed(),
            in_flight,
        })
    }

    /// Picks an endpoint, preferably an endpoint that has not been tried.
    pub(super) fn pick(&self) -> Result<Arc<LiveEndpoint>, Error> {
        let pick = Pick {
            hash: self.hash,
            preferred: &self.picked.wanted,
            tried: &self.tried,
        };
        self.picked.forwarder.backends.endpoint(self.route(), pick)
    }

    /// Sets `x-envoy-expected-rq-timeout-ms` to the time that is left.
    fn set_expected_timeout(&mut self, limit: Option<Duration>) {
        let times = [self.deadline.left(), limit];
        if let Some(time) = times.into_iter().flatten().min() {
            let headers = self.request.headers_mut();
            headers.insert(EXPECTED_TIMEOUT, milliseconds(time));
        }
    }

    /// Turns the response of an attempt into the response for the client.
    fn finish(&self, attempt: AttemptResponse, permit: Permit, flags: &'static str) -> Forwarded {
        let AttemptResponse {
            response,
            in_flight,
            time,
        } = attempt;
        let endpoint = in_flight.endpoint().address().clone();
        let permits = RequestPermits::new(in_flight, permit);
        let UpstreamResponse {
            head,
            source,
            local,
        } = response;
        let mut response = Response::from_parts(head, Body::empty());
        if self.context.envoy_headers {
            response
                .headers_mut()
                .insert(SERVICE_TIME, milliseconds(time));
        }
        let status = response.status();
        let granted = |upgrade: &Upgrade| upgrade.is_granted_by(status);
        let upgrade = if self.context.upgrade.is_some_and(granted) {
            Some(Tunnel {
                io: TunnelIo::Upgrade(hyper::upgrade::on(&mut response)),
                deadline: self.deadline.stream_deadline(),
                guard: TunnelGuard(permits, source.detach()),
            })
        } else {
            let mut body = BackendBody::new(source, Some(permits));
            if let Some(bytes) = body.take_complete() {
                *response.body_mut() = bytes.into();
            } else {
                if let Some(at) = self.deadline.stream_deadline() {
                    body.expire(sleep_until(at));
                }
                *response.body_mut() = match self.route().balancer.loads() {
                    None => Body::boxed(body),
                    Some(loads) => loads.learn_from_trailers(Body::boxed(body), endpoint.clone()),
                };
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

/// Waits up to `limit` for the first addresses of a host. If no address arrives, the cluster has no endpoint,
/// and picking an endpoint fails.
pub(super) async fn wait_for_addresses(route: &BackendRoute, limit: Duration) {
    let _ = timeout(limit, route.cluster.first_answer()).await;
}

/// Sends a request over `idle`, another idle connection or a new one. If a connection has ended before a byte
/// was sent, the request moves to another connection; this is not a retry.
///
/// An endpoint may close an idle connection at the moment at which it is reused (RFC 9112, section 9.3.1). A
/// request that is safe to repeat is then sent once more, over a new connection: other idle connections may
/// have been closed as well. This repetition belongs to the same attempt, and does not require a retry rule.
async fn send(
    pool: &Pool,
    to: &ConnectTarget<'_>,
    mut idle: Option<Checkout>,
    request: &mut Request<Upload>,
    upgrade: Option<&Upgrade>,
) -> Result<UpstreamResponse, Error> {
    let mut stale = false;
    for _ in 0..MAX_UNSENT {
        let connection = match idle.take() {
            Some(connection) => connection,
            None if stale => pool.open_checkout(to).await?,
            None => pool.checkout(to).await?,
        };
        match connection.send(request, upgrade).await {
            Ok(response) => return Ok(response),
            Err(SendFailure::Sent(error)) => return Err(error),
            Err(SendFailure::Stale) if stale => return Err(Error::Terminated(None)),
            Err(SendFailure::Stale) => {
                stale = true;
                to.observer.observe(&Event::Retried(to.cluster.id()));
            }
            Err(SendFailure::Unsent) => {}
        }
    }
    Err(Error::Terminated(None))
}
