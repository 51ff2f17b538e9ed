//! Policies: what they are attached to, which of them win, and what they set.

pub(crate) mod backend_tls;
