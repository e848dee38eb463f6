//! `trimtab probe`: asks a sidecar whether it lives or is ready, for probes that can only run a command.

use super::client::Client;
use super::pages::PagesArgs;
use super::{Console, Exit, ended};
use crate::telemetry::escaped;
use clap::Args;
use hyper::StatusCode;

/// The options of `trimtab probe`.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub struct ProbeArgs {
    /// How the pages, or health and metrics, are reached
    #[command(flatten)]
    pub pages: PagesArgs,
    /// Ask only whether the process answers, not whether it can do its work
    #[arg(long)]
    pub live: bool,
}

impl ProbeArgs {
    /// Asks: 0 when it is well, 1 with the reason when it is not.
    pub async fn execute(&self, console: &mut Console<'_>) -> Exit {
        let path = if self.live { "/livez" } else { "/readyz" };
        match Client::Pages(self.pages.clone()).fetch(path).await {
            Ok((StatusCode::OK, _)) => ended(writeln!(console.out, "ok").map(|()| Exit::Done)),
            Ok((status, body)) => {
                let text = String::from_utf8_lossy(&body);
                let why = text.trim().replace('\n', "; ");
                console.fail(&escaped(&format!("{path} answered {status}: {why}")))
            }
            Err(error) => console.fail(&escaped(&error.to_string())),
        }
    }
}
