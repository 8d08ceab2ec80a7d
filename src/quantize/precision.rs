//! How many bits inputs and weights get, layer by layer.

use std::collections::BTreeMap;

use super::QuantizeError;
use crate::graph::LayerGraph;

/// Precision by name of the layer; what is not said is the target's.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Precision {
    /// Pairs that hold a weight between them.
    pub slices: ByLayer,
    /// Bits of an input code.
    pub input_bits: ByLayer,
}

/// A small number for all layers, and others for some.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ByLayer {
    /// For layers that are not named.
    pub all: Option<u8>,
    /// For those that are.
    pub named: BTreeMap<String, u8>,
}

impl ByLayer {
    /// What is said of a layer.
    pub fn of(&self, layer: &str) -> Option<u8> {
        self.named.get(layer).copied().or(self.all)
    }
}

/// Bits of the widest input code.
const MAX_INPUT_BITS: u8 = 16;

impl Precision {
    /// Slices of a weight by name of the layer, as they are asked for.
    pub(crate) fn slices_of(&self, graph: &LayerGraph) -> BTreeMap<String, u8> {
        let names = graph.crossbar_layers().map(|(_, layer, _)| layer.name.clone());
        names.map(|name| (self.slices.of(&name).unwrap_or(1), name)).map(|(n, l)| (l, n)).collect()
    }

    /// Whether all layers that are named are there, and the bits can be.
    pub(crate) fn check(&self, graph: &LayerGraph) -> Result<(), QuantizeError> {
        let known = || graph.crossbar_layers().map(|(_, layer, _)| layer.name.as_str());
        for (option, by_layer) in [("--slices", &self.slices), ("--input-bits", &self.input_bits)] {
            if let Some(name) = by_layer.named.keys().find(|name| known().all(|k| k != *name)) {
                return Err(QuantizeError::UnknownLayer {
                    option,
                    name: name.clone(),
                    known: known().map(String::from).collect(),
                });
            }
        }
        let bits = |bits: &&u8| !(1..=MAX_INPUT_BITS).contains(*bits);
        let mut wanted = self.input_bits.all.iter().chain(self.input_bits.named.values());
        match wanted.find(bits) {
            Some(&bits) => Err(QuantizeError::InputBits { bits }),
            None => Ok(()),
        }
    }
}
