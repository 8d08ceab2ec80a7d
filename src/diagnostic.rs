//! What a user is told when something is wrong: a headline, the places, the
//! numbers, the way out.
//!
//! Every error type of the crate can say itself as a list of [`Diagnostic`]s
//! (one complaint each, all of a stage at once); only `cli` prints them.
//!
//! ```text
//! error: layer `conv4` needs 36 PEs, target `prototype` has 8
//!   --> vgg.onnx: node `conv4` (Conv), weight [256, 128, 3, 3]
//!   --> prototype.yaml:3:8: `chip.pes`
//!   = note: 1152 inputs = 9 x 128, 256 outputs x 2 lines = 4 x 128
//!   = help: allow reprogramming with `--passes`, or choose a larger target
//! ```

use std::fmt;

/// How grave a complaint is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// The stage has no result.
    Error,
    /// There is a result, and something about it that the user should know.
    Warning,
}

/// Where a complaint points to: a file, perhaps a position in it, perhaps a
/// thing in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The file's name as the user gave it.
    pub file: String,
    /// Line and column, both from 1, where the file is text.
    pub position: Option<(usize, usize)>,
    /// The thing meant: ``node `conv4` (Conv)``, `` `chip.pes` ``.
    pub what: String,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if let Some((line, column)) = self.position {
            write!(f, ":{line}:{column}")?;
        }
        if !self.what.is_empty() {
            write!(f, ": {}", self.what)?;
        }
        Ok(())
    }
}

/// One complaint. `Display` gives the plain text form shown in the module
/// documentation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// Error or warning.
    pub severity: Severity,
    /// The headline: lower case, no full stop, names in backticks.
    pub message: String,
    /// Where, most telling place first.
    pub places: Vec<Place>,
    /// The numbers behind it.
    pub notes: Vec<String>,
    /// What to do.
    pub helps: Vec<String>,
}

impl Diagnostic {
    /// A complaint that ends the stage.
    pub fn error(message: impl Into<String>) -> Self {
        Self::new(Severity::Error, message.into())
    }

    /// A complaint that the stage survives.
    pub fn warning(message: impl Into<String>) -> Self {
        Self::new(Severity::Warning, message.into())
    }

    fn new(severity: Severity, message: String) -> Self {
        Self { severity, message, places: Vec::new(), notes: Vec::new(), helps: Vec::new() }
    }

    /// Adds a place: a file and the thing meant in it (may be empty).
    #[must_use]
    pub fn at(mut self, file: impl Into<String>, what: impl Into<String>) -> Self {
        self.places.push(Place { file: file.into(), position: None, what: what.into() });
        self
    }

    /// Adds a place in a text file; line and column count from 1.
    #[must_use]
    pub fn at_position(
        mut self,
        file: impl Into<String>,
        position: (usize, usize),
        what: impl Into<String>,
    ) -> Self {
        self.places.push(Place { file: file.into(), position: Some(position), what: what.into() });
        self
    }

    /// Adds a note: the numbers.
    #[must_use]
    pub fn note(mut self, note: impl Into<String>) -> Self {
        self.notes.push(note.into());
        self
    }

    /// Adds a help line: the way out.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.helps.push(help.into());
        self
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        write!(f, "{severity}: {}", self.message)?;
        for place in &self.places {
            write!(f, "\n  --> {place}")?;
        }
        for note in &self.notes {
            write!(f, "\n  = note: {note}")?;
        }
        for help in &self.helps {
            write!(f, "\n  = help: {help}")?;
        }
        Ok(())
    }
}

/// Implemented by every error of the crate: it explains itself.
pub trait Explain {
    /// All complaints, in the order in which a reader should meet them; at
    /// least one.
    fn diagnostics(&self) -> Vec<Diagnostic>;
}

/// The name of `known` nearest to a mistyped `word`, if one is near enough to
/// be meant.
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|name| (strsim::jaro_winkler(word, name), name))
        .filter(|(likeness, _)| *likeness > 0.75)
        .max_by(|a, b| a.0.total_cmp(&b.0).then_with(|| b.1.cmp(a.1)))
        .map(|(_, name)| name)
}
