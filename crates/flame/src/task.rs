//! Which asynchronous task a worker thread of tokio was running, from the stack alone.
//!
//! Tokio polls every task through a function of its own, and the frame just above that is the task's outermost future: the
//! `async` function or block that was given to `spawn`. So a host's time can be told apart by the type of its tasks without a
//! line of its code being changed.

use crate::tree::{Side, Tree};

/// Time of a worker outside any task: looking for work, or asleep.
const NO_TASK: &str = "[no task]";
/// A task was polled, but its future was compiled into tokio's own function, whose name does not tell.
const UNNAMED: &str = "[task without a name]";

/// The tree with the task's type at its root, and below it what the task called. Stacks of other threads have [`NO_TASK`].
pub(crate) fn by_task(tree: &Tree) -> Tree {
    let mut tasks = Tree::default();
    tree.each_stack(|calls, [first, second]| {
        let (task, rest) = split(calls);
        let stack = || std::iter::once(task).chain(rest.iter().copied());
        tasks.add(stack(), Side::First, first);
        tasks.add(stack(), Side::Second, second);
    });
    tasks
}

/// The task's type and the calls inside it.
fn split<'c>(calls: &'c [&'c str]) -> (&'c str, &'c [&'c str]) {
    let Some(poll) = calls.iter().position(|call| is_poll(call)) else {
        return (NO_TASK, calls);
    };
    let after = calls.get(poll..).unwrap_or_default();
    let inside = after.iter().position(|call| !is_wrapping(call));
    match inside.and_then(|at| after.get(at..)) {
        Some([task, rest @ ..]) => (task, rest),
        Some([]) | None => (generic(after).unwrap_or(UNNAMED), &[]),
    }
}

/// Tokio's functions that poll one task.
fn is_poll(call: &str) -> bool {
    call.contains("tokio::runtime::task") && call.contains("poll")
}

/// What stands between tokio's poll and the task's own future.
fn is_wrapping(call: &str) -> bool {
    const WRAPPINGS: [&str; 8] = [
        "tokio::runtime::task",
        "tokio::runtime::coop",
        "tokio::task::coop",
        "tokio::loom",
        "panicking::catch_unwind",
        "panicking::try",
        "panic::catch_unwind",
        "AssertUnwindSafe",
    ];
    WRAPPINGS.iter().any(|wrapping| call.contains(wrapping)) || call == "__rust_try"
}

/// The future's type among the generic arguments of tokio's own function, where names have them.
fn generic<'c>(calls: &[&'c str]) -> Option<&'c str> {
    calls.iter().rev().find_map(|call| {
        let (_, arguments) = call.split_once('<')?;
        let type_name = arguments
            .split([',', '>'])
            .find(|part| part.contains("{{closure}}") || part.contains("{closure"))?;
        Some(type_name.trim())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_workers_time_is_told_apart_by_the_task() {
        let text = "tokio-rt-worker;std::thread;tokio::runtime::task::raw::poll;shop::order::{{closure}};shop::price 7\n\
                    tokio-rt-worker;std::thread;tokio::runtime::task::harness::Harness<T,S>::poll;std::panicking::try;tokio::runtime::task::core::Core<T,S>::poll;shop::mail::{{closure}} 2\n\
                    tokio-rt-worker;std::thread;tokio::runtime::scheduler::park 1\n\
                    main;tokio::runtime::task::raw::poll::<shop::watch::{closure#0}, S> 4";
        let tree = by_task(&Tree::of_folded(text).expect("it is folded"));
        let expected = [
            "[no task];tokio-rt-worker;std::thread;tokio::runtime::scheduler::park 1",
            "shop::mail::{{closure}} 2",
            "shop::order::{{closure}};shop::price 7",
            "shop::watch::{closure#0} 4",
        ];
        assert_eq!(tree.folded(false), expected);
    }
}
