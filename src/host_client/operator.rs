//! The calls that only an operator may make, for a client of the host's operator socket.

use super::{Answer, HostClient};
use hyper::Method;
use serde::Serialize;
use trimtab_protocol::name::{KnobName, PoolName};
use trimtab_protocol::operator::{FreezeRequest, OperatorReceipt, PinRequest, ResetRequest};
use trimtab_protocol::path;

/// No body is no request; an empty object is one that the host passes over.
#[derive(Serialize)]
struct Nothing {}

impl HostClient {
    /// Rolls open trials back and freezes the host.
    pub async fn freeze(&mut self, request: &FreezeRequest) -> Answer<OperatorReceipt> {
        self.ask(Method::PUT, path::FREEZE, request).await
    }

    /// Lifts the host's freeze.
    pub async fn unfreeze(&mut self) -> Answer<OperatorReceipt> {
        self.ask(Method::DELETE, path::FREEZE, &Nothing {}).await
    }

    /// Holds one knob.
    pub async fn pin(
        &mut self,
        pool: &PoolName,
        knob: &KnobName,
        request: &PinRequest,
    ) -> Answer<OperatorReceipt> {
        let path = format!("{}/{pool}/{knob}", path::PINS);
        self.ask(Method::PUT, &path, request).await
    }

    /// Releases one knob.
    pub async fn unpin(&mut self, pool: &PoolName, knob: &KnobName) -> Answer<OperatorReceipt> {
        let path = format!("{}/{pool}/{knob}", path::PINS);
        self.ask(Method::DELETE, &path, &Nothing {}).await
    }

    /// Goes back to the baseline.
    pub async fn reset(&mut self, request: &ResetRequest) -> Answer<OperatorReceipt> {
        self.ask(Method::POST, path::RESET, request).await
    }
}
