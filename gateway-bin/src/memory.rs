//! Returns unused memory to the system.
//!
//! The allocator (mimalloc) keeps freed memory for a second and then returns it, but only when it frees a large
//! block. After a burst of connections that may not happen for hours. This task allocates and frees a large,
//! untouched block from time to time.

use std::time::Duration;

/// Interval of the allocations.
const INTERVAL: Duration = Duration::from_millis(500);
/// Size of the block. Larger than the shared pages of the allocator, so that it is freed on its own.
const LARGE: usize = 4 << 20;

/// Makes the allocator return unused memory, for as long as the program runs.
pub(crate) async fn return_unused() {
    let mut ticks = tokio::time::interval(INTERVAL);
    loop {
        ticks.tick().await;
        drop(std::hint::black_box(Vec::<u8>::with_capacity(LARGE)));
    }
}
