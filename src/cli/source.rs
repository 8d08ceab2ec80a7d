//! The files of a model, kept or read again.
//!
//! A plan has the model in it as it was given. Until that is written nothing
//! needs the bytes, which are as large as all weights; so they are read again.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ohmc::frontend::{self, ModelFiles};
use sha2::{Digest, Sha256};

use super::error::CliError;
use super::files;

/// Where a model comes from.
#[derive(Debug)]
pub enum ModelSource {
    /// A plan, or a pipe, which gives its bytes only once.
    Held(ModelFiles),
    /// A file.
    File {
        /// As the user gave it.
        path: PathBuf,
        /// SHA-256 of all its bytes when it was read first.
        sha256: String,
    },
}

impl ModelSource {
    /// Reads a model, and remembers enough to read the same again.
    pub fn read_first(path: &Path) -> Result<(ModelFiles, Self), CliError> {
        let files = read(path)?;
        let source = match fs::metadata(path).is_ok_and(|found| found.is_file()) {
            true => Self::File { path: path.to_path_buf(), sha256: sha256(&files) },
            false => Self::Held(files.clone()),
        };
        Ok((files, source))
    }

    /// The files, which must be what they were.
    pub fn read(self) -> Result<ModelFiles, CliError> {
        match self {
            Self::Held(files) => Ok(files),
            Self::File { path, sha256: before } => {
                let files = read(&path)?;
                match sha256(&files) == before {
                    true => Ok(files),
                    false => Err(CliError::ModelChanged { file: files::name(&path) }),
                }
            }
        }
    }

    /// SHA-256 of all bytes, in hexadecimal.
    pub fn sha256(&self) -> String {
        match self {
            Self::Held(files) => sha256(files),
            Self::File { sha256, .. } => sha256.clone(),
        }
    }
}

/// The model's file and the weight files that it names, which lie beside it;
/// one that is missing the front-end will name.
fn read(path: &Path) -> Result<ModelFiles, CliError> {
    let onnx = Arc::new(files::read(path, "the model")?);
    let folder = path.parent().unwrap_or(Path::new(""));
    let mut external = BTreeMap::new();
    for location in frontend::external_locations(&onnx, &files::name(path))? {
        let weights = folder.join(&location);
        if weights.exists() {
            external.insert(location, Arc::new(files::read(&weights, "the weight file")?));
        }
    }
    Ok(ModelFiles { onnx, external })
}

fn sha256(files: &ModelFiles) -> String {
    let mut hash = Sha256::new_with_prefix(&*files.onnx);
    for (location, content) in &files.external {
        hash.update(location.as_bytes());
        hash.update(&**content);
    }
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
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
        assert_eq!(source.read().unwrap().onnx, first.onnx);
        let (_, source) = ModelSource::read_first(&path).unwrap();
        let mut bytes = fs::read(&path).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        fs::write(&path, bytes).unwrap();
        let changed = source.read();
        assert!(matches!(changed, Err(CliError::ModelChanged { .. } | CliError::Frontend(_))));
    }
}
