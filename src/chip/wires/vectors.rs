//! Circuits that are solved anew for each vector of bits.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::network::Network;
use super::operating::OperatingPoint;
use crate::chip::curve::CellCurve;
use crate::entity::PeId;
use crate::mapping::WeightTile;
use crate::target::IdleInputs;

/// How far voltages of a run may be off, as a share of the read voltage: what 32
/// bits hold of a conductance.
const SETTLED: f64 = 1e-7;

/// The circuits of a chip, and which tile is read in which.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct VectorCircuits {
    circuits: Vec<Arc<VectorCircuit>>,
    /// By PE, first input and first output line of the tile.
    of_tiles: BTreeMap<(PeId, u32, u32), usize>,
}

/// A circuit whose currents are no sums over its input lines.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct VectorCircuit {
    pub network: Network,
    pub curve: Option<CellCurve>,
    pub idle: IdleInputs,
}

impl VectorCircuits {
    /// Adds a circuit in which these tiles are read.
    pub(super) fn add<'a>(
        &mut self,
        pe: PeId,
        circuit: VectorCircuit,
        tiles: impl Iterator<Item = &'a WeightTile>,
    ) {
        let own =
            tiles.map(|place| ((pe, place.input_line, place.output_line), self.circuits.len()));
        self.of_tiles.extend(own);
        self.circuits.push(Arc::new(circuit));
    }

    /// The circuit of a tile, as the tile sees it.
    pub(crate) fn reader(&self, place: &WeightTile) -> Option<TileReader> {
        let nth = *self.of_tiles.get(&(place.pe, place.input_line, place.output_line))?;
        let circuit = self.circuits.get(nth)?;
        let find = |lines: &[usize], first: u32, n: u32| -> Vec<Option<usize>> {
            (first..first + n).map(|line| lines.binary_search(&(line as usize)).ok()).collect()
        };
        let Network { inputs, outputs, .. } = &circuit.network;
        Some(TileReader {
            inputs: find(inputs, place.input_line, place.n_inputs()),
            outputs: find(outputs, place.output_line, place.n_outputs()),
            circuit: Arc::clone(circuit),
        })
    }
}

/// A circuit as one of its tiles is read: other tiles' lines are idle.
#[derive(Debug, Clone)]
pub(crate) struct TileReader {
    circuit: Arc<VectorCircuit>,
    /// Lines of the tile by their place in the network; `None` for those that
    /// carry no current.
    inputs: Vec<Option<usize>>,
    outputs: Vec<Option<usize>>,
}

/// Working memory of a reader.
#[derive(Debug, Default)]
pub(crate) struct ReaderMemory {
    driven: Vec<bool>,
    point: OperatingPoint,
    currents_us: Vec<f64>,
    squares_us2: Vec<f64>,
}

impl TileReader {
    /// Output lines of the tile.
    pub fn n_outputs(&self) -> usize {
        self.outputs.len()
    }

    /// With these lines of the tile driven: of each of its output lines the
    /// current in uS, and the sum of squares of what its cells add, in uS^2.
    #[inline(always)]
    pub fn read(
        &self,
        lines: impl Iterator<Item = usize>,
        memory: &mut ReaderMemory,
        lines_us: &mut Vec<(f64, f64)>,
    ) {
        let VectorCircuit { network, curve, idle } = &*self.circuit;
        let ReaderMemory { driven, point, currents_us, squares_us2 } = memory;
        driven.clear();
        driven.resize(network.inputs.len(), false);
        lines.filter_map(|line| self.inputs.get(line).copied().flatten()).for_each(|input| {
            driven[input] = true;
        });
        for sums in [&mut *currents_us, &mut *squares_us2] {
            sums.resize(network.outputs.len(), 0.0);
        }
        point.find(network, curve.as_ref(), *idle, driven, SETTLED);
        point.read(curve.map_or(1.0, |curve| curve.read_v()), currents_us, squares_us2);
        let of = |output: &Option<usize>| {
            output.map_or((0.0, 0.0), |output| (currents_us[output], squares_us2[output]))
        };
        lines_us.clear();
        lines_us.extend(self.outputs.iter().map(of));
    }
}
