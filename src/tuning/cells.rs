//! From wanted changes of weights to pulses on cells.
//!
//! A wanted change is in levels of a weight, and is kept digitally until it is
//! worth a pulse. In uS it is the change of the difference of a pair:
//!
//! ```text
//! threshold   |change| >= threshold: the pair is written closed loop to what it
//!             holds and the change. The negative cell is lowered where it has
//!             the room, else the positive one raised, else each does a part;
//!             and the other way round for a change downwards
//! sign        |change| > threshold: one pulse, in SET phases
//!               up   SET of the positive cell    down  SET of the negative one
//!             and in RESET phases
//!               up   RESET of the negative cell  down  RESET of the positive one
//! ```
//!
//! Transfers between two arrays ([`super::transfer`]) end in pulses by the rule
//! of signs. Low conductances are preferred, since a reading's noise grows with them.
//! Weights in slices: the highest digit for which the change is worth a pulse
//! takes it.

use std::collections::BTreeMap;

use super::{Transfer, Update};
use crate::chip::{CellChange, CellChanges, Programmed};
use crate::entity::{LayerId, PeId};
use crate::mapping::WeightTile;
use crate::schedule::{ExecutionPlan, PlanLayer};
use crate::target::Cell;

/// A tuned layer's matrix, and what is wanted of it.
#[derive(Debug, Clone)]
pub(super) struct Matrix {
    tiles: Vec<WeightTile>,
    /// What a level of each slice counts in levels of the weight.
    factors: Vec<f64>,
    n_rows: usize,
    n_columns: usize,
    /// Weights of one replica.
    n_weights: usize,
    /// Real value of a level, `[group][column]`.
    scales: Vec<f64>,
    /// Mean square of these.
    square: f64,
    /// What code 0 of an input stands for; not 0 where it has a zero point.
    code_zero: f64,
    /// Changes wanted and not made yet, in levels,
    /// `[replica][group][row][column]`: each copy has cells of its own, and
    /// wants what its own positions say.
    pub wanted: Vec<f64>,
    /// Steps wanted so far, the older the less, laid out alike; empty without
    /// momentum.
    pub velocity: Vec<f64>,
}

/// Real value of a level of each column, `[group][column]`.
pub(super) fn weight_scales(layer: &PlanLayer) -> Vec<f64> {
    let input = f64::from(layer.coding.scale);
    layer.column_scales.iter().map(|scale| scale / input).collect()
}

/// Weights of a layer, each as often as it has cells of its own.
pub(crate) fn n_wanted(layer: &PlanLayer) -> usize {
    layer.levels.len() * layer.n_replicas.max(1) as usize
}

impl Matrix {
    /// The matrix of a plan's layer, which has it for itself.
    pub fn new(plan: &ExecutionPlan, id: LayerId, layer: &PlanLayer) -> Self {
        let tiles = plan.tiles.values().filter(|tile| tile.place.layer == id);
        let scales = weight_scales(layer);
        let square = scales.iter().map(|s| s * s).sum::<f64>() / scales.len().max(1) as f64;
        Self {
            tiles: tiles.map(|tile| tile.place.clone()).collect(),
            factors: (0..layer.n_slices()).map(|s| layer.slice_factor(s) as f64).collect(),
            n_rows: layer.nest.n_rows(),
            n_columns: layer.nest.n_columns(),
            n_weights: layer.levels.len(),
            scales,
            square,
            code_zero: -f64::from(layer.coding.zero_point) * f64::from(layer.coding.scale),
            wanted: vec![0.0; n_wanted(layer)],
            velocity: Vec::new(),
        }
    }

    /// Wants a step down a gradient with respect to the real weights.
    ///
    /// Columns have scales of their own, and what can be changed is
    /// conductances. The step is that of gradient descent on conductances, in
    /// proportion such that with one scale for all columns it is that of
    /// gradient descent on weights, with this rate. With a momentum, that share
    /// of the step before is taken once more.
    pub fn descend(&mut self, gradient: &[f64], rate: f64, momentum: f64) {
        if self.square <= 0.0 {
            return;
        }
        if momentum > 0.0 && self.velocity.is_empty() {
            self.velocity = vec![0.0; self.wanted.len()];
        }
        let column = self.columns();
        for (nth, (wanted, gradient)) in self.wanted.iter_mut().zip(gradient).enumerate() {
            let scale = self.scales[column(nth)];
            let mut step = -rate * gradient * scale / self.square;
            if let Some(velocity) = self.velocity.get_mut(nth) {
                step += momentum * *velocity;
                *velocity = step;
            }
            *wanted += step;
        }
    }

    /// Where its cells are.
    pub fn tiles(&self) -> &[WeightTile] {
        &self.tiles
    }

    /// What a level in a tile counts in levels of the weight.
    pub fn factor(&self, tile: &WeightTile) -> f64 {
        self.factors.get(usize::from(tile.slice)).copied().unwrap_or(1.0)
    }

    /// PEs that have cells of it.
    pub fn pes(&self) -> impl Iterator<Item = PeId> + '_ {
        self.tiles.iter().map(|tile| tile.pe)
    }

    /// The weights that its cells stand for, `[replica][group][row][column]`, as
    /// real numbers.
    pub fn weights(
        &self,
        conductances_us: &BTreeMap<PeId, Vec<f32>>,
        n_outputs: usize,
        level_us: f64,
    ) -> Vec<f32> {
        let mut weights = vec![0f64; self.wanted.len()];
        for tile in &self.tiles {
            let Some(cells) = conductances_us.get(&tile.pe) else { continue };
            let factor = self.factor(tile);
            self.visit(tile, n_outputs, |weight, at| {
                let us = f64::from(cells[at]) - f64::from(cells[at + 1]);
                weights[weight] += factor * us / level_us;
            });
        }
        let column = self.columns();
        let real = |(weight, level): (usize, f64)| (level * self.scales[column(weight)]) as f32;
        weights.into_iter().enumerate().map(real).collect()
    }

    /// The changes that are worth a pulse, which are no longer wanted then.
    /// `carry` keeps the others for later.
    ///
    /// Gives what the results of columns fall by for inputs that are all 0,
    /// `[group][column]`, the mean of replicas: lines are driven with the zero
    /// point then, whose product with the weights of the plan is taken off, but
    /// not that with what they have become. Without a zero point, and of single
    /// pulses, whose outcome nobody knows, it is nothing.
    pub fn changes(
        &mut self,
        plan: &ExecutionPlan,
        (programmed, cell): (&Programmed, &Cell),
        (update, set_phase, carry): (Update, bool, bool),
        changes: &mut CellChanges,
    ) -> Vec<f64> {
        let level_us = plan.level_us;
        let (column, mut fallen) = (self.columns(), vec![0.0; self.scales.len()]);
        let n_replicas = (self.wanted.len() / self.n_weights.max(1)).max(1) as f64;
        let taken = self.taken(level_us, |us| match update {
            Update::Threshold { least_us } => us.abs() >= least_us && us != 0.0,
            Update::Sign { above_us } => us.abs() > above_us,
            Update::Transfer(Transfer { least_us, .. }) => us.abs() > least_us,
        });
        for tile in &self.tiles {
            let Some(cells) = programmed.pes.get(&tile.pe) else { continue };
            let own = usize::from(tile.slice);
            let factor = self.factor(tile);
            let list = changes.entry(tile.pe).or_default();
            self.visit(tile, plan.pe.outputs as usize, |weight, at| {
                if taken[weight] != Some(own) {
                    return;
                }
                let change_us = self.wanted[weight] * level_us / factor;
                match update {
                    Update::Threshold { .. } => {
                        let held = [at, at + 1].map(|at| f64::from(cells.relaxed_us[at]));
                        let goals = goals(held, change_us, cell);
                        let [rise, drop] = [0, 1].map(|n| goals[n].map_or(0.0, |us| us - held[n]));
                        let levels = factor * (rise - drop) / level_us;
                        let own = column(weight);
                        fallen[own] += self.code_zero * self.scales[own] * levels / n_replicas;
                        let writes = [at, at + 1].into_iter().zip(goals);
                        list.extend(
                            writes.filter_map(|(at, goal)| Some((at, CellChange::Write(goal?)))),
                        );
                    }
                    Update::Sign { .. } | Update::Transfer(_) => {
                        let up = change_us > 0.0;
                        let positive = up == set_phase;
                        let at = if positive { at } else { at + 1 };
                        let pulse = if set_phase { CellChange::Set } else { CellChange::Reset };
                        list.push((at, pulse));
                    }
                }
            });
        }
        changes.retain(|_, list| !list.is_empty());
        self.made(&taken, carry);
        fallen
    }

    /// The same of an array whose negative cells are references: one pulse on
    /// the positive cell, SET for a change upwards of more than so many uS and
    /// RESET for one downwards.
    pub fn pulses(
        &mut self,
        plan: &ExecutionPlan,
        above_us: f64,
        carry: bool,
        changes: &mut CellChanges,
    ) {
        let taken = self.taken(plan.level_us, |us| us.abs() > above_us);
        for tile in &self.tiles {
            let list = changes.entry(tile.pe).or_default();
            self.visit(tile, plan.pe.outputs as usize, |weight, at| {
                if taken[weight] == Some(usize::from(tile.slice)) {
                    let up = self.wanted[weight] > 0.0;
                    list.push((at, if up { CellChange::Set } else { CellChange::Reset }));
                }
            });
        }
        changes.retain(|_, list| !list.is_empty());
        self.made(&taken, carry);
    }

    /// The column, of those of all groups, that a weight of any replica is of.
    fn columns(&self) -> impl Fn(usize) -> usize + use<> {
        let (n_rows, n_columns, n) = (self.n_rows, self.n_columns, self.scales.len().max(1));
        move |weight| (weight / (n_rows * n_columns) * n_columns + weight % n_columns) % n
    }

    /// The slice that takes the change of each weight, from the highest.
    fn taken(&self, level_us: f64, is_worth: impl Fn(f64) -> bool) -> Vec<Option<usize>> {
        let slice = |wanted: &f64| {
            let worth = |factor: &f64| is_worth(wanted * level_us / factor);
            self.factors.iter().rposition(worth)
        };
        self.wanted.iter().map(slice).collect()
    }

    /// Changes that were made are no longer wanted; `carry` keeps the others.
    fn made(&mut self, taken: &[Option<usize>], carry: bool) {
        for (wanted, taken) in self.wanted.iter_mut().zip(taken) {
            if taken.is_some() || !carry {
                *wanted = 0.0;
            }
        }
    }

    /// Goes through the weights of a tile, each with the place of its positive
    /// cell in the PE; the negative one is the next.
    pub fn visit(&self, tile: &WeightTile, n_outputs: usize, mut visit: impl FnMut(usize, usize)) {
        for group in tile.groups.clone() {
            for row in tile.rows.clone() {
                for column in tile.columns.clone() {
                    let (input, positive, _) = ExecutionPlan::cells(tile, group, row, column);
                    let weight = (group as usize * self.n_rows + row as usize) * self.n_columns
                        + column as usize;
                    let weight = tile.replica as usize * self.n_weights + weight;
                    visit(weight, input as usize * n_outputs + positive as usize);
                }
            }
        }
    }
}

/// What the positive and the negative cell are to hold so that their
/// difference changes by this; `None` for a cell that stays.
fn goals(held_us: [f64; 2], change_us: f64, cell: &Cell) -> [Option<f64>; 2] {
    let (min, max) = (cell.conductance_min_us, cell.conductance_max_us);
    let size = change_us.abs();
    // Up: the positive cell rises or the negative one falls.
    let (rises, falls) = if change_us > 0.0 { (0, 1) } else { (1, 0) };
    let (above, below) = ((max - held_us[rises]).max(0.0), (held_us[falls] - min).max(0.0));
    let (up, down) = if size <= below {
        (0.0, size)
    } else if size <= above {
        (size, 0.0)
    } else {
        // As far as the window reaches.
        ((size - below).min(above), below)
    };
    let mut goals = [None; 2];
    if up > 0.0 {
        goals[rises] = Some(held_us[rises] + up);
    }
    if down > 0.0 {
        goals[falls] = Some(held_us[falls] - down);
    }
    goals
}

#[cfg(test)]
mod tests {
    //! A pair's difference changes by what is wanted, within the window.

    use super::*;
    use crate::target::{Target, builtin};

    fn cell() -> Cell {
        let text = builtin("yao2020-chip").unwrap_or_default();
        Target::from_yaml(text, "yao2020-chip", &[]).map(|target| target.cell).unwrap()
    }

    #[test]
    fn a_change_is_made_by_the_cell_that_has_room() {
        let cell = cell();
        assert_eq!(goals([2.0, 10.0], 3.0, &cell), [None, Some(7.0)]);
        assert_eq!(goals([5.0, 2.0], 3.0, &cell), [Some(8.0), None]);
        assert_eq!(goals([5.0, 2.0], -3.0, &cell), [Some(2.0), None]);
        assert_eq!(goals([5.0, 2.0], -4.0, &cell), [None, Some(6.0)]);
        // Neither alone.
        assert_eq!(goals([12.0, 8.0], 10.0, &cell), [Some(16.0), Some(2.0)]);
        // Not at all.
        assert_eq!(goals([20.0, 2.0], 5.0, &cell), [None, None]);
    }
}
