//! How many steps are needed: by compiling, running and looking.

use std::collections::BTreeMap;

use super::loss::Wanted;
use super::{FitError, Fitted, Goal, Summary, noise};
use crate::chip;
use crate::compiler::{CompileError, CompileOptions, Compiled, compile};
use crate::frontend::Model;
use crate::mapping::{self, MappingOptions};
use crate::quantize::{ByLayer, Calibration, Precision, QuantizeOptions};
use crate::runtime::Executor;
use crate::target::Target;

/// Bits that inputs get more than the target's, where slices alone do not do.
const MORE_BITS: [u8; 3] = [0, 2, 4];

/// Slices taken away again at most.
const MAX_TRIMS: usize = 8;

pub(super) struct Search<'a> {
    pub model: &'a Model,
    pub target: &'a Target,
    pub calibration: &'a Calibration,
    pub options: &'a CompileOptions,
    pub goal: Goal,
    pub wanted: Wanted<'a>,
    pub n_tried: u32,
}

/// A choice that was tried.
struct Tried {
    compiled: Compiled,
    loss: f64,
    slices: BTreeMap<String, u8>,
}

impl Search<'_> {
    pub(super) fn run(mut self) -> Result<Fitted, FitError> {
        let Self { model, target, calibration, options, .. } = self;
        let steps = noise::steps(model, target, calibration, &options.quantize);
        let mut steps = steps.map_err(CompileError::from)?;
        steps.truncate(self.n_that_fit(&steps));
        let target_bits = self.target.readout.input_bits;
        let (mut least, mut most_bits) = (f64::INFINITY, target_bits);
        for bits in MORE_BITS.map(|more| target_bits + more) {
            if bits > 16 {
                break;
            }
            let input_bits = (bits != target_bits).then_some(bits);
            let all = self.try_out(&steps, input_bits)?;
            (least, most_bits) = (least.min(all.loss), bits);
            if all.loss <= self.goal.bound() {
                let best = self.halve(&steps, all, input_bits)?;
                let best = self.trim(best, input_bits)?;
                return Ok(self.fitted(best, input_bits));
            }
        }
        let n_slices = noise::most_slices(self.target);
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
            // With windows left to the chip, which then makes room.
            let unroll = &self.options.unroll;
            mapping::map_unrolled(&self.model.graph, self.target, &options, unroll).is_ok()
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
            n_inputs: self.wanted.n_inputs(),
            n_tried: self.n_tried,
        };
        Fitted { compiled: best.compiled, summary }
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
            unroll: self.options.unroll.clone(),
            optimize: self.options.optimize,
            room: self.options.room,
            adc_bits: self.options.adc_bits.clone(),
        };
        let compiled = compile(self.model, self.target, self.calibration, &options)?;
        let chip = chip::program(&compiled.plan, self.target, 0);
        let executor = Executor::new(&compiled.plan, self.model, &chip)?;
        let loss = self.wanted.loss(&executor)?;
        drop(executor);
        Ok(Tried { compiled, loss, slices })
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
