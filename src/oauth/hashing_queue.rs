//! The queue before the hashing threads: bounded, and fair to whoever waits in it.
//!
//! Three lanes. What operators ask for goes first. A guess whose client id and address have failures left in their budgets
//! goes into the open lane. One past a budget is not refused, since it may be the right secret: it goes into the suspect
//! lane, which has half of the room and half of one thread's time at most. Within a lane callers take turns, so that a
//! flood under one id or from one address waits behind itself; when there is no room, whoever has most waiting loses the
//! last of it.
//!
//! Knows nothing of what waits.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::metrics::{Counter, Histogram};

/// How soon it is somebody's turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lane {
    /// An operator's.
    Operator,
    /// Within its budgets.
    Open,
    /// Past a budget.
    Suspect,
}

/// How many of the open lane are served for one of the suspect lane while both wait.
const SHARE: u32 = 3;

/// Whose turn it is: callers with the same number take turns as one.
pub type Flow = u64;

/// What is counted.
#[derive(Debug, Default)]
pub struct QueueFigures {
    /// Turned away because there was no room.
    pub refused: Counter,
    /// How long the work itself took.
    pub worked: Histogram,
}

/// The queue.
#[derive(Debug)]
pub struct FairQueue<T> {
    state: Mutex<State<T>>,
    changed: Condvar,
    limit: AtomicUsize,
    figures: QueueFigures,
}

#[derive(Debug)]
struct State<T> {
    lanes: [Waiting<T>; 3],
    /// Served from the open lane since the last of the suspect one.
    open_in_a_row: u32,
    closed: bool,
}

/// A lane: who waits, in turns.
#[derive(Debug)]
struct Waiting<T> {
    flows: HashMap<Flow, VecDeque<T>>,
    turns: VecDeque<Flow>,
    count: usize,
}

impl<T> Default for Waiting<T> {
    fn default() -> Self {
        Self { flows: HashMap::new(), turns: VecDeque::new(), count: 0 }
    }
}

impl<T> Waiting<T> {
    fn push(&mut self, flow: Flow, item: T) {
        let waiting = self.flows.entry(flow).or_default();
        if waiting.is_empty() {
            self.turns.push_back(flow);
        }
        waiting.push_back(item);
        self.count += 1;
    }

    fn pop(&mut self) -> Option<T> {
        let flow = self.turns.pop_front()?;
        let waiting = self.flows.get_mut(&flow)?;
        let item = waiting.pop_front()?;
        self.count -= 1;
        if waiting.is_empty() {
            self.flows.remove(&flow);
        } else {
            self.turns.push_back(flow);
        }
        Some(item)
    }

    fn of(&self, flow: Flow) -> usize {
        self.flows.get(&flow).map_or(0, VecDeque::len)
    }

    /// Takes the last item from whoever has most waiting, if that is more than `than`.
    fn displace(&mut self, than: usize) -> Option<T> {
        let (&flow, waiting) = self.flows.iter_mut().max_by_key(|(_, waiting)| waiting.len())?;
        if waiting.len() <= than {
            return None;
        }
        let item = waiting.pop_back()?;
        self.count -= 1;
        if waiting.is_empty() {
            self.flows.remove(&flow);
            self.turns.retain(|turn| *turn != flow);
        }
        Some(item)
    }
}

/// There was no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full;

impl<T> FairQueue<T> {
    /// An empty queue with room for `limit`, at least one.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        let state = State { lanes: Default::default(), open_in_a_row: 0, closed: false };
        let (state, changed) = (Mutex::new(state), Condvar::new());
        Self { state, changed, limit: limit.max(1).into(), figures: QueueFigures::default() }
    }

    /// Waits in a lane. Whatever loses its place to it is dropped.
    ///
    /// # Errors
    /// [`Full`] when there is no room and nobody has more of it.
    pub fn push(&self, lane: Lane, flow: Flow, item: T) -> Result<(), Full> {
        let mut state = self.state();
        let placed = !state.closed && state.make_room(lane, flow, self.limit(), &self.figures);
        if !placed {
            self.figures.refused.one();
            return Err(Full);
        }
        state.lane(lane).push(flow, item);
        drop(state);
        self.changed.notify_one();
        Ok(())
    }

    /// The next item, when there is one; `None` once the queue is closed. `rested` is when the caller has rested enough
    /// from the suspect lane's last item to take another.
    pub fn pop(&self, rested: Instant) -> Option<(Lane, T)> {
        let mut state = self.state();
        loop {
            if state.closed {
                return None;
            }
            let now = Instant::now();
            let rest = rested.saturating_duration_since(now);
            if let Some(next) = state.next(rest.is_zero()) {
                return Some(next);
            }
            let wait = if state.lanes.iter().any(|lane| lane.count > 0) { rest } else { Duration::from_hours(1) };
            state = self.changed.wait_timeout(state, wait).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Ends every wait; what waits is dropped.
    pub fn close(&self) {
        let mut state = self.state();
        state.closed = true;
        state.lanes = Default::default();
        drop(state);
        self.changed.notify_all();
    }

    /// How many wait in a lane.
    pub fn waiting(&self, lane: Lane) -> usize {
        self.state().lane(lane).count
    }

    /// How many may wait.
    pub fn limit(&self) -> usize {
        self.limit.load(Ordering::Relaxed)
    }

    /// Changes how many may wait from now on; whoever waits already keeps its place.
    pub fn set_limit(&self, limit: usize) {
        self.limit.store(limit.max(1), Ordering::Relaxed);
    }

    /// What is counted.
    pub fn figures(&self) -> &QueueFigures {
        &self.figures
    }

    fn state(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> State<T> {
    fn lane(&mut self, lane: Lane) -> &mut Waiting<T> {
        let [operator, open, suspect] = &mut self.lanes;
        match lane {
            Lane::Operator => operator,
            Lane::Open => open,
            Lane::Suspect => suspect,
        }
    }

    /// Whether there is room now.
    fn make_room(&mut self, lane: Lane, flow: Flow, limit: usize, figures: &QueueFigures) -> bool {
        let [_, open, suspect] = &mut self.lanes;
        let mine = if lane == Lane::Suspect { suspect.of(flow) } else { open.of(flow) };
        // One more of mine must still be fewer than what is taken away from.
        let than = mine + 1;
        let displaced = match lane {
            // Few, and of people who may do anything: they stand beside the others, with as much room of their own.
            Lane::Operator => return self.lanes.first().is_some_and(|operator| operator.count < limit),
            Lane::Open if open.count + suspect.count < limit => return true,
            Lane::Open => suspect.displace(0).or_else(|| open.displace(than)),
            Lane::Suspect if suspect.count < limit.div_ceil(2) && open.count + suspect.count < limit => return true,
            Lane::Suspect => suspect.displace(than),
        };
        if displaced.is_some() {
            figures.refused.one();
        }
        displaced.is_some()
    }

    fn next(&mut self, rested: bool) -> Option<(Lane, T)> {
        let [operator, open, suspect] = &mut self.lanes;
        if let Some(item) = operator.pop() {
            return Some((Lane::Operator, item));
        }
        let suspects_turn = rested && suspect.count > 0 && (open.count == 0 || self.open_in_a_row >= SHARE);
        if suspects_turn {
            self.open_in_a_row = 0;
            return suspect.pop().map(|item| (Lane::Suspect, item));
        }
        let item = open.pop()?;
        self.open_in_a_row = self.open_in_a_row.saturating_add(1);
        Some((Lane::Open, item))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(queue: &FairQueue<&'static str>) -> Vec<&'static str> {
        let count = [Lane::Operator, Lane::Open, Lane::Suspect].iter().map(|lane| queue.waiting(*lane)).sum();
        (0..count).map(|_| queue.pop(Instant::now()).unwrap().1).collect()
    }

    #[test]
    fn callers_take_turns_and_keep_their_own_order() {
        let queue = FairQueue::new(10);
        for (flow, item) in [(1, "a1"), (1, "a2"), (1, "a3"), (2, "b1"), (3, "c1"), (2, "b2")] {
            queue.push(Lane::Open, flow, item).unwrap();
        }
        assert_eq!(all(&queue), ["a1", "b1", "c1", "a2", "b2", "a3"]);
    }

    #[test]
    fn whoever_has_most_waiting_makes_room() {
        let queue = FairQueue::new(3);
        for item in ["a1", "a2", "a3"] {
            queue.push(Lane::Open, 1, item).unwrap();
        }
        assert_eq!(queue.push(Lane::Open, 1, "a4"), Err(Full));
        queue.push(Lane::Open, 2, "b1").unwrap();
        // Two against one: taking from a would only turn the tables.
        assert_eq!(queue.push(Lane::Open, 2, "b2"), Err(Full));
        queue.push(Lane::Open, 3, "c1").unwrap();
        assert_eq!(queue.push(Lane::Open, 4, "d1"), Err(Full));
        assert_eq!(queue.figures().refused.get(), 5);
        assert_eq!(all(&queue), ["a1", "b1", "c1"]);
    }

    #[test]
    fn room_that_changes_takes_nobodys_place() {
        let queue = FairQueue::new(1);
        queue.push(Lane::Open, 1, "a").unwrap();
        assert_eq!(queue.push(Lane::Open, 2, "b"), Err(Full));
        queue.set_limit(2);
        queue.push(Lane::Open, 2, "b").unwrap();
        queue.set_limit(0);
        assert_eq!(queue.push(Lane::Open, 3, "c"), Err(Full));
        assert_eq!((all(&queue), queue.limit()), (vec!["a", "b"], 1));
    }

    #[test]
    fn suspects_have_half_the_room_and_lose_it_to_others() {
        let queue = FairQueue::new(4);
        for item in ["s1", "s2"] {
            queue.push(Lane::Suspect, 1, item).unwrap();
        }
        assert_eq!(queue.push(Lane::Suspect, 1, "s3"), Err(Full));
        for item in ["o1", "o2", "o3"] {
            queue.push(Lane::Open, 2, item).unwrap();
        }
        assert_eq!((queue.waiting(Lane::Open), queue.waiting(Lane::Suspect)), (3, 1));
        queue.push(Lane::Operator, 0, "op").unwrap();
        assert_eq!(all(&queue), ["op", "o1", "o2", "o3", "s1"]);
    }

    #[test]
    fn suspects_are_served_now_and_then_and_wait_while_the_thread_rests() {
        let queue = FairQueue::new(100);
        for _ in 0..8 {
            queue.push(Lane::Open, 1, "o").unwrap();
            queue.push(Lane::Suspect, 2, "s").unwrap();
        }
        assert_eq!(all(&queue)[..8], ["o", "o", "o", "s", "o", "o", "o", "s"]);
        queue.push(Lane::Suspect, 2, "late").unwrap();
        let started = Instant::now();
        assert_eq!(queue.pop(started + Duration::from_millis(60)).unwrap().1, "late");
        assert!(started.elapsed() >= Duration::from_millis(60));
    }

    #[test]
    fn a_closed_queue_ends_every_wait() {
        let queue = std::sync::Arc::new(FairQueue::<&str>::new(1));
        let waiting = std::sync::Arc::clone(&queue);
        let thread = std::thread::spawn(move || waiting.pop(Instant::now()).map(|it| it.1));
        std::thread::sleep(Duration::from_millis(20));
        queue.close();
        assert_eq!(thread.join().unwrap(), None);
        assert_eq!(queue.push(Lane::Open, 1, "x"), Err(Full));
    }
}
