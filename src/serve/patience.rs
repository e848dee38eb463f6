//! A connection that does not wait for ever.
//!
//! Hyper knows a deadline for headers, but none for the first byte, and none for a peer that stops reading: a body that cannot
//! be written is never polled, so a deadline inside the body never fires. So the deadlines stand here, around the bytes
//! themselves: the first byte, the rest of a request's head, and each write. A connection between two requests is hyper's
//! to end. Bytes after a head count as the next one, so a request with a body has to be answered within a head's deadline.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

/// How long each thing may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// From the connection to its first byte.
    pub(super) first_byte: Duration,
    /// From a request's first byte to the end of its head.
    pub(super) head: Duration,
    /// For the peer to take some of what is being written.
    pub(super) write: Duration,
}

/// How many heads of requests were read in full; the service counts, the connection compares.
#[derive(Clone, Debug, Default)]
pub(super) struct Heads(Arc<AtomicU64>);

impl Heads {
    pub(super) fn add(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A connection with deadlines.
#[derive(Debug)]
pub(super) struct Patient<T> {
    inner: T,
    patience: Patience,
    heads: Heads,
    reading: Reading,
    read_by: Pin<Box<Sleep>>,
    writing: bool,
    write_by: Pin<Box<Sleep>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reading {
    /// Nothing has come yet.
    First,
    /// Bytes have come since this many heads were complete.
    Head(u64),
}

impl<T> Patient<T> {
    pub(super) fn new(inner: T, patience: Patience, heads: Heads) -> Self {
        Self {
            inner,
            patience,
            heads,
            reading: Reading::First,
            read_by: Box::pin(sleep(patience.first_byte)),
            writing: false,
            write_by: Box::pin(sleep(patience.write)),
        }
    }

    fn waits_for_a_request(&self) -> bool {
        match self.reading {
            Reading::First => true,
            Reading::Head(complete) => self.heads.count() == complete,
        }
    }

    /// Notes that bytes came; the first ones of a head start its deadline.
    fn came(&mut self) {
        let complete = self.heads.count();
        if self.reading != Reading::Head(complete) {
            self.reading = Reading::Head(complete);
            let by = Instant::now() + self.patience.head;
            self.read_by.as_mut().reset(by);
        }
    }

    /// Ends the waiting for a write, or begins it, and says whether it has lasted too long.
    fn written<R>(
        &mut self,
        context: &mut Context<'_>,
        poll: Poll<io::Result<R>>,
    ) -> Poll<io::Result<R>> {
        if poll.is_ready() {
            self.writing = false;
            return poll;
        }
        if !self.writing {
            self.writing = true;
            let by = Instant::now() + self.patience.write;
            self.write_by.as_mut().reset(by);
        }
        match self.write_by.as_mut().poll(context) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Patient<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let poll = Pin::new(&mut self.inner).poll_read(context, buffer);
        if poll.is_ready() {
            if buffer.filled().len() > before {
                self.came();
            }
            return poll;
        }
        if self.waits_for_a_request() && self.read_by.as_mut().poll(context).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        Poll::Pending
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Patient<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.inner).poll_write(context, bytes);
        self.written(context, poll)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.inner).poll_write_vectored(context, slices);
        self.written(context, poll)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let poll = Pin::new(&mut self.inner).poll_flush(context);
        self.written(context, poll)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let poll = Pin::new(&mut self.inner).poll_shutdown(context);
        self.written(context, poll)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    const PATIENCE: Patience = Patience {
        first_byte: Duration::from_secs(5),
        head: Duration::from_secs(10),
        write: Duration::from_secs(10),
    };

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_says_nothing_is_left_after_the_first_byte_deadline() {
        let (_peer, ours) = duplex(64);
        let mut ours = Patient::new(ours, PATIENCE, Heads::default());
        let began = Instant::now();
        let error = ours.read_u8().await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert_eq!(began.elapsed().as_secs(), 5);
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_that_drips_is_left_after_its_deadline_however_often_it_drips() {
        let (mut peer, ours) = duplex(64);
        let mut ours = Patient::new(ours, PATIENCE, Heads::default());
        let began = Instant::now();
        let drip = async {
            while peer.write_all(b"x").await.is_ok() {
                sleep(Duration::from_secs(1)).await;
            }
        };
        let read = async move {
            loop {
                if let Err(error) = ours.read_u8().await {
                    return error.kind();
                }
            }
        };
        let kind = tokio::select! {
            () = drip => unreachable!("the reader goes first"),
            kind = read => kind,
        };
        assert_eq!(kind, io::ErrorKind::TimedOut);
        assert_eq!(began.elapsed().as_secs(), 10);
    }

    #[tokio::test(start_paused = true)]
    async fn between_two_requests_it_leaves_the_waiting_to_others() {
        let (mut peer, ours) = duplex(64);
        let heads = Heads::default();
        let mut ours = Patient::new(ours, PATIENCE, heads.clone());
        peer.write_all(b"x").await.unwrap();
        ours.read_u8().await.unwrap();
        heads.add();
        let long = tokio::time::timeout(Duration::from_secs(300), ours.read_u8());
        assert!(long.await.is_err(), "still waiting after five minutes");
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_stops_reading_is_left() {
        let (_peer, ours) = duplex(4);
        let mut ours = Patient::new(ours, PATIENCE, Heads::default());
        let began = Instant::now();
        let error = ours.write_all(b"more than fits").await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert_eq!(began.elapsed().as_secs(), 10);
    }
}
