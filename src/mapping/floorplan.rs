//! Places chosen by hand.
//!
//! ```yaml
//! layers:
//!   conv2:
//!     window: [2, 2]                       # output positions of a wave, for convolutions
//!     slice_inputs: 9                      # cut after every 9 inputs
//!     replicas: 3
//!     share: runs                          # a part of the image each; `dealt` in turn otherwise
//!     spots: [1, 1, 1, 1, 3, 3, 3, 3]      # one PE a tile
//!   fc:
//!     spots: [{pe: 5, output_line: 0}, 5, 5, 5, 5, 5, 7, 7, 7, 7, 7, 7]
//! ```
//!
//! A single spot holds for all tiles of the layer. Spots go through the tiles
//! in order: replicas, groups, row slices, column blocks, slices of the weights.
//! What is not fixed is left to the placer.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{MappingError, Sharing, WeightTile, counted};
use crate::entity::LayerId;
use crate::graph::LayerGraph;

/// What a user fixed, by name of the layer.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Floorplan {
    /// By name of the layer; others are placed freely.
    pub layers: BTreeMap<String, LayerPlan>,
}

/// What is fixed about one layer.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LayerPlan {
    /// Output positions that one wave makes, along the innermost loops.
    pub window: Option<Vec<usize>>,
    /// Inputs of each row slice; one number repeats.
    pub slice_inputs: Option<Vec<u32>>,
    /// Copies of the layer.
    pub replicas: Option<u32>,
    /// How they divide output positions among them.
    pub share: Option<Sharing>,
    /// One spot for all tiles, or one a tile; empty for free placement.
    pub spots: Vec<Spot>,
}

/// Where a tile shall sit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spot {
    /// The PE.
    pub pe: u32,
    /// Its first input line, if it matters.
    pub input_line: Option<u32>,
    /// Its first output line, if it matters; even.
    pub output_line: Option<u32>,
}

/// The file as written; the library's own types do not derive formats.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileForm {
    layers: BTreeMap<String, LayerForm>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LayerForm {
    window: Option<Vec<usize>>,
    slice_inputs: Option<OneOrMany>,
    replicas: Option<u32>,
    share: Option<SharingForm>,
    #[serde(default)]
    spots: Vec<SpotForm>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
enum SharingForm {
    Dealt,
    Runs,
}

impl From<SharingForm> for Sharing {
    fn from(form: SharingForm) -> Self {
        match form {
            SharingForm::Dealt => Self::Dealt,
            SharingForm::Runs => Self::Runs,
        }
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(u32),
    Many(Vec<u32>),
}

#[derive(Deserialize)]
#[serde(untagged)]
enum SpotForm {
    Pe(u32),
    Lines(LinesForm),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LinesForm {
    pe: u32,
    input_line: Option<u32>,
    output_line: Option<u32>,
}

impl Floorplan {
    /// Reads a floorplan file.
    ///
    /// # Errors
    ///
    /// The text is not of the form above; the message has line and column
    /// where the YAML reader knows them.
    pub fn from_yaml(text: &str) -> Result<Self, String> {
        let form: FileForm = serde_yaml::from_str(text).map_err(|e| e.to_string())?;
        let spot = |form: SpotForm| match form {
            SpotForm::Pe(pe) => Spot { pe, input_line: None, output_line: None },
            SpotForm::Lines(lines) => {
                Spot { pe: lines.pe, input_line: lines.input_line, output_line: lines.output_line }
            }
        };
        let layer = |form: LayerForm| LayerPlan {
            window: form.window,
            slice_inputs: form.slice_inputs.map(|inputs| match inputs {
                OneOrMany::One(n) => vec![n],
                OneOrMany::Many(many) => many,
            }),
            replicas: form.replicas,
            share: form.share.map(Sharing::from),
            spots: form.spots.into_iter().map(spot).collect(),
        };
        let layers = form.layers.into_iter().map(|(name, form)| (name, layer(form))).collect();
        Ok(Self { layers })
    }
}

/// The spot of each tile, `None` where it is free.
pub(super) fn spots(
    graph: &LayerGraph,
    tiles: &[WeightTile],
    floorplan: &Floorplan,
) -> Result<Vec<Option<Spot>>, MappingError> {
    let mut counts: BTreeMap<LayerId, usize> = BTreeMap::new();
    for tile in tiles {
        *counts.entry(tile.layer).or_default() += 1;
    }
    let mut seen: BTreeMap<LayerId, usize> = BTreeMap::new();
    let mut spots = Vec::with_capacity(tiles.len());
    for tile in tiles {
        let name = &graph.layer(tile.layer).name;
        let nth = seen.entry(tile.layer).or_default();
        let spot = match floorplan.layers.get(name).map(|plan| plan.spots.as_slice()) {
            None | Some([]) => None,
            Some([one]) => Some(*one),
            Some(many) if many.len() == counts[&tile.layer] => Some(many[*nth]),
            Some(many) => {
                return Err(MappingError::Floorplan {
                    layer: name.clone(),
                    reason: format!(
                        "it gives {}, the layer has {}",
                        counted(many.len(), "spot"),
                        counted(counts[&tile.layer], "tile")
                    ),
                });
            }
        };
        *nth += 1;
        spots.push(spot);
    }
    Ok(spots)
}
