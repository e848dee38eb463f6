//! The background pool's work: an export. It writes a file, reads it back, hashes it, and hands the digest to the archive.
//!
//! A job is taken at once (202) and worked off by the pool later; who wants to know how it ended asks with `?wait=true`.

use super::api::hexadecimal;
use super::host::{Failure, Service};
use axum::Json;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// How long an export's file is, in lines of 64 bytes.
const LINES: usize = 4_096;

/// What is said with a job.
#[derive(Debug, Deserialize)]
pub(crate) struct JobQuery {
    /// Answer when the job has ended, instead of at once.
    #[serde(default)]
    wait: bool,
}

/// `POST /jobs` and `POST /jobs?wait=true`.
pub(crate) async fn submit(
    State(service): State<Arc<Service>>,
    Query(query): Query<JobQuery>,
) -> Result<(StatusCode, Json<Value>), Failure> {
    let job = service.jobs.fetch_add(1, Ordering::Relaxed);
    // A task of its own, so that a client that hangs up does not end the job with its connection.
    let working = tokio::spawn(work_off(Arc::clone(&service), job));
    if !query.wait {
        return Ok((StatusCode::ACCEPTED, Json(json!({ "job": job }))));
    }
    let digest = working.await.map_err(io::Error::other)??;
    Ok((
        StatusCode::OK,
        Json(json!({ "job": job, "digest": digest })),
    ))
}

/// Waits for its turn in the pool, then does the job.
async fn work_off(service: Arc<Service>, job: u64) -> Result<String, Failure> {
    let exports = service.exports.clone();
    service
        .background
        .run(async {
            // Files are read and written on the runtime's blocking threads; the pool says how many at a time.
            let digest = tokio::task::spawn_blocking(move || export(&exports, job))
                .await
                .map_err(io::Error::other)??;
            service.downstream.call(&format!("keep {digest}")).await?;
            Ok(digest)
        })
        .await?
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
