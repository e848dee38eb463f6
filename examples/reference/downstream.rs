//! The service behind the host, in its own process: a catalogue, an archive, and accounts with limited capacity.
//!
//! One line of text is one call, one line the answer: `ok ...` or `no ...`.
//!
//! | call | answer | takes |
//! |---|---|---|
//! | `get KEY` | the catalogue's entry | the catalogue's latency, however many ask |
//! | `keep DIGEST...` | how many digests are kept | the archive's latency, however many ask and however many come at a time |
//! | `transfer FROM TO AMOUNT` | how many attempts it took | see [`super::accounts`]: it gets worse when many ask |

use super::accounts::Accounts;
use super::catalogue::Catalogue;
use super::child::{announce, parent_gone};
use serde::{Deserialize, Serialize};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};

/// What the downstream is like.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct DownstreamOptions {
    /// How long the catalogue takes for an answer, in milliseconds.
    #[arg(long, default_value_t = 20)]
    pub(crate) catalogue_ms: u64,
    /// How long the archive takes for an answer, in milliseconds.
    #[arg(long, default_value_t = 250)]
    pub(crate) archive_ms: u64,
    /// How many accounts there are; fewer make transfers collide more.
    #[arg(long, default_value_t = 24)]
    pub(crate) accounts: usize,
    /// How many records of transfers are written at a time: the capacity.
    #[arg(long, default_value_t = 8)]
    pub(crate) writers: usize,
    /// How long a record takes, in milliseconds.
    #[arg(long, default_value_t = 20)]
    pub(crate) record_ms: u64,
}

impl DownstreamOptions {
    /// The same as arguments of a command line.
    pub(crate) fn to_args(&self) -> Vec<String> {
        vec![
            format!("--catalogue-ms={}", self.catalogue_ms),
            format!("--archive-ms={}", self.archive_ms),
            format!("--accounts={}", self.accounts),
            format!("--writers={}", self.writers),
            format!("--record-ms={}", self.record_ms),
        ]
    }
}

/// What the downstream says of itself once it listens.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct DownstreamAnnouncement {
    /// Where it listens.
    pub(crate) address: SocketAddr,
}

struct Downstream {
    catalogue: Catalogue,
    catalogue_time: Duration,
    archive_time: Duration,
    kept: AtomicU64,
    accounts: Accounts,
}

/// Serves until whoever started the process is gone.
pub(crate) async fn run(options: &DownstreamOptions) -> anyhow::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let downstream = Arc::new(Downstream {
        catalogue: Catalogue::new(),
        catalogue_time: Duration::from_millis(options.catalogue_ms),
        archive_time: Duration::from_millis(options.archive_ms),
        kept: AtomicU64::new(0),
        accounts: Accounts::new(
            options.accounts,
            options.writers,
            Duration::from_millis(options.record_ms),
        ),
    });
    announce(&DownstreamAnnouncement {
        address: listener.local_addr()?,
    })?;
    let serving = async {
        loop {
            let (stream, _) = listener.accept().await?;
            let downstream = Arc::clone(&downstream);
            // A connection that breaks off ends its own calls and nothing else.
            tokio::spawn(async move { downstream.serve(stream).await.is_ok() });
        }
    };
    // An interrupt from the terminal reaches all processes at once; this one stays until the host has finished its work.
    let _ignored = signal(SignalKind::interrupt())?;
    tokio::select! {
        ended = serving => ended,
        () = parent_gone() => Ok(()),
    }
}

impl Downstream {
    async fn serve(&self, stream: TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let mut stream = BufReader::new(stream);
        let mut line = String::new();
        while stream.read_line(&mut line).await? > 0 {
            let answer = match self.answer(line.trim_end()).await {
                Some(answer) => format!("ok {answer}\n"),
                None => "no such call\n".to_owned(),
            };
            stream.get_mut().write_all(answer.as_bytes()).await?;
            line.clear();
        }
        Ok(())
    }

    async fn answer(&self, line: &str) -> Option<String> {
        let mut words = line.split(' ');
        match words.next()? {
            "get" => {
                tokio::time::sleep(self.catalogue_time).await;
                self.catalogue.get(words.next()?).map(str::to_owned)
            }
            "keep" => {
                let digests = words.filter(|digest| !digest.is_empty()).count();
                let digests = u64::try_from(digests).ok().filter(|count| *count > 0)?;
                tokio::time::sleep(self.archive_time).await;
                let before = self.kept.fetch_add(digests, Ordering::Relaxed);
                Some((before + digests).to_string())
            }
            "transfer" => {
                let (from, to) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
                let amount = words.next()?.parse().ok()?;
                let attempts = self.accounts.transfer(from, to, amount).await;
                Some(attempts.to_string())
            }
            _ => None,
        }
    }
}
