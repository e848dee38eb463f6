//! Names and numbers that identify things: hosts, pools, knobs, instances, leases and changes.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::sync::Arc;

macro_rules! text_name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
        #[cfg_attr(feature = "openapi", schema(value_type = String))]
        pub struct $name(
            // Names are handed on at every tick and never change, so all copies share one text.
            Arc<str>,
        );

        impl $name {
            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self(text.into())
            }
        }

        impl From<String> for $name {
            fn from(text: String) -> Self {
                Self(text.into())
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer).map(Self::from)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str(&self.0)
            }
        }
    };
}

macro_rules! number_name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
        #[serde(transparent)]
        pub struct $name(pub u64);

        impl $name {
            /// The number that follows this one; at the very end it stays where it is.
            #[must_use]
            pub fn next(self) -> Self {
                Self(self.0.saturating_add(1))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(out)
            }
        }
    };
}

text_name! {
    /// What the sidecar's configuration calls a host; it stands in paths, labels and ledger lines.
    HostId
}
text_name! {
    /// A pool's name within its host.
    PoolName
}
text_name! {
    /// A knob's name within its pool, such as `workers`, `queue_limit` or `timeout_ms`.
    KnobName
}
text_name! {
    /// A random word that a host draws at each start, so that no plan for one run reaches the next.
    InstanceId
}
number_name! {
    /// The number of a lease; a later lease has a larger one.
    Epoch
}
number_name! {
    /// The number of a change; a later change has a larger one.
    Generation
}
number_name! {
    /// How often a pool's values have changed, by whomever.
    Revision
}

impl KnobName {
    /// The knob that sets how many pieces of work a pool does at once.
    pub const WORKERS: &'static str = "workers";
    /// The knob that sets how many pieces of work may wait.
    pub const QUEUE_LIMIT: &'static str = "queue_limit";
    /// The knob that sets how long a piece of work may take in all, waiting included.
    pub const TIMEOUT_MS: &'static str = "timeout_ms";
    /// The knob that sets how long a piece of work may take at the most, also where its caller asks for more.
    pub const TIMEOUT_MAX_MS: &'static str = "timeout_max_ms";
    /// The knob that sets how readily memory is given back to the system: `conservative`, `moderate` or `aggressive`.
    pub const MEMORY_LEVEL: &'static str = "memory_level";
    /// The knob that sets how many unused objects are kept for the next user.
    pub const OBJECT_POOL: &'static str = "object_pool";
    /// The knob that sets the size of one chunk of a slab, in bytes.
    pub const SLAB: &'static str = "slab";
    /// The knob that sets how often what was not used is dropped, in milliseconds.
    pub const CLEANUP: &'static str = "cleanup";
    /// The knob that sets how much a batch holds at most.
    pub const BATCH_SIZE: &'static str = "batch_size";
    /// The knob that sets how long a batch waits for more, in milliseconds.
    pub const LINGER_MS: &'static str = "linger_ms";
}

impl PoolName {
    /// The pseudo-pool that carries the knobs of the whole process.
    pub const PROCESS: &'static str = "process";
}

/// A name that the control API accepts for a pool or a knob: 1 to 64 characters of `a-z`, `0-9`, `_` and `-`, beginning with
/// a letter. Names stand in paths, metric labels and file keys, so nothing in them may need escaping.
#[must_use]
pub fn is_plain_name(text: &str) -> bool {
    let mut bytes = text.bytes();
    text.len() <= 64
        && bytes.next().is_some_and(|first| first.is_ascii_lowercase())
        && bytes.all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_names_need_no_escaping_anywhere() {
        for good in ["web", "queue_limit", "a", "pool-2", &"x".repeat(64)] {
            assert!(is_plain_name(good), "{good}");
        }
        for bad in [
            "",
            "Web",
            "2pool",
            "a/b",
            "a b",
            "a\"",
            "a\n",
            "ä",
            &"x".repeat(65),
        ] {
            assert!(!is_plain_name(bad), "{bad}");
        }
    }
}
