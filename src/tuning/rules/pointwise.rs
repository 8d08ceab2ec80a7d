//! Layers of which a result needs one value of each input, axes of extent 1
//! standing for all indices.
//!
//! Products, quotients and roots have formulas, for a difference would be of no
//! use where a denominator is small. Of anything else tract is asked for values
//! at both sides of where it is.

use super::{Batch, Trial, asked};
use crate::chip::exp;
use crate::runtime::digital::Cut;
use crate::runtime::strides;

/// What is done to the values.
#[derive(Debug, Clone)]
pub(in crate::tuning) enum Pointwise {
    /// `x y`
    Product,
    /// `x / y`
    Quotient,
    /// `x^2`
    Square,
    /// `sqrt x`
    Root,
    /// `1 / sqrt x`
    InverseRoot,
    /// `1 / x`
    Inverse,
    /// `exp x`
    Exponential,
    /// The layer itself, to be asked at neighbouring values.
    Asked(Cut),
}

/// Whether a layer's inputs spread over its result.
pub(super) fn broadcast(trial: &Trial<'_>) -> bool {
    let spreads = |shape: &Vec<usize>| {
        let mut axes = shape.iter().zip(&trial.output);
        shape.len() == trial.output.len() && axes.all(|(&own, &all)| own == all || own == 1)
    };
    trial.inputs.iter().all(spreads)
}

impl Pointwise {
    /// Those with formulas, of so many inputs.
    pub fn known(n_inputs: usize) -> impl Iterator<Item = Self> {
        let known = match n_inputs {
            1 => {
                let roots = [Self::Root, Self::InverseRoot, Self::Inverse];
                [vec![Self::Square, Self::Exponential], roots.to_vec()].concat()
            }
            2 => vec![Self::Product, Self::Quotient],
            _ => Vec::new(),
        };
        known.into_iter()
    }

    /// The value, and what it changes by with either input.
    fn of(&self, x: f32, y: f32) -> (f32, f32, f32) {
        match self {
            Self::Product => (x * y, y, x),
            Self::Quotient => (x / y, 1.0 / y, -x / (y * y)),
            Self::Square => (x * x, 2.0 * x, 0.0),
            Self::Root => (x.sqrt(), 0.5 / x.sqrt(), 0.0),
            Self::InverseRoot => (1.0 / x.sqrt(), -0.5 / (x * x.sqrt()), 0.0),
            Self::Inverse => (1.0 / x, -1.0 / (x * x), 0.0),
            Self::Exponential => {
                let value = exp(f64::from(x)) as f32;
                (value, value, 0.0)
            }
            Self::Asked(_) => (f32::NAN, f32::NAN, f32::NAN),
        }
    }

    /// What a sample's results are; `None` where the layer itself is asked.
    pub(super) fn results(&self, trial: &Trial<'_>, inputs: &[&[f32]]) -> Option<Vec<f32>> {
        if let Self::Asked(_) = self {
            return None;
        }
        let spread = Spread::new(trial.inputs.iter().map(Vec::as_slice));
        let mut results = vec![0.0; spread.n_results];
        spread.walk(|result, at| {
            let value = |nth: usize| inputs.get(nth).map_or(0.0, |x| x[at[nth]]);
            results[result] = self.of(value(0), value(1)).0;
        });
        Some(results)
    }

    /// Adds the gradients of all inputs.
    pub fn backward(&self, batch: &Batch<'_>, results: &mut [Vec<f32>]) -> Result<(), String> {
        let Batch { inputs, gradient, n } = batch;
        let spread = Spread::new(inputs.iter().map(|(shape, _)| *shape));
        if gradient.len() != spread.n_results {
            return Err("its results are not as many as their gradients".to_string());
        }
        if let Self::Asked(cut) = self {
            for (nth, own) in results.iter_mut().enumerate() {
                let slopes = slopes(cut, inputs, nth, *n)?;
                spread.walk(|result, at| own[at[nth]] += gradient[result] * slopes[result]);
            }
            return Ok(());
        }
        spread.walk(|result, at| {
            let value = |nth: usize| inputs.get(nth).map_or(0.0, |(_, x)| x[at[nth]]);
            let (_, first, second) = self.of(value(0), value(1));
            for ((own, at), slope) in results.iter_mut().zip(at).zip([first, second]) {
                own[*at] += gradient[result] * slope;
            }
        });
        Ok(())
    }
}

/// What each result changes by with its value of one input.
fn slopes(
    cut: &Cut,
    inputs: &[(&[usize], &[f32])],
    nth: usize,
    n: usize,
) -> Result<Vec<f32>, String> {
    /// Balances what is cut off against what is rounded off in f32.
    const STEP: f32 = 1.0 / 128.0;
    let step = |x: &f32| STEP * x.abs().max(1.0);
    let x = inputs[nth].1;
    let moved = |sign: f32| x.iter().map(|x| x + sign * step(x)).collect::<Vec<f32>>();
    let at = |values: &[f32]| {
        let mut inputs = inputs.to_vec();
        inputs[nth].1 = values;
        asked(cut, &inputs, n)
    };
    let (above, below) = (moved(1.0), moved(-1.0));
    let (high, low) = (at(&above)?, at(&below)?);
    let mut slopes: Vec<f32> = high.iter().zip(&low).map(|(high, low)| high - low).collect();
    Spread::new(inputs.iter().map(|(shape, _)| *shape))
        .walk(|result, places| slopes[result] /= above[places[nth]] - below[places[nth]]);
    Ok(slopes)
}

/// How inputs spread over a result.
struct Spread {
    extents: Vec<usize>,
    /// Steps of each input along each axis; 0 where it does not move.
    steps: Vec<Vec<usize>>,
    n_results: usize,
}

impl Spread {
    fn new<'s>(shapes: impl Iterator<Item = &'s [usize]>) -> Self {
        let shapes: Vec<&[usize]> = shapes.collect();
        let rank = shapes.first().map_or(0, |shape| shape.len());
        let extent = |axis| shapes.iter().map(|shape: &&[usize]| shape[axis]).max().unwrap_or(1);
        let steps = shapes.iter().map(|shape| {
            let own = strides(shape).into_iter().zip(shape.iter());
            own.map(|(step, &extent)| if extent == 1 { 0 } else { step }).collect()
        });
        let extents: Vec<usize> = (0..rank).map(extent).collect();
        Self { steps: steps.collect(), n_results: extents.iter().product(), extents }
    }

    /// Goes through the results, each with the place of its value in each
    /// input.
    fn walk(&self, mut visit: impl FnMut(usize, &[usize])) {
        let mut counters = vec![0; self.extents.len()];
        let mut at = vec![0; self.steps.len()];
        for result in 0..self.n_results {
            visit(result, &at);
            for axis in (0..counters.len()).rev() {
                counters[axis] += 1;
                at.iter_mut().zip(&self.steps).for_each(|(at, steps)| *at += steps[axis]);
                if counters[axis] < self.extents[axis] {
                    break;
                }
                let turns = std::mem::take(&mut counters[axis]);
                at.iter_mut().zip(&self.steps).for_each(|(at, steps)| *at -= turns * steps[axis]);
            }
        }
    }
}
