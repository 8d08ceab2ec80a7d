//! Layers in `plan.json`: how they read, and what their numbers mean.

use serde::{Deserialize, Serialize};

use super::reading::StageForm;
use crate::entity::{LayerId, TensorId};
use crate::format::text::{Exact, ExtentText, Id, LoopText};
use crate::graph::{AxisIndex, LoopNest};
use crate::mapping::Unrolling;
use crate::quantize::{InputCoding, Slicing};
use crate::schedule::{AnalogStage, ExecutionPlan, PlanLayer};

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

impl LayerForm {
    pub fn all_of(plan: &ExecutionPlan) -> Vec<Self> {
        let form = |(&id, layer): (&LayerId, &PlanLayer)| Self {
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
