//! Targets as users write them: what is read, what is said about mistakes.

mod faults;
mod files;
mod hostile;

use super::*;
use crate::diagnostic::Explain;

/// A complete target without comments; the tests change lines of it.
const PLAIN: &str = "\
name: plain
cell:
  kind: linear
  levels: 8
  conductance_min_us: 2
  conductance_max_us: 20
  read_voltage_v: 0.2
pe:
  inputs: 16
  outputs: 128
  pair: neighbouring-outputs
readout:
  input_bits: 8
  cycle_ns: 50
  adc_bits: 8
  adc_range: full-scale
  adcs_per_pe: 8
  conversions_per_cycle: 1
  subtract: after-conversion
chip:
  pes: 8
";

/// `PLAIN` with each pair's first text replaced by the second.
fn plain_with(changes: &[(&str, &str)]) -> String {
    changes.iter().fold(PLAIN.to_owned(), |text, (from, to)| {
        assert!(text.contains(from), "`{from}` is in the plain target");
        text.replacen(from, to, 1)
    })
}

fn sets(given: &[&str]) -> Vec<Override> {
    given.iter().map(|given| Override::parse(given).unwrap()).collect()
}

fn load(text: &str, given: &[&str]) -> Result<Target, TargetError> {
    Target::from_yaml(text, "prototype.yaml", &sets(given))
}

/// What a user reads about `text`; empty if nothing is wrong.
fn said(text: &str, given: &[&str]) -> String {
    match load(text, given) {
        Ok(_) => String::new(),
        Err(error) => {
            let lines: Vec<String> = error.diagnostics().iter().map(ToString::to_string).collect();
            lines.join("\n")
        }
    }
}
