//! A pipeline: work that goes through stages, each with workers of its own, and with bounded queues between them.
//!
//! Each stage fans out over its workers and in again into the next stage's queue. A stage that cannot follow fills its queue, and
//! whoever finds a queue full waits; so a slow stage holds back all before it, up to the caller of [`Pipeline::send`].
//! Each stage is a part of the host: its `workers` and its `queue_limit` are knobs that can be turned while it runs.
//!
//! A stage keeps the order of what it gets where it is asked to ([`Stage::ordered`]), yields several pieces for one
//! ([`Builder::fan_out`]), or collects pieces into batches ([`Builder::batch`]). Work that fails or panics yields nothing, is counted
//! as failed, and is told to [`Builder::on_trouble`]; the worker goes on.
//!
//! ```
//! use trimtab_host::pipeline::{Pipeline, Stage};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let (pipeline, mut outlet) = Pipeline::builder()
//!     .stage(Stage::new("parse").workers(4, 1..=64).ordered(32), |line: String| async move { line.parse::<u64>() })
//!     .stage(Stage::new("square").workers(2, 1..=64).ordered(32), |number| async move { Ok::<_, std::io::Error>(number * number) })
//!     .build_with_outlet(16)?;
//! for line in ["2", "not a number", "3"] {
//!     pipeline.send(line.to_owned()).await?;
//! }
//! pipeline.close().await; // all that was sent has gone through
//! assert_eq!((outlet.next().await, outlet.next().await, outlet.next().await), (Some(4), Some(9), None));
//! # Ok(())
//! # }
//! ```

mod collect;
mod order;
mod queue;
mod stage;

use crate::batch::Batch;
use crate::dial::Dial;
use crate::part::Part;
use crate::pool::BuildError;
use collect::{Collector, CollectorPart, Merge};
use queue::{Leave, Queue};
use stage::{Core, StagePart, Yield};
use std::error::Error;
use std::fmt;
use std::future::{Future, poll_fn};
use std::hash::Hash;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::{Arc, OnceLock};
use std::task::Poll;
use tokio::runtime::Handle;
use tokio::sync::watch;
use trimtab_protocol::name::PoolName;
use trimtab_sys::clock::boot_ns;

pub use stage::Stage;

/// Something went wrong in a stage.
#[derive(Debug)]
pub struct Trouble {
    /// The stage.
    pub stage: PoolName,
    /// What went wrong.
    pub kind: TroubleKind,
}

/// What went wrong.
#[derive(Debug)]
pub enum TroubleKind {
    /// The work ended in an error of its own.
    Failed(Box<dyn Error + Send + Sync>),
    /// The work panicked.
    Panicked,
}

/// The pipeline takes in nothing more; with what was to be sent.
#[derive(Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the pipeline is closed")]
pub struct Closed<T>(pub T);

impl<T> fmt::Debug for Closed<T> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Closed")
    }
}

/// Why something was not taken in at once; with what was to be sent.
#[derive(Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotSent<T> {
    /// The first queue is full.
    #[error("the pipeline is full")]
    Full(T),
    /// The pipeline takes in nothing more.
    #[error("the pipeline is closed")]
    Closed(T),
}

impl<T> fmt::Debug for NotSent<T> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Full(_) => "Full",
            Self::Closed(_) => "Closed",
        })
    }
}

/// The way into a pipeline. Clones are the same pipeline; when the last is dropped it closes, and works off what is in it.
pub struct Pipeline<T: Send + 'static> {
    inner: Arc<Inlet<T>>,
}

struct Inlet<T> {
    first: Arc<Queue<T>>,
    parts: Vec<Arc<dyn Part>>,
    done: watch::Receiver<bool>,
}

impl<T> Drop for Inlet<T> {
    fn drop(&mut self) {
        self.first.close();
    }
}

impl<T: Send + 'static> Pipeline<T> {
    /// Begins a pipeline; stages are added in the order in which work goes through them.
    pub fn builder() -> Builder<T, T> {
        let inlet = Arc::new(OnceLock::new());
        Builder {
            tail: Arc::clone(&inlet),
            inlet,
            parts: Vec::new(),
            starts: Vec::new(),
            report: Arc::new(OnceLock::new()),
            fault: None,
        }
    }

    /// Sends a piece of work in, once there is room for it.
    ///
    /// # Errors
    /// [`Closed`] with the work, when the pipeline takes in nothing more.
    pub async fn send(&self, item: T) -> Result<(), Closed<T>> {
        self.inner.first.put(item, boot_ns()).await.map_err(Closed)
    }

    /// Sends a piece of work in if there is room now. One that finds none counts as rejected by the first stage.
    ///
    /// # Errors
    /// [`NotSent`] with the work.
    pub fn try_send(&self, item: T) -> Result<(), NotSent<T>> {
        self.inner
            .first
            .try_put(item)
            .map_err(|(item, closed)| match closed {
                true => NotSent::Closed(item),
                false => NotSent::Full(item),
            })
    }

    /// The stages, as parts of a host.
    #[must_use]
    pub fn parts(&self) -> Vec<Arc<dyn Part>> {
        self.inner.parts.clone()
    }

    /// Takes in nothing more, and waits until all that is in it has gone through.
    pub async fn close(&self) {
        self.inner.first.close();
        let mut done = self.inner.done.clone();
        // An error means that its tasks are gone with their runtime: then there is nothing to wait for.
        drop(done.wait_for(|done| *done).await);
    }
}

impl<T: Send + 'static> Clone for Pipeline<T> {
    fn clone(&self) -> Self {
        Self {
            inner: Arc::clone(&self.inner),
        }
    }
}

impl<T: Send + 'static> fmt::Debug for Pipeline<T> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stages: Vec<&PoolName> = self.inner.parts.iter().map(|part| part.name()).collect();
        out.debug_struct("Pipeline")
            .field("stages", &stages)
            .finish()
    }
}

/// What comes out of the last stage.
#[derive(Debug)]
pub struct Outlet<T> {
    queue: Arc<Queue<T>>,
}

impl<T> Outlet<T> {
    /// The next that comes out; nothing once the pipeline is closed and empty. What is not taken holds the pipeline back.
    pub async fn next(&mut self) -> Option<T> {
        let taken = self.queue.take(None, |_| Leave::Take).await;
        taken.ok().map(|taken| taken.item)
    }
}

impl<T> Drop for Outlet<T> {
    fn drop(&mut self) {
        // Nobody looks at what comes out any more, and nobody waits for it either.
        self.queue.close();
    }
}

/// Where whoever read from the queue has closed it, the result has nowhere to go. It may panic when it is dropped.
fn discard<T>(put: Result<(), T>) {
    if catch_unwind(AssertUnwindSafe(|| drop(put))).is_err() {
        tracing::warn!("a result that nobody takes panicked when it was dropped");
    }
}

/// Tells of trouble; whoever is told may panic, and that is nobody else's trouble.
fn tell(report: &Report, stage: &PoolName, kind: TroubleKind) {
    let trouble = Trouble {
        stage: stage.clone(),
        kind,
    };
    if catch_unwind(AssertUnwindSafe(|| report(trouble))).is_err() {
        tracing::warn!(%stage, "whoever is told of trouble in a pipeline panicked");
    }
}

type Report = Arc<dyn Fn(Trouble) + Send + Sync>;
type Told = Arc<OnceLock<Box<dyn Fn(Trouble) + Send + Sync>>>;
type Cell<T> = Arc<OnceLock<Arc<Queue<T>>>>;
type Start = Box<dyn FnOnce(&Handle) + Send>;

/// Where a stage's results go: the next queue, or nowhere.
struct Exit<T> {
    next: Cell<T>,
    /// Told by the last stage when all has gone through.
    done: Arc<OnceLock<watch::Sender<bool>>>,
}

impl<T> Exit<T> {
    /// Hands a result on; whether there was room at once.
    async fn put(&self, item: T, now_ns: u64) -> bool {
        let Some(queue) = self.next.get() else {
            return true;
        };
        let mut putting = pin!(queue.put(item, now_ns));
        let at_once = poll_fn(|context| Poll::Ready(putting.as_mut().poll(context))).await;
        match at_once {
            Poll::Ready(put) => {
                discard(put);
                true
            }
            Poll::Pending => {
                discard(putting.await);
                false
            }
        }
    }

    fn close(&self) {
        if let Some(queue) = self.next.get() {
            queue.close();
        }
        if let Some(done) = self.done.get() {
            done.send_replace(true);
        }
    }
}

/// A pipeline in the making: it takes `In`, and its last stage so far yields `Out`.
#[must_use = "a builder does nothing until it is built"]
pub struct Builder<In: Send + 'static, Out: Send + 'static> {
    inlet: Cell<In>,
    tail: Cell<Out>,
    parts: Vec<Arc<dyn Part>>,
    /// In order; the last one's is the one that tells when all is done.
    starts: Vec<(Start, Arc<OnceLock<watch::Sender<bool>>>)>,
    report: Told,
    fault: Option<BuildError>,
}

impl<In: Send + 'static, Out: Send + 'static> fmt::Debug for Builder<In, Out> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stages: Vec<&PoolName> = self.parts.iter().map(|part| part.name()).collect();
        out.debug_struct("Builder")
            .field("stages", &stages)
            .finish()
    }
}

impl<In: Send + 'static, Out: Send + 'static> Builder<In, Out> {
    /// Adds a stage that yields one piece for each.
    pub fn stage<F, W, Next, E>(self, stage: Stage, work: F) -> Builder<In, Next>
    where
        F: Fn(Out) -> W + Send + Sync + 'static,
        W: Future<Output = Result<Next, E>> + Send + 'static,
        Next: Send + 'static,
        E: Into<Box<dyn Error + Send + Sync>>,
    {
        self.add(stage, move |item| {
            let work = work(item);
            async move { work.await.map(Yield::One).map_err(Into::into) }
        })
    }

    /// Adds a stage that yields any number of pieces for each.
    pub fn fan_out<F, W, Next, E>(self, stage: Stage, work: F) -> Builder<In, Next>
    where
        F: Fn(Out) -> W + Send + Sync + 'static,
        W: Future<Output = Result<Vec<Next>, E>> + Send + 'static,
        Next: Send + 'static,
        E: Into<Box<dyn Error + Send + Sync>>,
    {
        self.add(stage, move |item| {
            let work = work(item);
            async move { work.await.map(Yield::Many).map_err(Into::into) }
        })
    }

    /// Adds a stage that collects pieces into batches.
    pub fn batch(self, batch: Batch) -> Builder<In, Vec<Out>> {
        self.collect(batch, |_: &Out| None::<()>, |_, _| ())
    }

    /// Adds a stage that collects pieces into batches, in which no key is twice: a later piece of the same key is merged into
    /// the one that is there, or dropped if `merge` does nothing.
    pub fn batch_by_key<K, F, M>(self, batch: Batch, key: F, merge: M) -> Builder<In, Vec<Out>>
    where
        K: Hash + Eq + Send + 'static,
        F: Fn(&Out) -> K + Send + Sync + 'static,
        M: Fn(&mut Out, Out) + Send + Sync + 'static,
    {
        self.collect(batch, move |item| Some(key(item)), merge)
    }

    /// Who is told of work that failed or panicked. It is called by the worker and must be quick. A panic of its own is logged and
    /// ends nothing.
    pub fn on_trouble(self, report: impl Fn(Trouble) + Send + Sync + 'static) -> Self {
        // The first one stays.
        drop(self.report.set(Box::new(report)));
        self
    }

    /// Starts the stages on the current tokio runtime; what the last one yields is dropped.
    ///
    /// # Errors
    /// [`BuildError`] for the first stage whose name or numbers cannot be.
    ///
    /// # Panics
    /// Outside a tokio runtime, or without any stage.
    pub fn build(self) -> Result<Pipeline<In>, BuildError> {
        self.start()
    }

    /// Starts the stages on the current tokio runtime; what the last one yields waits to be taken, at most so much of it.
    ///
    /// # Errors
    /// As [`Builder::build`].
    ///
    /// # Panics
    /// As [`Builder::build`].
    pub fn build_with_outlet(self, limit: u64) -> Result<(Pipeline<In>, Outlet<Out>), BuildError> {
        let limit = Dial::new(limit.max(1), &(1..=limit.max(1)));
        let queue = Arc::new(Queue::new(limit));
        let outlet = Outlet {
            queue: Arc::clone(&queue),
        };
        // The tail is this builder's own, so nothing was set before.
        drop(self.tail.set(queue));
        Ok((self.start()?, outlet))
    }

    fn start(self) -> Result<Pipeline<In>, BuildError> {
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        let runtime = Handle::current();
        let (tell, done) = watch::channel(false);
        if let Some((_, last)) = self.starts.last() {
            // It was made for this.
            drop(last.set(tell));
        }
        for (start, _) in self.starts {
            start(&runtime);
        }
        let first = self.inlet.get().expect("a pipeline has at least one stage");
        Ok(Pipeline {
            inner: Arc::new(Inlet {
                first: Arc::clone(first),
                parts: self.parts,
                done,
            }),
        })
    }

    fn add<F, W, Next>(mut self, stage: Stage, work: F) -> Builder<In, Next>
    where
        F: Fn(Out) -> W + Send + Sync + 'static,
        W: Future<Output = Result<Yield<Next>, Box<dyn Error + Send + Sync>>> + Send + 'static,
        Next: Send + 'static,
    {
        let fault = stage.check().err();
        let (exit, next, done) = exit();
        let core = Core::new(stage, exit, self.reporter());
        let part: Arc<dyn Part> = Arc::new(StagePart(Arc::clone(&core)));
        let queue = Arc::clone(&core.queue);
        self.extend(
            part,
            fault,
            queue,
            next,
            (Box::new(move |runtime| core.start(runtime, work)), done),
        )
    }

    fn collect<K, F, M>(mut self, batch: Batch, key: F, merge: M) -> Builder<In, Vec<Out>>
    where
        K: Hash + Eq + Send + 'static,
        F: Fn(&Out) -> Option<K> + Send + Sync + 'static,
        M: Fn(&mut Out, Out) + Send + Sync + 'static,
    {
        let fault = batch.check().err();
        let (exit, next, done) = exit();
        let collector = Collector::new(batch, exit, self.reporter());
        let part: Arc<dyn Part> = Arc::new(CollectorPart(Arc::clone(&collector)));
        let queue = Arc::clone(&collector.queue);
        let merge = Merge { key, merge };
        let start = Box::new(move |runtime: &Handle| {
            runtime.spawn(async move { collector.keep_collecting(&merge).await });
        });
        self.extend(part, fault, queue, next, (start, done))
    }

    fn extend<Next: Send + 'static>(
        &mut self,
        part: Arc<dyn Part>,
        fault: Option<BuildError>,
        queue: Arc<Queue<Out>>,
        tail: Cell<Next>,
        start: (Start, Arc<OnceLock<watch::Sender<bool>>>),
    ) -> Builder<In, Next> {
        // The tail is this builder's own, so nothing was set before.
        drop(self.tail.set(queue));
        self.parts.push(part);
        self.starts.push(start);
        Builder {
            inlet: Arc::clone(&self.inlet),
            tail,
            parts: std::mem::take(&mut self.parts),
            starts: std::mem::take(&mut self.starts),
            report: Arc::clone(&self.report),
            fault: self.fault.take().or(fault),
        }
    }

    fn reporter(&self) -> Report {
        let told = Arc::clone(&self.report);
        Arc::new(move |trouble| match told.get() {
            Some(report) => report(trouble),
            None => {
                tracing::debug!(stage = %trouble.stage, kind = ?trouble.kind, "work in a pipeline came to nothing")
            }
        })
    }
}

fn exit<T>() -> (Exit<T>, Cell<T>, Arc<OnceLock<watch::Sender<bool>>>) {
    let (next, done) = (Arc::new(OnceLock::new()), Arc::new(OnceLock::new()));
    let exit = Exit {
        next: Arc::clone(&next),
        done: Arc::clone(&done),
    };
    (exit, next, done)
}

#[cfg(test)]
mod tests;
