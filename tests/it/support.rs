//! A service in this process, the sidecar as a child, and ways to ask both.

use crate::inner_cargo;
use serde::de::DeserializeOwned;
use std::future::Future;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::JoinHandle;
use trimtab::host_client::{Answer, HostClient};
use trimtab_host::host::{Host, HostBuilder, HostHandle};
use trimtab_host::pool::Pool;
use trimtab_protocol::name::KnobName;
use trimtab_protocol::state::HostState;
use trimtab_protocol::view::{Decisions, HostStatus};

/// After this a test gives up; everything it waits for takes seconds.
pub(crate) const HANG_GUARD: Duration = Duration::from_secs(90);

/// Waits until something is there.
pub(crate) async fn until<T, F: Future<Output = Option<T>>>(
    what: &str,
    mut look: impl FnMut() -> F,
) -> T {
    let looking = async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    match tokio::time::timeout(HANG_GUARD, looking).await {
        Ok(found) => found,
        Err(_) => panic!("waited in vain for {what}"),
    }
}

/// The example as it is in the tree now. A test runner does not build examples, and one that lies there may be old.
pub(crate) fn example(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let profile = test.ancestors().nth(2).unwrap();
    let built_as = profile.file_name().unwrap().to_str().unwrap();
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut build = Command::new(cargo);
    for name in inner_cargo::told_by_the_outer() {
        build.env_remove(name);
    }
    let built = build
        .args(["build", "--quiet", "--example", name, "--profile"])
        .arg(if built_as == "debug" { "dev" } else { built_as })
        .arg("--target-dir")
        .arg(profile.parent().unwrap())
        .arg("--manifest-path")
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"))
        .status()
        .unwrap();
    assert!(built.success(), "the example was not built");
    profile.join("examples").join(name)
}

/// A service with one pool under steady load.
pub(crate) struct Service {
    pub(crate) pool: Pool,
    pub(crate) directory: Arc<TempDir>,
    host: Option<HostHandle>,
    load: Option<JoinHandle<()>>,
}

/// What the load is like.
#[derive(Clone, Copy)]
pub(crate) struct Load {
    /// Time between two arrivals.
    pub(crate) every: Duration,
    /// How long each job waits for something else.
    pub(crate) job: Duration,
}

/// Jobs of 40 ms, 200 a second: eight workers are enough.
pub(crate) const BRISK: Load = Load {
    every: Duration::from_millis(5),
    job: Duration::from_millis(40),
};

/// Jobs of 400 ms, 20 a second: eight workers are enough, and a verdict takes seconds.
pub(crate) const SLOW: Load = Load {
    every: Duration::from_millis(50),
    job: Duration::from_millis(400),
};

impl Service {
    /// Starts it with two workers.
    pub(crate) fn start(load: Load) -> Self {
        let directory = Arc::new(tempfile::tempdir().unwrap());
        let mut service = Self {
            pool: pool(),
            directory,
            host: None,
            load: None,
        };
        service.listen();
        service.arrive(load);
        service
    }

    /// A directory for a service that is not there yet.
    pub(crate) fn absent() -> Self {
        Self {
            pool: pool(),
            directory: Arc::new(tempfile::tempdir().unwrap()),
            host: None,
            load: None,
        }
    }

    /// Offers the control API.
    pub(crate) fn listen(&mut self) {
        self.listen_as(|builder| builder);
    }

    /// Offers the control API in another way.
    pub(crate) fn listen_as(&mut self, change: impl FnOnce(HostBuilder) -> HostBuilder) {
        let builder = Host::builder("shop")
            .version("1.0")
            .socket_dir(self.directory.path())
            .part(Arc::new(self.pool.clone()));
        self.host = Some(change(builder).start().unwrap());
    }

    /// Ends the run and begins another, with a new pool under the same load.
    pub(crate) async fn restart(&mut self, load: Load) {
        if let Some(host) = self.host.take() {
            host.shutdown().await;
        }
        self.load.take().unwrap().abort();
        self.pool = pool();
        self.listen();
        self.arrive(load);
    }

    /// Lets work come.
    pub(crate) fn arrive(&mut self, load: Load) {
        let pool = self.pool.clone();
        self.load = Some(tokio::spawn(async move {
            let mut arrivals = tokio::time::interval(load.every);
            loop {
                arrivals.tick().await;
                let pool = pool.clone();
                // What becomes of a job shows in the pool's own figures. Its time begins when a worker takes it up.
                let job = async move { tokio::time::sleep(load.job).await };
                tokio::spawn(async move { pool.run(job).await });
            }
        }));
    }

    pub(crate) fn control_socket(&self) -> PathBuf {
        self.directory.path().join("control.sock")
    }

    pub(crate) fn operator_socket(&self) -> PathBuf {
        self.directory.path().join("operator.sock")
    }

    pub(crate) async fn state(&self) -> Option<HostState> {
        let mut client = HostClient::new(self.control_socket(), Duration::from_secs(5));
        match client.state().await {
            Answer::Done(state) => Some(state),
            Answer::Refused(_) | Answer::Lost(_) => None,
        }
    }

    pub(crate) async fn workers(&self) -> u64 {
        let state = self.state().await.unwrap();
        state.pools["web"].knobs[KnobName::WORKERS]
            .value
            .as_integer()
            .unwrap()
    }

    /// Waits until a trial is open.
    pub(crate) async fn until_trial(&self) {
        until("a trial", || async {
            self.state()
                .await
                .and_then(|state| state.pools["web"].trial.clone())
        })
        .await;
    }

    /// Waits until no trial is open.
    pub(crate) async fn until_no_trial(&self) {
        until("the trial's end", || async {
            self.state()
                .await
                .filter(|state| state.pools["web"].trial.is_none())
        })
        .await;
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        if let Some(load) = self.load.take() {
            load.abort();
        }
    }
}

fn pool() -> Pool {
    Pool::builder("web")
        .workers(2, 1..=64)
        .queue_limit(8, 1..=1_000)
        .timeout_ms(2_000, 100..=60_000)
        .build()
        .unwrap()
}

/// The sidecar as a process of its own.
pub(crate) struct Sidecar {
    child: Child,
    pub(crate) address: String,
    log: PathBuf,
}

impl Sidecar {
    /// Starts it in mode `act` at four ticks a second, with its ledger in `name` beside the sockets.
    pub(crate) async fn start(service: &Service, name: &str) -> Self {
        let directory = service.directory.path();
        Self::start_with_ledger(service, name, &directory.join(name)).await
    }

    /// The same with more in its configuration.
    pub(crate) async fn start_with(service: &Service, name: &str, extra: &str) -> Self {
        Self::start_as(service, name, |text| text + extra).await
    }

    pub(crate) async fn start_with_ledger(service: &Service, name: &str, ledger: &Path) -> Self {
        let (config, log) = Self::configure(service, name, ledger, |text| text);
        Self::spawn(trimtab().args(["run", "--config"]).arg(&config), log).await
    }

    /// Starts it with another configuration, made from the usual one.
    pub(crate) async fn start_as(
        service: &Service,
        name: &str,
        change: impl FnOnce(String) -> String,
    ) -> Self {
        let ledger = service.directory.path().join(name);
        let (config, log) = Self::configure(service, name, &ledger, change);
        Self::spawn(trimtab().args(["run", "--config"]).arg(&config), log).await
    }

    /// Writes its configuration: the file's path, and that of the log to be.
    pub(crate) fn configure(
        service: &Service,
        name: &str,
        ledger: &Path,
        change: impl FnOnce(String) -> String,
    ) -> (PathBuf, PathBuf) {
        let directory = service.directory.path();
        let config = directory.join(format!("{name}.toml"));
        let text = format!(
            "mode = \"act\"\ninterval = \"250ms\"\n\n[[hosts]]\nid = \"shop\"\nsocket = {:?}\n\n[serve]\naddress = \
             \"127.0.0.1:0\"\n\n[ledger]\ndirectory = {:?}\n\n[lease]\nttl = \"2s\"\n\n[log]\nformat = \"json\"\n\n",
            service.control_socket(),
            ledger
        );
        std::fs::write(&config, change(text)).unwrap();
        (config, directory.join(format!("{name}.log")))
    }

    pub(crate) async fn spawn(command: &mut Command, log: PathBuf) -> Self {
        let child = command
            .stderr(std::fs::File::create(&log).unwrap())
            .spawn()
            .unwrap();
        let serving = "\"serving\"";
        let address = until("the sidecar's address", || async {
            address_in(&log, serving)
        })
        .await;
        Self {
            child,
            address,
            log,
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Asks it for a document: the status and the body.
    pub(crate) async fn get(&self, path: &str) -> (u16, String) {
        let stream = TcpStream::connect(&self.address).await.unwrap();
        http(stream, "GET", path, &self.address, None).await
    }

    /// Asks it with further headers.
    pub(crate) async fn get_with(&self, path: &str, headers: &str) -> (u16, String) {
        let stream = TcpStream::connect(&self.address).await.unwrap();
        exchange(stream, &format!("GET {path}"), headers, "").await
    }

    pub(crate) async fn json<T: DeserializeOwned>(&self, path: &str) -> T {
        let (status, body) = self.get(path).await;
        assert_eq!(status, 200, "{path}: {body}");
        serde_json::from_str(&body).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    pub(crate) async fn status(&self) -> Option<HostStatus> {
        let (status, body) = self.get("/api/v1/hosts/shop/status").await;
        (status == 200).then(|| serde_json::from_str(&body).unwrap())
    }

    pub(crate) async fn decisions(&self) -> Decisions {
        self.json("/api/v1/hosts/shop/decisions").await
    }

    /// Waits until its status fits.
    pub(crate) async fn until_status(
        &self,
        what: &str,
        fits: impl Fn(&HostStatus) -> bool,
    ) -> HostStatus {
        until(what, || async { self.status().await.filter(&fits) }).await
    }

    pub(crate) fn signal(&self, name: &str) {
        let status = Command::new("kill")
            .args(["-s", name, &self.pid().to_string()])
            .status()
            .unwrap();
        assert!(status.success());
    }

    /// Waits for its end and says how it ended.
    pub(crate) async fn ended(&mut self) -> std::process::ExitStatus {
        for _ in 0..4_500 {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("the sidecar did not end: {}", self.log());
    }

    /// The file of its log.
    pub(crate) fn log_file(&self) -> &Path {
        &self.log
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }
}

impl Drop for Sidecar {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Names another program to test than the one that was built.
pub(crate) const PROGRAM: &str = "TRIMTAB_TEST_PROGRAM";

/// The sidecar's command, with none of this environment's own settings.
pub(crate) fn trimtab() -> Command {
    let built = || env!("CARGO_BIN_EXE_trimtab").into();
    let mut command = Command::new(std::env::var_os(PROGRAM).unwrap_or_else(built));
    command.env_clear().stdin(Stdio::null());
    command
}

/// Runs a command to its end: the exit code, what it wrote, and what it complained of.
pub(crate) fn run(command: &mut Command) -> (i32, String, String) {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut out, mut err) = (String::new(), String::new());
    child
        .stdout
        .take()
        .unwrap()
        .read_to_string(&mut out)
        .unwrap();
    child
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut err)
        .unwrap();
    (child.wait().unwrap().code().unwrap(), out, err)
}

/// The address in the line of a log that has this word.
pub(crate) fn address_in(log: &Path, word: &str) -> Option<String> {
    let text = std::fs::read_to_string(log).ok()?;
    let line = text.lines().find(|line| line.contains(word))?;
    let after = &line[line.find("127.0.0.1:")?..];
    Some(after.chars().take_while(|letter| *letter != '"').collect())
}

/// One request over a fresh connection, and the answer's status and body.
pub(crate) async fn http<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    method: &str,
    path: &str,
    host: &str,
    body: Option<&str>,
) -> (u16, String) {
    let body = body.unwrap_or_default();
    let headers = format!(
        "Host: {host}\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {}\r\n",
        body.len()
    );
    exchange(stream, &format!("{method} {path}"), &headers, body).await
}

/// The same with headers of one's own, each of which ends its line.
pub(crate) async fn exchange<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    target: &str,
    headers: &str,
    body: &str,
) -> (u16, String) {
    let request = format!("{target} HTTP/1.0\r\n{headers}\r\n{body}");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    tokio::time::timeout(HANG_GUARD, stream.read_to_end(&mut answer))
        .await
        .expect("an answer")
        .unwrap();
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    (
        head.split(' ').nth(1).unwrap().parse().unwrap(),
        body.to_owned(),
    )
}

/// An operator's call.
pub(crate) async fn operator(
    service: &Service,
    method: &str,
    path: &str,
    body: Option<&str>,
) -> (u16, String) {
    let stream = UnixStream::connect(service.operator_socket())
        .await
        .unwrap();
    http(stream, method, path, "localhost", body).await
}
