//! The background work: exports, as a pipeline of three stages.
//!
//! | stage | what it does |
//! |---|---|
//! | `background` | writes a file, reads it back, hashes it |
//! | `background-digests` | collects digests into batches, each digest once |
//! | `background-archive` | hands a batch to the slow archive, in one call |
//!
//! A job is taken at once (202), or turned away when there is no room for it (503); who wants to know how it ended asks with
//! `?wait=true`.

use super::api::hexadecimal;
use super::host::{Failure, Service};
use super::line::LineClient;
use super::settings::PoolSettings;
use axum::Json;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::oneshot;
use trimtab_host::batch::Batch;
use trimtab_host::deadline::Deadline;
use trimtab_host::pipeline::{NotSent, Pipeline, Stage};
use trimtab_host::pool::{BuildError, PoolError};
use trimtab_protocol::state::PoolKind;

/// How long an export's file is, in lines of 64 bytes.
const LINES: usize = 4_096;

/// What is said with a job.
#[derive(Debug, Deserialize)]
pub(crate) struct JobQuery {
    /// Answer when the job has ended, instead of at once.
    #[serde(default)]
    wait: bool,
}

/// A job, and who waits for its end.
#[derive(Debug)]
pub(crate) struct Job {
    number: u64,
    waiting: Vec<oneshot::Sender<String>>,
}

/// What an export yields.
#[derive(Debug)]
struct Exported {
    digest: String,
    waiting: Vec<oneshot::Sender<String>>,
}

/// When somebody who was turned away should come back: after a few jobs have ended.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// How long the archive is waited for; it takes a quarter of a second.
const ARCHIVE_TIME: Duration = Duration::from_secs(10);

/// `POST /jobs` and `POST /jobs?wait=true`.
pub(crate) async fn submit(
    State(service): State<Arc<Service>>,
    Query(query): Query<JobQuery>,
) -> Result<(StatusCode, Json<Value>), Failure> {
    let number = service.jobs.fetch_add(1, Ordering::Relaxed);
    let (done, ended) = oneshot::channel();
    let waiting = if query.wait { vec![done] } else { Vec::new() };
    let sent = service.background.try_send(Job { number, waiting });
    if let Err(NotSent::Full(_) | NotSent::Closed(_)) = sent {
        let retry_after = RETRY_AFTER;
        return Err(PoolError::Full { retry_after }.into());
    }
    if !query.wait {
        return Ok((StatusCode::ACCEPTED, Json(json!({ "job": number }))));
    }
    let patience = Deadline::after(service.job_patience);
    let ended = patience.bound(ended).await;
    // A job that failed drops its end of the channel.
    let digest = ended.map_err(|_| PoolError::TimedOut { waited: false })??;
    Ok((
        StatusCode::OK,
        Json(json!({ "job": number, "digest": digest })),
    ))
}

/// The pipeline that works off the jobs.
pub(crate) fn pipeline(
    settings: PoolSettings,
    archive: Arc<LineClient>,
    exports: PathBuf,
) -> Result<Pipeline<Job>, BuildError> {
    let exporting = Stage::new("background")
        .kind(PoolKind::Background)
        .workers(settings.workers, 1..=512)
        .queue_limit(settings.queue_limit, 1..=100_000);
    let collecting = Batch::new("background-digests")
        .kind(PoolKind::Background)
        .size(16, 1..=256)
        .linger_ms(50, 0..=1_000);
    let archiving = Stage::new("background-archive")
        .kind(PoolKind::Background)
        .workers(4, 1..=64);
    Pipeline::builder()
        .stage(exporting, move |job: Job| {
            let exports = exports.clone();
            async move {
                // Files are read and written on the runtime's blocking threads; the stage says how many at a time.
                let digest = tokio::task::spawn_blocking(move || export(&exports, job.number));
                Ok::<_, io::Error>(Exported {
                    digest: digest.await.map_err(io::Error::other)??,
                    waiting: job.waiting,
                })
            }
        })
        .batch_by_key(
            collecting,
            |exported: &Exported| exported.digest.clone(),
            |kept, later| kept.waiting.extend(later.waiting),
        )
        .stage(archiving, move |batch| {
            let archive = Arc::clone(&archive);
            async move {
                Deadline::after(ARCHIVE_TIME)
                    .scope(keep(&archive, batch))
                    .await
            }
        })
        .build()
}

/// Hands a batch to the archive, and tells those who wait.
async fn keep(archive: &LineClient, batch: Vec<Exported>) -> io::Result<()> {
    let mut call = "keep".to_owned();
    for exported in &batch {
        call.push(' ');
        call.push_str(&exported.digest);
    }
    archive.call(&call).await?;
    for exported in batch {
        for waiting in exported.waiting {
            // Whoever waited may have gone.
            drop(waiting.send(exported.digest.clone()));
        }
    }
    Ok(())
}

/// Writes an export, reads it back and returns its digest. The file is gone afterwards.
fn export(directory: &Path, job: u64) -> io::Result<String> {
    let path = directory.join(format!("export-{job}.csv"));
    let text: String = (0..LINES)
        .map(|line| {
            format!(
                "{job:>20},{line:>20},{:>20}\n",
                job.wrapping_mul(31) ^ line as u64
            )
        })
        .collect();
    std::fs::write(&path, text)?;
    let digest = Sha256::digest(std::fs::read(&path)?);
    std::fs::remove_file(&path)?;
    Ok(hexadecimal(&digest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_export_has_its_own_digest_and_leaves_no_file() {
        let directory = tempfile::tempdir().expect("a directory");
        let first = export(directory.path(), 1).expect("it is written");
        let second = export(directory.path(), 2).expect("it is written");
        assert_ne!(first, second);
        assert_eq!(export(directory.path(), 1).expect("again"), first);
        let left = std::fs::read_dir(directory.path()).expect("it is there");
        assert_eq!(left.count(), 0);
    }
}
