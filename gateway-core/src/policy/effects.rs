//! The response halves of policies, which are effects on the response.

use std::borrow::Cow;
use std::fmt;

use http::{HeaderMap, Response, StatusCode};

use crate::format::Format;
use crate::{Body, HeaderList, LocalReply};

/// Effects on the response that the request halves of policies have registered.
///
/// The effects are applied in reverse order, both to responses of backends and to local replies. A policy
/// that has not run has registered no effect, so it does not change the local replies of earlier policies. An
/// empty list allocates no memory.
#[derive(Default)]
pub struct ResponseEffects {
    list: Vec<Effect>,
    keeps_head: bool,
}

/// One effect on the response.
enum Effect {
    /// Appends header fields.
    Append(HeaderList),
    /// Edits header fields.
    Headers(Box<dyn FnOnce(&mut HeaderMap) + Send>),
    /// Edits, wraps or replaces the whole response.
    Response(Box<dyn FnOnce(&mut PolicyResponse<'_>) + Send>),
}

/// A response that a policy can inspect and change.
#[derive(Debug)]
pub struct PolicyResponse<'a> {
    /// The response. Its body may be wrapped or replaced.
    pub response: &'a mut Response<Body>,
    /// Whether the response is a local reply.
    pub local: bool,
    /// Whether the request is gRPC.
    pub grpc: bool,
    log: &'a mut ResponseLog,
    formatter: Formatter<'a>,
}

/// Evaluates a format for a response, which is given by its status and header fields.
type Evaluate<'a> = dyn Fn(&Format, (StatusCode, &HeaderMap)) -> Option<Vec<u8>> + 'a;

/// Function that evaluates a format for a response.
#[derive(Clone, Copy)]
pub(crate) struct Formatter<'a>(pub(crate) &'a Evaluate<'a>);

/// Changes of the access log that policies have requested.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ResponseLog {
    /// Envoy's response flags. `None`: unchanged.
    pub flag: Option<&'static str>,
    /// Envoy's response code details. `None`: unchanged.
    pub details: Option<Cow<'static, str>>,
}

impl PolicyResponse<'_> {
    /// Replaces the response by a local reply, including its response flags and details.
    pub fn replace(&mut self, reply: LocalReply) {
        self.set_flag(reply.flag);
        self.set_details(reply.details.clone());
        self.local = true;
        *self.response = reply.into_response(self.grpc);
    }

    /// The text of a format for this response. `None` if the text is empty. Operators for the request have a
    /// value only if [`PolicyRequest::keep_head`](super::PolicyRequest::keep_head) was called.
    pub fn format(&self, format: &Format) -> Option<Vec<u8>> {
        let response = (self.response.status(), self.response.headers());
        (self.formatter.0)(format, response)
    }

    /// Sets Envoy's response flags in the access log.
    pub fn set_flag(&mut self, flag: &'static str) {
        self.log.flag = Some(flag);
    }

    /// Sets Envoy's response code details in the access log.
    pub fn set_details(&mut self, details: impl Into<Cow<'static, str>>) {
        self.log.details = Some(details.into());
    }
}

impl ResponseEffects {
    /// Whether no policy has registered an effect.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Whether a response half reads the head of the forwarded request.
    pub(crate) fn keeps_head(&self) -> bool {
        self.keeps_head
    }

    pub(super) fn keep_head(&mut self) {
        self.keeps_head = true;
    }

    pub(super) fn append(&mut self, headers: HeaderList) {
        if !headers.is_empty() {
            self.list.push(Effect::Append(headers));
        }
    }

    pub(super) fn edit_headers(&mut self, edit: impl FnOnce(&mut HeaderMap) + Send + 'static) {
        self.list.push(Effect::Headers(Box::new(edit)));
    }

    pub(super) fn edit(&mut self, edit: impl FnOnce(&mut PolicyResponse<'_>) + Send + 'static) {
        self.list.push(Effect::Response(Box::new(edit)));
    }

    /// Applies all effects in reverse order.
    pub(crate) fn apply(
        self,
        response: &mut Response<Body>,
        local: bool,
        grpc: bool,
        formatter: Formatter<'_>,
    ) -> ResponseLog {
        let mut log = ResponseLog::default();
        let mut response = PolicyResponse {
            response,
            local,
            grpc,
            log: &mut log,
            formatter,
        };
        for effect in self.list.into_iter().rev() {
            match effect {
                Effect::Append(headers) => append(response.response.headers_mut(), headers),
                Effect::Headers(edit) => edit(response.response.headers_mut()),
                Effect::Response(edit) => edit(&mut response),
            }
        }
        log
    }

    /// Applies the effects on header fields in reverse order. Other effects are ignored, because head
    /// policies do not register them.
    pub(super) fn apply_to_headers(self, headers: &mut HeaderMap) {
        for effect in self.list.into_iter().rev() {
            match effect {
                Effect::Append(added) => append(headers, added),
                Effect::Headers(edit) => edit(headers),
                Effect::Response(_) => {}
            }
        }
    }
}

fn append(headers: &mut HeaderMap, added: HeaderList) {
    for (name, value) in added {
        headers.append(name, value);
    }
}

impl fmt::Debug for Formatter<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Formatter").finish_non_exhaustive()
    }
}

impl fmt::Debug for ResponseEffects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ResponseEffects")
            .field(&self.list.len())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    fn field(value: &'static str) -> HeaderList {
        let name = HeaderName::from_static("x-order");
        vec![(name, HeaderValue::from_static(value))]
    }

    #[test]
    fn effects_run_in_reverse_order() {
        let mut effects = ResponseEffects::default();
        effects.append(field("first"));
        effects.edit_headers(|headers| append(headers, field("second")));
        effects.edit(|response| append(response.response.headers_mut(), field("third")));
        let mut response = Response::new(Body::empty());

        effects.apply(&mut response, false, false, Formatter(&|_, _| None));

        let order: Vec<_> = response.headers().get_all("x-order").iter().collect();
        assert_eq!(order, ["third", "second", "first"]);
    }

    #[test]
    fn a_replaced_response_sets_flag_and_details() {
        let mut effects = ResponseEffects::default();
        effects.edit(|response| {
            let reply = LocalReply::new(StatusCode::IM_A_TEAPOT, "replaced").with_flag("RL");
            response.replace(reply);
        });
        let mut response = Response::new(Body::from("backend"));

        let log = effects.apply(&mut response, false, false, Formatter(&|_, _| None));

        assert_eq!(response.status(), 418);
        assert_eq!(log.flag, Some("RL"));
        assert_eq!(log.details.as_deref(), Some("replaced"));
    }

    #[test]
    fn nothing_is_allocated_without_an_effect() {
        let mut effects = ResponseEffects::default();

        effects.append(HeaderList::new());

        assert!(effects.is_empty());
        assert_eq!(effects.list.capacity(), 0);
    }
}
