//! Where names are given and graphs are written: one thread, which keeps what it has read of programs' files.

use super::Shared;
use crate::ask::{Outcome, Shot};
use crate::draw::View;
use crate::format::{Format, write_difference};
use crate::module::Modules;
use crate::names::Namer;
use crate::push::{Parcel, push};
use crate::take::{Taken, name};
use std::sync::Arc;
use std::thread;

/// Work for the studio.
#[derive(Debug)]
pub(super) enum Job {
    /// One profile, for all who wait for it.
    Graph(Arc<Taken>, Vec<(u64, Shot)>),
    /// Two profiles compared.
    Difference(Box<Difference>),
    /// One profile that is to be sent.
    Push(Box<Push>),
}

/// One profile that is to be sent.
#[derive(Debug)]
pub(super) struct Push {
    pub(super) id: u64,
    pub(super) shot: Shot,
    pub(super) taken: Taken,
    pub(super) parcel: Parcel,
}

/// Two profiles that are to be compared.
#[derive(Debug)]
pub(super) struct Difference {
    pub(super) id: u64,
    pub(super) shot: Shot,
    pub(super) before: Taken,
    pub(super) after: Taken,
}

pub(super) struct Studio {
    shared: Arc<Shared>,
    namer: Namer,
}

impl Studio {
    pub(super) fn new(shared: Arc<Shared>, modules: Modules) -> Self {
        Self {
            shared,
            namer: Namer::new(modules),
        }
    }

    pub(super) fn work(&mut self, job: Job) {
        match job {
            Job::Graph(taken, waiting) => {
                for (id, shot) in &waiting {
                    let named = name(&taken, shot, &mut self.namer);
                    match named.write(shot.view, shot.format) {
                        Ok(bytes) => self.shared.show(*id, named.kind, named.quality, &bytes),
                        Err(error) => self.shared.fail(*id, &error),
                    }
                }
            }
            Job::Push(job) => {
                let Push {
                    id,
                    shot,
                    taken,
                    parcel,
                } = *job;
                let named = name(&taken, &shot, &mut self.namer);
                if named.tree.is_empty() {
                    // Of a host that did nothing there is nothing to send.
                    self.shared.say(id, Outcome::Done);
                    return;
                }
                let folded = named.write(View::Flame, Format::Folded);
                let shared = Arc::clone(&self.shared);
                // A server that is slow must not keep graphs waiting.
                thread::spawn(
                    move || match folded.and_then(|folded| push(&parcel, &folded)) {
                        Ok(()) => shared.say(id, Outcome::Done),
                        Err(error) => shared.fail(id, &error),
                    },
                );
            }
            Job::Difference(job) => {
                let Difference {
                    id,
                    shot,
                    before,
                    after,
                } = *job;
                let before = name(&before, &shot, &mut self.namer);
                let after = name(&after, &shot, &mut self.namer);
                match write_difference(&before, &after, shot.view, shot.format) {
                    Ok(bytes) => self.shared.show(id, after.kind, after.quality, &bytes),
                    Err(error) => self.shared.fail(id, &error),
                }
            }
        }
    }
}
