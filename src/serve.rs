//! Serve
