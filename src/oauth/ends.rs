//! When client secrets end, held in memory for the metrics: a scrape must not walk the store.
//!
//! The first ends of the calendar are read when edi starts, whenever the calendar changes and now and then; what is
//! counted from them is judged by the clock each time.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use tokio::time::{Instant, sleep, timeout};

use super::service::Service;
use crate::model::time::Timestamp;
use crate::store::collections::secrets::{self, CALENDAR_PREFIX};
use crate::store::{Changes, Event, Key, StoreError};

/// How many are held: further ones are not counted.
const MOST: usize = 10_000;
/// How often they are read when nothing changed: past ends make room for coming ones.
const READ_EVERY: Duration = Duration::from_mins(5);
/// How long to wait for a store that did not answer.
const AGAIN_AFTER: Duration = Duration::from_secs(5);
/// The shortest pause between two readings, and how much longer than a reading it is.
const PAUSE: (Duration, u32) = (Duration::from_millis(200), 20);

/// The coming ends of client secrets, as far as they were read.
#[derive(Debug, Default)]
pub struct Ends(ArcSwapOption<Vec<End>>);

/// An end, and whether nothing else lets the client in after it.
type End = (Timestamp, bool);

/// What there is to count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counted {
    /// Ends up to an instant that leave their client without another way in.
    pub last: usize,
    /// Other ends up to it.
    pub followed: usize,
    /// The next end of all, however far ahead.
    pub next: Option<Timestamp>,
}

impl Ends {
    /// Those after `now`, up to `until`; `None` as long as the store could not be read.
    #[must_use]
    pub fn count(&self, now: Timestamp, until: Timestamp) -> Option<Counted> {
        let held = self.0.load();
        let mut counted = Counted::default();
        for (at, last) in held.as_ref()?.iter().filter(|(at, _)| *at > now) {
            counted.next.get_or_insert(*at);
            match (*at <= until, last) {
                (true, true) => counted.last += 1,
                (true, false) => counted.followed += 1,
                (false, _) => break,
            }
        }
        Some(counted)
    }

    /// Holds these, which come in the order of time.
    fn hold(&self, ends: Vec<End>) {
        self.0.store(Some(Arc::new(ends)));
    }
}

/// Reads them anew.
///
/// # Errors
/// Those of the store; what was held stays.
pub async fn read(service: &Service) -> Result<(), StoreError> {
    let ends = secrets::ending(&*service.store, Timestamp::from_millis(i64::MAX), MOST).await?;
    service.ends.hold(ends.into_iter().map(|end| (end.at, end.of.last)).collect());
    Ok(())
}

/// Keeps them current for as long as the service lives.
pub async fn keep_current(service: Arc<Service>) {
    loop {
        let at = service.store.get(&Key::new(CALENDAR_PREFIX)).await;
        let watch = match at {
            Ok(read) => service.store.watch(CALENDAR_PREFIX, read.at).await,
            Err(error) => Err(error),
        };
        if let Ok(mut watch) = watch {
            // Ends only when the watch is lost or the store fails; then from the start.
            while let Ok(took) = timed_read(&service).await {
                sleep(PAUSE.0.max(took * PAUSE.1)).await;
                if timeout(READ_EVERY, changed(&mut *watch)).await == Ok(Event::Lost) {
                    break;
                }
            }
        }
        sleep(AGAIN_AFTER).await;
    }
}

async fn timed_read(service: &Service) -> Result<Duration, StoreError> {
    let started = Instant::now();
    read(service).await.map(|()| started.elapsed())
}

/// The next event that is more than a beat.
async fn changed(watch: &mut dyn Changes) -> Event {
    loop {
        match watch.next().await {
            Event::UpTo(_) => {}
            event => return event,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_counted_follows_the_clock() {
        let at = Timestamp::from_secs;
        let ends = Ends::default();
        assert_eq!(ends.count(at(0), at(9)), None, "not read yet");
        ends.hold(vec![(at(10), true), (at(20), false), (at(30), true), (at(40), true)]);
        let counted = |now, until| ends.count(at(now), at(until)).unwrap();
        assert_eq!(counted(0, 30), Counted { last: 2, followed: 1, next: Some(at(10)) });
        assert_eq!(counted(10, 20), Counted { last: 0, followed: 1, next: Some(at(20)) });
        assert_eq!(counted(30, 35), Counted { last: 0, followed: 0, next: Some(at(40)) });
        assert_eq!(counted(40, 90), Counted::default());
    }
}
