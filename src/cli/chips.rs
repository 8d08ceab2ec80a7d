//! From a plan to chips, or from a chip to what is read of it: with which
//! effects, how long after programming, with which faults.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use ohmc::chip::{self, Chip, Conditions, Effect, Effects, FaultMap, ProgramOptions, Programmed};
use ohmc::format;

use super::error::CliError;
use super::files;
use super::options::Compilation;
use super::prepare::Prepared;

/// Under which conditions a chip is read.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Chip")]
pub struct Reading {
    /// Only this effect of the chip, of all that there are; repeatable.
    /// `--without EFFECT` leaves one out.
    #[arg(long, value_name = "EFFECT", value_delimiter = ',')]
    pub only: Vec<EffectName>,

    /// How long after programming, as in `90s`, `10min`, `1h` or `30d`: cells
    /// drift, where the target says how.
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    pub at: Option<f64>,
}

/// How a plan is programmed into chips on the way.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Chip")]
pub struct Making {
    /// Follow every pulse, as `ohmc program` does, where the target says what
    /// pulses do; without it cells hold what write-verify leaves on average.
    #[arg(long)]
    pub pulses: bool,

    /// Faults measured on the chip, in place of the target's rates: `.npy` of
    /// u1, [PE][input][output], 0 works, 1 stuck high, 2 stuck low, 3 dead.
    #[arg(long, value_name = "FILE")]
    pub fault_map: Option<PathBuf>,
}

/// An effect, as it is called on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum EffectName {
    /// Cells stop anywhere within the tolerance, or are given up.
    VerifyError,
    /// They change at once after they were written.
    Relaxation,
    /// They go on changing; with `--at`.
    Drift,
    /// Every reading is another.
    ReadNoise,
    /// Cells and lines that do not work.
    Faults,
    /// Lines have resistance.
    Wires,
}

impl From<EffectName> for Effect {
    fn from(name: EffectName) -> Self {
        match name {
            EffectName::VerifyError => Self::VerifyError,
            EffectName::Relaxation => Self::Relaxation,
            EffectName::Drift => Self::Drift,
            EffectName::ReadNoise => Self::ReadNoise,
            EffectName::Faults => Self::Faults,
            EffectName::Wires => Self::Wires,
        }
    }
}

impl Reading {
    /// The options that were given, as they are written.
    pub fn given(&self) -> Vec<&'static str> {
        let options = [("--only", !self.only.is_empty()), ("--at", self.at.is_some())];
        options.into_iter().filter_map(|(name, given)| given.then_some(name)).collect()
    }
}

/// A map of faults for the chip of a prepared plan.
pub fn fault_map(
    path: Option<&PathBuf>,
    prepared: &Prepared,
) -> Result<Option<FaultMap>, CliError> {
    let Some(path) = path else { return Ok(None) };
    let (pe, n_pes) = (prepared.plan.pe, prepared.plan.n_pes);
    let wrong = |reason: String| CliError::FaultMap { file: files::name(path), reason };
    let bytes = files::read(path, "the fault map")?;
    let shape = [n_pes as usize, pe.inputs as usize, pe.outputs as usize];
    let codes = format::read_array(&bytes, &shape).map_err(wrong)?;
    let map = FaultMap::new(n_pes, pe, codes).map_err(|error| wrong(error.to_string()))?;
    Ok(Some(map))
}

/// Where chips come from, and how they are read.
pub struct Bench<'a> {
    prepared: &'a Prepared,
    by_pulses: bool,
    map: Option<FaultMap>,
    /// Effects that are there.
    pub effects: Effects,
    /// Time after programming in s.
    pub at_s: Option<f64>,
}

impl<'a> Bench<'a> {
    /// Checks that what is asked for can be.
    pub fn new(
        prepared: &'a Prepared,
        compilation: &Compilation,
        reading: &Reading,
        making: &Making,
    ) -> Result<Self, CliError> {
        let target = &prepared.target;
        if reading.at.is_some() && target.cell.drift.is_none() {
            return Err(CliError::NoDrift { target: target.name.clone() });
        }
        if making.pulses && target.cell.pulses.is_none() {
            return Err(CliError::NoPulses { target: target.name.clone(), option: "--pulses" });
        }
        let made = [("--pulses", making.pulses), ("--fault-map", making.fault_map.is_some())];
        let made: Vec<_> = made.into_iter().filter(|(_, given)| *given).map(|(n, _)| n).collect();
        if prepared.programmed.is_some() && !made.is_empty() {
            return Err(CliError::Programmed { file: prepared.file.clone(), options: made });
        }
        let only = match reading.only[..] {
            [] => Effects::ALL,
            _ => Effects::only(reading.only.iter().map(|&name| name.into())),
        };
        let effects = compilation.effects_left_out().fold(only, Effects::without);
        let map = fault_map(making.fault_map.as_ref(), prepared)?;
        Ok(Self { prepared, by_pulses: making.pulses, map, effects, at_s: reading.at })
    }

    /// A chip with the seed that is given; of one that is programmed already,
    /// a reading with this seed.
    pub fn chip(&self, seed: u64) -> Result<Chip, CliError> {
        let Prepared { plan, target, programmed, .. } = self.prepared;
        let plain = self.effects == Effects::ALL && self.at_s.is_none() && self.map.is_none();
        if programmed.is_none() && plain && !self.by_pulses {
            return Ok(chip::program(plan, target, seed));
        }
        match programmed {
            Some(programmed) => Ok(self.read(programmed, self.effects, seed)),
            None => Ok(self.read(&self.program(seed)?, self.effects, seed)),
        }
    }

    /// The plan programmed into a chip with this seed.
    pub fn program(&self, seed: u64) -> Result<Programmed, CliError> {
        let Prepared { plan, target, .. } = self.prepared;
        let (by_pulses, fault_map) = (self.by_pulses, self.map.as_ref());
        Ok(chip::write(plan, target, &ProgramOptions { seed, by_pulses, fault_map })?)
    }

    /// A programmed chip with some of its effects.
    pub fn read(&self, programmed: &Programmed, effects: Effects, seed: u64) -> Chip {
        let Prepared { plan, target, .. } = self.prepared;
        let conditions = Conditions { effects, at_s: self.at_s, seed };
        programmed.chip(plan, target, &conditions)
    }

    /// The effects that this chip has and that are not left out.
    pub fn present(&self, programmed: &Programmed) -> Vec<Effect> {
        let cell = &self.prepared.target.cell;
        let has_faults =
            || programmed.pes.values().flat_map(|pe| &pe.states).any(|state| state.is_fault());
        let has = |effect: &Effect| match effect {
            Effect::VerifyError => cell.verify_tolerance_us > 0.0,
            Effect::Relaxation => cell.relaxation_sd_us > 0.0,
            Effect::Drift => cell.drift.is_some() && self.at_s.is_some(),
            Effect::ReadNoise => cell.read_noise_fraction > 0.0,
            Effect::Faults => has_faults(),
            Effect::Wires => !self.prepared.target.wires.are_ideal(),
        };
        Effect::ALL.into_iter().filter(|&e| self.effects.has(e)).filter(has).collect()
    }
}

/// A time in seconds, as in `90s` or `30d`.
fn parse_time(text: &str) -> Result<f64, String> {
    const UNITS: [(&str, f64); 8] = [
        ("ms", 1e-3),
        ("min", 60.0),
        ("s", 1.0),
        ("m", 60.0),
        ("h", 3600.0),
        ("d", 86_400.0),
        ("w", 604_800.0),
        ("y", 31_557_600.0),
    ];
    /// Longer than any chip is kept.
    const YEARS_MAX: f64 = 1000.0;
    let wrong = || "give a number and its unit: ms, s, min, h, d, w or y, as in `30d`".to_string();
    let (number, factor) = UNITS
        .iter()
        .find_map(|(unit, factor)| Some((text.strip_suffix(unit)?, factor)))
        .ok_or_else(wrong)?;
    let seconds = number.trim().parse::<f64>().map_err(|_| wrong())? * factor;
    match seconds {
        s if (0.0..=YEARS_MAX * 31_557_600.0).contains(&s) => Ok(s),
        _ => Err(format!("a time is from 0 to {YEARS_MAX} years")),
    }
}

/// A time as people say it: in the largest unit of which there is one.
pub fn time_text(seconds: f64) -> String {
    let units = [("d", 86_400.0), ("h", 3600.0), ("min", 60.0)];
    let (unit, factor) = units.into_iter().find(|(_, f)| seconds >= *f).unwrap_or(("s", 1.0));
    format!("{} {unit}", seconds / factor)
}

#[cfg(test)]
mod tests {
    //! Times, with units and without.
    #![allow(clippy::unwrap_used, reason = "a failed test may panic")]

    use super::*;

    #[test]
    fn times_have_units() {
        let seconds = ["1h", "30d", "10min", "10m", "0s", "1.5 h", "5ms"].map(parse_time);
        let seconds: Vec<f64> = seconds.into_iter().map(Result::unwrap).collect();
        assert_eq!(seconds, [3600.0, 2_592_000.0, 600.0, 600.0, 0.0, 5400.0, 0.005]);
        for wrong in ["", "1", "h", "-1s", "nans", "infd", "1e9y", "1 fortnight"] {
            assert!(parse_time(wrong).is_err(), "{wrong}");
        }
        assert_eq!([90.0, 5400.0, 2_592_000.0].map(time_text), ["1.5 min", "1.5 h", "30 d"]);
    }
}
