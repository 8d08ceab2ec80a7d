//! Samples to learn from: chosen of a data set by a seed, and read into memory.

use std::path::{Path, PathBuf};

use ohmc::data::{DataError, DataOptions, DataSet, Part, Preprocess};
use ohmc::diagnostic::Diagnostic;
use ohmc::tuning::{Gathering, Samples, choose};

use super::error::CliError;
use super::items::Items;
use super::options::Amount;
use super::progress::Progress;
use super::{files, render};

/// Inputs read at a time.
const AT_ONCE: usize = 256;

/// What is taken, and of what.
pub struct Taking<'a> {
    /// What the model takes.
    pub items: &'a Items,
    /// What is done to numbers.
    pub preprocess: &'a Preprocess,
    /// The data.
    pub path: &'a Path,
    /// Labels in place of those in the data.
    pub labels: Option<&'a PathBuf>,
    /// How many; all if it is not said.
    pub amount: Option<Amount>,
    /// Which ones.
    pub seed: u64,
}

impl Taking<'_> {
    /// Reads them, with labels or without; of a folder the training part, with
    /// a warning where there is none.
    pub fn read(&self, labelled: bool) -> Result<Samples, CliError> {
        let name = files::name(self.path);
        let mut data = self.open()?;
        if labelled && !data.has_labels() {
            return Err(CliError::NoLabels { file: name });
        }
        if data.part() == Some(Part::Evaluation) {
            let warning = Diagnostic::warning(format!("`{name}` has no training part"))
                .at(&name, "")
                .note("its test part is tuned on: do not evaluate on it")
                .help("give training data to `--data`");
            render::show_all(&[warning]);
        }
        let progress = Progress::start("reading the data", data.len());
        let chosen = match self.amount {
            None => None,
            Some(amount) => {
                let n = data.len().map_or_else(|| self.count(), Ok)?;
                Some(choose(n, amount.of(n), self.seed))
            }
        };
        let mut gathering = Gathering::new(chosen);
        while let Some(batch) = data.next_batch(AT_ONCE)? {
            let labels = batch.labels.unwrap_or_default();
            gathering.add(batch.n, &batch.inputs, if labelled { &labels } else { &[] });
            progress.advance(batch.n as u64);
        }
        gathering.finish().ok_or(CliError::NoSamples { file: name })
    }

    fn open(&self) -> Result<DataSet<'static>, DataError> {
        let options = DataOptions {
            part: Part::Calibration,
            labels: self.labels.cloned(),
            preprocess: self.preprocess.clone(),
            ..DataOptions::default()
        };
        self.items.open(self.path, &options)
    }

    /// How many inputs there are, where a format tells only at its end.
    fn count(&self) -> Result<u64, CliError> {
        let (mut data, mut n) = (self.open()?, 0);
        while let Some(batch) = data.next_batch(AT_ONCE)? {
            n += batch.n as u64;
        }
        Ok(n)
    }
}
