//! A bounded table that forgets what was not used lately: the CLOCK algorithm, so that a hit needs no write lock.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};

use super::super::Key;

pub(super) struct Shelf<V> {
    slots: HashMap<Key, Slot<V>>,
    /// The keys of `slots`, each once, in the order in which the hand comes by.
    hand: VecDeque<Key>,
    capacity: usize,
}

struct Slot<V> {
    value: V,
    used: AtomicBool,
}

impl<V> Shelf<V> {
    pub(super) fn new(capacity: usize) -> Self {
        Self { slots: HashMap::new(), hand: VecDeque::new(), capacity: capacity.max(1) }
    }

    /// The value, marked as used.
    pub(super) fn get(&self, key: &Key) -> Option<&V> {
        let slot = self.slots.get(key)?;
        // Looked at first: a store by every hit would make the cores fight over the line.
        if !slot.used.load(Ordering::Relaxed) {
            slot.used.store(true, Ordering::Relaxed);
        }
        Some(&slot.value)
    }

    /// The value, not marked.
    pub(super) fn peek(&self, key: &Key) -> Option<&V> {
        self.slots.get(key).map(|slot| &slot.value)
    }

    pub(super) fn put(&mut self, key: &Key, value: V) {
        if let Some(slot) = self.slots.get_mut(key) {
            slot.value = value;
            return;
        }
        while self.slots.len() >= self.capacity {
            self.forget_one();
        }
        self.slots.insert(key.clone(), Slot { value, used: AtomicBool::new(false) });
        self.hand.push_back(key.clone());
    }

    /// Slow, and rare: a key that comes or goes while it is in use.
    pub(super) fn remove(&mut self, key: &Key) {
        if self.slots.remove(key).is_some() {
            self.hand.retain(|held| held != key);
        }
    }

    /// Changes how much there is room for; what has none any more is forgotten at once.
    pub(super) fn set_capacity(&mut self, capacity: usize) {
        self.capacity = capacity.max(1);
        while self.slots.len() > self.capacity {
            self.forget_one();
        }
    }

    pub(super) fn capacity(&self) -> usize {
        self.capacity
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    pub(super) fn clear(&mut self) {
        self.slots.clear();
        self.hand.clear();
    }

    /// Passes over what was used since the hand last came by, once.
    fn forget_one(&mut self) {
        while let Some(key) = self.hand.pop_front() {
            match self.slots.get(&key) {
                Some(slot) if slot.used.swap(false, Ordering::Relaxed) => self.hand.push_back(key),
                _ => {
                    self.slots.remove(&key);
                    return;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(i: usize) -> Key {
        Key::new(format!("k/{i}"))
    }

    #[test]
    fn it_is_bounded_and_keeps_what_is_used() {
        let mut shelf = Shelf::new(10);
        shelf.put(&key(0), 0);
        for i in 1..1000 {
            assert_eq!(shelf.get(&key(0)), Some(&0), "{i}");
            shelf.put(&key(i), i);
            assert!(shelf.slots.len() <= 10 && shelf.hand.len() == shelf.slots.len());
        }
        assert_eq!(shelf.peek(&key(999)), Some(&999));
        assert_eq!(shelf.peek(&key(1)), None);
    }

    #[test]
    fn a_shelf_of_which_everything_is_used_still_takes_more() {
        let mut shelf = Shelf::new(3);
        for i in 0..3 {
            shelf.put(&key(i), i);
            shelf.get(&key(i));
        }
        shelf.put(&key(3), 3);
        assert_eq!((shelf.slots.len(), shelf.peek(&key(3))), (3, Some(&3)));
    }

    #[test]
    fn a_smaller_capacity_forgets_what_was_not_used() {
        let mut shelf = Shelf::new(10);
        for i in 0..10 {
            shelf.put(&key(i), i);
        }
        shelf.get(&key(3));
        shelf.set_capacity(2);
        assert_eq!((shelf.len(), shelf.hand.len(), shelf.peek(&key(3))), (2, 2, Some(&3)));
        shelf.set_capacity(3);
        shelf.put(&key(11), 11);
        assert_eq!(shelf.len(), 3);
    }

    #[test]
    fn what_was_removed_takes_no_place() {
        let mut shelf = Shelf::new(3);
        for i in 0..100 {
            shelf.put(&key(i), i);
            shelf.remove(&key(i));
        }
        assert!(shelf.hand.is_empty() && shelf.slots.is_empty());
        shelf.put(&key(1), 1);
        shelf.put(&key(1), 2);
        assert_eq!((shelf.hand.len(), shelf.peek(&key(1))), (1, Some(&2)));
    }
}
