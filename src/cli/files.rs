//! Reading files: the library's [`Files`] over the file system, and small
//! files whole.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use ohmc::data::{Files, ReadSeek};

use super::error::CliError;

/// The file system.
#[derive(Debug, Clone, Copy)]
pub struct Disk;

impl Files for Disk {
    fn open(&self, path: &Path) -> io::Result<Box<dyn ReadSeek>> {
        Ok(Box::new(open(path)?))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        let entries = fs::read_dir(dir)?.map(|entry| Ok(entry?.path()));
        let mut entries = entries.collect::<io::Result<Vec<_>>>()?;
        entries.sort();
        Ok(entries)
    }

    fn is_dir(&self, path: &Path) -> bool {
        path.is_dir()
    }

    fn exists(&self, path: &Path) -> bool {
        path.exists()
    }
}

/// Opens a file; a folder is refused here, since some systems open one and
/// fail at the first byte.
pub fn open(path: &Path) -> io::Result<File> {
    let file = File::open(path)?;
    match file.metadata()?.is_dir() {
        true => Err(io::Error::from(io::ErrorKind::IsADirectory)),
        false => Ok(file),
    }
}

/// All bytes of a file; `what` it is to ohmc, for the message.
pub fn read(path: &Path, what: &'static str) -> Result<Vec<u8>, CliError> {
    let read = || {
        open(path)?;
        fs::read(path)
    };
    read().map_err(|source| CliError::Read { file: name(path), what, source })
}

/// A text file.
pub fn read_text(path: &Path, what: &'static str) -> Result<String, CliError> {
    String::from_utf8(read(path, what)?).map_err(|error| CliError::NotText {
        file: name(path),
        what,
        position: error.utf8_error().valid_up_to(),
    })
}

/// A path as messages call it: as the user gave it.
pub fn name(path: &Path) -> String {
    path.display().to_string()
}

/// A file and the option that names it.
pub type Named<'a> = (&'static str, Option<&'a Path>);

/// A result must not take the place of another, nor of what it is made from.
pub fn keep_apart(results: &[Named<'_>], read: &[Named<'_>]) -> Result<(), CliError> {
    let all: Vec<_> = results.iter().chain(read).collect();
    for (index, (result_name, result)) in results.iter().enumerate() {
        for (other_name, other) in &all[index + 1..] {
            if let (Some(result), Some(other)) = (result, other)
                && are_same(result, other)
            {
                let options = [*result_name, *other_name];
                return Err(CliError::SameFile { file: name(result), options });
            }
        }
    }
    Ok(())
}

/// Whether two paths lead to the same file or folder, there already or not.
pub fn are_same(a: &Path, b: &Path) -> bool {
    a == b || matches!((resolved(a), resolved(b)), (Some(a), Some(b)) if a == b)
}

/// The path without links and detours; of a file that is not there yet, that
/// of its folder.
fn resolved(path: &Path) -> Option<PathBuf> {
    if let Ok(found) = path.canonicalize() {
        return Some(found);
    }
    let folder = match path.parent()? {
        folder if folder == Path::new("") => Path::new("."),
        folder => folder,
    };
    Some(folder.canonicalize().ok()?.join(path.file_name()?))
}

#[cfg(test)]
mod tests {
    //! Paths are compared by where they lead.

    use super::*;

    #[test]
    fn detours_lead_to_the_same_file_and_names_to_others() {
        let same = |a, b| are_same(Path::new(a), Path::new(b));
        assert!(same("Cargo.toml", "./src/../Cargo.toml"));
        assert!(same("not-there.plan", "./not-there.plan"));
        assert!(!same("Cargo.toml", "Cargo.lock") && !same("a.plan", "src/a.plan"));
    }

    #[test]
    fn what_is_read_may_be_one_file_and_results_may_not() {
        let (a, b) = (Some(Path::new("a")), Some(Path::new("b")));
        assert!(keep_apart(&[("-o", a)], &[("--input", b), ("--calibrate", b)]).is_ok());
        assert!(keep_apart(&[("-o", None), ("-o", None)], &[("--input", a)]).is_ok());
        for (results, read) in [([("-o", a), ("-p", a)], b), ([("-o", a), ("-p", b)], b)] {
            let kept = keep_apart(&results, &[("--input", read)]);
            assert!(matches!(kept, Err(CliError::SameFile { .. })), "{kept:?}");
        }
    }
}
