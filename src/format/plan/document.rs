//! `plan.json`: all of a plan but its arrays.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::reading::{ConversionForm, StageForm, halvings_form};
use super::{PlanFile, PlanModel, PreprocessForm};
use crate::entity::{LayerId, PeId, StepId, TensorId, WeightTileId};
use crate::format::text::{Exact, ExtentText, Id, LoopText, PlaneText, Span};
use crate::frontend::{Axis, FrontendOptions, ModelFiles};
use crate::graph::{AxisIndex, LoopNest};
use crate::mapping::{Unrolling, WeightTile};
use crate::quantize::{InputCoding, Slicing};
use crate::schedule::{AnalogStage, ExecutionPlan, MAX_PLANES, PlanTile, Step, StepKind};
use crate::target::{Pe, Subtract, Target};

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PlanForm {
    pub model: ModelForm,
    preprocess: Preparation,
    pub chip: ChipForm,
    pub inputs: Vec<Id<TensorId>>,
    pub outputs: Vec<Id<TensorId>>,
    pub layers: Vec<LayerForm>,
    pub tiles: Vec<TileForm>,
    /// PEs whose cells have targets.
    pub cells: Vec<Id<PeId>>,
    pub steps: Vec<StepForm>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ModelForm {
    ohmc: String,
    tract: String,
    graph_sha256: String,
    shapes: BTreeMap<String, Vec<AxisForm>>,
    /// Locations of weight files, as the model gives them.
    pub external: Vec<String>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
enum AxisForm {
    Fixed(usize),
    Batch(Batch),
}

#[derive(Debug, Serialize, Deserialize)]
enum Batch {
    N,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Preparation {
    scale: Option<Exact<f32>>,
    mean: Vec<Exact<f32>>,
    std: Vec<Exact<f32>>,
    bgr: bool,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ChipForm {
    inputs: u32,
    outputs: u32,
    n_pes: u32,
    /// How often it is written for one run.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    n_passes: u32,
    subtract: SubtractForm,
    /// Which sums become codes, where it is not those of every plane.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    conversion: Option<ConversionForm>,
    conversions_per_cycle: u32,
    cycle_ns: Exact<f64>,
    level_us: Exact<f64>,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum SubtractForm {
    BeforeConversion,
    AfterConversion,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LayerForm {
    pub id: Id<LayerId>,
    pub name: String,
    pub input: Id<TensorId>,
    pub output: Id<TensorId>,
    pub n_replicas: u32,
    /// The layer whose cells it drives, where these are not its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cells_of: Option<Id<LayerId>>,
    coding: CodingForm,
    /// How pairs hold its levels, where they do not hold whole ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    slices: Option<SlicesForm>,
    /// Output positions that one wave makes, by loop over positions, where these
    /// are several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    window: Option<Vec<usize>>,
    /// The loops that the window is one of, where it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    kernel: Option<LoopsForm>,
    /// What is done with its sums before they are converted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    stage: Option<StageForm>,
    loops: LoopsForm,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SlicesForm {
    n: u8,
    /// The largest level of a pair.
    pair_max: i16,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct CodingForm {
    bits: u8,
    signed: bool,
    scale: Exact<f32>,
    zero_point: i32,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct LoopsForm {
    positions: Vec<ExtentText>,
    groups: Vec<usize>,
    rows: Vec<usize>,
    columns: Vec<usize>,
    input: Vec<AxisIndexForm>,
    output: Vec<AxisIndexForm>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct AxisIndexForm {
    /// Loop and stride.
    terms: Vec<(LoopText, usize)>,
    padding: usize,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TileForm {
    pub id: Id<WeightTileId>,
    layer: Id<LayerId>,
    replica: u32,
    groups: Span,
    rows: Span,
    columns: Span,
    /// Which digit of the weights.
    #[serde(default, skip_serializing_if = "is_zero")]
    slice: u8,
    pe: Id<PeId>,
    input_line: u32,
    output_line: u32,
    /// By plane, how often its ADCs' range is halved for it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    halvings: Vec<u8>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StepForm {
    pub id: Id<StepId>,
    start: u64,
    cycles: u64,
    after: Vec<Id<StepId>>,
    #[serde(rename = "do")]
    work: WorkForm,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
enum WorkForm {
    Digital {
        inputs: Vec<Id<TensorId>>,
        outputs: Vec<Id<TensorId>>,
    },
    Encode {
        layer: Id<LayerId>,
    },
    Waves {
        layer: Id<LayerId>,
        tiles: Vec<Id<WeightTileId>>,
        positions: Span,
        planes: Vec<PlaneText>,
        conversions: Vec<Span>,
    },
    Sum {
        layer: Id<LayerId>,
        tiles: Vec<Id<WeightTileId>>,
    },
}

impl PlanForm {
    pub fn of<M: PlanModel>(file: &PlanFile<M>) -> Self {
        let PlanFile { model, options, preprocess, plan, .. } = file;
        let shape = |axes: &Vec<Axis>| axes.iter().copied().map(AxisForm::of).collect();
        Self {
            model: ModelForm {
                ohmc: file.ohmc_version.clone(),
                tract: file.tract_version.clone(),
                graph_sha256: file.graph_sha256.clone(),
                shapes: options.shapes.iter().map(|(n, axes)| (n.clone(), shape(axes))).collect(),
                external: model.external().into_iter().map(str::to_string).collect(),
            },
            preprocess: Preparation {
                scale: preprocess.scale.map(Exact),
                mean: preprocess.mean.iter().copied().map(Exact).collect(),
                std: preprocess.std.iter().copied().map(Exact).collect(),
                bgr: preprocess.bgr,
            },
            chip: ChipForm::of(plan),
            inputs: ids(&plan.inputs),
            outputs: ids(&plan.outputs),
            layers: LayerForm::all_of(plan),
            tiles: plan.tiles.iter().map(|(id, tile)| TileForm::of(id, tile)).collect(),
            cells: plan.targets.keys().copied().map(Id).collect(),
            steps: plan.steps.iter().map(|(id, step)| StepForm::of(id, step)).collect(),
        }
    }

    /// The file again, with what was read beside the document.
    pub fn with(self, model: ModelFiles, target: Target, plan: ExecutionPlan) -> PlanFile {
        let shape = |axes: Vec<AxisForm>| axes.into_iter().map(AxisForm::axis).collect();
        let shapes = self.model.shapes.into_iter().map(|(n, axes)| (n, shape(axes))).collect();
        let floats = |values: Vec<Exact<f32>>| values.into_iter().map(|value| value.0).collect();
        PlanFile {
            model,
            options: FrontendOptions { shapes },
            preprocess: PreprocessForm {
                scale: self.preprocess.scale.map(|scale| scale.0),
                mean: floats(self.preprocess.mean),
                std: floats(self.preprocess.std),
                bgr: self.preprocess.bgr,
            },
            target,
            plan,
            graph_sha256: self.model.graph_sha256,
            tract_version: self.model.tract,
            ohmc_version: self.model.ohmc,
        }
    }
}

impl AxisForm {
    fn of(axis: Axis) -> Self {
        match axis {
            Axis::Fixed(extent) => Self::Fixed(extent),
            Axis::Batch => Self::Batch(Batch::N),
        }
    }

    fn axis(self) -> Axis {
        match self {
            Self::Fixed(extent) => Axis::Fixed(extent),
            Self::Batch(Batch::N) => Axis::Batch,
        }
    }
}

impl ChipForm {
    fn of(plan: &ExecutionPlan) -> Self {
        Self {
            inputs: plan.pe.inputs,
            outputs: plan.pe.outputs,
            n_pes: plan.n_pes,
            n_passes: plan.n_passes,
            subtract: match plan.subtract {
                Subtract::BeforeConversion => SubtractForm::BeforeConversion,
                Subtract::AfterConversion => SubtractForm::AfterConversion,
            },
            conversion: ConversionForm::of(plan.conversion),
            conversions_per_cycle: plan.conversions_per_cycle,
            cycle_ns: Exact(plan.cycle_ns),
            level_us: Exact(plan.level_us),
        }
    }

    pub fn pe(&self) -> Pe {
        Pe { inputs: self.inputs, outputs: self.outputs }
    }

    /// A plan of this chip with nothing in it.
    pub fn empty_plan(&self) -> ExecutionPlan {
        ExecutionPlan {
            pe: self.pe(),
            n_pes: self.n_pes,
            n_passes: self.n_passes,
            subtract: match self.subtract {
                SubtractForm::BeforeConversion => Subtract::BeforeConversion,
                SubtractForm::AfterConversion => Subtract::AfterConversion,
            },
            conversion: ConversionForm::conversion(self.conversion),
            conversions_per_cycle: self.conversions_per_cycle,
            cycle_ns: self.cycle_ns.0,
            level_us: self.level_us.0,
            inputs: Vec::new(),
            outputs: Vec::new(),
            layers: BTreeMap::new(),
            tiles: Default::default(),
            targets: BTreeMap::new(),
            steps: Default::default(),
        }
    }
}

impl LayerForm {
    fn all_of(plan: &ExecutionPlan) -> Vec<Self> {
        let form = |(&id, layer): (&LayerId, &crate::schedule::PlanLayer)| Self {
            id: Id(id),
            name: layer.name.clone(),
            input: Id(layer.input),
            output: Id(layer.output),
            n_replicas: layer.n_replicas,
            cells_of: (layer.matrix != id).then_some(Id(layer.matrix)),
            coding: CodingForm {
                bits: layer.coding.bits,
                signed: layer.coding.signed,
                scale: Exact(layer.coding.scale),
                zero_point: layer.coding.zero_point,
            },
            slices: layer
                .slicing
                .map(|slicing| SlicesForm { n: slicing.n_slices(), pair_max: slicing.pair_max() }),
            window: layer.unrolled.as_ref().map(|unrolling| unrolling.window.clone()),
            kernel: layer.unrolled.as_ref().map(|unrolling| LoopsForm::of(&unrolling.kernel)),
            stage: layer.stage.as_ref().map(StageForm::of),
            loops: LoopsForm::of(&layer.nest),
        };
        plan.layers.iter().map(form).collect()
    }

    pub fn coding(&self) -> InputCoding {
        let CodingForm { bits, signed, scale, zero_point } = self.coding;
        InputCoding { bits, signed, scale: scale.0, zero_point }
    }

    /// How pairs hold the levels; an error is a slicing that cannot be.
    pub fn slicing(&self) -> Result<Option<Slicing>, String> {
        let Some(SlicesForm { n, pair_max }) = &self.slices else { return Ok(None) };
        let wrong = || format!("{n} slices of pairs up to {pair_max} cannot be");
        Slicing::new(*n, *pair_max).map(Some).ok_or_else(wrong)
    }

    pub fn stage(&self) -> Option<AnalogStage> {
        self.stage.as_ref().map(StageForm::stage)
    }

    pub fn nest(&self) -> LoopNest {
        self.loops.nest()
    }

    /// How the layer is unrolled; an error is a window whose loops are others.
    pub fn unrolled(&self) -> Result<Option<Unrolling>, String> {
        let (window, kernel) = match (&self.window, &self.kernel) {
            (Some(window), Some(kernel)) => (window, kernel.nest()),
            (None, None) => return Ok(None),
            _ => return Err("a window without the loops that it is of, or the reverse".to_string()),
        };
        let unrolling = Unrolling::new(&kernel, window)?;
        match unrolling.nest == self.nest() {
            true => Ok(Some(unrolling)),
            false => Err("its loops are not those of its window".to_string()),
        }
    }
}

impl LoopsForm {
    fn nest(&self) -> LoopNest {
        let Self { positions, groups, rows, columns, input, output } = self;
        let map = |axes: &[AxisIndexForm]| axes.iter().map(AxisIndexForm::index).collect();
        LoopNest {
            positions: positions.iter().map(|extent| extent.0.clone()).collect(),
            groups: groups.clone(),
            rows: rows.clone(),
            columns: columns.clone(),
            input: map(input),
            output: map(output),
        }
    }

    fn of(nest: &LoopNest) -> Self {
        let map = |axes: &[AxisIndex]| axes.iter().map(AxisIndexForm::of).collect();
        Self {
            positions: nest.positions.iter().cloned().map(ExtentText).collect(),
            groups: nest.groups.clone(),
            rows: nest.rows.clone(),
            columns: nest.columns.clone(),
            input: map(&nest.input),
            output: map(&nest.output),
        }
    }
}

impl AxisIndexForm {
    fn of(axis: &AxisIndex) -> Self {
        let terms = axis.terms.iter().map(|&(l, stride)| (LoopText(l), stride)).collect();
        Self { terms, padding: axis.padding }
    }

    fn index(&self) -> AxisIndex {
        let terms = self.terms.iter().map(|&(l, stride)| (l.0, stride)).collect();
        AxisIndex { terms, padding: self.padding }
    }
}

impl TileForm {
    fn of(id: WeightTileId, tile: &PlanTile) -> Self {
        let place = &tile.place;
        Self {
            id: Id(id),
            layer: Id(place.layer),
            replica: place.replica,
            groups: Span(place.groups.clone()),
            rows: Span(place.rows.clone()),
            columns: Span(place.columns.clone()),
            slice: place.slice,
            pe: Id(place.pe),
            input_line: place.input_line,
            output_line: place.output_line,
            halvings: halvings_form(&tile.adc.halvings),
        }
    }

    /// Those that it does not give are none.
    pub fn halvings(&self) -> [u8; MAX_PLANES] {
        std::array::from_fn(|plane| self.halvings.get(plane).copied().unwrap_or(0))
    }

    pub fn place(&self) -> WeightTile {
        WeightTile {
            layer: self.layer.0,
            replica: self.replica,
            groups: self.groups.0.clone(),
            rows: self.rows.0.clone(),
            columns: self.columns.0.clone(),
            slice: self.slice,
            pe: self.pe.0,
            input_line: self.input_line,
            output_line: self.output_line,
        }
    }
}

impl StepForm {
    fn of(id: StepId, step: &Step) -> Self {
        let work = match &step.kind {
            StepKind::Digital { inputs, outputs } => {
                WorkForm::Digital { inputs: ids(inputs), outputs: ids(outputs) }
            }
            StepKind::Encode { layer } => WorkForm::Encode { layer: Id(*layer) },
            StepKind::Waves { layer, tiles, positions, planes, conversions } => WorkForm::Waves {
                layer: Id(*layer),
                tiles: ids(tiles),
                positions: Span(positions.clone()),
                planes: planes.iter().copied().map(PlaneText).collect(),
                conversions: conversions.iter().cloned().map(Span).collect(),
            },
            StepKind::Sum { layer, tiles } => {
                WorkForm::Sum { layer: Id(*layer), tiles: ids(tiles) }
            }
        };
        let (start, cycles) = (step.start, step.cycles);
        Self { id: Id(id), start, cycles, after: ids(&step.after), work }
    }

    pub fn step(&self) -> Step {
        let kind = match &self.work {
            WorkForm::Digital { inputs, outputs } => {
                StepKind::Digital { inputs: plain(inputs), outputs: plain(outputs) }
            }
            WorkForm::Encode { layer } => StepKind::Encode { layer: layer.0 },
            WorkForm::Waves { layer, tiles, positions, planes, conversions } => StepKind::Waves {
                layer: layer.0,
                tiles: plain(tiles),
                positions: positions.0.clone(),
                planes: planes.iter().map(|plane| plane.0).collect(),
                conversions: conversions.iter().map(|span| span.0.clone()).collect(),
            },
            WorkForm::Sum { layer, tiles } => StepKind::Sum { layer: layer.0, tiles: plain(tiles) },
        };
        Step { kind, after: plain(&self.after), start: self.start, cycles: self.cycles }
    }
}

fn one() -> u32 {
    1
}

fn is_one(n: &u32) -> bool {
    *n == 1
}

fn is_zero(slice: &u8) -> bool {
    *slice == 0
}

fn ids<T: Copy>(ids: &[T]) -> Vec<Id<T>> {
    ids.iter().copied().map(Id).collect()
}

pub(super) fn plain<T: Copy>(ids: &[Id<T>]) -> Vec<T> {
    ids.iter().map(|id| id.0).collect()
}
