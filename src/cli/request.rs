//! What a command was given: MODEL, PLAN or CHIP, and the options about it.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use ohmc::target::{Target, builtin};

use super::error::CliError;
use super::files;
use super::options::{Compilation, Preprocessing};

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

impl<'a> Request<'a> {
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

    /// The target that a model cannot do without.
    pub fn target_name(self) -> Result<&'a str, CliError> {
        let name = self.compilation.target.as_deref();
        name.ok_or_else(|| CliError::NoTarget { file: files::name(self.file) })
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
