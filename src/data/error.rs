//! What can be wrong with a data set, and what the user can do about it.

use std::fmt;
use std::io;

use thiserror::Error;

use crate::diagnostic::{Diagnostic, Explain, nearest};
use crate::tensor::ElementType;

/// The formats that a data set may have, as every message about an unknown
/// one lists them.
pub(super) const UNDERSTOOD: &str = "IDX (MNIST), CIFAR-10 binary (`.bin`), each also `.gz`, `.npy`, `.npz`, PNG, JPEG, \
     and folders of these";

/// Why a data set cannot be read. `file` is the path as the user gave it, for
/// an array of an archive followed by the array's name.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DataError {
    /// The file or folder cannot be opened or listed.
    #[error("cannot open `{file}`: {source}")]
    Open {
        /// The file or folder.
        file: String,
        /// What the system says.
        source: io::Error,
    },
    /// Reading failed underway, for example on a damaged gzip stream.
    #[error("cannot read `{file}` beyond byte {position}: {source}")]
    Read {
        /// The file.
        file: String,
        /// Bytes read before, counted after unpacking.
        position: u64,
        /// What the system or the unpacker says.
        source: io::Error,
    },
    /// The file ends before what its header announces.
    #[error("`{file}` is cut short: {expected} bytes expected, {found} found")]
    Truncated {
        /// The file.
        file: String,
        /// Bytes that the header announces, header included, unpacked.
        expected: u64,
        /// Bytes that are there.
        found: u64,
    },
    /// The file goes on after what its header announces.
    #[error("`{file}` is too long: {expected} bytes expected, {found} found")]
    TrailingBytes {
        /// The file.
        file: String,
        /// Bytes that the header announces, header included, unpacked.
        expected: u64,
        /// Bytes that are there, as far as was counted.
        found: u64,
    },
    /// The file contradicts its own format.
    #[error("`{file}` is no proper {format} file: {reason}")]
    Damaged {
        /// The file.
        file: String,
        /// The format's name.
        format: &'static str,
        /// What contradicts it.
        reason: String,
    },
    /// The array holds elements that no model input takes.
    #[error("`{file}` holds elements of type `{found}`, which ohmc does not read")]
    ElementType {
        /// The file.
        file: String,
        /// The type as the file spells it.
        found: String,
    },
    /// A Fortran-ordered array keeps the inputs interleaved, so it cannot be
    /// read one after the other.
    #[error("`{file}` is stored in Fortran order, shape {shape:?}")]
    FortranOrder {
        /// The file.
        file: String,
        /// The array's shape.
        shape: Vec<u64>,
    },
    /// The inputs have another shape than the model's.
    #[error("`{file}` holds inputs of shape {found:?}, the model's `{input}` takes {wanted:?}")]
    Shape {
        /// The file.
        file: String,
        /// The model's input.
        input: String,
        /// The shape in the file; for arrays with their first axis.
        found: Vec<u64>,
        /// The shape of one input of the model.
        wanted: Vec<usize>,
    },
    /// An image of another size than the model's input.
    #[error(
        "image `{file}` is {width} x {height} pixels, which does not fit `{input}` of shape \
         {wanted:?}"
    )]
    ImageSize {
        /// The file.
        file: String,
        /// Pixels across.
        width: u32,
        /// Pixels down.
        height: u32,
        /// The model's input.
        input: String,
        /// The shape of one input of the model.
        wanted: Vec<usize>,
    },
    /// An image with more than 8 bits a channel, which bytes cannot hold.
    #[error("image `{file}` has pixels of type `{found}`, only 8 bits a channel are read")]
    ImageDepth {
        /// The file.
        file: String,
        /// The pixel type found.
        found: String,
    },
    /// A value that the model's element type cannot hold exactly.
    #[error("value {value} ({from}) in `{file}` is no exact {to}, which `{input}` takes")]
    Conversion {
        /// The file.
        file: String,
        /// The model's input.
        input: String,
        /// Which input of the data set, from 0.
        index: u64,
        /// Where in that input.
        position: Vec<usize>,
        /// The value.
        value: String,
        /// Its type in the file.
        from: ElementType,
        /// The model's type.
        to: ElementType,
    },
    /// NaN or infinity, with which no range can be calibrated.
    #[error("input {index} of `{file}` holds {value} at {position:?} of `{input}`")]
    NotFinite {
        /// The file.
        file: String,
        /// The model's input.
        input: String,
        /// Which input of the data set, from 0.
        index: u64,
        /// Where in that input.
        position: Vec<usize>,
        /// The value, after preprocessing.
        value: f64,
    },
    /// Labels and inputs do not pair up.
    #[error("`{inputs}` holds {n_inputs} inputs, `{labels}` holds {n_labels} labels")]
    LabelCount {
        /// The file or folder of the inputs.
        inputs: String,
        /// How many inputs.
        n_inputs: u64,
        /// The file of the labels.
        labels: String,
        /// How many labels.
        n_labels: u64,
    },
    /// The label array is no list of class numbers.
    #[error("labels in `{file}` have shape {shape:?}, one number an input is needed")]
    LabelShape {
        /// The file.
        file: String,
        /// The array's shape.
        shape: Vec<u64>,
    },
    /// A label that is no class number of the format.
    #[error("label {value} of input {index} in `{file}` is no class number up to {max}")]
    LabelValue {
        /// The file.
        file: String,
        /// Which input, from 0.
        index: u64,
        /// The label found.
        value: String,
        /// The largest class number allowed.
        max: u32,
    },
    /// An archive without an array for one of the model's inputs.
    #[error("`{file}` holds no array for the model's input `{input}`")]
    MissingArray {
        /// The archive.
        file: String,
        /// The model's input.
        input: String,
        /// Its number among the inputs, from 0.
        number: usize,
        /// The arrays that are there.
        found: Vec<String>,
    },
    /// Arrays of an archive with differing numbers of inputs.
    #[error("arrays of different lengths: `{first}` holds {n_first} inputs, `{other}` {n_other}")]
    InputCounts {
        /// One array.
        first: String,
        /// How many inputs it holds.
        n_first: u64,
        /// An array that differs.
        other: String,
        /// How many inputs that one holds.
        n_other: u64,
    },
    /// A format that gives one tensor an input, and a model that takes several.
    #[error("`{file}` gives one tensor an input, the model takes {n_inputs}: {}", Names(.inputs))]
    OneTensor {
        /// The file or folder.
        file: String,
        /// How many the model takes.
        n_inputs: usize,
        /// Their names.
        inputs: Vec<String>,
    },
    /// There is nothing in it.
    #[error("`{file}` holds no inputs")]
    Empty {
        /// The file or folder.
        file: String,
    },
    /// Nothing in it is of a known format.
    #[error("`{file}` is of no format that ohmc reads")]
    UnknownFormat {
        /// The file or folder.
        file: String,
        /// What was found: the first bytes, or the folder's entries.
        found: Vec<String>,
    },
    /// A folder that holds several formats, so that it is not clear what is
    /// meant.
    #[error("folder `{dir}` mixes {}", Names(.formats))]
    MixedFormats {
        /// The folder.
        dir: String,
        /// The formats.
        formats: Vec<String>,
        /// A file of each.
        examples: Vec<String>,
    },
    /// Several files of one kind where one is needed.
    #[error("folder `{dir}` holds {} {what} files, one is needed", .found.len())]
    Ambiguous {
        /// The folder.
        dir: String,
        /// The kind of file.
        what: &'static str,
        /// The candidates.
        found: Vec<String>,
    },
    /// The preprocessing options contradict themselves or the data.
    #[error("{0}")]
    Preprocess(#[from] super::preprocess::PreprocessError),
}

/// Lists names in backticks.
struct Names<'a>(&'a [String]);

impl fmt::Display for Names<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A long list would bury the message; ten names show the pattern.
        for (i, name) in self.0.iter().take(10).enumerate() {
            let comma = if i == 0 { "" } else { ", " };
            write!(f, "{comma}`{name}`")?;
        }
        match self.0.len().saturating_sub(10) {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}

/// What a missing array of an archive could have been meant to be.
fn missing_array_help(input: &str, number: usize, found: &[String]) -> String {
    match nearest(input, found.iter().map(String::as_str)) {
        Some(name) => format!("rename array `{name}` to `{input}` or `in_{number}`"),
        None => format!("save it as `numpy.savez(file, in_{number}=..., labels=...)`"),
    }
}

impl Explain for DataError {
    fn diagnostics(&self) -> Vec<Diagnostic> {
        let said = Diagnostic::error(self.to_string());
        vec![match self {
            Self::Open { .. } | Self::Preprocess(_) => said,
            Self::Read { .. } | Self::Truncated { .. } | Self::Damaged { .. } => {
                said.help("fetch or write the file again, it is incomplete or damaged")
            }
            Self::TrailingBytes { .. } => {
                said.help("write the file again: its header and its content disagree")
            }
            Self::ElementType { .. } => said
                .note("read are f32, f64, u8, i8, i32, i64 and bool")
                .help("convert the array, for example with `.astype(numpy.float32)`"),
            Self::FortranOrder { .. } => {
                said.help("save `numpy.ascontiguousarray(array)` instead of `array`")
            }
            Self::Shape { wanted, .. } => said
                .note(format!("one input takes {} values", product_text(wanted)))
                .help("reshape the data: the first axis counts the inputs, the rest must fit"),
            Self::ImageSize { .. } => {
                said.help("resize the images before: ohmc never changes a size by itself")
            }
            Self::ImageDepth { .. } => said.help("save the image with 8 bits a channel"),
            Self::Conversion { file, input, index, position, to, .. } => said
                .at(file, format!("input {index}, `{input}` at {position:?}"))
                .help(format!("convert the array to {to} yourself, if the loss is meant")),
            Self::NotFinite { file, input, index, position, .. } => said
                .at(file, format!("input {index}, `{input}` at {position:?}"))
                .help("mend or leave out this input"),
            Self::LabelCount { .. } => {
                said.help("give the labels that belong to these inputs with `--labels`")
            }
            Self::LabelShape { .. } => {
                said.help("save class numbers, for example `labels.argmax(axis=1)`")
            }
            Self::LabelValue { file, index, .. } => said.at(file, format!("input {index}")),
            Self::MissingArray { input, number, found, .. } => said
                .note(format!("found {}", Names(found)))
                .help(missing_array_help(input, *number, found)),
            Self::InputCounts { .. } => {
                said.help("every array counts the inputs on its first axis")
            }
            Self::OneTensor { .. } => {
                said.help("put the inputs into one `.npz`, an array for each name")
            }
            Self::Empty { .. } => said.note(format!("read are {UNDERSTOOD}")),
            Self::UnknownFormat { found, .. } => {
                said.note(format!("found {}", Names(found))).note(format!("read are {UNDERSTOOD}"))
            }
            Self::MixedFormats { examples, .. } => said
                .note(format!("for example {}", Names(examples)))
                .help("name one of the files, or keep the formats in folders of their own"),
            Self::Ambiguous { found, .. } => {
                said.note(format!("found {}", Names(found))).help("name the file that is meant")
            }
        }]
    }
}

/// `3 x 32 x 32 = 3072`, so that a reader sees which axis is off.
fn product_text(shape: &[usize]) -> String {
    let factors: Vec<String> = shape.iter().map(usize::to_string).collect();
    let product = shape.iter().fold(1u128, |n, &extent| n.saturating_mul(extent as u128));
    match shape.len() {
        0 | 1 => product.to_string(),
        _ => format!("{} = {product}", factors.join(" x ")),
    }
}

#[cfg(test)]
mod tests {
    //! Errors carry the numbers, and lists stay short.

    use super::*;

    #[test]
    fn a_shape_error_gives_both_shapes_and_the_product() {
        let error = DataError::Shape {
            file: "x.npy".into(),
            input: "image".into(),
            found: vec![10, 28],
            wanted: vec![1, 28, 28],
        };
        let text = error.diagnostics()[0].to_string();
        assert!(text.contains("[10, 28]") && text.contains("[1, 28, 28]"), "{text}");
        assert!(text.contains("1 x 28 x 28 = 784"), "{text}");
    }

    #[test]
    fn a_mistyped_array_is_recognised() {
        let found = vec!["imagee".to_owned(), "y".to_owned()];
        let error = DataError::MissingArray {
            file: "x.npz".into(),
            input: "image".into(),
            number: 0,
            found,
        };
        assert!(error.diagnostics()[0].to_string().contains("rename array `imagee`"));
    }

    #[test]
    fn long_lists_are_cut() {
        let names: Vec<String> = (0..13).map(|i| i.to_string()).collect();
        assert!(Names(&names).to_string().ends_with("`9` and 3 more"));
    }
}
