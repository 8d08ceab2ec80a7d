//! Chooses how many pairs of cells hold each weight, so that what the model
//! loses stays within a bound.
//!
//! A weight in more slices ([`Slicing`]) has more levels and takes more cells.
//! Where slices help most for their cells is estimated layer by layer, from the
//! weights and what was seen of the inputs:
//!
//! ```text
//! noise of a layer = sum over rows E[x^2] x error of its weights^2 / the same of the weights themselves
//! ```
//!
//! Noises of layers add up, near enough, so layers get slices in the order of
//! noise taken away for each cell. How many of these steps are needed is then
//! found by trying, with the whole pipeline and a chip of the target: halving
//! first, then taking slices away again where the bound allows it.
//!
//! No labels are needed: a loss is a difference from the model in floating
//! point on the calibration's inputs. The accuracy on them can fall by no more
//! than the share whose top-1 changes.

use std::collections::BTreeMap;
use std::fmt;

use rayon::prelude::*;
use thiserror::Error;

use crate::chip;
use crate::compiler::{CompileError, CompileOptions, Compiled, compile};
use crate::diagnostic::{Diagnostic, Explain};
use crate::frontend::Model;
use crate::graph::{CrossbarLayer, Layer};
use crate::mapping::{self, MappingOptions};
use crate::quantize::{
    ByLayer, Calibration, Precision, QuantizeOptions, Slicing, WeightRule, quantize,
};
use crate::runtime::{Executor, FloatModel, RunError, Runs, n_batch};
use crate::target::Target;
use crate::tensor::Tensor;

/// What may be lost, as a share: 0.005 is half a percent.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Goal {
    /// Share of inputs whose largest score is another than in floating point.
    Accuracy(f64),
    /// Relative L2 error of the outputs, all taken together.
    Error(f64),
}

impl Goal {
    fn bound(self) -> f64 {
        let (Self::Accuracy(bound) | Self::Error(bound)) = self;
        bound
    }
}

impl fmt::Display for Goal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Accuracy(share) => write!(f, "accuracy={}%", 100.0 * share),
            Self::Error(share) => write!(f, "error={}%", 100.0 * share),
        }
    }
}

/// What was chosen.
#[derive(Debug, Clone)]
pub struct Fitted {
    /// The model with it.
    pub compiled: Compiled,
    /// How it came about.
    pub summary: Summary,
}

/// How a choice came about.
#[derive(Debug, Clone, PartialEq)]
pub struct Summary {
    /// What was wanted.
    pub goal: Goal,
    /// What is lost now, as a share.
    pub loss: f64,
    /// Layers in more than one slice.
    pub slices: BTreeMap<String, u8>,
    /// Layers on arrays.
    pub n_layers: usize,
    /// Bits of input codes, where the target's were not enough.
    pub input_bits: Option<u8>,
    /// Inputs that were run.
    pub n_inputs: usize,
    /// Compilations that were tried.
    pub n_tried: u32,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { goal, loss, slices, n_layers, n_inputs, n_tried, .. } = self;
        let what = match goal {
            Goal::Accuracy(_) => format!("top-1 changed for {:.2} %", 100.0 * loss),
            Goal::Error(_) => format!("outputs off by {:.2} %", 100.0 * loss),
        };
        write!(f, "{goal}: {} of {n_layers} layers in several slices", slices.len())?;
        if let Some(bits) = self.input_bits {
            write!(f, ", inputs of {bits} bits")?;
        }
        write!(f, "; {what} of {n_inputs} calibration inputs, {n_tried} compilations tried")
    }
}

/// Why nothing was chosen.
#[derive(Debug, Clone, Error)]
#[error("{}", self.diagnostics().iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
pub enum FitError {
    /// A choice could not be compiled.
    Compile(#[from] CompileError),
    /// The model failed on an input.
    Run(#[from] RunError),
    /// The calibration kept no inputs.
    NoInputs,
    /// No output of the model is scores of classes.
    NoScores {
        /// Its outputs.
        outputs: Vec<String>,
    },
    /// Not even the finest weights and inputs are enough.
    OutOfReach {
        /// What was wanted.
        goal: Goal,
        /// The least loss that was seen, as a share.
        least: f64,
        /// The most slices that were tried.
        n_slices: u8,
        /// The most bits of inputs that were tried.
        input_bits: u8,
    },
}

impl Explain for FitError {
    fn diagnostics(&self) -> Vec<Diagnostic> {
        match self {
            Self::Compile(error) => error.diagnostics(),
            Self::Run(error) => error.diagnostics(),
            Self::NoInputs => vec![
                Diagnostic::error("the calibration has no inputs to fit a precision by")
                    .help("calibrate again with `--calibrate DATA`"),
            ],
            Self::NoScores { outputs } => vec![
                Diagnostic::error("no output of the model is scores of classes")
                    .note(format!("its outputs are `{}`", outputs.join("`, `")))
                    .help("bound the error of all outputs instead, as in `--fit error=1%`"),
            ],
            Self::OutOfReach { goal, least, n_slices, input_bits } => vec![
                Diagnostic::error(format!("no precision of weights and inputs reaches `{goal}`"))
                    .note(format!(
                        "up to {n_slices} slices for every weight, as far as the chip has room, and \
                         inputs of {input_bits} bits still lose {:.2} %",
                        100.0 * least
                    ))
                    .help(
                        "what is left comes from ADCs and cells: try `--set \
                         readout.adc_bits=10`, `--weights second-order`, or a wider bound",
                    ),
            ],
        }
    }
}

/// Finds slices for every layer that keep the loss within a bound, with as few
/// cells as it can.
///
/// # Errors
///
/// The calibration kept no inputs, the model cannot be judged so or does not
/// compile, or the bound is out of reach.
pub fn fit(
    model: &Model,
    target: &Target,
    calibration: &Calibration,
    options: &CompileOptions,
    goal: Goal,
) -> Result<Fitted, FitError> {
    if calibration.batches.is_empty() {
        return Err(FitError::NoInputs);
    }
    let float = FloatModel::new(model)?;
    let wanted = outputs(&float, model, calibration)?;
    let mut search = Search { model, target, calibration, options, goal, wanted, n_tried: 0 };
    if matches!(goal, Goal::Accuracy(_)) && search.scores().is_none() {
        return Err(FitError::NoScores { outputs: model.outputs.clone() });
    }
    search.run()
}

/// Bits that inputs get more than the target's, where slices alone do not do.
const MORE_BITS: [u8; 3] = [0, 2, 4];

/// Levels that are enough for any weight: more slices than hold them are not
/// tried.
const MAX_LEVEL: i16 = 1024;

/// Slices taken away again at most.
const MAX_TRIMS: usize = 8;

struct Search<'a> {
    model: &'a Model,
    target: &'a Target,
    calibration: &'a Calibration,
    options: &'a CompileOptions,
    goal: Goal,
    /// In floating point, `[batch][output]`, and the inputs of each batch.
    wanted: Vec<(usize, Vec<Tensor>)>,
    n_tried: u32,
}

/// A choice that was tried.
struct Tried {
    compiled: Compiled,
    loss: f64,
    slices: BTreeMap<String, u8>,
}

impl Search<'_> {
    fn run(&mut self) -> Result<Fitted, FitError> {
        let mut steps = self.steps()?;
        steps.truncate(self.n_that_fit(&steps));
        let target_bits = self.target.readout.input_bits;
        let (mut least, mut most_bits) = (f64::INFINITY, target_bits);
        for more in MORE_BITS {
            let bits = (target_bits + more).min(16);
            let input_bits = (more > 0).then_some(bits);
            let all = self.try_out(&steps, input_bits)?;
            (least, most_bits) = (least.min(all.loss), bits);
            if all.loss <= self.goal.bound() {
                let best = self.halve(&steps, all, input_bits)?;
                let best = self.trim(best, input_bits)?;
                return Ok(self.fitted(best, input_bits));
            }
        }
        let n_slices = self.most_slices();
        Err(FitError::OutOfReach { goal: self.goal, least, n_slices, input_bits: most_bits })
    }

    /// The first steps that are enough, all of them known to be.
    fn halve(
        &mut self,
        steps: &[String],
        all: Tried,
        input_bits: Option<u8>,
    ) -> Result<Tried, FitError> {
        let (mut too_few, mut best) = (None, (steps.len(), all));
        loop {
            let first = too_few.map_or(0, |n: usize| n + 1);
            if first >= best.0 {
                return Ok(best.1);
            }
            // Nothing at all is tried first, because it often is enough.
            let n = if too_few.is_none() { 0 } else { first + (best.0 - first) / 2 };
            let tried = self.try_out(&steps[..n], input_bits)?;
            match tried.loss <= self.goal.bound() {
                true => best = (n, tried),
                false => too_few = Some(n),
            }
        }
    }

    /// Takes slices away again, from the largest layers on, as long as that
    /// stays within the bound.
    fn trim(&mut self, mut best: Tried, input_bits: Option<u8>) -> Result<Tried, FitError> {
        let layers = self.model.graph.crossbar_layers();
        let mut by_size: Vec<(usize, String)> = layers
            .map(|(_, layer, crossbar)| (crossbar.weights.len(), layer.name.clone()))
            .collect();
        by_size.sort_by(|a, b| b.cmp(a));
        let in_slices = best.slices.clone();
        let large = by_size.iter().filter(|(_, name)| in_slices.contains_key(name));
        for (_, name) in large.take(MAX_TRIMS) {
            let mut fewer = best.slices.clone();
            match fewer.get_mut(name) {
                Some(n) if *n > 2 => *n -= 1,
                _ => drop(fewer.remove(name)),
            }
            let tried = self.try_slices(fewer, input_bits)?;
            if tried.loss <= self.goal.bound() {
                best = tried;
            }
        }
        Ok(best)
    }

    /// How many of the steps the chip has room for.
    fn n_that_fit(&self, steps: &[String]) -> usize {
        let fits = |n: usize| {
            let slices = slices_after(&steps[..n]);
            let options = MappingOptions { slices, ..self.options.mapping.clone() };
            mapping::map(&self.model.graph, self.target, &options).is_ok()
        };
        // Nothing at all may be too large already; compiling then says so.
        let (mut low, mut high) = (0, steps.len());
        while low < high {
            let middle = low + (high - low).div_ceil(2);
            if fits(middle) {
                low = middle;
            } else {
                high = middle - 1;
            }
        }
        low
    }

    fn fitted(&self, best: Tried, input_bits: Option<u8>) -> Fitted {
        let summary = Summary {
            goal: self.goal,
            loss: best.loss,
            slices: best.slices,
            n_layers: best.compiled.quantized.len(),
            input_bits,
            n_inputs: self.wanted.iter().map(|(n, _)| n).sum(),
            n_tried: self.n_tried,
        };
        Fitted { compiled: best.compiled, summary }
    }

    fn pair_max(&self) -> i16 {
        i16::try_from(self.target.cell.max_level()).unwrap_or(i16::MAX)
    }

    /// Slices of which one fewer would not be fine enough for any weight.
    fn most_slices(&self) -> u8 {
        let coarse = |&n: &u8| {
            n == 1
                || Slicing::new(n - 1, self.pair_max()).is_some_and(|s| s.max_level() < MAX_LEVEL)
        };
        (1..=Slicing::most(self.pair_max())).take_while(coarse).last().unwrap_or(1)
    }

    /// Names of layers that get one slice more each, in the order in which that
    /// takes most noise away for its cells.
    fn steps(&self) -> Result<Vec<String>, FitError> {
        let most = self.most_slices();
        let noises = (1..=most).map(|n| self.noises(n)).collect::<Result<Vec<_>, _>>()?;
        let mut steps: Vec<(f64, String)> = Vec::new();
        for (name, &(noise, cells)) in &noises[0] {
            let mut before = noise;
            let mut limit = f64::INFINITY;
            for finer in &noises[1..] {
                let Some(&(noise, _)) = finer.get(name) else { continue };
                // A layer's second step never comes before its first.
                limit = limit.min((before - noise).max(0.0) / cells as f64);
                steps.push((limit, name.clone()));
                before = noise;
            }
        }
        steps.sort_by(|a, b| b.0.total_cmp(&a.0));
        Ok(steps.into_iter().map(|(_, name)| name).collect())
    }

    /// Noise and weights of every layer whose weights have so many slices.
    fn noises(&self, n_slices: u8) -> Result<BTreeMap<String, (f64, usize)>, FitError> {
        let graph = &self.model.graph;
        let weights = match self.options.quantize.weights {
            WeightRule::SecondOrder => WeightRule::PerColumn,
            rule => rule,
        };
        let options = QuantizeOptions {
            weights,
            precision: precision_of_all(n_slices),
            ..self.options.quantize.clone()
        };
        let quantized =
            quantize(graph, self.calibration, self.target, &options).map_err(CompileError::from)?;
        let own = graph.crossbar_layers().filter(|(id, ..)| graph.matrix_of(*id) == *id);
        let noise = |(id, layer, crossbar): (_, &Layer, &CrossbarLayer)| {
            let integers = quantized.get(&id)?;
            let samples = &self.calibration.layers.get(&layer.name)?.samples;
            let (n_rows, n_columns) = (crossbar.nest.n_rows(), crossbar.nest.n_columns());
            let mut squares = vec![0f64; crossbar.nest.n_groups() * n_rows];
            for sample in samples.chunks_exact(squares.len().max(1)) {
                squares
                    .iter_mut()
                    .zip(sample)
                    .for_each(|(s, &x)| *s += f64::from(x) * f64::from(x));
            }
            let (mut error, mut power) = (0.0, 0.0);
            let levels = integers.levels.chunks_exact(n_columns.max(1));
            let rows = crossbar.weights.chunks_exact(n_columns.max(1)).zip(levels).zip(&squares);
            for (row, ((weights, levels), square)) in rows.enumerate() {
                let scales = &integers.weight_scales[row / n_rows * n_columns..];
                for ((&weight, &level), &scale) in weights.iter().zip(levels).zip(scales) {
                    let off = f64::from(weight) - f64::from(level) * f64::from(scale);
                    error += square * off * off;
                    power += square * f64::from(weight) * f64::from(weight);
                }
            }
            let noise = if power > 0.0 { error / power } else { 0.0 };
            Some((layer.name.clone(), (noise, crossbar.weights.len().max(1))))
        };
        Ok(own.filter_map(noise).collect())
    }

    fn try_out(&mut self, steps: &[String], input_bits: Option<u8>) -> Result<Tried, FitError> {
        self.try_slices(slices_after(steps), input_bits)
    }

    fn try_slices(
        &mut self,
        slices: BTreeMap<String, u8>,
        input_bits: Option<u8>,
    ) -> Result<Tried, FitError> {
        self.n_tried += 1;
        let all_bits = ByLayer { all: input_bits, ..ByLayer::default() };
        let input_bits = match input_bits {
            Some(_) => all_bits,
            None => self.options.quantize.precision.input_bits.clone(),
        };
        let named = ByLayer { all: None, named: slices.clone() };
        let precision = Precision { slices: named, input_bits };
        let options = CompileOptions {
            quantize: QuantizeOptions { precision, ..self.options.quantize.clone() },
            mapping: self.options.mapping.clone(),
            optimize: self.options.optimize,
        };
        let compiled = compile(self.model, self.target, self.calibration, &options)?;
        let chip =
            chip::program(&compiled.plan, &self.target.cell, 0).with_wires(&self.target.wires);
        let executor = Executor::new(&compiled.plan, self.model, &chip)?;
        let found = outputs(&executor, self.model, self.calibration)?;
        let loss = self.loss(&found);
        drop(executor);
        Ok(Tried { compiled, loss, slices })
    }

    /// The output that is scores of classes: one axis of several numbers for
    /// each input.
    fn scores(&self) -> Option<usize> {
        let (n, outputs) = self.wanted.first()?;
        outputs.iter().position(|tensor| {
            let n_scores = tensor.values.len() / n.max(&1);
            let item = tensor.shape.iter().skip(usize::from(*n > 1 || tensor.shape.len() > 1));
            let axes = item.filter(|&&extent| extent != 1).count();
            tensor.as_f32().is_some() && n_scores > 1 && axes == 1
        })
    }

    fn loss(&self, found: &[(usize, Vec<Tensor>)]) -> f64 {
        match self.goal {
            Goal::Accuracy(_) => self.changed(found),
            Goal::Error(_) => self.distance(found),
        }
    }

    /// Share of inputs whose largest score is another.
    fn changed(&self, found: &[(usize, Vec<Tensor>)]) -> f64 {
        let Some(index) = self.scores() else { return 1.0 };
        let (mut n_changed, mut n_all) = (0, 0);
        for ((n, found), (_, wanted)) in found.iter().zip(&self.wanted) {
            let (found, wanted) = (found[index].as_f32(), wanted[index].as_f32());
            let (found, wanted) = (found.unwrap_or_default(), wanted.unwrap_or_default());
            let n_scores = (wanted.len() / n.max(&1)).max(1);
            let pairs = found.chunks_exact(n_scores).zip(wanted.chunks_exact(n_scores));
            n_changed += pairs.filter(|(found, wanted)| top(found) != top(wanted)).count();
            n_all += n;
        }
        n_changed as f64 / n_all.max(1) as f64
    }

    /// Relative L2 error of all outputs.
    fn distance(&self, found: &[(usize, Vec<Tensor>)]) -> f64 {
        let (mut error, mut power) = (0.0, 0.0);
        for ((_, found), (_, wanted)) in found.iter().zip(&self.wanted) {
            let pairs = found.iter().zip(wanted).filter_map(|(f, w)| f.as_f32().zip(w.as_f32()));
            for (&found, &wanted) in pairs.flat_map(|(found, wanted)| found.iter().zip(wanted)) {
                let (off, wanted) = (f64::from(found - wanted), f64::from(wanted));
                error += off * off;
                power += wanted * wanted;
            }
        }
        if power > 0.0 { (error / power).sqrt() } else { 0.0 }
    }
}

/// Slices of the layers that these steps name, each once for a slice more.
fn slices_after(steps: &[String]) -> BTreeMap<String, u8> {
    let mut slices = BTreeMap::new();
    for name in steps {
        *slices.entry(name.clone()).or_insert(1) += 1;
    }
    slices
}

fn precision_of_all(n_slices: u8) -> Precision {
    Precision {
        slices: ByLayer { all: Some(n_slices), ..ByLayer::default() },
        ..Precision::default()
    }
}

/// The place of the largest score, the first of several.
fn top(scores: &[f32]) -> usize {
    let best =
        |best: usize, (nth, score): (usize, &f32)| if *score > scores[best] { nth } else { best };
    scores.iter().enumerate().fold(0, best)
}

/// What the calibration's inputs give, batch by batch, and the inputs of each.
fn outputs(
    runs: &dyn Runs,
    model: &Model,
    calibration: &Calibration,
) -> Result<Vec<(usize, Vec<Tensor>)>, FitError> {
    let sizes = calibration.batches.iter().map(|inputs| n_batch(&model.inputs, inputs));
    let sizes = sizes.collect::<Result<Vec<_>, _>>()?;
    let firsts: Vec<u64> = sizes
        .iter()
        .scan(0, |next, &n| {
            let first = *next;
            *next += n as u64;
            Some(first)
        })
        .collect();
    let batches = calibration.batches.par_iter().zip(&sizes).zip(&firsts);
    batches
        .map(|((inputs, &n), &first)| Ok((n, runs.run(inputs, first)?)))
        .collect::<Result<_, FitError>>()
}
