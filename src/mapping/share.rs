//! Which output positions each replica of a layer makes.
//!
//! ```text
//! 12 positions, 3 replicas     dealt                    in runs
//!                              0 1 2 0 1 2 0 1 2 0 1 2  0 0 0 0 1 1 1 1 2 2 2 2
//! ```
//!
//! Dealt in turn, all replicas work on the same rows, which are then done one
//! after the other, so that the next layer begins soon: layers of a pipeline
//! overlap however many replicas they have. In runs each replica has a part of
//! the image to itself, and all parts are done at the same time, at the end. A
//! stream is as fast either way. Dealing is what layers get unless a floorplan
//! says `share: runs`.

use std::ops::Range;

/// Output positions of one input: of those from `start` to below `end`, the
/// first and then every so many-th.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Positions {
    /// The first.
    pub start: u32,
    /// Where they end.
    pub end: u32,
    /// From one to the next; 1 for a run of neighbours.
    pub every: u32,
}

/// How replicas divide the positions of a layer among them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Sharing {
    /// In turn.
    #[default]
    Dealt,
    /// A run of neighbours each.
    Runs,
}

impl Sharing {
    /// What one of so many replicas makes of so many positions.
    pub fn of(self, n_positions: u32, n_replicas: u32, replica: u32) -> Positions {
        let n_replicas = n_replicas.max(1);
        match self {
            Self::Dealt if n_replicas > 1 => {
                Positions { start: replica.min(n_positions), end: n_positions, every: n_replicas }
            }
            // An equal run each, the first ones one longer where it does not divide.
            Self::Dealt | Self::Runs => {
                let (each, rest) = (n_positions / n_replicas, n_positions % n_replicas);
                let bound = |r: u32| r * each + r.min(rest);
                Positions { start: bound(replica), end: bound(replica + 1), every: 1 }
            }
        }
    }
}

impl Positions {
    /// How many they are.
    pub fn n(self) -> u32 {
        self.end.saturating_sub(self.start).div_ceil(self.every.max(1))
    }

    /// How many of them are below this one.
    fn n_below(self, bound: u64) -> u64 {
        let end = bound.min(self.end.into());
        end.saturating_sub(self.start.into()).div_ceil(self.every.max(1).into())
    }

    /// How many of them are in a range.
    pub fn n_within(self, range: &Range<u64>) -> u64 {
        self.n_below(range.end).saturating_sub(self.n_below(range.start))
    }

    /// Those of them that are in a range of positions.
    pub fn within(self, range: &Range<usize>) -> impl ExactSizeIterator<Item = usize> + use<> {
        let every = self.every.max(1) as usize;
        let start = self.start as usize;
        let first = start + range.start.saturating_sub(start).div_ceil(every) * every;
        (first..range.end.min(self.end as usize)).step_by(every)
    }

    /// All of them.
    pub fn iter(self) -> impl ExactSizeIterator<Item = usize> + use<> {
        self.within(&(0..self.end as usize))
    }
}

impl std::fmt::Display for Positions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}..{}", self.start, self.end)?;
        if self.every == 1 { Ok(()) } else { write!(f, " every {}", self.every) }
    }
}

#[cfg(test)]
mod tests {
    //! Laws of shares: each position is somebody's, once, and counts agree
    //! with what is walked.

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_position_is_made_once(n in 1u32..200, replicas in 1u32..40, runs: bool) {
            let sharing = if runs { Sharing::Runs } else { Sharing::Dealt };
            let replicas = replicas.min(n);
            let mut made = vec![0; n as usize];
            for replica in 0..replicas {
                let own = sharing.of(n, replicas, replica);
                prop_assert_eq!(own.iter().len(), own.n() as usize);
                prop_assert!(own.n() >= n / replicas && own.n() <= n.div_ceil(replicas));
                own.iter().for_each(|position| made[position] += 1);
            }
            prop_assert!(made.iter().all(|&n| n == 1));
        }

        #[test]
        fn counts_are_of_what_is_walked(
            n in 1u32..200, replicas in 1u32..40, nth in 0u32..40, from in 0u64..220, length in 0u64..220,
        ) {
            let replicas = replicas.min(n);
            let own = Sharing::Dealt.of(n, replicas, nth % replicas);
            let range = from..from + length;
            let walked = own.iter().filter(|&at| range.contains(&(at as u64))).collect::<Vec<_>>();
            prop_assert_eq!(own.n_within(&range), walked.len() as u64);
            let within = own.within(&(from as usize..(from + length) as usize));
            prop_assert_eq!(within.collect::<Vec<_>>(), walked);
        }
    }
}
