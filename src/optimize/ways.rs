//! How a layer can be on the chip: its windows, how often each, and the next
//! larger and smaller choice.

/// How much of a layer is on the chip: which of its windows, how often.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pick {
    pub way: usize,
    pub replicas: u32,
}

/// A layer that may have replicas.
#[derive(Debug, Clone)]
pub(super) struct Replicable {
    pub name: String,
    /// At least one; the first is the layer as it comes. Several where its
    /// window is to be chosen too, by cells.
    pub ways: Vec<Way>,
}

/// A window of a layer.
#[derive(Debug, Clone)]
pub(super) struct Way {
    pub window: Option<Vec<usize>>,
    pub n_waves: u64,
    /// Time of one wave on the PE that takes longest for it.
    pub wave_ps: u64,
    /// Time for which all tiles are driven, however many replicas share it.
    pub work_ps: u64,
    /// Cells of one replica.
    pub n_cells: u64,
    pub n_tiles: u64,
}

impl Way {
    /// Time of the waves of one of so many replicas.
    pub fn time_ps(&self, replicas: u32) -> u64 {
        self.n_waves.div_ceil(u64::from(replicas.max(1))).saturating_mul(self.wave_ps)
    }

    /// Replicas that keep a pace, or as many as there are waves.
    pub fn replicas_for(&self, pace_ps: u64) -> u32 {
        let waves_each = (pace_ps / self.wave_ps.max(1)).max(1);
        let n = self.n_waves.div_ceil(waves_each).clamp(1, self.n_waves.max(1));
        u32::try_from(n).unwrap_or(u32::MAX)
    }
}

/// A step of the search for one layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    More,
    Fewer,
    Leaner,
}

impl Change {
    /// What a layer has after it; `None` where it cannot be.
    pub fn of(self, layer: &Replicable, now: Pick) -> Option<Pick> {
        match self {
            Self::More => more(layer, now),
            Self::Fewer => fewer(layer, now),
            Self::Leaner => leaner(layer, now),
        }
    }
}

/// One replica more; where there are several windows, what is sooner done with
/// the fewest cells.
fn more(layer: &Replicable, now: Pick) -> Option<Pick> {
    let one_more = |pick: Pick| Pick { replicas: pick.replicas.saturating_add(1), ..pick };
    let within = |pick: &Pick| {
        layer.ways.get(pick.way).is_some_and(|way| u64::from(pick.replicas) <= way.n_waves)
    };
    if layer.ways.len() == 1 {
        return Some(one_more(now)).filter(within);
    }
    let time_ps = layer.ways.get(now.way)?.time_ps(now.replicas);
    let sooner = layer.ways.iter().enumerate().map(|(way, own)| {
        let mut pick = Pick { way, replicas: own.replicas_for(time_ps) };
        while own.time_ps(pick.replicas) >= time_ps && within(&one_more(pick)) {
            pick = one_more(pick);
        }
        (own.time_ps(pick.replicas), u64::from(pick.replicas) * own.n_cells, pick)
    });
    let sooner = sooner.filter(|(ps, ..)| *ps < time_ps);
    sooner.min_by_key(|&(ps, cells, _)| (cells, ps)).map(|(.., pick)| pick)
}

/// A window that is no later and drives PEs for less time, with the fewest
/// cells.
fn leaner(layer: &Replicable, now: Pick) -> Option<Pick> {
    let own = layer.ways.get(now.way)?;
    let leaner = layer.ways.iter().enumerate().filter(|(_, way)| way.work_ps < own.work_ps);
    let picks = leaner.map(|(nth, way)| {
        let replicas = way.replicas_for(own.time_ps(now.replicas));
        (u64::from(replicas) * way.n_cells, Pick { way: nth, replicas })
    });
    picks.min_by_key(|(cells, _)| *cells).map(|(_, pick)| pick)
}

/// One replica less; where there are several windows, what takes fewer cells
/// and is done soonest.
fn fewer(layer: &Replicable, now: Pick) -> Option<Pick> {
    if layer.ways.len() == 1 {
        let replicas = now.replicas.checked_sub(1).filter(|n| *n > 0)?;
        return Some(Pick { replicas, ..now });
    }
    let cells = u64::from(now.replicas) * layer.ways.get(now.way)?.n_cells;
    let smaller = layer.ways.iter().enumerate().filter_map(|(way, own)| {
        let most = cells.checked_sub(1)? / own.n_cells.max(1);
        let replicas = u32::try_from(most.min(own.n_waves)).ok().filter(|n| *n > 0)?;
        Some((own.time_ps(replicas), u64::from(replicas) * own.n_cells, Pick { way, replicas }))
    });
    smaller.min_by_key(|&(ps, cells, _)| (ps, cells)).map(|(.., pick)| pick)
}
