//! The api pool's work: a payment with its receipt. It hashes and compresses the receipt, then moves the money downstream.
//!
//! The computing is short; what limits it is the downstream, which does less the more is asked of it at a time. So a pool
//! that is large "to be safe" makes everything slower.
//!
//! The computing is a job for real threads, unless handing it over would take longer than doing it or those threads are busy;
//! then it is done in place. The compressed receipt is written into chunks of a slab.

use super::host::{Failure, Service};
use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use flate2::Compression;
use flate2::write::GzEncoder;
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use std::fmt::Write as _;
use std::io::Write as _;
use std::sync::Arc;
use trimtab_host::slab::Text;

/// What became of a payment.
#[derive(Debug, Serialize)]
pub(crate) struct Payment {
    /// The receipt's digest, in hexadecimal.
    digest: String,
    /// The receipt's size once compressed, in bytes.
    stored_bytes: usize,
    /// How many attempts the transfer took downstream.
    attempts: u32,
}

/// `POST /payments/{from}/{to}/{amount}` with the receipt as its body.
pub(crate) async fn payment(
    State(service): State<Arc<Service>>,
    Path((from, to, amount)): Path<(u32, u32, u32)>,
    receipt: Bytes,
) -> Result<Json<Payment>, Failure> {
    let chunks = service.receipts.text();
    let computing = service
        .computing
        .run_or_inline(&service.digesting, move || {
            digest_and_size(&receipt, chunks)
        })?;
    let (digest, stored_bytes) = computing.await??;
    let answer = service
        .downstream
        .call(&format!("transfer {from} {to} {amount}"))
        .await?;
    Ok(Json(Payment {
        digest,
        stored_bytes,
        attempts: answer.parse()?,
    }))
}

/// One to two milliseconds of real computing.
fn digest_and_size(receipt: &[u8], chunks: Text) -> std::io::Result<(String, usize)> {
    let mut encoder = GzEncoder::new(chunks, Compression::default());
    encoder.write_all(receipt)?;
    let compressed = encoder.finish()?;
    let mut digest = Sha256::new();
    digest.update(receipt);
    for chunk in compressed.chunks() {
        digest.update(chunk);
    }
    Ok((hexadecimal(&digest.finalize()), compressed.len()))
}

/// Bytes as two digits each.
pub(crate) fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string cannot fail.
        write!(text, "{byte:02x}").expect("a string takes all text");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use trimtab_host::slab::Slab;

    #[test]
    fn the_same_receipt_has_the_same_digest_however_it_is_cut_and_another_has_another() {
        let receipt = "one kettle, 12.05; ".repeat(500);
        let digest_of = |receipt: &str, chunk_bytes| {
            let slab = Slab::builder("receipts").chunk_bytes(chunk_bytes, 16..=65_536);
            let chunks = slab.build().expect("it can be").text();
            digest_and_size(receipt.as_bytes(), chunks).expect("it compresses")
        };
        let (digest, size) = digest_of(&receipt, 32);
        assert_eq!(digest.len(), 64);
        assert!(size < receipt.len() / 4, "{size}");
        assert_eq!(digest_of(&receipt, 4_096), (digest.clone(), size));
        assert_ne!(digest_of("two kettles", 32).0, digest);
    }

    #[test]
    fn bytes_have_two_digits_each() {
        assert_eq!(hexadecimal(&[0, 10, 255]), "000aff");
    }
}
