//! Opening a data set of whatever format, and reading it batch by batch.

use std::path::{Path, PathBuf};

use super::adapt::{Adapter, Column, InputSpec};
use super::array::ArrayFile;
use super::cifar::Cifar;
use super::files::Files;
use super::folder::{self, Chosen, Content};
use super::images::{self, Images, Picture};
use super::preprocess::PreprocessError;
use super::stream::Stream;
use super::{Batch, DataError, DataOptions, Part, Rows, Source, idx, npy, npz};
use crate::tensor::ElementType;

/// How many inputs are counted at a time where only their number matters.
const COUNT_AT_ONCE: usize = 256;

/// An opened data set. It keeps its place: batches follow each other to the
/// end, and reading it again means opening it again.
pub struct DataSet<'a> {
    name: String,
    source: Box<dyn Source + 'a>,
    adapters: Vec<Adapter>,
    labels: Option<ArrayFile>,
    part: Option<Part>,
    wanted: Part,
    limit: Option<u64>,
    n_read: u64,
    is_done: bool,
}

/// Opens a file or a folder as inputs for a model.
///
/// A folder may have a training and a test part; `options.part` says which
/// one is meant. Without that part, data that is not divided is taken, else
/// the other part: see [`DataSet::has_own_part`].
///
/// # Errors
/// Whatever can be told without reading all of it: no file, an unknown format
/// or several, shapes that do not fit `inputs`, preprocessing that cannot be
/// done, another number of labels than of inputs.
pub fn open<'a>(
    files: &'a dyn Files,
    path: &Path,
    options: &DataOptions,
    inputs: &[InputSpec],
) -> Result<DataSet<'a>, DataError> {
    check_preprocess(options, inputs)?;
    let name = path.display().to_string();
    let chosen = if files.is_dir(path) {
        folder::choose(files, path, options.part)?
    } else {
        let labels = folder::labels_beside(files, path);
        Chosen { content: Content::File { inputs: path.to_path_buf(), labels }, part: None }
    };
    let (source, mut labels) = open_content(files, &name, chosen.content, inputs)?;
    if let Some(path) = &options.labels {
        labels = Some(open_labels(files, path)?);
    }
    let columns = source.columns();
    if columns.len() != inputs.len() {
        let inputs: Vec<String> = inputs.iter().map(|spec| spec.name.clone()).collect();
        return Err(DataError::OneTensor { file: name, n_inputs: inputs.len(), inputs });
    }
    let adapters = columns
        .into_iter()
        .zip(inputs)
        .map(|(column, spec)| Adapter::new(column, spec, &options.preprocess))
        .collect::<Result<Vec<_>, _>>()?;
    let data = DataSet {
        name,
        source,
        adapters,
        labels,
        part: chosen.part,
        wanted: options.part,
        limit: options.limit,
        n_read: 0,
        is_done: false,
    };
    if data.source.n_inputs() == Some(0) {
        return Err(DataError::Empty { file: data.name });
    }
    if let Some(n_inputs) = data.source.n_inputs() {
        data.check_label_count(n_inputs)?;
    }
    Ok(data)
}

impl DataSet<'_> {
    /// How many inputs there are, after the limit; `None` where the format
    /// tells only at its end (packed CIFAR-10).
    pub fn len(&self) -> Option<u64> {
        let n_inputs = self.source.n_inputs()?;
        Some(self.limit.map_or(n_inputs, |limit| limit.min(n_inputs)))
    }

    /// Whether it is known that there are no inputs, which only a limit of 0
    /// brings about.
    pub fn is_empty(&self) -> bool {
        self.limit == Some(0)
    }

    /// The part that the inputs come from; `None` for data that is not
    /// divided into parts.
    pub fn part(&self) -> Option<Part> {
        self.part
    }

    /// Whether the inputs come from the part that was asked for. If not,
    /// calibration on them may be calibration on what is evaluated: the
    /// caller must look for other data or say so.
    pub fn has_own_part(&self) -> bool {
        self.part == Some(self.wanted)
    }

    /// Whether batches come with labels.
    pub fn has_labels(&self) -> bool {
        self.labels.is_some() || self.source.has_labels()
    }

    /// The next `n` inputs (at least one is read), fewer at the end, then
    /// `None`.
    ///
    /// # Errors
    /// Damage to the file at this place, a value that the model cannot take.
    /// After an error there are no more batches.
    pub fn next_batch(&mut self, n: usize) -> Result<Option<Batch>, DataError> {
        if self.is_done {
            return Ok(None);
        }
        let batch = self.read_batch(n);
        self.is_done = !matches!(batch, Ok(Some(_)));
        batch
    }

    fn read_batch(&mut self, n: usize) -> Result<Option<Batch>, DataError> {
        let first = self.n_read;
        let left = self.limit.map_or(u64::MAX, |limit| limit.saturating_sub(first));
        let n = usize::try_from(left).unwrap_or(usize::MAX).min(n.max(1));
        if n == 0 {
            return Ok(None);
        }
        let rows = self.source.read(n)?;
        if rows.n == 0 {
            return match first {
                0 => Err(DataError::Empty { file: self.name.clone() }),
                n_inputs => self.check_label_count(n_inputs).map(|()| None),
            };
        }
        self.n_read += rows.n as u64;
        let labels = match &mut self.labels {
            Some(labels) => Some(labels.read_labels(rows.n as u64)?),
            None => rows.labels,
        };
        if labels.as_ref().is_some_and(|labels| labels.len() < rows.n) {
            return Err(self.too_few_labels());
        }
        let inputs = self
            .adapters
            .iter()
            .zip(rows.columns)
            .map(|(adapter, values)| adapter.apply(first, rows.n, values))
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Some(Batch { first, n: rows.n, inputs, labels }))
    }

    fn check_label_count(&self, n_inputs: u64) -> Result<(), DataError> {
        match &self.labels {
            Some(labels) if labels.n_rows() != n_inputs => Err(DataError::LabelCount {
                inputs: self.name.clone(),
                n_inputs,
                labels: labels.file().to_owned(),
                n_labels: labels.n_rows(),
            }),
            _ => Ok(()),
        }
    }

    /// Counts the rest of the inputs, so that the message has both numbers.
    fn too_few_labels(&mut self) -> DataError {
        let mut n_inputs = self.n_read;
        loop {
            match self.source.read(COUNT_AT_ONCE) {
                Ok(rows) if rows.n > 0 => n_inputs += rows.n as u64,
                Ok(_) => break,
                Err(error) => return error,
            }
        }
        let (labels, n_labels) = match &self.labels {
            Some(labels) => (labels.file().to_owned(), labels.n_rows()),
            None => (self.name.clone(), 0),
        };
        DataError::LabelCount { inputs: self.name.clone(), n_inputs, labels, n_labels }
    }
}

/// What can be said of preprocessing without the data.
fn check_preprocess(options: &DataOptions, inputs: &[InputSpec]) -> Result<(), PreprocessError> {
    options.preprocess.check()?;
    let is_float =
        |spec: &InputSpec| matches!(spec.element_type, ElementType::F32 | ElementType::F64);
    match inputs.first() {
        Some(first) if options.preprocess.is_explicit() && !inputs.iter().any(is_float) => {
            let (input, takes) = (first.name.clone(), first.element_type.to_string());
            Err(PreprocessError::NoFloatInput { input, takes })
        }
        _ => Ok(()),
    }
}

type Opened<'a> = (Box<dyn Source + 'a>, Option<ArrayFile>);

fn open_content<'a>(
    files: &'a dyn Files,
    name: &str,
    content: Content,
    specs: &[InputSpec],
) -> Result<Opened<'a>, DataError> {
    match content {
        Content::Cifar(paths) => Ok((Box::new(Cifar::open(files, &paths)?), None)),
        Content::Images(pictures) => {
            let spec = only_input(name, specs)?;
            Ok((Box::new(Images::open(files, name.to_owned(), pictures, spec)?), None))
        }
        Content::File { inputs, labels } => {
            let (source, own_labels) = open_file(files, &inputs, specs)?;
            let labels = labels.map(|path| open_labels(files, &path)).transpose()?;
            Ok((source, labels.or(own_labels)))
        }
    }
}

/// Opens one file of whatever format its first bytes tell.
fn open_file<'a>(
    files: &'a dyn Files,
    path: &Path,
    specs: &[InputSpec],
) -> Result<Opened<'a>, DataError> {
    let stream = Stream::open(files, path)?;
    let head = stream.head();
    let name = stream.file.clone();
    if head.is_empty() {
        return Err(DataError::Empty { file: name });
    }
    if npz::is_zip(head) {
        let arrays = npz::open(files, path, specs)?;
        return Ok((Box::new(Arrays::new(arrays.inputs, false)?), arrays.labels));
    }
    if npy::is_npy(head) {
        let array = npy::open_inputs(stream, only_input(&name, specs)?)?;
        return Ok((Box::new(Arrays::new(vec![array], false)?), None));
    }
    if images::is_image(head) {
        let pictures = vec![Picture { path: path.to_path_buf(), label: None }];
        return Ok((
            Box::new(Images::open(files, name.clone(), pictures, only_input(&name, specs)?)?),
            None,
        ));
    }
    // CIFAR-10 has no first bytes of its own, so its name decides.
    if is_named_bin(path) {
        let paths: [PathBuf; 1] = [path.to_path_buf()];
        return Ok((Box::new(Cifar::open(files, &paths)?), None));
    }
    if idx::is_idx(head) {
        return Ok((Box::new(Arrays::new(vec![idx::open(stream)?], true)?), None));
    }
    let found = vec![format!("first bytes {head:02x?}")];
    Err(DataError::UnknownFormat { file: name, found })
}

fn is_named_bin(path: &Path) -> bool {
    let name = path.to_string_lossy().to_lowercase();
    name.strip_suffix(".gz").unwrap_or(&name).ends_with(".bin")
}

fn open_labels(files: &dyn Files, path: &Path) -> Result<ArrayFile, DataError> {
    let stream = Stream::open(files, path)?;
    let head = stream.head();
    let array = if npy::is_npy(head) {
        npy::open(stream)
    } else if idx::is_idx(head) {
        idx::open(stream)
    } else {
        let found = vec![format!("first bytes {head:02x?}")];
        Err(DataError::UnknownFormat { file: stream.file, found })
    };
    array?.expect_labels()
}

/// The model's input, for formats that give one tensor an input.
fn only_input<'s>(file: &str, specs: &'s [InputSpec]) -> Result<&'s InputSpec, DataError> {
    match specs {
        [only] => Ok(only),
        _ => Err(DataError::OneTensor {
            file: file.to_owned(),
            n_inputs: specs.len(),
            inputs: specs.iter().map(|spec| spec.name.clone()).collect(),
        }),
    }
}

/// Arrays of equal length read side by side, one for each input of the model.
struct Arrays {
    arrays: Vec<ArrayFile>,
    may_be_images: bool,
}

impl Arrays {
    fn new(arrays: Vec<ArrayFile>, may_be_images: bool) -> Result<Self, DataError> {
        let Some((first, others)) = arrays.split_first() else {
            return Ok(Self { arrays, may_be_images });
        };
        if let Some(other) = others.iter().find(|other| other.n_rows() != first.n_rows()) {
            return Err(DataError::InputCounts {
                first: first.file().to_owned(),
                n_first: first.n_rows(),
                other: other.file().to_owned(),
                n_other: other.n_rows(),
            });
        }
        Ok(Self { arrays, may_be_images })
    }

    fn n_rows(&self) -> u64 {
        self.arrays.first().map_or(0, ArrayFile::n_rows)
    }
}

impl Source for Arrays {
    fn columns(&self) -> Vec<Column> {
        self.arrays.iter().map(|array| array.column(self.may_be_images)).collect()
    }

    fn n_inputs(&self) -> Option<u64> {
        Some(self.n_rows())
    }

    fn has_labels(&self) -> bool {
        false
    }

    fn read(&mut self, n: usize) -> Result<Rows, DataError> {
        let mut n_read = 0;
        let mut columns = Vec::with_capacity(self.arrays.len());
        for array in &mut self.arrays {
            let before = array.n_rows_read();
            columns.push(array.read(n as u64)?);
            // No more than `n`, which is a usize.
            n_read = (array.n_rows_read() - before) as usize;
        }
        Ok(Rows { n: n_read, columns, labels: None })
    }
}
