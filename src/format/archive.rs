//! The container of all our files: a zip with a manifest in front and a seal
//! at the end.
//!
//! ```text
//! MANIFEST.json          kind, version, ohmc, then name, size, SHA-256 of each:
//! entry, entry, ...      deflated, or stored where compression brings nothing
//! list of entries        what every zip has
//! comment                "ohmc sha256 " and the SHA-256 of all bytes before it
//! ```
//!
//! The checksums of the manifest say which entry is damaged; the seal finds
//! damage in what no entry covers, such as the zip's own tables. Neither keeps
//! out someone who writes both anew, so readers check all else too.
//!
//! Bytes depend on content alone: order as added, no dates, fixed permissions,
//! one compression level. (The deflate used here does not depend on the
//! processor.)

use std::collections::BTreeSet;
use std::fmt;
use std::io::{self, Cursor, Read, Seek, SeekFrom, Write};

use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, DateTime, ZipArchive, ZipWriter};

use super::fused::Fused;
use super::{FormatError, OHMC_VERSION};

/// Name of the first entry.
pub const MANIFEST: &str = "MANIFEST.json";

/// What stands in front of the seal's checksum.
pub(super) const SEAL: &[u8] = b"ohmc sha256 ";

/// Characters of a SHA-256.
pub(super) const HASH_CHARS: usize = 64;

/// More entries than any plan has: one a PE, and a few a layer.
pub(super) const MAX_ENTRIES: usize = 1 << 20;

/// Bytes of an entry, unpacked; far above the largest model that fits a
/// machine.
pub(super) const MAX_ENTRY_BYTES: u64 = 1 << 34;

/// Bytes of a JSON document: a plan of a hundred thousand tiles has a fifth of
/// that.
pub(super) const MAX_DOCUMENT_BYTES: u64 = 1 << 28;

/// Bytes of an entry's name.
const MAX_NAME_BYTES: usize = 1024;

/// Speed for size: levels of cells are nearly random. A plan of ResNet-50's
/// shape is 5 % larger than at level 6, for a seventh of the processor time.
const LEVEL: i64 = 3;

/// From here on a zip needs its 64-bit fields.
const LARGE_BYTES: u64 = 0xF000_0000;

/// The kinds of file. `Display` gives it with its article: `a plan`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A compiled model.
    Plan,
    /// A compiled model with a chip that it was programmed into.
    Chip,
    /// Statistics of a model's activations.
    Calibration,
    /// The state of a training on a chip.
    Tuning,
}

impl Kind {
    /// Every kind.
    pub(super) const ALL: [Self; 4] = [Self::Plan, Self::Chip, Self::Calibration, Self::Tuning];

    /// The name that stands in the manifest.
    pub fn id(self) -> &'static str {
        match self {
            Self::Plan => "ohmc-plan",
            Self::Chip => "ohmc-chip",
            Self::Calibration => "ohmc-calibration",
            Self::Tuning => "ohmc-tuning",
        }
    }

    /// The format version that this ohmc writes, and the newest that it reads.
    pub fn version(self) -> u32 {
        match self {
            Self::Plan | Self::Chip | Self::Calibration | Self::Tuning => 1,
        }
    }

    /// The entry that says everything small.
    pub(super) fn document(self) -> &'static str {
        match self {
            Self::Plan => "plan.json",
            Self::Chip => "chip.json",
            Self::Calibration => "calibration.json",
            Self::Tuning => "tuning.json",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Plan => "a plan",
            Self::Chip => "a programmed chip",
            Self::Calibration => "a stored calibration",
            Self::Tuning => "the state of a training",
        })
    }
}

/// What the manifest says. Its first three fields stay in every version, so
/// that an old ohmc can name the one that is needed.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Manifest {
    pub kind: String,
    pub version: u32,
    pub ohmc: String,
    pub entries: Vec<Entry>,
}

/// What the manifest says of an entry.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Entry {
    pub name: String,
    pub size: u64,
    pub sha256: String,
}

type Content<'a> = Box<dyn Fn(&mut dyn Write) -> io::Result<()> + Sync + 'a>;

struct Pending<'a> {
    name: String,
    method: CompressionMethod,
    content: Content<'a>,
}

/// Gathers entries and writes them as one archive.
///
/// Contents are asked for twice, once for the checksums that stand in front of
/// them, and are never held in memory beside what they are made from.
pub struct ArchiveWriter<'a> {
    kind: Kind,
    entries: Vec<Pending<'a>>,
}

impl<'a> ArchiveWriter<'a> {
    /// An archive without entries.
    pub fn new(kind: Kind) -> Self {
        Self { kind, entries: Vec::new() }
    }

    /// Adds an entry that is deflated. `content` writes it, each time the
    /// same.
    pub fn add(
        &mut self,
        name: impl Into<String>,
        content: impl Fn(&mut dyn Write) -> io::Result<()> + Sync + 'a,
    ) {
        let (name, content) = (name.into(), Box::new(content));
        self.entries.push(Pending { name, method: CompressionMethod::Deflated, content });
    }

    /// The same as it is: weights in floating point do not get smaller.
    pub fn add_stored_by(
        &mut self,
        name: impl Into<String>,
        content: impl Fn(&mut dyn Write) -> io::Result<()> + Sync + 'a,
    ) {
        let (name, content) = (name.into(), Box::new(content));
        self.entries.push(Pending { name, method: CompressionMethod::Stored, content });
    }

    /// SHA-256 over names and checksums of all entries added so far, by which
    /// a later entry can say what it belongs to.
    ///
    /// # Errors
    ///
    /// As for [`finish`](Self::finish).
    pub fn digest(&self) -> Result<String, FormatError> {
        let entries = self.manifest_entries();
        let entries = entries.map_err(|reason| FormatError::Write { kind: self.kind, reason })?;
        Ok(digest(&entries))
    }

    /// Writes the archive into an empty file.
    ///
    /// # Errors
    ///
    /// Names that a zip cannot hold or that occur twice, contents beyond the
    /// limits of the format; and whatever the file says.
    pub fn finish_into(self, file: &mut (impl Read + Write + Seek)) -> Result<(), FormatError> {
        let kind = self.kind;
        self.write_into(file).map_err(|reason| FormatError::Write { kind, reason })
    }

    /// The archive's bytes.
    ///
    /// # Errors
    ///
    /// As for [`finish_into`](Self::finish_into).
    pub fn finish(self) -> Result<Vec<u8>, FormatError> {
        let mut file = Cursor::new(Vec::new());
        self.finish_into(&mut file)?;
        Ok(file.into_inner())
    }

    fn write_into(self, file: &mut (impl Read + Write + Seek)) -> Result<(), String> {
        let kind = self.kind;
        let entries = self.manifest_entries()?;
        let manifest = Manifest {
            kind: kind.id().to_string(),
            version: kind.version(),
            ohmc: OHMC_VERSION.to_string(),
            entries,
        };
        let text = super::json::text(&manifest)?;
        let failed = |error: zip::result::ZipError| error.to_string();
        // In a file that can be sought in, sizes are filled in before each
        // entry, which lets a reader say where it was cut short.
        let mut zip = ZipWriter::new(Fused::new(file));
        zip.start_file(MANIFEST, options(CompressionMethod::Deflated, 0)).map_err(failed)?;
        zip.write_all(text.as_bytes()).map_err(|e| e.to_string())?;
        let all: Vec<_> = self.entries.iter().zip(&manifest.entries).collect();
        // Some at a time, so that not all are in memory twice.
        for some in all.chunks(4 * rayon::current_num_threads()) {
            let deflated: Vec<Result<Option<Vec<u8>>, String>> = some
                .par_iter()
                .map(|(pending, entry)| {
                    let is_deflated = pending.method == CompressionMethod::Deflated;
                    is_deflated.then(|| pending.archive(entry)).transpose()
                })
                .collect();
            for ((pending, entry), deflated) in some.iter().zip(deflated) {
                if let Some(deflated) = deflated? {
                    let mut own = ZipArchive::new(Cursor::new(deflated)).map_err(failed)?;
                    zip.raw_copy_file(own.by_index_raw(0).map_err(failed)?).map_err(failed)?;
                } else {
                    pending.write(entry, &mut zip)?;
                }
            }
        }
        let comment = [SEAL, &[b'0'; HASH_CHARS]].concat();
        zip.set_raw_comment(comment.into()).map_err(failed)?;
        zip.finish().map_err(failed)?;
        seal(file).map_err(|error| error.to_string())
    }

    fn manifest_entries(&self) -> Result<Vec<Entry>, String> {
        if self.entries.len() > MAX_ENTRIES {
            return Err(format!("{} entries, at most {MAX_ENTRIES}", self.entries.len()));
        }
        let mut names = BTreeSet::from([MANIFEST]);
        for Pending { name, .. } in &self.entries {
            if !is_plain(name) {
                return Err(format!("`{name}` cannot be the name of an entry"));
            }
            if !names.insert(name) {
                return Err(format!("two entries are called `{name}`"));
            }
        }
        let entry = |Pending { name, content, .. }: &Pending<'_>| {
            let mut measure = Measure::default();
            content(&mut measure).map_err(|e| format!("`{name}`: {e}"))?;
            if measure.size > MAX_ENTRY_BYTES {
                return Err(format!("`{name}` has {} bytes", measure.size));
            }
            let (name, sha256) = (name.clone(), hex(measure.hash));
            Ok(Entry { name, size: measure.size, sha256 })
        };
        // Of several errors the first one, whoever was quicker.
        let entries: Vec<Result<Entry, String>> = self.entries.par_iter().map(entry).collect();
        entries.into_iter().collect()
    }
}

impl Pending<'_> {
    /// Writes the entry.
    fn write<W: Write + Seek>(&self, entry: &Entry, zip: &mut ZipWriter<W>) -> Result<(), String> {
        let options = options(self.method, entry.size);
        zip.start_file(&self.name, options).map_err(|error| error.to_string())?;
        (self.content)(zip).map_err(|error| format!("`{}`: {error}", self.name))
    }

    /// An archive of this entry alone.
    fn archive(&self, entry: &Entry) -> Result<Vec<u8>, String> {
        let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
        self.write(entry, &mut zip)?;
        Ok(zip.finish().map_err(|error| error.to_string())?.into_inner())
    }
}

/// SHA-256 over names and checksums of entries, in their order.
pub(super) fn digest<'e>(entries: impl IntoIterator<Item = &'e Entry>) -> String {
    let mut hash = Sha256::new();
    for Entry { name, sha256, .. } in entries {
        hash.update(format!("{sha256} {name}\n"));
    }
    hex(hash)
}

/// Counts and hashes what is written to it.
#[derive(Default)]
struct Measure {
    hash: Sha256,
    size: u64,
}

impl Write for Measure {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.hash.update(bytes);
        self.size += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn options(method: CompressionMethod, size: u64) -> SimpleFileOptions {
    SimpleFileOptions::DEFAULT
        .compression_method(method)
        .compression_level((method == CompressionMethod::Deflated).then_some(LEVEL))
        .last_modified_time(DateTime::DEFAULT)
        .system(zip::System::Unix)
        .unix_permissions(0o644)
        .large_file(size >= LARGE_BYTES)
}

/// Writes the checksum of everything before it over the last characters.
pub(super) fn seal(file: &mut (impl Read + Write + Seek)) -> io::Result<()> {
    let n_body = file.seek(SeekFrom::End(-(HASH_CHARS as i64)))?;
    file.rewind()?;
    let mut measure = Measure::default();
    io::copy(&mut Read::by_ref(file).take(n_body), &mut measure)?;
    file.seek(SeekFrom::Start(n_body))?;
    file.write_all(hex(measure.hash).as_bytes())?;
    file.flush()
}

/// Whether a name is a relative path that stays where it is unpacked.
pub(super) fn is_plain(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= MAX_NAME_BYTES
        && !name.starts_with('/')
        && !name.ends_with('/')
        && !name.chars().any(|c| c.is_control() || c == '\\')
        && !name.split('/').any(|part| part == "..")
}

/// SHA-256 in hexadecimal.
pub(super) fn hex_digest(bytes: &[u8]) -> String {
    hex(Sha256::new_with_prefix(bytes))
}

pub(super) fn hex(hash: Sha256) -> String {
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}
