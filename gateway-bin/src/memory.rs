//! How this process asks the system for memory.

/// Asks for pages of the usual size. The allocator reserves memory in large pieces and touches a little of
/// each, so that with huge pages a gateway that serves one route holds 8 MB more than it uses, and one that has
/// read a large configuration gives little of it back. What requests touch again and again is small.
pub(crate) fn frugal() {
    // Where the system knows of no huge pages, there is nothing to ask for.
    #[cfg(target_os = "linux")]
    let _ = rustix::thread::disable_transparent_huge_pages(true);
}
