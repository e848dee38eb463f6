//! Graphs of a real host under load, over HTTP.

use crate::support::{BRISK, Service, Sidecar, until};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use trimtab_protocol::decision::Action;
use trimtab_protocol::view::EntryBody;

/// What a graph of this process must show.
#[inline(never)]
fn burn_for_the_graph(stop: &AtomicBool) -> u64 {
    let mut sum = 0_u64;
    while !stop.load(Ordering::Relaxed) {
        for number in 0..10_000 {
            sum = std::hint::black_box(sum.wrapping_mul(31) + number);
        }
    }
    sum
}

/// A thread that burns until it is dropped.
struct Fire(Arc<AtomicBool>, Option<std::thread::JoinHandle<u64>>);

impl Fire {
    fn light() -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let of_thread = Arc::clone(&stop);
        let thread = std::thread::Builder::new().name("furnace".to_owned());
        let thread = thread.spawn(move || burn_for_the_graph(&of_thread));
        Self(stop, Some(thread.unwrap()))
    }
}

impl Drop for Fire {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
        self.1.take().unwrap().join().unwrap();
    }
}

/// Whether the kernel lets the sidecar sample us; if not, says which test is passed over.
#[expect(
    clippy::print_stdout,
    reason = "a test that is skipped says so by name"
)]
async fn can_sample(sidecar: &Sidecar, test: &str) -> bool {
    let (status, body) = sidecar.get("/profile/capabilities").await;
    assert_eq!(status, 200, "{body}");
    let told: serde_json::Value = serde_json::from_str(&body).unwrap();
    let steps = told["steps"].as_array().unwrap();
    for step in steps {
        let reached = step["reached"].as_bool().unwrap();
        assert_eq!(reached, step["fix"].as_str().unwrap().is_empty(), "{step}");
    }
    let reached = steps
        .iter()
        .any(|step| step["rung"] == "perf_user" && step["reached"] == true);
    if !reached {
        println!("skipped: {test}: perf_event_open is denied here");
    }
    reached
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_that_nobody_prepared_shows_where_its_time_goes() {
    let service = Service::start(BRISK);
    let sidecar = Sidecar::start(&service, "sidecar").await;
    sidecar
        .until_status("the host's process", |status| status.pid.is_some())
        .await;
    if !can_sample(
        &sidecar,
        "a_host_that_nobody_prepared_shows_where_its_time_goes",
    )
    .await
    {
        return;
    }
    let _fire = Fire::light();
    let (status, folded) = sidecar
        .get("/flamegraph?seconds=2&hz=199&format=folded")
        .await;
    assert_eq!(status, 200, "{folded}");
    let counted = |call: &str| -> u64 {
        let lines = folded.lines().filter(|line| line.contains(call));
        lines
            .map(|line| line.rsplit_once(' ').unwrap().1.parse::<u64>().unwrap())
            .sum()
    };
    let (furnace, all) = (counted("burn_for_the_graph"), counted(" "));
    assert!(furnace * 2 > all, "{furnace} of {all}: {folded}");
    assert!(
        folded.contains("furnace;"),
        "by the thread's name: {folded}"
    );

    let two = tokio::join!(
        sidecar.get("/flamegraph?seconds=1&thread=furnace"),
        sidecar.get("/flamegraph?seconds=1&view=icicle"),
    );
    for (status, svg) in [two.0, two.1] {
        assert_eq!(status, 200, "{svg}");
        assert!(svg.contains("<svg") && svg.contains("% complete"), "{svg}");
        assert!(svg.contains("burn_for_the_graph"), "{svg}");
    }
    let (first, second) = tokio::join!(
        sidecar.get("/flamegraph?seconds=2&hz=49"),
        sidecar.get("/flamegraph?seconds=1&hz=49"),
    );
    let mut answers = [first.0, second.0];
    answers.sort_unstable();
    assert_eq!(answers, [200, 429], "one at a time");
    let (status, own) = sidecar
        .get("/flamegraph?target=self&seconds=1&type=wall")
        .await;
    assert_eq!(status, 200, "{own}");
    let (status, quality) = sidecar.get("/profile/quality").await;
    assert_eq!(status, 200, "{quality}");
    assert!(quality.contains("\"complete_percent\""), "{quality}");
}

/// An asynchronous task that computes, as none should.
async fn grind_orders(stop: Arc<AtomicBool>) {
    while !stop.load(Ordering::Relaxed) {
        std::hint::black_box(
            (0..200_000_u64).fold(1, |sum, number| sum ^ std::hint::black_box(number)),
        );
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tokio_hosts_time_is_told_apart_by_the_type_of_its_tasks() {
    let service = Service::start(BRISK);
    let sidecar = Sidecar::start(&service, "sidecar").await;
    sidecar
        .until_status("the host's process", |status| status.pid.is_some())
        .await;
    let test = "a_tokio_hosts_time_is_told_apart_by_the_type_of_its_tasks";
    if !can_sample(&sidecar, test).await {
        return;
    }
    let stop = Arc::new(AtomicBool::new(false));
    let task = tokio::spawn(grind_orders(Arc::clone(&stop)));
    let path = "/flamegraph?seconds=2&hz=199&view=task&format=folded";
    let (status, folded) = sidecar.get(path).await;
    stop.store(true, Ordering::Relaxed);
    task.await.unwrap();
    assert_eq!(status, 200, "{folded}");
    let counted = |fits: &dyn Fn(&str) -> bool| -> u64 {
        let lines = folded.lines().filter(|line| fits(line));
        lines
            .map(|line| line.rsplit_once(' ').unwrap().1.parse::<u64>().unwrap())
            .sum()
    };
    let ground = counted(&|line| line.split(';').next().unwrap().contains("grind_orders"));
    let elsewhere = counted(&|line| {
        line.contains("grind_orders") && !line.split(';').next().unwrap().contains("grind_orders")
    });
    assert!(
        ground > 5 && elsewhere * 20 <= ground,
        "{ground}, {elsewhere}: {folded}"
    );
}

#[test]
fn another_user_without_any_privilege_sees_its_own_processes() {
    use std::os::unix::process::CommandExt;
    const NOBODY: u32 = 65_534;
    let test = "another_user_without_any_privilege_sees_its_own_processes";
    let mut busy = std::process::Command::new("sh");
    let busy = busy
        .args(["-c", "while :; do :; done"])
        .uid(NOBODY)
        .gid(NOBODY)
        .spawn();
    let Ok(mut busy) = busy else {
        println!("skipped: {test}: only the superuser can start processes of others");
        return;
    };
    let pid = busy.id().to_string();
    let mut command = crate::support::trimtab();
    command.args([
        "flame",
        "--pid",
        &pid,
        "--seconds",
        "1",
        "--hz",
        "499",
        "--format",
        "folded",
    ]);
    let output = command.uid(NOBODY).gid(NOBODY).output();
    busy.kill().unwrap();
    busy.wait().unwrap();
    let Ok(output) = output else {
        println!("skipped: {test}: that user cannot run programs from here");
        return;
    };
    let (folded, said) = (
        String::from_utf8(output.stdout).unwrap(),
        String::from_utf8(output.stderr).unwrap(),
    );
    assert!(output.status.success(), "{said}");
    if said.contains("thread states") {
        println!("skipped: {test}: perf_event_open is denied here: {said}");
        return;
    }
    assert!(folded.starts_with("sh;"), "{folded}");
    let kernel_hidden =
        said.contains("perf, user frames") && said.contains("not seen: the kernel's frames");
    assert!(kernel_hidden || said.contains("kernel frames at"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_change_has_its_graph_of_before_and_after() {
    let service = Service::start(BRISK);
    let extra = "[flame]\nremember = \"on\"\n";
    let sidecar = Sidecar::start_with(&service, "sidecar", extra).await;
    sidecar
        .until_status("the host's process", |status| status.pid.is_some())
        .await;
    if !can_sample(&sidecar, "each_change_has_its_graph_of_before_and_after").await {
        return;
    }
    let _fire = Fire::light();
    // A change soon after the start would have no time before it that is remembered.
    until("some seconds that are remembered", || async {
        let (status, _) = sidecar
            .get("/flamegraph?from=-8&until=-5&format=folded")
            .await;
        (status == 200).then_some(())
    })
    .await;
    let generation = until("a change that was sent", || async {
        let entries = sidecar.decisions().await.entries;
        let mut tries = entries.iter().filter_map(|entry| match &entry.body {
            EntryBody::Outcome(outcome) if outcome.action == Action::Try => {
                Some(outcome.generation.0)
            }
            _ => None,
        });
        tries.next_back()
    })
    .await;
    let path = format!("/flamegraph/change/{generation}?seconds=3");
    let svg = until("the time after the change", || async {
        let (status, body) = sidecar.get(&path).await;
        assert!(matches!(status, 200 | 404 | 429), "{status}: {body}");
        if status == 404 {
            // The very first change may be older than what is remembered.
            assert!(body.contains("remembered"), "{body}");
        }
        (status == 200).then_some(body)
    })
    .await;
    assert!(svg.contains("red grew, blue shrank"), "{svg}");
    assert!(svg.contains("burn_for_the_graph"), "{svg}");
    let (status, page) = sidecar.get("/plain").await;
    assert_eq!(status, 200);
    assert!(page.contains("/flamegraph/change/"), "{page}");
    let (status, heat) = sidecar.get("/heatmap?window=60").await;
    assert_eq!(status, 200, "{heat}");
    assert!(heat.contains("/flamegraph?from="), "{heat}");
    let (status, past) = sidecar.get("/flamegraph?from=-5&format=folded").await;
    assert_eq!(status, 200, "{past}");
    assert!(past.contains("burn_for_the_graph"), "{past}");
}

/// The processes that a process has started, whichever of its threads did.
fn children(pid: &str) -> Vec<String> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let lists =
        tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("children")).ok());
    let all: Vec<String> = lists.collect();
    all.iter()
        .flat_map(|list| list.split_whitespace().map(str::to_owned))
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_profiler_that_is_killed_costs_the_graph_and_nothing_else() {
    let service = Service::start(BRISK);
    let sidecar = Sidecar::start(&service, "sidecar").await;
    sidecar
        .until_status("the host's process", |status| status.pid.is_some())
        .await;
    let waiting = sidecar.get("/flamegraph?seconds=60");
    let killing = async {
        let profiler = until("the profiler", || async {
            // The sidecar's only child is what starts profilers, and its threads have the profilers as theirs.
            let keeper = children(&sidecar.pid().to_string()).pop()?;
            children(&keeper).pop()
        })
        .await;
        let mut kill = std::process::Command::new("kill");
        let killed = kill.args(["-s", "KILL", &profiler]).status().unwrap();
        assert!(killed.success());
    };
    let ((status, body), ()) = tokio::join!(waiting, killing);
    assert_eq!(status, 503, "{body}");
    let (status, body) = sidecar.get("/flamegraph?seconds=1").await;
    assert_eq!(status, 200, "the next one starts another: {body}");
    let (status, _) = sidecar.get("/livez").await;
    assert_eq!(status, 200);
}
