//! What can be wrong with a file.

use std::fmt;

use thiserror::Error;

use super::archive::Kind;
use crate::diagnostic::{Diagnostic, Explain};
use crate::schedule::PlanFault;
use crate::target::TargetError;

/// Complaints shown of one file; whoever has more has one cause.
const MAX_SHOWN: usize = 20;

/// Why a file could not be read, or written. Every variant that is about a
/// file carries its name.
#[derive(Debug, Error)]
#[error("{}", self.diagnostics().iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
pub enum FormatError {
    /// The bytes are no zip archive.
    NotArchive {
        /// File.
        file: String,
        /// What was wanted.
        wanted: Kind,
        /// Its size in bytes.
        n_bytes: u64,
    },
    /// Another kind of file than the one wanted.
    WrongKind {
        /// File.
        file: String,
        /// What was wanted.
        wanted: Kind,
        /// What it is, with its article: `an ONNX model`.
        found: String,
    },
    /// A later ohmc wrote it in a format that this one does not know.
    Newer {
        /// File.
        file: String,
        /// What it is.
        kind: Kind,
        /// Its format version.
        version: u32,
        /// The ohmc that wrote it.
        ohmc: String,
    },
    /// The file is not as it was written.
    Damaged {
        /// File.
        file: String,
        /// What is damaged; at least one.
        damages: Vec<Damage>,
    },
    /// The file is whole as an archive, and has other entries than it should.
    Entries {
        /// File.
        file: String,
        /// Entries that are not there.
        missing: Vec<String>,
        /// Entries that should not be there.
        unknown: Vec<String>,
    },
    /// The file is whole, and what it says makes no sense.
    Invalid {
        /// File.
        file: String,
        /// What is wrong; at least one.
        flaws: Vec<Flaw>,
    },
    /// The chip in a file was programmed with another plan than lies beside
    /// it.
    OtherPlan {
        /// File.
        file: String,
        /// Digest of the plan that it was programmed with.
        programmed: String,
        /// Digest of the plan in the file.
        found: String,
    },
    /// The model in a plan gives another graph here than it gave then.
    OtherModel {
        /// File.
        file: String,
        /// The ohmc that made the plan.
        ohmc: String,
    },
    /// A plan was made with another version of tract.
    OtherTract {
        /// File.
        file: String,
        /// The ohmc that made the plan.
        ohmc: String,
        /// Its tract.
        made_with: String,
        /// The tract of this ohmc.
        here: String,
    },
    /// The state of another training.
    OtherTuning {
        /// File.
        file: String,
    },
    /// Something that the format cannot hold.
    Write {
        /// What was to be written.
        kind: Kind,
        /// Why it could not.
        reason: String,
    },
}

/// A part of a file that is not as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// The archive's entry, or the part of the archive itself.
    pub entry: String,
    /// How it shows.
    pub reason: String,
}

impl Damage {
    pub(super) fn new(entry: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { entry: entry.into(), reason: reason.into() }
    }
}

/// Something that a whole file says and that cannot be.
#[derive(Debug)]
pub enum Flaw {
    /// An entry does not hold what it should.
    Entry {
        /// The entry.
        entry: String,
        /// What is wrong.
        reason: String,
    },
    /// The plan breaks its invariants.
    Plan(PlanFault),
    /// The target in the plan is none.
    Target(TargetError),
}

impl Flaw {
    pub(super) fn entry(entry: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Entry { entry: entry.into(), reason: reason.into() }
    }
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Entry { entry, reason } => write!(f, "`{entry}`: {reason}"),
            Self::Plan(fault) => write!(f, "{fault}"),
            Self::Target(error) => {
                let first = error.diagnostics().into_iter().next();
                write!(f, "`target.yaml`: {}", first.map_or(String::new(), |d| d.message))
            }
        }
    }
}

impl Explain for FormatError {
    fn diagnostics(&self) -> Vec<Diagnostic> {
        match self {
            Self::NotArchive { file, wanted, n_bytes } => vec![
                Diagnostic::error(format!("`{file}` is not {wanted}"))
                    .at(file, "")
                    .note(match n_bytes {
                        0 => "it is empty".to_string(),
                        n => format!("{n} bytes, which are no zip archive"),
                    })
                    .help(make_again(*wanted)),
            ],
            Self::WrongKind { file, wanted, found } => vec![
                Diagnostic::error(format!("`{file}` is {found}, not {wanted}")).at(file, "").help(
                    match wanted {
                        Kind::Plan => "give a file that `ohmc compile MODEL -o X.plan` wrote",
                        Kind::Chip => "give a file that `ohmc program PLAN -o X.chip` wrote",
                        Kind::Calibration => "give a file that `--save-calibration` wrote",
                        Kind::Tuning => "give `--state` a new file, or one that it wrote",
                    },
                ),
            ],
            Self::Newer { file, kind, version, ohmc } => vec![
                Diagnostic::error(format!("`{file}` is {kind} of a newer format"))
                    .at(file, "")
                    .note(format!(
                        "format version {version} of ohmc {ohmc}; this is ohmc {}, which knows \
                         versions up to {}",
                        super::OHMC_VERSION,
                        kind.version()
                    ))
                    .help(format!("update to ohmc {ohmc} or later")),
            ],
            Self::Damaged { file, damages } => shown(damages, |damage| {
                Diagnostic::error(format!("`{file}` is damaged: {}", damage.entry))
                    .at(file, &damage.entry)
                    .note(damage.reason.clone())
                    .help("copy it again from where it was made, or make it again")
            }),
            Self::Entries { file, missing, unknown } => {
                let missing = shown(missing, |entry| {
                    Diagnostic::error(format!("`{file}` lacks its entry `{entry}`"))
                        .at(file, entry)
                        .help("copy it again from where it was made, or make it again")
                });
                let unknown = shown(unknown, |entry| {
                    Diagnostic::error(format!("`{file}` has an entry `{entry}` of no meaning"))
                        .at(file, entry)
                        .help("take the file as ohmc wrote it; nothing may be added")
                });
                missing.into_iter().chain(unknown).collect()
            }
            Self::Invalid { file, flaws } => shown(flaws, |flaw| {
                Diagnostic::error(format!("`{file}` says what cannot be: {flaw}"))
                    .at(file, "")
                    .help("take the file as ohmc wrote it, or make it again")
            }),
            Self::OtherPlan { file, programmed, found } => vec![
                Diagnostic::error(format!("the chip in `{file}` belongs to another plan"))
                    .at(file, Kind::Chip.document())
                    .note(format!(
                        "it was programmed with the plan {}, the plan beside it is {}",
                        start(programmed),
                        start(found)
                    ))
                    .help("program a chip with this plan: `ohmc program PLAN -o X.chip`"),
            ],
            Self::OtherModel { file, ohmc } => vec![
                Diagnostic::error(format!("`{file}` was made for another graph of its model"))
                    .at(file, "model.onnx")
                    .note(format!(
                        "made by ohmc {ohmc}; ohmc {} reads the same model differently",
                        super::OHMC_VERSION
                    ))
                    .help(format!("compile the model again, or run the plan with ohmc {ohmc}")),
            ],
            Self::OtherTract { file, ohmc, made_with, here } => vec![
                Diagnostic::error(format!("`{file}` was made with another version of tract"))
                    .at(file, "")
                    .note(format!("made by ohmc {ohmc} with tract {made_with}; here it is {here}"))
                    .help(format!("compile the model again, or run the plan with ohmc {ohmc}")),
            ],
            Self::OtherTuning { file } => vec![
                Diagnostic::error(format!("`{file}` is the state of another training"))
                    .at(file, Kind::Tuning.document())
                    .note("chip, data, options or ohmc were others")
                    .help("give `--state` a new file, or the options that it was begun with"),
            ],
            Self::Write { kind, reason } => vec![
                Diagnostic::error(format!("{kind} cannot be written"))
                    .note(reason.clone())
                    .help("if the reason names none of your files, please report it"),
            ],
        }
    }
}

/// Enough of a checksum to tell two apart.
fn start(hash: &str) -> String {
    hash.chars().take(12).collect()
}

fn make_again(kind: Kind) -> &'static str {
    match kind {
        Kind::Plan => "make one with `ohmc compile MODEL --target T -o X.plan`",
        Kind::Chip => "make one with `ohmc program PLAN -o X.chip`",
        Kind::Calibration => {
            "make one with `ohmc compile MODEL --calibrate DATA --save-calibration`"
        }
        Kind::Tuning => "give `--state` a new file, or one that it wrote",
    }
}

/// A complaint each, up to [`MAX_SHOWN`], and how many more there are.
fn shown<T>(items: &[T], explain: impl Fn(&T) -> Diagnostic) -> Vec<Diagnostic> {
    let mut diagnostics: Vec<Diagnostic> = items.iter().take(MAX_SHOWN).map(explain).collect();
    let more = items.len().saturating_sub(MAX_SHOWN);
    if let Some(last) = diagnostics.last_mut().filter(|_| more > 0) {
        last.notes.push(format!("and {more} more"));
    }
    diagnostics
}
