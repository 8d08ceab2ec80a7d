//! What a model is calibrated on: stored statistics, data, or, for want of
//! both, inputs that are made up. Never on what is evaluated.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use ohmc::compiler::Calibrator;
use ohmc::data::{self, InputSpec};
use ohmc::data::{
    DataError, DataOptions, DataSet, Files, MemoryFiles, Part, Preprocess, write_npy,
};
use ohmc::diagnostic::Diagnostic;
use ohmc::format::{self, MANIFEST};
use ohmc::frontend::Model;
use ohmc::quantize::Calibration;
use ohmc::tensor::{ElementType, Tensor, Values};
use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};
use rand_distr::StandardNormal;

use super::error::CliError;
use super::files;
use super::items::Items;
use super::options::Compilation;
use super::progress::Progress;
use super::render;

/// Inputs made up at most: ranges of noise settle soon.
const SYNTHETIC_INPUTS: u64 = 32;

/// Values made up at most, so that large inputs do not fill the memory.
const SYNTHETIC_VALUES: usize = 1 << 24;

/// Multiply-accumulates that inputs made up may cost, so that large models are
/// not run for minutes on what says little about them.
const SYNTHETIC_MACS: u64 = 1 << 35;

/// Inputs made up whatever they cost, as far as they fit.
const SYNTHETIC_LEAST: u64 = 4;

/// The seed of inputs that are made up: a plan depends on no `--seed`.
const SYNTHETIC_SEED: u64 = 0;

/// What is known when a model is calibrated.
pub struct Calibrating<'a> {
    /// The model.
    pub model: &'a Model,
    /// What it takes.
    pub items: &'a Items,
    /// What is done to numbers.
    pub preprocess: &'a Preprocess,
    /// What the user chose.
    pub compilation: &'a Compilation,
    /// The data that the command is about, if there is any.
    pub data: Option<&'a Path>,
    /// Whether that data is to measure by.
    pub measures: bool,
}

impl Calibrating<'_> {
    /// Finds the calibration.
    pub fn calibration(&self) -> Result<Calibration, CliError> {
        // Without arrays there are no codes whose range could be chosen.
        if self.model.graph.crossbar_layers().next().is_none() {
            return Ok(Calibration { source: "none needed".to_string(), ..Calibration::default() });
        }
        match (&self.compilation.calibrate, self.data) {
            (Some(path), _) if is_stored(path) => {
                let bytes = files::read(path, "the calibration")?;
                Ok(format::read_calibration(&bytes, &files::name(path))?)
            }
            (Some(path), _) => self.on_chosen(path),
            (None, Some(path)) if path.is_dir() => {
                let data = self.open(path)?;
                match data.has_own_part() {
                    true => self.on_data(data, format!("training part of {}", files::name(path))),
                    false => self.on_synthetic(),
                }
            }
            (None, _) => self.on_synthetic(),
        }
    }

    fn open(&self, path: &Path) -> Result<DataSet<'static>, DataError> {
        let options = DataOptions {
            part: Part::Calibration,
            limit: Some(self.compilation.calibration_limit()),
            preprocess: self.preprocess.clone(),
            ..DataOptions::default()
        };
        self.items.open(path, &options)
    }

    /// On data that the user named.
    fn on_chosen(&self, path: &Path) -> Result<Calibration, CliError> {
        let data = self.open(path)?;
        let name = files::name(path);
        if data.has_own_part() {
            return self.on_data(data, format!("training part of {name}"));
        }
        let is_same = |data| files::are_same(data, path);
        if self.measures && self.data.is_some_and(is_same) {
            return Err(CliError::CalibratesOnEvaluated { file: name });
        }
        if data.part() == Some(Part::Evaluation) {
            render::show_all(&[Diagnostic::warning(format!("`{name}` has no training part"))
                .at(&name, "")
                .note("its test part is calibrated on: do not evaluate on it")
                .help("give training data to `--calibrate`")]);
        }
        self.on_data(data, name)
    }

    fn on_data(&self, mut data: DataSet<'_>, source: String) -> Result<Calibration, CliError> {
        let limit = self.compilation.calibration_limit();
        let n_expected = data.len().unwrap_or(limit);
        let mut calibrator = Calibrator::new(self.model, source, n_expected)?;
        if self.keeps_inputs() {
            calibrator = calibrator.keeping_inputs();
        }
        let progress = Progress::start("calibrating", Some(n_expected));
        while let Some(batch) = self.items.next(&mut data)? {
            calibrator.add(&batch.inputs.tensors, batch.n as u64)?;
            progress.advance(batch.n as u64);
        }
        Ok(calibrator.finish())
    }

    /// Whether the inputs are run again, now or with what is stored.
    fn keeps_inputs(&self) -> bool {
        self.compilation.reruns_inputs() || self.compilation.save_calibration.is_some()
    }

    /// On inputs that are made up, with a warning.
    fn on_synthetic(&self) -> Result<Calibration, CliError> {
        let specs = &self.items.specs;
        let largest = specs.iter().map(n_values).max().unwrap_or(1).max(1);
        let crossbars = self.model.graph.crossbar_layers();
        let macs: u64 = crossbars.map(|(_, _, crossbar)| crossbar.nest.macs_per_input()).sum();
        let worth = (SYNTHETIC_MACS / macs.max(1)).clamp(SYNTHETIC_LEAST, SYNTHETIC_INPUTS);
        let n_inputs = self.compilation.calibration_limit().min(worth);
        let n_inputs = (SYNTHETIC_VALUES / largest).clamp(1, n_inputs as usize);
        let made: Vec<Made> =
            specs.iter().zip(0..).map(|(spec, index)| self.made(spec, index, n_inputs)).collect();
        let kinds: Vec<String> = made.iter().map(|made| made.kind.clone()).collect();
        let mut warning =
            Diagnostic::warning("calibrated on synthetic inputs, so accuracy may suffer");
        if let Some(data) = self.data {
            let data = files::name(data);
            warning = warning.note(format!("`{data}` has no training part to calibrate on"));
        }
        for kind in &kinds {
            warning = warning.note(format!("{n_inputs} x {kind}"));
        }
        render::show_all(&[warning.help(
            "give inputs like those to come with `--calibrate DATA`; a data folder with a \
             training part is calibrated on that",
        )]);
        let source = format!("synthetic ({})", kinds.join("; "));
        let mut calibrator = Calibrator::new(self.model, source, n_inputs as u64)?;
        if self.keeps_inputs() {
            calibrator = calibrator.keeping_inputs();
        }
        let mut data = made.iter().map(Made::open).collect::<Result<Vec<_>, _>>()?;
        let progress = Progress::start("calibrating", Some(n_inputs as u64));
        loop {
            let mut tensors = Vec::with_capacity(data.len());
            let mut n = 0;
            for input in &mut data {
                let Some(mut batch) = input.next_batch(self.items.n_batch())? else { break };
                n = batch.n;
                tensors.append(&mut batch.inputs);
            }
            if n == 0 {
                return Ok(calibrator.finish());
            }
            calibrator.add(&self.items.shaped(tensors), n as u64).map_err(CliError::Synthetic)?;
            progress.advance(n as u64);
        }
    }

    /// Makes up one input of the model.
    fn made(&self, spec: &InputSpec, index: u64, n_inputs: usize) -> Made {
        let mut random = ChaCha8Rng::seed_from_u64(SYNTHETIC_SEED);
        random.set_stream(index);
        let n_values = n_inputs.saturating_mul(n_values(spec));
        let is_float = matches!(spec.element_type, ElementType::F32 | ElementType::F64);
        let is_image = self.preprocess.is_explicit() || looks_like_image(&spec.shape);
        let mut bytes = |top: u8| (0..n_values).map(|_| random.random_range(0..=top)).collect();
        let (values, kind) = if is_float && is_image {
            (Values::U8(bytes(u8::MAX)), "uniform bytes, preprocessed")
        } else if is_float {
            let normal = (0..n_values).map(|_| random.sample::<f32, _>(StandardNormal)).collect();
            (Values::F32(normal), "standard normal numbers")
        } else if spec.element_type == ElementType::U8 {
            (Values::U8(bytes(u8::MAX)), "uniform bytes")
        } else {
            // Zero and one are valid as tokens, as lengths and as masks.
            let bits = bytes(1);
            let values = match spec.element_type {
                ElementType::Bool => Values::Bool(bits.into_iter().map(|bit| bit == 1).collect()),
                _ => Values::U8(bits),
            };
            (values, "zeros and ones")
        };
        let preprocess = if is_float && matches!(values, Values::U8(_)) {
            self.preprocess.clone()
        } else {
            Preprocess::default()
        };
        let mut shape = vec![n_inputs];
        shape.extend(&spec.shape);
        let mut npy = Vec::new();
        // Writing to memory cannot fail; what is missing is found on reading.
        if let Some(tensor) = Tensor::new(shape, values) {
            let _ = write_npy(&mut npy, &tensor);
        }
        let kind = format!("`{}` {:?}: {kind}", spec.name, spec.shape);
        Made {
            files: MemoryFiles::new().with(SYNTHETIC, npy),
            spec: spec.clone(),
            preprocess,
            kind,
        }
    }
}

/// What errors would call inputs that are made up.
const SYNTHETIC: &str = "synthetic inputs";

/// One input of the model, made up: a file in memory, read as any other.
struct Made {
    files: MemoryFiles,
    spec: InputSpec,
    preprocess: Preprocess,
    /// What it is, for people.
    kind: String,
}

impl Made {
    fn open(&self) -> Result<DataSet<'_>, DataError> {
        let options = DataOptions { preprocess: self.preprocess.clone(), ..DataOptions::default() };
        let files: &dyn Files = &self.files;
        data::open(files, Path::new(SYNTHETIC), &options, std::slice::from_ref(&self.spec))
    }
}

fn n_values(spec: &InputSpec) -> usize {
    spec.shape.iter().fold(1usize, |n, &extent| n.saturating_mul(extent))
}

/// Whether a shape is one of pictures: one or three channels, first or last,
/// and more than a few pixels each way.
fn looks_like_image(shape: &[usize]) -> bool {
    let is_picture = |channels: usize, height: usize, width: usize| {
        (channels == 1 || channels == 3) && height >= 8 && width >= 8
    };
    match *shape {
        [a, b, c] | [1, a, b, c] => is_picture(a, b, c) || is_picture(c, a, b),
        _ => false,
    }
}

/// Whether a file is one of ours, told by its first bytes: a zip whose first
/// entry is our manifest.
fn is_stored(path: &Path) -> bool {
    let mut head = Vec::new();
    let read = File::open(path).and_then(|file| file.take(64).read_to_end(&mut head));
    read.is_ok()
        && head.starts_with(b"PK\x03\x04")
        && head.get(30..).is_some_and(|name| name.starts_with(MANIFEST.as_bytes()))
}

#[cfg(test)]
mod tests {
    //! Which inputs are taken for pictures.

    use super::*;

    #[test]
    fn pictures_have_channels_and_pixels() {
        for shape in [vec![1, 28, 28], vec![3, 32, 32], vec![224, 224, 3], vec![1, 3, 64, 64]] {
            assert!(looks_like_image(&shape), "{shape:?}");
        }
        for shape in
            [vec![48], vec![1, 257, 1, 2], vec![43844, 1], vec![3, 4, 64], vec![64, 32, 32]]
        {
            assert!(!looks_like_image(&shape), "{shape:?}");
        }
    }
}
