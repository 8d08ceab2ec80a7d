//! From MODEL and options to what can be compiled, for one target or for many.

use ohmc::compiler::{self, CompileError, CompileOptions, Compiled};
use ohmc::data::{DataError, DataOptions, Preprocess, PreprocessError};
use ohmc::diagnostic::Diagnostic;
use ohmc::fit::{self, FitError};
use ohmc::frontend::{self, Decoded, FrontendOptions, Model};
use ohmc::mapping::{Floorplan, MappingOptions};
use ohmc::quantize::Calibration;
use ohmc::target::Target;
use ohmc::tensor::ElementType;

use super::calibrate::Calibrating;
use super::error::CliError;
use super::files;
use super::items::Items;
use super::options::Compilation;
use super::output::counted;
use super::progress::Progress;
use super::render;
use super::request::Request;
use super::source::ModelSource;

/// A model that was read and calibrated.
#[derive(Debug)]
pub struct Ready {
    /// MODEL, as the user gave it.
    pub file: String,
    /// Its files.
    pub source: ModelSource,
    /// What was fixed about it.
    pub options: FrontendOptions,
    /// The model.
    pub model: Model,
    /// What it takes.
    pub items: Items,
    /// What is done to numbers before.
    pub preprocess: Preprocess,
    /// What was seen of its activations.
    pub calibration: Calibration,
    /// Where its weights are to go.
    pub mapping: MappingOptions,
    /// How far all ranges reach beyond what is known.
    pub room: Option<f32>,
}

impl Request<'_> {
    /// Reads and calibrates a model, for as many targets as are wanted.
    pub fn ready(self) -> Result<Ready, CliError> {
        let file = files::name(self.file);
        let mapping = self.mapping_options()?;
        let preprocess = self.preprocessing.chosen();
        preprocess.check().map_err(DataError::from)?;
        let options = self.compilation.frontend();
        let reading = Progress::start("reading the model", None);
        let (mut model_files, mut source) = ModelSource::read_first(self.file)?;
        if let Some(seed) = self.fresh.and_then(|fresh| fresh.random) {
            model_files = frontend::redraw(&model_files, seed, &file)?.files;
            source = ModelSource::Held(model_files.clone());
        }
        let decoded = Decoded::new(&model_files, &file)?;
        drop(model_files);
        let model = decoded.model(&options)?;
        drop(reading);
        check_use(&preprocess, &model)?;
        warn_of_no_arrays(&model, &file);
        let items = Items::new(&model);
        if let Some(data) = self.data {
            // Data that does not fit is found before the work.
            let preprocess = preprocess.clone();
            items.open(data, &DataOptions { preprocess, ..DataOptions::default() })?;
        }
        let calibration = Calibrating {
            model: &model,
            items: &items,
            preprocess: &preprocess,
            compilation: self.compilation,
            data: self.data,
            measures: self.measures,
        }
        .calibration()?;
        let room = self.fresh.map(|fresh| fresh.room);
        Ok(Ready { file, source, options, model, items, preprocess, calibration, mapping, room })
    }

    pub(super) fn mapping_options(self) -> Result<MappingOptions, CliError> {
        let floorplan = match &self.compilation.floorplan {
            None => Floorplan::default(),
            Some(path) => {
                let text = files::read_text(path, "the floorplan")?;
                Floorplan::from_yaml(&text)
                    .map_err(|reason| CliError::Floorplan { file: files::name(path), reason })?
            }
        };
        let replicas = self.compilation.replicas.iter().cloned().collect();
        let n_passes = self.compilation.passes.unwrap_or(1);
        Ok(MappingOptions { replicas, floorplan, n_passes, ..Default::default() })
    }
}

impl Ready {
    /// Compiles for one target, with what `--fit` chose if it is asked for;
    /// errors call the target as the options do.
    pub fn compile(
        &self,
        target: &Target,
        compilation: &Compilation,
    ) -> Result<(Compiled, Option<fit::Summary>), CliError> {
        let options = compile_options(compilation, self.mapping.clone(), self.room);
        let Self { model, calibration, .. } = self;
        let wrong = |error| not_compiled(error, &self.file, compilation);
        let Some(goal) = compilation.fit else {
            let compiled = compiler::compile(model, target, calibration, &options);
            return Ok((compiled.map_err(wrong)?, None));
        };
        match fit::fit(model, target, calibration, &options, goal) {
            Ok(fitted) => Ok((fitted.compiled, Some(fitted.summary))),
            Err(FitError::Compile(error)) => Err(wrong(error)),
            Err(error) => Err(CliError::Fit { error: Box::new(error), model: self.file.clone() }),
        }
    }
}

/// What the options say of a compilation.
pub(super) fn compile_options(
    compilation: &Compilation,
    mapping: MappingOptions,
    room: Option<f32>,
) -> CompileOptions {
    CompileOptions {
        quantize: compilation.quantize(),
        mapping,
        unroll: compilation.unroll(),
        optimize: compilation.optimize.map(Into::into),
        room,
        adc_bits: compilation.adc_bits(),
    }
}

/// What is told of a model that does not compile, with the files that may be at
/// fault.
pub fn not_compiled(error: CompileError, model: &str, compilation: &Compilation) -> CliError {
    CliError::Compile {
        error: Box::new(error),
        model: model.to_string(),
        target: compilation.target.clone().unwrap_or_default(),
        floorplan: compilation.floorplan.as_deref().map(files::name),
    }
}

/// Preprocessing must have an input to work on.
fn check_use(preprocess: &Preprocess, model: &Model) -> Result<(), CliError> {
    let is_float = |t: ElementType| matches!(t, ElementType::F32 | ElementType::F64);
    match model.inputs.first() {
        Some(first)
            if preprocess.is_explicit()
                && !model.inputs.iter().any(|input| is_float(input.element_type)) =>
        {
            let (input, takes) = (first.name.clone(), first.element_type.to_string());
            Err(DataError::from(PreprocessError::NoFloatInput { input, takes }).into())
        }
        _ => Ok(()),
    }
}

pub(super) fn warn_of_no_arrays(model: &Model, file: &str) {
    if model.graph.crossbar_layers().next().is_some() {
        return;
    }
    let n_layers = model.graph.order().len();
    render::show_all(&[Diagnostic::warning("the model has no layer for arrays")
        .at(file, "")
        .note(format!("{}, nothing but digital work", counted(n_layers as u64, "layer")))
        .help("`--emit graph` shows why: a layer on arrays multiplies with a constant matrix")]);
}
