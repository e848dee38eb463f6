//! Opens what is listened on, before the process is shut in.

use super::AppError;
use crate::config::Config;
use crate::origin::Scheme;
use crate::serve::{self, Entrance, Reach};
use crate::supervisor;
use crate::tls::{Certificates, TlsFault};
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::TcpListener;
use tracing::info;

/// Who may reach the pages, and how.
pub(super) fn entrance(config: &Config) -> Result<Entrance, TlsFault> {
    let files = config.serve.tls.clone();
    let tls = files.map(Certificates::read).transpose()?.map(Arc::new);
    let scheme = match (config.serve.behind_proxy, &tls) {
        (true, _) => Scheme::Proxied,
        (false, Some(_)) => Scheme::Https,
        (false, None) => Scheme::Http,
    };
    Ok(Entrance {
        scheme,
        tls,
        token_file: config.serve.token_file.clone(),
    })
}

/// The listener for the pages: one that a supervisor hands over, else one of our own.
pub(super) async fn pages(config: &Config) -> Result<(TcpListener, SocketAddr), AppError> {
    let address = config.serve.address;
    // The configuration is refused when it lacks what others need to be let in safely; a listener that a supervisor hands over
    // is held to the same word.
    let reach = if config.serve.is_for_others() {
        Reach::Remote
    } else {
        Reach::Loopback
    };
    let listening = async {
        match supervisor::inherited_listener()? {
            Some(inherited) => serve::adopt(inherited, reach),
            None => serve::bind(address, reach).await,
        }
    };
    listening
        .await
        .map_err(|source| AppError::Listen { address, source })
}

/// The listener for health and metrics, where there is to be one.
pub(super) async fn probes(config: &Config) -> Result<Option<TcpListener>, AppError> {
    let Some(address) = config.serve.health else {
        return Ok(None);
    };
    let (listener, bound) = serve::bind_health(address)
        .await
        .map_err(|source| AppError::Health { address, source })?;
    info!(address = %bound, "showing health and metrics");
    Ok(Some(listener))
}
