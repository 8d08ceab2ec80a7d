//! Takes an archive apart again, believing nothing.
//!
//! The order of questions is that of a person: is it one of ours at all, is it
//! whole, is it what was asked for, can this ohmc read it. Only then entries
//! are handed out, each against its checksum, and none before its size is
//! known to be what the caller expects.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::RangeInclusive;

use serde::Deserialize;
use sha2::{Digest, Sha256};
use zip::ZipArchive;

use super::archive::{
    Entry, HASH_CHARS, Kind, MANIFEST, MAX_DOCUMENT_BYTES, MAX_ENTRIES, MAX_ENTRY_BYTES, Manifest,
    SEAL, digest, hex, is_plain,
};
use super::npy::{Element, entry_bytes, read_array};
use super::{Damage, Flaw, FormatError};

/// Bytes read at a time.
const CHUNK: usize = 1 << 16;

/// Bytes that the manifest may spend on one entry; more does not believe in
/// its own list.
const MAX_LISTED_BYTES: u64 = 2048;

/// How a zip begins.
const LOCAL_HEADER: &[u8] = b"PK\x03\x04";

/// The damaged part where no entry is.
const TABLES: &str = "the archive's own tables";

/// An archive of one of our kinds, whole as far as its seal says.
#[derive(Debug)]
pub struct ArchiveReader<R> {
    zip: ZipArchive<R>,
    file: String,
    kind: Kind,
    ohmc: String,
    entries: Vec<Entry>,
    index: BTreeMap<String, usize>,
    read: BTreeSet<usize>,
}

/// The part of a manifest that every version has.
#[derive(Deserialize)]
struct Head {
    kind: String,
    version: u32,
    ohmc: String,
}

/// What the end of the file says about the rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Seal {
    /// All is as it was written.
    Whole,
    /// It is not.
    Broken,
    /// There is none: cut off, or never there.
    Absent,
}

impl<R: Read + Seek> ArchiveReader<R> {
    /// Opens an archive and checks its seal. `file` is its name for messages.
    ///
    /// # Errors
    ///
    /// It is something else than wanted, of a newer version, or damaged; the
    /// damaged entries are named.
    pub fn open(reader: R, file: &str, wanted: Kind) -> Result<Self, FormatError> {
        Self::open_one_of(reader, file, wanted, &[])
    }

    /// Like [`open`](Self::open), of an archive that may be of another kind
    /// too; [`kind`](Self::kind) says which it is.
    ///
    /// # Errors
    ///
    /// As for [`open`](Self::open).
    pub fn open_one_of(
        mut reader: R,
        file: &str,
        wanted: Kind,
        others: &[Kind],
    ) -> Result<Self, FormatError> {
        let unreadable = |e: io::Error| damaged(file, vec![Damage::new("the file", e.to_string())]);
        let n_bytes = reader.seek(SeekFrom::End(0)).map_err(unreadable)?;
        let seal = check_seal(&mut reader, n_bytes).map_err(unreadable)?;
        let front = front(&mut reader).map_err(unreadable)?;
        // A plan cut short has no seal, but it begins with its manifest.
        let ours = seal != Seal::Absent || front.windows(MANIFEST.len()).any(is_manifest_name);
        if !ours && !front.starts_with(LOCAL_HEADER) {
            return Err(not_ours(file, wanted, n_bytes, &front));
        }
        let cut = match seal {
            Seal::Whole => None,
            Seal::Broken | Seal::Absent => cut_in(&mut reader, n_bytes).map_err(unreadable)?,
        };
        let mut zip = match ZipArchive::new(reader) {
            Ok(zip) => zip,
            Err(_) if !ours => {
                let found = "a damaged zip archive that ohmc did not write".to_string();
                return Err(FormatError::WrongKind { file: file.to_string(), wanted, found });
            }
            Err(error) => {
                let (place, reason) = match cut {
                    Some(entry) => (entry, format!("the file ends there, after {n_bytes} bytes")),
                    None => (TABLES.to_string(), format!("{error}; the file has {n_bytes} bytes")),
                };
                return Err(damaged(file, vec![Damage::new(place, reason)]));
            }
        };
        let manifest = read_manifest(&mut zip, file, wanted, seal)?;
        let head: Head = parse(&manifest).map_err(|reason| in_manifest(file, reason))?;
        if seal != Seal::Whole {
            return Err(diagnose(&mut zip, file, &manifest));
        }
        let known = Kind::ALL.into_iter().find(|kind| kind.id() == head.kind);
        let Some(kind) = known.filter(|kind| *kind == wanted || others.contains(kind)) else {
            let found = match known {
                Some(kind) => kind.to_string(),
                None => format!("a file of the kind `{}`", head.kind),
            };
            return Err(FormatError::WrongKind { file: file.to_string(), wanted, found });
        };
        if head.version > kind.version() {
            return Err(FormatError::Newer {
                file: file.to_string(),
                kind,
                version: head.version,
                ohmc: head.ohmc,
            });
        }
        let entries = checked_entries(&mut zip, file, &manifest)?;
        let (file, ohmc) = (file.to_string(), head.ohmc);
        let index = entries.iter().zip(0..).map(|(entry, i)| (entry.name.clone(), i)).collect();
        Ok(Self { zip, file, kind, ohmc, entries, index, read: BTreeSet::new() })
    }

    /// What the file is.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// SHA-256 over names and checksums of the entries before this one, as
    /// [`ArchiveWriter::digest`](super::ArchiveWriter::digest) gives it.
    pub fn digest_before(&self, name: &str) -> String {
        digest(self.entries.iter().take_while(|entry| entry.name != name))
    }

    /// The version of the ohmc that wrote the file.
    pub fn ohmc(&self) -> &str {
        &self.ohmc
    }

    /// The file's name for messages.
    pub fn file(&self) -> &str {
        &self.file
    }

    /// The whole content of an entry, whose size must lie in `size`.
    ///
    /// # Errors
    ///
    /// The entry is not there, has another size, or is not what its checksum
    /// says.
    pub fn read(&mut self, name: &str, size: RangeInclusive<u64>) -> Result<Vec<u8>, FormatError> {
        let Some(&index) = self.index.get(name) else {
            return Err(FormatError::Entries {
                file: self.file.clone(),
                missing: vec![name.to_string()],
                unknown: Vec::new(),
            });
        };
        let entry = &self.entries[index];
        let wrong = |reason: String| damaged(&self.file, vec![Damage::new(name, reason)]);
        if !size.contains(&entry.size) {
            let (low, high) = (size.start(), size.end());
            let reason = format!("it has {} bytes, and should have {low} to {high}", entry.size);
            return Err(flawed(&self.file, name, reason));
        }
        let mut bytes = Vec::new();
        // The manifest is the zip's entry 0.
        check_entry(&mut self.zip, index + 1, entry, Some(&mut bytes)).map_err(wrong)?;
        self.read.insert(index);
        Ok(bytes)
    }

    /// A JSON document or another text, of any size up to the limit.
    ///
    /// # Errors
    ///
    /// As for [`read`](Self::read); it is not UTF-8.
    pub fn read_text(&mut self, name: &str) -> Result<String, FormatError> {
        let bytes = self.read(name, 0..=MAX_DOCUMENT_BYTES)?;
        String::from_utf8(bytes)
            .map_err(|_| damaged(&self.file, vec![Damage::new(name, "it is not text")]))
    }

    /// An entry of any size, such as the model.
    ///
    /// # Errors
    ///
    /// As for [`read`](Self::read).
    pub fn read_whole(&mut self, name: &str) -> Result<Vec<u8>, FormatError> {
        self.read(name, 0..=MAX_ENTRY_BYTES)
    }

    /// An array whose type and shape are known; an entry that is not as large
    /// as that is not looked into.
    ///
    /// # Errors
    ///
    /// As for [`read`](Self::read); it is an array of another type or shape.
    pub fn read_array<T: Element>(
        &mut self,
        name: &str,
        shape: &[usize],
    ) -> Result<Vec<T>, FormatError> {
        let Some(sizes) = entry_bytes::<T>(shape) else {
            let reason = format!("an array of shape {shape:?} cannot be");
            return Err(flawed(&self.file, name, reason));
        };
        let bytes = self.read(name, sizes)?;
        read_array(&bytes, shape).map_err(|reason| flawed(&self.file, name, reason))
    }

    /// Ends the reading: what was not asked for has no meaning.
    ///
    /// # Errors
    ///
    /// Entries that nobody read.
    pub fn finish(self) -> Result<(), FormatError> {
        let unread = |(index, entry): (usize, &Entry)| {
            (!self.read.contains(&index)).then(|| entry.name.clone())
        };
        let unknown: Vec<String> = self.entries.iter().enumerate().filter_map(unread).collect();
        if unknown.is_empty() {
            return Ok(());
        }
        Err(FormatError::Entries { file: self.file, missing: Vec::new(), unknown })
    }
}

fn damaged(file: &str, damages: Vec<Damage>) -> FormatError {
    FormatError::Damaged { file: file.to_string(), damages }
}

fn flawed(file: &str, entry: &str, reason: String) -> FormatError {
    FormatError::Invalid { file: file.to_string(), flaws: vec![Flaw::entry(entry, reason)] }
}

fn in_manifest(file: &str, reason: String) -> FormatError {
    damaged(file, vec![Damage::new(MANIFEST, reason)])
}

fn is_manifest_name(bytes: &[u8]) -> bool {
    bytes == MANIFEST.as_bytes()
}

/// The first bytes, enough for a zip's first header.
fn front(reader: &mut (impl Read + Seek)) -> io::Result<Vec<u8>> {
    reader.rewind()?;
    let mut front = Vec::new();
    reader.take(64).read_to_end(&mut front)?;
    Ok(front)
}

fn not_ours(file: &str, wanted: Kind, n_bytes: u64, front: &[u8]) -> FormatError {
    let file = file.to_string();
    // An ONNX file opens with its IR version, field 1 of the protobuf.
    let onnx = matches!(front, [0x08, 1..=0x1f, ..]) || file.ends_with(".onnx");
    if onnx && n_bytes > 0 {
        return FormatError::WrongKind { file, wanted, found: "an ONNX model".to_string() };
    }
    FormatError::NotArchive { file, wanted, n_bytes }
}

/// Compares the checksum at the end with the bytes before it.
fn check_seal(reader: &mut (impl Read + Seek), n_bytes: u64) -> io::Result<Seal> {
    let length = (SEAL.len() + HASH_CHARS) as u64;
    if n_bytes < length {
        return Ok(Seal::Absent);
    }
    let mut tail = Vec::new();
    reader.seek(SeekFrom::Start(n_bytes - length))?;
    reader.by_ref().take(length).read_to_end(&mut tail)?;
    let Some(wanted) = tail.strip_prefix(SEAL) else { return Ok(Seal::Absent) };
    reader.rewind()?;
    let mut hash = Sha256::new();
    let mut body = reader.by_ref().take(n_bytes - HASH_CHARS as u64);
    for_chunks(&mut body, |chunk| hash.update(chunk))?;
    Ok(if hex(hash).as_bytes() == wanted { Seal::Whole } else { Seal::Broken })
}

fn for_chunks(reader: &mut impl Read, mut take: impl FnMut(&[u8])) -> io::Result<()> {
    let mut chunk = vec![0; CHUNK];
    loop {
        match reader.read(&mut chunk) {
            Ok(0) => return Ok(()),
            Ok(n) => take(&chunk[..n]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

fn read_manifest<R: Read + Seek>(
    zip: &mut ZipArchive<R>,
    file: &str,
    wanted: Kind,
    seal: Seal,
) -> Result<Vec<u8>, FormatError> {
    let known = Kind::ALL.map(Kind::document);
    let ours = known.iter().any(|name| zip.index_for_name_raw(name.as_bytes()).is_some());
    let Some(index) = zip.index_for_name_raw(MANIFEST.as_bytes()) else {
        let file = file.to_string();
        return Err(match (ours, seal) {
            (true, _) | (_, Seal::Whole) => {
                let (missing, unknown) = (vec![MANIFEST.to_string()], Vec::new());
                FormatError::Entries { file, missing, unknown }
            }
            // The name itself may be what is damaged.
            (_, Seal::Broken) => damaged(&file, vec![Damage::new(MANIFEST, "it is not found")]),
            (_, Seal::Absent) => {
                let found = "a zip archive that ohmc did not write".to_string();
                FormatError::WrongKind { file, wanted, found }
            }
        });
    };
    let limit = (zip.len() as u64).saturating_mul(MAX_LISTED_BYTES).saturating_add(1 << 12);
    let entry = zip.by_index(index).map_err(|e| in_manifest(file, e.to_string()))?;
    let mut manifest = Vec::new();
    entry
        .take(limit.min(MAX_DOCUMENT_BYTES))
        .read_to_end(&mut manifest)
        .map_err(|e| in_manifest(file, e.to_string()))?;
    Ok(manifest)
}

fn parse<'a, T: Deserialize<'a>>(json: &'a [u8]) -> Result<T, String> {
    serde_json::from_slice(json).map_err(|e| e.to_string())
}

/// The manifest's list, if the zip has exactly these entries in this order.
fn checked_entries<R: Read + Seek>(
    zip: &mut ZipArchive<R>,
    file: &str,
    manifest: &[u8],
) -> Result<Vec<Entry>, FormatError> {
    let manifest: Manifest = parse(manifest).map_err(|reason| in_manifest(file, reason))?;
    let entries = manifest.entries;
    if entries.len() > MAX_ENTRIES || zip.has_duplicate_names() {
        let reason = format!("{} entries, or two of one name", entries.len());
        return Err(in_manifest(file, reason));
    }
    let listed: BTreeSet<&str> =
        entries.iter().map(|entry| entry.name.as_str()).chain([MANIFEST]).collect();
    let there: Vec<String> =
        zip.file_names_raw().map(|name| String::from_utf8_lossy(name).into_owned()).collect();
    let found: BTreeSet<&str> = there.iter().map(String::as_str).collect();
    let owned = |names: BTreeSet<&str>| names.into_iter().map(str::to_string).collect::<Vec<_>>();
    let missing = owned(listed.difference(&found).copied().collect());
    let unknown = owned(found.difference(&listed).copied().collect());
    if !missing.is_empty() || !unknown.is_empty() {
        return Err(FormatError::Entries { file: file.to_string(), missing, unknown });
    }
    let order = [MANIFEST].into_iter().chain(entries.iter().map(|entry| entry.name.as_str()));
    if let Some((entry, _)) = there.iter().zip(order).find(|(there, listed)| there != listed) {
        let damage = Damage::new(entry, "it is not where the manifest has it");
        return Err(damaged(file, vec![damage]));
    }
    for entry in &entries {
        if !is_plain(&entry.name) || entry.size > MAX_ENTRY_BYTES {
            let reason = format!("an entry of this name and {} bytes cannot be", entry.size);
            return Err(damaged(file, vec![Damage::new(&entry.name, reason)]));
        }
    }
    Ok(entries)
}

/// Finds what is damaged in a file whose seal is broken.
fn diagnose<R: Read + Seek>(zip: &mut ZipArchive<R>, file: &str, manifest: &[u8]) -> FormatError {
    let entries = match checked_entries(zip, file, manifest) {
        Ok(entries) => entries,
        Err(error) => return error,
    };
    let mut damages = Vec::new();
    for (index, entry) in entries.iter().enumerate() {
        if let Err(reason) = check_entry(zip, index + 1, entry, None) {
            damages.push(Damage::new(&entry.name, reason));
        }
    }
    if damages.is_empty() {
        damages.push(Damage::new(TABLES, "its entries are whole, the checksum of all is not"));
    }
    damaged(file, damages)
}

/// Reads an entry against size and checksum, a chunk at a time: memory grows
/// only with what is really there.
fn check_entry<R: Read + Seek>(
    zip: &mut ZipArchive<R>,
    index: usize,
    entry: &Entry,
    mut into: Option<&mut Vec<u8>>,
) -> Result<(), String> {
    let content = zip.by_index(index).map_err(|e| e.to_string())?;
    if content.size() != entry.size {
        return Err(format!("it has {} bytes, the manifest says {}", content.size(), entry.size));
    }
    let (mut hash, mut size) = (Sha256::new(), 0u64);
    // One byte more than there should be, to see whether it is there.
    let mut content = content.take(entry.size.saturating_add(1));
    for_chunks(&mut content, |chunk| {
        hash.update(chunk);
        size += chunk.len() as u64;
        if let Some(into) = into.as_deref_mut() {
            into.extend_from_slice(chunk);
        }
    })
    .map_err(|e| e.to_string())?;
    if size != entry.size {
        return Err(format!("it has {size} bytes, the manifest says {}", entry.size));
    }
    if hex(hash) != entry.sha256 {
        return Err("its content is not what the manifest's checksum says".to_string());
    }
    Ok(())
}

/// The entry in which a file ends that was cut short: headers are walked from
/// the front, because the list at the end is what is gone.
fn cut_in(reader: &mut (impl Read + Seek), n_bytes: u64) -> io::Result<Option<String>> {
    const HEADER_BYTES: u64 = 30;
    let mut start = 0;
    while start + HEADER_BYTES <= n_bytes {
        reader.seek(SeekFrom::Start(start))?;
        let mut header = [0; HEADER_BYTES as usize];
        reader.read_exact(&mut header)?;
        if !header.starts_with(LOCAL_HEADER) {
            return Ok(None);
        }
        let word = |at: usize| u64::from(u16::from_le_bytes([header[at], header[at + 1]]));
        let size = word(18) | word(20) << 16;
        let (name_bytes, extra_bytes) = (word(26), word(28));
        let mut name = Vec::new();
        reader.by_ref().take(name_bytes).read_to_end(&mut name)?;
        start += HEADER_BYTES + name_bytes + extra_bytes + size;
        if start > n_bytes {
            return Ok(Some(String::from_utf8_lossy(&name).into_owned()));
        }
    }
    Ok(None)
}
