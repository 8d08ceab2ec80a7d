//! NumPy's `.npz`: a zip archive of `.npy`, one for each input of the model
//! (by its name, or `in_0`, `in_1`, ...), labels under `labels` or `y`.
//!
//! Each array is read through an opening of the file of its own, so that all
//! of them advance together, batch by batch, without being unpacked first.

use std::io::{self, Read, SeekFrom};
use std::path::Path;

use flate2::CrcReader;
use flate2::read::DeflateDecoder;
use zip::{CompressionMethod, ZipArchive};

use super::adapt::InputSpec;
use super::array::ArrayFile;
use super::files::Files;
use super::stream::Stream;
use super::{DataError, npy};

/// The names under which labels are looked for.
const LABEL_NAMES: [&str; 2] = ["labels", "y"];

/// Whether a file that begins like this is a zip archive.
pub(super) fn is_zip(head: &[u8]) -> bool {
    head.starts_with(b"PK\x03\x04") || head.starts_with(b"PK\x05\x06")
}

/// An archive's arrays for the inputs of a model, in the model's order, and
/// its labels.
pub(super) struct Arrays {
    pub inputs: Vec<ArrayFile>,
    pub labels: Option<ArrayFile>,
}

/// Finds the arrays that the model wants.
pub(super) fn open(
    files: &dyn Files,
    path: &Path,
    specs: &[InputSpec],
) -> Result<Arrays, DataError> {
    let archive = Archive::open(files, path)?;
    let is_input = |name: &str| specs.iter().any(|spec| spec.name == name);
    let is_label = |name: &str| LABEL_NAMES.contains(&name) && !is_input(name);
    let others: Vec<&Entry> =
        archive.entries.iter().filter(|entry| !is_label(&entry.name)).collect();
    let mut inputs = Vec::new();
    for (number, spec) in specs.iter().enumerate() {
        let by_number = format!("in_{number}");
        let named = |name: &str| others.iter().find(|entry| entry.name == name).copied();
        let only = match (specs.len(), others.as_slice()) {
            (1, &[only]) => Some(only),
            _ => None,
        };
        let entry = named(&spec.name).or_else(|| named(&by_number)).or(only);
        let entry = entry.ok_or_else(|| DataError::MissingArray {
            file: archive.file.clone(),
            input: spec.name.clone(),
            number,
            found: archive.entries.iter().map(|entry| entry.name.clone()).collect(),
        })?;
        inputs.push(npy::open_inputs(archive.stream(files, path, entry)?, spec)?);
    }
    let labels = LABEL_NAMES
        .iter()
        .filter(|name| is_label(name))
        .find_map(|name| archive.entries.iter().find(|entry| entry.name == *name))
        .map(|entry| npy::open(archive.stream(files, path, entry)?)?.expect_labels())
        .transpose()?;
    Ok(Arrays { inputs, labels })
}

/// The table of contents of an archive.
struct Archive {
    file: String,
    entries: Vec<Entry>,
}

/// Where an array lies in its archive.
struct Entry {
    /// The array's name, without `.npy`.
    name: String,
    start: u64,
    packed_bytes: u64,
    bytes: u64,
    is_packed: bool,
    crc32: u32,
}

impl Archive {
    fn open(files: &dyn Files, path: &Path) -> Result<Self, DataError> {
        let file = path.display().to_string();
        let raw =
            files.open(path).map_err(|source| DataError::Open { file: file.clone(), source })?;
        let damaged =
            |reason: String| DataError::Damaged { file: file.clone(), format: ".npz", reason };
        let mut archive = ZipArchive::new(raw).map_err(|error| damaged(error.to_string()))?;
        let mut entries = Vec::new();
        for number in 0..archive.len() {
            let entry = archive.by_index_raw(number).map_err(|error| damaged(error.to_string()))?;
            let full_name = entry.name().map_err(|error| damaged(error.to_string()))?;
            let Some(name) = full_name.strip_suffix(".npy") else { continue };
            let name = name.to_owned();
            let is_packed = match entry.compression() {
                CompressionMethod::Stored => false,
                CompressionMethod::Deflated => true,
                other => return Err(damaged(format!("`{name}` is packed by {other}"))),
            };
            if entry.encrypted() {
                return Err(damaged(format!("`{name}` is encrypted")));
            }
            let start =
                entry.data_start().ok_or_else(|| damaged(format!("`{name}` is nowhere")))?;
            let (packed_bytes, bytes) = (entry.compressed_size(), entry.size());
            let crc32 = entry.crc32();
            entries.push(Entry { name, start, packed_bytes, bytes, is_packed, crc32 });
        }
        Ok(Self { file, entries })
    }

    fn stream(&self, files: &dyn Files, path: &Path, entry: &Entry) -> Result<Stream, DataError> {
        let file = format!("{}: {}", self.file, entry.name);
        let failed = |source| DataError::Open { file: file.clone(), source };
        let mut raw = files.open(path).map_err(failed)?;
        raw.seek(SeekFrom::Start(entry.start)).map_err(failed)?;
        let packed = io::BufReader::new(raw.take(entry.packed_bytes));
        let reader: Box<dyn Read + Send> = if entry.is_packed {
            Box::new(Checked::new(DeflateDecoder::new(packed), entry.crc32))
        } else {
            Box::new(Checked::new(packed, entry.crc32))
        };
        Stream::new(file, reader, Some(entry.bytes))
    }
}

/// Compares the checksum when the end is reached.
struct Checked<R> {
    reader: CrcReader<R>,
    wanted: u32,
}

impl<R: Read> Checked<R> {
    fn new(reader: R, wanted: u32) -> Self {
        Self { reader: CrcReader::new(reader), wanted }
    }
}

impl<R: Read> Read for Checked<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.reader.read(buffer)?;
        let found = self.reader.crc().sum();
        if n == 0 && !buffer.is_empty() && found != self.wanted {
            let message = format!("checksum {found:08x}, {:08x} expected", self.wanted);
            return Err(io::Error::new(io::ErrorKind::InvalidData, message));
        }
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    //! Arrays are found by name, read side by side, and checked.
    #![allow(clippy::unwrap_used, reason = "a failed test may panic")]

    use std::io::{Cursor, Write};
    use std::path::Path;

    use zip::ZipWriter;
    use zip::write::SimpleFileOptions;

    use super::super::npy_write::write_npy;
    use super::*;
    use crate::data::MemoryFiles;
    use crate::tensor::{ElementType, Tensor, Values};

    fn npz(arrays: &[(&str, Tensor)], method: CompressionMethod) -> Vec<u8> {
        let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
        for (name, tensor) in arrays {
            let options = SimpleFileOptions::default().compression_method(method);
            archive.start_file(format!("{name}.npy"), options).unwrap();
            let mut bytes = Vec::new();
            write_npy(&mut bytes, tensor).unwrap();
            archive.write_all(&bytes).unwrap();
        }
        archive.finish().unwrap().into_inner()
    }

    fn bytes_tensor(shape: &[usize], values: &[u8]) -> Tensor {
        Tensor::new(shape.to_vec(), Values::U8(values.to_vec())).unwrap()
    }

    fn spec(name: &str, shape: &[usize]) -> InputSpec {
        InputSpec { name: name.into(), shape: shape.to_vec(), element_type: ElementType::U8 }
    }

    fn open_bytes(bytes: Vec<u8>, specs: &[InputSpec]) -> Result<Arrays, DataError> {
        let files = MemoryFiles::new().with("x.npz", bytes);
        open(&files, Path::new("x.npz"), specs)
    }

    #[test]
    fn arrays_are_found_by_name_or_number_and_read_side_by_side() {
        let arrays = [
            ("in_1", bytes_tensor(&[2, 1], &[5, 6])),
            ("image", bytes_tensor(&[2, 2], &[1, 2, 3, 4])),
            ("y", bytes_tensor(&[2], &[8, 9])),
        ];
        for method in [CompressionMethod::Stored, CompressionMethod::Deflated] {
            let specs = [spec("image", &[2]), spec("mask", &[1])];
            let mut found = open_bytes(npz(&arrays, method), &specs).unwrap();
            let mut row = || -> Vec<Values> {
                found.inputs.iter_mut().map(|array| array.read(1).unwrap()).collect()
            };
            assert_eq!(row(), [Values::U8(vec![1, 2]), Values::U8(vec![5])]);
            assert_eq!(row(), [Values::U8(vec![3, 4]), Values::U8(vec![6])]);
            assert_eq!(found.labels.unwrap().read_labels(9).unwrap(), [8, 9]);
        }
    }

    #[test]
    fn the_only_array_serves_the_only_input() {
        let arrays =
            [("arr_0", bytes_tensor(&[2], &[1, 2])), ("labels", bytes_tensor(&[2], &[0, 1]))];
        let bytes = npz(&arrays, CompressionMethod::Stored);
        assert_eq!(open_bytes(bytes.clone(), &[spec("x", &[])]).unwrap().inputs.len(), 1);
        // An input that is called as labels usually are is an input.
        let of_labels = open_bytes(bytes.clone(), &[spec("labels", &[])]).unwrap();
        assert_eq!(of_labels.inputs[0].file(), "x.npz: labels");
        assert!(of_labels.labels.is_none());
        let error = open_bytes(bytes, &[spec("a", &[]), spec("b", &[])]).err().unwrap();
        let DataError::MissingArray { found, input, .. } = error else { unreachable!("{error}") };
        assert_eq!((input.as_str(), found.len()), ("a", 2));
    }

    #[test]
    fn a_flipped_bit_is_noticed() {
        let arrays = [("x", bytes_tensor(&[4], &[1, 2, 3, 4]))];
        let mut bytes = npz(&arrays, CompressionMethod::Stored);
        let at = bytes.windows(4).position(|window| window == [1, 2, 3, 4]).unwrap();
        bytes[at] ^= 64;
        let mut found = open_bytes(bytes, &[spec("x", &[])]).unwrap();
        let error = found.inputs[0].read(4).unwrap_err();
        assert!(error.to_string().contains("checksum"), "{error}");
    }

    #[test]
    fn a_cut_archive_is_an_error() {
        let arrays = [("x", bytes_tensor(&[4], &[1, 2, 3, 4]))];
        let whole = npz(&arrays, CompressionMethod::Deflated);
        for length in 0..whole.len() {
            let opened = open_bytes(whole[..length].to_vec(), &[spec("x", &[])]);
            assert!(matches!(opened, Err(DataError::Damaged { .. })), "{length} bytes");
        }
    }
}
