//! Where a bound was set.

use serde::{Deserialize, Serialize};
use std::fmt;

/// The line of a profile or of the configuration that set a bound.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Citation {
    /// The key, such as `workers.max`.
    pub key: String,
    /// The file, as it was named; empty for a built-in default.
    pub file: String,
    /// The line, counted from 1.
    pub line: u32,
    /// The column, counted from 1.
    pub column: u32,
}

impl fmt::Display for Citation {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.file.is_empty() {
            write!(out, "{} (built in)", self.key)
        } else {
            write!(
                out,
                "{} ({}:{}:{})",
                self.key, self.file, self.line, self.column
            )
        }
    }
}
