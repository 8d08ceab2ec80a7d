//! From MODEL, PLAN or CHIP and options to something that can be reported on or run.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use ohmc::chip::Programmed;
use ohmc::data::{ChannelOrder, Preprocess};
use ohmc::diagnostic::Diagnostic;
use ohmc::format::{self, PlanFile, PlanOrChip, PreprocessForm};
use ohmc::frontend::{self, FrontendOptions, Model};
use ohmc::quantize::Calibration;
use ohmc::report::{Report, ReportParts};
use ohmc::schedule::ExecutionPlan;
use ohmc::target::{Target, builtin};
use ohmc::timing::TimingOptions;

use super::calibrate::Calibrating;
use super::error::CliError;
use super::files;
use super::items::Items;
use super::made::{Made, Source};
use super::options::{Compilation, Preprocessing};
use super::output::Output;
use super::progress::Progress;
use super::ready::Ready;
use super::render;
use super::source::ModelSource;

/// Options of the compilation that say what inputs look like.
const CALIBRATING: [&str; 2] = ["--calibrate", "--calibration-limit"];

/// What a command was given.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// MODEL, PLAN or CHIP.
    pub file: &'a Path,
    /// How a model is compiled.
    pub compilation: &'a Compilation,
    /// What is done to numbers.
    pub preprocessing: &'a Preprocessing,
    /// The data that the command is about, if there is any.
    pub data: Option<&'a Path>,
    /// Whether that data is to measure by: then it must not be calibrated on.
    pub measures: bool,
    /// Whether a plan is programmed by what is known of its inputs: then it
    /// may be calibrated too.
    pub adapts: bool,
    /// What a training asks of the compilation.
    pub fresh: Option<Fresh>,
    /// Where the command's result goes.
    pub out: Option<&'a Path>,
}

/// What a training asks of the compilation of a model.
#[derive(Debug, Clone, Copy)]
pub struct Fresh {
    /// Seed of weights that are drawn, in place of the model's.
    pub random: Option<u64>,
    /// How far all ranges reach beyond what is known.
    pub room: f32,
}

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

impl<'a> Request<'a> {
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

    /// No result may take the place of a file that it is made from.
    pub(super) fn check_files(self, subject: &'static str) -> Result<(), CliError> {
        let made = self.compilation;
        let target = made.target.as_deref().filter(|name| builtin(name).is_none());
        files::keep_apart(
            &[("-o", self.out), ("--save-calibration", made.save_calibration.as_deref())],
            &[
                (subject, Some(self.file)),
                (if self.measures { "--data" } else { "--input" }, self.data),
                ("--calibrate", made.calibrate.as_deref()),
                ("--target", target.map(Path::new)),
                ("--floorplan", made.floorplan.as_deref()),
            ],
        )
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

    /// The target that a model cannot do without.
    pub fn target_name(self) -> Result<&'a str, CliError> {
        let name = self.compilation.target.as_deref();
        name.ok_or_else(|| CliError::NoTarget { file: files::name(self.file) })
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

/// The target of this name or in this file, with what `--set` changes.
pub fn target(name: &str, compilation: &Compilation) -> Result<Target, CliError> {
    let text = target_text(name)?;
    Ok(Target::from_yaml(&text, name, &compilation.overrides)?)
}

/// The YAML of a target: built in, or a file.
pub fn target_text(name: &str) -> Result<String, CliError> {
    if let Some(text) = builtin(name) {
        return Ok(text.to_string());
    }
    let path = Path::new(name);
    let is_path = path.extension().is_some() || path.components().count() > 1;
    if !path.exists() && !is_path {
        return Err(CliError::UnknownTarget { name: name.to_string() });
    }
    files::read_text(path, "the target")
}

/// Whether a file is a zip, as plans are and models are not: by its first
/// bytes, or, should these be damaged, by our seal at its end.
pub(super) fn is_archive(path: &Path) -> Result<bool, CliError> {
    const SEAL: &[u8] = b"ohmc sha256 ";
    const TAIL: u64 = SEAL.len() as u64 + 64;
    let look = || {
        let mut file: File = files::open(path)?;
        let mut head = Vec::new();
        file.by_ref().take(2).read_to_end(&mut head)?;
        if head == b"PK" {
            return Ok(true);
        }
        let mut tail = Vec::new();
        // What cannot be sought in, a pipe, is no plan.
        let size = file.seek(SeekFrom::End(0)).unwrap_or(0);
        if size > TAIL {
            file.seek(SeekFrom::Start(size - TAIL))?;
            file.read_to_end(&mut tail)?;
        }
        Ok(tail.starts_with(SEAL))
    };
    look().map_err(|source| CliError::Read {
        file: files::name(path),
        what: "the model or plan",
        source,
    })
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
