//! Which pulse comes next, by what pulses of the model do.
//!
//! Identical pulses are coarse: on the reference cell one moves a conductance
//! by 2 to 6 uS, give or take, and a cell is to come within a fraction of
//! that. Which cell of a pair to pulse, and which way, is then a game against
//! chance, and its best play is known (Bellman 1957): with `V` the pulses that
//! are still to be expected from a state,
//!
//! ```text
//! V(state) = 1 + least over pulses of the mean of V(next state)
//! V(state) = 0 where the pair is accepted
//! ```
//!
//! States are the conductances of both cells, on a grid over what cells can
//! hold; `V` is found by going round until it stays. What is kept of it is the
//! best pulse of each state, a table for each difference and tolerance that is
//! asked for. A pulse is a Gaussian step whose mean and spread are those of
//! the mean cell: what distinguishes a cell from others is not known to who
//! writes it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::device::{DeviceModel, Operation};
use crate::chip::math::exp;

/// States of a cell. Steps of the grid are half a microsiemens on the
/// reference cell, a quarter of what its finest pulse spreads.
const N_NODES: usize = 41;

/// Times that all states are looked at, at most, and the change of expected
/// pulses that ends it.
const SWEEPS: usize = 300;
const SETTLED: f32 = 0.01;

/// The cell of a pair that is pulsed, and which way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Choice {
    /// 0 for the first cell, 1 for the second.
    pub half: usize,
    pub operation: Operation,
}

/// All that can be done to a pair, by the number that stands for it in tables.
const CHOICES: [Choice; 4] = [
    Choice { half: 0, operation: Operation::Set },
    Choice { half: 0, operation: Operation::Reset },
    Choice { half: 1, operation: Operation::Set },
    Choice { half: 1, operation: Operation::Reset },
];

/// The best pulses for any goal.
#[derive(Debug)]
pub(super) struct Choices {
    low_us: f64,
    step_us: f64,
    /// Probability of each node after a pulse from each, `[from][to]`: of SET,
    /// of RESET.
    pulses: [Vec<f32>; 2],
    /// Filled in as goals come up; what a table holds depends on its key
    /// alone.
    tables: Mutex<BTreeMap<Key, Arc<Vec<u8>>>>,
}

/// A goal as tables know it: in steps of the grid, and a power of two for the
/// tolerance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    /// Difference of a pair, first less second; the node that its lower cell
    /// may be at, at most.
    Pair { steps: i32, tolerance: i32, lower_max: i32 },
    /// One cell, from the lowest node up.
    Cell { node: i32, tolerance: i32 },
}

/// The table of a goal.
#[derive(Debug, Clone)]
pub(super) struct Table {
    best: Arc<Vec<u8>>,
    /// The goal that it was made for, in uS: a difference, or a conductance.
    goal_us: f64,
    steps: i32,
    is_pair: bool,
}

impl Choices {
    /// For cells of this model.
    pub fn new(model: &DeviceModel) -> Self {
        let (low_us, high_us) = model.ends_us();
        let step_us = (high_us - low_us) / (N_NODES - 1) as f64;
        let of = |operation| {
            let from = |node: usize| {
                let us = low_us + step_us * node as f64;
                let (mean_us, sd_us) = model.step(operation, us);
                landing((us + mean_us - low_us) / step_us, sd_us / step_us)
            };
            (0..N_NODES).flat_map(from).collect()
        };
        let pulses = [of(Operation::Set), of(Operation::Reset)];
        Self { low_us, step_us, pulses, tables: Mutex::new(BTreeMap::new()) }
    }

    /// The best pulses of a pair that is to differ by this, its lower cell to
    /// be no higher than that.
    pub fn of_pair(&self, difference_us: f64, tolerance_us: f64, lower_max_us: f64) -> Table {
        let steps = self.steps(difference_us);
        let lower_max = ((lower_max_us - self.low_us) / self.step_us).floor();
        // Casts of what is beyond all cells give the highest node.
        let lower_max = (lower_max as i32).clamp(0, N_NODES as i32 - 1);
        let key = Key::Pair { steps, tolerance: self.class(tolerance_us), lower_max };
        Table { best: self.table(key), goal_us: difference_us, steps, is_pair: true }
    }

    /// The best pulses of one cell that is to hold this.
    pub fn of_cell(&self, goal_us: f64, tolerance_us: f64) -> Table {
        let steps = self.steps(goal_us - self.low_us);
        let key = Key::Cell { node: steps, tolerance: self.class(tolerance_us) };
        Table { best: self.table(key), goal_us, steps, is_pair: false }
    }

    /// The best pulse for cells that hold this and are not accepted; of one
    /// cell only the first counts.
    #[inline]
    pub fn best(&self, table: &Table, held_us: [f64; 2]) -> Choice {
        let last = N_NODES as i32 - 1;
        let other_us = if table.is_pair { held_us[1] } else { 0.0 };
        // On which side of its goal the cell is must survive the grid.
        let off = (held_us[0] - other_us - table.goal_us) / self.step_us;
        let off = if off < 0.0 { off.round().min(-1.0) } else { off.round().max(1.0) } as i32;
        let node = |half: usize| self.steps(held_us[half] - self.low_us).clamp(0, last);
        let at_end = |half: usize| self.end(held_us[half]);
        let place = match (table.is_pair, at_end(0)) {
            (true, None) => {
                let second = node(1);
                (second + table.steps + off).clamp(0, last) * (last + 1) + second
            }
            // That it is at an end must survive it too.
            (true, Some(first)) => {
                let second = at_end(1).unwrap_or((first - table.steps - off).clamp(0, last));
                first * (last + 1) + second
            }
            (false, at_end) => at_end.unwrap_or((table.steps + off).clamp(0, last)),
        };
        let best = table.best.get(place as usize).copied().unwrap_or_default();
        CHOICES[usize::from(best) % CHOICES.len()]
    }

    /// The node of a cell that is at an end.
    fn end(&self, us: f64) -> Option<i32> {
        let last = N_NODES as i32 - 1;
        let near = |node: i32| (us - self.low_us - self.step_us * f64::from(node)).abs() < 1e-9;
        [0, last].into_iter().find(|&node| near(node))
    }

    fn steps(&self, us: f64) -> i32 {
        (us / self.step_us).round_ties_even() as i32
    }

    /// The power of two, in steps, that a tolerance is nearest to.
    fn class(&self, tolerance_us: f64) -> i32 {
        let mut class = -4;
        let mut bound = self.step_us * std::f64::consts::SQRT_2 / 16.0;
        while tolerance_us > bound && class < 4 {
            class += 1;
            bound *= 2.0;
        }
        class
    }

    fn table(&self, key: Key) -> Arc<Vec<u8>> {
        let known = || self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(table) = known().get(&key) {
            return Arc::clone(table);
        }
        // Not under the lock: others go on with what is known, and two that
        // make the same table make it alike.
        let made = Arc::new(match key {
            Key::Pair { steps, tolerance, lower_max } => {
                self.solve_pair(steps, tolerance, lower_max)
            }
            Key::Cell { node, tolerance } => self.solve_cell(node, tolerance),
        });
        Arc::clone(known().entry(key).or_insert(made))
    }

    fn solve_pair(&self, steps: i32, class: i32, lower_max: i32) -> Vec<u8> {
        let within = power_of_two(class);
        let n = N_NODES;
        // Shares that are not accepted, where the first or the second moved:
        // `[moved][other]`, as all below.
        let left = |mover: usize| -> Vec<f32> {
            let at = |place: usize| {
                let (moved, other) = (place / n, place % n);
                let (first, second) = if mover == 0 { (moved, other) } else { (other, moved) };
                let off = first as f64 - second as f64 - f64::from(steps);
                if moved.min(other) as i32 > lower_max { 1.0 } else { 1.0 - accepted(off, within) }
            };
            (0..n * n).map(at).collect()
        };
        let left = [left(0), left(1)];
        let mut values = vec![0f32; n * n];
        let mut best = vec![0u8; n * n];
        let mut ahead = vec![0f32; n * n];
        for _ in 0..SWEEPS {
            let mut least = vec![f32::INFINITY; n * n];
            for (number, choice) in (0u8..).zip(CHOICES) {
                let pulses = &self.pulses[choice.operation as usize];
                let place = |moved: usize, other: usize| match choice.half {
                    0 => moved * n + other,
                    _ => other * n + moved,
                };
                let left = left[choice.half].chunks_exact(n).enumerate();
                for ((moved, left), ahead) in left.zip(ahead.chunks_exact_mut(n)) {
                    for (other, (ahead, left)) in ahead.iter_mut().zip(left).enumerate() {
                        *ahead = left * values[place(moved, other)];
                    }
                }
                for (from, pulses) in pulses.chunks_exact(n).enumerate() {
                    let mut mean = [0f32; N_NODES];
                    for (&probability, ahead) in pulses.iter().zip(ahead.chunks_exact(n)) {
                        if probability > 0.0 {
                            mean.iter_mut().zip(ahead).for_each(|(m, v)| *m += probability * v);
                        }
                    }
                    let stays = stays(from) * pulses[from];
                    for (other, &mean) in mean.iter().enumerate() {
                        let at = place(from, other);
                        let mean = mean + stays * (values[at] - ahead[from * n + other]);
                        if mean < least[at] {
                            (least[at], best[at]) = (mean, number);
                        }
                    }
                }
            }
            if settle(&mut values, &least) {
                break;
            }
        }
        best
    }

    fn solve_cell(&self, goal: i32, class: i32) -> Vec<u8> {
        let within = power_of_two(class);
        let off = |node: usize| node as f64 - f64::from(goal);
        let left: Vec<f32> = (0..N_NODES).map(|node| 1.0 - accepted(off(node), within)).collect();
        let mut values = vec![0f32; N_NODES];
        let mut best = vec![0u8; N_NODES];
        for _ in 0..SWEEPS {
            let ahead: Vec<f32> = values.iter().zip(&left).map(|(v, left)| v * left).collect();
            let mut least = vec![f32::INFINITY; N_NODES];
            for (number, pulses) in (0u8..).zip(&self.pulses) {
                for (from, pulses) in pulses.chunks_exact(N_NODES).enumerate() {
                    let mean: f32 = pulses.iter().zip(&ahead).map(|(p, v)| p * v).sum();
                    let mean = mean + stays(from) * pulses[from] * (values[from] - ahead[from]);
                    if mean < least[from] {
                        (least[from], best[from]) = (mean, number);
                    }
                }
            }
            if settle(&mut values, &least) {
                break;
            }
        }
        best
    }
}

/// Share of what lands at a node, this far from a goal, that is within so many
/// steps of it: both cells may be anywhere around their nodes.
fn accepted(off: f64, within: f64) -> f32 {
    ((off + 0.5).min(within) - (off - 0.5).max(-within)).max(0.0) as f32
}

/// Share of what comes back to a node that has not moved at all: a cell at an
/// end that is pulsed beyond it. It was not accepted there, and is not now.
fn stays(node: usize) -> f32 {
    if node == 0 || node == N_NODES - 1 { 1.0 } else { 0.0 }
}

/// Takes over one more pulse than what was least; whether that hardly changed
/// anything.
fn settle(values: &mut [f32], least: &[f32]) -> bool {
    let mut change = 0f32;
    for (value, least) in values.iter_mut().zip(least) {
        change = change.max((1.0 + least - *value).abs());
        *value = 1.0 + least;
    }
    change < SETTLED
}

fn power_of_two(class: i32) -> f64 {
    let of = |n: i32| f64::from(1u32 << n.clamp(0, 30));
    if class < 0 { 1.0 / of(-class) } else { of(class) }
}

/// Probability of each node for a Gaussian landing, in steps of the grid; what
/// would go beyond an end stays there.
fn landing(mean: f64, sd: f64) -> Vec<f32> {
    let below = |bound: f64| match sd > 1e-9 {
        true => normal_below((bound - mean) / sd),
        false => f64::from(u8::from(mean < bound)),
    };
    let mut last = 0.0;
    (0..N_NODES)
        .map(|node| {
            let upto = if node + 1 == N_NODES { 1.0 } else { below(node as f64 + 0.5) };
            let own = (upto - last).max(0.0);
            last = upto;
            own as f32
        })
        .collect()
}

/// The standard normal distribution below `z`, to 1e-7 (Abramowitz & Stegun
/// 26.2.17).
fn normal_below(z: f64) -> f64 {
    const B: [f64; 5] =
        [0.319_381_530, -0.356_563_782, 1.781_477_937, -1.821_255_978, 1.330_274_429];
    const DENSITY: f64 = 0.398_942_280_401_432_7;
    let t = 1.0 / (1.0 + 0.231_641_9 * z.abs());
    let series = B.iter().rev().fold(0.0, |sum, b| (sum + b) * t);
    let above = DENSITY * exp(-z * z / 2.0) * series;
    if z < 0.0 { above } else { 1.0 - above }
}

#[cfg(test)]
mod tests {
    //! Landings are those of a Gaussian that the ends hold.

    use super::*;

    #[test]
    fn landings_are_a_distribution() {
        // Symmetric, and the known values at 1 and 2.
        for (z, below) in [(0.0, 0.5), (1.0, 0.841_344_746), (2.0, 0.977_249_868)] {
            assert!((normal_below(z) - below).abs() < 1e-7, "{z}");
            assert!((normal_below(z) + normal_below(-z) - 1.0).abs() < 1e-8, "{z}");
        }
        for (mean, sd) in [(0.0, 1.0), (20.3, 4.0), (-50.0, 3.0), (90.0, 0.0), (7.4, 0.0)] {
            let shares = landing(mean, sd);
            let sum: f32 = shares.iter().sum();
            assert!((sum - 1.0).abs() < 1e-5 && shares.iter().all(|&p| p >= 0.0), "{mean} {sd}");
            let centre: f32 = shares.iter().enumerate().map(|(node, p)| node as f32 * p).sum();
            if (10.0..30.0).contains(&mean) {
                assert!((f64::from(centre) - mean).abs() < 0.01, "{mean}: {centre}");
            }
        }
        assert_eq!(landing(-50.0, 3.0)[0], 1.0);
        assert_eq!(landing(7.4, 0.0)[7], 1.0);
    }

    #[test]
    fn shares_of_a_band_add_up_to_its_width() {
        for within in [0.125, 0.5, 1.0, 2.0] {
            let all: f32 = (-20..=20).map(|off| accepted(f64::from(off), within)).sum();
            assert!((f64::from(all) - 2.0 * within).abs() < 1e-6, "{within}: {all}");
        }
    }
}
