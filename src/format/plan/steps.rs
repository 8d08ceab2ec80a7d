//! Steps in `plan.json`.

use serde::{Deserialize, Serialize};

use super::document::{ids, is_one, one, plain};
use crate::entity::{LayerId, StepId, TensorId, WeightTileId};
use crate::format::text::{Id, PlaneText, Span};
use crate::mapping::Positions;
use crate::schedule::{Step, StepKind};

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
        /// From one position to the next; left out where they are neighbours.
        #[serde(default = "one", skip_serializing_if = "is_one")]
        every: u32,
        planes: Vec<PlaneText>,
        conversions: Vec<Span>,
    },
    Sum {
        layer: Id<LayerId>,
        tiles: Vec<Id<WeightTileId>>,
    },
}

impl StepForm {
    pub fn of(id: StepId, step: &Step) -> Self {
        let work = match &step.kind {
            StepKind::Digital { inputs, outputs } => {
                WorkForm::Digital { inputs: ids(inputs), outputs: ids(outputs) }
            }
            StepKind::Encode { layer } => WorkForm::Encode { layer: Id(*layer) },
            StepKind::Waves { layer, tiles, positions, planes, conversions } => WorkForm::Waves {
                layer: Id(*layer),
                tiles: ids(tiles),
                positions: Span(positions.start..positions.end),
                every: positions.every,
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
            WorkForm::Waves { layer, tiles, positions, every, planes, conversions } => {
                StepKind::Waves {
                    layer: layer.0,
                    tiles: plain(tiles),
                    positions: Positions {
                        start: positions.0.start,
                        end: positions.0.end,
                        every: *every,
                    },
                    planes: planes.iter().map(|plane| plane.0).collect(),
                    conversions: conversions.iter().map(|span| span.0.clone()).collect(),
                }
            }
            WorkForm::Sum { layer, tiles } => StepKind::Sum { layer: layer.0, tiles: plain(tiles) },
        };
        Step { kind, after: plain(&self.after), start: self.start, cycles: self.cycles }
    }
}
