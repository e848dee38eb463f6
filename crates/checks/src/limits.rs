//! The host's movable limit under shuttle, as it is and with one line wrong.

include!(concat!(env!("OUT_DIR"), "/limits.rs"));

/// A limit, whichever copy of it.
pub trait Limit: Send + Sync + 'static {
    /// A limit of so many permits, with a queue of so many places.
    fn new(workers: u64, places: u64) -> Self;

    /// Does a piece of work, once there is a permit; false where it was refused. `work` runs while the permit is held.
    fn run(&self, work: impl FnOnce()) -> bool;

    /// Moves the limit.
    fn set_workers(&self, workers: u64);

    /// Permits in use, and how much waits.
    fn busy_and_queued(&self) -> (u64, u64);

    /// Burns the fuse, or mends it and admits who waited for that.
    fn burn(&self, burnt: bool);
}

macro_rules! copies {
    ($library:ident: $($copy:ident: $name:ident),*) => {
        /// Wakes a thread of the library's.
        struct Unpark($library::thread::Thread);

        impl std::task::Wake for Unpark {
            fn wake(self: std::sync::Arc<Self>) {
                self.0.unpark();
            }
        }

        $(
        #[doc = concat!("The copy `", stringify!($copy), "`.")]
        #[derive(Debug)]
        pub struct $name($copy::limit::Limit);

        impl Limit for $name {
            fn new(workers: u64, places: u64) -> Self {
                Self($copy::limit::Limit::new(workers, places, places + workers))
            }

            fn run(&self, work: impl FnOnce()) -> bool {
                use $copy::limit::Answer;
                use $copy::limit::waiter::Standing;
                match self.0.arrive(1) {
                    Answer::Admitted(_) => {}
                    Answer::Full => return false,
                    Answer::Waits(waiter) => {
                        let unpark = Unpark($library::thread::current());
                        let waker = std::task::Waker::from(std::sync::Arc::new(unpark));
                        let context = std::task::Context::from_waker(&waker);
                        loop {
                            match waiter.poll(&context) {
                                Standing::Admitted(_) => break,
                                Standing::Refused => return false,
                                Standing::Waiting => $library::thread::park(),
                            }
                        }
                    }
                }
                work();
                self.0.put_back();
                true
            }

            fn set_workers(&self, workers: u64) {
                self.0.set_workers(workers);
            }

            fn busy_and_queued(&self) -> (u64, u64) {
                (self.0.busy(), self.0.queued())
            }

            fn burn(&self, burnt: bool) {
                if burnt {
                    self.0.fuse.arm(1);
                } else {
                    self.0.fuse.clear();
                    self.0.dispatch();
                }
            }
        }
    )*};
}

pub(crate) use copies;

copies! {
    shuttle:
    real: Real,
    forgets_who_came_meanwhile: ForgetsWhoCameMeanwhile,
    takes_above_the_limit: TakesAboveTheLimit,
    grows_without_a_word: GrowsWithoutAWord
}
