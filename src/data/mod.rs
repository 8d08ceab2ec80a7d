//! Reads data sets, to calibrate on and to evaluate, and writes result
//! arrays.
//!
//! Data comes batch by batch, so memory does not grow with the number of
//! inputs. Whatever the format, a [`DataSet`] gives tensors exactly as the
//! model takes them ([`InputSpec`]): a shape that does not fit, a number that
//! does not convert without loss, NaN, or a file that contradicts its header
//! is an error with the place and the numbers, never a guess.
//!
//! | format | told by | inputs |
//! |---|---|---|
//! | IDX (MNIST), also `.gz` | first bytes | first axis counts |
//! | CIFAR-10 binary, also `.gz` | `.bin` | records |
//! | `.npy`, also `.gz` | first bytes | first axis counts, unless it is one input |
//! | `.npz` | first bytes | an array for each input of the model |
//! | PNG, JPEG | first bytes | a file is an input |
//! | a folder of these | names (`folder.rs`, `names.rs`) | its training or test part |
//!
//! What reads a format knows nothing of models, and what adapts to a model
//! (`adapt.rs`) knows nothing of formats. Nothing here opens a file by itself
//! ([`Files`]), and no length in a header is believed before the bytes are
//! there.

mod adapt;
mod array;
mod cifar;
mod convert;
mod dataset;
mod error;
mod files;
mod folder;
mod idx;
mod images;
mod names;
mod npy;
mod npy_write;
mod npz;
mod preprocess;
mod stream;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

use std::path::PathBuf;

pub use adapt::InputSpec;
pub use dataset::{DataSet, open};
pub use error::DataError;
pub use files::{Files, MemoryFiles, ReadSeek};
pub use npy::read_npy;
pub use npy_write::{NpyWriter, write_npy};
pub use preprocess::{ChannelOrder, Preprocess, PreprocessError};

use crate::tensor::{Tensor, Values};
use adapt::Column;

/// What a data set is opened for. Data that is evaluated must never have been
/// calibrated on, so each use has its own part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Part {
    /// The test part, or the validation part.
    #[default]
    Evaluation,
    /// The training part.
    Calibration,
}

/// How a data set is opened.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct DataOptions {
    /// The part to take where the data has parts.
    pub part: Part,
    /// A file of labels (IDX or `.npy`), in place of those that come with the
    /// data.
    pub labels: Option<PathBuf>,
    /// Only the first so many inputs.
    pub limit: Option<u64>,
    /// What is done to the numbers.
    pub preprocess: Preprocess,
}

/// Some consecutive inputs of a data set.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch {
    /// The number of its first input in the data set, from 0.
    pub first: u64,
    /// How many inputs it has, at least 1.
    pub n: usize,
    /// For each input of the model, in the order of the [`InputSpec`]s, a
    /// tensor `[n, ...]`.
    pub inputs: Vec<Tensor>,
    /// For each input its class number, if the data has labels.
    pub labels: Option<Vec<u32>>,
}

/// Rows as a format gives them, before they are adapted to the model.
struct Rows {
    n: usize,
    /// The values of `n` rows for each column.
    columns: Vec<Values>,
    /// The labels that the format itself has.
    labels: Option<Vec<u32>>,
}

/// What every format offers.
trait Source: Send {
    /// What the rows look like, a column for each input of the model.
    fn columns(&self) -> Vec<Column>;
    /// How many rows there are, if the format says so.
    fn n_inputs(&self) -> Option<u64>;
    /// Whether rows come with labels.
    fn has_labels(&self) -> bool;
    /// The next `n` rows; fewer, and then none, at the end.
    fn read(&mut self, n: usize) -> Result<Rows, DataError>;
}
