//! A request from its head to its answer, in two parts: what rule takes it, and what the rule does.
//!
//! The first part only looks at the head and waits for nothing. So whoever embeds the gateway can take
//! back what no rule takes, with its body untouched.

use std::sync::Arc;

use http::header::{CONNECTION, UPGRADE};
use http::{HeaderValue, Request, Response, Version, request};
use hyper::upgrade::OnUpgrade;

use super::exchange::Exchange;
use super::step::{Step, Taken};
use super::{Refusal, Shared, chosen_listener, reply};
use crate::conn::ConnInfo;
use crate::http::Sanitized;
use crate::policy::ResponseEdits;
use crate::snapshot::PortSnapshot;
use crate::{Body, Error};

/// A request whose rule was looked for.
pub(super) struct Arrival<'a> {
    step: Step<'a>,
    head: request::Parts,
    /// The client's connection, if it wants to switch protocols.
    connection: Option<OnUpgrade>,
    grpc: bool,
    exchange: Exchange,
    sought: Sought<'a>,
}

/// What came of the search.
enum Sought<'a> {
    /// A rule takes it.
    Taken(Taken<'a>),
    /// It is clean, and no rule takes it.
    Unrouted(Sanitized),
    /// It is answered without a rule.
    Refused(Refusal),
}

impl<'a> Arrival<'a> {
    /// Steps 1 to 7.
    pub(super) fn new(
        shared: &'a Arc<Shared>,
        conn: &'a ConnInfo,
        port: &'a PortSnapshot,
        mut head: request::Parts,
    ) -> Self {
        let connection = head
            .headers
            .contains_key(UPGRADE)
            .then(|| head.extensions.remove())
            .flatten();
        let grpc = reply::is_grpc(&head.headers);
        let listener = chosen_listener(port, conn, &head);
        let mut exchange = Exchange::new(shared, &listener.id, conn, &head);
        let step = Step {
            shared,
            conn,
            port,
            listener,
        };
        let sought = seek(&step, &mut head, &mut exchange);
        Self {
            step,
            head,
            connection,
            grpc,
            exchange,
            sought,
        }
    }

    /// Gives the head back if no rule takes it: clean, with what is known of the client. Nothing is
    /// logged of it.
    #[expect(
        clippy::result_large_err,
        reason = "the way of nearly all requests, so not boxed"
    )]
    pub(super) fn pass_on(self) -> Result<request::Parts, Self> {
        let Sought::Unrouted(asked) = self.sought else {
            return Err(self);
        };
        let mut head = self.head;
        if let Some(upgrade) = &asked.upgrade {
            upgrade.restore(&mut head.headers);
        }
        head.extensions.insert(asked);
        if let Some(connection) = self.connection {
            head.extensions.insert(connection);
        }
        self.exchange.forget();
        Ok(head)
    }

    /// Steps 8 to 13, and the answer to what does not come so far.
    pub(super) async fn answer(self, body: Body) -> Response<Body> {
        let Self {
            step,
            head,
            connection,
            grpc,
            mut exchange,
            sought,
        } = self;
        let version = head.version;
        let body = exchange.count_request(body);
        let mut edits = ResponseEdits::new();
        let answer = match sought {
            Sought::Taken(taken) => {
                let request = Request::from_parts(head, body);
                step.answer(&taken, request, connection, &mut exchange, &mut edits)
                    .await
            }
            Sought::Unrouted(_) => Err(Error::NoRoute.into()),
            Sought::Refused(refusal) => Err(refusal),
        };
        let mut response = answer.unwrap_or_else(|refusal| {
            let mut response = refusal.into_response(grpc, &mut exchange);
            if !exchange.request_complete() && version < Version::HTTP_2 {
                // What is left of the request would have to be read to keep the connection.
                response
                    .headers_mut()
                    .insert(CONNECTION, HeaderValue::from_static("close"));
            }
            response
        });
        for (name, value) in edits {
            response.headers_mut().append(name, value);
        }
        let late = &step.listener.settings.headers.late;
        late.apply(response.headers_mut());
        exchange.finish(response)
    }
}

fn seek<'a>(step: &Step<'a>, head: &mut request::Parts, exchange: &mut Exchange) -> Sought<'a> {
    let clean = match step.clean(head, exchange) {
        Ok(clean) => clean,
        Err(refusal) => return Sought::Refused(refusal),
    };
    match step.find(head, &clean, exchange) {
        Ok(found) => Sought::Taken(Taken { clean, found }),
        Err(Refusal::Error(Error::NoRoute)) => Sought::Unrouted(clean.asked),
        Err(refusal) => Sought::Refused(refusal),
    }
}
