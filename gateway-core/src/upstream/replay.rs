//! Request body that can be sent by several attempts.
//!
//! Up to [`REPLAY_BUFFER`] bytes of the client's body are buffered as they are read. Another attempt first
//! sends the buffered bytes and then reads more from the client. A longer body can be sent only once.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body as _, Frame, SizeHint};

use crate::Body;
use crate::body::BoxError;

/// Maximum number of buffered bytes of a body.
pub(crate) const REPLAY_BUFFER: usize = 64 * 1024;

/// A request body and the buffer of the bytes read from it. It creates the bodies of attempts. Only the body
/// of the latest attempt receives frames.
#[derive(Debug)]
pub(crate) struct Replay(Arc<Mutex<ReplayBuffer>>);

#[derive(Debug)]
struct ReplayBuffer {
    body: Body,
    frames: Vec<Bytes>,
    trailers: Option<HeaderMap>,
    size: usize,
    /// Whether the body has been read to its end.
    ended: bool,
    /// Whether the buffer has been discarded because the body exceeded the limit or failed.
    discarded: bool,
    /// Number of the latest attempt. Earlier attempts receive no more frames.
    attempt: u32,
    hint: SizeHint,
}

impl Replay {
    pub(crate) fn new(body: Body) -> Self {
        Self(Arc::new(Mutex::new(ReplayBuffer {
            hint: body.size_hint(),
            ended: body.is_end_stream(),
            body,
            frames: Vec::new(),
            trailers: None,
            size: 0,
            discarded: false,
            attempt: 0,
        })))
    }

    /// Returns whether another attempt is possible.
    pub(crate) fn is_buffered(&self) -> bool {
        !lock(&self.0).discarded
    }

    /// Creates the body of another attempt; `None` if the body is no longer buffered.
    pub(crate) fn attempt(&self) -> Option<ReplayBody> {
        let mut buffer = lock(&self.0);
        if buffer.discarded {
            return None;
        }
        buffer.attempt += 1;
        Some(ReplayBody {
            buffer: self.0.clone(),
            attempt: buffer.attempt,
            next: 0,
            sent: 0,
            done: buffer.ended && buffer.frames.is_empty() && buffer.trailers.is_none(),
            hint: buffer.hint,
        })
    }
}

/// Next frame of a body, as returned by a poll.
type Next = Option<Result<Frame<Bytes>, BoxError>>;

/// Body of one attempt.
#[derive(Debug)]
pub(crate) struct ReplayBody {
    buffer: Arc<Mutex<ReplayBuffer>>,
    attempt: u32,
    /// Index of the next buffered frame.
    next: usize,
    sent: u64,
    done: bool,
    hint: SizeHint,
}

impl ReplayBody {
    /// Polls the frame at index `next`. Also returns whether it is the last frame.
    fn poll_next(
        buffer: &mut ReplayBuffer,
        next: &mut usize,
        cx: &mut Context<'_>,
    ) -> Poll<(Next, bool)> {
        if let Some(frame) = buffer.frames.get(*next) {
            *next += 1;
            let last = buffer.ended && *next == buffer.frames.len() && buffer.trailers.is_none();
            return Poll::Ready((Some(Ok(Frame::data(frame.clone()))), last));
        }
        if buffer.ended {
            let trailers = buffer.trailers.clone().map(|t| Ok(Frame::trailers(t)));
            return Poll::Ready((trailers, true));
        }
        let frame = ready!(Pin::new(&mut buffer.body).poll_frame(cx));
        match &frame {
            None => buffer.ended = true,
            Some(Err(_)) => buffer.discard(),
            Some(Ok(frame)) => buffer.push(frame, next),
        }
        let last = buffer.ended;
        Poll::Ready((frame, last))
    }
}

impl ReplayBuffer {
    fn push(&mut self, frame: &Frame<Bytes>, next: &mut usize) {
        if let Some(data) = frame.data_ref() {
            self.size += data.len();
            if self.size > REPLAY_BUFFER {
                self.discard();
            } else if !self.discarded {
                self.frames.push(data.clone());
                *next += 1;
            }
            self.ended = self.body.is_end_stream();
        } else {
            self.trailers = frame.trailers_ref().cloned();
            self.ended = true;
        }
    }

    fn discard(&mut self) {
        self.discarded = true;
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
        let mut buffer = lock(&this.buffer);
        if buffer.attempt != this.attempt {
            return Poll::Ready(Some(Err("another attempt has started".into())));
        }
        // A discarded buffer is empty, so the index is reset.
        let mut next = if buffer.discarded { 0 } else { this.next };
        let (frame, last) = ready!(Self::poll_next(&mut buffer, &mut next, cx));
        drop(buffer);
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

fn lock(buffer: &Mutex<ReplayBuffer>) -> MutexGuard<'_, ReplayBuffer> {
    buffer.lock().unwrap_or_else(PoisonError::into_inner)
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
    fn a_body_beyond_the_limit_can_be_sent_once() {
        let chunks = vec![vec![7u8; 40_000]; 3];
        let replay = Replay::new(chunked(&chunks));

        let whole = run(read(replay.attempt().unwrap(), usize::MAX));

        assert_eq!(whole.len(), 120_000);
        assert!(replay.attempt().is_none());
    }

    #[test]
    fn an_earlier_attempt_receives_no_more_frames() {
        let replay = Replay::new(chunked(&[vec![1], vec![2]]));
        let mut first = replay.attempt().unwrap();
        let second = replay.attempt().unwrap();

        assert!(run(first.frame()).unwrap().is_err());
        assert_eq!(run(read(second, 9)), [1, 2]);
    }

    #[test]
    fn the_length_remains_known() {
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
