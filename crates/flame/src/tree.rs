//! Named stacks as a tree with numbers: what is drawn, compared and written.

use crate::names::{Names, as_clean};
use crate::stacks::{Counts, Frame, Stacks};
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
    /// Places among the nodes, found by their parent and name. A map of its own keys would hold all of that twice.
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
            if let (Some(wanted), Some(Frame::Thread { tid, name })) =
                (thread, stacks.frames().get(*frame))
                && wanted != stacks.text(*name)
                && wanted != tid.to_string()
            {
                continue;
            }
            let mut here = above;
            for name in names.by_frame.get(*frame).into_iter().flatten() {
                here = tree.child(here, name);
            }
            if here != NONE {
                tree.raise(here, [weights[at], 0]);
                places[at] = Some(here);
            }
        }
        tree
    }

    /// Only the stacks of a thread, by its name at the root or behind its process's.
    pub(crate) fn of_thread(&self, thread: &str) -> Self {
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
            at = self.child(at, &as_clean(call));
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

    /// What was counted in each node and below it.
    pub(crate) fn totals(&self) -> Vec<[u64; 2]> {
        let mut totals: Vec<[u64; 2]> = self.nodes.iter().map(|node| self.own(node)).collect();
        for at in (0..totals.len()).rev() {
            let [first, second] = totals[at];
            let parent = self.nodes[at].parent;
            if parent != NONE {
                let above = &mut totals[index(parent)];
                *above = [above[0] + first, above[1] + second];
            }
        }
        totals
    }

    /// Each stack in which something was counted: its calls, outermost first, and the numbers of both sides.
    pub(crate) fn each_stack(&self, mut show: impl FnMut(&[&str], [u64; 2])) {
        let mut calls = Vec::new();
        for node in self.nodes.iter().filter(|node| node.own != NONE) {
            let own = self.own(node);
            calls.clear();
            let mut at = Some(node);
            while let Some(node) = at {
                calls.push(self.name(node.name));
                at = (node.parent != NONE).then(|| &self.nodes[index(node.parent)]);
            }
            calls.reverse();
            show(&calls, own);
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

    /// Two profiles side by side, the first scaled to the second's total, so that only shares are compared.
    #[must_use]
    pub fn compare(before: &Self, after: &Self) -> Self {
        let mut both = Self::default();
        let (old, new) = (
            u128::from(before.total(Side::First)),
            u128::from(after.total(Side::First)),
        );
        let scale = |count: u64| {
            let scaled = if old == 0 || new == 0 {
                u128::from(count)
            } else {
                u128::from(count) * new / old
            };
            u64::try_from(scaled).unwrap_or(u64::MAX)
        };
        before.each_stack(|calls, [count, _]| {
            both.add(calls.iter().copied(), Side::First, scale(count))
        });
        after.each_stack(|calls, [count, _]| both.add(calls.iter().copied(), Side::Second, count));
        both
    }

    /// The tree with only its widest nodes, as many as cost at most so much by `cost` of their names; what is left out counts
    /// for the node above it. A node is never wider than the one above it, so no node loses the way to its root.
    pub(crate) fn pruned(&self, budget: usize, cost: impl Fn(&str) -> usize) -> Self {
        let totals = self.totals();
        let mut order: Vec<u32> = (0..count32(self.nodes.len())).collect();
        let width = |at: &u32| totals[index(*at)].into_iter().max().unwrap_or(0);
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
        *by_step
            .insert_unique(hashed, at, |at| hash(&nodes[index(*at)]))
            .get()
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
mod tests {
    use super::*;

    use proptest::prelude::*;

    #[test]
    fn what_a_foreign_profile_claims_overflows_no_sum() {
        let text = format!("a;b {0}\na;c {0}\na 1", u64::MAX);
        let claimed = Tree::of_folded(&text).expect("it is folded");
        assert_eq!(claimed.total(Side::First), TOTAL_MAX);
        assert_eq!(claimed.totals()[0], [TOTAL_MAX, 0]);
        let both = Tree::compare(&claimed, &tree("a 1"));
        assert_eq!(both.total(Side::First), 1);
        let both = Tree::compare(&tree("a 1"), &claimed);
        assert_eq!(both.total(Side::First), TOTAL_MAX);
    }

    #[test]
    fn one_threads_stacks_can_be_told_from_others() {
        let tree = Tree::of_folded("main;a 1\nmail;a 2\npython [7];mail;b 3\nmain;a;mail 4");
        let found = tree.expect("it is folded").of_thread("mail");
        assert_eq!(found.folded(false), ["mail;a 2", "python [7];mail;b 3"]);
    }

    fn tree(text: &str) -> Tree {
        Tree::of_folded(text).expect("it is folded")
    }

    #[test]
    fn folded_stacks_are_read_and_written() {
        let text = "main;parse 7\nmain;sort 3\nmain;sort;swap 2";
        assert_eq!(tree(text).folded(false).join("\n"), text);
        assert_eq!(tree("a b;c d 5\n\n").folded(false), ["a b;c d 5"]);
        assert_eq!(Tree::of_folded("a;b 1\na;b").err(), Some(2));
        assert_eq!(Tree::of_folded("a;b x").err(), Some(1));
    }

    #[test]
    fn reversed_the_leaves_are_roots() {
        let reversed = tree("main;a;sort 3\nmain;b;sort 4").reversed();
        assert_eq!(reversed.folded(false), ["sort;a;main 3", "sort;b;main 4"]);
        assert_eq!(reversed.totals()[0], [7, 0]);
    }

    #[test]
    fn a_comparison_compares_shares() {
        let both = Tree::compare(&tree("m;a 10\nm;b 10"), &tree("m;a 30\nm;c 10"));
        assert_eq!(both.folded(true), ["m;a 20 30", "m;b 20 0", "m;c 0 10"]);
    }

    #[test]
    fn pruning_keeps_the_widest_and_loses_nothing_of_the_sum() {
        let full = tree("m;a;x 50\nm;a;y 1\nm;b 40\nm;c 2");
        let pruned = full.pruned(4, |_| 1);
        assert_eq!(pruned.folded(false), ["m 2", "m;a 1", "m;a;x 50", "m;b 40"]);
    }

    proptest! {
        #[test]
        fn pruning_never_changes_the_total_and_keeps_to_its_budget(
            stacks in prop::collection::vec((prop::collection::vec(0_u8..4, 1..6), 1_u64..100), 1..40),
            budget in 1_usize..30,
        ) {
            let mut full = Tree::default();
            for (calls, count) in &stacks {
                let calls: Vec<String> = calls.iter().map(u8::to_string).collect();
                // One root, as every stack has its thread, so that nothing falls out above it.
                full.add(std::iter::once("root").chain(calls.iter().map(String::as_str)), Side::First, *count);
            }
            let pruned = full.pruned(budget, |_| 1);
            prop_assert_eq!(pruned.total(Side::First), full.total(Side::First));
            prop_assert!(pruned.len() <= budget);
            let reversed = full.reversed();
            prop_assert_eq!(reversed.total(Side::First), full.total(Side::First));
        }
    }
}
