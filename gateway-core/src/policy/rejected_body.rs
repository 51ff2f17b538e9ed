//! The error of a request body that a policy rejects while the body is forwarded.

use std::error::Error;
use std::fmt;

use crate::LocalReply;

/// Error of a request body that a policy has wrapped. The error contains the local reply that the client
/// receives, unless the response has begun.
#[derive(Clone, Debug)]
pub struct RejectedBody(pub LocalReply);

impl RejectedBody {
    /// The reply that `error` or one of its sources contains.
    #[cfg(feature = "gateway")]
    pub(crate) fn reply_in<'e>(error: &'e (dyn Error + 'static)) -> Option<&'e LocalReply> {
        let mut cause = Some(error);
        while let Some(error) = cause {
            if let Some(Self(reply)) = error.downcast_ref::<Self>() {
                return Some(reply);
            }
            cause = error.source();
        }
        None
    }
}

impl fmt::Display for RejectedBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "request body rejected: {}", self.0.details)
    }
}

impl Error for RejectedBody {}
