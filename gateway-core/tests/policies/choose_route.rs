//! A head policy that changes the path, and then requests that the route is matched again.

use towergate_core::LocalReply;
use towergate_core::policy::{HeadPolicy, RequestHead};

/// Sends requests to the rule of another path.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ChooseRoute {
    /// The path.
    pub(crate) path: String,
}

impl HeadPolicy for ChooseRoute {
    fn check(&self, request: &mut RequestHead<'_>) -> Result<(), LocalReply> {
        let path = self.path.parse();
        request.head.uri = path.map_err(|_| LocalReply::forbidden("invalid_path"))?;
        request.recompute_route();
        Ok(())
    }
}
