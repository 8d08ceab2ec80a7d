//! From a plan to chips, or from a chip to what is read of it: with which
//! effects, how long after programming, with which faults.

use std::path::PathBuf;

use clap::Args;
use ohmc::adapt::{self, Adapted, Changes, FastOptions};
use ohmc::chip::{self, Chip, Conditions, Effect, Effects, FaultMap, ProgramOptions, Programmed};
use ohmc::format;
use ohmc::schedule::ExecutionPlan;
use ohmc::target::{Subtract, Target};
use serde_json::{Value, json};

use super::error::CliError;
use super::files;
use super::options::{Compilation, EffectName};
use super::output::counted;
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

    /// How often every cell has been read since it was programmed, as in
    /// `1000000` or `1e6`: readings change cells, where the target says how.
    #[arg(long, value_name = "N", value_parser = parse_reads)]
    pub reads: Option<u64>,
}

/// How a plan is programmed into chips on the way.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Chip")]
pub struct Making {
    /// Follow every pulse, as `ohmc program` does, where the target says what
    /// pulses do; without it cells hold what write-verify leaves on average.
    #[arg(long)]
    pub pulses: bool,

    #[command(flatten)]
    pub knowing: Knowing,
}

/// What is known of a chip when it is programmed.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Chip")]
pub struct Knowing {
    /// Faults measured on the chip, in place of the target's rates: `.npy` of
    /// u1, [PE][input][output], 0 works, 1 stuck high, 2 stuck low, 3 dead.
    #[arg(long, value_name = "FILE")]
    pub fault_map: Option<PathBuf>,

    /// Make up for faults of the chip, as if they were known: the other cell of
    /// the pair takes over, and other pairs of the column what is left. In N
    /// stages (`--adapt=4`) every N-th input line is written at a time, and
    /// also makes up for what was measured of those before; see `--without`.
    #[arg(long, value_name = "N", num_args = 0..=1, require_equals = true,
          default_missing_value = "1", value_parser = clap::value_parser!(u32).range(1..=1024),
          conflicts_with = "fast")]
    pub adapt: Option<u32>,

    /// Write as well as plain write-verify does at the same tolerance, with far
    /// fewer pulses: they are chosen by what they are likely to do, a pair may
    /// stand anywhere as long as its difference is right, lines that drive
    /// little may be off by more, and in N stages (`--fast=8`, the default)
    /// every N-th input line also makes up for what was measured of those
    /// before; see `--without`.
    #[arg(long, value_name = "N", num_args = 0..=1, require_equals = true,
          default_missing_value = "8", value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub fast: Option<u32>,

    /// With `--fast`, how far the lower cell of a pair may stand above the
    /// lowest level, in microsiemens: higher cells take fewer pulses to write,
    /// and more current and noise to read; ADCs that read a single line were
    /// set without it, and clip [default: as far as cells leave their
    /// window; anywhere, where readings have no noise and pairs are subtracted
    /// before conversion].
    #[arg(long, value_name = "US", requires = "fast", value_parser = parse_us)]
    pub common_mode: Option<f64>,
}

/// What became of a plan that was written.
pub struct Written {
    /// The chip.
    pub programmed: Programmed,
    /// What was written in place of the plan's targets, if anything was.
    pub adapted: Option<Adapted>,
}

impl Knowing {
    /// The options that were given, as they are written.
    fn given(&self) -> impl Iterator<Item = &'static str> {
        let options = [
            ("--fault-map", self.fault_map.is_some()),
            ("--adapt", self.adapt.is_some()),
            ("--fast", self.fast.is_some()),
        ];
        options.into_iter().filter_map(|(name, given)| given.then_some(name))
    }

    /// Whether what is known of the inputs matters.
    pub fn looks_at_inputs(&self) -> bool {
        self.adapt.is_some() || self.fast.is_some()
    }

    /// Programs a plan into a chip, new or as an earlier plan left it.
    pub fn write(
        &self,
        prepared: &Prepared,
        compilation: &Compilation,
        options: &ProgramOptions<'_>,
        from: Option<&Programmed>,
    ) -> Result<Written, CliError> {
        let Prepared { plan, target, calibration, .. } = prepared;
        let written = match (self.adapt, self.fast, from) {
            (Some(n_stages), _, _) => {
                let how = (compilation.adapt(), n_stages);
                adapt::program(plan, target, calibration, options, how)?
            }
            (None, Some(n_stages), _) => {
                let fast = compilation.fast(n_stages, self.common_mode_us(target));
                adapt::program_fast(plan, target, calibration, options, (&fast, from))?
            }
            (None, None, Some(_)) => {
                let plain = FastOptions::PLAIN;
                adapt::program_fast(plan, target, calibration, options, (&plain, from))?
            }
            (None, None, None) => {
                let programmed = chip::write(plan, target, options)?;
                return Ok(Written { programmed, adapted: None });
            }
        };
        Ok(Written { programmed: written.programmed, adapted: Some(written.adapted) })
    }

    /// How far the lower cell of a pair may stand above the lowest level, in uS.
    /// Lines that are converted on their own carry it to ADCs whose range the
    /// plan has chosen without it; and noise of readings costs networks more
    /// than its variance says.
    fn common_mode_us(&self, target: &Target) -> f64 {
        let margin_us = target.cell.pulses.map_or(0.0, |pulses| pulses.margin_us);
        let is_quiet = target.cell.read_noise_fraction == 0.0;
        self.common_mode.unwrap_or(match target.readout.subtract {
            Subtract::BeforeConversion if is_quiet => f64::INFINITY,
            Subtract::BeforeConversion | Subtract::AfterConversion => margin_us,
        })
    }
}

/// What `--adapt` changed, for people.
pub fn changes_text(changes: &Changes) -> String {
    let left = 100.0 * (changes.error_after / changes.error_before.max(f64::MIN_POSITIVE)).sqrt();
    format!(
        "{} of no use, {} changed for their partners, {} for others; sums off by {left:.0} % of before",
        counted(changes.fixed, "cell"),
        counted(changes.partners, "cell"),
        counted(changes.feedback, "cell"),
    )
}

impl Reading {
    /// The options that were given, as they are written.
    pub fn given(&self) -> Vec<&'static str> {
        let options = [
            ("--only", !self.only.is_empty()),
            ("--at", self.at.is_some()),
            ("--reads", self.reads.is_some()),
        ];
        options.into_iter().filter_map(|(name, given)| given.then_some(name)).collect()
    }
}

/// The same for scripts.
pub fn changes_json(changes: &Changes) -> Value {
    json!({
        "cells_of_no_use": changes.fixed,
        "cells_changed_for_partners": changes.partners,
        "cells_changed_for_others": changes.feedback,
        "squared_error_before": changes.error_before,
        "squared_error_after": changes.error_after,
    })
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

/// A chip that a plan is programmed into, with some of the effects of its
/// target.
pub fn chip(
    plan: &ExecutionPlan,
    target: &Target,
    effects: Effects,
    seed: u64,
) -> Result<Chip, CliError> {
    if effects == Effects::ALL {
        return Ok(chip::program(plan, target, seed));
    }
    let options = ProgramOptions { seed, by_pulses: false, fault_map: None };
    let conditions = Conditions { effects, ..Conditions::at_once(seed) };
    Ok(chip::write(plan, target, &options)?.chip(plan, target, &conditions))
}

/// Where chips come from, and how they are read.
pub struct Bench<'a> {
    prepared: &'a Prepared,
    compilation: &'a Compilation,
    knowing: &'a Knowing,
    by_pulses: bool,
    map: Option<FaultMap>,
    /// Effects that are there.
    pub effects: Effects,
    /// Time after programming in s.
    pub at_s: Option<f64>,
    /// How often every cell has been read.
    pub n_reads: u64,
}

impl<'a> Bench<'a> {
    /// Checks that what is asked for can be.
    pub fn new(
        prepared: &'a Prepared,
        compilation: &'a Compilation,
        reading: &Reading,
        making: &'a Making,
    ) -> Result<Self, CliError> {
        let Making { pulses, knowing } = making;
        let target = &prepared.target;
        if reading.at.is_some() && target.cell.drift.is_none() {
            return Err(CliError::NoDrift { target: target.name.clone() });
        }
        if reading.reads.is_some() && target.cell.read_disturb.is_none() {
            return Err(CliError::NoDisturb { target: target.name.clone() });
        }
        let by_pulses = [("--pulses", *pulses), ("--fast", knowing.fast.is_some())];
        let by_pulses = by_pulses.into_iter().find_map(|(name, given)| given.then_some(name));
        if let (Some(option), None) = (by_pulses, target.cell.pulses) {
            return Err(CliError::NoPulses { target: target.name.clone(), option });
        }
        let made: Vec<_> =
            pulses.then_some("--pulses").into_iter().chain(knowing.given()).collect();
        if prepared.programmed.is_some() && !made.is_empty() {
            return Err(CliError::Programmed { file: prepared.file.clone(), options: made });
        }
        let only = match reading.only[..] {
            [] => Effects::ALL,
            _ => Effects::only(reading.only.iter().map(|name| name.0)),
        };
        let effects = compilation.effects_left_out().fold(only, Effects::without);
        let map = fault_map(knowing.fault_map.as_ref(), prepared)?;
        let (by_pulses, at_s) = (by_pulses.is_some(), reading.at);
        let n_reads = reading.reads.unwrap_or(0);
        Ok(Self { prepared, compilation, knowing, by_pulses, map, effects, at_s, n_reads })
    }

    /// A chip with the seed that is given; of one that is programmed already,
    /// a reading with this seed.
    pub fn chip(&self, seed: u64) -> Result<Chip, CliError> {
        let Prepared { plan, target, programmed, .. } = self.prepared;
        let as_is = self.effects == Effects::ALL && self.at_s.is_none() && self.n_reads == 0;
        let plain = self.map.is_none() && !self.knowing.looks_at_inputs() && !self.by_pulses;
        if programmed.is_none() && as_is && plain {
            return Ok(chip::program(plan, target, seed));
        }
        match programmed {
            Some(programmed) => Ok(self.read((programmed, None), self.effects, seed)),
            None => {
                let Written { programmed, adapted } = self.program(seed)?;
                Ok(self.read((&programmed, adapted.as_ref()), self.effects, seed))
            }
        }
    }

    /// The plan programmed into a chip with this seed.
    pub fn program(&self, seed: u64) -> Result<Written, CliError> {
        let (by_pulses, fault_map) = (self.by_pulses, self.map.as_ref());
        let options = ProgramOptions { seed, by_pulses, fault_map };
        self.knowing.write(self.prepared, self.compilation, &options, None)
    }

    /// A programmed chip with some of its effects; with what was written in
    /// place of the plan's targets, if anything was.
    pub fn read(
        &self,
        (programmed, adapted): (&Programmed, Option<&Adapted>),
        effects: Effects,
        seed: u64,
    ) -> Chip {
        let Prepared { plan, target, .. } = self.prepared;
        let conditions = Conditions { effects, at_s: self.at_s, n_reads: self.n_reads, seed };
        let targets = adapted.map_or(&plan.targets, |adapted| &adapted.targets);
        programmed.chip_with((plan, targets), target, &conditions)
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
            Effect::ReadDisturb => {
                self.n_reads > 0 && cell.read_disturb.is_some_and(|disturb| !disturb.is_none())
            }
            Effect::ReadNoise => cell.read_noise_fraction > 0.0,
            Effect::Faults => has_faults(),
            Effect::Nonlinearity => cell.nonlinearity.is_some(),
            Effect::Wires => !self.prepared.target.wires.are_ideal(),
            Effect::Converters => !self.prepared.target.readout.adc_errors.are_none(),
            Effect::Accumulation => !self.prepared.target.readout.accumulation.is_exact(),
        };
        Effect::ALL.into_iter().filter(|&e| self.effects.has(e)).filter(has).collect()
    }
}

/// A number of readings.
fn parse_reads(text: &str) -> Result<u64, String> {
    /// More than any chip is read, and exact as a number.
    const READS_MAX: f64 = 1e15;
    let number = text.trim().parse().ok().filter(|n: &f64| n.fract() == 0.0);
    match number {
        Some(n) if (0.0..=READS_MAX).contains(&n) => Ok(n as u64),
        _ => Err("give a whole number up to 1e15, as in `1000000` or `1e6`".to_string()),
    }
}

/// A conductance, in uS.
fn parse_us(text: &str) -> Result<f64, String> {
    let us = text.trim().parse().ok().filter(|us: &f64| us.is_finite() && *us >= 0.0);
    us.ok_or_else(|| "give microsiemens, 0 or more".to_string())
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
