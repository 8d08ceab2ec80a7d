//! Plain write-verify, which all faster ways are held against: identical
//! pulses, every cell to its own target, within the same tolerance, on a chip
//! fresh from the fab.

use ohmc::adapt::Changes;
use ohmc::chip::{self, ProgramOptions, Work};
use ohmc::target::Override;
use serde_json::{Value, json};

use super::error::CliError;
use super::prepare::Prepared;

/// What it takes to write a plan plainly.
pub struct Plain {
    work: Work,
}

impl Plain {
    /// Writes the plan so, on the same chip, to see what it takes.
    pub fn new(prepared: &Prepared, options: &ProgramOptions<'_>) -> Result<Self, CliError> {
        let recipe =
            Override { path: "cell.pulses.recipe".to_string(), value: "identical".to_string() };
        let target = prepared.target.with(&[recipe])?;
        let programmed = chip::write(&prepared.plan, &target, options)?;
        Ok(Self { work: programmed.work(&prepared.plan) })
    }

    /// What something else takes of that, and what error it leaves, for people.
    pub fn text(&self, work: &Work, changes: Option<&Changes>) -> String {
        let percent = |part: f64, whole: f64| 100.0 * part / whole.max(f64::MIN_POSITIVE);
        let error = changes.map_or(String::new(), |changes| {
            let share = changes.error_after / changes.error_before.max(f64::MIN_POSITIVE);
            format!("; sums off by {:.0} %", 100.0 * share.sqrt())
        });
        format!(
            "against plain   {:.1} % of the pulses (forming aside), {:.1} % of the readings, \
             {:.0} % of the energy, {:.0} % of the time{error}\n",
            percent(n_pulses(work) as f64, n_pulses(&self.work) as f64),
            percent(work.verify_reads as f64, self.work.verify_reads as f64),
            percent(work.energy_pj, self.work.energy_pj),
            percent(work.busy_ns, self.work.busy_ns),
        )
    }

    /// What it takes, for scripts.
    pub fn json(&self) -> Value {
        json!({
            "pulses": n_pulses(&self.work),
            "forming_pulses": self.work.forming_pulses,
            "verify_reads": self.work.verify_reads,
            "energy_pj": self.work.energy_pj,
            "time_ns": self.work.busy_ns,
        })
    }
}

/// Pulses of SET and RESET: forming is the same either way.
fn n_pulses(work: &Work) -> u64 {
    work.set_pulses + work.reset_pulses
}
