//! The endpoint that a policy prefers for a request.
//!
//! A policy leaves a [`PreferredEndpoint`] in the extensions of the request head; the response of
//! the backend then has a [`RespondingEndpoint`] in its extensions. A preferred endpoint is used
//! only if it is healthy and belongs to a backendRef of non-zero weight, so a client cannot select
//! any other address.

use crate::plan::EndpointAddress;

/// The endpoint to which a request should be sent. `None`: any endpoint; the response reports which
/// one.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PreferredEndpoint(pub Option<EndpointAddress>);

/// The endpoint that has responded.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RespondingEndpoint(pub EndpointAddress);
