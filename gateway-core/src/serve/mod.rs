//! (to be written)

use std::sync::Arc;

use http::{Request, Response};
use hyper::body::Incoming;

use crate::Body;
use crate::conn::ConnInfo;

/// What answers the requests of connections.
pub trait Handler: Clone + Send + Sync + 'static {
    /// Resolves to the answer; there always is one.
    type Future: Future<Output = Response<Body>> + Send + 'static;

    /// Answers one request.
    fn handle(&self, conn: &Arc<ConnInfo>, request: Request<Incoming>) -> Self::Future;
}
