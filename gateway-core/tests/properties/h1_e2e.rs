//! Invariants for any bytes that a client sends. The backend receives only strictly valid requests, and does
//! not receive more requests than the client receives responses. Other clients are still served.

use std::cell::RefCell;

use tokio::runtime::{Builder, Runtime};

use crate::lab::Lab;

thread_local! {
    /// The same gateway is used for all inputs of the thread, so that damage by one input is found by the
    /// next.
    static GATEWAY: RefCell<(Runtime, Lab, u32)> = {
        let runtime = Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .expect("a runtime");
        let lab = runtime.block_on(Lab::new());
        RefCell::new((runtime, lab, 0))
    };
}

/// Input: the bytes that the client sends.
pub fn check(bytes: &[u8]) {
    // Not tested here are HTTP/2, which begins with `PRI `, and the long response of `/big`, which takes too
    // much time.
    if bytes.starts_with(b"PRI ") || bytes.windows(4).any(|part| part == b"/big") {
        return;
    }
    GATEWAY.with_borrow_mut(|(runtime, lab, count)| {
        runtime.block_on(async {
            lab.talk(bytes).await.check(bytes);
            *count += 1;
            if *count % 16 == 0 {
                assert!(lab.serves().await);
            }
        });
    });
}
