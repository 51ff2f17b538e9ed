//! (to be written)

pub mod breaker;
