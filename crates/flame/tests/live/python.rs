//! CPython hosts: by the interpreter's own functions, and by Python's where that is built in.

use crate::targets::{Target, can_sample, folded, installed, share};
use std::path::{Path, PathBuf};
use std::process::Command;
use trimtab_flame::ask::Shot;
use trimtab_flame::ladder::{Here, Rung, probe};
use trimtab_flame::{Format, Kind, shoot};

/// Two threads, of which one works seven parts of ten in one function and three in another, and one sleeps.
const THREADS: &str = "import threading, time
print('under way', flush=True)
def parse(until):
    s = 1
    while time.thread_time() < until:
        for n in range(200): s = (s * 31 + n) % 1000003
def sort(until):
    s = 2
    while time.thread_time() < until:
        for n in range(200): s = (s * 17 + n) % 1000003
def rest():
    while True: time.sleep(0.5)
def work():
    at = time.thread_time()
    while True:
        at += 0.07
        parse(at)
        at += 0.03
        sort(at)
threading.Thread(target=rest, daemon=True, name='resting').start()
work()";

/// The interpreter itself and not a wrapper that starts it.
fn interpreter() -> Option<PathBuf> {
    installed("python3")?;
    let asked = Command::new("python3")
        .args(["-c", "import sys; print(sys.executable)"])
        .output()
        .ok()?;
    let path = String::from_utf8(asked.stdout).ok()?;
    Some(PathBuf::from(path.trim()))
}

/// Whether the process's Python can be read; if not, says why.
fn reads_python(pid: u32) -> bool {
    let steps = probe(&Here, pid, None);
    let step = steps.iter().find(|step| step.rung == Rung::Python).unwrap();
    if !step.reached {
        println!(
            "Python's own calls are not read: {}; {}",
            step.reason, step.fix
        );
        assert!(
            step.reason.contains("CPython") || cfg!(feature = "python"),
            "{step:?}"
        );
    }
    step.reached
}

#[test]
fn python_is_shown_by_its_own_calls_or_by_the_interpreters() {
    let test = "python_is_shown_by_its_own_calls_or_by_the_interpreters";
    let Some(python) = interpreter().filter(|_| can_sample(test)) else {
        return;
    };
    let target = Target::start(Command::new(python).args(["-c", THREADS]), None);
    let shot = Shot {
        hz: 499,
        ..Shot::of(target.pid())
    };
    let (named, lines) = folded(&shot, 4_000);
    println!("{}", named.quality);
    if !reads_python(target.pid()) {
        assert!(share(&lines, "PyEval") > 90.0, "{lines:#?}");
        assert!(named.quality.complete_percent() > 95.0, "{}", named.quality);
        return;
    }
    // Some eighty looks: what chance allows is large. Where CPUs are short a thread that has just woken counts as well.
    let main: Vec<(String, u64)> = lines
        .iter()
        .filter(|(stack, _)| stack.starts_with("MainThread;"))
        .cloned()
        .collect();
    let (parse, sort) = (share(&main, "parse ("), share(&main, "sort ("));
    println!("parse {parse:.1} %, sort {sort:.1} %");
    assert!(
        (40.0..95.0).contains(&parse) && (5.0..60.0).contains(&sort),
        "{lines:#?}"
    );
    let shot = Shot {
        kind: Kind::Offcpu,
        thread: Some("resting".to_owned()),
        ..shot
    };
    let (_, lines) = folded(&shot, 1_000);
    assert!(share(&lines, "rest (") > 99.0, "{lines:#?}");
    let (_, svg) = shoot(
        &Shot {
            format: Format::Svg,
            ..Shot::of(target.pid())
        },
        300,
    )
    .unwrap();
    assert!(svg.len() < trimtab_flame::SVG_BYTES_MAX);
}

/// Answers one request by counting.
const SERVICE: &str = "def count_kettles():
    s = 0
    for n in range(400000): s = (s * 31 + n) % 1000003
    return s
def app(environ, start_response):
    body = str(count_kettles()).encode()
    start_response('200 OK', [('Content-Length', str(len(body)))])
    return [body]
";

/// gunicorn, as the system has it or as pip installs it beside the built tests.
fn gunicorn(python: &Path) -> Option<PathBuf> {
    let here = Path::new(env!("CARGO_TARGET_TMPDIR")).join("gunicorn");
    let program = here.join("bin/gunicorn");
    if !program.is_file() {
        let made = Command::new(python)
            .args(["-m", "venv"])
            .arg(&here)
            .output();
        let pip = |_| {
            let packages = [
                "install",
                "-q",
                "--disable-pip-version-check",
                "gunicorn==27.0.1",
            ];
            Command::new(here.join("bin/pip")).args(packages).output()
        };
        if !made
            .and_then(pip)
            .is_ok_and(|output| output.status.success())
        {
            return None;
        }
    }
    program.is_file().then_some(program)
}

#[test]
fn a_gunicorn_with_two_workers_is_shown_worker_by_worker() {
    let test = "a_gunicorn_with_two_workers_is_shown_worker_by_worker";
    let Some(python) = interpreter().filter(|_| can_sample(test)) else {
        return;
    };
    let Some(gunicorn) = gunicorn(&python) else {
        println!("skipped: {test}: gunicorn is not here and cannot be installed");
        return;
    };
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("shop.py"), SERVICE).unwrap();
    let socket = directory.path().join("shop.sock");
    let hook = "def when_ready(server): print('under way', flush=True)\n";
    std::fs::write(directory.path().join("conf.py"), hook).unwrap();
    let bind = format!("unix:{}", socket.display());
    let mut command = Command::new(gunicorn);
    command
        .args(["-w", "2", "-c", "conf.py", "-b", &bind, "shop:app"])
        .current_dir(directory.path());
    let target = Target::start(&mut command, Some(directory));
    let _clients = [Client::start(&socket), Client::start(&socket)];
    let shot = Shot {
        hz: 499,
        ..Shot::of(target.pid())
    };
    let (named, lines) = folded(&shot, 3_000);
    println!("{}", named.quality);
    let workers: std::collections::BTreeSet<&str> = lines
        .iter()
        .filter_map(|(stack, _)| stack.split(';').next())
        .filter(|root| root.ends_with(']'))
        .collect();
    assert_eq!(workers.len(), 2, "each by its number: {lines:#?}");
    let work = if reads_python(target.pid()) {
        "count_kettles ("
    } else {
        "PyEval"
    };
    assert!(share(&lines, work) > 30.0, "{lines:#?}");
}

/// Asks a service again and again until it is dropped.
struct Client(
    std::sync::Arc<std::sync::atomic::AtomicBool>,
    Option<std::thread::JoinHandle<()>>,
);

impl Client {
    fn start(socket: &Path) -> Self {
        use std::io::{Read as _, Write as _};
        let stop = std::sync::Arc::<std::sync::atomic::AtomicBool>::default();
        let (of_thread, socket) = (std::sync::Arc::clone(&stop), socket.to_owned());
        let thread = std::thread::spawn(move || {
            while !of_thread.load(std::sync::atomic::Ordering::Relaxed) {
                if let Ok(mut stream) = std::os::unix::net::UnixStream::connect(&socket) {
                    let request = b"GET / HTTP/1.0\r\nHost: shop\r\n\r\n";
                    let mut answer = Vec::new();
                    // One that is refused is asked again.
                    drop(stream.write_all(request));
                    drop(stream.read_to_end(&mut answer));
                }
            }
        });
        Self(stop, Some(thread))
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.0.store(true, std::sync::atomic::Ordering::Relaxed);
        self.1.take().unwrap().join().unwrap();
    }
}
