//! Named stacks as a tree with numbers: what is drawn, compared and written.

use crate::names::{FrameNames, Names, as_clean};
use crate::stacks::{Counts, Stacks};
use hashbrown::{DefaultHashBuilder, HashTable};
use std::hash::BuildHasher;

/// A tree of named calls. Each node has what was counted in itself, on either side of a comparison; a plain profile uses the
/// first side only.
#[derive(Clone, Debug, Default)]
pub struct Tree {
    names: Vec<Box<str>>,
    /// Places among the names, found by the name itself.
    by_name: HashTable<u32>,
    /// A parent comes before its children.
    nodes: Vec<Node>,
    /// Which name stood in this piece of memory the last time: a guess, which is checked. Empty until something is added.
    likely: Vec<u32>,
    /// Places among the nodes, found by their parent and name. A map of its own keys would hold all of that twice. Those that
    /// stand right behind their parent are not in it: they are found there. A new stack parts from the others at one place, and
    /// all behind that follow one another, so the table has at most one entry a stack.
    by_step: HashTable<u32>,
    hasher: DefaultHashBuilder,
    counts: Vec<[u64; 2]>,
    /// What they all make together; never more than [`TOTAL_MAX`].
    total: [u64; 2],
}

#[derive(Clone, Copy, Debug)]
struct Node {
    parent: u32,
    name: u32,
    /// Where among the counts what was counted in itself stands; [`NONE`] in most, which only lead to others.
    own: u32,
}

/// One of the two sides of a comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    First,
    Second,
}

/// The most that a side counts, in nanoseconds a hundred days: the largest number that every reader of JSON takes as it is. A
/// profile that another program wrote may claim more, and sums of that would overflow.
const TOTAL_MAX: u64 = 1 << 53;
/// Above the roots there is nothing.
const NONE: u32 = u32::MAX;
/// How many places of names are remembered: enough for the functions of a large program.
const LIKELY: usize = 1 << 13;

impl Tree {
    /// The tree of some counted stacks; with `thread` only those of the threads of that name or number.
    pub(crate) fn of_stacks(
        stacks: &Stacks,
        counts: &Counts,
        names: &Names,
        thread: Option<&str>,
    ) -> Self {
        let mut weights = vec![0_u64; stacks.len()];
        for (stack, count) in counts {
            if let Some(weight) = weights.get_mut(stack.place()) {
                *weight += count;
            }
        }
        let nodes: Vec<(Option<usize>, usize)> = stacks.nodes().collect();
        let mut counted: Vec<bool> = weights.iter().map(|weight| *weight > 0).collect();
        for (at, (parent, _)) in nodes.iter().enumerate().rev() {
            if let Some(parent) = parent.filter(|_| counted[at]) {
                counted[parent] = true;
            }
        }
        let mut tree = Self::default();
        let name_ids = tree.name_ids(names);
        // Where each place of the stacks is in the tree; nothing where it is left out.
        let mut places: Vec<Option<u32>> = vec![None; nodes.len()];
        for (at, (parent, frame)) in nodes.iter().enumerate() {
            let above = match parent {
                Some(parent) => places[*parent],
                None => Some(NONE),
            };
            let Some(above) = above.filter(|_| counted[at]) else {
                continue;
            };
            if let (Some(wanted), Some(frame)) = (thread, stacks.frames().get(*frame))
                && stacks.is_thread(*frame, wanted) == Some(false)
            {
                continue;
            }
            let mut here = above;
            for name in name_ids.get(*frame).into_iter().flatten() {
                here = tree.step(here, *name);
            }
            if here != NONE {
                tree.raise(here, [weights[at], 0]);
                places[at] = Some(here);
            }
        }
        tree
    }

    /// The places of each frame's names.
    fn name_ids(&mut self, names: &Names) -> Vec<Vec<u32>> {
        let mut ids = |names: &FrameNames| names.iter().map(|name| self.name_id(name)).collect();
        names.by_frame.iter().map(&mut ids).collect()
    }

    /// Only the stacks of a thread, by its name at the root or behind its process's.
    #[must_use]
    pub fn of_thread(&self, thread: &str) -> Self {
        let mut tree = Self::default();
        self.each_stack(|calls, [first, second]| {
            if calls.iter().take(2).any(|call| *call == thread) {
                tree.add(calls.iter().copied(), Side::First, first);
                tree.add(calls.iter().copied(), Side::Second, second);
            }
        });
        tree
    }

    /// The tree of folded stacks: a line a stack, calls parted by `;`, and the number last. Says which line is none.
    ///
    /// # Errors
    /// The number of the first line that is no folded stack, from 1.
    pub fn of_folded(text: &str) -> Result<Self, usize> {
        let mut tree = Self::default();
        for (at, line) in text
            .lines()
            .enumerate()
            .filter(|(_, line)| !line.trim().is_empty())
        {
            let (stack, count) = line.trim_end().rsplit_once(' ').ok_or(at + 1)?;
            let count = count.parse().map_err(|_| at + 1)?;
            tree.add(stack.split(';'), Side::First, count);
        }
        Ok(tree)
    }

    /// Counts a stack, given outermost first.
    pub fn count<'n>(&mut self, calls: impl IntoIterator<Item = &'n str>, count: u64) {
        self.add(calls, Side::First, count);
    }

    /// Adds to a stack, given outermost first.
    pub(crate) fn add<'n>(
        &mut self,
        calls: impl IntoIterator<Item = &'n str>,
        side: Side,
        count: u64,
    ) {
        let mut at = NONE;
        for call in calls {
            let name = self.likely_name_id(call);
            at = self.step(at, name);
        }
        if at != NONE {
            self.raise(
                at,
                match side {
                    Side::First => [count, 0],
                    Side::Second => [0, count],
                },
            );
        }
    }

    /// All that was counted on a side.
    pub(crate) fn total(&self, side: Side) -> u64 {
        self.total[side as usize]
    }

    /// Whether nothing was counted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.counts.is_empty()
    }

    /// How many nodes it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// What was counted on a side in each node and below it.
    fn totals_of(&self, side: Side) -> Vec<u64> {
        let own = |node: &Node| self.own(node)[side as usize];
        let mut totals: Vec<u64> = self.nodes.iter().map(own).collect();
        for (at, node) in self.nodes.iter().enumerate().rev() {
            if node.parent != NONE {
                totals[index(node.parent)] += totals[at];
            }
        }
        totals
    }

    /// What the first side counted in calls in which, with all below them, the second counted nothing. A picture that is as wide
    /// as the second has no place for them.
    pub(crate) fn gone(&self) -> u64 {
        let second = self.totals_of(Side::Second);
        let gone = self.nodes.iter().zip(second);
        gone.filter(|(_, second)| *second == 0)
            .map(|(node, _)| self.own(node)[0])
            .sum()
    }

    /// How wide each node is: its total, or the larger one of a comparison's two.
    fn widths(&self) -> Vec<u64> {
        let mut widths = self.totals_of(Side::First);
        if self.total(Side::Second) > 0 {
            let second = self.totals_of(Side::Second);
            widths
                .iter_mut()
                .zip(second)
                .for_each(|(width, second)| *width = second.max(*width));
        }
        widths
    }

    /// Each stack in which something was counted: its calls, outermost first, and the numbers of both sides.
    pub(crate) fn each_stack(&self, mut show: impl FnMut(&[&str], [u64; 2])) {
        self.each_counted(|calls, node| show(calls, self.own(node)));
    }

    /// Each stack in which something was counted: its calls, outermost first, and its innermost one's node.
    fn each_counted(&self, mut show: impl FnMut(&[&str], &Node)) {
        let mut calls = Vec::new();
        for node in self.nodes.iter().filter(|node| node.own != NONE) {
            let innermost = node;
            calls.clear();
            let mut at = Some(node);
            while let Some(node) = at {
                calls.push(self.name(node.name));
                at = (node.parent != NONE).then(|| &self.nodes[index(node.parent)]);
            }
            calls.reverse();
            show(&calls, innermost);
        }
    }

    /// The folded stacks, sorted, a line each; with both numbers where `both`.
    pub(crate) fn folded(&self, both: bool) -> Vec<String> {
        let mut lines = Vec::new();
        self.each_stack(|calls, [first, second]| {
            let stack = calls.join(";");
            lines.push(if both {
                format!("{stack} {first} {second}")
            } else {
                format!("{stack} {first}")
            });
        });
        lines.sort_unstable();
        lines
    }

    /// The same counts with each stack the other way round: what was called is the root, and below it stands who called.
    pub(crate) fn reversed(&self) -> Self {
        let mut reversed = Self::default();
        self.each_stack(|calls, [first, second]| {
            let mut at = NONE;
            for call in calls.iter().rev() {
                at = reversed.child(at, call);
            }
            if at != NONE {
                reversed.raise(at, [first, second]);
            }
        });
        reversed
    }

    /// Two profiles side by side, the first scaled to the second's total, so that only shares are compared. Where one of them
    /// is empty there is no share, and the other stays as it is.
    #[must_use]
    pub fn compare(before: &Self, after: &Self) -> Self {
        let mut both = Self::default();
        let scaled = before.scaled_to(after.total(Side::First));
        before.each_counted(|calls, node| {
            let count = scaled.get(index(node.own)).copied().unwrap_or_default();
            both.add(calls.iter().copied(), Side::First, count);
        });
        after.each_stack(|calls, [count, _]| both.add(calls.iter().copied(), Side::Second, count));
        both
    }

    /// The first side's counts, by their places, so scaled that they make `total` together.
    ///
    /// Each count scaled by itself would lose what rounding takes, which of many small counts is most of them. So all stacks are
    /// laid one after the other, those of a call side by side, and each end is scaled: no call, with all below it, gains or loses
    /// a whole count.
    fn scaled_to(&self, total: u64) -> Vec<u64> {
        let (old, new) = (u128::from(self.total(Side::First)), u128::from(total));
        if old == 0 || new == 0 {
            return self.counts.iter().map(|[first, _]| *first).collect();
        }
        let scale = |end: u64| u64::try_from(u128::from(end) * new / old).unwrap_or(u64::MAX);
        let totals = self.totals_of(Side::First);
        let mut scaled = vec![0; self.counts.len()];
        // Where the next call below each node begins; a parent comes before its children.
        let mut next = vec![0; self.nodes.len()];
        let mut next_root = 0;
        for (at, node) in self.nodes.iter().enumerate() {
            let above = if node.parent == NONE {
                &mut next_root
            } else {
                &mut next[index(node.parent)]
            };
            let start = *above;
            *above += totals[at];
            let end = start + self.own(node)[0];
            next[at] = end;
            if node.own != NONE {
                scaled[index(node.own)] = scale(end) - scale(start);
            }
        }
        scaled
    }

    /// The tree with only its widest nodes, as many as cost at most so much by `cost` of their names; what is left out counts
    /// for the node above it. A node is never wider than the one above it, so no node loses the way to its root.
    pub(crate) fn pruned(&self, budget: usize, cost: impl Fn(&str) -> usize) -> Self {
        let widths = self.widths();
        let mut order: Vec<u32> = (0..count32(self.nodes.len())).collect();
        let width = |at: &u32| widths[index(*at)];
        // Among equals the parent first, which has the smaller number.
        let key = |at: &u32| (std::cmp::Reverse(width(at)), *at);
        // More than this many cannot be paid for, so the others need no order.
        let payable = budget / cost("").max(1) + 1;
        if payable < order.len() {
            order.select_nth_unstable_by_key(payable, key);
            order.truncate(payable);
        }
        order.sort_unstable_by_key(key);
        let mut kept = vec![false; self.nodes.len()];
        let mut spent = 0_usize;
        for at in order {
            spent = spent.saturating_add(cost(self.name(self.nodes[index(at)].name)));
            if spent > budget || width(&at) == 0 {
                break;
            }
            kept[index(at)] = true;
        }
        drop(widths);
        let mut pruned = Self::default();
        let mut places = vec![NONE; self.nodes.len()];
        for (at, node) in self.nodes.iter().enumerate() {
            let above = if node.parent == NONE {
                NONE
            } else {
                places[index(node.parent)]
            };
            places[at] = if kept[at] {
                pruned.child(above, self.name(node.name))
            } else {
                above
            };
            if places[at] != NONE {
                pruned.raise(places[at], self.own(node));
            }
        }
        pruned
    }

    fn own(&self, node: &Node) -> [u64; 2] {
        self.counts
            .get(index(node.own))
            .copied()
            .unwrap_or_default()
    }

    /// Adds to what was counted in a node itself, no more than the total bears.
    fn raise(&mut self, at: u32, more: [u64; 2]) {
        let bears = |side: usize| more[side].min(TOTAL_MAX - self.total[side]);
        let more = [bears(0), bears(1)];
        if more == [0, 0] {
            return;
        }
        self.total = [self.total[0] + more[0], self.total[1] + more[1]];
        let node = &mut self.nodes[index(at)];
        if node.own == NONE {
            node.own = count32(self.counts.len());
            self.counts.push(more);
        } else {
            let own = &mut self.counts[index(node.own)];
            *own = [own[0] + more[0], own[1] + more[1]];
        }
    }

    fn name(&self, name: u32) -> &str {
        &self.names[index(name)]
    }

    fn child(&mut self, parent: u32, name: &str) -> u32 {
        let name = self.name_id(name);
        self.step(parent, name)
    }

    fn step(&mut self, parent: u32, name: u32) -> u32 {
        let behind = parent.wrapping_add(1);
        let next = self.nodes.get(index(behind));
        if parent != NONE && next.is_some_and(|next| next.parent == parent && next.name == name) {
            return behind;
        }
        let Self {
            nodes,
            by_step,
            hasher,
            ..
        } = self;
        let hash = |node: &Node| hasher.hash_one((node.parent, node.name));
        let node = Node {
            parent,
            name,
            own: NONE,
        };
        let is_it = |at: &u32| {
            let known = &nodes[index(*at)];
            known.parent == parent && known.name == name
        };
        let hashed = hash(&node);
        if let Some(known) = by_step.find(hashed, is_it) {
            return *known;
        }
        let at = count32(nodes.len());
        nodes.push(node);
        if parent == NONE || parent + 1 != at {
            by_step.insert_unique(hashed, at, |at| hash(&nodes[index(*at)]));
        }
        at
    }

    /// The place of a name that was perhaps not cleaned. The same names come again and again from the same places, so mostly a
    /// look at the name that was there saves cleaning it and looking for it.
    fn likely_name_id(&mut self, name: &str) -> u32 {
        if self.likely.is_empty() {
            self.likely = vec![NONE; LIKELY];
        }
        let at = (name.as_ptr().addr() / 16) % LIKELY;
        let likely = self.likely[at];
        if self
            .names
            .get(index(likely))
            .is_some_and(|known| **known == *name)
        {
            return likely;
        }
        let id = self.name_id(&as_clean(name));
        self.likely[at] = id;
        id
    }

    fn name_id(&mut self, name: &str) -> u32 {
        let Self {
            names,
            by_name,
            hasher,
            ..
        } = self;
        let hashed = hasher.hash_one(name);
        if let Some(known) = by_name.find(hashed, |id| &*names[index(*id)] == name) {
            return *known;
        }
        let id = count32(names.len());
        names.push(name.into());
        *by_name
            .insert_unique(hashed, id, |id| hasher.hash_one(&*names[index(*id)]))
            .get()
    }
}

fn index(at: u32) -> usize {
    usize::try_from(at).expect("64 bits")
}

fn count32(count: usize) -> u32 {
    u32::try_from(count).expect("memory ends long before four billion nodes")
}

#[cfg(test)]
mod tests;
