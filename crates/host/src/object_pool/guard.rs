//! What may be used again, and the guard that brings it back.

use super::Inner;
use bytes::{Bytes, BytesMut};
use std::collections::VecDeque;
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

/// What another user may take over once it is wiped. A type says by this that a wiped object of it is as good as a new one.
pub trait Reusable: Send + 'static {
    /// Takes away all that the last user left, so that the next can read none of it. Memory is kept.
    fn wipe(&mut self);

    /// Memory that stays in use while the object is kept, in bytes. An estimate from above is enough.
    fn held_bytes(&self) -> usize;
}

/// What a vector held is dropped, and safe code cannot read beyond its length.
impl<T: Send + 'static> Reusable for Vec<T> {
    fn wipe(&mut self) {
        self.clear();
    }

    fn held_bytes(&self) -> usize {
        self.capacity().saturating_mul(size_of::<T>())
    }
}

/// As with a vector.
impl<T: Send + 'static> Reusable for VecDeque<T> {
    fn wipe(&mut self) {
        self.clear();
    }

    fn held_bytes(&self) -> usize {
        self.capacity().saturating_mul(size_of::<T>())
    }
}

impl Reusable for String {
    fn wipe(&mut self) {
        self.clear();
    }

    fn held_bytes(&self) -> usize {
        self.capacity()
    }
}

impl Reusable for BytesMut {
    fn wipe(&mut self) {
        self.clear();
    }

    fn held_bytes(&self) -> usize {
        self.capacity()
    }
}

/// An object in use. It goes back to its pool when this is dropped.
pub struct Pooled<T: Reusable> {
    /// There until the object goes back or leaves for good.
    object: Option<T>,
    pool: Arc<Inner<T>>,
}

impl<T: Reusable> Pooled<T> {
    pub(super) fn new(object: T, pool: Arc<Inner<T>>) -> Self {
        Self {
            object: Some(object),
            pool,
        }
    }

    /// Takes the object out for good; it does not come back to the pool.
    #[must_use]
    pub fn into_inner(mut self) -> T {
        self.object.take().expect(HELD)
    }
}

impl<T: Reusable + AsRef<[u8]>> Pooled<T> {
    /// The object's bytes, to be shared without a copy. It goes back to its pool when the last of them is dropped.
    #[must_use]
    pub fn freeze(self) -> Bytes {
        Bytes::from_owner(self)
    }
}

impl<T: Reusable> Deref for Pooled<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.object.as_ref().expect(HELD)
    }
}

impl<T: Reusable> DerefMut for Pooled<T> {
    fn deref_mut(&mut self) -> &mut T {
        self.object.as_mut().expect(HELD)
    }
}

impl<T: Reusable + AsRef<[u8]>> AsRef<[u8]> for Pooled<T> {
    fn as_ref(&self) -> &[u8] {
        (**self).as_ref()
    }
}

impl<T: Reusable> Drop for Pooled<T> {
    fn drop(&mut self) {
        if let Some(object) = self.object.take() {
            self.pool.give_back(object);
        }
    }
}

impl<T: Reusable + fmt::Debug> fmt::Debug for Pooled<T> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_tuple("Pooled").field(&self.object).finish()
    }
}

const HELD: &str = "the object is held until it is dropped or taken out";
