//! What the tests of this folder share: small files of each format, and the
//! way to data sets that are too large for the repository.
#![allow(clippy::unwrap_used, reason = "a failed test may panic")]

use std::io::Write;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

use super::files::{Files, ReadSeek};

/// The bytes of a gzip file.
pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(bytes).unwrap();
    packed.finish().unwrap()
}

/// The bytes of an IDX file of bytes.
pub(crate) fn idx(shape: &[u32], content: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0, 0, 8, shape.len() as u8];
    bytes.extend(shape.iter().flat_map(|extent| extent.to_be_bytes()));
    bytes.extend(content);
    bytes
}

/// A CIFAR-10 record whose planes are filled with the label, the label plus
/// ten, and plus twenty.
pub(crate) fn cifar_record(label: u8) -> Vec<u8> {
    let mut record = vec![label];
    for plane in [label, label + 10, label + 20] {
        record.extend([plane; 1024]);
    }
    record
}

/// The bytes of a PNG with the given pixels, one or three bytes each.
pub(crate) fn png(width: u32, height: u32, pixels: &[u8]) -> Vec<u8> {
    let color = match pixels.len() / (width * height) as usize {
        1 => image::ExtendedColorType::L8,
        _ => image::ExtendedColorType::Rgb8,
    };
    let mut bytes = Vec::new();
    let encoder = image::codecs::png::PngEncoder::new(&mut bytes);
    image::ImageEncoder::write_image(encoder, pixels, width, height, color).unwrap();
    bytes
}

/// The file system, for tests on real data only.
pub(crate) struct DiskFiles;

impl Files for DiskFiles {
    fn open(&self, path: &Path) -> io::Result<Box<dyn ReadSeek>> {
        Ok(Box::new(fs::File::open(path)?))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        let mut paths: Vec<PathBuf> =
            fs::read_dir(dir)?.map(|entry| Ok(entry?.path())).collect::<io::Result<_>>()?;
        paths.sort();
        Ok(paths)
    }

    fn is_dir(&self, path: &Path) -> bool {
        path.is_dir()
    }

    fn exists(&self, path: &Path) -> bool {
        path.exists()
    }
}

/// A folder of real data, `data/mnist` for example: under `OHMC_DATA` if that
/// is set, else in a folder `shared` beside the package or beside one of the
/// folders above it. Without it the test says that it was skipped.
pub(crate) fn real_data(folder: &str) -> Option<PathBuf> {
    let roots: Vec<PathBuf> = match env::var_os("OHMC_DATA") {
        Some(root) => vec![root.into()],
        None => Path::new(env!("CARGO_MANIFEST_DIR"))
            .ancestors()
            .skip(1)
            .map(|above| above.join("shared"))
            .collect(),
    };
    let found = roots.iter().map(|root| root.join(folder)).find(|path| path.is_dir());
    if found.is_none() {
        eprintln!("skipped: no folder `{folder}` in {roots:?}; set OHMC_DATA to the data's folder");
    }
    found
}
