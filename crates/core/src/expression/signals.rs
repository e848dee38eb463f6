//! The figures that a condition may name, and what each of them measures.

/// What a figure measures: only figures of one quantity can be compared or added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quantity {
    /// A number of things.
    Count,
    /// A part of a whole, written in percent.
    Share,
    /// One figure divided by another of its quantity; compared with a count or with a share.
    Ratio,
    /// A stretch of time.
    Duration,
    /// Things a second.
    Rate,
    /// An amount of memory.
    Bytes,
}

impl Quantity {
    /// In words, with its article.
    #[must_use]
    pub fn describe(self) -> &'static str {
        match self {
            Self::Count => "a count",
            Self::Share => "a share",
            Self::Ratio => "a ratio",
            Self::Duration => "a duration",
            Self::Rate => "a rate",
            Self::Bytes => "an amount of memory",
        }
    }

    /// How a literal of it looks.
    #[must_use]
    pub fn example(self) -> &'static str {
        match self {
            Self::Count => "10000",
            Self::Share => "80%",
            Self::Ratio => "0.8 or 80%",
            Self::Duration => "50ms",
            Self::Rate => "100/s",
            Self::Bytes => "512MiB",
        }
    }
}

/// One row a signal: its variant, its name in conditions, its quantity, and its meaning.
macro_rules! signals {
    ($($variant:ident $name:literal $quantity:ident $meaning:literal;)*) => {
        /// A figure that a condition may name.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Signal {
            $(#[doc = $meaning] $variant,)*
        }

        impl Signal {
            /// All of them, the host's first.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// Its name in conditions.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// What it measures.
            #[must_use]
            pub fn quantity(self) -> Quantity {
                match self { $(Self::$variant => Quantity::$quantity,)* }
            }

            /// What it means.
            #[must_use]
            pub fn meaning(self) -> &'static str {
                match self { $(Self::$variant => $meaning,)* }
            }
        }
    };
}

signals! {
    Cpu "cpu" Share "CPU used by the host, of what it may use.";
    Throttled "throttled" Share "Part of the time for which the host's control group was throttled.";
    CpuPressure "cpu_pressure" Share "Part of the last ten seconds in which a task of the group waited for CPU.";
    Memory "memory" Share "Memory used by the host, of what it may use.";
    MemoryPressure "memory_pressure" Share "Part of the last ten seconds in which a task of the group waited for memory.";
    Rss "rss" Bytes "Resident memory of the host's process.";
    Tasks "tasks" Count "Live tasks of the host's async runtimes.";
    Threads "threads" Count "Threads of the host's process.";
    Load "load" Ratio "The pool's load: the larger of busy workers and CPU, each of what there is, as a mean of ten seconds.";
    Workers "workers" Count "The pool's worker target.";
    Busy "busy" Count "Busy workers of the pool, on average.";
    Queued "queued" Count "Work that waits in the pool, on average.";
    QueueLimit "queue_limit" Count "How much work may wait in the pool.";
    Arrivals "arrivals" Rate "Work that comes to the pool.";
    Throughput "throughput" Rate "Work of the pool that ends well.";
    Goodput "goodput" Rate "Work of the pool that ends well within the profile's `slo`.";
    Lost "lost" Rate "Work that the pool turned away or that ran out of time.";
    Failed "failed" Rate "Work of the pool that failed by itself.";
    ResponseP50 "response_p50" Duration "Median response time of successes.";
    ResponseP95 "response_p95" Duration "95th percentile of the response time of successes.";
    ResponseP99 "response_p99" Duration "99th percentile of the response time of successes.";
    QueueWaitP95 "queue_wait_p95" Duration "95th percentile of the time that successes waited in the queue.";
    ServiceP95 "service_p95" Duration "95th percentile of the time that successes were worked on.";
    Timeout "timeout" Duration "The pool's timeout.";
    Slo "slo" Duration "The profile's `slo`, or else the timeout.";
}

impl Signal {
    /// The signal of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL
            .iter()
            .find(|signal| signal.name() == name)
            .copied()
    }
}

const COUNT: usize = Signal::ALL.len();

/// The figures of one pool at one tick; what was not set is absent.
#[derive(Clone, Copy, Debug)]
pub struct SignalSet {
    values: [f64; COUNT],
}

impl Default for SignalSet {
    /// All of them absent.
    fn default() -> Self {
        Self {
            values: [f64::NAN; COUNT],
        }
    }
}

impl PartialEq for SignalSet {
    fn eq(&self, other: &Self) -> bool {
        let mut pairs = Signal::ALL.iter();
        pairs.all(|signal| self.get(*signal) == other.get(*signal))
    }
}

impl SignalSet {
    /// Sets a figure: shares and ratios with 1 for the whole, durations in seconds, rates a second, memory in bytes. What is
    /// no finite number is absent.
    pub fn set(&mut self, signal: Signal, value: Option<f64>) {
        let value = value.filter(|value| value.is_finite());
        self.values[signal as usize] = value.unwrap_or(f64::NAN);
    }

    /// A figure, in the units of [`SignalSet::set`].
    #[must_use]
    pub fn get(&self, signal: Signal) -> Option<f64> {
        let value = self.raw(signal);
        (!value.is_nan()).then_some(value)
    }

    /// A figure; no number where it is absent.
    pub(super) fn raw(&self, signal: Signal) -> f64 {
        self.values[signal as usize]
    }
}
