//! Gives memory that is no longer used back to the system.
//!
//! The allocator keeps what is freed for a second, in case it is wanted again, and then returns it, but
//! looks for what to return only when a large piece is freed. After a burst of connections nothing of the
//! kind may happen for hours. So a large piece is taken and freed from time to time, untouched.

use std::time::Duration;

/// How often the allocator is made to look.
const INTERVAL: Duration = Duration::from_millis(500);
/// More than the allocator hands out of shared pages: such a piece is freed for itself.
const LARGE: usize = 4 << 20;

/// Makes the allocator look for memory to return, for ever.
pub(crate) async fn give_back() {
    let mut ticks = tokio::time::interval(INTERVAL);
    loop {
        ticks.tick().await;
        drop(std::hint::black_box(Vec::<u8>::with_capacity(LARGE)));
    }
}
