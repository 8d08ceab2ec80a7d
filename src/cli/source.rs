//! The files of a model, kept or read again.
//!
//! A plan has the model in it as it was given. Until that is written nothing
//! needs the bytes, which are as large as all weights; so they are copied from
//! their files then, and have to be the same.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ohmc::format::PlanModel;
use ohmc::frontend::{self, ModelFiles};
use sha2::{Digest, Sha256};

use super::error::CliError;
use super::files;

/// Where a model comes from.
#[derive(Debug)]
pub enum ModelSource {
    /// A plan, or a pipe, which gives its bytes only once.
    Held(ModelFiles),
    /// Files that can be read again: the model's own, and its weight files by
    /// the locations that it gives.
    Again {
        /// The model's own.
        onnx: Again,
        /// Its weight files.
        external: BTreeMap<String, Again>,
    },
}

/// A file to be read again.
#[derive(Debug)]
pub struct Again {
    path: PathBuf,
    /// SHA-256 of all its bytes when it was read first.
    sha256: String,
}

impl ModelSource {
    /// Reads a model, and remembers enough to read the same again.
    pub fn read_first(path: &Path) -> Result<(ModelFiles, Self), CliError> {
        let files = read(path)?;
        if !fs::metadata(path).is_ok_and(|found| found.is_file()) {
            let source = Self::Held(files.clone());
            return Ok((files, source));
        }
        let again = |path: PathBuf, content: &[u8]| Again {
            path,
            sha256: hex(Sha256::new_with_prefix(content)),
        };
        let onnx = again(path.to_path_buf(), &files.onnx);
        let external = files
            .external
            .iter()
            .map(|(location, content)| (location.clone(), again(beside(path, location), content)));
        let external = external.collect();
        Ok((files, Self::Again { onnx, external }))
    }

    /// SHA-256 of all that it is, in hexadecimal.
    pub fn sha256(&self) -> String {
        let of = |content: &[u8]| hex(Sha256::new_with_prefix(content));
        let (own, external): (String, Vec<(&String, String)>) = match self {
            Self::Held(files) => (
                of(&files.onnx),
                files.external.iter().map(|(location, content)| (location, of(content))).collect(),
            ),
            Self::Again { onnx, external } => (
                onnx.sha256.clone(),
                external.iter().map(|(location, file)| (location, file.sha256.clone())).collect(),
            ),
        };
        let mut all = Sha256::new_with_prefix(own);
        for (location, own) in external {
            all.update(format!("{location} {own}"));
        }
        hex(all)
    }
}

impl PlanModel for ModelSource {
    fn external(&self) -> Vec<&str> {
        match self {
            Self::Held(files) => files.external(),
            Self::Again { external, .. } => external.keys().map(String::as_str).collect(),
        }
    }

    fn copy(&self, external: Option<&str>, to: &mut dyn Write) -> io::Result<()> {
        let file = match (self, external) {
            (Self::Held(files), _) => return files.copy(external, to),
            (Self::Again { onnx, .. }, None) => onnx,
            (Self::Again { external, .. }, Some(location)) => {
                external.get(location).ok_or(io::ErrorKind::NotFound)?
            }
        };
        file.copy(to)
    }
}

impl Again {
    fn copy(&self, to: &mut dyn Write) -> io::Result<()> {
        let mut copied = Hashing { to, hash: Sha256::new() };
        io::copy(&mut files::open(&self.path)?, &mut copied)?;
        match hex(copied.hash) == self.sha256 {
            true => Ok(()),
            false => {
                let file = files::name(&self.path);
                Err(io::Error::other(format!("`{file}` changed while it was compiled")))
            }
        }
    }
}

/// Hashes what goes through.
struct Hashing<'a> {
    to: &'a mut dyn Write,
    hash: Sha256,
}

impl Write for Hashing<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = self.to.write(bytes)?;
        self.hash.update(&bytes[..n]);
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

fn hex(hash: Sha256) -> String {
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A weight file, which lies beside the model.
fn beside(model: &Path, location: &str) -> PathBuf {
    model.parent().unwrap_or(Path::new("")).join(location)
}

/// The model's file and the weight files that it names, which lie beside it;
/// one that is missing the front-end will name.
pub fn read(path: &Path) -> Result<ModelFiles, CliError> {
    let onnx = Arc::new(files::read(path, "the model")?);
    let mut external = BTreeMap::new();
    for location in frontend::external_locations(&onnx, &files::name(path))? {
        let weights = beside(path, &location);
        if weights.exists() {
            external.insert(location, Arc::new(files::read(&weights, "the weight file")?));
        }
    }
    Ok(ModelFiles { onnx, external })
}

#[cfg(test)]
mod tests {
    //! The same model, or an error.
    #![allow(clippy::unwrap_used, reason = "a failed test may panic")]

    use super::*;

    #[test]
    fn a_model_that_changed_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.onnx");
        let mcnn = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/mcnn.onnx");
        fs::copy(mcnn, &path).unwrap();
        let (first, source) = ModelSource::read_first(&path).unwrap();
        let mut again = Vec::new();
        source.copy(None, &mut again).unwrap();
        assert_eq!(again, *first.onnx);
        let last = again.len() - 1;
        again[last] ^= 1;
        fs::write(&path, again).unwrap();
        let error = source.copy(None, &mut Vec::new()).unwrap_err();
        assert!(error.to_string().contains("changed while it was compiled"), "{error}");
    }
}
