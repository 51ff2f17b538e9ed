//! A request from its head to its answer, in two parts: what rule takes it, and what the rule does.
//!
//! The first part only looks at the head and waits for nothing. So whoever embeds the gateway can take
//! back what no rule takes, with its body untouched.

use std::sync::Arc;

use http::header::CONNECTION;
use http::{HeaderMap, HeaderValue, Response, Version, request};
use hyper::upgrade::OnUpgrade;

use super::exchange::Exchange;
use super::step::{Came, Clean, Step, Taken};
use super::{Shared, listener_of};
use crate::conn::ConnInfo;
use crate::http::Sanitized;
use crate::http::grpc::is_grpc;
use crate::http::names::Names;
use crate::policy::ResponseEdits;
use crate::snapshot::PortSnapshot;
use crate::{Body, Error, LocalReply};

/// A request whose rule was looked for.
pub(super) struct Arrival<'a> {
    step: Step<'a>,
    head: request::Parts,
    version: Version,
    /// The client's connection, if it wants to switch protocols.
    connection: Option<OnUpgrade>,
    grpc: bool,
    /// The client, of HTTP/1.0, cannot use its connection again.
    last: bool,
    exchange: Box<Exchange>,
    sought: Sought<'a>,
    /// What guards add to the answer.
    edits: ResponseEdits,
}

/// What came of the search.
enum Sought<'a> {
    /// A rule takes it.
    Taken(Taken<'a>),
    /// It is clean, and no rule takes it.
    Unrouted(Clean),
    /// It asks how the listener is.
    HealthCheck(Sanitized),
    /// It is answered without a rule; `None` once it is.
    Refused(Option<LocalReply>),
}

impl<'a> Arrival<'a> {
    /// Steps 1 to 7.
    pub(super) fn new(
        shared: &'a Arc<Shared>,
        conn: &'a ConnInfo,
        port: &'a PortSnapshot,
        mut head: request::Parts,
    ) -> Self {
        // hyper leaves it there for those who ask for an upgrade.
        let connection = head.extensions.remove();
        let names = Names::of(&head.headers);
        let grpc = names.has(Names::CONTENT_TYPE) && is_grpc(&head.headers);
        let last = head.version < Version::HTTP_11 && !asks_keep_alive(&head.headers);
        let listener = listener_of(port, conn, Some(&head));
        let mut exchange = Exchange::new(shared, &listener.id, conn, &head);
        let step = Step {
            shared,
            conn,
            port,
            listener,
        };
        let sought = seek(&step, &mut head, names, &mut exchange);
        Self {
            step,
            version: head.version,
            head,
            connection,
            grpc,
            last,
            exchange,
            sought,
            edits: ResponseEdits::new(),
        }
    }

    /// Gives the head back if no rule takes it: clean, with what is known of the client. Nothing is
    /// logged of it.
    #[expect(
        clippy::result_large_err,
        reason = "the way of nearly all requests, so not boxed"
    )]
    pub(super) fn pass_on(self) -> Result<request::Parts, Self> {
        let Sought::Unrouted(Clean { asked, client }) = self.sought else {
            return Err(self);
        };
        let mut head = self.head;
        if let Some(upgrade) = &asked.upgrade {
            upgrade.restore(&mut head.headers);
        }
        head.extensions.insert(asked);
        head.extensions.insert(client);
        if let Some(connection) = self.connection {
            head.extensions.insert(connection);
        }
        self.exchange.forget();
        Ok(head)
    }

    /// Steps 8 to 13. What comes of it is for [`Self::finish`]. Borrows, so that the head is not kept
    /// twice while the backend is waited for.
    pub(super) async fn answer(&mut self, body: Body) -> Result<Response<Body>, LocalReply> {
        let body = self
            .exchange
            .count_request(body, &self.step.listener.settings);
        match &mut self.sought {
            Sought::Taken(taken) => {
                let came = Came {
                    head: &mut self.head,
                    body,
                    connection: self.connection.take(),
                };
                let (exchange, edits) = (&mut self.exchange, &mut self.edits);
                self.step.answer(taken, came, exchange, edits).await
            }
            Sought::HealthCheck(asked) => {
                drop(body);
                // Boxed, as few requests go this way.
                Err(Box::pin(self.step.health(asked, &self.exchange)).await)
            }
            Sought::Unrouted(_) => Err(Error::NoRoute.into()),
            Sought::Refused(refusal) => {
                Err(refusal.take().unwrap_or_else(|| Error::NoRoute.into()))
            }
        }
    }

    /// The answer, whoever gives it.
    pub(super) fn finish(mut self, answer: Result<Response<Body>, LocalReply>) -> Response<Body> {
        let settings = &self.step.listener.settings;
        // What is left of a request that is answered early would have to be read to keep the connection.
        let unread = self.version < Version::HTTP_2
            && match &answer {
                Ok(_) => !self.exchange.body_complete(),
                Err(_) => !self.exchange.request_complete(),
            };
        let mut response = answer.unwrap_or_else(|reply| {
            self.exchange.note_reply(&reply);
            reply.into_response(self.grpc)
        });
        for (name, value) in self.edits {
            response.headers_mut().append(name, value);
        }
        if let Some(marks) = self.exchange.cors.take() {
            marks.apply(response.headers_mut());
        }
        settings.headers.late.apply(response.headers_mut());
        if self.last || unread {
            let close = HeaderValue::from_static("close");
            response.headers_mut().insert(CONNECTION, close);
        }
        self.exchange.finish(response, settings)
    }
}

/// Whether a client that speaks HTTP/1.0 can use the connection again (RFC 9112, appendix C.2.2).
pub(super) fn asks_keep_alive(headers: &HeaderMap) -> bool {
    let lines = headers.get_all(CONNECTION).iter();
    lines
        .flat_map(|line| line.as_bytes().split(|b| *b == b','))
        .any(|token| token.trim_ascii().eq_ignore_ascii_case(b"keep-alive"))
}

fn seek<'a>(
    step: &Step<'a>,
    head: &mut request::Parts,
    names: Names,
    exchange: &mut Exchange,
) -> Sought<'a> {
    let clean = match step.clean(head, names, exchange) {
        Ok(clean) => clean,
        Err(refusal) => return Sought::Refused(Some(refusal)),
    };
    if step.is_health_check(head) {
        return Sought::HealthCheck(clean.asked);
    }
    match step.find(head, &clean, exchange) {
        Ok(found) => Sought::Taken(Taken { clean, found }),
        Err(Error::NoRoute) => Sought::Unrouted(clean),
        Err(error) => Sought::Refused(Some(error.into())),
    }
}
