//! Trees of a few calls.

use super::*;

use proptest::prelude::*;

#[test]
fn what_a_foreign_profile_claims_overflows_no_sum() {
    let text = format!("a;b {0}\na;c {0}\na 1", u64::MAX);
    let claimed = Tree::of_folded(&text).expect("it is folded");
    assert_eq!(claimed.total(Side::First), TOTAL_MAX);
    assert_eq!(claimed.totals_of(Side::First)[0], TOTAL_MAX);
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
fn of_equal_steps_there_is_one_node_wherever_it_stands() {
    let text = "a;b;c 1\na;b;d 2\na;e;c 4\nf;b;c 8";
    let mut full = tree(text);
    assert_eq!((full.len(), full.by_step.len()), (9, 4));
    for stack in ["a;b;c", "a;b;d", "a;e;c", "f;b;c"] {
        full.add(stack.split(';'), Side::Second, 1);
    }
    assert_eq!(full.len(), 9);
    let expected = ["a;b;c 1 1", "a;b;d 2 1", "a;e;c 4 1", "f;b;c 8 1"];
    assert_eq!(full.folded(true), expected);
}

#[test]
fn a_name_that_comes_from_where_another_one_stood_is_not_that_one() {
    let mut full = Tree::default();
    let mut place = String::with_capacity(8);
    for name in ["a", "b", "a", "\n", "b"] {
        place.clear();
        place.push_str(name);
        full.count([place.as_str()], 1);
    }
    assert_eq!(full.folded(false), ["[no name] 1", "a 2", "b 2"]);
}

#[test]
fn reversed_the_leaves_are_roots() {
    let reversed = tree("main;a;sort 3\nmain;b;sort 4").reversed();
    assert_eq!(reversed.folded(false), ["sort;a;main 3", "sort;b;main 4"]);
    assert_eq!(reversed.totals_of(Side::First)[0], 7);
}

#[test]
fn a_comparison_compares_shares() {
    let both = Tree::compare(&tree("m;a 10\nm;b 10"), &tree("m;a 30\nm;c 10"));
    assert_eq!(both.folded(true), ["m;a 20 30", "m;b 20 0", "m;c 0 10"]);
}

#[test]
fn a_comparison_of_many_small_counts_loses_none_of_them() {
    let thin = |counts: &[u64]| {
        let lines = counts.iter().enumerate();
        let lines: Vec<String> = lines
            .map(|(at, count)| format!("m;f{at:03} {count}"))
            .collect();
        tree(&lines.join("\n"))
    };
    let before: Vec<u64> = (0..250).map(|at| if at < 240 { 2 } else { 1 }).collect();
    let both = Tree::compare(&thin(&before), &thin(&[2; 240]));
    assert_eq!(
        [Side::First, Side::Second].map(|side| both.total(side)),
        [480, 480]
    );
}

#[test]
fn a_comparison_with_nothing_leaves_the_other_as_it_is() {
    let (full, empty) = (tree("m;a 10\nm;b 5"), Tree::default());
    assert_eq!(
        Tree::compare(&full, &empty).folded(true),
        ["m;a 10 0", "m;b 5 0"]
    );
    assert_eq!(
        Tree::compare(&empty, &full).folded(true),
        ["m;a 0 10", "m;b 0 5"]
    );
}

#[test]
fn pruning_keeps_the_widest_and_loses_nothing_of_the_sum() {
    let full = tree("m;a;x 50\nm;a;y 1\nm;b 40\nm;c 2");
    let pruned = full.pruned(4, |_| 1);
    assert_eq!(pruned.folded(false), ["m 2", "m;a 1", "m;a;x 50", "m;b 40"]);
}

/// Counted stacks of a few calls each, as a test may wish for them.
fn any_stacks() -> impl Strategy<Value = Vec<(Vec<u8>, u64)>> {
    prop::collection::vec((prop::collection::vec(0_u8..4, 1..6), 1_u64..100), 1..40)
}

fn of_stacks(stacks: &[(Vec<u8>, u64)]) -> Tree {
    let mut full = Tree::default();
    for (calls, count) in stacks {
        let calls: Vec<String> = calls.iter().map(u8::to_string).collect();
        // One root, as every stack has its thread, so that nothing falls out above it.
        full.add(
            std::iter::once("root").chain(calls.iter().map(String::as_str)),
            Side::First,
            *count,
        );
    }
    full
}

/// What was counted in each call and below it, by the way to it.
fn totals_by_way(tree: &Tree, side: Side) -> std::collections::BTreeMap<String, u64> {
    let mut totals = std::collections::BTreeMap::new();
    tree.each_stack(|calls, counts| {
        for depth in 1..=calls.len() {
            *totals.entry(calls[..depth].join(";")).or_default() += counts[side as usize];
        }
    });
    totals
}

proptest! {
    #[test]
    fn a_comparison_keeps_every_calls_share(before in any_stacks(), after in any_stacks()) {
        let (before, after) = (of_stacks(&before), of_stacks(&after));
        let both = Tree::compare(&before, &after);
        let (old, new) = (before.total(Side::First), after.total(Side::First));
        prop_assert_eq!(both.total(Side::First), new);
        prop_assert_eq!(both.total(Side::Second), new);
        let scaled = totals_by_way(&both, Side::First);
        for (way, count) in totals_by_way(&before, Side::First) {
            let scaled = scaled.get(&way).copied().unwrap_or_default();
            // Times the old total, so that nothing is divided.
            prop_assert!((scaled * old).abs_diff(count * new) < old, "{}: {} of {}, {} of {}", way, count, old, scaled, new);
        }
        let second = totals_by_way(&both, Side::Second);
        for (way, count) in totals_by_way(&after, Side::First) {
            prop_assert_eq!(second.get(&way), Some(&count));
        }
    }

    #[test]
    fn pruning_never_changes_the_total_and_keeps_to_its_budget(
        stacks in any_stacks(),
        budget in 1_usize..30,
    ) {
        let full = of_stacks(&stacks);
        let pruned = full.pruned(budget, |_| 1);
        prop_assert_eq!(pruned.total(Side::First), full.total(Side::First));
        prop_assert!(pruned.len() <= budget);
        let reversed = full.reversed();
        prop_assert_eq!(reversed.total(Side::First), full.total(Side::First));
    }
}
