//! `ohmc program`: a plan is written into the cells of a chip.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use ohmc::adapt::{Adapted, Changes};
use ohmc::chip::{Conditions, ProgramOptions, Programmed};
use ohmc::format::ChipFile;
use ohmc::report;
use ohmc::target::Override;
use serde_json::Value;

use super::chips::Knowing;
use super::error::CliError;
use super::options::{Compilation, Format, Preprocessing, Seed, Threads};
use super::output::{self, Output};
use super::plain::Plain;
use super::prepare::Prepared;
use super::progress::Progress;
use super::request::Request;
use super::{chips, earlier, files};

/// Program a plan into a chip
///
/// Every cell is formed, then written pulse by pulse with a reading after
/// each, until it is within the tolerance of its target or given up. `-o`
/// keeps the chip with its plan in one file, which `ohmc report`, `ohmc run`
/// and `ohmc eval` take in place of the plan. A chip depends on plan, target
/// and seed alone. Where a target does not say what pulses do, cells hold what
/// write-verify leaves on average. `--fast` takes far fewer pulses for the same
/// accuracy, and `--from` those alone that an earlier chip needs to change.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Program {
    /// A plan that `ohmc compile` wrote, or an ONNX model.
    #[arg(value_name = "PLAN|MODEL")]
    subject: PathBuf,

    /// Write the chip to this file.
    #[arg(short, long, value_name = "FILE")]
    out: Option<PathBuf>,

    /// Accept a cell within this distance of its target, in microsiemens
    /// [default: the target's].
    #[arg(long, value_name = "US")]
    tolerance: Option<f64>,

    /// Give a cell up after so many pulses [default: the target's].
    #[arg(long, value_name = "N")]
    give_up: Option<u32>,

    /// Rounds in which cells that relaxation has moved are written again
    /// [default: the target's].
    #[arg(long, value_name = "N")]
    rounds: Option<u32>,

    /// Write over this chip, from what its cells hold now: the chip of an
    /// earlier plan on the same PEs and cells. Its seed counts, and its faults
    /// are there.
    #[arg(long, value_name = "CHIP", conflicts_with_all = ["seed", "fault_map", "adapt"])]
    from: Option<PathBuf>,

    /// How pulses follow each other [default: the target's].
    #[arg(long, value_name = "RECIPE")]
    recipe: Option<Recipe>,

    /// How the summary is printed.
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    format: Format,

    #[command(flatten)]
    knowing: Knowing,

    #[command(flatten)]
    seed: Seed,

    #[command(flatten)]
    preprocessing: Preprocessing,

    #[command(flatten)]
    compilation: Compilation,

    #[command(flatten)]
    threads: Threads,
}

const EXAMPLES: &str = "\
Examples:
  ohmc program mcnn.plan -o mcnn.chip
  ohmc program mcnn.plan --seed 7 --rounds 3 -o mcnn.chip
  ohmc program mcnn.plan --recipe gate-ramped --tolerance 0.72 --give-up 30 -o ramped.chip
  ohmc program mcnn.plan --fast --calibrate models/digits -o mcnn.chip
  ohmc program retrained.plan --fast --from mcnn.chip -o retrained.chip
  ohmc program models/mcnn.onnx --target yao2020-chip --calibrate models/digits --adapt=8 \\
    -o mcnn.chip";

/// `--recipe`.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Recipe {
    /// All pulses alike.
    Identical,
    /// The gate voltage rises from pulse to pulse.
    GateRamped,
}

impl Program {
    /// Runs the command.
    pub fn execute(&self) -> Result<(), CliError> {
        self.threads.set()?;
        files::keep_apart(&[("-o", self.out.as_deref())], &[("--from", self.from.as_deref())])?;
        let output = self.out.as_deref().map(Output::create).transpose()?;
        let mut prepared = Request {
            file: &self.subject,
            compilation: &self.compilation,
            preprocessing: &self.preprocessing,
            data: None,
            measures: false,
            adapts: self.knowing.looks_at_inputs(),
            fresh: None,
            out: self.out.as_deref(),
        }
        .prepare()?;
        self.compilation.without_effects()?;
        if prepared.programmed.is_some() {
            return Err(CliError::IsChip { file: prepared.file });
        }
        if self.knowing.fast.is_some() && prepared.target.cell.pulses.is_none() {
            let target = prepared.target.name.clone();
            return Err(CliError::NoPulses { target, option: "--fast" });
        }
        self.change_target(&mut prepared)?;
        let map = chips::fault_map(self.knowing.fault_map.as_ref(), &prepared)?;
        let from = self.from.as_deref().map(|path| earlier::read(path, &prepared)).transpose()?;
        let seed = from.as_ref().map_or(self.seed.seed, |from| from.seed);
        let options = ProgramOptions { seed, by_pulses: true, fault_map: map.as_ref() };
        let progress = Progress::start("programming", None);
        let written = self.knowing.write(&prepared, &self.compilation, &options, from.as_ref())?;
        let plain = match self.knowing.fast.is_some() || from.is_some() {
            true => Some(Plain::new(&prepared, &options)?),
            false => None,
        };
        drop(progress);
        let chips::Written { programmed, adapted } = written;
        let mut changes = None;
        if let Some(Adapted { targets, changes: made }) = adapted {
            prepared.plan.targets = targets;
            changes = Some(made);
        }
        let summary = self.summary(&prepared, &programmed, (changes.as_ref(), plain.as_ref()));
        match output {
            Some(output) => keep(prepared, programmed, output)?,
            None => output::remark("nothing was written: `-o FILE` keeps the chip"),
        }
        output::print(&summary)
    }

    /// Puts what the options say in the place of what the target says.
    fn change_target(&self, prepared: &mut Prepared) -> Result<(), CliError> {
        let recipe = self.recipe.map(|recipe| match recipe {
            Recipe::Identical => "identical".to_string(),
            Recipe::GateRamped => "gate-ramped".to_string(),
        });
        let pulses = [
            ("--give-up", "give_up_pulses", self.give_up.map(|n| n.to_string())),
            ("--rounds", "rounds", self.rounds.map(|n| n.to_string())),
            ("--recipe", "recipe", recipe),
        ];
        let mut changes = Vec::new();
        for (option, key, value) in pulses {
            let Some(value) = value else { continue };
            if prepared.target.cell.pulses.is_none() {
                let target = prepared.target.name.clone();
                return Err(CliError::NoPulses { target, option });
            }
            changes.push(Override { path: format!("cell.pulses.{key}"), value });
        }
        if let Some(us) = self.tolerance {
            let path = "cell.verify_tolerance_us".to_string();
            changes.push(Override { path, value: us.to_string() });
        }
        if !changes.is_empty() {
            prepared.target = prepared.target.with(&changes)?;
        }
        Ok(())
    }

    fn summary(
        &self,
        prepared: &Prepared,
        programmed: &Programmed,
        (changes, plain): (Option<&Changes>, Option<&Plain>),
    ) -> String {
        let (plan, target) = (&prepared.plan, &prepared.target);
        let chip = programmed.chip(plan, target, &Conditions::at_once(programmed.seed));
        let programming = report::Programming::new(plan, target, programmed, &chip);
        match self.format {
            Format::Text => {
                let about = match (changes, plain) {
                    (changes, Some(plain)) => plain.text(&programming.work, changes),
                    (Some(changes), None) => {
                        format!("adapted         {}\n", chips::changes_text(changes))
                    }
                    (None, None) => String::new(),
                };
                let text = programming.to_text();
                format!("{} on {}\n{about}\n{text}", prepared.file, target.name)
            }
            Format::Json => {
                let mut json = programming.to_json();
                if let Some(plain) = plain {
                    json["plain_write_verify"] = plain.json();
                }
                if let Some(changes) = changes {
                    json["adapted"] = chips::changes_json(changes);
                }
                json["target"] = Value::from(target.name.as_str());
                json["chip"] = self.out.as_deref().map(files::name).into();
                format!("{json:#}\n")
            }
        }
    }
}

fn keep(prepared: Prepared, programmed: Programmed, output: Output) -> Result<(), CliError> {
    let _progress = Progress::start("writing the chip", None);
    let plan = prepared.into_plan_file();
    let chip = ChipFile { plan, programmed };
    output.finish_by(|file| chip.write_into(file))
}
