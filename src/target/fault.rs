//! What can be wrong with a target, and how it is said.
//!
//! A target's author sees all faults at once, each with the line and column,
//! or the `--set`, that it comes from.

use std::fmt;

use super::document::{DEPTH_MAX, TEXT_BYTES_MAX};
use crate::diagnostic::{Diagnostic, Explain};

/// Faults shown one by one; a text that has more is not a target at all.
const SHOWN_MAX: usize = 50;

/// A target that cannot be used.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("target `{file}` cannot be used, faults: {}", faults.len())]
pub struct TargetError {
    /// The target's file name or built-in name, as the user gave it.
    pub file: String,
    /// Every fault, in the order of the file; at least one.
    pub faults: Vec<Fault>,
}

/// One thing that is wrong with a target.
#[derive(Debug, Clone, PartialEq)]
pub struct Fault {
    /// The key that is wrong or missing.
    pub path: KeyPath,
    /// Where it was written.
    pub origin: Origin,
    /// The other keys that have a part in it, and where they were written.
    pub also: Vec<(KeyPath, Origin)>,
    /// What is wrong.
    pub kind: FaultKind,
}

/// Where a key or value was written.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// Nowhere in particular: the file as a whole.
    Whole,
    /// In the file; both count from 1.
    File {
        /// Line of the file.
        line: usize,
        /// Column of the line, in characters.
        column: usize,
    },
    /// On the command line, by `--set` with this path.
    Set {
        /// The path that was set, as the user gave it.
        path: String,
    },
}

/// The way to a value: keys, and indices of lists, from the top.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct KeyPath(Vec<String>);

impl KeyPath {
    /// The top of the file.
    pub fn root() -> Self {
        Self(Vec::new())
    }

    /// The path that consists of `keys`.
    pub fn new(keys: impl IntoIterator<Item = String>) -> Self {
        Self(keys.into_iter().collect())
    }

    /// The keys from the top.
    pub fn keys(&self) -> &[String] {
        &self.0
    }

    /// Goes one key deeper.
    pub fn push(&mut self, key: String) {
        self.0.push(key);
    }

    /// The path one key deeper.
    #[must_use]
    pub fn join(&self, key: &str) -> Self {
        let mut path = self.clone();
        path.push(key.to_owned());
        path
    }
}

/// `cell.levels`, `costs.compare.0.name`; made fit for one line of a message.
impl fmt::Display for KeyPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&shown(&self.0.join(".")))
    }
}

/// What is wrong with a key or value of a target.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum FaultKind {
    /// The text is longer than any target.
    #[error("the target's text has {bytes} bytes, more than a target can have")]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// The text is no YAML.
    #[error("the target is not valid YAML: {problem}")]
    Syntax {
        /// In the parser's words.
        problem: String,
    },
    /// Lists and mappings are nested deeper than in any target.
    #[error("the target is nested too deeply")]
    TooDeep,
    /// A second document follows the first.
    #[error("the target's text holds more than one YAML document")]
    SeveralDocuments,
    /// Nothing but comments.
    #[error("the target is empty")]
    Empty,
    /// The top level is a list or a scalar.
    #[error("the target is not a mapping of keys to values")]
    NotAMapping,
    /// An anchor or alias.
    #[error("anchors and aliases are not used in targets")]
    Anchor,
    /// A YAML tag such as `!!int`.
    #[error("tags are not used in targets")]
    Tag,
    /// A key that is a list or mapping.
    #[error("a key of a target is a word")]
    KeyNotText,
    /// A key that its mapping has already.
    #[error("key `{}` is given twice", shown(key))]
    DuplicateKey {
        /// The key.
        key: String,
        /// Where it stands first.
        first: Origin,
    },
    /// A key that targets do not have.
    #[error("unknown key `{path}`")]
    UnknownKey {
        /// The whole path.
        path: KeyPath,
        /// The key that was probably meant, if one is near.
        nearest: Option<KeyPath>,
        /// The keys that may stand there.
        known: Vec<String>,
    },
    /// A key that is needed and not there.
    #[error("missing key `{path}`")]
    MissingKey {
        /// The whole path.
        path: KeyPath,
        /// What the key says, from the schema.
        meaning: String,
    },
    /// A value of the wrong type or outside its limits.
    #[error("`{path}` must be {expected}, found {found}")]
    WrongValue {
        /// The whole path.
        path: KeyPath,
        /// What may stand there.
        expected: String,
        /// What stands there.
        found: String,
        /// The word that was probably meant, if one is near.
        nearest: Option<String>,
    },
    /// A `--set` that leads through a value without keys, or past a list's end.
    #[error("`--set {}` leads nowhere: `{through}` has no `{}`", shown(set), shown(key))]
    SetLeadsNowhere {
        /// The path that was set.
        set: String,
        /// The last key on the way that exists.
        through: KeyPath,
        /// The key that it does not have.
        key: String,
    },
    /// A `--set` with more keys than any target has levels.
    #[error("`--set {}` leads too deep", shown(set))]
    SetTooDeep {
        /// The path that was set.
        set: String,
    },
    /// A name that would garble every message, or a text that another reader of
    /// YAML would take for a different one.
    #[error("`{path}` has control characters or line separators, found {found}")]
    TextNotPlain {
        /// The whole path.
        path: KeyPath,
        /// The text.
        found: String,
    },
    /// The conductance window is upside down or empty.
    #[error("the conductance window is empty: {min_us} uS to {max_us} uS")]
    EmptyWindow {
        /// Conductance of level 0.
        min_us: f64,
        /// Conductance of the highest level.
        max_us: f64,
    },
    /// Levels too near to each other to be told apart in floating point.
    #[error(
        "{levels} levels from {min_us} uS to {max_us} uS lie less than {step_us_min:e} uS apart"
    )]
    LevelsTooClose {
        /// Levels of the cell.
        levels: u16,
        /// Conductance of level 0.
        min_us: f64,
        /// Conductance of the highest level.
        max_us: f64,
        /// The least step.
        step_us_min: f64,
    },
    /// Wires with resistance in an array too large for its nodal analysis.
    #[error("wires with resistance go with at most {most} cells, {inputs} x {outputs} are more")]
    TooManyWiredCells {
        /// Input lines of a PE.
        inputs: u32,
        /// Output lines of a PE.
        outputs: u32,
        /// Cells that a PE may have.
        most: u64,
    },
    /// As many bits as needed, with a range in which no number of bits is
    /// exact.
    #[error("`readout.adc_bits: as-needed` does not go with `readout.adc_range: {range}`")]
    BitsAsNeeded {
        /// The range, as written.
        range: String,
    },
    /// As many bits as needed, and more needed than can be converted.
    #[error("`readout.adc_bits: as-needed` would need {bits} bits, 22 are the most")]
    TooManyBitsNeeded {
        /// Bits, with the sign where codes have one.
        bits: u32,
        /// Input lines of a PE.
        inputs: u32,
        /// Levels of a cell.
        levels: u16,
    },
    /// One bit with signed codes: the only code is 0.
    #[error("an ADC of 1 bit reads nothing of a subtracted pair")]
    OneBitOfAPair,
    /// Several chips, each as large as the network asks for.
    #[error("`chip.count` counts chips of no size: `chip.pes` is `as-needed`")]
    ChipsOfNoSize,
    /// Something about single planes where only their sum is converted.
    #[error("planes are not told apart where their charges are added up")]
    PlanesOfASum,
    /// A read-out that is not timed without a clock.
    #[error("a chip without a clock does not go with `{key}`")]
    NotSelfTimed {
        /// The key of that read-out.
        key: KeyPath,
    },
    /// An analog stage on lines that are half of a sum.
    #[error("an analog stage needs pairs that are subtracted before conversion")]
    StageOfALine,
    /// Costs without any energy, so that no efficiency can be given.
    #[error("the energies in `costs` are all zero")]
    NoEnergy,
    /// Parts of a PE that are larger than all of it.
    #[error("parts of a PE take {parts_mm2} mm2, all of it {area_mm2} mm2")]
    PartsTooLarge {
        /// All parts together.
        parts_mm2: f64,
        /// The whole PE.
        area_mm2: f64,
    },
    /// A ramp of voltages that does not rise.
    #[error("`{path}` is no end of a ramp: it goes from {first_v} V to {last_v} V")]
    RampTurned {
        /// The key of the last voltage.
        path: KeyPath,
        /// First voltage.
        first_v: f64,
        /// Last voltage.
        last_v: f64,
    },
    /// A ramped gate without its voltages.
    #[error("`cell.pulses.recipe: gate-ramped` needs `cell.pulses.gate`")]
    NoGate,
    /// An exponential with a scale of nothing.
    #[error("`{path}` must not be 0")]
    NoCurve {
        /// The key.
        path: KeyPath,
    },
    /// Rates of stuck cells that come to more than all cells.
    #[error("{share} of all cells would be stuck, more than there are")]
    MoreThanAllStuck {
        /// The sum of the rates.
        share: f64,
    },
    /// The file passed its checks and still could not be read: ohmc's fault.
    #[error("ohmc's own check of targets failed: {problem}")]
    Internal {
        /// What the reader said.
        problem: String,
    },
}

impl FaultKind {
    fn explain(&self, diagnostic: Diagnostic) -> Diagnostic {
        match self {
            Self::TooLong { .. } => {
                diagnostic.note(format!("{TEXT_BYTES_MAX} bytes are read at most"))
            }
            Self::TooDeep | Self::SetTooDeep { .. } => {
                diagnostic.note(format!("{DEPTH_MAX} levels are read at most"))
            }
            Self::Syntax { problem } if problem.contains("tab") => {
                diagnostic.help("indent with spaces")
            }
            Self::SeveralDocuments => diagnostic.help("put each target in a file of its own"),
            Self::Empty | Self::NotAMapping => {
                diagnostic.help("`ohmc targets ideal` prints a complete target to start from")
            }
            Self::Anchor => diagnostic.help("write the figure where it is used"),
            Self::Tag => diagnostic.help("write the value alone, in quotes where it is text"),
            Self::DuplicateKey { first: Origin::File { line, .. }, .. } => {
                diagnostic.note(format!("it stands on line {line} already"))
            }
            Self::UnknownKey { nearest: Some(nearest), .. } => {
                diagnostic.help(format!("did you mean `{nearest}`?"))
            }
            Self::UnknownKey { known, .. } if !known.is_empty() => {
                diagnostic.help(format!("keys that may stand here: {}", quoted(known, "and")))
            }
            Self::MissingKey { meaning, .. } if !meaning.is_empty() => diagnostic.note(meaning),
            Self::WrongValue { nearest: Some(nearest), .. } => {
                diagnostic.help(format!("did you mean `{nearest}`?"))
            }
            Self::EmptyWindow { .. } => diagnostic.help(
                "give a `cell.conductance_max_us` above `cell.conductance_min_us`, \
                 both in microsiemens",
            ),
            Self::LevelsTooClose { .. } => {
                diagnostic.help("check the unit: conductances are in microsiemens")
            }
            Self::TooManyWiredCells { .. } => diagnostic
                .note("the time of the nodal analysis grows with the square of the cells")
                .help("take a smaller PE, or leave out the resistance of its wires"),
            Self::BitsAsNeeded { .. } => diagnostic
                .note("a code is exact only where it is one level")
                .help("set `readout.adc_range: one-level`, or give the number of bits"),
            Self::TooManyBitsNeeded { inputs, levels, .. } => diagnostic
                .note(format!("{inputs} inputs add up currents of {levels} levels each"))
                .help("take fewer `pe.inputs` or `cell.levels`, or give the number of bits"),
            Self::OneBitOfAPair => {
                diagnostic.note("signed codes go from -(2^(bits-1)-1) to +(2^(bits-1)-1)").help(
                    "give `readout.adc_bits` 2 or more, or set \
                     `readout.subtract: after-conversion`",
                )
            }
            Self::ChipsOfNoSize => diagnostic
                .note("a chip that grows with the network leaves nothing for a second one")
                .help("give `chip.pes` as a number, or leave `chip.count` out"),
            Self::PlanesOfASum => {
                diagnostic.help("leave out one of the two; a single range serves the sum")
            }
            Self::NotSelfTimed { .. } => diagnostic
                .note("its planes of zeros are passed over, and all others converted, as they are")
                .help("leave out one of the two"),
            Self::StageOfALine => diagnostic
                .note("the sign of a sum, and which is largest, is known of the difference only")
                .help("set `readout.subtract: before-conversion`, or `stage: none`"),
            Self::NoEnergy => {
                diagnostic.help("give the energies, or leave `costs` out where they are not known")
            }
            Self::PartsTooLarge { .. } => {
                diagnostic.help("give areas of one PE; what PEs share is divided among them")
            }
            Self::RampTurned { .. } => diagnostic.help("give the lower voltage first"),
            Self::NoGate => diagnostic
                .note("the ramps and what a pulse does under them have no defaults")
                .help("`ohmc targets yao2020-chip` prints a target that has them"),
            Self::NoCurve { .. } => {
                diagnostic.help("the larger it is, of either sign, the straighter the curve")
            }
            Self::MoreThanAllStuck { .. } => diagnostic.help("give rates that add up to 1 at most"),
            Self::Internal { .. } => diagnostic.help("please report this with the target file"),
            _ => diagnostic,
        }
    }
}

impl Explain for TargetError {
    fn diagnostics(&self) -> Vec<Diagnostic> {
        let mut complaints: Vec<Diagnostic> =
            self.faults.iter().take(SHOWN_MAX).map(|fault| fault.diagnostic(&self.file)).collect();
        let rest = self.faults.len().saturating_sub(SHOWN_MAX);
        if rest > 0 {
            complaints.push(
                Diagnostic::error(format!("{rest} more faults in `{}`", self.file))
                    .help("is this a target at all? `ohmc targets ideal` prints one"),
            );
        }
        complaints
    }
}

impl Fault {
    /// A fault that only one key has a part in.
    pub(super) fn new(path: KeyPath, origin: Origin, kind: FaultKind) -> Self {
        Self { path, origin, also: Vec::new(), kind }
    }

    /// A fault of the text as a whole.
    pub(super) fn whole(kind: FaultKind) -> Self {
        Self::new(KeyPath::root(), Origin::Whole, kind)
    }

    fn diagnostic(&self, file: &str) -> Diagnostic {
        let headline = Diagnostic::error(self.kind.to_string());
        let places = std::iter::once((&self.path, &self.origin))
            .chain(self.also.iter().map(|(path, origin)| (path, origin)));
        let placed = places.fold(headline, |diagnostic, (path, origin)| {
            let what = match path.keys() {
                [] => String::new(),
                _ => format!("`{path}`"),
            };
            match origin {
                Origin::Whole => diagnostic.at(file, what),
                Origin::File { line, column } => {
                    diagnostic.at_position(file, (*line, *column), what)
                }
                Origin::Set { path } => diagnostic.at(format!("--set {}", shown(path)), ""),
            }
        });
        self.kind.explain(placed)
    }
}

/// Words in backticks, the last two joined by `last`: `` `a`, `b` or `c` ``.
pub(super) fn quoted(words: &[String], last: &str) -> String {
    let words: Vec<String> = words.iter().map(|word| format!("`{}`", shown(word))).collect();
    match words.as_slice() {
        [] => String::new(),
        [only] => only.clone(),
        [first @ .., end] => format!("{} {last} {end}", first.join(", ")),
    }
}

/// Text from a file as a message can show it: on one line and not too long.
pub(super) fn shown(text: &str) -> String {
    const CHARACTERS_MAX: usize = 60;
    let mut line: String = text
        .chars()
        .take(CHARACTERS_MAX)
        .flat_map(|c| match c.is_control() || is_line_separator(c) {
            true => c.escape_default().collect(),
            false => vec![c],
        })
        .collect();
    if text.chars().nth(CHARACTERS_MAX).is_some() {
        line.push_str("...");
    }
    line
}

/// What YAML 1.1 takes for the end of a line and YAML 1.2 does not.
pub(super) fn is_line_separator(sign: char) -> bool {
    matches!(sign, '\u{85}' | '\u{2028}' | '\u{2029}')
}
