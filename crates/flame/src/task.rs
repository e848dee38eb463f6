//! Which asynchronous task a worker thread of tokio was running, from the stack alone.
//!
//! Tokio polls every task through a function of its own, and the frame just above that is the task's outermost future: the
//! `async` function or block that was given to `spawn`. So a host's time can be told apart by the type of its tasks without a
//! line of its code being changed. Where the program's file tells of inlined calls, tokio's own function has the future's type
//! in its name; else the outermost function of the task that was not inlined stands for it.

use crate::tree::{Side, Tree};

/// Time of a worker outside any task: looking for work, or asleep.
const NO_TASK: &str = "[no task]";
/// A task was polled, but its future was compiled into tokio's own function, whose name does not tell.
const UNNAMED: &str = "[task without a name]";

/// The tree with the task's type at its root, and below it what the task called. Stacks of other threads have [`NO_TASK`].
pub(crate) fn by_task(tree: &Tree) -> Tree {
    let mut tasks = Tree::default();
    tree.each_stack(|calls, [first, second]| {
        let typed = typed(calls);
        let (task, rest) = match &typed {
            Some((task, rest)) => (task.as_str(), *rest),
            None => split(calls),
        };
        let stack = || std::iter::once(task).chain(rest.iter().copied());
        tasks.add(stack(), Side::First, first);
        tasks.add(stack(), Side::Second, second);
    });
    tasks
}

/// The future's type from the name of the innermost of tokio's functions that has it, and the calls inside it. A worker is
/// itself run as a task that blocks, which is none of the host's.
fn typed<'c>(calls: &'c [&'c str]) -> Option<(String, &'c [&'c str])> {
    let (at, future) = calls.iter().enumerate().rev().find_map(|(at, call)| {
        let (_, arguments) = call.split_once("poll_future<")?;
        Some((at, first_argument(arguments)))
    })?;
    let blocking = future.strip_prefix("tokio::runtime::blocking::task::BlockingTask<");
    let own = blocking.map_or(future, |inner| inner.strip_suffix('>').unwrap_or(inner));
    if own.starts_with("tokio::runtime::scheduler") {
        return Some((NO_TASK.to_owned(), calls));
    }
    let name = own.replace("_env#", "#");
    let name = name.strip_suffix("::{async_fn#0}").unwrap_or(&name);
    let wrapping = calls.iter().rposition(|call| call.contains(future));
    let inside = calls.get(wrapping.unwrap_or(at) + 1..).unwrap_or_default();
    Some((name.to_owned(), inside))
}

/// The first of some generic arguments.
fn first_argument(arguments: &str) -> &str {
    let mut depth = 0_u32;
    let end = arguments.char_indices().find(|(_, letter)| {
        match letter {
            '<' | '(' | '[' => depth += 1,
            '>' | ')' | ']' if depth > 0 => depth -= 1,
            ',' | '>' if depth == 0 => return true,
            _ => {}
        }
        false
    });
    end.map_or(arguments, |(at, _)| {
        arguments.get(..at).unwrap_or(arguments)
    })
}

/// The task's type and the calls inside it.
fn split<'c>(calls: &'c [&'c str]) -> (&'c str, &'c [&'c str]) {
    let Some(poll) = calls.iter().rposition(|call| is_poll(call)) else {
        return (NO_TASK, calls);
    };
    let after = calls.get(poll..).unwrap_or_default();
    let inside = after.iter().position(|call| !is_wrapping(call));
    match inside.and_then(|at| after.get(at..)) {
        Some([worker, ..]) if worker.contains("tokio::runtime::scheduler") => (NO_TASK, calls),
        Some([task, rest @ ..]) => (task, rest),
        Some([]) | None => (generic(after).unwrap_or(UNNAMED), &[]),
    }
}

/// Tokio's functions that poll one task. The innermost counts: a worker is itself run as a task that blocks.
fn is_poll(call: &str) -> bool {
    const PLACES: [&str; 3] = [
        "tokio::runtime::task::raw",
        "tokio::runtime::task::harness",
        "tokio::runtime::task::core",
    ];
    call.contains("poll") && PLACES.iter().any(|place| call.contains(place))
}

/// What stands between tokio's poll and the task's own future.
fn is_wrapping(call: &str) -> bool {
    const WRAPPINGS: [&str; 9] = [
        "tokio::runtime::task",
        "tokio::runtime::blocking",
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
                    rt;tokio::runtime::task::core::Core<T,S>::poll;<tokio::runtime::blocking::task::BlockingTask<T> as Future>::poll;tokio::runtime::scheduler::multi_thread::worker::run;park 3\n\
                    rt;tokio::runtime::task::core::Core<T,S>::poll;tokio::runtime::scheduler::multi_thread::worker::run;tokio::runtime::task::raw::poll;shop::order::{{closure}};tokio::runtime::task::join::JoinHandle::poll 5\n\
                    main;tokio::runtime::task::raw::poll::<shop::watch::{closure#0}, S> 4";
        let tree = by_task(&Tree::of_folded(text).expect("it is folded"));
        let expected = [
            "[no task];rt;tokio::runtime::task::core::Core<T,S>::poll;<tokio::runtime::blocking::task::BlockingTask<T> as Future>::poll;tokio::runtime::scheduler::multi_thread::worker::run;park 3",
            "[no task];tokio-rt-worker;std::thread;tokio::runtime::scheduler::park 1",
            "shop::mail::{{closure}} 2",
            "shop::order::{{closure}};shop::price 7",
            "shop::order::{{closure}};tokio::runtime::task::join::JoinHandle::poll 5",
            "shop::watch::{closure#0} 4",
        ];
        assert_eq!(tree.folded(false), expected);
    }

    #[test]
    fn a_futures_type_is_taken_from_the_names_of_inlined_calls() {
        const WORKER: &str = "rt;run;poll_future<tokio::runtime::blocking::task::BlockingTask<tokio::runtime::scheduler::multi_thread::worker::{impl#0}::launch::{closure_env#0}>, S>;run_task";
        let text = format!(
            "{WORKER};park 1\n\
             {WORKER};poll<shop::order::{{async_fn_env#0}}, S>;poll_future<shop::order::{{async_fn_env#0}}, S>;call_once<P<()>, poll_future::{{closure_env#0}}<shop::order::{{async_fn_env#0}}, S>>;{{async_fn#0}};price 2\n\
             {WORKER};poll_future<core::pin::Pin<Box<dyn Future<Output = ()>, A>>, S>;mail 3\n\
             {WORKER};poll_future<shop::main::{{async_fn#0}}::{{async_block_env#1}}, S>;page 4\n\
             rt;poll_future<tokio::runtime::blocking::task::BlockingTask<shop::hash::{{closure_env#0}}>, S>;digest 5"
        );
        let tree = by_task(&Tree::of_folded(&text).expect("it is folded"));
        let expected = [
            format!("[no task];{WORKER};park 1"),
            "core::pin::Pin<Box<dyn Future<Output = ()>, A>>;mail 3".to_owned(),
            "shop::hash::{closure#0};digest 5".to_owned(),
            "shop::main::{async_fn#0}::{async_block#1};page 4".to_owned(),
            "shop::order;{async_fn#0};price 2".to_owned(),
        ];
        assert_eq!(tree.folded(false), expected);
    }
}
