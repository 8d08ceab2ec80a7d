//! CIFAR-10's binary form: records of one label byte and 3072 bytes of
//! pixels, the red, the green, then the blue plane of 32 x 32
//! (<https://www.cs.toronto.edu/~kriz/cifar.html>). A part of the set may be
//! cut into several files, which follow each other.

use std::path::PathBuf;

use super::adapt::Column;
use super::files::Files;
use super::stream::Stream;
use super::{DataError, Rows, Source};
use crate::tensor::{ElementType, Values};

const PIXEL_BYTES: usize = 3 * 32 * 32;
const RECORD_BYTES: usize = 1 + PIXEL_BYTES;
const LABEL_MAX: u8 = 9;

/// The records of one or several files.
pub(super) struct Cifar<'a> {
    files: &'a dyn Files,
    /// Files not yet begun, last one first.
    waiting: Vec<PathBuf>,
    current: Option<Stream>,
    n_inputs: Option<u64>,
    /// The first file, which stands for all in messages.
    first: String,
}

impl<'a> Cifar<'a> {
    /// Looks at the files' sizes; packed files do not tell theirs.
    pub fn open(files: &'a dyn Files, paths: &[PathBuf]) -> Result<Self, DataError> {
        let mut n_inputs = Some(0);
        for path in paths {
            let stream = Stream::open(files, path)?;
            check_size(&stream)?;
            let n_records = stream.size().map(|size| size / RECORD_BYTES as u64);
            n_inputs = n_inputs.zip(n_records).map(|(sum, n)| sum + n);
        }
        let waiting = paths.iter().rev().cloned().collect();
        let first = paths.first().map_or(String::new(), |path| path.display().to_string());
        Ok(Self { files, waiting, current: None, n_inputs, first })
    }

    /// The next file's stream, `None` after the last.
    fn stream(&mut self) -> Result<Option<&mut Stream>, DataError> {
        if self.current.is_none() {
            let Some(path) = self.waiting.pop() else { return Ok(None) };
            self.current = Some(Stream::open(self.files, &path)?);
        }
        Ok(self.current.as_mut())
    }
}

impl Source for Cifar<'_> {
    fn columns(&self) -> Vec<Column> {
        let file = self.first.clone();
        let shape = vec![3, 32, 32];
        vec![Column { file, shape, element_type: ElementType::U8, is_image: true }]
    }

    fn n_inputs(&self) -> Option<u64> {
        self.n_inputs
    }

    fn has_labels(&self) -> bool {
        true
    }

    fn read(&mut self, n: usize) -> Result<Rows, DataError> {
        let mut pixels = Vec::new();
        let mut labels = Vec::new();
        while labels.len() < n {
            let Some(stream) = self.stream()? else { break };
            let first = stream.position() / RECORD_BYTES as u64;
            let missing = (n - labels.len()) as u64;
            let bytes = stream.read(missing.saturating_mul(RECORD_BYTES as u64))?;
            let (records, rest) = bytes.as_chunks::<RECORD_BYTES>();
            if !rest.is_empty() {
                return Err(cut_short(&stream.file, stream.position()));
            }
            for (record, index) in records.iter().zip(first..) {
                let (&label, planes) = record.split_first().unwrap_or((&0, &[]));
                check_label(&stream.file, index, label)?;
                labels.push(label.into());
                pixels.extend_from_slice(planes);
            }
            if (records.len() as u64) < missing {
                // All of this file is read, and the unpacker has compared its
                // checksum on the way.
                self.current = None;
            }
        }
        Ok(Rows { n: labels.len(), columns: vec![Values::U8(pixels)], labels: Some(labels) })
    }
}

/// A file of whole records is a multiple of 3073 bytes.
fn check_size(stream: &Stream) -> Result<(), DataError> {
    match stream.size() {
        Some(size) if !size.is_multiple_of(RECORD_BYTES as u64) => {
            Err(cut_short(&stream.file, size))
        }
        _ => Ok(()),
    }
}

fn cut_short(file: &str, found: u64) -> DataError {
    let expected = found.next_multiple_of(RECORD_BYTES as u64);
    DataError::Truncated { file: file.to_owned(), expected, found }
}

fn check_label(file: &str, index: u64, label: u8) -> Result<(), DataError> {
    if label <= LABEL_MAX {
        return Ok(());
    }
    let (file, value) = (file.to_owned(), label.to_string());
    Err(DataError::LabelValue { file, index, value, max: LABEL_MAX.into() })
}

#[cfg(test)]
mod tests {
    //! Records are split as the format says, over files and batches.
    #![allow(clippy::unwrap_used, reason = "a failed test may panic")]

    use super::super::testing::{cifar_record, gzip};
    use super::*;
    use crate::data::MemoryFiles;

    fn records(labels: &[u8]) -> Vec<u8> {
        labels.iter().flat_map(|&label| cifar_record(label)).collect()
    }

    fn two_files(packed: bool) -> MemoryFiles {
        let pack = |bytes: Vec<u8>| if packed { gzip(&bytes) } else { bytes };
        MemoryFiles::new().with("a.bin", pack(records(&[3, 1]))).with("b.bin", pack(records(&[9])))
    }

    #[test]
    fn batches_run_over_the_ends_of_files() {
        for packed in [false, true] {
            let files = two_files(packed);
            let paths = [PathBuf::from("a.bin"), PathBuf::from("b.bin")];
            let mut cifar = Cifar::open(&files, &paths).unwrap();
            assert_eq!(cifar.n_inputs(), (!packed).then_some(3));
            let whole = Cifar::open(&files, &paths).unwrap().read(99).unwrap();
            assert_eq!(whole.labels, Some(vec![3, 1, 9]));
            let Values::U8(pixels) = &whole.columns[0] else { unreachable!() };
            // Red, green and blue of the test records differ.
            assert_eq!([pixels[0], pixels[1024], pixels[2048]], [3, 13, 23]);
            let mut one_by_one = Vec::new();
            while let rows = cifar.read(1).unwrap()
                && rows.n > 0
            {
                let Values::U8(pixels) = &rows.columns[0] else { unreachable!() };
                one_by_one.extend_from_slice(pixels);
            }
            assert_eq!(&one_by_one, pixels);
        }
    }

    #[test]
    fn a_cut_record_is_told_with_both_sizes() {
        let mut bytes = records(&[3, 1]);
        bytes.truncate(4000);
        for packed in [false, true] {
            let bytes = if packed { gzip(&bytes) } else { bytes.clone() };
            let files = MemoryFiles::new().with("a.bin", bytes);
            let error = Cifar::open(&files, &["a.bin".into()])
                .and_then(|mut cifar| cifar.read(5).map(|_| ()))
                .unwrap_err();
            assert!(
                matches!(error, DataError::Truncated { expected: 6146, found: 4000, .. }),
                "{error}"
            );
        }
    }

    #[test]
    fn messages_name_the_file() {
        let files = two_files(false);
        let cifar = Cifar::open(&files, &["a.bin".into(), "b.bin".into()]).unwrap();
        assert_eq!(cifar.columns()[0].file, "a.bin");
    }

    #[test]
    fn a_label_beyond_ten_classes_is_another_format() {
        let files = MemoryFiles::new().with("a.bin", records(&[1, 10]));
        let mut cifar = Cifar::open(&files, &["a.bin".into()]).unwrap();
        let error = cifar.read(5).err().unwrap();
        assert!(matches!(error, DataError::LabelValue { index: 1, max: 9, .. }), "{error}");
    }
}
