//! A request's body that can be sent more than once.
//!
//! What is read of the client's body is kept, up to [`LIMIT`]; another attempt sends what is kept and
//! reads on. A longer body is sent once only.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body as _, Frame, SizeHint};

use crate::Body;
use crate::body::BoxError;

/// Bytes kept of a body.
pub(crate) const LIMIT: usize = 64 * 1024;

/// A body and what was read of it. Gives bodies for attempts, one at a time.
#[derive(Debug)]
pub(crate) struct Replay(Arc<Mutex<Kept>>);

#[derive(Debug)]
struct Kept {
    body: Body,
    frames: Vec<Bytes>,
    trailers: Option<HeaderMap>,
    size: usize,
    /// All was read.
    ended: bool,
    /// Too much was read, or reading failed: nothing is kept.
    lost: bool,
    /// The latest attempt; those before it get nothing more.
    attempt: u32,
    hint: SizeHint,
}

impl Replay {
    pub(crate) fn new(body: Body) -> Self {
        Self(Arc::new(Mutex::new(Kept {
            hint: body.size_hint(),
            ended: body.is_end_stream(),
            body,
            frames: Vec::new(),
            trailers: None,
            size: 0,
            lost: false,
            attempt: 0,
        })))
    }

    /// Whether there can be another attempt.
    pub(crate) fn is_kept(&self) -> bool {
        !lock(&self.0).lost
    }

    /// A body for another attempt, from the start; `None` if it is no longer there.
    pub(crate) fn attempt(&self) -> Option<ReplayBody> {
        let mut kept = lock(&self.0);
        if kept.lost {
            return None;
        }
        kept.attempt += 1;
        Some(ReplayBody {
            kept: self.0.clone(),
            attempt: kept.attempt,
            next: 0,
            sent: 0,
            done: kept.ended && kept.frames.is_empty() && kept.trailers.is_none(),
            hint: kept.hint,
        })
    }
}

/// What a body gives when it is polled.
type Next = Option<Result<Frame<Bytes>, BoxError>>;

/// A body for one attempt.
#[derive(Debug)]
pub(crate) struct ReplayBody {
    kept: Arc<Mutex<Kept>>,
    attempt: u32,
    /// The next kept frame to send.
    next: usize,
    sent: u64,
    done: bool,
    hint: SizeHint,
}

impl ReplayBody {
    /// The next frame of an attempt that is at `next`, and whether it is the last.
    fn poll_kept(kept: &mut Kept, next: &mut usize, cx: &mut Context<'_>) -> Poll<(Next, bool)> {
        if let Some(frame) = kept.frames.get(*next) {
            *next += 1;
            let last = kept.ended && *next == kept.frames.len() && kept.trailers.is_none();
            return Poll::Ready((Some(Ok(Frame::data(frame.clone()))), last));
        }
        if kept.ended {
            let trailers = kept.trailers.clone().map(|t| Ok(Frame::trailers(t)));
            return Poll::Ready((trailers, true));
        }
        let frame = ready!(Pin::new(&mut kept.body).poll_frame(cx));
        match &frame {
            None => kept.ended = true,
            Some(Err(_)) => kept.lose(),
            Some(Ok(frame)) => kept.keep(frame, next),
        }
        let last = kept.ended;
        Poll::Ready((frame, last))
    }
}

impl Kept {
    fn keep(&mut self, frame: &Frame<Bytes>, next: &mut usize) {
        if let Some(data) = frame.data_ref() {
            self.size += data.len();
            if self.size > LIMIT {
                self.lose();
            } else if !self.lost {
                self.frames.push(data.clone());
                *next += 1;
            }
            self.ended = self.body.is_end_stream();
        } else {
            self.trailers = frame.trailers_ref().cloned();
            self.ended = true;
        }
    }

    fn lose(&mut self) {
        self.lost = true;
        self.frames = Vec::new();
    }
}

impl http_body::Body for ReplayBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        if this.done {
            return Poll::Ready(None);
        }
        let mut kept = lock(&this.kept);
        if kept.attempt != this.attempt {
            return Poll::Ready(Some(Err("another attempt took over".into())));
        }
        // Once nothing is kept, no frame is kept either, and the place means nothing.
        let mut next = if kept.lost { 0 } else { this.next };
        let (frame, last) = ready!(Self::poll_kept(&mut kept, &mut next, cx));
        drop(kept);
        this.next = next;
        this.done = last;
        if let Some(Ok(frame)) = &frame {
            this.sent += frame.data_ref().map_or(0, |data| data.len() as u64);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.done
    }

    fn size_hint(&self) -> SizeHint {
        let mut hint = SizeHint::new();
        if let Some(upper) = self.hint.upper() {
            hint.set_upper(upper.saturating_sub(self.sent));
        }
        hint.set_lower(self.hint.lower().saturating_sub(self.sent));
        hint
    }
}

fn lock(kept: &Mutex<Kept>) -> MutexGuard<'_, Kept> {
    kept.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::{BodyExt, StreamBody};
    use proptest::prelude::*;

    fn chunked(chunks: &[Vec<u8>]) -> Body {
        let frames: Vec<Result<_, std::io::Error>> = chunks
            .iter()
            .map(|chunk| Ok(Frame::data(Bytes::from(chunk.clone()))))
            .collect();
        Body::new(StreamBody::new(futures_util::stream::iter(frames)))
    }

    fn run<F: Future>(future: F) -> F::Output {
        tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap()
            .block_on(future)
    }

    async fn read(mut body: ReplayBody, frames: usize) -> Vec<u8> {
        let mut read = Vec::new();
        for _ in 0..frames {
            match body.frame().await {
                Some(frame) => read.extend_from_slice(&frame.unwrap().into_data().unwrap()),
                None => break,
            }
        }
        read
    }

    proptest! {
        /// However far an attempt has read, the next one gets the whole body.
        #[test]
        fn each_attempt_gets_the_whole_body(
            chunks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..50), 0..6),
            reads in proptest::collection::vec(0usize..8, 0..4),
        ) {
            let replay = Replay::new(chunked(&chunks));
            for frames in reads {
                let part = run(read(replay.attempt().unwrap(), frames));
                prop_assert!(chunks.concat().starts_with(&part));
            }

            let whole = run(read(replay.attempt().unwrap(), usize::MAX));

            prop_assert_eq!(whole, chunks.concat());
        }
    }

    #[test]
    fn a_long_body_is_sent_whole_but_once() {
        let chunks = vec![vec![7u8; 40_000]; 3];
        let replay = Replay::new(chunked(&chunks));

        let whole = run(read(replay.attempt().unwrap(), usize::MAX));

        assert_eq!(whole.len(), 120_000);
        assert!(replay.attempt().is_none());
    }

    #[test]
    fn an_attempt_that_was_given_up_gets_nothing_more() {
        let replay = Replay::new(chunked(&[vec![1], vec![2]]));
        let mut first = replay.attempt().unwrap();
        let second = replay.attempt().unwrap();

        assert!(run(first.frame()).unwrap().is_err());
        assert_eq!(run(read(second, 9)), [1, 2]);
    }

    #[test]
    fn the_length_stays_known() {
        let replay = Replay::new("hello".into());
        let mut first = replay.attempt().unwrap();
        assert_eq!(first.size_hint().exact(), Some(5));
        run(first.frame()).unwrap().unwrap();
        assert_eq!(first.size_hint().exact(), Some(0));
        assert!(first.is_end_stream());

        assert_eq!(replay.attempt().unwrap().size_hint().exact(), Some(5));
        assert!(
            Replay::new(Body::empty())
                .attempt()
                .unwrap()
                .is_end_stream()
        );
    }
}
