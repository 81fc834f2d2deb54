//! Who sits on a worker's connections, and who leaves when there is no room: a listener that is full of callers that do
//! nothing must not turn away those that do.
//!
//! One crowd per worker. When it is full, a newcomer takes the place of somebody else: of the address that holds a quarter
//! of the places or more, if there is one. First goes who has kept a request or an answer waiting for longest, then who
//! has been idle for longest. Who is busy being answered is young, and stays; when all are, the newcomer waits.
//!
//! Knows places and times; no bytes.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::IpAddr;
use std::rc::Rc;
use std::task::{Context, Waker};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::metrics::Counter;

/// How long somebody may take without being called slow.
const QUICK: Duration = Duration::from_secs(1);
/// The same when nobody else is left to leave.
const QUICKEST: Duration = Duration::from_millis(200);
/// An address with this share of all places, as a divisor, makes room for others.
const SHARE: usize = 4;
/// How many places are looked at for one that leaves.
const LOOKED_AT: usize = 2048;

/// How often a newcomer tries to find a place.
const TRIES: usize = 100;

/// What a connection is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Doing {
    /// Something the caller is being waited for: a handshake, a request, or to take an answer. Or it is being answered,
    /// which takes less time.
    Busy,
    /// Between two requests.
    Idle,
}

/// The connections of one worker.
#[derive(Debug)]
pub(super) struct Crowd {
    seats: RefCell<Vec<Option<Rc<Seat>>>>,
    free: RefCell<Vec<usize>>,
    by_address: RefCell<HashMap<Option<IpAddr>, usize>>,
    /// Where the next look begins.
    hand: Cell<usize>,
    limit: usize,
}

/// A connection's place.
#[derive(Debug)]
pub(super) struct Seat {
    address: Option<IpAddr>,
    doing: Cell<Doing>,
    since: Cell<Instant>,
    given_up: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl Seat {
    fn new(address: Option<IpAddr>) -> Self {
        Self {
            address,
            doing: Cell::new(Doing::Busy),
            since: Cell::new(Instant::now()),
            given_up: Cell::new(false),
            waker: RefCell::new(None),
        }
    }

    /// Notes what the connection does from now on. Doing the same again changes nothing.
    pub(super) fn now(&self, doing: Doing) {
        self.does(doing, Instant::now());
    }

    /// The same for who has the time at hand.
    pub(super) fn does(&self, doing: Doing, now: Instant) {
        if self.doing.replace(doing) != doing {
            self.since.set(now);
        }
    }

    /// Whether it has to leave; wakes the task when it does.
    pub(super) fn given_up(&self, cx: &Context<'_>) -> bool {
        if self.given_up.get() {
            return true;
        }
        let mut waker = self.waker.borrow_mut();
        if !waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            *waker = Some(cx.waker().clone());
        }
        false
    }

    /// Resolves when it has to leave.
    pub(super) async fn lost(&self) {
        std::future::poll_fn(
            |cx| if self.given_up(cx) { std::task::Poll::Ready(()) } else { std::task::Poll::Pending },
        )
        .await;
    }

    fn give_up(&self) {
        self.given_up.set(true);
        if let Some(waker) = self.waker.borrow_mut().take() {
            waker.wake();
        }
    }
}

/// A taken place; dropping it makes it free.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) seat: Rc<Seat>,
    at: usize,
    crowd: Rc<Crowd>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.crowd.leave(self.at);
    }
}

/// What became of a newcomer.
#[derive(Debug)]
pub(super) enum Entry {
    /// There was room.
    Room(Place),
    /// Somebody else leaves for it.
    InPlaceOfAnother(Place),
    /// There is no room, and nobody to leave.
    Full,
}

impl Crowd {
    /// Places for `limit` connections, at least one.
    pub(super) fn new(limit: usize) -> Rc<Self> {
        Rc::new(Self {
            seats: RefCell::default(),
            free: RefCell::default(),
            by_address: RefCell::default(),
            hand: Cell::new(0),
            limit: limit.max(1),
        })
    }

    /// A newcomer. The limit can be passed for as long as those who leave need to do so.
    pub(super) fn enter(self: &Rc<Self>, address: Option<IpAddr>) -> Entry {
        let taken = self.seats.borrow().len() - self.free.borrow().len();
        if taken < self.limit {
            return Entry::Room(self.sit(address));
        }
        match self.victim() {
            Some(victim) => {
                victim.give_up();
                Entry::InPlaceOfAnother(self.sit(address))
            }
            None => Entry::Full,
        }
    }

    /// A place for a newcomer, as soon as there is one: when everybody is young it waits until somebody is not. `None`
    /// when that takes too long. `left` counts those who had to leave.
    pub(super) async fn seat(self: &Rc<Self>, address: Option<IpAddr>, left: &Counter) -> Option<Place> {
        for _ in 0..TRIES {
            match self.enter(address) {
                Entry::Room(place) => return Some(place),
                Entry::InPlaceOfAnother(place) => {
                    left.one();
                    return Some(place);
                }
                Entry::Full => sleep(QUICKEST / 4).await,
            }
        }
        left.one();
        None
    }

    fn sit(self: &Rc<Self>, address: Option<IpAddr>) -> Place {
        let seat = Rc::new(Seat::new(address));
        let mut seats = self.seats.borrow_mut();
        let at = self.free.borrow_mut().pop().unwrap_or(seats.len());
        match seats.get_mut(at) {
            Some(free) => *free = Some(Rc::clone(&seat)),
            None => seats.push(Some(Rc::clone(&seat))),
        }
        *self.by_address.borrow_mut().entry(address).or_default() += 1;
        Place { seat, at, crowd: Rc::clone(self) }
    }

    fn leave(&self, at: usize) {
        let left = self.seats.borrow_mut().get_mut(at).and_then(Option::take);
        let Some(left) = left else { return };
        self.free.borrow_mut().push(at);
        let mut by_address = self.by_address.borrow_mut();
        if let Some(count) = by_address.get_mut(&left.address) {
            *count -= 1;
            if *count == 0 {
                by_address.remove(&left.address);
            }
        }
    }

    fn victim(&self) -> Option<Rc<Seat>> {
        let seats = self.seats.borrow();
        let crowding = self.by_address.borrow().iter().max_by_key(|(_, count)| **count).map(|(at, n)| (*at, *n));
        let crowding = crowding
            .filter(|(_, count)| *count > 1 && count.saturating_mul(SHARE) >= self.limit)
            .map(|(address, _)| address);
        let start = self.hand.get() % seats.len().max(1);
        self.hand.set(start + LOOKED_AT);
        let (now, mut slow, mut idle) = (Instant::now(), None, None);
        let all = seats.iter().cycle().skip(start).take(seats.len().min(LOOKED_AT)).flatten();
        for seat in all.filter(|seat| !seat.given_up.get() && crowding.is_none_or(|crowding| seat.address == crowding))
        {
            let longest: &mut Option<&Rc<Seat>> = match seat.doing.get() {
                Doing::Busy => &mut slow,
                Doing::Idle => &mut idle,
            };
            if longest.is_none_or(|longest| seat.since.get() < longest.since.get()) {
                *longest = Some(seat);
            }
        }
        let slower = |than: Duration| slow.filter(|seat| now.duration_since(seat.since.get()) >= than);
        slower(QUICK).or(idle).or_else(|| slower(QUICKEST)).map(Rc::clone)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(host: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, host])
    }

    fn enter(crowd: &Rc<Crowd>, host: u8) -> Place {
        match crowd.enter(Some(from(host))) {
            Entry::Room(place) | Entry::InPlaceOfAnother(place) => place,
            Entry::Full => panic!("full"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_slowest_leaves_then_the_longest_idle_and_never_the_young() {
        let crowd = Crowd::new(3);
        let slow = enter(&crowd, 1);
        tokio::time::sleep(Duration::from_secs(2)).await;
        let idle = enter(&crowd, 2);
        idle.seat.now(Doing::Idle);
        let young = enter(&crowd, 3);
        let first = enter(&crowd, 4);
        assert!(slow.seat.given_up.get() && !idle.seat.given_up.get());
        drop(slow);
        let second = enter(&crowd, 5);
        assert!(idle.seat.given_up.get() && !young.seat.given_up.get());
        drop(idle);
        assert!(matches!(crowd.enter(Some(from(6))), Entry::Full), "all are young");
        tokio::time::sleep(Duration::from_millis(300)).await;
        let third = enter(&crowd, 7);
        assert!([&young, &first, &second].iter().filter(|place| place.seat.given_up.get()).count() == 1);
        drop((young, first, second, third));
        assert!(crowd.by_address.borrow().is_empty());
        assert_eq!(crowd.free.borrow().len(), crowd.seats.borrow().len());
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_that_crowds_makes_room_before_others_do() {
        let crowd = Crowd::new(8);
        let good = enter(&crowd, 1);
        good.seat.now(Doing::Idle);
        tokio::time::sleep(Duration::from_mins(1)).await;
        let many: Vec<Place> = (0..7).map(|_| enter(&crowd, 2)).collect();
        for place in &many {
            place.seat.now(Doing::Idle);
        }
        let other = enter(&crowd, 3);
        assert!(!good.seat.given_up.get() && !other.seat.given_up.get());
        assert_eq!(many.iter().filter(|place| place.seat.given_up.get()).count(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_to_leave_is_woken() {
        let crowd = Crowd::new(1);
        let place = enter(&crowd, 1);
        place.seat.now(Doing::Idle);
        let seat = Rc::clone(&place.seat);
        let local = tokio::task::LocalSet::new();
        let woken = local.spawn_local(async move { seat.lost().await });
        local.run_until(tokio::task::yield_now()).await;
        let _next = enter(&crowd, 2);
        local.await;
        woken.await.unwrap();
    }
}
