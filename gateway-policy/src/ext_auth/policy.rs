//! External authorization as a policy: calls the service and applies its decision.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use http_body::Body as _;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use tokio::time::timeout;
use towergate_core::conn::LogThrottle;
use towergate_core::plan::Rule;
use towergate_core::policy::{
    BuildContext, BuiltPolicy, CallError, FilledFields, InternalClient, PolicyError, PolicyFuture,
    PolicyRequest, WaitingPolicy,
};
use towergate_core::{Body, Error, LocalReply};

use super::body::{SentPart, announced_length};
use super::grpc_service::GrpcFacts;
use super::message::{Metadata, MetadataValue, Struct};
use super::{
    AnswerFields, AuthService, ExternalAuth, GrpcAuthService, HttpAuthService, MAX_ANSWER_LENGTH,
    RequestChanges, ServiceError, ServiceFailure, SubrequestService, Verdict, is_editable,
};
use crate::request_metadata::AuthorizationMetadata;
use crate::unary_call;

const SERVICE_TIME: HeaderName = HeaderName::from_static("x-envoy-upstream-service-time");

/// Calls a service for each request.
#[derive(Debug)]
pub struct ExternalAuthPolicy {
    settings: ExternalAuth,
    client: InternalClient,
    route: Option<Metadata>,
    /// Fields of the request that the service does not receive, because later policies fill them.
    withheld: Vec<HeaderName>,
}

impl ExternalAuthPolicy {
    /// A policy that calls the service through `client`, which was created with the backends of `settings`.
    pub fn new(settings: ExternalAuth, client: InternalClient) -> Self {
        Self {
            client: client.with_timeout(settings.timeout),
            settings,
            route: None,
            withheld: Vec::new(),
        }
    }

    /// Does not send the fields with these names to the service, because later policies fill them: the values of
    /// the client may be forged. The fields are still part of the request after the decision.
    pub fn withholding(self, withheld: Vec<HeaderName>) -> Self {
        Self { withheld, ..self }
    }

    /// Builds the policy for a rule of a route.
    pub(crate) fn built<P>(
        settings: &ExternalAuth,
        withheld: Vec<HeaderName>,
        rule: &Rule<P>,
        context: &BuildContext<'_>,
    ) -> Result<BuiltPolicy, PolicyError> {
        let settings = settings.clone();
        let client = context.http_client("ext_auth", &settings.backends, settings.traffic.clone());
        let metadata = match &settings.service {
            AuthService::Grpc(service) if service.route_metadata => Some(route_metadata(rule)?),
            AuthService::Grpc(_) | AuthService::Http(_) | AuthService::Subrequest(_) => None,
        };
        Ok(BuiltPolicy::waiting(Self {
            route: metadata,
            ..Self::new(settings, client).withholding(withheld)
        }))
    }

    /// Calls the service and returns its decision.
    async fn ask(
        &self,
        request: &mut PolicyRequest<'_>,
        body: Option<SentPart>,
    ) -> Result<Verdict, ServiceError> {
        let Self {
            settings,
            client,
            route,
            withheld: _,
        } = self;
        let sent = settings.sent_headers.as_deref();
        match &settings.service {
            AuthService::Http(service) => {
                let question =
                    service.question(request.head, sent, body.as_ref(), settings.timeout);
                let question = question.map_err(ServiceError::Question)?;
                let started = Instant::now();
                let answer = client.send(question).await.map_err(CallError::from)?;
                let (head, body) = answer.into_parts();
                let left = settings.timeout.saturating_sub(started.elapsed());
                let body = match collect(body, left).await {
                    Ok(body) => body,
                    // A denial is enforced even if its body cannot be read.
                    Err(_) if HttpAuthService::denies(head.status) => Bytes::new(),
                    Err(error) => return Err(error.into()),
                };
                let verdict = service.read_answer(head.status, head.headers, body)?;
                Ok(with_service_time(verdict, started.elapsed()))
            }
            AuthService::Subrequest(service) => {
                let question = service.question(request.head, request.facts.client);
                let question = question.map_err(ServiceError::Question)?;
                let answer = client.send(question).await.map_err(CallError::from)?;
                service.read_answer(request.head, answer.status(), answer.headers())
            }
            AuthService::Grpc(service) => {
                let facts = GrpcFacts {
                    head: request.head,
                    facts: request.facts,
                    sent,
                    body: body.as_ref(),
                    route: route.as_ref(),
                };
                let question = service.question(&facts, settings.timeout);
                let question = question.map_err(ServiceError::Question)?;
                let answer = client.send_collected(question, MAX_ANSWER_LENGTH).await?;
                let (head, body) = answer.into_parts();
                let trailers = body.trailers.as_ref();
                let message =
                    unary_call::read_message(head.status, &head.headers, &body.data, trailers)?;
                GrpcAuthService::read_answer(message)
            }
        }
    }

    /// Removes the client's fields that the service may set, whether or not the service has set them.
    fn remove_filled(&self, request: &mut PolicyRequest<'_>) {
        let names = match &self.settings.service {
            AuthService::Http(HttpAuthService {
                headers_to_backend: AnswerFields::Listed(names),
                ..
            })
            | AuthService::Subrequest(SubrequestService {
                headers_to_backend: names,
                ..
            }) => names,
            AuthService::Http(_) | AuthService::Grpc(_) => return,
        };
        for name in names.iter().filter(|name| is_editable(name)) {
            FilledFields::reserve(request.head, name);
        }
    }

    /// Applies the changes of a response that allows the request.
    fn allow(
        &self,
        request: &mut PolicyRequest<'_>,
        mut changes: RequestChanges,
    ) -> Result<(), ServiceError> {
        if let AuthService::Subrequest(service) = &self.settings.service {
            let cookies = std::mem::take(&mut changes.response_edits);
            if !cookies.is_empty() {
                let service = service.clone();
                request.on_response(move |response| {
                    if service.sets_cookies(response.response.status()) {
                        let headers = response.response.headers_mut();
                        cookies.iter().for_each(|cookie| cookie.apply(headers));
                    }
                });
            }
        }
        let metadata = std::mem::take(&mut changes.metadata);
        changes.apply(request)?;
        AuthorizationMetadata::add(request.head, metadata);
        Ok(())
    }

    /// Rejects or allows a request for which the service returned no decision.
    fn fail(&self, error: &ServiceError) -> Result<(), LocalReply> {
        static THROTTLE: LogThrottle = LogThrottle::new(Duration::from_secs(10));
        let open = self.settings.on_failure == ServiceFailure::Allow;
        if THROTTLE.allows() {
            let error = error as &dyn std::error::Error;
            tracing::warn!(error, allowed = open, "external authorization failed");
        }
        match self.settings.on_failure {
            ServiceFailure::Allow => Ok(()),
            ServiceFailure::Deny(status) => {
                let status = StatusCode::from_u16(status).unwrap_or(StatusCode::FORBIDDEN);
                Err(LocalReply::new(status, "ext_authz_error").with_flag("UAEX"))
            }
        }
    }
}

impl WaitingPolicy for ExternalAuthPolicy {
    fn run<'a>(&'a self, request: &'a mut PolicyRequest<'_>) -> PolicyFuture<'a> {
        Box::pin(async move {
            let body = match self.settings.body {
                Some(sent) if !request.body.is_end_stream() => {
                    let announced = announced_length(&request.head.headers);
                    Some(sent.read(announced, request.body).await?)
                }
                Some(_) | None => None,
            };
            let withheld = WithheldFields::take(&mut request.head.headers, &self.withheld);
            let verdict = self.ask(request, body).await;
            withheld.restore(&mut request.head.headers);
            self.remove_filled(request);
            let outcome = match verdict {
                Ok(Verdict::Allow(changes)) => self.allow(request, changes),
                Ok(Verdict::Deny(reply)) => return Err(reply),
                Err(error) => Err(error),
            };
            if let Err(error) = outcome {
                self.fail(&error)?;
            }
            if self.settings.recompute_route {
                request.recompute_route();
            }
            Ok(())
        })
    }
}

/// Fields that are not part of the request while the service is called.
struct WithheldFields(Vec<(HeaderName, HeaderValue)>);

impl WithheldFields {
    /// Takes the fields with these names out of `headers`, also those with `_` instead of `-`.
    fn take(headers: &mut HeaderMap, names: &[HeaderName]) -> Self {
        let mut taken = Vec::new();
        if names.is_empty() {
            return Self(taken);
        }
        let is_withheld = |own: &&HeaderName| {
            names
                .iter()
                .any(|name| FilledFields::are_variants(own, name))
        };
        let found: Vec<_> = headers.keys().filter(is_withheld).cloned().collect();
        for name in found {
            let values = headers.get_all(&name).iter();
            taken.extend(values.map(|value| (name.clone(), value.clone())));
            headers.remove(&name);
        }
        Self(taken)
    }

    /// Adds the fields again.
    fn restore(self, headers: &mut HeaderMap) {
        for (name, value) in self.0 {
            headers.append(name, value);
        }
    }
}

/// The whole body of a response.
async fn collect(body: Body, time: Duration) -> Result<Bytes, CallError> {
    let limit = MAX_ANSWER_LENGTH;
    match timeout(time, Limited::new(body, limit).collect()).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(CallError::BodyTooLarge { limit }),
        Ok(Err(error)) => Err(CallError::Body(error)),
        Err(_) => Err(Error::Timeout.into()),
    }
}

/// Adds the duration of the call to a reply from the service.
fn with_service_time(verdict: Verdict, time: Duration) -> Verdict {
    match verdict {
        Verdict::Deny(mut reply) => {
            let millis = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
            reply.headers.retain(|(name, _)| *name != SERVICE_TIME);
            reply
                .headers
                .push((SERVICE_TIME, HeaderValue::from(millis)));
            Verdict::Deny(reply)
        }
        allow => allow,
    }
}

/// Kind, namespace and name of a route, and the name of the rule, as in Envoy Gateway.
fn route_metadata<P>(rule: &Rule<P>) -> Result<Metadata, PolicyError> {
    let kind = rule.route.kind;
    if !kind.matches_requests() {
        let message = format!("external authorization of a {}", kind.name());
        return Err(PolicyError::new(message));
    }
    let mut resource = BTreeMap::from([
        ("kind".to_owned(), MetadataValue::from(kind.name())),
        ("name".to_owned(), MetadataValue::from(&*rule.route.name)),
        (
            "namespace".to_owned(),
            MetadataValue::from(&*rule.route.namespace),
        ),
    ]);
    if let Some(name) = &rule.name {
        resource.insert("sectionName".to_owned(), MetadataValue::from(&**name));
    }
    let resources = MetadataValue::from(vec![MetadataValue::from(resource)]);
    let fields = BTreeMap::from([("resources".to_owned(), resources)]);
    Ok(Metadata {
        filter_metadata: BTreeMap::from([("envoy-gateway".to_owned(), Struct { fields })]),
    })
}
