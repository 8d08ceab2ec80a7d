//! `plan.json`: all of a plan but its arrays.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::layers::LayerForm;
use super::reading::{ConversionForm, halvings_form};
use super::steps::StepForm;
use super::{PlanFile, PlanModel, PreprocessForm};
use crate::entity::{LayerId, PeId, TensorId, WeightTileId};
use crate::format::text::{Exact, Id, Span};
use crate::frontend::{Axis, FrontendOptions, ModelFiles};
use crate::mapping::WeightTile;
use crate::schedule::{ExecutionPlan, MAX_PLANES, PlanTile};
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

pub(super) fn one() -> u32 {
    1
}

pub(super) fn is_one(n: &u32) -> bool {
    *n == 1
}

fn is_zero(slice: &u8) -> bool {
    *slice == 0
}

pub(super) fn ids<T: Copy>(ids: &[T]) -> Vec<Id<T>> {
    ids.iter().copied().map(Id).collect()
}

pub(super) fn plain<T: Copy>(ids: &[Id<T>]) -> Vec<T> {
    ids.iter().map(|id| id.0).collect()
}
