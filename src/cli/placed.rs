//! From MODEL to where its weights will sit, without looking at them: no
//! calibration, no integers, no plan.

use ohmc::compiler;
use ohmc::frontend::{Decoded, Model};
use ohmc::mapping::Mapping;
use ohmc::optimize::Filled;
use ohmc::target::Target;

use super::error::CliError;
use super::files;
use super::progress::Progress;
use super::ready;
use super::request::{self, Request};
use super::source;

/// A model that was mapped.
#[derive(Debug)]
pub struct Placed {
    /// MODEL, as the user gave it.
    pub file: String,
    /// The model.
    pub model: Model,
    /// The chip.
    pub target: Target,
    /// Where each weight will sit.
    pub mapping: Mapping,
    /// How replicas were chosen, if they were.
    pub filled: Option<Filled>,
}

impl Request<'_> {
    /// Maps a model; a plan is refused, as it is mapped already.
    pub fn placed(self) -> Result<Placed, CliError> {
        self.check_files("MODEL")?;
        let file = files::name(self.file);
        if request::is_archive(self.file)? {
            return Err(CliError::IsPlan { file });
        }
        let options = self.compilation.of_numbers();
        if !options.is_empty() {
            return Err(CliError::NotQuick { options });
        }
        let target = request::target(self.target_name()?, self.compilation)?;
        let mapping = self.mapping_options()?;
        let reading = Progress::start("reading the model", None);
        let decoded = Decoded::new(&source::read(self.file)?, &file)?;
        let model = decoded.model(&self.compilation.frontend())?;
        ready::warn_of_no_arrays(&model, &file);
        drop(reading);
        let _mapping = Progress::start("mapping", None);
        let options = ready::compile_options(self.compilation, mapping, None);
        let placed = compiler::place(&model, &target, &options);
        let (mapping, filled) =
            placed.map_err(|error| ready::not_compiled(error, &file, self.compilation))?;
        Ok(Placed { file, model, target, mapping, filled })
    }
}
