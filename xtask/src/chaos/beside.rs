//! A service beside a sidecar that is killed, hung or flooding, against the same service without one.
//!
//! Each pair is two short stretches of the same load, one with the trouble and one without, in turns first and second; beside
//! them are pairs of which neither has any, for what two stretches differ by themselves. A request is one that the pool admits
//! and that the service answers at once, so that nothing but the way through it is measured.

use super::world::{Process, Sidecar, World};
use super::{Bench, pause, wire};
use anyhow::{Context, Result, ensure};
use serde_json::json;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

/// Each sends one request after the other over a connection that stays.
const CLIENTS: usize = 4;
/// Between an answer and the next request, so that the machine is not full of clients.
const THINK: Duration = Duration::from_micros(500);
/// A request that no handler takes: it passes the pool, and is answered at once.
const PATH: &str = "/nothing-here";
const ANSWER: &[u8] = b"HTTP/1.1 404";
/// How long a sidecar serves before it is killed, and is away before a supervisor has started the next.
const SERVES: Duration = Duration::from_millis(50);
/// Threads of a sidecar that asks without end.
const FLOOD: usize = 4;
/// How often the pairs are drawn anew for an interval.
const RESAMPLES: usize = 4_000;

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Extent {
    /// Requests in all.
    pub(crate) requests: usize,
    /// Pairs of each sort of trouble.
    pub(crate) pairs: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trouble {
    None,
    /// Another program comes and goes instead: what that costs by itself.
    Other,
    Restarted,
    Killed,
    Hung,
    Flooding,
}

impl Trouble {
    const ALL: [Self; 6] = [
        Self::None,
        Self::Other,
        Self::Restarted,
        Self::Killed,
        Self::Hung,
        Self::Flooding,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::None => "nothing (A/A)",
            Self::Other => "away; `sleep` comes and goes instead",
            Self::Restarted => "killed and started once",
            Self::Killed => "killed and started without a pause",
            Self::Hung => "hung (stopped and resumed)",
            Self::Flooding => "flooding the control API",
        }
    }
}

/// What came of the pairs of one sort.
#[derive(Debug, Default)]
struct Row {
    requests: usize,
    failures: usize,
    why: String,
    happened: u64,
    /// 99th percentiles in microseconds: without and with.
    p99_us: Vec<(f64, f64)>,
}

/// Measures and prints the table.
///
/// # Errors
/// When a request failed, or a trouble did not happen.
pub(super) fn run(bench: &Bench, extent: Extent) -> Result<()> {
    ensure!(extent.pairs > 0, "no pairs");
    let each = extent
        .requests
        .div_ceil(2 * Trouble::ALL.len() * extent.pairs * CLIENTS);
    let mut world = World::idle(bench, "beside")?;
    let mut rows: Vec<Row> = Trouble::ALL.iter().map(|_| Row::default()).collect();
    let started = admitted(&world)?;
    for number in 0..extent.pairs {
        for (trouble, row) in Trouble::ALL.into_iter().zip(&mut rows) {
            let mut p99 = [0.0; 2];
            let order = if number.is_multiple_of(2) {
                [0, 1]
            } else {
                [1, 0]
            };
            for side in order {
                let trouble = if side == 1 { trouble } else { Trouble::None };
                let stretch = stretch(&mut world, trouble, each)?;
                row.requests += stretch.requests;
                row.failures += stretch.failures.len();
                if row.why.is_empty() {
                    row.why = stretch.failures.into_iter().next().unwrap_or_default();
                }
                row.happened += stretch.happened;
                if let Some(slot) = p99.get_mut(side) {
                    *slot = stretch.p99_us;
                }
            }
            let [without, with] = p99;
            row.p99_us.push((without, with));
        }
    }
    tell(&rows, extent.pairs);
    let passed = admitted(&world)? - started;
    let answered: usize = rows.iter().map(|row| row.requests - row.failures).sum();
    println!("the pool began {passed} requests; {answered} were answered");
    ensure!(passed >= answered as u64, "not all of them passed the pool");
    for (trouble, row) in Trouble::ALL.into_iter().zip(&rows) {
        ensure!(
            row.failures == 0,
            "{}: {} requests failed, the first because {}",
            trouble.name(),
            row.failures,
            row.why
        );
        ensure!(
            trouble == Trouble::None || row.happened > 0,
            "{}: it did not happen",
            trouble.name()
        );
    }
    Ok(())
}

fn tell(rows: &[Row], pairs: usize) {
    println!(
        "| the sidecar is | requests | failed | how often | p99 without, us | with | ratio, median of {pairs} pairs | 95 % interval |"
    );
    println!("|---|---:|---:|---:|---:|---:|---:|---:|");
    for (trouble, row) in Trouble::ALL.into_iter().zip(rows) {
        let ratios: Vec<f64> = row
            .p99_us
            .iter()
            .map(|(without, with)| with / without)
            .collect();
        let (low, high) = interval(&ratios);
        println!(
            "| {} | {} | {} | {} | {:.0} | {:.0} | {:.3} | {low:.3} .. {high:.3} |",
            trouble.name(),
            row.requests,
            row.failures,
            row.happened,
            median(row.p99_us.iter().map(|(without, _)| *without).collect()),
            median(row.p99_us.iter().map(|(_, with)| *with).collect()),
            median(ratios),
        );
    }
}

/// How many requests the pool has begun.
fn admitted(world: &World<'_>) -> Result<u64> {
    let state = world.state()?;
    state["pools"]["web"]["counters"]["started"]
        .as_u64()
        .context("the pool counts nothing")
}

struct Stretch {
    requests: usize,
    failures: Vec<String>,
    happened: u64,
    p99_us: f64,
}

/// So many requests of each client, under a trouble that goes on until they are done.
fn stretch(world: &mut World<'_>, trouble: Trouble, each: usize) -> Result<Stretch> {
    let sidecar = match trouble {
        Trouble::Restarted | Trouble::Killed | Trouble::Hung => Some(world.sidecar()?.0),
        Trouble::None | Trouble::Other | Trouble::Flooding => None,
    };
    if let (Trouble::Restarted | Trouble::Hung, Some(sidecar)) = (trouble, &sidecar) {
        sidecar.until_attached()?;
    }
    let (done, happened) = (AtomicBool::new(false), AtomicU64::new(0));
    let address = world.address().to_owned();
    let mut results = Vec::new();
    thread::scope(|scope| -> Result<()> {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|_| scope.spawn(|| client(&address, each)))
            .collect();
        let watch = scope.spawn(|| {
            for client in clients {
                results.push(client.join());
            }
            done.store(true, Ordering::SeqCst);
        });
        let troubled = make(world, trouble, sidecar, (&done, &happened));
        done.store(true, Ordering::SeqCst);
        drop(watch.join());
        troubled
    })?;
    let (mut times, mut failures) = (Vec::new(), Vec::new());
    for result in results {
        let (own, failed) = result.ok().context("a client panicked")?;
        times.extend(own);
        failures.extend(failed);
    }
    let requests = times.len() + failures.len();
    times.sort_by(f64::total_cmp);
    let place = times.len() * 99 / 100;
    Ok(Stretch {
        requests,
        failures,
        happened: happened.load(Ordering::SeqCst),
        p99_us: times
            .get(place)
            .copied()
            .context("no request was answered")?,
    })
}

/// Makes the trouble until the clients are done.
fn make(
    world: &mut World<'_>,
    trouble: Trouble,
    sidecar: Option<Sidecar>,
    (done, happened): (&AtomicBool, &AtomicU64),
) -> Result<()> {
    let goes_on = || !done.load(Ordering::SeqCst);
    match (trouble, sidecar) {
        (Trouble::Killed, Some(mut sidecar)) => {
            while goes_on() {
                pause(SERVES);
                sidecar.process.kill()?;
                happened.fetch_add(1, Ordering::SeqCst);
                if goes_on() {
                    sidecar = world.sidecar()?.0;
                }
            }
        }
        (Trouble::Restarted, Some(mut sidecar)) => {
            pause(SERVES);
            sidecar.process.kill()?;
            happened.fetch_add(1, Ordering::SeqCst);
            pause(SERVES);
            let sidecar = world.sidecar()?.0;
            while goes_on() {
                pause(Duration::from_millis(5));
            }
            drop(sidecar);
        }
        (Trouble::Other, _) => {
            while goes_on() {
                let mut other = Process::start(Command::new("sleep").arg("60"))?;
                pause(SERVES);
                other.kill()?;
                happened.fetch_add(1, Ordering::SeqCst);
            }
        }
        (Trouble::Hung, Some(sidecar)) => {
            while goes_on() {
                hang(&sidecar.process)?;
                happened.fetch_add(1, Ordering::SeqCst);
            }
        }
        (Trouble::Flooding, _) => thread::scope(|scope| {
            for _ in 0..FLOOD {
                scope.spawn(|| {
                    while goes_on() {
                        let asked = wire::state(&world.socket()).is_ok();
                        let stray =
                            json!({ "instance": "nobody", "holder": "flood", "ttl_ms": 500 });
                        drop(wire::ask(
                            &world.socket(),
                            "POST",
                            "/trimtab/v1/lease",
                            &stray,
                        ));
                        happened.fetch_add(2 * u64::from(asked), Ordering::SeqCst);
                    }
                });
            }
        }),
        _ => {
            while goes_on() {
                pause(Duration::from_millis(5));
            }
        }
    }
    Ok(())
}

fn hang(process: &Process) -> Result<()> {
    process.signal("STOP")?;
    pause(Duration::from_millis(300));
    process.signal("CONT")?;
    pause(Duration::from_millis(100));
    Ok(())
}

/// How long each request took, in microseconds, and why others failed.
#[expect(clippy::disallowed_types, reason = "real requests take real time")]
fn client(address: &str, each: usize) -> (Vec<f64>, Vec<String>) {
    let request = format!("GET {PATH} HTTP/1.1\r\nHost: {address}\r\n\r\n");
    let (mut times, mut failures) = (Vec::with_capacity(each), Vec::new());
    let mut stream = TcpStream::connect(address);
    for _ in 0..each {
        let began = std::time::Instant::now();
        let answered = match &mut stream {
            Ok(stream) => ask(stream, &request),
            Err(error) => Err(format!("there was no connection: {error}")),
        };
        match answered {
            Ok(()) => times.push(began.elapsed().as_secs_f64() * 1e6),
            Err(why) => {
                failures.push(why);
                stream = TcpStream::connect(address);
            }
        }
        pause(THINK);
    }
    (times, failures)
}

/// Asks once, or says why there was no answer.
fn ask(stream: &mut TcpStream, request: &str) -> std::result::Result<(), String> {
    let fault = |error: std::io::Error| error.to_string();
    stream
        .set_read_timeout(Some(Duration::from_secs(5)))
        .map_err(fault)?;
    stream.set_nodelay(true).map_err(fault)?;
    stream.write_all(request.as_bytes()).map_err(fault)?;
    let (mut answer, mut piece) = (Vec::new(), [0; 512]);
    while !answer.ends_with(b"\r\n\r\n") {
        let length = match stream.read(&mut piece) {
            // A signal came to this process while it read; that says nothing of the service.
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            read => read.map_err(fault)?,
        };
        if length == 0 {
            return Err("the connection was closed".to_owned());
        }
        answer.extend_from_slice(piece.get(..length).unwrap_or_default());
    }
    if answer.starts_with(ANSWER) {
        Ok(())
    } else {
        Err(String::from_utf8_lossy(&answer).into_owned())
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// The 95 % interval of the median, by drawing the pairs anew.
fn interval(ratios: &[f64]) -> (f64, f64) {
    let mut dice = 0x9e37_79b9_7f4a_7c15_u64;
    let mut draw = || {
        dice ^= dice << 13;
        dice ^= dice >> 7;
        dice ^= dice << 17;
        let place = usize::try_from(dice >> 33).unwrap_or(0) % ratios.len().max(1);
        ratios.get(place).copied().unwrap_or(f64::NAN)
    };
    let mut medians: Vec<f64> = (0..RESAMPLES)
        .map(|_| median(ratios.iter().map(|_| draw()).collect()))
        .collect();
    medians.sort_by(f64::total_cmp);
    let at = |permille: usize| medians.get(RESAMPLES * permille / 1_000).copied();
    (at(25).unwrap_or(f64::NAN), at(975).unwrap_or(f64::NAN))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_holds_the_median_and_widens_with_the_spread() {
        let narrow: Vec<f64> = (0..21)
            .map(|number| 1.0 + f64::from(number) / 1e4)
            .collect();
        let wide: Vec<f64> = (0..21)
            .map(|number| 1.0 + f64::from(number) / 10.0)
            .collect();
        let ((low, high), (wide_low, wide_high)) = (interval(&narrow), interval(&wide));
        assert!(low <= median(narrow.clone()) && median(narrow) <= high);
        assert!(wide_high - wide_low > 100.0 * (high - low));
    }
}
