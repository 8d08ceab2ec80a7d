//! The execution plan itself.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use crate::entity::{LayerId, PeId, StepId, Table, TensorId, WeightTileId};
use crate::graph::LoopNest;
use crate::mapping::{Positions, Unrolling, WeightTile, length};
use crate::quantize::{InputCoding, Slicing};
use crate::schedule::targets::PeTargets;
use crate::target::{Conversion, Pe, Readout, Subtract};

use super::stage::AnalogStage;

/// Everything that the runtime and the programmer of a chip need to know.
#[derive(Debug, Clone, PartialEq)]
pub struct ExecutionPlan {
    /// Lines of a PE.
    pub pe: Pe,
    /// PEs of the chip.
    pub n_pes: u32,
    /// How often the chip is written for one run; at least 1. PE `n` of pass
    /// `p` is PE `p x n_pes + n` of the plan.
    pub n_passes: u32,
    /// Where pairs are subtracted.
    pub subtract: Subtract,
    /// Which sums of a wave become codes.
    pub conversion: Conversion,
    /// Conversions of a PE in one cycle.
    pub conversions_per_cycle: u32,
    /// Length of a cycle in ns.
    pub cycle_ns: f64,
    /// Conductance between neighbouring levels in uS: what one level of a
    /// weight adds to a current, in units of the read voltage.
    pub level_us: f64,
    /// Tensors that come in.
    pub inputs: Vec<TensorId>,
    /// Tensors that go out.
    pub outputs: Vec<TensorId>,
    /// Crossbar layers.
    pub layers: BTreeMap<LayerId, PlanLayer>,
    /// Tiles of all layers.
    pub tiles: Table<WeightTileId, PlanTile>,
    /// What the cells of each PE that is used shall hold.
    pub targets: BTreeMap<PeId, PeTargets>,
    /// Steps in an order in which they can be executed.
    pub steps: Table<StepId, Step>,
}

/// A crossbar layer as the runtime sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct PlanLayer {
    /// Name of the ONNX node.
    pub name: String,
    /// Tensor read.
    pub input: TensorId,
    /// Tensor written.
    pub output: TensorId,
    /// How it reads and writes.
    pub nest: LoopNest,
    /// How one wave makes several output positions, where it does: the loops
    /// above, the levels and all that is said of columns are then those of the
    /// window.
    pub unrolled: Option<Unrolling>,
    /// The layer whose cells it drives: itself, or the first of those that
    /// multiply with the same matrix.
    pub matrix: LayerId,
    /// How inputs become codes.
    pub coding: InputCoding,
    /// How pairs hold its levels; `None` where a pair holds a whole one.
    pub slicing: Option<Slicing>,
    /// Copies of its matrix.
    pub n_replicas: u32,
    /// The integers that the cells stand for, `[group][row][column]`.
    pub levels: Arc<Vec<i16>>,
    /// The real value of one level times one code step, `[group][column]`.
    pub column_scales: Vec<f64>,
    /// Sum of a column's levels, `[group][column]`: what a zero point of 1
    /// adds to every result and is taken off digitally.
    pub level_sums: Vec<i64>,
    /// Added to the real result, `[group][column]`.
    pub bias: Vec<f32>,
    /// What is done with its sums before they are converted, if anything is.
    pub stage: Option<AnalogStage>,
}

/// A tile with its ADC setting.
#[derive(Debug, Clone, PartialEq)]
pub struct PlanTile {
    /// What and where it is.
    pub place: WeightTile,
    /// How its currents become codes.
    pub adc: AdcSetting,
}

/// How a current becomes a code: nearest multiple of the step, clipped.
///
/// Currents are in uS: the sum of the conductances whose input bit is 1, which
/// is the current divided by the read voltage.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdcSetting {
    /// Width of one code in uS.
    pub step_us: f64,
    /// Smallest code.
    pub min_code: i32,
    /// Largest code.
    pub max_code: i32,
    /// By plane, how often the range is halved for it: a code of plane k
    /// stands for `step_us / 2^halvings[k]`. None where planes are added up
    /// before.
    pub halvings: [u8; 16],
}

/// Planes of the widest input code.
pub const MAX_PLANES: usize = 16;

impl AdcSetting {
    /// One range for all planes.
    pub const fn new(step_us: f64, min_code: i32, max_code: i32) -> Self {
        Self { step_us, min_code, max_code, halvings: [0; MAX_PLANES] }
    }

    /// Bits of a code, its sign included.
    pub fn bits(&self) -> u8 {
        let widest = self.max_code.unsigned_abs().max(self.min_code.unsigned_abs());
        (u32::BITS - widest.leading_zeros()) as u8 + u8::from(self.min_code < 0)
    }
}

/// One step of the plan.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// What is done.
    pub kind: StepKind,
    /// Steps whose results it needs; all stand before it.
    pub after: Vec<StepId>,
    /// The cycle in which it starts, for one input alone on the chip.
    pub start: u64,
    /// How many cycles it takes; digital work is not counted in cycles of the
    /// arrays and takes none.
    pub cycles: u64,
}

/// What a step does, for every input of a batch.
#[derive(Debug, Clone, PartialEq)]
pub enum StepKind {
    /// A digital stage: tensors in, tensors out, run as one piece.
    Digital {
        /// Tensors read.
        inputs: Vec<TensorId>,
        /// Tensors written.
        outputs: Vec<TensorId>,
    },
    /// Turns a layer's input tensor into codes.
    Encode {
        /// The layer.
        layer: LayerId,
    },
    /// Drives tiles of one PE that share their input lines through output
    /// positions, plane by plane; converts, shifts and adds.
    Waves {
        /// The layer.
        layer: LayerId,
        /// Tiles driven together.
        tiles: Vec<WeightTileId>,
        /// Output positions of one input.
        positions: Positions,
        /// Bit-planes in the order in which they are driven.
        planes: Vec<Plane>,
        /// Outputs converted in each cycle of a plane: lines of all tiles
        /// counted through (pairs, where they are subtracted first).
        conversions: Vec<Range<u32>>,
    },
    /// Adds partial sums, takes off the zero point, scales, adds the bias.
    Sum {
        /// The layer.
        layer: LayerId,
        /// Tiles whose sums are added.
        tiles: Vec<WeightTileId>,
    },
}

/// One bit of all inputs of a wave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plane {
    /// Which bit, 0 the least significant.
    pub bit: u8,
    /// Whether it counts negative, as the top bit of two's complement does.
    pub negative: bool,
}

/// Work counted from a plan, for one input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Waves: output positions driven through a group of tiles.
    pub waves: u64,
    /// Bit-planes driven.
    pub planes: u64,
    /// Conversions made.
    pub conversions: u64,
    /// PE cycles: cycles in which a PE is driven or converted, summed over PEs.
    pub pe_cycles: u64,
    /// Those in which lines are driven.
    pub driven_cycles: u64,
    /// Those in which ADCs convert; the same ones, unless planes are added up
    /// as charges before.
    pub converting_cycles: u64,
    /// Sums that were compared before conversion.
    pub comparisons: u64,
    /// Cycles from the first to the last for one input alone.
    pub latency_cycles: u64,
    /// Cycles of the busiest PE: how far apart inputs of a stream can follow
    /// each other, PEs of different layers working on different inputs.
    pub interval_cycles: u64,
}

impl PlanLayer {
    /// Slices of a weight.
    pub fn n_slices(&self) -> u8 {
        self.slicing.map_or(1, |slicing| slicing.n_slices())
    }

    /// What a level of this slice counts in levels of the weight.
    pub fn slice_factor(&self, slice: u8) -> i64 {
        self.slicing.map_or(1, |slicing| slicing.factor(slice))
    }
}

impl ExecutionPlan {
    /// Outputs of a tile that are converted: pairs, or lines.
    pub fn n_conversions(&self, tile: WeightTileId) -> u32 {
        let place = &self.tiles[tile].place;
        match self.subtract {
            Subtract::BeforeConversion => place.n_pairs(),
            Subtract::AfterConversion => place.n_outputs(),
        }
    }

    /// Counts the work of one input.
    pub fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        let mut busy: BTreeMap<PeId, u64> = BTreeMap::new();
        for step in self.steps.values() {
            counts.latency_cycles = counts.latency_cycles.max(step.start + step.cycles);
            let Some(effort) = self.effort(&step.kind) else { continue };
            let StepKind::Waves { tiles, .. } = &step.kind else { continue };
            counts.waves += effort.waves;
            counts.planes += effort.planes();
            counts.conversions += effort.conversions();
            counts.pe_cycles += step.cycles;
            counts.driven_cycles += effort.driven_cycles();
            counts.converting_cycles += effort.converting_cycles();
            counts.comparisons += effort.comparisons();
            if let Some(tile) = tiles.first().and_then(|&tile| self.tiles.get(tile)) {
                *busy.entry(tile.place.pe).or_default() += step.cycles;
            }
        }
        counts.interval_cycles = busy.values().copied().max().unwrap_or(0);
        counts
    }

    /// The input line and the two output lines of a weight's pair: positive,
    /// negative.
    pub fn cells(place: &WeightTile, group: u32, row: u32, column: u32) -> (u32, u32, u32) {
        let nth = group - place.groups.start;
        let rows = length(&place.rows);
        let columns = length(&place.columns);
        let input = place.input_line + nth * rows + (row - place.rows.start);
        let output = place.output_line + 2 * (nth * columns + (column - place.columns.start));
        (input, output, output + 1)
    }

    /// The pass in which a PE of the plan is driven.
    pub fn pass_of(&self, pe: PeId) -> u32 {
        pe.0 / self.n_pes.max(1)
    }

    /// The PE of the chip that a PE of the plan is, in whichever pass.
    pub fn on_chip(&self, pe: PeId) -> PeId {
        PeId(pe.0 % self.n_pes.max(1))
    }

    /// The pass in which a step drives cells; `None` where it drives none.
    pub fn pass_of_step(&self, step: &Step) -> Option<u32> {
        match &step.kind {
            StepKind::Waves { tiles, .. } => {
                let tile = tiles.first().and_then(|&tile| self.tiles.get(tile))?;
                Some(self.pass_of(tile.place.pe))
            }
            _ => None,
        }
    }

    /// The cycle in which the last step ends.
    pub fn end_cycle(&self) -> u64 {
        self.steps.values().map(|step| step.start + step.cycles).max().unwrap_or(0)
    }
}

/// Bit-planes of a coding, least significant first.
pub(super) fn planes(coding: &InputCoding) -> Vec<Plane> {
    (0..coding.bits)
        .map(|bit| Plane { bit, negative: coding.signed && bit + 1 == coding.bits })
        .collect()
}

/// Conversions of a plane, dealt to cycles.
pub(super) fn rounds(n_conversions: u32, readout: &Readout) -> Vec<Range<u32>> {
    let per_cycle = readout.lines_converted_per_cycle().max(1);
    (0..n_conversions.div_ceil(per_cycle))
        .map(|i| i * per_cycle..n_conversions.min((i + 1) * per_cycle))
        .collect()
}
