//! One column of pairs: what each can still hold, and what it shall hold.
//!
//! With errors `e` of the pairs' weights the column's squared output error is
//! `e' H e`. Where some errors are given, those of least error for the others
//! solve `H[f][f] e[f] = -H[f][g] e[g]`: found by conjugate gradients, because
//! `H` is close to a few directions beside a multiple of one, which they take
//! one step each. A weight that cannot be held is put at the end of what can,
//! and counts as given from then on.

use super::moments::Moments;

/// Levels below which a target is as it was, and a weight without error: a
/// thousandth of what writing a cell is good for.
const SAME: f64 = 1e-4;

/// Times that weights which cannot be held are given up, and the rest found
/// again.
const ROUNDS: usize = 8;

/// Steps of conjugate gradients, and the share of the residual's square at
/// which they end.
const STEPS: usize = 64;
const RESIDUAL: f64 = 1e-8;

/// A differential pair, in levels: first the positive cell, then the negative.
#[derive(Debug, Clone)]
pub(super) struct Pair {
    /// What the plan wants.
    planned: [f64; 2],
    /// What fixed cells hold.
    fixed: [Option<f64>; 2],
    /// What is to be written.
    targets: [f64; 2],
    max_level: f64,
}

impl Pair {
    /// Targets, what fixed cells hold, and the highest level that can be
    /// written.
    pub(super) fn new(targets: [f64; 2], fixed: [Option<f64>; 2], max_level: f64) -> Self {
        Self { planned: targets, fixed, targets, max_level }
    }

    /// What the two cells will hold.
    fn holds(&self) -> [f64; 2] {
        std::array::from_fn(|half| self.fixed[half].unwrap_or(self.targets[half]))
    }

    fn error(&self) -> f64 {
        let ([positive, negative], planned) = (self.holds(), self.planned);
        (positive - negative) - (planned[0] - planned[1])
    }

    fn n_fixed(&self) -> usize {
        self.fixed.iter().flatten().count()
    }

    /// The least and the largest error that it can be written to have.
    fn reach(&self) -> (f64, f64) {
        let least = |half: usize| self.fixed[half].unwrap_or(0.0);
        let most = |half: usize| self.fixed[half].unwrap_or(self.max_level);
        let planned = self.planned[0] - self.planned[1];
        (least(0) - most(1) - planned, most(0) - least(1) - planned)
    }

    /// Writes it to an error within its reach. Both cells can be: the weight on
    /// one of them, as low as can be, for what conducts less is off by less.
    fn write(&mut self, error: f64) {
        let weight = self.planned[0] - self.planned[1] + error;
        match self.fixed {
            [None, None] => self.targets = [weight.max(0.0), (-weight).max(0.0)],
            [Some(positive), None] => self.targets[1] = self.held(positive - weight),
            [None, Some(negative)] => self.targets[0] = self.held(negative + weight),
            [Some(_), Some(_)] => {}
        }
    }

    fn held(&self, level: f64) -> f64 {
        level.clamp(0.0, self.max_level)
    }

    /// Targets that differ from the plan's.
    pub(super) fn changed(&self) -> [Option<f64>; 2] {
        std::array::from_fn(|half| {
            let differs = (self.targets[half] - self.planned[half]).abs() >= SAME;
            differs.then_some(self.targets[half])
        })
    }

    fn n_changed(&self) -> u64 {
        self.changed().iter().flatten().count() as u64
    }
}

/// The pairs of one column of a tile, input line by input line.
#[derive(Debug, Clone)]
pub(super) struct Column {
    pairs: Vec<Pair>,
}

impl Column {
    pub(super) fn new(pairs: Vec<Pair>) -> Self {
        Self { pairs }
    }

    pub(super) fn pairs(&self) -> &[Pair] {
        &self.pairs
    }

    /// Cells that are fixed at something else than their target.
    pub(super) fn n_fixed(&self) -> u64 {
        let halves = self.pairs.iter().flat_map(|pair| pair.fixed.iter().zip(&pair.planned));
        let is_off = |(fixed, planned): &(&Option<f64>, &f64)| {
            fixed.is_some_and(|fixed| (fixed - **planned).abs() >= SAME)
        };
        halves.filter(is_off).count() as u64
    }

    pub(super) fn has_error(&self) -> bool {
        self.pairs.iter().any(|pair| pair.error().abs() >= SAME)
    }

    pub(super) fn squared_error(&self, moments: &Moments) -> f64 {
        let errors = self.errors();
        dot(&errors, &moments.apply(&errors))
    }

    fn errors(&self) -> Vec<f64> {
        self.pairs.iter().map(Pair::error).collect()
    }

    /// The other cell of each pair takes over as much as it can; how many do.
    pub(super) fn use_partners(&mut self) -> u64 {
        for pair in self.pairs.iter_mut().filter(|pair| pair.n_fixed() == 1) {
            pair.write(0.0);
        }
        self.pairs.iter().map(Pair::n_changed).sum()
    }

    /// Pairs take over what is left, those with a fixed cell too if they may;
    /// how many cells are changed beside those that were. Nothing is changed
    /// where that would gain nothing.
    pub(super) fn feed_back(&mut self, moments: &Moments, partners: bool) -> u64 {
        if !self.has_error() {
            return 0;
        }
        let changed_before: u64 = self.pairs.iter().map(Pair::n_changed).sum();
        let (before, error_before) = (self.pairs.clone(), self.squared_error(moments));
        let may_change = |pair: &Pair| pair.n_fixed() < if partners { 2 } else { 1 };
        let mut is_free: Vec<bool> = self.pairs.iter().map(may_change).collect();
        let mut errors = self.errors();
        for _ in 0..ROUNDS {
            solve(moments, &is_free, &mut errors);
            let mut all_held = true;
            for ((error, is_free), pair) in errors.iter_mut().zip(&mut is_free).zip(&self.pairs) {
                let (least, most) = pair.reach();
                if *is_free && !(least..=most).contains(error) {
                    *error = error.clamp(least, most);
                    *is_free = false;
                    all_held = false;
                }
            }
            if all_held {
                break;
            }
        }
        for (pair, &error) in self.pairs.iter_mut().zip(&errors) {
            if may_change(pair) {
                let (least, most) = pair.reach();
                pair.write(error.clamp(least, most));
            }
        }
        if self.squared_error(moments) >= error_before {
            self.pairs = before;
        }
        let changed: u64 = self.pairs.iter().map(Pair::n_changed).sum();
        changed.saturating_sub(changed_before)
    }
}

/// Finds the free errors of least squared error; the others stay.
fn solve(moments: &Moments, is_free: &[bool], errors: &mut [f64]) {
    let only_free = |mut values: Vec<f64>| {
        values.iter_mut().zip(is_free).filter(|(_, free)| !**free).for_each(|(v, _)| *v = 0.0);
        values
    };
    let downhill = moments.apply(errors).into_iter().map(|slope| -slope).collect();
    let mut residual: Vec<f64> = only_free(downhill);
    let mut direction = residual.clone();
    let mut square = dot(&residual, &residual);
    let enough = RESIDUAL * square;
    for _ in 0..STEPS {
        if square <= enough {
            return;
        }
        let bent = only_free(moments.apply(&direction));
        let step = square / dot(&direction, &bent);
        add(errors, step, &direction);
        add(&mut residual, -step, &bent);
        let next = dot(&residual, &residual);
        let share = next / square;
        for (direction, residual) in direction.iter_mut().zip(&residual) {
            *direction = residual + share * *direction;
        }
        square = next;
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn add(values: &mut [f64], factor: f64, others: &[f64]) {
    values.iter_mut().zip(others).for_each(|(value, other)| *value += factor * other);
}

#[cfg(test)]
mod tests {
    //! What a pair can hold, and that nobody loses by making up for others.

    use proptest::prelude::*;

    use super::*;

    fn pair(targets: [f64; 2], fixed: [Option<f64>; 2]) -> Pair {
        Pair::new(targets, fixed, 7.0)
    }

    #[test]
    fn a_partner_makes_up_for_a_stuck_cell_as_far_as_it_reaches() {
        // Wanted, fixed, what is then written, and what is left of the error.
        let cases = [
            ([4.0, 0.0], [Some(7.0), None], [4.0, 3.0], 0.0),
            ([0.0, 3.0], [Some(7.0), None], [0.0, 7.0], 3.0),
            ([4.0, 0.0], [Some(0.0), None], [4.0, 0.0], -4.0),
            ([0.0, 3.0], [Some(0.0), None], [0.0, 3.0], 0.0),
            ([0.0, 0.0], [None, Some(2.5)], [2.5, 0.0], 0.0),
            ([0.0, 5.0], [None, Some(7.0)], [2.0, 5.0], 0.0),
            ([1.0, 0.0], [Some(7.0), Some(7.0)], [1.0, 0.0], -1.0),
        ];
        for (planned, fixed, written, left) in cases {
            let mut column = Column::new(vec![pair(planned, fixed)]);
            column.use_partners();
            assert_eq!(column.pairs[0].targets, written, "{planned:?} {fixed:?}");
            assert_eq!(column.pairs[0].error(), left, "{planned:?} {fixed:?}");
        }
    }

    /// Inputs that are all one number: the sum alone counts.
    #[test]
    fn what_drives_lines_alike_is_made_up_for_on_any_of_them() {
        let mut pairs = vec![pair([3.0, 0.0], [None, None]); 9];
        pairs[4] = pair([6.0, 0.0], [Some(0.0), Some(0.0)]);
        let vectors = (0..50).map(|i| vec![f64::from(i); 9]);
        let moments = Moments::from_vectors(9, vectors);
        let mut column = Column::new(pairs);
        let before = column.squared_error(&moments);
        assert_eq!(column.feed_back(&moments, true), 8);
        assert!(column.squared_error(&moments) < 0.02 * before);
        let sum: f64 = column.errors().iter().sum();
        assert!(sum.abs() < 0.06, "{sum}");
    }

    proptest! {
        #[test]
        fn feedback_finds_the_least_error_within_reach(
            weights in prop::collection::vec(-7i8..=7, 2..24),
            stuck in prop::collection::vec((any::<prop::sample::Index>(), 0usize..2, 0.0..7.0), 1..5),
            codes in prop::collection::vec(0u8..=255, 24 * 40),
            partners in any::<bool>(),
        ) {
            let n = weights.len();
            let mut pairs: Vec<Pair> = weights
                .iter()
                .map(|&w| pair([f64::from(w.max(0)), f64::from((-w).max(0))], [None, None]))
                .collect();
            for (at, half, level) in stuck {
                pairs[at.index(n)].fixed[half] = Some(level);
            }
            let vectors = codes.chunks_exact(n).map(|codes| {
                codes.iter().map(|&code| f64::from(code)).collect()
            });
            let moments = Moments::from_vectors(n, vectors);
            let mut column = Column::new(pairs);
            let unaware = column.squared_error(&moments);
            if partners {
                column.use_partners();
            }
            let with_partners = column.squared_error(&moments);
            column.feed_back(&moments, partners);
            let found = column.squared_error(&moments);
            prop_assert!(found <= with_partners * (1.0 + 1e-12) + 1e-9);
            prop_assert!(found <= unaware * (1.0 + 1e-12) + 1e-9 || partners);
            for pair in &column.pairs {
                for half in 0..2 {
                    prop_assert!((0.0..=7.0).contains(&pair.targets[half]));
                    let is_old = pair.targets[half] == pair.planned[half];
                    prop_assert!(pair.fixed[half].is_none() || is_old);
                }
            }
            // No pair that is inside its reach could gain by moving alone.
            let slopes = moments.apply(&column.errors());
            for (line, pair) in column.pairs.iter().enumerate() {
                let (least, most) = pair.reach();
                let error = pair.error();
                if pair.n_fixed() == 0 && least + 1e-6 < error && error < most - 1e-6 {
                    let gain = slopes[line] * slopes[line] / moments.row(line)[line];
                    prop_assert!(gain <= 0.02 * with_partners + 1e-6, "{gain} of {found}");
                }
            }
        }
    }
}
