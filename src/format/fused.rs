//! A file that takes everything once it has failed.
//!
//! A zip writer that is dropped half-way writes the end of its archive all the
//! same, and prints that it cannot. The archive is lost anyway, and the error
//! was reported where it happened.

use std::io::{self, Seek, SeekFrom, Write};

/// A file up to its first error, nothing from there on.
pub(super) struct Fused<'a, F> {
    file: &'a mut F,
    has_failed: bool,
    /// Where the file is, or would be.
    position: u64,
}

impl<'a, F> Fused<'a, F> {
    /// At the start of an empty file.
    pub fn new(file: &'a mut F) -> Self {
        Self { file, has_failed: false, position: 0 }
    }

    fn noting<T>(&mut self, done: io::Result<T>) -> io::Result<T> {
        self.has_failed = done.is_err();
        done
    }
}

impl<F: Write> Write for Fused<'_, F> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = match self.has_failed {
            true => bytes.len(),
            false => {
                let done = self.file.write(bytes);
                self.noting(done)?
            }
        };
        self.position += n as u64;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.has_failed {
            return Ok(());
        }
        let done = self.file.flush();
        self.noting(done)
    }
}

impl<F: Seek> Seek for Fused<'_, F> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.position = match (self.has_failed, to) {
            (false, _) => {
                let done = self.file.seek(to);
                self.noting(done)?
            }
            (true, SeekFrom::Start(position)) => position,
            (true, SeekFrom::Current(by) | SeekFrom::End(by)) => {
                self.position.saturating_add_signed(by)
            }
        };
        Ok(self.position)
    }
}

#[cfg(test)]
mod tests {
    //! The first error is told, and is the last.

    use super::*;

    #[test]
    fn a_file_that_failed_takes_everything() {
        /// Has room for four bytes.
        struct Small(io::Cursor<Vec<u8>>);
        impl Write for Small {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                match self.0.position() as usize + bytes.len() {
                    0..=4 => self.0.write(bytes),
                    _ => Err(io::ErrorKind::StorageFull.into()),
                }
            }
            fn flush(&mut self) -> io::Result<()> {
                self.0.flush()
            }
        }
        impl Seek for Small {
            fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
                self.0.seek(to)
            }
        }
        let mut small = Small(io::Cursor::new(Vec::new()));
        let mut fused = Fused::new(&mut small);
        fused.write_all(b"abcd").unwrap();
        assert!(fused.write_all(b"ef").is_err());
        fused.write_all(b"gh").unwrap();
        fused.flush().unwrap();
        assert_eq!(fused.seek(SeekFrom::Start(2)).unwrap(), 2);
        assert_eq!(fused.seek(SeekFrom::Current(3)).unwrap(), 5);
        fused.write_all(b"ij").unwrap();
        assert_eq!(small.0.into_inner(), b"abcd");
    }
}
