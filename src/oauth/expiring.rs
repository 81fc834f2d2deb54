//! Says in the log which client secrets end soon: when edi starts, and once a day.
//!
//! The calendar of the store names them in the order of their ends, so that this looks at few clients, however many
//! there are. Metrics and status tell the same at any time.

use std::sync::Arc;
use std::time::Duration;

use super::service::Service;
use crate::model::time::{ENDS_SOON, Timestamp};
use crate::store::StoreError;
use crate::store::collections::secrets::{self, End};

/// How often it is said.
const SAY_EVERY: Duration = Duration::from_hours(24);
/// How long to wait for a store that did not answer.
const AGAIN_AFTER: Duration = Duration::from_mins(5);
/// How many are named, each in a line of its own.
const NAMED: usize = 20;
/// How many are counted.
const COUNTED: usize = 10_000;

/// What is to be said of the secrets that end soon.
#[derive(Debug, Default, PartialEq, Eq)]
struct Said {
    /// By name: first those that nothing follows, the soonest ones first.
    named: Vec<End>,
    /// How many more there are.
    more: usize,
}

impl Said {
    fn of(ends: Vec<End>, now: Timestamp) -> Self {
        let mut named: Vec<End> = ends.into_iter().filter(|end| end.at > now).collect();
        // Stable: each kind stays in the order of time.
        named.sort_by_key(|end| !end.of.last);
        let more = named.len().saturating_sub(NAMED);
        named.truncate(NAMED);
        Self { named, more }
    }
}

/// Says it now.
///
/// # Errors
/// Those of the store.
pub async fn say(service: &Service) -> Result<(), StoreError> {
    let now = service.now();
    let said = Said::of(secrets::ending(&*service.store, now.plus(ENDS_SOON), COUNTED).await?, now);
    for end in &said.named {
        let days = end.at.since(now).as_secs() / 86_400;
        let message = if end.of.last {
            "a client secret ends soon, and nothing else lets its client in"
        } else {
            "a client secret ends soon; its client has another one"
        };
        tracing::warn!(
            target: "edi::clients",
            client_id = %end.of.client_id,
            secret_id = %end.id,
            expires_at = %end.at,
            days,
            "{message}"
        );
    }
    if said.more > 0 {
        tracing::warn!(target: "edi::clients", more = said.more, "further client secrets end soon");
    }
    Ok(())
}

/// Says it now and then, for as long as the service lives.
pub async fn keep_saying(service: Arc<Service>) {
    loop {
        let pause = match say(&service).await {
            Ok(()) => SAY_EVERY,
            Err(error) => {
                tracing::warn!(target: "edi::clients", %error, "which client secrets end soon could not be read");
                AGAIN_AFTER
            }
        };
        tokio::time::sleep(pause).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::id::{ClientId, SecretId};
    use crate::store::collections::secrets::Ending;

    fn end(at: i64, last: bool) -> End {
        End {
            at: Timestamp::from_secs(at),
            id: SecretId::parse(&format!("s{at}")).unwrap(),
            of: Ending { client_id: ClientId::parse("svc").unwrap(), name: None, last },
        }
    }

    fn said(ends: Vec<End>) -> (Vec<i64>, usize) {
        let said = Said::of(ends, Timestamp::from_secs(10));
        (said.named.iter().map(|end| end.at.secs()).collect(), said.more)
    }

    #[test]
    fn those_that_lock_a_client_out_are_named_first() {
        let ends = vec![end(9, true), end(10, true), end(11, false), end(12, true), end(13, false), end(14, true)];
        assert_eq!(said(ends), (vec![12, 14, 11, 13], 0), "what has ended is past saying");
        assert_eq!(said(vec![]), (vec![], 0));
    }

    #[test]
    fn the_lines_are_few_however_many_secrets_end() {
        let (named, more) = said((0..1000).map(|n| end(100 + n, n >= 990)).collect());
        assert_eq!((named.len(), more), (NAMED, 1000 - NAMED));
        assert_eq!(named[..11], [1090, 1091, 1092, 1093, 1094, 1095, 1096, 1097, 1098, 1099, 100]);
    }
}
