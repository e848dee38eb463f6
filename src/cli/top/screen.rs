//! What is on the screen: what was read, and what the person at the keys has chosen to see of it.

use super::read::Reading;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use std::collections::VecDeque;
use trimtab_protocol::command::CommandReceipt;
use trimtab_protocol::decision::Action;
use trimtab_protocol::name::{KnobName, PoolName};
use trimtab_protocol::view::{
    Entry, EntryBody, EntryId, HostStatus, PoolSample, PoolStatus, Sample,
};

/// How many samples are kept: one a column of the widest sparkline.
const SAMPLES_MAX: usize = 120;
/// How many deeds are kept.
const DEEDS_MAX: usize = 500;

/// What a key asks of the world outside the screen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    Nothing,
    Quit,
    /// A command for the sidecar, or only what it would do.
    Ask {
        word: Word,
        dry_run: bool,
    },
}

/// The commands that the screen can give.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Word {
    Freeze,
    Unfreeze,
}

/// By what the pools are ordered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Sort {
    #[default]
    Name,
    Goodput,
    Queue,
    P99,
}

impl Sort {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::Goodput => "good/s",
            Self::Queue => "queue",
            Self::P99 => "p99",
        }
    }

    fn next(self) -> Self {
        match self {
            Self::Name => Self::Goodput,
            Self::Goodput => Self::Queue,
            Self::Queue => Self::P99,
            Self::P99 => Self::Name,
        }
    }

    /// What comes first is largest; an unknown figure comes last.
    fn key(self, sample: Option<&PoolSample>) -> f64 {
        let figure = sample.and_then(|sample| match self {
            Self::Name => None,
            Self::Goodput => sample.goodput_per_s.or(sample.completions_per_s),
            Self::Queue => sample.queued,
            Self::P99 => sample
                .p99_us
                .and_then(|us| u32::try_from(us).ok())
                .map(f64::from),
        });
        figure.unwrap_or(-1.0)
    }
}

/// Which list the arrows move in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum List {
    #[default]
    Pools,
    Decisions,
}

/// What lies over the lists.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Over {
    #[default]
    Nothing,
    Help,
    /// The text of the filter is being typed.
    Filter,
    /// One decision in full.
    Decision(EntryId),
    /// A command that is not given yet.
    Command {
        word: Word,
        /// What it would do; absent until the sidecar has said so.
        would: Option<Result<String, String>>,
    },
}

/// All that is drawn.
#[derive(Debug)]
pub(super) struct Screen {
    pub(super) url: String,
    /// Whether colours are unwelcome.
    pub(super) plain: bool,
    pub(super) status: Option<HostStatus>,
    pub(super) samples: VecDeque<Sample>,
    /// What was done or said, newest first.
    pub(super) deeds: VecDeque<Entry>,
    /// Why the last look failed, if it did.
    pub(super) lost: Option<String>,
    /// What came of the last command.
    pub(super) notice: Option<String>,
    pub(super) paused: bool,
    pub(super) sort: Sort,
    pub(super) filter: String,
    pub(super) list: List,
    pub(super) over: Over,
    /// The pool that is chosen, by name, so that sorting does not change it.
    pool: Option<PoolName>,
    /// The decision that is chosen; the newest where there is none.
    deed: Option<EntryId>,
}

impl Screen {
    pub(super) fn new(url: String, plain: bool) -> Self {
        Self {
            url,
            plain,
            status: None,
            samples: VecDeque::new(),
            deeds: VecDeque::new(),
            lost: None,
            notice: None,
            paused: false,
            sort: Sort::default(),
            filter: String::new(),
            list: List::default(),
            over: Over::default(),
            pool: None,
            deed: None,
        }
    }

    /// Takes in a look at the sidecar. While the screen is paused it stands still, but what happens meanwhile is not forgotten.
    pub(super) fn read(&mut self, reading: Result<Box<Reading>, String>) {
        match reading {
            Err(error) => self.lost = Some(error),
            Ok(reading) => {
                self.lost = None;
                self.samples.extend(reading.samples);
                let surplus = self.samples.len().saturating_sub(SAMPLES_MAX);
                self.samples.drain(..surplus);
                self.learn(reading.entries);
                if !self.paused || self.status.is_none() {
                    self.status = Some(reading.status);
                }
            }
        }
    }

    fn learn(&mut self, entries: Vec<Entry>) {
        for entry in entries {
            let known = self.deeds.iter().any(|deed| deed.id == entry.id);
            if is_deed(&entry) && !known && !self.repeats(&entry) {
                self.deeds.push_back(entry);
            }
        }
        let newest_first = |entry: &Entry| std::cmp::Reverse((entry.at_ms, entry.id.sequence));
        self.deeds.make_contiguous().sort_by_key(newest_first);
        self.deeds.truncate(DEEDS_MAX);
    }

    /// Advice is given anew each tick; only a new one is news.
    fn repeats(&self, entry: &Entry) -> bool {
        let mut before = self.deeds.iter().filter(|deed| deed.pool == entry.pool);
        is_advice(entry) && before.any(|deed| is_advice(deed) && deed.text == entry.text)
    }

    /// Takes in the answer to a command.
    pub(super) fn answered(&mut self, dry_run: bool, answer: Result<CommandReceipt, String>) {
        let said = answer.map(|receipt| match receipt.missing {
            Some(missing) => format!("{} But: {missing}", receipt.text),
            None => receipt.text,
        });
        match (&mut self.over, dry_run) {
            (Over::Command { would, .. }, true) => *would = Some(said),
            // It was left before the answer came.
            (_, true) => {}
            (_, false) => self.notice = Some(said.unwrap_or_else(|error| error)),
        }
    }

    /// What a key does.
    pub(super) fn key(&mut self, key: KeyEvent) -> Wish {
        if key.modifiers.contains(KeyModifiers::CONTROL) && key.code == KeyCode::Char('c') {
            return Wish::Quit;
        }
        match &mut self.over {
            Over::Nothing => self.key_on_lists(key.code),
            Over::Filter => self.key_in_filter(key.code),
            Over::Help | Over::Decision(_) => {
                if matches!(
                    key.code,
                    KeyCode::Esc | KeyCode::Enter | KeyCode::Char('q' | '?')
                ) {
                    self.over = Over::Nothing;
                }
                Wish::Nothing
            }
            Over::Command { word, would } => {
                let (word, ready) = (*word, matches!(would, Some(Ok(_))));
                match key.code {
                    KeyCode::Enter if ready => {
                        self.over = Over::Nothing;
                        return Wish::Ask {
                            word,
                            dry_run: false,
                        };
                    }
                    KeyCode::Esc | KeyCode::Char('q') => self.over = Over::Nothing,
                    _ => {}
                }
                Wish::Nothing
            }
        }
    }

    fn key_on_lists(&mut self, key: KeyCode) -> Wish {
        match key {
            KeyCode::Char('q') => return Wish::Quit,
            KeyCode::Char('?') => self.over = Over::Help,
            KeyCode::Char('/') => self.over = Over::Filter,
            KeyCode::Char('s') => self.sort = self.sort.next(),
            KeyCode::Char('p' | ' ') => self.paused = !self.paused,
            KeyCode::Char('f') => return self.ask_for_freeze(),
            KeyCode::Tab => {
                self.list = match self.list {
                    List::Pools => List::Decisions,
                    List::Decisions => List::Pools,
                }
            }
            KeyCode::Up | KeyCode::Char('k') => self.choose(-1),
            KeyCode::Down | KeyCode::Char('j') => self.choose(1),
            KeyCode::Enter => {
                self.list = List::Decisions;
                if let Some(deed) = self.deed() {
                    self.over = Over::Decision(deed.id.clone());
                }
            }
            KeyCode::Esc => {
                self.filter.clear();
                self.notice = None;
            }
            _ => {}
        }
        Wish::Nothing
    }

    fn key_in_filter(&mut self, key: KeyCode) -> Wish {
        match key {
            KeyCode::Enter => self.over = Over::Nothing,
            KeyCode::Esc => {
                self.filter.clear();
                self.over = Over::Nothing;
            }
            KeyCode::Backspace => {
                self.filter.pop();
            }
            KeyCode::Char(letter) => self.filter.push(letter),
            _ => {}
        }
        Wish::Nothing
    }

    /// First it is asked what the command would do; nothing is sent before that has been read.
    fn ask_for_freeze(&mut self) -> Wish {
        let frozen = self.status.as_ref().is_some_and(|status| status.frozen);
        let word = if frozen { Word::Unfreeze } else { Word::Freeze };
        self.over = Over::Command { word, would: None };
        self.notice = None;
        Wish::Ask {
            word,
            dry_run: true,
        }
    }

    fn choose(&mut self, step: isize) {
        match self.list {
            List::Pools => {
                let names: Vec<&PoolName> = self.pools().map(|(name, _)| name).collect();
                let now = names
                    .iter()
                    .position(|name| Some(*name) == self.pool.as_ref());
                let next = moved(now, step, names.len());
                self.pool = next
                    .and_then(|next| names.get(next))
                    .map(|name| (*name).clone());
            }
            List::Decisions => {
                let ids: Vec<&EntryId> = self.shown_deeds().map(|deed| &deed.id).collect();
                let now = ids.iter().position(|id| Some(*id) == self.deed.as_ref());
                let next = moved(now, step, ids.len());
                self.deed = next.and_then(|next| ids.get(next)).map(|id| (*id).clone());
            }
        }
    }

    /// One figure of each sample, oldest first, up to the moment that is shown.
    pub(super) fn readings(&self, figure: impl Fn(&Sample) -> Option<f64>) -> Vec<Option<f64>> {
        let until = self.until_ms();
        let shown = self.samples.iter().filter(|sample| sample.at_ms <= until);
        shown.map(figure).collect()
    }

    /// While it is paused, what came since then is not shown.
    fn until_ms(&self) -> u64 {
        let paused = self.status.as_ref().filter(|_| self.paused);
        paused.map_or(u64::MAX, |status| status.sample.at_ms)
    }

    /// The pools that the filter lets through, in order; parts without workers come after them, as on the page.
    pub(super) fn pools(&self) -> impl Iterator<Item = (&PoolName, &PoolStatus)> {
        let pools = self.status.iter().flat_map(|status| &status.pools);
        let mut pools: Vec<_> = pools
            .filter(|(name, pool)| self.lets(&[name.as_str(), &pool.profile, &pool.text]))
            .collect();
        // Stable, so that equals stay in the order of their names.
        let figure = |name: &PoolName| self.sort.key(self.sample(name));
        pools.sort_by(|(one, _), (other, _)| figure(other).total_cmp(&figure(one)));
        pools.sort_by_key(|(_, pool)| !pool.knobs.contains_key(KnobName::WORKERS));
        pools.into_iter()
    }

    /// The pool that is chosen, else the first.
    pub(super) fn pool(&self) -> Option<(&PoolName, &PoolStatus)> {
        let chosen = self
            .pools()
            .find(|(name, _)| Some(*name) == self.pool.as_ref());
        chosen.or_else(|| self.pools().next())
    }

    /// The deeds that the filter lets through, newest first.
    pub(super) fn shown_deeds(&self) -> impl Iterator<Item = &Entry> {
        let until = self.until_ms();
        self.deeds.iter().filter(move |deed| {
            let pool = deed.pool.as_ref().map_or("", PoolName::as_str);
            deed.at_ms <= until && self.lets(&[pool, &deed.text])
        })
    }

    /// The decision that is chosen, else the newest.
    pub(super) fn deed(&self) -> Option<&Entry> {
        let chosen = self
            .shown_deeds()
            .find(|deed| Some(&deed.id) == self.deed.as_ref());
        chosen.or_else(|| self.shown_deeds().next())
    }

    /// The newest figures of a pool.
    pub(super) fn sample(&self, pool: &PoolName) -> Option<&PoolSample> {
        self.status.as_ref()?.sample.pools.get(pool)
    }

    fn lets(&self, texts: &[&str]) -> bool {
        let wanted = self.filter.to_lowercase();
        texts
            .iter()
            .any(|text| text.to_lowercase().contains(&wanted))
    }
}

/// Whether an entry is about something that was done, would be done, or was told by a person.
fn is_deed(entry: &Entry) -> bool {
    match &entry.body {
        EntryBody::Decision(record) => record.action != Action::Hold,
        EntryBody::Command(record) => !record.dry_run,
        EntryBody::Reload(_) => true,
        EntryBody::Outcome(record) => record.reason.is_some(),
        EntryBody::Intent(_) => false,
    }
}

fn is_advice(entry: &Entry) -> bool {
    matches!(&entry.body, EntryBody::Decision(record) if record.action == Action::Advise)
}

/// A place in a list of `count`, a step on from where it was; nothing chosen counts as the first.
fn moved(now: Option<usize>, step: isize, count: usize) -> Option<usize> {
    let last = count.checked_sub(1)?;
    Some(now.unwrap_or(0).saturating_add_signed(step).min(last))
}
