//! `trimtab exec`: runs a service with the sidecar beside it, for places where a second container is unwelcome.
//!
//! Three processes, so that nothing that the sidecar does can take the service with it: this one, which only waits, the service,
//! and the sidecar, which is started again when it dies. As the first process of a container this one also buries the dead that
//! nobody else waits for.

use super::{Console, Exit, RunArgs, SettingArgs};
use crate::telemetry::escaped;
use clap::Args;
use rustix::io::Errno;
use rustix::process::{
    Pid, Signal, WaitOptions, WaitStatus, getpid, kill_process, set_child_subreaper, wait,
};
use signal_hook::consts::signal::{
    SIGCHLD, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGWINCH,
};
use signal_hook::iterator::SignalsInfo;
use signal_hook::iterator::exfiltrator::WithOrigin;
use signal_hook::low_level::siginfo::{Cause, Origin};
use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};
use std::time::Duration;
use tokio::sync::mpsc::{self, UnboundedReceiver};
use tokio::time::Instant;

/// The options of `trimtab exec`: those of `trimtab run`, and the service's command line.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub struct ExecArgs {
    /// How the sidecar runs.
    #[command(flatten)]
    pub run: RunArgs,
    /// The service and its arguments, after `--`
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub command: Vec<OsString>,
}

/// The signals that a service may be sent and that are handed on to it.
const HANDED_ON: [i32; 7] = [SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGWINCH];

/// The sidecar's code where its command line or its configuration is wrong: starting it again would not help.
const NOT_STARTED_AGAIN: [i32; 2] = [64, 78];

/// How long the sidecar may take to give its lease back once the service has ended.
const FAREWELL: Duration = Duration::from_secs(5);

/// The pause before a dead sidecar is started again: the first, and the longest that doubling leads to.
const PAUSE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// A sidecar that lived as long as this did not die of its start.
const STEADY: Duration = Duration::from_secs(60);

impl ExecArgs {
    /// Runs both until the service ends, and ends as it did: with its code, or with 128 and the number of the signal that ended
    /// it; 126 or 127 where it cannot be started.
    pub async fn execute(&self, console: &mut Console<'_>) -> Exit {
        let signals = match signals() {
            Ok(signals) => signals,
            Err(error) => return console.fail(&error),
        };
        // Without it the dead are buried further up, which is as well.
        let _buries = set_child_subreaper(Some(getpid())).is_ok();
        let service = match self.start_service() {
            Ok(service) => service,
            Err(error) => {
                let name = self.command.first().map(|name| name.to_string_lossy());
                let name = escaped(&name.unwrap_or_default());
                console.fail(&format!("the service `{name}` cannot be started: {error}"));
                let missing = error.kind() == io::ErrorKind::NotFound;
                return Exit::Of(if missing { 127 } else { 126 });
            }
        };
        let supervisor = Supervisor {
            run: &self.run,
            signals,
            service,
            sidecar: Sidecar::Waits(Instant::now()),
            pause: PAUSE.0,
            console,
        };
        supervisor.watch().await
    }

    fn start_service(&self) -> io::Result<Pid> {
        let (program, args) = self
            .command
            .split_first()
            .ok_or(io::ErrorKind::InvalidInput)?;
        let mut command = Command::new(program);
        command.args(args);
        start(&mut command)
    }
}

/// Starts a process that is waited for as one of all children.
fn start(command: &mut Command) -> io::Result<Pid> {
    let child = command.spawn()?;
    i32::try_from(child.id())
        .ok()
        .and_then(Pid::from_raw)
        .ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// Listens on a thread of its own, which ends with the process.
fn signals() -> io::Result<UnboundedReceiver<Origin>> {
    let mut heard = SignalsInfo::<WithOrigin>::new(HANDED_ON.iter().chain(&[SIGCHLD]))?;
    let (tell, told) = mpsc::unbounded_channel();
    std::thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            for origin in &mut heard {
                if tell.send(origin).is_err() {
                    return;
                }
            }
        })?;
    Ok(told)
}

/// Where the sidecar stands.
#[derive(Clone, Copy, Debug)]
enum Sidecar {
    Runs {
        pid: Pid,
        since: Instant,
    },
    /// It is started at this moment.
    Waits(Instant),
    /// It is not started again.
    Absent,
}

struct Supervisor<'a, 'w> {
    run: &'a RunArgs,
    signals: UnboundedReceiver<Origin>,
    service: Pid,
    sidecar: Sidecar,
    pause: Duration,
    console: &'a mut Console<'w>,
}

impl Supervisor<'_, '_> {
    async fn watch(mut self) -> Exit {
        loop {
            tokio::select! {
                origin = self.signals.recv() => match origin {
                    Some(origin) if origin.signal == SIGCHLD => {
                        if let Some(ended) = self.bury() {
                            self.say_farewell().await;
                            return exit(ended);
                        }
                    }
                    Some(origin) => self.hand_on(&origin),
                    None => return Exit::Failed,
                },
                () = due(self.sidecar) => self.start_sidecar(),
            }
        }
    }

    /// What a terminal sends, it sends to the service itself as well, for both are of one group.
    fn hand_on(&self, origin: &Origin) {
        if matches!(origin.cause, Cause::Kernel) {
            return;
        }
        if let Some(signal) = Signal::from_named_raw(origin.signal) {
            // It may have ended just now; then its end is told next.
            let _heard = kill_process(self.service, signal).is_ok();
        }
    }

    fn start_sidecar(&mut self) {
        let mut command = Command::new("/proc/self/exe");
        command.arg("run").args(words(self.run));
        // In a group of its own, so that a terminal's ^C reaches the service first and the sidecar once that has ended.
        command.stdin(Stdio::null()).process_group(0);
        self.sidecar = match start(&mut command) {
            Ok(pid) => Sidecar::Runs {
                pid,
                since: Instant::now(),
            },
            Err(error) => {
                self.console
                    .fail(&format!("the sidecar cannot be started: {error}"));
                Sidecar::Waits(self.later())
            }
        };
    }

    /// When the sidecar may be started again; each time twice as long from now.
    fn later(&mut self) -> Instant {
        let pause = self.pause;
        self.pause = (pause * 2).min(PAUSE.1);
        Instant::now() + pause
    }

    /// Waits for all that have ended, and says how the service did, if it has.
    fn bury(&mut self) -> Option<WaitStatus> {
        let mut ended = None;
        loop {
            match wait(WaitOptions::NOHANG) {
                Ok(Some((pid, status))) if pid == self.service => ended = Some(status),
                Ok(Some((pid, status))) => self.mourn(pid, status),
                Err(Errno::INTR) => {}
                Ok(None) | Err(_) => return ended,
            }
        }
    }

    /// The sidecar's end is told; others are orphans of the service that nobody else waits for.
    fn mourn(&mut self, pid: Pid, status: WaitStatus) {
        let Sidecar::Runs { pid: ours, since } = self.sidecar else {
            return;
        };
        if pid != ours {
            return;
        }
        let code = status.exit_status();
        if code.is_some_and(|code| NOT_STARTED_AGAIN.contains(&code)) {
            self.sidecar = Sidecar::Absent;
            self.console
                .fail(&"the sidecar refused its configuration; the service runs on without it");
            return;
        }
        if since.elapsed() >= STEADY {
            self.pause = PAUSE.0;
        }
        let seconds = self.pause.as_secs();
        self.sidecar = Sidecar::Waits(self.later());
        let how = match (code, status.terminating_signal()) {
            (Some(code), _) => format!("ended with {code}"),
            (None, Some(signal)) => format!("was ended by signal {signal}"),
            (None, None) => "ended".to_owned(),
        };
        let text =
            format!("the sidecar {how} and is started again in {seconds} s; the service runs on");
        self.console.fail(&text);
    }

    /// Lets the sidecar give its lease back.
    async fn say_farewell(&mut self) {
        let Sidecar::Runs { pid, .. } = self.sidecar else {
            return;
        };
        let _heard = kill_process(pid, Signal::TERM).is_ok();
        let deadline = Instant::now() + FAREWELL;
        while matches!(self.sidecar, Sidecar::Runs { .. }) {
            match wait(WaitOptions::NOHANG) {
                Ok(Some((ended, _))) if ended == pid => return,
                Ok(Some(_)) | Err(Errno::INTR) => {}
                Err(_) => return,
                Ok(None) => {
                    let heard = tokio::time::timeout_at(deadline, self.signals.recv());
                    if heard.await.is_err() {
                        let _heard = kill_process(pid, Signal::KILL).is_ok();
                        return;
                    }
                }
            }
        }
    }
}

/// Waits until the sidecar is to be started; for ever where it is not.
async fn due(sidecar: Sidecar) {
    match sidecar {
        Sidecar::Waits(until) => tokio::time::sleep_until(until).await,
        Sidecar::Runs { .. } | Sidecar::Absent => std::future::pending().await,
    }
}

/// The options as they stand on the sidecar's command line.
fn words(run: &RunArgs) -> Vec<OsString> {
    let RunArgs {
        settings,
        no_cage,
        record,
    } = run;
    let SettingArgs {
        config,
        mode,
        socket,
        listen,
    } = settings;
    let mut words = Vec::new();
    let mut add = |name: &str, value: Option<OsString>| {
        if let Some(value) = value {
            words.extend([name.into(), value]);
        }
    };
    add("--config", config.config.clone().map(Into::into));
    add("--mode", mode.clone().map(Into::into));
    add("--socket", socket.clone().map(Into::into));
    add("--listen", listen.clone().map(Into::into));
    add("--record", record.clone().map(Into::into));
    if *no_cage {
        words.push("--no-cage".into());
    }
    words
}

/// The code that a shell would tell.
fn exit(status: WaitStatus) -> Exit {
    let code = match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => u8::try_from(code).ok(),
        (None, Some(signal)) => u8::try_from(signal)
            .ok()
            .and_then(|signal| 128_u8.checked_add(signal)),
        (None, None) => None,
    };
    code.map_or(Exit::Failed, Exit::Of)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Cli;
    use clap::Parser as _;

    #[test]
    fn the_sidecar_gets_each_option_as_it_was_given() {
        let line = "--config a.toml --mode act --socket s.sock --listen 127.0.0.1:0 --record tape --no-cage";
        let read = |line: String| {
            Cli::try_parse_from(line.split(' '))
                .expect("a good line")
                .command
        };
        let crate::cli::Command::Run(run) = read(format!("trimtab run {line}")) else {
            panic!("it asks to run");
        };
        let crate::cli::Command::Exec(exec) = read(format!("trimtab exec {line} -- app --mode x"))
        else {
            panic!("it asks to execute");
        };
        assert_eq!(exec.run, run);
        assert_eq!(exec.command, ["app", "--mode", "x"]);
        let again = words(&exec.run).join(" ".as_ref());
        let again = again.into_string().expect("it is text");
        let crate::cli::Command::Run(again) = read(format!("trimtab run {again}")) else {
            panic!("it asks to run");
        };
        assert_eq!(again, run);
    }

    #[test]
    fn without_a_service_there_is_nothing_to_run() {
        assert!(Cli::try_parse_from(["trimtab", "exec"]).is_err());
        assert!(Cli::try_parse_from(["trimtab", "exec", "app"]).is_err());
    }
}
