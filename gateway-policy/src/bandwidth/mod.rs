//! Limits of throughput. Request and response bodies of a rule are slowed down to a number of bytes per
//! second.
//!
//! All requests of a rule share one allowance per direction. Unused allowance is kept for one second, so a
//! short body is not delayed.

mod allowance;
mod paced_body;

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, Version};
use http_body::Body as _;
use serde::{Deserialize, Serialize};
use towergate_core::plan::Text;
use towergate_core::policy::{BodyPolicy, BuildContext, BuiltPolicy, PolicyRequest};
use towergate_core::{Body, LocalReply};

use allowance::Allowance;
use paced_body::{DelayReport, PacedBody};

/// A number of bytes per time. Neither is 0.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq, Serialize, Deserialize)]
pub struct Throughput {
    /// Number of bytes.
    pub bytes: u64,
    /// Time in which `bytes` may be sent.
    pub per: Duration,
}

/// Limits the throughput of the requests of a rule.
#[derive(Clone, Debug, Eq, Hash, PartialEq, Serialize, Deserialize)]
pub struct ThroughputLimit {
    /// Limit of request bodies.
    pub request: Option<Throughput>,
    /// Limit of response bodies.
    pub response: Option<Throughput>,
    /// Trailers of the response that report delays, for HTTP/2. `None`: none are sent.
    pub trailers: Option<DelayTrailers>,
}

/// Names of the trailers that report delays, in milliseconds.
#[derive(Clone, Debug, Eq, Hash, PartialEq, Serialize, Deserialize)]
pub struct DelayTrailers {
    /// Trailer with the time from the first to the last byte of the request body.
    pub request: Text<HeaderName>,
    /// Trailer with the time from the first to the last byte of the response body.
    pub response: Text<HeaderName>,
    /// Trailer with the delay of the request body by the limit.
    pub request_delay: Text<HeaderName>,
    /// Trailer with the delay of the response body by the limit.
    pub response_delay: Text<HeaderName>,
}

impl DelayTrailers {
    /// `prefix`, a hyphen, and Envoy's name. `None` if the result is not a valid name.
    pub fn with_prefix(prefix: &str) -> Option<Self> {
        let name = |name: &str| {
            let name = match prefix {
                "" => name.to_owned(),
                prefix => format!("{prefix}-{name}"),
            };
            HeaderName::try_from(name).ok().map(Text::from)
        };
        Some(Self {
            request: name("bandwidth-request-delay-ms")?,
            response: name("bandwidth-response-delay-ms")?,
            request_delay: name("bandwidth-request-filter-delay-ms")?,
            response_delay: name("bandwidth-response-filter-delay-ms")?,
        })
    }
}

impl ThroughputLimit {
    /// Builds the policy. The allowances of a rule survive changes of the configuration.
    pub fn build(&self, context: &BuildContext<'_>) -> BuiltPolicy {
        let allowance = |limit: Option<Throughput>, direction: &'static str| {
            let limit = limit?;
            let key = (context.route.clone(), context.rule, direction, limit);
            Some(
                context
                    .live
                    .share(key, |(.., limit)| Arc::new(Allowance::new(*limit))),
            )
        };
        BuiltPolicy::body(ThroughputPolicy {
            request: allowance(self.request, "request bytes"),
            response: allowance(self.response, "response bytes"),
            trailers: self.trailers.clone().map(Arc::new),
        })
    }
}

/// Limits the throughput of the bodies of a rule.
struct ThroughputPolicy {
    request: Option<Arc<Allowance>>,
    response: Option<Arc<Allowance>>,
    trailers: Option<Arc<DelayTrailers>>,
}

impl BodyPolicy for ThroughputPolicy {
    fn wrap(&self, request: &mut PolicyRequest<'_>) -> Result<(), LocalReply> {
        // HTTP/1.1 trailers must be announced in the head, so the trailers are sent over HTTP/2 only.
        let http2 = request.client_version() >= Version::HTTP_2;
        let trailers = self.trailers.clone().filter(|_| http2);
        let report = trailers.map(DelayReport::new).map(Arc::new);
        if let Some(allowance) = &self.request
            && !request.body.is_end_stream()
        {
            let inner = std::mem::take(request.body);
            let paced = PacedBody::request(inner, allowance.clone(), report.clone());
            *request.body = Body::new(paced);
        }
        if self.response.is_some() || report.is_some() {
            let allowance = self.response.clone();
            request.on_response(move |response| {
                if response.response.body().is_end_stream() {
                    return;
                }
                let body = response.response.body_mut();
                let inner = std::mem::take(body);
                *body = Body::new(PacedBody::response(inner, allowance, report));
            });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use bytes::Bytes;
    use futures_util::FutureExt;
    use http_body::Frame;
    use http_body_util::{BodyExt, StreamBody};
    use tokio::time::Instant;
    use towergate_core::policy::{RequestFacts, RequestHead, ResponseEffects};

    use super::*;

    const KIB_PER_SECOND: Throughput = Throughput {
        bytes: 1024,
        per: Duration::from_secs(1),
    };

    fn body(length: usize) -> Body {
        Body::from(Bytes::from(vec![b'x'; length]))
    }

    #[tokio::test(start_paused = true)]
    async fn what_exceeds_one_second_of_the_limit_is_delayed() {
        for (length, seconds) in [(1024, 0), (3 * 1024, 2), (11 * 1024, 10)] {
            let start = Instant::now();
            let allowance = Arc::new(Allowance::new(KIB_PER_SECOND));
            let paced = PacedBody::response(body(length), Some(allowance), None);

            let received = paced.collect().await.unwrap().to_bytes();

            assert_eq!(received.len(), length);
            assert_eq!(start.elapsed().as_secs_f64().round() as u64, seconds);
        }
    }

    #[test]
    fn trailers_depend_on_the_version_of_the_client() {
        let policy = ThroughputPolicy {
            request: None,
            response: None,
            trailers: DelayTrailers::with_prefix("x").map(Arc::new),
        };
        // The version of the head is always HTTP/1.1; that of the client is passed separately.
        for (version, wrapped) in [(Version::HTTP_2, true), (Version::HTTP_11, false)] {
            let (mut head, ()) = http::Request::new(()).into_parts();
            let (mut effects, mut body) = (ResponseEffects::default(), Body::empty());
            let mut facts = RequestFacts::outside_gateway(&http::Extensions::new());
            facts.version = Some(version);
            let head = RequestHead::new(&mut head, facts, &mut effects);

            policy
                .wrap(&mut PolicyRequest::new(head, &mut body))
                .unwrap();

            assert_eq!(effects.is_empty(), !wrapped, "{version:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn bodies_share_an_allowance() {
        let start = Instant::now();
        let allowance = Arc::new(Allowance::new(KIB_PER_SECOND));
        let paced = || PacedBody::response(body(3 * 1024), Some(allowance.clone()), None).collect();

        let (first, second) = tokio::join!(paced(), paced());

        assert_eq!(
            first.unwrap().to_bytes().len() + second.unwrap().to_bytes().len(),
            6 * 1024
        );
        assert_eq!(start.elapsed().as_secs_f64().round() as u64, 5);
    }

    #[tokio::test(start_paused = true)]
    async fn cancelled_bodies_leave_no_debt() {
        let start = Instant::now();
        let allowance = Arc::new(Allowance::new(KIB_PER_SECOND));
        assert_eq!(allowance.take(1024), None);

        for _ in 0..100 {
            let mut paced = PacedBody::response(body(1024), Some(allowance.clone()), None);
            assert!(paced.frame().now_or_never().is_none(), "it has to wait");
        }

        let due = allowance.take(1024);
        assert_eq!(due, Some(start + Duration::from_secs(1)));
    }

    #[tokio::test(start_paused = true)]
    async fn trailers_report_the_delays_beside_those_of_the_backend() {
        let names = Arc::new(DelayTrailers::with_prefix("x").unwrap());
        let report = Arc::new(DelayReport::new(names));
        let allowance = || Arc::new(Allowance::new(KIB_PER_SECOND));
        let own = http::HeaderMap::from_iter([(http::header::ETAG, "\"a\"".parse().unwrap())]);
        let frames = [
            Ok::<_, Infallible>(Frame::data(Bytes::from(vec![b'x'; 2048]))),
            Ok(Frame::trailers(own)),
        ];
        let response = Body::new(StreamBody::new(futures_util::stream::iter(frames)));

        let request = PacedBody::request(body(3 * 1024), allowance(), Some(report.clone()));
        request.collect().await.unwrap();
        let response = PacedBody::response(response, Some(allowance()), Some(report));
        let collected = response.collect().await.unwrap();

        let trailers = collected.trailers().unwrap();
        let seconds = |name: &str| {
            let milliseconds: f64 = trailers[name].to_str().unwrap().parse().unwrap();
            (milliseconds / 1000.0).round()
        };
        assert_eq!(seconds("x-bandwidth-request-filter-delay-ms"), 2.0);
        assert_eq!(seconds("x-bandwidth-response-filter-delay-ms"), 1.0);
        assert_eq!(trailers["etag"], "\"a\"");
    }

    #[test]
    fn a_prefix_must_be_part_of_a_name() {
        assert!(DelayTrailers::with_prefix("a b").is_none());
        let names = DelayTrailers::with_prefix("").unwrap();
        assert_eq!(names.request.as_str(), "bandwidth-request-delay-ms");
    }
}
