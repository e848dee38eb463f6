//! The api pool's work: a payment with its receipt. It hashes and compresses the receipt, then moves the money downstream.
//!
//! The computing is short; what limits it is the downstream, which does less the more is asked of it at a time. So a pool
//! that is large "to be safe" makes everything slower.

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
    let (digest, stored_bytes) = digest_and_size(&receipt)?;
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

/// One to two milliseconds of real computing, short enough to do it where the request is.
fn digest_and_size(receipt: &[u8]) -> std::io::Result<(String, usize)> {
    let mut encoder = GzEncoder::new(
        Vec::with_capacity(receipt.len() / 2),
        Compression::default(),
    );
    encoder.write_all(receipt)?;
    let compressed = encoder.finish()?;
    let mut digest = Sha256::new();
    digest.update(receipt);
    digest.update(&compressed);
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

    #[test]
    fn the_same_receipt_has_the_same_digest_and_another_has_another() {
        let receipt = "one kettle, 12.05; ".repeat(500);
        let (digest, size) = digest_and_size(receipt.as_bytes()).expect("it compresses");
        assert_eq!(digest.len(), 64);
        assert!(size < receipt.len() / 4, "{size}");
        assert_eq!(
            digest_and_size(receipt.as_bytes()).expect("again").0,
            digest
        );
        assert_ne!(digest_and_size(b"two kettles").expect("another").0, digest);
    }

    #[test]
    fn bytes_have_two_digits_each() {
        assert_eq!(hexadecimal(&[0, 10, 255]), "000aff");
    }
}
