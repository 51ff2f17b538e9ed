//! The server and the real data plane, over real sockets.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod binary;
mod data_plane;
mod peer;
mod stream;
