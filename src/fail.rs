//! Points at which a campaign makes the sidecar die, panic or stand still; nothing without the feature `fail`.

pub(crate) use trimtab_sys::fail::{Point, at};
