//! Random numbers of a cell: a stream of its own for each purpose, so that
//! nothing depends on which other cells are used, nor on the thread that
//! draws.
//!
//! This is SplitMix64 (Steele et al. 2014): a counter behind a finaliser. Its
//! start is what seed, purpose, PE and cell are mixed to. A pulse takes one
//! number, which is what makes following every pulse of ten million cells a
//! matter of seconds.

use std::convert::Infallible;

use rand::{RngExt, TryRng};
use rand_distr::StandardNormal;

use super::noise::mix;
use crate::entity::PeId;

/// What is drawn; each has streams of its own, so that one effect can be
/// switched off and the others stay as they are.
#[derive(Debug, Clone, Copy)]
pub(super) enum Purpose {
    /// What distinguishes a cell from others of its kind.
    Device = 1,
    /// What pulses do.
    Pulses = 2,
    /// How a cell relaxes after it was written.
    Relaxation = 3,
    /// How it goes on changing.
    Drift = 4,
    /// Whether it is stuck.
    StuckCell = 5,
    /// Whether an input line is dead.
    InputLine = 6,
    /// Whether an output line is dead.
    OutputLine = 7,
    /// What distinguishes an ADC from others.
    Converter = 8,
    /// What measuring it draws.
    ConverterReadings = 9,
    /// What pulses do to a chip in use.
    TuningPulses = 10,
    /// How its cells relax then.
    TuningRelaxation = 11,
    /// How much more than others a cell changes when it is read.
    ReadDisturb = 12,
    /// What distinguishes an output's accumulator from others.
    Accumulator = 13,
}

/// The streams of one purpose of a PE's cells, or lines.
#[derive(Debug, Clone, Copy)]
pub(super) struct Streams(u64);

impl Streams {
    pub(super) fn new(seed: u64, purpose: Purpose, pe: PeId) -> Self {
        let place = ((purpose as u64) << 32) | u64::from(pe.0);
        Self(mix(mix(seed).wrapping_add(place)))
    }

    /// The same for what is done once more; 0 changes nothing.
    pub(super) fn again(self, n_times: u32) -> Self {
        if n_times == 0 { self } else { Self(mix(self.0 ^ (u64::from(n_times) << 32))) }
    }

    /// The stream of the cell or line with this number.
    pub(super) fn of(self, index: usize) -> Stream {
        Stream(mix(self.0.wrapping_add(index as u64)))
    }
}

/// Numbers that follow each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stream(u64);

impl Stream {
    /// A standard Gaussian.
    #[inline]
    pub(super) fn normal(&mut self) -> f64 {
        self.sample(StandardNormal)
    }

    /// Between 0 and 1, 1 excluded.
    pub(super) fn uniform(&mut self) -> f64 {
        self.random_range(0.0..1.0)
    }

    #[inline]
    fn word(&mut self) -> u64 {
        let word = mix(self.0);
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        word
    }
}

impl TryRng for Stream {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        // The upper half: its bits are mixed best.
        Ok((self.word() >> 32) as u32)
    }

    #[inline]
    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(self.word())
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        for chunk in bytes.chunks_mut(8) {
            let word = self.word().to_le_bytes();
            chunk.copy_from_slice(&word[..chunk.len()]);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    //! Streams are Gaussian, and each is another.

    use super::*;

    #[test]
    fn every_part_of_the_key_matters() {
        let first = |seed, purpose, pe, cell| Streams::new(seed, purpose, PeId(pe)).of(cell).word();
        let all = [
            first(1, Purpose::Pulses, 2, 3),
            first(0, Purpose::Pulses, 2, 3),
            first(1, Purpose::Drift, 2, 3),
            first(1, Purpose::Pulses, 0, 3),
            first(1, Purpose::Pulses, 2, 0),
        ];
        assert_eq!(all[0], first(1, Purpose::Pulses, 2, 3));
        for (nth, value) in all.iter().enumerate() {
            assert!(!all[..nth].contains(value), "{nth}");
        }
    }

    /// Along a stream, and across the first numbers of neighbouring cells.
    #[test]
    fn moments_are_those_of_a_gaussian() {
        let n = 200_000;
        let mut one = Streams::new(5, Purpose::Pulses, PeId(0)).of(0);
        let along: Vec<f64> = (0..n).map(|_| one.normal()).collect();
        let streams = Streams::new(5, Purpose::Drift, PeId(1));
        let across: Vec<f64> = (0..n).map(|cell| streams.of(cell).normal()).collect();
        for values in [along, across] {
            let mean = values.iter().sum::<f64>() / n as f64;
            let variance = values.iter().map(|v| v * v).sum::<f64>() / n as f64;
            let neighbours = values.windows(2).map(|w| w[0] * w[1]).sum::<f64>() / n as f64;
            assert!(mean.abs() < 0.01 && neighbours.abs() < 0.01, "{mean} {neighbours}");
            assert!((variance - 1.0).abs() < 0.015, "{variance}");
        }
    }
}
