//! Formats on disk.
//!
//! Every file that ohmc writes for itself is one zip archive: a manifest with
//! kind, version and checksums, a JSON document for what is small, and `.npy`
//! arrays for what is large. A user can unzip it and look at everything with a
//! text editor and numpy; ohmc itself only takes a file back that is whole.
//!
//! ```text
//! X.plan        MANIFEST.json  plan.json  target.yaml  model.onnx  external/*
//!               levels/*.npy  scales/*.npy  bias/*.npy  adc/*.npy  cells/*.npy
//! X.chip        the entries of a plan, then chip.json  chip/*/*.npy
//! calibration   MANIFEST.json  calibration.json  histogram/*.npy  samples/*.npy
//! training      MANIFEST.json  tuning.json  batches/*.npy  cells/*/*.npy ...
//! ```
//!
//! What is promised: reading back what was written gives the same thing to the
//! last bit; the same thing gives the same bytes; damage anywhere is found and
//! named; a file that says anything at all makes neither a panic nor memory
//! that its own content does not fill.
//!
//! The types written here are this folder's own: the rest of the crate does
//! not know how it is stored, and can change without changing a format.

mod archive;
mod calibration;
mod chip;
mod error;
mod fused;
mod json;
mod npy;
mod plan;
mod reader;
mod text;
mod tuning;

#[cfg(test)]
mod tests;

pub use archive::{ArchiveWriter, Kind, MANIFEST};
pub use calibration::{read_calibration, write_calibration};
pub use chip::{ChipFile, PlanOrChip};
pub use error::{Damage, Flaw, FormatError};
pub use npy::{Element, read_array, write_array};
pub use plan::{PlanFile, PlanModel, PreprocessForm};
pub use reader::ArchiveReader;
pub use tuning::{read_tuning, write_tuning};

/// The version of this ohmc, as it stands in files.
pub const OHMC_VERSION: &str = env!("CARGO_PKG_VERSION");
