//! Requests in the form that policies process.

use std::fmt;
use std::marker::PhantomData;
use std::net::IpAddr;
use std::ops::{Deref, DerefMut};

use http::{Extensions, HeaderMap, Version, request};

use super::effects::{PolicyResponse, ResponseEffects};
#[cfg(feature = "gateway")]
use crate::access_log::RuleName;
#[cfg(feature = "gateway")]
use crate::conn::ConnInfo;
use crate::http::client_ip::ClientIp;
use crate::http::grpc::is_grpc;
use crate::{Body, HeaderList};

/// Facts about a request that its head does not contain.
///
/// If one policy determines facts for another, such as the claims of a token or the identity of a user, it
/// stores them in the extensions of the head.
#[derive(Clone, Copy, Debug, Default)]
pub struct RequestFacts<'a> {
    /// Detected client address. `None`: the address is unknown. A policy that needs the address must then
    /// fail closed.
    pub client: Option<IpAddr>,
    /// HTTP version of the request as received. `None`: the version in the request head.
    pub version: Option<Version>,
    /// Connection: addresses, SNI, client certificate. `None`: unknown, because the policy runs in another
    /// server.
    #[cfg(feature = "gateway")]
    pub connection: Option<&'a ConnInfo>,
    /// Route, rule and match. `None`: the policy runs outside a gateway.
    #[cfg(feature = "gateway")]
    pub route: Option<&'a RuleName>,
    pub(crate) lifetime: PhantomData<&'a ()>,
}

impl RequestFacts<'_> {
    /// Facts about a request outside a gateway. The client is the [`ClientIp`] in the extensions of the
    /// request.
    pub fn outside_gateway(extensions: &Extensions) -> Self {
        Self {
            client: extensions.get().map(|ClientIp(ip)| *ip),
            ..Self::default()
        }
    }
}

/// The head of a request, for policies that do not need the body.
#[derive(Debug)]
pub struct RequestHead<'a> {
    /// The head. A policy may edit the head of a request that it allows.
    pub head: &'a mut request::Parts,
    /// Further facts.
    pub facts: RequestFacts<'a>,
    effects: &'a mut ResponseEffects,
    recompute_route: bool,
    logged_path: Option<String>,
}

impl<'a> RequestHead<'a> {
    /// Combines the head of a request with the list to which response halves are added.
    pub fn new(
        head: &'a mut request::Parts,
        facts: RequestFacts<'a>,
        effects: &'a mut ResponseEffects,
    ) -> Self {
        Self {
            head,
            facts,
            effects,
            recompute_route: false,
            logged_path: None,
        }
    }

    /// The head of a request outside a gateway; see [`RequestFacts::outside_gateway`].
    pub fn outside_gateway(head: &'a mut request::Parts, effects: &'a mut ResponseEffects) -> Self {
        let facts = RequestFacts::outside_gateway(&head.extensions);
        Self::new(head, facts, effects)
    }

    /// HTTP version of the request as received. In a gateway, the version in the head is always HTTP/1.1.
    pub fn client_version(&self) -> Version {
        self.facts.version.unwrap_or(self.head.version)
    }

    /// Whether the request is gRPC.
    pub fn is_grpc(&self) -> bool {
        is_grpc(&self.head.headers)
    }

    /// Appends header fields to the response. Nothing is allocated for an empty list.
    pub fn add_response_headers(&mut self, headers: HeaderList) {
        self.effects.append(headers);
    }

    /// Registers an edit of the header fields of the response.
    pub fn on_response_headers(&mut self, edit: impl FnOnce(&mut HeaderMap) + Send + 'static) {
        self.effects.edit_headers(edit);
    }

    /// Requests that the route is matched again after this policy, because header fields that routes match
    /// have changed. Afterwards, only those policies of the newly matched rule run whose stage is later than
    /// the stage of this policy. Outside a gateway this has no effect.
    pub fn recompute_route(&mut self) {
        self.recompute_route = true;
    }

    /// Sets the path in the access log. Intended for a policy that removes a secret from the path. Default:
    /// path and query as the client has sent them. Outside a gateway this has no effect.
    pub fn set_logged_path(&mut self, path: impl Into<String>) {
        self.logged_path = Some(path.into());
    }

    /// The path that a policy has set for the access log, if any.
    pub fn logged_path(&self) -> Option<&str> {
        self.logged_path.as_deref()
    }

    /// Takes the path that a policy has set for the access log since the last call.
    #[cfg(feature = "gateway")]
    pub(crate) fn take_logged_path(&mut self) -> Option<String> {
        self.logged_path.take()
    }

    /// Returns whether a policy has called [`recompute_route`](Self::recompute_route) since the last call.
    pub(crate) fn take_recompute_route(&mut self) -> bool {
        std::mem::take(&mut self.recompute_route)
    }
}

/// A request with its body, for policies that wait or need the body.
pub struct PolicyRequest<'a> {
    /// The body. A policy may wrap, read or replace it.
    pub body: &'a mut Body,
    request: RequestHead<'a>,
}

impl<'a> PolicyRequest<'a> {
    /// Creates a request with this head and body.
    pub fn new(request: RequestHead<'a>, body: &'a mut Body) -> Self {
        Self { body, request }
    }

    /// Makes the head of the forwarded request available to formats that are evaluated for the response.
    pub fn keep_head(&mut self) {
        self.request.effects.keep_head();
    }

    /// Registers a function that edits, wraps or replaces the response.
    pub fn on_response(&mut self, edit: impl FnOnce(&mut PolicyResponse<'_>) + Send + 'static) {
        self.request.effects.edit(edit);
    }
}

impl<'a> Deref for PolicyRequest<'a> {
    type Target = RequestHead<'a>;

    fn deref(&self) -> &RequestHead<'a> {
        &self.request
    }
}

impl<'a> DerefMut for PolicyRequest<'a> {
    fn deref_mut(&mut self) -> &mut RequestHead<'a> {
        &mut self.request
    }
}

impl fmt::Debug for PolicyRequest<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PolicyRequest")
            .field("request", &self.request)
            .finish_non_exhaustive()
    }
}
