//! One file read front to back, unpacked if it is gzip, with its position
//! kept for error messages.
//!
//! Nothing here trusts a length that a header announces: a row is read as far
//! as there are bytes, and memory grows with what really came.

use std::io::{self, BufReader, Cursor, Read, SeekFrom};
use std::path::Path;

use flate2::bufread::MultiGzDecoder;

use super::error::DataError;
use super::files::{Files, ReadSeek};

/// How many first bytes of a file are looked at to tell its format.
const HEAD_BYTES: usize = 16;

/// No more than this is reserved before any of it has arrived.
const RESERVE_BYTES_MAX: u64 = 16 << 20;

/// How far the excess of a file is counted for the error message about it.
const EXCESS_BYTES_MAX: u64 = 1 << 30;

/// A file (or an array of an archive) being read.
pub(super) struct Stream {
    /// The file's name for messages.
    pub file: String,
    reader: Box<dyn Read + Send>,
    head: Vec<u8>,
    position: u64,
    size: Option<u64>,
}

impl Stream {
    /// Opens a file; whether it is packed is told from its first bytes, since
    /// names are changed more often than contents.
    pub fn open(files: &dyn Files, path: &Path) -> Result<Self, DataError> {
        let file = path.display().to_string();
        let failed = |source| DataError::Open { file: file.clone(), source };
        let mut raw = files.open(path).map_err(failed)?;
        let size = size_of(raw.as_mut());
        let mut reader = BufReader::with_capacity(1 << 16, raw);
        let magic = read_head(&mut reader, 2).map_err(failed)?;
        let packed = magic == [0x1f, 0x8b];
        let whole = Cursor::new(magic).chain(reader);
        if packed {
            Self::new(file, Box::new(MultiGzDecoder::new(BufReader::new(whole))), None)
        } else {
            Self::new(file, Box::new(whole), size)
        }
    }

    /// Reads from anything; `size` is the number of bytes if it is known.
    pub fn new(
        file: String,
        mut reader: Box<dyn Read + Send>,
        size: Option<u64>,
    ) -> Result<Self, DataError> {
        let head = read_head(&mut reader, HEAD_BYTES).map_err(|source| DataError::Read {
            file: file.clone(),
            position: 0,
            source,
        })?;
        let reader = Box::new(Cursor::new(head.clone()).chain(reader));
        Ok(Self { file, reader, head, position: 0, size })
    }

    /// The file's first bytes, at most 16, wherever reading stands.
    pub fn head(&self) -> &[u8] {
        &self.head
    }

    /// Bytes read so far, after unpacking.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// The file's size where it is known without reading: not for gzip.
    pub fn size(&self) -> Option<u64> {
        self.size
    }

    /// Reads up to `n_bytes`; fewer only where the file ends.
    pub fn read(&mut self, n_bytes: u64) -> Result<Vec<u8>, DataError> {
        let reserve = usize::try_from(n_bytes.min(RESERVE_BYTES_MAX)).unwrap_or(0);
        let mut bytes = Vec::with_capacity(reserve);
        let outcome = self.reader.by_ref().take(n_bytes).read_to_end(&mut bytes);
        self.position += bytes.len() as u64;
        match outcome {
            Ok(_) => Ok(bytes),
            Err(source) => {
                Err(DataError::Read { file: self.file.clone(), position: self.position, source })
            }
        }
    }

    /// Reads exactly `n_bytes`, else says that a file of `expected` bytes was
    /// cut short.
    pub fn read_exactly(&mut self, n_bytes: u64, expected: u64) -> Result<Vec<u8>, DataError> {
        let bytes = self.read(n_bytes)?;
        if (bytes.len() as u64) < n_bytes {
            let file = self.file.clone();
            return Err(DataError::Truncated { file, expected, found: self.position });
        }
        Ok(bytes)
    }

    /// Checks that the file ends here. This also makes an unpacker compare
    /// its checksum.
    pub fn expect_end(&mut self) -> Result<(), DataError> {
        let expected = self.position;
        let excess = io::copy(&mut self.reader.by_ref().take(EXCESS_BYTES_MAX), &mut io::sink());
        match excess {
            Ok(0) => Ok(()),
            Ok(n) => {
                let file = self.file.clone();
                Err(DataError::TrailingBytes { file, expected, found: expected + n })
            }
            Err(source) => {
                Err(DataError::Read { file: self.file.clone(), position: self.position, source })
            }
        }
    }
}

/// The length of a seekable file, which is then at its start again.
fn size_of(file: &mut dyn ReadSeek) -> Option<u64> {
    let size = file.seek(SeekFrom::End(0)).ok()?;
    file.seek(SeekFrom::Start(0)).ok()?;
    // A device that is no file reports 0; it is not known to be empty.
    (size > 0).then_some(size)
}

fn read_head(reader: &mut impl Read, n_bytes: usize) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    reader.take(n_bytes as u64).read_to_end(&mut head)?;
    Ok(head)
}

#[cfg(test)]
mod tests {
    //! Packed or not, a file reads alike, and damage is noticed.
    #![allow(clippy::unwrap_used, reason = "a failed test may panic")]

    use super::super::testing::gzip;
    use super::*;
    use crate::data::MemoryFiles;

    fn open(bytes: &[u8]) -> Stream {
        let files = MemoryFiles::new().with("x", bytes);
        Stream::open(&files, Path::new("x")).unwrap()
    }

    #[test]
    fn gzip_is_told_by_content() {
        let content: Vec<u8> = (0..100).collect();
        for bytes in [content.clone(), gzip(&content)] {
            let mut stream = open(&bytes);
            assert_eq!(stream.head(), &content[..16]);
            assert_eq!(stream.read(60).unwrap(), &content[..60]);
            assert_eq!(stream.read(60).unwrap(), &content[60..]);
            assert_eq!(stream.position(), 100);
            stream.expect_end().unwrap();
        }
        assert_eq!(open(&content).size(), Some(100));
        assert_eq!(open(&gzip(&content)).size(), None);
    }

    #[test]
    fn parts_of_a_gzip_file_follow_each_other() {
        let mut bytes = gzip(b"abc");
        bytes.extend(gzip(b"def"));
        assert_eq!(open(&bytes).read(10).unwrap(), b"abcdef");
    }

    #[test]
    fn short_and_long_files_are_told_with_both_sizes() {
        let error = open(b"abcd").read_exactly(6, 6).unwrap_err();
        assert!(matches!(error, DataError::Truncated { expected: 6, found: 4, .. }), "{error}");
        let mut stream = open(b"abcd");
        stream.read(1).unwrap();
        let error = stream.expect_end().unwrap_err();
        assert!(matches!(error, DataError::TrailingBytes { expected: 1, found: 4, .. }), "{error}");
    }

    #[test]
    fn a_damaged_gzip_file_is_an_error() {
        let packed = gzip(&[7u8; 1000]);
        let mut stream = open(&packed[..packed.len() - 9]);
        assert!(matches!(stream.read(1001), Err(DataError::Read { .. })));
        let mut wrong_sum = packed.clone();
        let at = packed.len() - 6;
        wrong_sum[at] ^= 1;
        let mut stream = open(&wrong_sum);
        let outcome = stream.read(1000).map(|_| ()).and_then(|()| stream.expect_end());
        assert!(matches!(outcome, Err(DataError::Read { .. })));
    }

    #[test]
    fn an_announced_length_reserves_no_memory() {
        assert_eq!(open(b"abc").read(u64::MAX).unwrap(), b"abc");
    }
}
