//! What ends when, and what waits for what to end.
//!
//! A simulation of millions of jobs is mostly its queues. Two things keep them
//! short. Jobs that take equally long end in the order in which they began, so
//! that each duration has a lane, first in, first out, and only the lanes'
//! heads are ordered by a heap. And jobs come to a resource nearly in the order
//! in which it takes them.

use std::cmp::Reverse;
use std::collections::binary_heap::PeekMut;
use std::collections::{BinaryHeap, VecDeque};

/// Resources at work, by when they are done.
pub(super) struct Agenda {
    /// End and resource, ends in order.
    lanes: Vec<VecDeque<(u64, u32)>>,
    /// First end of each lane that has one.
    heads: BinaryHeap<Reverse<(u64, u32)>>,
}

impl Agenda {
    pub(super) fn new(n_lanes: usize) -> Self {
        Self { lanes: vec![VecDeque::new(); n_lanes], heads: BinaryHeap::new() }
    }

    /// Notes an end, which must not come before others of its lane.
    pub(super) fn add(&mut self, lane: u32, end_ps: u64, resource: u32) {
        let own = &mut self.lanes[lane as usize];
        if own.is_empty() {
            self.heads.push(Reverse((end_ps, lane)));
        }
        own.push_back((end_ps, resource));
    }

    /// The next time at which something ends, and all that ends then.
    pub(super) fn next(&mut self, ended: &mut Vec<u32>) -> Option<u64> {
        let &Reverse((now, _)) = self.heads.peek()?;
        while let Some(mut head) = self.heads.peek_mut()
            && head.0.0 == now
        {
            let lane = &mut self.lanes[head.0.1 as usize];
            while let Some(&(_, resource)) = lane.front().filter(|(end, _)| *end == now) {
                lane.pop_front();
                ended.push(resource);
            }
            match lane.front() {
                Some(&(end, _)) => head.0.0 = end,
                None => {
                    PeekMut::pop(head);
                }
            }
        }
        Some(now)
    }
}

/// Jobs that wait for one resource: least first.
#[derive(Default)]
pub(super) struct Line {
    in_order: VecDeque<u64>,
    others: BinaryHeap<Reverse<u64>>,
}

impl Line {
    pub(super) fn add(&mut self, key: u64) {
        match (self.in_order.front(), self.in_order.back()) {
            (Some(first), _) if key < *first => self.in_order.push_front(key),
            (_, Some(last)) if key < *last => self.others.push(Reverse(key)),
            _ => self.in_order.push_back(key),
        }
    }

    pub(super) fn take(&mut self) -> Option<u64> {
        match (self.in_order.front(), self.others.peek()) {
            (Some(first), Some(Reverse(other))) if other < first => {
                self.others.pop().map(|Reverse(key)| key)
            }
            (None, _) => self.others.pop().map(|Reverse(key)| key),
            _ => self.in_order.pop_front(),
        }
    }
}

#[cfg(test)]
mod tests {
    //! Both give back what a heap of all would.

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_least_is_taken(keys in proptest::collection::vec((0u64..50, 0usize..3), 1..80)) {
            let (mut line, mut heap) = (Line::default(), BinaryHeap::new());
            for (key, n_taken) in keys {
                line.add(key);
                heap.push(Reverse(key));
                for _ in 0..n_taken {
                    prop_assert_eq!(line.take(), heap.pop().map(|Reverse(key)| key));
                }
            }
            while let Some(Reverse(key)) = heap.pop() {
                prop_assert_eq!(line.take(), Some(key));
            }
            prop_assert_eq!(line.take(), None);
        }

        #[test]
        fn ends_come_in_order(begun in proptest::collection::vec((0u32..4, 0u64..3), 1..60)) {
            // Lanes of 0, 5, 10 and 15 ps; time goes on while jobs begin.
            let (mut agenda, mut heap, mut now) = (Agenda::new(4), BinaryHeap::new(), 0);
            for (resource, (lane, later)) in (0..).zip(begun) {
                now += later;
                let end = now + 5 * u64::from(lane);
                agenda.add(lane, end, resource);
                heap.push(Reverse((end, resource)));
            }
            let mut ended = Vec::new();
            while let Some(now) = agenda.next(&mut ended) {
                ended.sort_unstable();
                for resource in ended.drain(..) {
                    prop_assert_eq!(heap.pop(), Some(Reverse((now, resource))));
                }
                prop_assert!(heap.peek().is_none_or(|Reverse((end, _))| *end > now));
            }
            prop_assert!(heap.is_empty());
        }
    }
}
