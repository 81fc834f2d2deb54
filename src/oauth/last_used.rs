//! When each secret was last used. Authenticating notes it in memory; it is written down every few minutes, many at
//! once and beside the clients, so that a token costs no store write and a use changes nobody's version.
//!
//! A crash loses what was noted since the last writing: a last use is told some minutes too early then, never too late.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use super::service::Service;
use crate::model::id::{ClientId, SecretId};
use crate::model::time::Timestamp;
use crate::store::collections::secrets;
use crate::store::tx::TxError;

/// How often it is written down.
const WRITE_EVERY: Duration = Duration::from_mins(3);
/// How many are written in one commit: each is read before, and a commit has a hundred conditions.
const WRITTEN_AT_ONCE: usize = 50;
/// How long an unused secret is remembered here, in seconds.
const REMEMBERED: i64 = 3600;
/// How many are remembered; uses of more are not noted until some are forgotten.
const CAPACITY: usize = 200_000;

#[derive(Debug)]
struct Use {
    client: ClientId,
    /// In seconds.
    last: AtomicI64,
    /// What of it is written down.
    written: AtomicI64,
}

/// The last uses that this process saw.
#[derive(Debug, Default)]
pub struct LastUsed {
    by_secret: RwLock<HashMap<SecretId, Use>>,
}

impl LastUsed {
    /// Notes that a client proved itself with this secret.
    pub fn note(&self, client: &ClientId, secret: &SecretId, now: Timestamp) {
        let now = now.secs();
        let by_secret = self.by_secret.read().unwrap_or_else(PoisonError::into_inner);
        match by_secret.get(secret) {
            // Within one second there is nothing to write, so that cores do not fight for the line.
            Some(known) if known.last.load(Ordering::Relaxed) < now => {
                known.last.fetch_max(now, Ordering::Relaxed);
            }
            Some(_) => {}
            None => {
                let room = by_secret.len() < CAPACITY;
                drop(by_secret);
                if room {
                    self.meet(client, secret, now);
                }
            }
        }
    }

    #[cold]
    fn meet(&self, client: &ClientId, secret: &SecretId, now: i64) {
        let mut by_secret = self.by_secret.write().unwrap_or_else(PoisonError::into_inner);
        let fresh = || Use { client: client.clone(), last: AtomicI64::new(now), written: AtomicI64::new(i64::MIN) };
        by_secret.entry(secret.clone()).or_insert_with(fresh).last.fetch_max(now, Ordering::Relaxed);
    }

    /// When this process last saw it used.
    #[must_use]
    pub fn of(&self, secret: &SecretId) -> Option<Timestamp> {
        let by_secret = self.by_secret.read().unwrap_or_else(PoisonError::into_inner);
        by_secret.get(secret).map(|known| Timestamp::from_secs(known.last.load(Ordering::Relaxed)))
    }

    /// What is not written down yet.
    fn unwritten(&self) -> Vec<(SecretId, ClientId, Timestamp)> {
        let by_secret = self.by_secret.read().unwrap_or_else(PoisonError::into_inner);
        let each = by_secret.iter().filter_map(|(secret, known)| {
            let last = known.last.load(Ordering::Relaxed);
            let due = last > known.written.load(Ordering::Relaxed);
            due.then(|| (secret.clone(), known.client.clone(), Timestamp::from_secs(last)))
        });
        each.collect()
    }

    fn are_written(&self, uses: &[(SecretId, ClientId, Timestamp)]) {
        let by_secret = self.by_secret.read().unwrap_or_else(PoisonError::into_inner);
        for (secret, _, at) in uses {
            if let Some(known) = by_secret.get(secret) {
                known.written.fetch_max(at.secs(), Ordering::Relaxed);
            }
        }
    }

    /// Forgets what is written down and was not used for a while.
    fn forget(&self, now: Timestamp) {
        let mut by_secret = self.by_secret.write().unwrap_or_else(PoisonError::into_inner);
        by_secret.retain(|_, known| {
            let (last, written) = (*known.last.get_mut(), *known.written.get_mut());
            last > written || last.saturating_add(REMEMBERED) > now.secs()
        });
    }
}

/// When a secret was last used: as far as this process saw it, or as far as it is written down.
#[must_use]
pub fn later(seen: Option<Timestamp>, written: Option<Timestamp>) -> Option<Timestamp> {
    seen.max(written)
}

/// Writes down what is not written yet. Says how many.
///
/// # Errors
/// Those of the store; what was not written stays noted.
pub async fn write_down(service: &Service) -> Result<usize, TxError> {
    let due = service.last_used.unwritten();
    for batch in due.chunks(WRITTEN_AT_ONCE) {
        secrets::note_uses(&*service.store, &service.ambient, batch).await?;
        service.last_used.are_written(batch);
        // Changes that somebody waits for come in between.
        tokio::task::yield_now().await;
    }
    service.last_used.forget(service.now());
    Ok(due.len())
}

/// Writes it down now and then, for as long as the service lives.
pub async fn keep_writing(service: Arc<Service>) {
    loop {
        tokio::time::sleep(WRITE_EVERY).await;
        if let Err(error) = write_down(&service).await {
            tracing::warn!(target: "edi::clients", %error, "when secrets were last used could not be written down");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(text: &str) -> SecretId {
        SecretId::parse(text).unwrap()
    }

    #[test]
    fn the_latest_use_of_each_secret_is_noted_until_it_is_written_down() {
        let used = LastUsed::default();
        let client = ClientId::parse("svc").unwrap();
        let note = |name: &str, millis| used.note(&client, &secret(name), Timestamp::from_millis(millis));
        let due = || {
            let mut due: Vec<_> = used.unwritten().into_iter().map(|(id, _, at)| (id.to_string(), at.secs())).collect();
            due.sort();
            due
        };
        note("a", 5_900);
        note("b", 9_000);
        note("b", 7_000);
        assert_eq!(used.of(&secret("b")), Some(Timestamp::from_secs(9)));
        assert_eq!((used.of(&secret("c")), due()), (None, vec![("a".into(), 5), ("b".into(), 9)]));
        used.are_written(&used.unwritten());
        assert_eq!(due(), []);
        note("a", 5_950);
        assert_eq!(due(), [], "within the same second");
        note("a", 6_000);
        assert_eq!(due(), [("a".into(), 6)]);
        // A use during the writing stays due.
        let writing = used.unwritten();
        note("a", 7_000);
        used.are_written(&writing);
        assert_eq!(due(), [("a".into(), 7)]);
    }

    #[test]
    fn what_is_written_down_and_unused_is_forgotten() {
        let used = LastUsed::default();
        let client = ClientId::parse("svc").unwrap();
        used.note(&client, &secret("a"), Timestamp::from_secs(10));
        used.forget(Timestamp::from_secs(10 + REMEMBERED));
        assert!(used.of(&secret("a")).is_some(), "not written down yet");
        used.are_written(&used.unwritten());
        used.forget(Timestamp::from_secs(9 + REMEMBERED));
        assert!(used.of(&secret("a")).is_some(), "used lately");
        used.forget(Timestamp::from_secs(10 + REMEMBERED));
        assert!(used.of(&secret("a")).is_none());
    }

    #[test]
    fn no_more_are_remembered_than_there_is_room_for() {
        let used = LastUsed::default();
        let client = ClientId::parse("svc").unwrap();
        for n in 0..CAPACITY + 10 {
            used.note(&client, &secret(&format!("s{n}")), Timestamp::from_secs(1));
        }
        assert_eq!(used.unwritten().len(), CAPACITY);
        used.note(&client, &secret("s0"), Timestamp::from_secs(2));
        assert_eq!(used.of(&secret("s0")), Some(Timestamp::from_secs(2)));
    }
}
