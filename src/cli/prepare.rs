//! From MODEL, PLAN or CHIP and options to something that can be reported on or run.

use ohmc::chip::Programmed;
use ohmc::data::{ChannelOrder, Preprocess};
use ohmc::diagnostic::Diagnostic;
use ohmc::format::{self, PlanFile, PlanOrChip, PreprocessForm};
use ohmc::frontend::{self, FrontendOptions, Model};
use ohmc::quantize::Calibration;
use ohmc::report::{Report, ReportParts};
use ohmc::schedule::ExecutionPlan;
use ohmc::target::Target;
use ohmc::timing::TimingOptions;

use super::calibrate::Calibrating;
use super::error::CliError;
use super::files;
use super::items::Items;
use super::made::{Made, Source};
use super::output::Output;
use super::progress::Progress;
use super::ready::Ready;
use super::render;
use super::request::{Request, is_archive, target};
use super::source::ModelSource;

/// Options of the compilation that say what inputs look like.
const CALIBRATING: [&str; 2] = ["--calibrate", "--calibration-limit"];

/// A compiled model, ready for use.
#[derive(Debug)]
pub struct Prepared {
    /// MODEL, PLAN or CHIP, as the user gave it.
    pub file: String,
    /// The model.
    pub model: Model,
    /// Its files.
    pub source: ModelSource,
    /// What was fixed about it.
    pub options: FrontendOptions,
    /// What it takes.
    pub items: Items,
    /// What is done to numbers before.
    pub preprocess: Preprocess,
    /// The chip.
    pub target: Target,
    /// What the chip does.
    pub plan: ExecutionPlan,
    /// The chip that the plan is programmed into, if one was given.
    pub programmed: Option<Programmed>,
    /// What was seen of its activations; empty for a plan, which does not say.
    pub calibration: Calibration,
    /// What is known of a model that was compiled just now; a plan does not
    /// say it.
    pub made: Option<Made>,
}

impl Request<'_> {
    /// Compiles a model, or loads a plan or a chip; which one it is, its
    /// content tells.
    pub fn prepare(self) -> Result<Prepared, CliError> {
        self.check_files("MODEL|PLAN|CHIP")?;
        match is_archive(self.file)? {
            true => self.load(),
            false => self.compile(),
        }
    }

    /// Loads a chip; a plan or a model is refused.
    pub fn chip(self) -> Result<(Prepared, Programmed), CliError> {
        self.check_files("CHIP")?;
        let because = "what is tuned is what cells hold, so they must have been written";
        let none = || CliError::NotChip { file: files::name(self.file), because };
        if !is_archive(self.file)? {
            return Err(none());
        }
        let mut prepared = self.load()?;
        let programmed = prepared.programmed.take().ok_or_else(none)?;
        Ok((prepared, programmed))
    }

    /// Compiles a model; a plan is refused.
    pub fn compile_only(self) -> Result<Prepared, CliError> {
        self.check_files("MODEL")?;
        match is_archive(self.file)? {
            true => Err(CliError::IsPlan { file: files::name(self.file) }),
            false => self.compile(),
        }
    }

    fn load(self) -> Result<Prepared, CliError> {
        let file = files::name(self.file);
        let mut options = self.compilation.given();
        if self.adapts {
            options.retain(|option| !CALIBRATING.contains(option));
        }
        if !options.is_empty() {
            return Err(CliError::BelongsToModel { file, options });
        }
        let cannot = |source| CliError::Read { file: file.clone(), what: "the plan", source };
        let reader = files::open(self.file).map_err(cannot)?;
        let progress = Progress::start("reading the plan", None);
        let PlanOrChip { plan: stored, programmed } =
            PlanOrChip::read_from(std::io::BufReader::new(reader), &file)?;
        let model = frontend::read(&stored.model, &stored.options, &file)?;
        stored.check_model(&model.canonical_text(), &file)?;
        drop(progress);
        let preprocess = from_form(&stored.preprocess);
        self.preprocessing.agreed(&preprocess, &file)?;
        let items = Items::new(&model);
        let PlanFile { model: files, options, target, plan, .. } = stored;
        let source = ModelSource::Held(files);
        let made = None;
        let calibration = match self.adapts && programmed.is_none() {
            true => self.inputs_of_plan(&model, &items, &preprocess)?,
            false => Calibration::default(),
        };
        Ok(Prepared {
            file,
            model,
            source,
            options,
            items,
            preprocess,
            target,
            plan,
            programmed,
            calibration,
            made,
        })
    }

    /// What drives the lines of a plan, which does not say it.
    fn inputs_of_plan(
        self,
        model: &Model,
        items: &Items,
        preprocess: &Preprocess,
    ) -> Result<Calibration, CliError> {
        let Self { compilation, data, measures, .. } = self;
        if compilation.calibrate.is_none() && data.is_none_or(|data| !data.is_dir()) {
            render::show_all(&[Diagnostic::warning("inputs are taken as independent and alike")
                .at(files::name(self.file), "")
                .note("a plan does not say what drives its lines")
                .help("give data or a stored calibration to `--calibrate`")]);
            return Ok(Calibration::default());
        }
        Calibrating { model, items, preprocess, compilation, data, measures }.calibration()
    }

    fn compile(self) -> Result<Prepared, CliError> {
        let target_name = self.target_name()?;
        // What is quick to find wrong comes first.
        let target = target(target_name, self.compilation)?;
        let store = self.compilation.save_calibration.as_deref().map(Output::create).transpose()?;
        let ready = self.ready()?;
        let compiling = Progress::start("compiling", None);
        let (compiled, fit) = ready.compile(&target, self.compilation)?;
        drop(compiling);
        if let Some(store) = store {
            store.finish_with(&format::write_calibration(&ready.calibration)?)?;
        }
        let Ready { file, source, options, model, items, preprocess, mut calibration, .. } = ready;
        // Its inputs were run again for the last time.
        calibration.batches = Vec::new();
        let made = Made {
            calibration: Source::of(&calibration),
            quantized: compiled.quantized,
            gains: compiled.gains,
            fit,
            mapping: compiled.mapping,
            filled: compiled.filled,
        };
        let (plan, made, programmed) = (compiled.plan, Some(made), None);
        Ok(Prepared {
            file,
            model,
            source,
            options,
            items,
            preprocess,
            target,
            plan,
            programmed,
            calibration,
            made,
        })
    }
}

impl Prepared {
    /// What the ranges were chosen from.
    pub fn calibration(&self) -> String {
        match &self.made {
            Some(made) => made.calibration.to_string(),
            None => "as the plan was compiled".to_string(),
        }
    }

    /// What it takes of the chip.
    pub fn report(&self, timing: TimingOptions) -> Report {
        Report::new(&ReportParts {
            model_name: &self.file,
            graph: &self.model.graph,
            plan: &self.plan,
            target: &self.target,
            preprocessing: &self.preprocess.describe(),
            calibration: &self.calibration(),
            timing,
        })
    }

    /// The plan as a file has it.
    pub fn into_plan_file(self) -> PlanFile<ModelSource> {
        let text = self.model.canonical_text();
        let preprocess = to_form(&self.preprocess);
        let Self { source, options, target, plan, .. } = self;
        PlanFile::new(source, options, preprocess, target, plan, &text)
    }

    /// The signed levels of a pair: 15 where a cell has 8.
    pub fn n_levels(&self) -> u32 {
        2 * u32::from(self.target.cell.max_level()) + 1
    }
}

/// Preprocessing as a plan keeps it.
fn to_form(preprocess: &Preprocess) -> PreprocessForm {
    PreprocessForm {
        scale: preprocess.scale,
        mean: preprocess.mean.clone(),
        std: preprocess.std.clone(),
        bgr: preprocess.channel_order == ChannelOrder::Bgr,
    }
}

fn from_form(form: &PreprocessForm) -> Preprocess {
    Preprocess {
        scale: form.scale,
        mean: form.mean.clone(),
        std: form.std.clone(),
        channel_order: if form.bgr { ChannelOrder::Bgr } else { ChannelOrder::Rgb },
    }
}
