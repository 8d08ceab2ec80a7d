//! From counts and a target's rates to picoseconds.

use super::network::{CrossbarWork, Drive};
use super::resource::Resource;
use crate::entity::PeId;
use crate::target::{ChipSize, Rates, Target};

/// Picoseconds of a nanosecond.
const PS_PER_NS: f64 = 1000.0;

/// How long things take. Times are whole picoseconds, so that sums of them do
/// not depend on their order.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    pub cycle_ps: u64,
    pub rates: Rates,
    pub chip: ChipSize,
}

impl Clock {
    /// Cycles may be shorter than those of the target's file only where a
    /// plan says so, whose own length counts.
    pub(crate) fn new(cycle_ns: f64, target: &Target) -> Self {
        let cycle_ps = rounded(cycle_ns * PS_PER_NS).max(1);
        Self { cycle_ps, rates: target.rates, chip: target.chip }
    }

    /// Driving and converting so many positions.
    pub(super) fn drive_ps(&self, drive: &Drive, n_positions: u64) -> u64 {
        let busy_ps = drive.busy_ps(n_positions, self.cycle_ps);
        busy_ps.saturating_add(self.switch_ps(drive, n_positions))
    }

    /// Of that, switching multiplexers: where a plane takes several rounds,
    /// each round begins by switching.
    pub(super) fn switch_ps(&self, drive: &Drive, n_positions: u64) -> u64 {
        let switch_ps = rounded(self.rates.multiplexer_ns_per_switch * PS_PER_NS);
        // Sums of planes are converted once.
        let conversions = if drive.sums.is_some() { 1 } else { drive.n_planes };
        let switches = if drive.n_rounds > 1 { conversions * drive.n_rounds } else { 0 };
        n_positions.saturating_mul(switches).saturating_mul(switch_ps)
    }

    /// Shifting and adding what was converted; `None` without limit.
    pub(super) fn shift_and_add_ps(&self, drive: &Drive, n_positions: u64) -> Option<u64> {
        let per_cycle = self.rates.shift_and_add_per_cycle?;
        let n = drive.conversions(n_positions);
        Some(up(n as f64 / per_cycle * self.cycle_ps as f64))
    }

    /// Issuing so many waves to the PEs of a core that take the same inputs:
    /// the core, and how long; `None` where that takes no time.
    pub(super) fn issue(&self, drive: &Drive, n_positions: u64) -> Option<(Resource, u64)> {
        let wave_ps = rounded(self.rates.issue_ns_per_wave * PS_PER_NS);
        let wave_ps = if drive.is_first_of_core { wave_ps } else { 0 };
        let core = drive.pe.0 / self.rates.pes_per_core.max(1);
        (wave_ps > 0).then(|| (Resource::Issue(core), n_positions.saturating_mul(wave_ps)))
    }

    /// The link that a PE's codes and sums take: its own, or its core's.
    pub(super) fn link_of(&self, pe: PeId) -> Resource {
        let per_core = self.rates.pes_per_core.max(1);
        Resource::Link(PeId(pe.0 / per_core * per_core))
    }

    /// Codes that a group of tiles fetches from the buffer for itself: those of
    /// every wave, unless they are fetched once for all.
    pub(super) fn fetched_bits(&self, drive: &Drive, work: &CrossbarWork, n_positions: u64) -> u64 {
        match work.fetched_bits {
            Some(_) => 0,
            None => Self::code_bits(drive, work.bits, n_positions),
        }
    }

    /// Codes on their way to a PE's lines, every position's anew.
    pub(super) fn code_bits(drive: &Drive, bits: u8, n_positions: u64) -> u64 {
        n_positions.saturating_mul(drive.n_lines).saturating_mul(bits.into())
    }

    /// Sums on their way from a PE.
    pub(super) fn sum_bits(&self, drive: &Drive, n_positions: u64) -> u64 {
        n_positions.saturating_mul(drive.n_pairs).saturating_mul(self.rates.sum_bits.into())
    }

    /// So many bits on a link; `None` without limit.
    pub(super) fn link_ps(&self, bits: u64) -> Option<u64> {
        self.rates.link_gb_per_s.map(|rate| bits_ps(bits, rate))
    }

    /// The link that a PE's codes and sums take between chips, and how long so
    /// many bits are on it; `None` without limit, or on the first chip.
    pub(super) fn chip_link(&self, pe: PeId, bits: u64) -> Option<(Resource, u64)> {
        let rate = self.rates.chip_link_gb_per_s?;
        let chip = self.chip.chip_of(pe.0);
        (chip > 0).then(|| (Resource::ChipLink(chip), bits_ps(bits, rate)))
    }

    /// So many bits to or from the buffer; `None` without limit.
    pub(super) fn buffer_ps(&self, bits: u64) -> Option<u64> {
        self.rates.buffer_gb_per_s.map(|rate| bits_ps(bits, rate))
    }

    /// So many operations of the digital unit; `None` without limit.
    pub(super) fn digital_ps(&self, n_operations: u64) -> Option<u64> {
        self.rates.digital_gops.map(|gops| up(n_operations as f64 / gops * PS_PER_NS))
    }

    /// Operations that sum up so many positions: one for each partial sum,
    /// and a factor and a bias for each result.
    pub(super) fn sum_operations(work: &CrossbarWork, n_positions: u64) -> u64 {
        let partial: u64 = partial_sums(work);
        n_positions.saturating_mul(partial.saturating_add(2 * work.n_columns))
    }
}

/// Partial sums of a position: pairs of all its tiles.
fn partial_sums(work: &CrossbarWork) -> u64 {
    // Replicas hold the same pairs; those of the first position's are enough.
    let first = |drive: &&Drive| drive.positions.start == 0 && drive.positions.n() > 0;
    work.drives.iter().filter(first).map(|drive| drive.n_pairs).sum()
}

fn bits_ps(bits: u64, gb_per_s: f64) -> u64 {
    // Gigabytes a second are bytes a nanosecond.
    up(bits as f64 / 8.0 / gb_per_s * PS_PER_NS)
}

/// Casts saturate: what takes longer than 200 days takes 200 days.
fn up(ps: f64) -> u64 {
    ps.ceil() as u64
}

fn rounded(ps: f64) -> u64 {
    ps.round() as u64
}
