//! What a step of waves takes: planes driven, conversions, cycles.
//!
//! ```text
//! every plane converted: waves x planes x (cycles that converting takes, lines driven meanwhile)
//! planes added up:       waves x planes, and sums x (cycles that converting takes)
//! ```
//!
//! Where only some planes of a wave are looked at, as many as may be are
//! counted; which ones a wave has, and which sums a rectifier leaves out, is
//! known of real inputs only.

use super::plan::{ExecutionPlan, StepKind};
use crate::mapping::length;
use crate::target::Conversion;

/// What waves of a group of tiles that are driven together take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Effort {
    /// Output positions driven.
    pub waves: u64,
    /// Planes of each.
    pub planes_each: u64,
    /// Outputs converted at a time, of all tiles together.
    pub outputs: u64,
    /// Cycles in which these are converted.
    pub rounds: u64,
    /// Sums of an output that are converted, where charges of planes are added
    /// up.
    pub sums: Option<u64>,
    /// Sums of an output that are compared before that.
    pub compared: u64,
}

impl Effort {
    /// Planes driven; saturating, like all here, as a file can say anything.
    pub fn planes(&self) -> u64 {
        self.waves.saturating_mul(self.planes_each)
    }

    /// Conversions made.
    pub fn conversions(&self) -> u64 {
        self.sums.unwrap_or_else(|| self.planes()).saturating_mul(self.outputs)
    }

    /// Cycles in which lines are driven.
    pub fn driven_cycles(&self) -> u64 {
        self.planes().saturating_mul(self.rounds_driven())
    }

    /// Cycles for which the lines of a plane are driven: until it is converted,
    /// or its charge taken.
    pub fn rounds_driven(&self) -> u64 {
        if self.sums.is_some() { 1 } else { self.rounds }
    }

    /// Cycles in which ADCs convert.
    pub fn converting_cycles(&self) -> u64 {
        self.sums.map_or(self.driven_cycles(), |sums| sums.saturating_mul(self.rounds))
    }

    /// Comparisons of sums before conversion: one for each that a window or a
    /// rectifier looks at.
    pub fn comparisons(&self) -> u64 {
        self.compared.saturating_mul(self.outputs)
    }

    /// Cycles in all.
    pub fn cycles(&self) -> u64 {
        let converting = if self.sums.is_some() { self.converting_cycles() } else { 0 };
        self.driven_cycles().saturating_add(converting)
    }
}

impl ExecutionPlan {
    /// What a step takes; `None` for one that drives no tiles.
    pub fn effort(&self, step: &StepKind) -> Option<Effort> {
        let StepKind::Waves { layer, positions, planes, conversions, .. } = step else {
            return None;
        };
        let waves = u64::from(positions.n());
        let stage = self.layers.get(layer).and_then(|layer| layer.stage.as_ref());
        let n_planes = planes.len() as u64;
        Some(Effort {
            waves,
            planes_each: match self.conversion {
                Conversion::Significant(most) => n_planes.min(most.into()),
                Conversion::EveryPlane | Conversion::Accumulated => n_planes,
            },
            outputs: conversions.iter().map(|lines| u64::from(length(lines))).sum(),
            rounds: conversions.len() as u64,
            sums: (self.conversion == Conversion::Accumulated)
                .then(|| stage.map_or(waves, |stage| stage.n_sums(waves))),
            compared: stage.map_or(0, |stage| stage.n_compared(waves)),
        })
    }
}
