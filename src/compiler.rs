//! The pipeline, from a model that was read in to an execution plan.

use std::collections::BTreeMap;

use thiserror::Error;

use crate::chip::{self, AdcError};
use crate::diagnostic::{Diagnostic, Explain};
use crate::entity::TensorId;
use crate::frontend::Model;
use crate::mapping::{self, Mapping, MappingError, MappingOptions, UnrollOptions};
use crate::optimize::{self, Filled, Goal, OptimizeError};
use crate::quantize::{
    self, ByLayer, Calibration, Collector, LayerInput, QuantizeError, QuantizeOptions,
    QuantizedLayers, WeightRule,
};
use crate::refine::{self, LayerGain, RefineError};
use crate::runtime::digital::{Cut, Value};
use crate::runtime::{self, RunError};
use crate::schedule::{self, ExecutionPlan, PlanFault, PlanParts};
use crate::target::{AdcRange, Target};
use crate::tensor::Tensor;

/// What may be chosen about a compilation.
#[derive(Debug, Clone, Default)]
pub struct CompileOptions {
    /// How numbers become integers.
    pub quantize: QuantizeOptions,
    /// Where they go.
    pub mapping: MappingOptions,
    /// How many output positions a wave makes.
    pub unroll: UnrollOptions,
    /// What replicas are chosen for; without it, as `mapping` says.
    pub optimize: Option<Goal>,
    /// How far levels, codes and conversions reach beyond what is known of
    /// weights and activations, for a chip that is to be trained; as a factor.
    pub room: Option<f32>,
    /// Bits of ADCs, where they are not the target's.
    pub adc_bits: ByLayer,
}

/// What a compilation leaves: the plan, and what it was made from.
#[derive(Debug, Clone)]
pub struct Compiled {
    /// The integers.
    pub quantized: QuantizedLayers,
    /// What rounding by errors gained, layer by layer; empty without it.
    pub gains: Vec<LayerGain>,
    /// Where each sits.
    pub mapping: Mapping,
    /// How replicas were chosen, if they were.
    pub filled: Option<Filled>,
    /// What is to be done.
    pub plan: ExecutionPlan,
}

/// Why a model was not compiled, by stage.
#[derive(Debug, Clone, Error)]
pub enum CompileError {
    /// Integers could not be chosen.
    #[error(transparent)]
    Quantize(#[from] QuantizeError),
    /// Weights could not be rounded by their errors.
    #[error(transparent)]
    Refine(#[from] RefineError),
    /// The model does not fit the chip.
    #[error(transparent)]
    Mapping(#[from] MappingError),
    /// Replicas could not be chosen.
    #[error(transparent)]
    Optimize(OptimizeError),
    /// No range for an ADC.
    #[error(transparent)]
    Adc(#[from] AdcError),
    /// The plan breaks its own invariants.
    #[error("ohmc made a wrong plan: {}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Verify(Vec<PlanFault>),
}

impl From<OptimizeError> for CompileError {
    fn from(error: OptimizeError) -> Self {
        match error {
            OptimizeError::Mapping(error) => Self::Mapping(error),
            error => Self::Optimize(error),
        }
    }
}

impl Explain for CompileError {
    fn diagnostics(&self) -> Vec<Diagnostic> {
        match self {
            Self::Quantize(error) => error.diagnostics(),
            Self::Refine(error) => error.diagnostics(),
            Self::Mapping(error) => error.diagnostics(),
            Self::Optimize(error) => error.diagnostics(),
            Self::Adc(error) => error.diagnostics(),
            Self::Verify(_) => vec![
                Diagnostic::error(self.to_string())
                    .help("this is a bug in ohmc; please report it with the model"),
            ],
        }
    }
}

/// Compiles a model for a target with what was seen of its activations.
///
/// # Errors
///
/// The model does not fit the target, or the calibration the model.
pub fn compile(
    model: &Model,
    target: &Target,
    calibration: &Calibration,
    options: &CompileOptions,
) -> Result<Compiled, CompileError> {
    let graph = &model.graph;
    // Integers first: everything after computes in them alone.
    let mut quantized = quantize::quantize(graph, calibration, target, &options.quantize)?;
    // Each by itself so far; what their errors do together needs inputs.
    let gains = match options.quantize.weights {
        WeightRule::SecondOrder => {
            let corrections = options.quantize.corrections;
            refine::refine(model, &mut quantized, calibration, &target.cell, corrections)?
        }
        WeightRule::PerColumn | WeightRule::Plain => Vec::new(),
    };
    if let Some(room) = options.room {
        quantize::widen(graph, &mut quantized, room);
    }
    // Where each integer sits decides which currents meet on a line ...
    let slices = quantize::slices(graph, &quantized);
    let (mapping, filled) = placed(model, target, options, slices)?;
    // ... and so over which range its ADC converts.
    let adc = (target, &options.adc_bits);
    let mut adc = chip::settings(graph, &quantized, &mapping, calibration, adc)?;
    let is_calibrated =
        matches!(target.readout.adc_range, AdcRange::Calibrated | AdcRange::CalibratedByPlane);
    if let (Some(room), true) = (options.room, is_calibrated) {
        // Levels are smaller by as much as they have room.
        adc.iter_mut().for_each(|adc| adc.step_us *= f64::from(room));
    }
    // Last, when everything happens.
    let parts = PlanParts { graph, quantized: &quantized, mapping: &mapping, adc: &adc };
    let plan = schedule::schedule(parts, target);
    let faults = schedule::verify(&plan);
    if !faults.is_empty() {
        return Err(CompileError::Verify(faults));
    }
    Ok(Compiled { quantized, gains, mapping, filled, plan })
}

/// Where the weights of a model would sit, and how replicas would be chosen:
/// what [`compile`] does, but for everything that looks at weights or inputs.
///
/// # Errors
///
/// The model does not fit the target, or options name what is not there.
pub fn place(
    model: &Model,
    target: &Target,
    options: &CompileOptions,
) -> Result<(Mapping, Option<Filled>), CompileError> {
    let precision = &options.quantize.precision;
    precision.check(&model.graph)?;
    placed(model, target, options, precision.slices_of(&model.graph))
}

fn placed(
    model: &Model,
    target: &Target,
    options: &CompileOptions,
    slices: BTreeMap<String, u8>,
) -> Result<(Mapping, Option<Filled>), CompileError> {
    let graph = &model.graph;
    let placing = MappingOptions { slices, ..options.mapping.clone() };
    let Some(goal) = options.optimize else {
        return Ok((mapping::map_unrolled(graph, target, &placing, &options.unroll)?, None));
    };
    let filled = optimize::fill(graph, target, &placing, &options.unroll, goal)?;
    Ok((filled.mapping.clone(), Some(filled)))
}

/// Gathers a calibration by running the model in floating point.
#[derive(Debug)]
pub struct Calibrator<'a> {
    model: &'a Model,
    /// Tensors that crossbar layers read, ascending, each once.
    read: Vec<TensorId>,
    /// What makes them; `None` for a model without crossbar layers.
    cut: Option<Cut>,
    collector: Collector,
    /// Inputs that may still be kept.
    n_keep: usize,
}

/// Values of a model's largest tensor for all inputs that are kept, at most:
/// [`crate::refine`] has a few such tensors in memory.
const KEPT_VALUES: usize = 1 << 24;

impl<'a> Calibrator<'a> {
    /// A calibrator for about `n_expected` inputs from `source`.
    ///
    /// # Errors
    ///
    /// tract cannot prepare the model.
    pub fn new(
        model: &'a Model,
        source: impl Into<String>,
        n_expected: u64,
    ) -> Result<Self, RunError> {
        let mut read: Vec<_> =
            model.graph.crossbar_layers().map(|(_, layer, _)| layer.inputs[0]).collect();
        read.sort_unstable();
        read.dedup();
        let cut = match read.as_slice() {
            [] => None,
            read => Some(Cut::new(model, model.graph.inputs(), read)?),
        };
        Ok(Self { model, read, cut, collector: Collector::new(source, n_expected), n_keep: 0 })
    }

    /// Also keeps inputs, for second-order rounding: all that come, or as many
    /// as leave every tensor of the model below 2^24 values.
    #[must_use]
    pub fn keeping_inputs(mut self) -> Self {
        self.n_keep = (KEPT_VALUES / runtime::largest_tensor(self.model)).max(1);
        self
    }

    /// Looks at one batch of inputs.
    ///
    /// # Errors
    ///
    /// The model fails on them.
    pub fn add(&mut self, inputs: &[Tensor], n_inputs: u64) -> Result<(), RunError> {
        let n_batch = runtime::n_batch(&self.model.inputs, inputs)?;
        let Some(cut) = &self.cut else { return Ok(()) };
        let values = inputs.iter().map(Value::from_array).collect::<Result<_, _>>()?;
        let outputs = cut.run(values, n_batch)?;
        let mut reads = Vec::new();
        for (id, layer, crossbar) in self.model.graph.crossbar_layers() {
            let wrong = |reason: &str| RunError::LayerInput {
                layer: id,
                name: layer.name.clone(),
                reason: reason.to_string(),
            };
            let index = self.read.binary_search(&layer.inputs[0]).map_err(|_| wrong("not read"))?;
            let value = &outputs[index];
            let values = value.as_f32().ok_or_else(|| wrong("it is not f32"))?;
            if let Some(&value) = values.iter().find(|v| !v.is_finite()) {
                let name = layer.name.clone();
                return Err(RunError::NotFinite { name, input: 0, value });
            }
            let layer = &self.model.graph.layer(self.model.graph.matrix_of(id)).name;
            reads.push(LayerInput { layer, nest: &crossbar.nest, shape: value.shape(), values });
        }
        self.collector.add(&reads, n_batch);
        self.collector.count(n_inputs);
        if self.n_keep > 0 {
            self.n_keep = self.n_keep.saturating_sub(n_batch);
            self.collector.keep(inputs);
        }
        Ok(())
    }

    /// What was seen.
    pub fn finish(self) -> Calibration {
        self.collector.finish()
    }
}
