//! PEs that hold nothing yet, by the cores that share their issue.

use std::collections::BTreeSet;

use super::room::Taken;
use crate::entity::LayerId;

/// Layer, replica, first group and first row of a tile.
pub(super) type Inputs = (LayerId, u32, u32, u32);

/// Free PEs while tiles are spread.
#[derive(Default)]
pub(super) struct FreePes {
    /// PEs of each core, the last first.
    pes: Vec<Vec<usize>>,
    /// Waves of each core that has such PEs, with its number.
    cores: BTreeSet<(u64, usize)>,
    waves: Vec<u64>,
    /// The core of the last tile, and the inputs that it takes.
    last: Option<(Inputs, usize)>,
}

impl FreePes {
    /// Those of a chip whose cores have so many PEs.
    pub(super) fn new(pes: &[Taken], per_core: usize) -> Self {
        let n_cores = pes.len().div_ceil(per_core);
        let mut free = vec![Vec::new(); n_cores];
        let mut waves = vec![0; n_cores];
        for (index, pe) in pes.iter().enumerate().rev() {
            waves[index / per_core] += pe.waves;
            if pe.n_tiles() == 0 {
                free[index / per_core].push(index);
            }
        }
        let open = waves.iter().enumerate().filter(|(core, _)| !free[*core].is_empty());
        let cores = open.map(|(core, waves)| (*waves, core)).collect();
        Self { pes: free, cores, waves, last: None }
    }

    /// A PE for a tile of these inputs and so many waves: of the core with the
    /// fewest. Tiles that take the same inputs belong to one core, which then
    /// issues and fetches them once.
    pub(super) fn take(&mut self, inputs: Inputs, waves: u64) -> Option<usize> {
        let &(_, idlest) = self.cores.first()?;
        let beside = self.last.filter(|last| last.0 == inputs).map(|last| last.1);
        let beside = beside.filter(|&core| !self.pes[core].is_empty());
        let core = beside.unwrap_or(idlest);
        self.last = Some((inputs, core));
        let pe = self.pes[core].pop()?;
        let before = self.waves[core];
        // What joins tiles of its inputs is issued with them.
        self.waves[core] += if beside.is_some() { 0 } else { waves };
        if self.pes[core].is_empty() {
            self.cores.remove(&(before, core));
        } else if self.waves[core] != before {
            self.cores.remove(&(before, core));
            self.cores.insert((self.waves[core], core));
        }
        Some(pe)
    }
}
