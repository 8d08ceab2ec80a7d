//! Where files come from.
//!
//! The library opens nothing by itself: whoever calls it hands in something
//! that implements [`Files`]. The command line implements it over the file
//! system; tests use [`MemoryFiles`]. The front-end fetches a model's external
//! weights through the same trait.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Cursor, Read, Seek};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// An open file. Seeking is used for archives and for the length of a file
/// only, so a pipe whose seeks fail still serves for every streamed format.
pub trait ReadSeek: Read + Seek + Send {}

impl<T: Read + Seek + Send> ReadSeek for T {}

/// Opens and lists files for the library.
pub trait Files: Send + Sync {
    /// Opens a file at its first byte; one path may be open several times.
    fn open(&self, path: &Path) -> io::Result<Box<dyn ReadSeek>>;

    /// The entries of a folder as full paths, sorted by name, so that the
    /// order never depends on the file system.
    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>>;

    /// Whether this is a folder.
    fn is_dir(&self, path: &Path) -> bool;

    /// Whether there is a file or a folder of this name.
    fn exists(&self, path: &Path) -> bool;
}

/// Files that exist in memory only, for tests and for callers that got their
/// data from elsewhere. A folder exists as soon as a file in it does.
#[derive(Debug, Clone, Default)]
pub struct MemoryFiles {
    contents: BTreeMap<PathBuf, Arc<[u8]>>,
    folders: BTreeSet<PathBuf>,
}

impl MemoryFiles {
    /// No files.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a file, or replaces it.
    pub fn insert(&mut self, path: impl Into<PathBuf>, bytes: impl Into<Vec<u8>>) {
        let path = path.into();
        if let Some(parent) = path.parent() {
            self.insert_folder(parent);
        }
        self.contents.insert(path, bytes.into().into());
    }

    /// Adds a folder, which may stay empty.
    pub fn insert_folder(&mut self, path: impl Into<PathBuf>) {
        self.folders.extend(path.into().ancestors().map(Path::to_path_buf));
    }

    /// The same with one file more, to build a set in one expression.
    #[must_use]
    pub fn with(mut self, path: impl Into<PathBuf>, bytes: impl Into<Vec<u8>>) -> Self {
        self.insert(path, bytes);
        self
    }
}

/// The bytes of one file of a [`MemoryFiles`], shared rather than copied.
struct SharedBytes(Arc<[u8]>);

impl AsRef<[u8]> for SharedBytes {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

fn not_found(path: &Path) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, format!("there is no `{}`", path.display()))
}

impl Files for MemoryFiles {
    fn open(&self, path: &Path) -> io::Result<Box<dyn ReadSeek>> {
        let bytes = self.contents.get(path).ok_or_else(|| not_found(path))?;
        Ok(Box::new(Cursor::new(SharedBytes(Arc::clone(bytes)))))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        if !self.is_dir(dir) {
            return Err(not_found(dir));
        }
        let entries = self.contents.keys().chain(&self.folders);
        let here: BTreeSet<PathBuf> =
            entries.filter(|path| path.parent() == Some(dir)).cloned().collect();
        Ok(here.into_iter().collect())
    }

    fn is_dir(&self, path: &Path) -> bool {
        self.folders.contains(path)
    }

    fn exists(&self, path: &Path) -> bool {
        self.contents.contains_key(path) || self.is_dir(path)
    }
}

#[cfg(test)]
mod tests {
    //! The in-memory files behave as a file system does.
    #![allow(clippy::unwrap_used, reason = "a failed test may panic")]

    use super::*;

    #[test]
    fn folders_exist_through_their_files_and_list_in_order() {
        let files = MemoryFiles::new().with("a/c.bin", *b"c").with("a/b/x.bin", *b"x");
        assert!(files.is_dir(Path::new("a")) && files.is_dir(Path::new("a/b")));
        assert!(!files.is_dir(Path::new("a/c.bin")) && files.exists(Path::new("a/c.bin")));
        let listed = files.list(Path::new("a")).unwrap();
        assert_eq!(listed, [PathBuf::from("a/b"), PathBuf::from("a/c.bin")]);
    }

    #[test]
    fn what_was_inserted_is_read_back_and_what_was_not_is_named() {
        let files = MemoryFiles::new().with("a/c.bin", *b"bytes");
        let mut read = Vec::new();
        // Who does not seek may forget that it could.
        let mut plain: Box<dyn Read + Send> = files.open(Path::new("a/c.bin")).unwrap();
        plain.read_to_end(&mut read).unwrap();
        assert_eq!(read, b"bytes");
        let error = files.open(Path::new("a/d.bin")).err().unwrap();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        assert!(error.to_string().contains("a/d.bin"));
        assert!(files.list(Path::new("b")).is_err());
    }
}
