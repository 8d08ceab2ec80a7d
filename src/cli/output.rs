//! Writing: results to standard output, and files whole or not at all.
//!
//! A file is written under another name beside its place, synced and renamed.
//! Until then it is known here, so that an interrupt can remove it.

use std::collections::BTreeSet;
use std::fs::{self, File, Permissions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tempfile::NamedTempFile;

use super::error::CliError;
use super::files::name;

/// Files begun and not finished.
static UNFINISHED: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

fn unfinished() -> MutexGuard<'static, BTreeSet<PathBuf>> {
    UNFINISHED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Removes every unfinished file; while the guard lives, none is begun or
/// finished.
pub fn remove_unfinished() -> impl Sized {
    let mut files = unfinished();
    while let Some(file) = files.pop_first() {
        // It may be gone already.
        let _ = fs::remove_file(file);
    }
    files
}

/// A file being written; dropped before [`Output::finish`], it leaves nothing.
#[derive(Debug)]
pub struct Output {
    /// As the user gave it.
    path: PathBuf,
    content: Content,
    /// The first error of the file.
    failed: Option<io::Error>,
}

#[derive(Debug)]
enum Content {
    /// Beside its place, to be renamed; `None` once that is done.
    Beside { file: Option<NamedTempFile>, place: PathBuf },
    /// For a device or a pipe, which nothing can be renamed over: a file
    /// without a name, to be copied in at the end.
    Apart(File),
}

impl Output {
    /// Begins a file, so that one that cannot be written is found before the
    /// work and not after it.
    pub fn create(path: &Path) -> Result<Self, CliError> {
        let failed = |error| CliError::Write { file: name(path), source: plain(error) };
        let content = Content::create(path).map_err(failed)?;
        Ok(Self { path: path.to_path_buf(), content, failed: None })
    }

    /// Puts the file where it belongs.
    pub fn finish(mut self) -> Result<(), CliError> {
        self.content.finish(&self.path).map_err(|source| self.failure(source))
    }

    /// What to say of an error that writing gave.
    pub fn failure(&self, source: io::Error) -> CliError {
        CliError::Write { file: name(&self.path), source }
    }

    /// Has all of it written by something that knows a format, and finishes.
    /// What the system says of the file comes before what the format makes of
    /// it.
    pub fn finish_by<E: Into<CliError>>(
        mut self,
        write: impl FnOnce(&mut Self) -> Result<(), E>,
    ) -> Result<(), CliError> {
        let written = write(&mut self);
        match (self.failed.take(), written) {
            (Some(source), _) => Err(self.failure(source)),
            (None, Err(error)) => Err(error.into()),
            (None, Ok(())) => self.finish(),
        }
    }

    /// Writes all of it and finishes.
    pub fn finish_with(mut self, bytes: &[u8]) -> Result<(), CliError> {
        self.write_all(bytes).map_err(|source| self.failure(source))?;
        self.finish()
    }
}

impl Content {
    fn create(path: &Path) -> io::Result<Self> {
        let (place, replaced) = match fs::metadata(path) {
            Ok(found) if found.is_dir() => {
                return Err(io::Error::from(io::ErrorKind::IsADirectory));
            }
            // Renaming would replace what is protected against writing.
            Ok(found) if found.permissions().readonly() => {
                return Err(io::Error::from(io::ErrorKind::PermissionDenied));
            }
            // A link stays one, what it leads to is replaced.
            Ok(found) if found.is_file() => (path.canonicalize()?, Some(found.permissions())),
            Ok(_) => return Ok(Self::Apart(tempfile::tempfile()?)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => (path.to_path_buf(), None),
            Err(error) => return Err(error),
        };
        let folder = match place.parent() {
            Some(folder) if folder != Path::new("") => folder,
            _ => Path::new("."),
        };
        // Asked first, since the system's own words are lost in what follows.
        fs::metadata(folder)?;
        let mut unfinished = unfinished();
        let mut begin = tempfile::Builder::new();
        begin.prefix(".ohmc-");
        set_permissions(&mut begin, replaced);
        let file = begin.tempfile_in(folder)?;
        unfinished.insert(file.path().to_path_buf());
        Ok(Self::Beside { file: Some(file), place })
    }

    fn file(&mut self) -> io::Result<&mut File> {
        match self {
            Self::Beside { file: Some(file), .. } => Ok(file.as_file_mut()),
            Self::Apart(file) => Ok(file),
            Self::Beside { file: None, .. } => Err(io::Error::other("the file is finished")),
        }
    }

    fn finish(&mut self, path: &Path) -> io::Result<()> {
        match self {
            Self::Beside { file, place } => {
                let Some(file) = file.take() else { return Ok(()) };
                let begun = file.path().to_path_buf();
                let synced = file.as_file().sync_all();
                let mut unfinished = unfinished();
                let moved = synced.and_then(|()| Ok(file.persist(&*place).map(drop)?));
                unfinished.remove(&begun);
                moved?;
                // The new name lasts only once its folder is on the disk too;
                // not every system can do that, and the file is whole anyway.
                if let Some(folder) = place.parent().and_then(|folder| File::open(folder).ok()) {
                    let _ = folder.sync_all();
                }
                Ok(())
            }
            Self::Apart(content) => {
                content.seek(SeekFrom::Start(0))?;
                let mut place = fs::OpenOptions::new().write(true).open(path)?;
                io::copy(content, &mut place).map(drop)
            }
        }
    }
}

impl Drop for Content {
    fn drop(&mut self) {
        if let Self::Beside { file: Some(file), .. } = self {
            unfinished().remove(file.path());
        }
    }
}

/// What the system says, without the temporary name that nobody gave.
fn plain(error: io::Error) -> io::Error {
    match error.raw_os_error() {
        Some(_) => error,
        None => io::Error::from(error.kind()),
    }
}

/// As another program would make the file: what the user's mask leaves, or what
/// the file has that it replaces.
#[cfg(unix)]
fn set_permissions(begin: &mut tempfile::Builder<'_, '_>, replaced: Option<Permissions>) {
    use std::os::unix::fs::PermissionsExt;
    begin.permissions(replaced.unwrap_or_else(|| Permissions::from_mode(0o666)));
}

/// Elsewhere a temporary file is like any other.
#[cfg(not(unix))]
fn set_permissions(_: &mut tempfile::Builder<'_, '_>, _: Option<Permissions>) {}

impl Output {
    /// Does something with the file, and keeps its error, which whoever asked
    /// may pass on as words alone.
    fn on_file<T>(&mut self, act: impl Fn(&mut File) -> io::Result<T>) -> io::Result<T> {
        self.content.file().and_then(act).inspect_err(|error| {
            let again = match error.raw_os_error() {
                Some(code) => io::Error::from_raw_os_error(code),
                None => io::Error::from(error.kind()),
            };
            self.failed.get_or_insert(again);
        })
    }
}

impl Read for Output {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        self.content.file()?.read(bytes)
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.on_file(|file| file.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.on_file(File::flush)
    }
}

impl Seek for Output {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.on_file(|file| file.seek(to))
    }
}

/// Prints a result.
pub fn print(text: &str) -> Result<(), CliError> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).map_err(CliError::Print)
}

/// Prints a result as JSON, on lines of its own.
pub fn print_json(value: &serde_json::Value) -> Result<(), CliError> {
    print(&format!("{value:#}\n"))
}

/// `1 input`, `2 inputs`.
pub fn counted(n: u64, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

/// Says something beside the results.
pub fn remark(text: &str) {
    // Nobody is left to tell when standard error is closed.
    let _ = writeln!(io::stderr().lock(), "{text}");
}

#[cfg(test)]
mod tests {
    //! A file is there whole, or as it was.
    #![allow(clippy::unwrap_used, reason = "a failed test may panic")]

    use super::*;

    #[test]
    fn a_file_appears_when_it_is_finished_and_not_before() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.plan");
        fs::write(&path, "old").unwrap();
        let mut output = Output::create(&path).unwrap();
        output.write_all(b"new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"old");
        output.finish().unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_is_dropped_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        drop(Output::create(&folder.path().join("x.plan")).unwrap());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        assert!(unfinished().iter().all(|file| !file.starts_with(folder.path())));
    }

    #[test]
    fn messages_name_no_temporary_file() {
        let folder = tempfile::tempdir().unwrap();
        let error = Output::create(&folder.path().join("no").join("x.plan")).unwrap_err();
        assert!(!error.to_string().contains(".ohmc-"), "{error}");
    }

    #[cfg(unix)]
    #[test]
    fn what_is_protected_stays_and_a_link_stays_a_link() {
        use std::os::unix::fs::{PermissionsExt, symlink};
        let folder = tempfile::tempdir().unwrap();
        let (path, link) = (folder.path().join("x.plan"), folder.path().join("link"));
        fs::write(&path, "old").unwrap();
        symlink(&path, &link).unwrap();
        Output::create(&link).unwrap().finish_with(b"new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert!(link.symlink_metadata().unwrap().is_symlink());
        fs::set_permissions(&path, Permissions::from_mode(0o444)).unwrap();
        assert!(Output::create(&path).is_err());
    }
}
