//! Futures that are constructed on the heap.

use std::pin::Pin;

/// Boxes the future that `make` returns. `Box::pin` creates a future on the stack and copies it to the heap,
/// which is expensive for a future of several kilobytes. This function creates the future on the heap.
#[inline(always)]
pub(crate) fn pin_boxed_with<F>(make: impl FnOnce() -> F) -> Pin<Box<F>> {
    Box::into_pin(Box::write(Box::new_uninit(), make()))
}
