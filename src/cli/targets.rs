//! `ohmc targets`: what can be compiled for.

use clap::Args;
use ohmc::target::{Override, Target, builtin_names, json_schema};
use serde_json::json;

use super::error::CliError;
use super::options::{Format, parse_override};
use super::{output, request};

/// List targets, or print one
///
/// A target describes a chip: its cells, its arrays, how they are read. It is a
/// YAML file; some come with ohmc and go by name. To describe a chip of your
/// own, print one of them, change it, and give the file to `--target`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Targets {
    /// Target to print: a name, or a YAML file to check; without it all names
    /// are listed.
    #[arg(value_name = "NAME|FILE")]
    name: Option<String>,

    /// Change a key before printing, as in `readout.adc_bits=6`; repeatable.
    #[arg(long = "set", value_name = "PATH=VALUE", value_parser = parse_override, requires = "name")]
    overrides: Vec<Override>,

    /// Print the JSON Schema of target files, for editors to complete them.
    #[arg(long, conflicts_with_all = ["name", "format"])]
    schema: bool,

    /// How the list is printed.
    #[arg(long, value_name = "FORMAT", default_value = "text", conflicts_with = "name")]
    format: Format,
}

const EXAMPLES: &str = "\
Examples:
  ohmc targets
  ohmc targets yao2020-chip > my-chip.yaml
  ohmc targets yao2020-chip --set readout.adc_bits=6 --set chip.pes=16
  ohmc targets --schema > ohmc-target.schema.json";

impl Targets {
    /// Runs the command.
    pub fn execute(&self) -> Result<(), CliError> {
        if self.schema {
            return output::print(&json_schema());
        }
        match &self.name {
            Some(name) => self.print_one(name),
            None => self.list(),
        }
    }

    /// As it was written, comments included; changed by `--set`, as it then is.
    fn print_one(&self, name: &str) -> Result<(), CliError> {
        let text = request::target_text(name)?;
        let target = Target::from_yaml(&text, name, &self.overrides)?;
        output::print(&if self.overrides.is_empty() { text } else { target.to_yaml() })
    }

    fn list(&self) -> Result<(), CliError> {
        let targets = builtin_names()
            .map(|name| Ok((name, Target::from_yaml(&request::target_text(name)?, name, &[])?)))
            .collect::<Result<Vec<_>, CliError>>()?;
        match self.format {
            Format::Text => {
                let width = targets.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
                let line = |(name, target): &(&str, Target)| {
                    let description = target.description().unwrap_or_default();
                    format!("{name:width$}  {description}").trim_end().to_string() + "\n"
                };
                output::print(&targets.iter().map(line).collect::<String>())
            }
            Format::Json => output::print_json(
                &targets
                    .iter()
                    .map(|(name, target)| {
                        json!({ "name": name, "description": target.description() })
                    })
                    .collect(),
            ),
        }
    }
}
