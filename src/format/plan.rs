//! The `.plan` file: everything that is needed to run a compiled model.
//!
//! The model is kept as it was given, because the digital side is cut from its
//! graph; what the arrays do is kept as the plan says it. Whoever reads a plan
//! rebuilds the graph and asks [`PlanFile::check_model`] whether it is the one
//! that the plan speaks of.
//!
//! ```text
//! plan.json              layers, tiles, steps, and what belongs to the model
//! target.yaml            the target, canonical
//! model.onnx  external/* the model and its weight files
//! levels/layer3.npy      i16 [group][row][column], once for layers that share cells
//! scales/layer3.npy      f64 [group][column]; level sums follow from levels
//! bias/layer3.npy        f32 [group][column]
//! adc/step_us.npy        f64 [tile]
//! adc/codes.npy          i32 [tile][smallest, largest]
//! cells/pe5.npy          f32 [input line][output line], NaN where none is used
//! ```

mod arrays;
mod document;
mod layers;
mod reading;
mod steps;

use std::io::{self, Cursor, Read, Seek, Write};
use std::sync::Arc;

use super::archive::{ArchiveWriter, Kind, hex_digest};
use super::reader::ArchiveReader;
use super::{Flaw, FormatError, OHMC_VERSION, json};
use crate::frontend::{FrontendOptions, ModelFiles, TRACT_VERSION};
use crate::schedule::{ExecutionPlan, verify};
use crate::target::Target;

use document::PlanForm;

const TARGET: &str = "target.yaml";
const MODEL: &str = "model.onnx";

/// The model that goes into a plan: in memory, or where it can be read as often
/// as is asked.
pub trait PlanModel: Sync {
    /// Locations of its weight files, as the model gives them; ascending.
    fn external(&self) -> Vec<&str>;

    /// Writes all of a file: the weight file of a location, or else the model's
    /// own.
    ///
    /// # Errors
    ///
    /// It cannot be read, is another than before, or cannot be written.
    fn copy(&self, external: Option<&str>, to: &mut dyn Write) -> io::Result<()>;
}

impl PlanModel for ModelFiles {
    fn external(&self) -> Vec<&str> {
        self.external.keys().map(String::as_str).collect()
    }

    fn copy(&self, external: Option<&str>, to: &mut dyn Write) -> io::Result<()> {
        let content = match external {
            Some(location) => self.external.get(location).ok_or(io::ErrorKind::NotFound)?,
            None => &self.onnx,
        };
        to.write_all(content)
    }
}

/// A compiled model with all that it was compiled from and for.
#[derive(Debug, Clone)]
pub struct PlanFile<M = ModelFiles> {
    /// The model as given.
    pub model: M,
    /// What was fixed about it.
    pub options: FrontendOptions,
    /// How data are prepared for it.
    pub preprocess: PreprocessForm,
    /// The chip that it was compiled for.
    pub target: Target,
    /// What the chip does.
    pub plan: ExecutionPlan,
    /// SHA-256 of the layer graph's canonical text, in hexadecimal.
    pub graph_sha256: String,
    /// The tract that made the graph.
    pub tract_version: String,
    /// The ohmc that made the plan.
    pub ohmc_version: String,
}

/// How data become inputs of the model, as far as a plan keeps it; an empty
/// list stands for no mean, no deviation.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct PreprocessForm {
    /// What values are multiplied with first; `None` where the type decides.
    pub scale: Option<f32>,
    /// Taken off each channel.
    pub mean: Vec<f32>,
    /// What each channel is divided by.
    pub std: Vec<f32>,
    /// Channels come blue, green, red.
    pub bgr: bool,
}

impl<M: PlanModel> PlanFile<M> {
    /// A plan made here and now; `canonical_text` is that of the model's layer
    /// graph.
    pub fn new(
        model: M,
        options: FrontendOptions,
        preprocess: PreprocessForm,
        target: Target,
        plan: ExecutionPlan,
        canonical_text: &str,
    ) -> Self {
        Self {
            model,
            options,
            preprocess,
            target,
            plan,
            graph_sha256: hex_digest(canonical_text.as_bytes()),
            tract_version: TRACT_VERSION.to_string(),
            ohmc_version: OHMC_VERSION.to_string(),
        }
    }

    /// The file's bytes: the same for the same plan.
    ///
    /// # Errors
    ///
    /// Something that the format cannot hold, such as a weight file of an
    /// impossible name.
    pub fn write(&self) -> Result<Vec<u8>, FormatError> {
        let mut archive = ArchiveWriter::new(Kind::Plan);
        self.add_entries(&mut archive, Kind::Plan)?;
        archive.finish()
    }

    /// Like [`write`](Self::write), into an empty file.
    ///
    /// # Errors
    ///
    /// As for [`write`](Self::write), or the file's own.
    pub fn write_into(&self, file: &mut (impl Read + Write + Seek)) -> Result<(), FormatError> {
        let mut archive = ArchiveWriter::new(Kind::Plan);
        self.add_entries(&mut archive, Kind::Plan)?;
        archive.finish_into(file)
    }

    /// Adds the plan's entries to an archive, of a kind that has a plan in it.
    ///
    /// # Errors
    ///
    /// Something that the format cannot hold.
    pub fn add_entries<'a>(
        &'a self,
        archive: &mut ArchiveWriter<'a>,
        kind: Kind,
    ) -> Result<(), FormatError> {
        let text = json::text(&PlanForm::of(self))
            .map_err(|reason| FormatError::Write { kind, reason })?;
        archive.add(Kind::Plan.document(), move |writer| writer.write_all(text.as_bytes()));
        let yaml = self.target.to_yaml();
        archive.add(TARGET, move |writer| writer.write_all(yaml.as_bytes()));
        archive.add_stored_by(MODEL, |writer| self.model.copy(None, writer));
        for location in self.model.external() {
            archive.add_stored_by(external(location), move |writer| {
                self.model.copy(Some(location), writer)
            });
        }
        arrays::add(&self.plan, archive);
        Ok(())
    }
}

impl PlanFile {
    /// Reads a plan from a file's bytes; `file` is its name for messages.
    ///
    /// # Errors
    ///
    /// It is no plan, damaged, of a newer format, or says what cannot be; all
    /// that is wrong with the plan is reported at once.
    pub fn read(bytes: &[u8], file: &str) -> Result<Self, FormatError> {
        Self::read_from(Cursor::new(bytes), file)
    }

    /// Like [`read`](Self::read), without the whole file in memory.
    ///
    /// # Errors
    ///
    /// As for [`read`](Self::read).
    pub fn read_from(reader: impl Read + Seek, file: &str) -> Result<Self, FormatError> {
        let mut archive = ArchiveReader::open(reader, file, Kind::Plan)?;
        let plan = Self::read_entries(&mut archive)?;
        archive.finish()?;
        Ok(plan)
    }

    /// Reads the plan's entries of an archive that may have others.
    ///
    /// # Errors
    ///
    /// As for [`read`](Self::read).
    pub fn read_entries<R: Read + Seek>(
        archive: &mut ArchiveReader<R>,
    ) -> Result<Self, FormatError> {
        let file = archive.file().to_string();
        let invalid = |flaws| FormatError::Invalid { file: file.clone(), flaws };
        let document = Kind::Plan.document();
        let text = archive.read_text(document)?;
        let form: PlanForm = serde_json::from_str(&text)
            .map_err(|e| invalid(vec![Flaw::entry(document, e.to_string())]))?;
        drop(text);
        let yaml = archive.read_text(TARGET)?;
        let target = Target::from_yaml(&yaml, &format!("{file}: {TARGET}"), &[])
            .map_err(|error| invalid(vec![Flaw::Target(error)]))?;
        let onnx = Arc::new(archive.read_whole(MODEL)?);
        let mut model = ModelFiles { onnx, ..ModelFiles::default() };
        for location in &form.model.external {
            let content = archive.read_whole(&external(location))?;
            model.external.insert(location.clone(), Arc::new(content));
        }
        let plan = arrays::plan(&form, archive)?;
        let mut flaws = target_flaws(&plan, &target);
        flaws.extend(verify(&plan).into_iter().map(Flaw::Plan));
        let plan_file = form.with(model, target, plan);
        flaws.extend(preprocess_flaws(&plan_file.preprocess));
        if flaws.is_empty() { Ok(plan_file) } else { Err(invalid(flaws)) }
    }

    /// Whether the model, read in again, is what the plan was made for: its
    /// layer graph has the same canonical text, made by the same tract.
    ///
    /// # Errors
    ///
    /// It is not; the error names the ohmc that made the plan, and `file`.
    pub fn check_model(&self, canonical_text: &str, file: &str) -> Result<(), FormatError> {
        let (file, ohmc) = (file.to_string(), self.ohmc_version.clone());
        if self.tract_version != TRACT_VERSION {
            let made_with = self.tract_version.clone();
            let here = TRACT_VERSION.to_string();
            return Err(FormatError::OtherTract { file, ohmc, made_with, here });
        }
        if self.graph_sha256 != hex_digest(canonical_text.as_bytes()) {
            return Err(FormatError::OtherModel { file, ohmc });
        }
        Ok(())
    }
}

/// The entry of an external weight file.
fn external(location: &str) -> String {
    format!("external/{location}")
}

/// A plan is for one target: what both say must be the same.
fn target_flaws(plan: &ExecutionPlan, target: &Target) -> Vec<Flaw> {
    let readout = &target.readout;
    let limit = target.chip.n_pes().unwrap_or(u32::MAX);
    let same = [
        ("the size of PEs", plan.pe == target.pe),
        ("the number of PEs", plan.n_pes <= limit),
        ("where pairs are subtracted", plan.subtract == readout.subtract),
        ("which sums become codes", plan.conversion == readout.conversion),
        ("the length of a cycle", plan.cycle_ns.to_bits() == readout.cycle_ns.to_bits()),
        ("a level's current", plan.level_us.to_bits() == target.cell.step_us().to_bits()),
        (
            "the conversions of a cycle",
            plan.conversions_per_cycle == readout.lines_converted_per_cycle(),
        ),
    ];
    let differs = |what| Flaw::entry(TARGET, format!("it differs from the plan in {what}"));
    same.into_iter().filter(|(_, same)| !same).map(|(what, _)| differs(what)).collect()
}

fn preprocess_flaws(preprocess: &PreprocessForm) -> Option<Flaw> {
    let PreprocessForm { scale, mean, std, .. } = preprocess;
    let finite = scale.iter().chain(mean).chain(std).all(|value| value.is_finite());
    let reason = match std.contains(&0.0) {
        true => "a standard deviation of 0",
        false if !finite => "a scale, mean or deviation that is not finite",
        false => return None,
    };
    Some(Flaw::entry(Kind::Plan.document(), reason))
}
