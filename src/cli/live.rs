//! What a running edi can take in without a start: the settings that are read anew each time they are used.

use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use serde_json::Value;
use tokio::sync::Mutex;

use super::serve;
use crate::admin::error::FieldError;
use crate::admin::reload::{self, Reload, ReloadError, Report, Setting};
use crate::config::{self, Config, Sources};
use crate::http::body::BodyLimit;
use crate::http::server::LiveSpan;
use crate::http::tls::Tls;
use crate::oauth::service::Service;
use crate::store::collections::By;
use crate::telemetry;

/// The keys that are in force as soon as they are read.
pub(super) const LIVE: [&str; 10] = [
    "log.level",
    "tokens.ttl",
    "tokens.max_ttl",
    "limits.oauth_body_bytes",
    "limits.admin_body_bytes",
    "limits.request_timeout",
    "limits.hashing_queue",
    "limits.client_cache",
    "limits.failures_burst",
    "limits.failures_per_second",
];

/// The parts of a running edi that settings reach.
pub struct Live {
    pub(super) service: Arc<Service>,
    pub(super) oauth_body: BodyLimit,
    pub(super) admin_body: BodyLimit,
    pub(super) request_timeout: LiveSpan,
    pub(super) certificates: Vec<Arc<Tls>>,
    pub(super) follows: OnceLock<Follows>,
}

/// Where settings come from, and those that are in force.
pub(super) struct Follows {
    sources: Sources,
    /// Locked, so that reloads come one after the other.
    in_force: Mutex<Vec<(String, Value)>>,
}

impl Live {
    /// Says where settings are read from, and that they are in force now. The first word on it counts.
    pub fn follow(&self, sources: Sources) {
        let in_force = Mutex::new(config::settings(&sources));
        let _ = self.follows.set(Follows { sources, in_force });
    }

    /// Reloads on a signal, and says in the log what came of it.
    pub async fn on_signal(&self) {
        match self.reload().await {
            Ok(report) => {
                let keys = |settings: &[Setting]| {
                    settings.iter().map(|setting| setting.key.as_str()).collect::<Vec<_>>().join(", ")
                };
                let (applied, needs_restart) = (keys(&report.applied), keys(&report.needs_restart));
                let certificates = report.certificates_taken_in;
                tracing::info!(target: "edi::config", %applied, %needs_restart, certificates, "configuration taken in");
                let by = By::edi(self.service.now(), "config.reload", "configuration");
                reload::tell(&self.service, &by.because(Some("SIGHUP".into())), &report).await;
            }
            Err(ReloadError::Invalid(problems)) => {
                for FieldError { field, detail } in problems {
                    tracing::error!(target: "edi::config", key = %field, %detail, "not taken in: the configuration has problems");
                }
            }
            Err(ReloadError::Store(error)) => {
                tracing::error!(target: "edi::config", %error, "not taken in: the store takes no writes");
            }
        }
    }

    /// Puts the live settings into force. What can fail comes first.
    async fn apply(&self, config: &Config) -> Result<(), ReloadError> {
        let seconds = |length: std::time::Duration| u32::try_from(length.as_secs()).unwrap_or(u32::MAX);
        let (ttl, max_ttl) = (seconds(config.tokens.ttl), seconds(config.tokens.max_ttl));
        self.service.set_lifetimes(ttl, max_ttl).await.map_err(ReloadError::Store)?;
        // Judged with the rest of the configuration: it is a filter.
        let _ = telemetry::set_level(&config.log.level);
        self.oauth_body.set(config.limits.oauth_body_bytes);
        self.admin_body.set(config.limits.admin_body_bytes);
        self.request_timeout.set(config.limits.request_timeout);
        self.service.hasher.set_limit(config.limits.hashing_queue);
        self.service.clients.set_capacity(config.limits.client_cache);
        self.service.failures.set_rate(serve::failures(config));
        Ok(())
    }
}

#[async_trait]
impl Reload for Live {
    async fn reload(&self) -> Result<Report, ReloadError> {
        let invalid = |field: &str, detail: String| FieldError { field: field.into(), detail };
        let Some(Follows { sources, in_force }) = self.follows.get() else {
            let why = "edi runs inside another program, which settles its configuration".to_owned();
            return Err(ReloadError::Invalid(vec![invalid("configuration", why)]));
        };
        let mut in_force = in_force.lock().await;
        let config = config::load(sources).map_err(|problems| {
            ReloadError::Invalid(problems.iter().map(|it| invalid(&it.key, it.reason.clone())).collect())
        })?;
        let mut report = Report::default();
        for tls in &self.certificates {
            let tls = Arc::clone(tls);
            let taken_in = tokio::task::spawn_blocking(move || tls.reload()).await;
            match taken_in {
                Ok(Ok(taken_in)) => report.certificates_taken_in |= taken_in,
                Ok(Err(error)) => {
                    let problem = invalid("listen.certificate_file", error.to_string());
                    return Err(ReloadError::Invalid(vec![problem]));
                }
                Err(_) => {}
            }
        }
        self.apply(&config).await?;
        for ((key, from), (_, to)) in in_force.iter_mut().zip(config::settings(sources)) {
            if *from == to {
                continue;
            }
            let live = LIVE.contains(&key.as_str());
            let setting = Setting { key: key.clone(), from: from.clone(), to: to.clone() };
            if live {
                *from = to;
                report.applied.push(setting);
            } else {
                report.needs_restart.push(setting);
            }
        }
        Ok(report)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_live_key_exists_and_the_reference_says_so() {
        let reference =
            std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/reference/config.md")).unwrap();
        for key in LIVE {
            assert!(config::defaults().iter().any(|(known, _)| known == key), "{key}");
            assert!(reference.contains(&format!("- `{key}`")), "{key}: not under \"Changing it while edi serves\"");
        }
        // In the table every other limit says that it waits.
        for (key, _) in config::defaults().iter().filter(|(key, _)| key.starts_with("limits.")) {
            let row = reference.lines().find(|line| line.starts_with(&format!("| `{key}` |"))).unwrap();
            assert_eq!(row.contains(". Settled at the start |"), !LIVE.contains(&key.as_str()), "{row}");
        }
    }
}
