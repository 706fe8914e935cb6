//! A map that keeps what was put in last.

use std::collections::{HashMap, VecDeque};

/// At most so many values by id; of more, those that were put in first go. What is gone can be asked for again.
#[derive(Debug)]
pub(super) struct Recent<V> {
    most: usize,
    /// Each with the number under which it stands in `order`.
    values: HashMap<String, (u64, V)>,
    /// In the order they came; those that were taken or replaced stand here too.
    order: VecDeque<(u64, String)>,
    next: u64,
}

impl<V> Recent<V> {
    pub(super) fn new(most: usize) -> Self {
        Self { most, values: HashMap::new(), order: VecDeque::new(), next: 0 }
    }

    pub(super) fn put(&mut self, id: &str, value: V) {
        let number = self.next;
        self.next = number.wrapping_add(1);
        self.values.insert(id.to_owned(), (number, value));
        self.order.push_back((number, id.to_owned()));
        while self.order.len() > self.most
            && let Some((number, first)) = self.order.pop_front()
        {
            if self.values.get(&first).is_some_and(|(own, _)| *own == number) {
                self.values.remove(&first);
            }
        }
    }

    pub(super) fn get(&self, id: &str) -> Option<&V> {
        self.values.get(id).map(|(_, value)| value)
    }

    pub(super) fn take(&mut self, id: &str) -> Option<V> {
        self.values.remove(id).map(|(_, value)| value)
    }

    pub(super) fn clear(&mut self) {
        self.values.clear();
        self.order.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn oldest_goes_when_it_is_full() {
        let mut recent = Recent::new(2);
        for (id, value) in [("a", 1), ("b", 2), ("a", 3), ("c", 4)] {
            recent.put(id, value);
        }
        assert_eq!(["a", "b", "c"].map(|id| recent.get(id).copied()), [Some(3), None, Some(4)]);
    }

    #[test]
    fn what_was_taken_or_cleared_is_gone() {
        let mut recent = Recent::new(3);
        for round in 0..10 {
            recent.put("a", round);
            assert_eq!((recent.take("a"), recent.take("a")), (Some(round), None));
        }
        recent.put("b", 1);
        assert!(recent.order.len() <= 3, "{recent:?}");
        recent.clear();
        assert_eq!(recent.get("b"), None);
    }
}
