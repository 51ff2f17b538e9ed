//! Tests of the server with the `towergate` program and with a scripted peer, over loopback sockets.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod binary;
mod data_plane;
mod peer;
mod stream;
