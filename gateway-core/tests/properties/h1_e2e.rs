//! For any bytes of a client: the backend receives only strictly valid requests, at most as many as the client
//! receives responses, and other clients are still served.

use std::cell::RefCell;

use tokio::runtime::{Builder, Runtime};

use crate::lab::Lab;

thread_local! {
    /// One gateway for all inputs of the thread, so that damage by one input affects the next.
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

/// Input: what the client sends.
pub fn check(bytes: &[u8]) {
    // Not tested here: HTTP/2, which begins with `PRI `, and the long response of `/big`, which is slow.
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
