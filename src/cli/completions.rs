//! `ohmc completions`: what a shell needs to complete our commands.

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::error::CliError;
use super::{Cli, output};

/// Print completions for a shell
///
/// The script goes where the shell looks for completions, or is sourced from
/// its start-up file.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Completions {
    /// Shell to print for.
    #[arg(value_name = "SHELL")]
    shell: Shell,
}

const EXAMPLES: &str = "\
Examples:
  ohmc completions bash > ~/.local/share/bash-completion/completions/ohmc
  ohmc completions zsh > ~/.zfunc/_ohmc
  ohmc completions fish > ~/.config/fish/completions/ohmc.fish";

impl Completions {
    /// Runs the command.
    pub fn execute(&self) -> Result<(), CliError> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "ohmc", &mut script);
        output::print(&String::from_utf8_lossy(&script))
    }
}
