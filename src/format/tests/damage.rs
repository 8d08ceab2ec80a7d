//! Damage anywhere is found, and the damaged entry is named.

use std::io::Write as _;

use super::*;
use crate::format::{Damage, FormatError};

fn plan_bytes() -> Vec<u8> {
    sample().write().unwrap()
}

/// Where each entry's compressed content lies.
fn contents(bytes: &[u8]) -> Vec<(String, std::ops::Range<usize>)> {
    let mut zip = zip::ZipArchive::new(Cursor::new(bytes)).unwrap();
    (0..zip.len())
        .map(|index| {
            let entry = zip.by_index(index).unwrap();
            let start = entry.data_start().unwrap() as usize;
            let name = entry.name().unwrap().into_owned();
            (name, start..start + entry.compressed_size() as usize)
        })
        .collect()
}

fn damages(error: FormatError) -> Vec<Damage> {
    match error {
        FormatError::Damaged { damages, .. } => damages,
        other => panic!("not damage: {other}"),
    }
}

#[test]
fn a_changed_bit_anywhere_is_found() {
    let bytes = plan_bytes();
    for index in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[index] ^= 1 << (index % 8);
        assert!(PlanFile::read(&damaged, "a.plan").is_err(), "byte {index}");
    }
}

#[test]
fn the_damaged_entry_is_named() {
    let bytes = plan_bytes();
    for (name, range) in contents(&bytes).into_iter().filter(|(_, range)| !range.is_empty()) {
        let mut damaged = bytes.clone();
        damaged[(range.start + range.end) / 2] ^= 0x10;
        let error = PlanFile::read(&damaged, "dir/a.plan").unwrap_err();
        let text = error.to_string();
        assert!(text.contains("`dir/a.plan` is damaged") && text.contains(&name), "{text}");
        let found: Vec<String> = damages(error).into_iter().map(|d| d.entry).collect();
        assert_eq!(found, [name]);
    }
}

#[test]
fn all_damaged_entries_are_named_at_once() {
    let bytes = plan_bytes();
    let mut damaged = bytes.clone();
    let ranges = contents(&bytes);
    for wanted in ["plan.json", "model.onnx"] {
        let (_, range) = ranges.iter().find(|(name, _)| name == wanted).unwrap();
        damaged[range.start + 5] ^= 1;
    }
    let found = damages(PlanFile::read(&damaged, "a.plan").unwrap_err());
    let names: Vec<&str> = found.iter().map(|damage| damage.entry.as_str()).collect();
    assert_eq!(names, ["plan.json", "model.onnx"]);
}

#[test]
fn a_file_cut_short_is_found_and_the_cut_named() {
    let bytes = plan_bytes();
    for length in 0..bytes.len() {
        let error = PlanFile::read(&bytes[..length], "a.plan").unwrap_err();
        if length > 100 {
            assert!(!damages(error).is_empty(), "{length} bytes");
        }
    }
    for (name, range) in contents(&bytes).into_iter().filter(|(_, range)| range.len() > 1) {
        let cut = &bytes[..(range.start + range.end) / 2];
        let found = damages(PlanFile::read(cut, "a.plan").unwrap_err());
        assert_eq!(found[0].entry, name);
    }
}

#[test]
fn more_bytes_at_either_end_are_found() {
    let bytes = plan_bytes();
    for longer in [[&bytes[..], b"x"].concat(), [b"x", &bytes[..]].concat()] {
        assert!(PlanFile::read(&longer, "a.plan").is_err());
    }
}

#[test]
fn a_missing_entry_is_named() {
    let mut all = entries(&plan_bytes());
    for index in 0..all.len() {
        let gone = all.remove(index);
        let text = complaint(PlanFile::read(&signed(Kind::Plan, &all), "a.plan"));
        assert!(text.contains(&format!("lacks its entry `{}`", gone.0)), "{text}");
        all.insert(index, gone);
    }
}

#[test]
fn an_entry_of_no_meaning_is_named() {
    let mut all = entries(&plan_bytes());
    all.push(("levels/layer77.npy".to_string(), vec![1, 2, 3]));
    let text = complaint(PlanFile::read(&signed(Kind::Plan, &all), "a.plan"));
    assert!(text.contains("`levels/layer77.npy` of no meaning"), "{text}");
}

/// A zip with this manifest and these entries, sealed.
fn zip_of(manifest: Option<&[u8]>, entries: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    let options = zip::write::SimpleFileOptions::DEFAULT;
    let manifest = manifest.map(|content| (MANIFEST.to_string(), content.to_vec()));
    for (name, content) in manifest.iter().chain(entries) {
        zip.start_file(name, options).unwrap();
        zip.write_all(content).unwrap();
    }
    let comment = [crate::format::archive::SEAL, &[b'0'; 64]].concat();
    zip.set_raw_comment(comment.into()).unwrap();
    let mut bytes = zip.finish().unwrap().into_inner();
    crate::format::archive::seal(&mut Cursor::new(&mut bytes)).unwrap();
    bytes
}

fn manifest(bytes: &[u8]) -> Vec<u8> {
    let mut zip = zip::ZipArchive::new(Cursor::new(bytes)).unwrap();
    let mut content = Vec::new();
    zip.by_name(MANIFEST).unwrap().read_to_end(&mut content).unwrap();
    content
}

#[test]
fn entries_added_removed_or_swapped_behind_the_manifest_are_found() {
    let bytes = plan_bytes();
    let (manifest, all) = (manifest(&bytes), entries(&bytes));
    PlanFile::read(&zip_of(Some(&manifest), &all), "a.plan").unwrap();
    let read = |all: &[_]| complaint(PlanFile::read(&zip_of(Some(&manifest), all), "a.plan"));

    let text = read(&all[1..]);
    assert!(text.contains("lacks its entry `plan.json`"), "{text}");
    let mut more = all.clone();
    more.push(("readme".to_string(), vec![]));
    assert!(read(&more).contains("an entry `readme`"));
    let mut order = all.clone();
    order.swap(0, 1);
    assert!(read(&order).contains("is not where the manifest has it"));
    let mut contents = all.clone();
    let bias = |n: usize| all.iter().position(|(name, _)| *name == format!("bias/layer{n}.npy"));
    let (a, b) = (bias(0).unwrap(), bias(1).unwrap());
    (contents[a].1, contents[b].1) = (all[b].1.clone(), all[a].1.clone());
    let text = read(&contents);
    assert!(text.contains("bias/layer0.npy") && text.contains("checksum"), "{text}");
    let text = complaint(PlanFile::read(&zip_of(None, &all), "a.plan"));
    assert!(text.contains("lacks its entry `MANIFEST.json`"), "{text}");
}

#[test]
fn a_newer_format_names_the_ohmc_that_is_needed() {
    let bytes = plan_bytes();
    let newer = String::from_utf8(manifest(&bytes)).unwrap();
    let ours = format!("\"version\": 1,\n  \"ohmc\": \"{}\"", env!("CARGO_PKG_VERSION"));
    assert!(newer.contains(&ours), "{newer}");
    let newer = newer.replace(&ours, "\"version\": 3, \"ohmc\": \"9.8.7\", \"mood\": \"good\"");
    let text = complaint(PlanFile::read(&zip_of(Some(newer.as_bytes()), &[]), "a.plan"));
    assert!(text.contains("newer format") && text.contains("update to ohmc 9.8.7"), "{text}");
}

#[test]
fn other_files_are_told_apart() {
    let read = |bytes: &[u8], name: &str| complaint(PlanFile::read(bytes, name));
    assert!(read(b"", "a.plan").contains("it is empty"));
    assert!(read(b"hello there", "a.plan").contains("11 bytes, which are no zip archive"));
    assert!(read(&[8, 7, 18, 3, b'a'], "net").contains("`net` is an ONNX model, not a plan"));
    assert!(read(b"???", "a.onnx").contains("an ONNX model"));
    let mut foreign = zip::ZipWriter::new(Cursor::new(Vec::new()));
    foreign.start_file("x.npy", zip::write::SimpleFileOptions::DEFAULT).unwrap();
    let foreign = foreign.finish().unwrap().into_inner();
    assert!(read(&foreign, "x.npz").contains("a zip archive that ohmc did not write"));
    assert!(read(&foreign[..foreign.len() - 3], "x.npz").contains("ohmc did not write"));
    let calibration = crate::format::write_calibration(&calibration(&graph())).unwrap();
    let text = read(&calibration, "c");
    assert!(text.contains("`c` is a stored calibration, not a plan"), "{text}");
}
