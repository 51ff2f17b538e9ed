//! The endpoint that a policy prefers for a request.
//!
//! A policy inserts a [`PreferredEndpoint`] into the extensions of the request head. The response of the
//! backend then contains a [`RespondingEndpoint`] in its extensions. A preferred endpoint is used only if it
//! is healthy and belongs to a backendRef of non-zero weight, so a client cannot select any other address.

use crate::plan::EndpointAddress;

/// The endpoint to which a request should be sent. `None`: any endpoint may be used, and the response states
/// which endpoint was used.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PreferredEndpoint(pub Option<EndpointAddress>);

/// The endpoint that has responded.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RespondingEndpoint(pub EndpointAddress);
