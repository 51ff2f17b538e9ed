//! Returns unused memory to the system.
//!
//! The allocator (mimalloc) returns freed memory after a second, but only when a large block is freed. After
//! a burst of connections, hours may pass before this happens. This task therefore allocates and frees a
//! large, untouched block periodically.

use std::time::Duration;

/// Interval of the allocations.
const INTERVAL: Duration = Duration::from_millis(500);
/// Size of the block in bytes. It is larger than the shared pages of the allocator, so it is freed
/// separately.
const LARGE: usize = 4 << 20;

/// Makes the allocator return unused memory, for as long as the program runs.
pub(crate) async fn return_unused() {
    let mut ticks = tokio::time::interval(INTERVAL);
    loop {
        ticks.tick().await;
        drop(std::hint::black_box(Vec::<u8>::with_capacity(LARGE)));
    }
}
