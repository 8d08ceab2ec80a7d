//! Files with right checksums that say anything: read, or refused with
//! reasons, but never a panic and never memory that the file does not fill.

use std::io::Write as _;

use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::{Value, json};

use super::*;
use crate::format::read_calibration;

/// Address space that all tests of this binary may ever have taken; one array
/// for which a file claims 2^32 values takes more.
const MAX_PEAK_KB: u64 = 4 << 20;

fn assert_memory() {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmPeak:"));
    let kb: Option<u64> = peak.and_then(|peak| peak.split_whitespace().next()?.parse().ok());
    assert!(kb.is_none_or(|kb| kb < MAX_PEAK_KB), "{peak:?}");
}

/// A plan that was taken must be good for all that comes after.
fn read(bytes: &[u8]) -> Result<(), String> {
    let result = PlanFile::read(bytes, "a.plan");
    assert_memory();
    let file = result.map_err(|error| error.to_string())?;
    file.plan.counts();
    file.plan.end_cycle();
    crate::schedule::plan_text(&file.plan);
    assert_eq!(PlanFile::read(&file.write().unwrap(), "a.plan").unwrap().plan, file.plan);
    Ok(())
}

fn pointers(value: &Value, path: String, into: &mut Vec<String>) {
    match value {
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                pointers(item, format!("{path}/{index}"), into);
            }
        }
        Value::Object(fields) => {
            for (key, field) in fields {
                pointers(field, format!("{path}/{key}"), into);
            }
        }
        _ => {}
    }
    into.push(path);
}

fn document(all: &[(String, Vec<u8>)]) -> Value {
    serde_json::from_slice(&all[0].1).unwrap()
}

fn with_document(all: &[(String, Vec<u8>)], document: &Value) -> Vec<u8> {
    let mut all = all.to_vec();
    all[0].1 = document.to_string().into_bytes();
    signed(Kind::Plan, &all)
}

fn any_value() -> impl Strategy<Value = Value> {
    let texts = [
        "",
        "0",
        "N",
        "0N",
        "18446744073709551615N",
        "4294967295",
        "18446744073709551615",
        "inf",
        "NaN",
        "-0.0",
        "1e308",
        "1e-320",
        "layer0",
        "layer1",
        "layer4294967295",
        "wt0",
        "wt3",
        "wt4294967295",
        "pe0",
        "pe2",
        "pe4294967295",
        "step0",
        "step4294967295",
        "t0",
        "t4",
        "t4294967295",
        "0..0",
        "0..1",
        "1..0",
        "0..36",
        "18..36",
        "0..4294967295",
        "4294967295..0",
        "4294967294..4294967295",
        "+0",
        "-7",
        "+255",
        "-255",
        "row0",
        "column0",
        "position0",
        "group0",
        "row18446744073709551615",
        "after-conversion",
    ];
    prop_oneof![
        prop::sample::select(texts.to_vec()).prop_map(Value::from),
        prop::sample::select(vec![0u64, 1, 2, 3, 16, 17, 36, 255, 256, 16_384, 16_385, 65_535])
            .prop_map(Value::from),
        (0u32..64).prop_map(|bit| Value::from(1u64 << bit)),
        (0u32..64).prop_map(|bit| Value::from(u64::MAX >> bit)),
        (0u32..64).prop_map(|bit| Value::from(i64::MIN >> bit)),
        Just(Value::Null),
        Just(json!(true)),
        Just(json!([])),
        Just(json!({})),
        Just(json!(0.5)),
    ]
}

#[derive(Debug, Clone)]
enum Change {
    Set(Value),
    Remove,
    Repeat,
    Copy(Index),
}

fn any_change() -> impl Strategy<Value = Change> {
    prop_oneof![
        6 => any_value().prop_map(Change::Set),
        1 => Just(Change::Remove),
        1 => Just(Change::Repeat),
        2 => any::<Index>().prop_map(Change::Copy),
    ]
}

fn apply(document: &mut Value, at: Index, change: Change) {
    let mut paths = Vec::new();
    pointers(document, String::new(), &mut paths);
    let path = paths[at.index(paths.len())].clone();
    let (parent, last) = path.rsplit_once('/').unwrap_or_default();
    let parent = document.pointer_mut(parent);
    match (change, parent) {
        (Change::Set(value), _) => *document.pointer_mut(&path).unwrap() = value,
        (Change::Copy(from), _) => {
            let value = document.pointer(&paths[from.index(paths.len())]).unwrap().clone();
            *document.pointer_mut(&path).unwrap() = value;
        }
        (Change::Remove, Some(Value::Array(items))) if !path.is_empty() => {
            items.remove(last.parse().unwrap());
        }
        (Change::Repeat, Some(Value::Array(items))) if !path.is_empty() => {
            let item = items[last.parse::<usize>().unwrap()].clone();
            items.push(item);
        }
        (Change::Remove, Some(Value::Object(fields))) if !path.is_empty() => {
            fields.shift_remove(last);
        }
        _ => {}
    }
}

thread_local! {
    static ENTRIES: Vec<(String, Vec<u8>)> = entries(&sample().write().unwrap());
}

fn sample_entries() -> Vec<(String, Vec<u8>)> {
    ENTRIES.with(Clone::clone)
}

// `PROPTEST_CASES=20000` looks longer.
proptest! {
    #[test]
    fn any_document_is_read_or_refused(
        changes in prop::collection::vec((any::<Index>(), any_change()), 1..4),
    ) {
        let all = sample_entries();
        let mut changed = document(&all);
        for (at, change) in changes {
            apply(&mut changed, at, change);
        }
        let _ = read(&with_document(&all, &changed));
    }

    #[test]
    fn any_bytes_in_entries_are_read_or_refused(
        entry in any::<Index>(),
        changes in prop::collection::vec((any::<Index>(), any::<u8>()), 1..4),
        cut in prop::option::of(any::<Index>()),
    ) {
        let mut all = sample_entries();
        let index = entry.index(all.len());
        let content = &mut all[index].1;
        for (at, byte) in changes {
            if !content.is_empty() {
                let at = at.index(content.len());
                content[at] = byte;
            }
        }
        if let Some(cut) = cut {
            content.truncate(cut.index(content.len() + 1));
        }
        let _ = read(&signed(Kind::Plan, &all));
    }

    #[test]
    fn any_bytes_in_a_calibration_are_read_or_refused(
        entry in any::<Index>(),
        changes in prop::collection::vec((any::<Index>(), any::<u8>()), 1..4),
    ) {
        let bytes = crate::format::write_calibration(&calibration(&graph())).unwrap();
        let mut all = entries(&bytes);
        let index = entry.index(all.len());
        for (at, byte) in changes {
            let at = at.index(all[index].1.len());
            all[index].1[at] = byte;
        }
        if let Ok(calibration) = read_calibration(&signed(Kind::Calibration, &all), "c") {
            calibration.layers.values().for_each(|layer| {
                layer.inputs.total();
            });
        }
    }

    #[test]
    fn any_bytes_at_all_are_read_or_refused(
        changes in prop::collection::vec((any::<Index>(), any::<u8>()), 1..6),
        sealed in any::<bool>(),
    ) {
        let mut bytes = signed(Kind::Plan, &sample_entries());
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if sealed {
            crate::format::archive::seal(&mut Cursor::new(&mut bytes)).unwrap();
        }
        let _ = read(&bytes);
    }
}

/// Sets values of the document and gives the complaint.
fn refused(changes: &[(&str, Value)]) -> String {
    let all = sample_entries();
    let mut changed = document(&all);
    for (pointer, value) in changes {
        *changed.pointer_mut(pointer).unwrap_or_else(|| panic!("{pointer}")) = value.clone();
    }
    read(&with_document(&all, &changed)).unwrap_err()
}

#[test]
fn huge_claims_cost_nothing() {
    let most = json!(u32::MAX);
    let lines = json!(1u32 << 31);
    for changes in [
        &[
            ("/layers/0/n_replicas", most.clone()),
            ("/layers/0/loops/positions/1", json!("100000000")),
        ][..],
        &[("/chip/inputs", most.clone()), ("/chip/outputs", lines)],
        &[("/layers/1/loops/groups/0", json!(u64::MAX))],
        &[("/layers/1/loops/rows/0", json!(1u64 << 33))],
        &[("/chip/n_pes", most), ("/tiles/0/pe", json!("pe4294967294"))],
        &[("/steps/0/start", json!(u64::MAX)), ("/steps/0/cycles", json!(u64::MAX))],
        &[("/layers/0/loops/input/2/terms/0/1", json!(u64::MAX))],
        &[("/layers/0/loops/input/2/padding", json!(u64::MAX))],
    ] {
        let complaint = refused(changes);
        assert!(complaint.starts_with("error: `a.plan`"), "{complaint}");
    }
}

#[test]
fn broken_invariants_are_reported_together() {
    let complaint = refused(&[
        ("/steps/1/after", json!(["step3"])),
        ("/steps/0/cycles", json!(3)),
        ("/preprocess/std", json!(["0.0"])),
    ]);
    assert!(complaint.contains("it waits for step3"), "{complaint}");
    assert!(complaint.contains("a standard deviation of 0"), "{complaint}");
}

#[test]
fn a_plan_for_another_target_is_refused() {
    let mut all = sample_entries();
    let yaml = String::from_utf8(all[1].1.clone()).unwrap();
    all[1].1 = yaml.replace("cycle_ns: 50", "cycle_ns: 51").into_bytes();
    let complaint = read(&signed(Kind::Plan, &all)).unwrap_err();
    assert!(complaint.contains("differs from the plan in the length of a cycle"), "{complaint}");
    all[1].1 = b"name: nothing".to_vec();
    let complaint = read(&signed(Kind::Plan, &all)).unwrap_err();
    assert!(complaint.contains("`target.yaml`"), "{complaint}");
}

#[test]
fn deep_nesting_does_not_overflow_the_stack() {
    let mut all = sample_entries();
    all[0].1 = vec![b'['; 200_000];
    assert!(read(&signed(Kind::Plan, &all)).is_err());
    let mut all = sample_entries();
    let levels = all.iter_mut().find(|(name, _)| name == "levels/layer0.npy").unwrap();
    let header = usize::from(u16::from_le_bytes([levels.1[8], levels.1[9]]));
    levels.1[10..10 + header].fill(b'(');
    assert!(read(&signed(Kind::Plan, &all)).unwrap_err().contains("levels/layer0.npy"));
}

/// A gigabyte of zeros in a megabyte, once with its true size in the zip's
/// tables and once with that which the manifest says.
#[test]
fn a_bomb_is_not_unpacked() {
    let bytes = signed(Kind::Plan, &sample_entries());
    let mut source = zip::ZipArchive::new(Cursor::new(&bytes)).unwrap();
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    let options = zip::write::SimpleFileOptions::DEFAULT;
    let mut size = 0;
    for index in 0..source.len() {
        let mut entry = source.by_index(index).unwrap();
        let name = entry.name().unwrap().into_owned();
        zip.start_file(&name, options).unwrap();
        if name == "model.onnx" {
            size = entry.size() as u32;
            let zeros = vec![0; 1 << 20];
            (0..1 << 10).for_each(|_| zip.write_all(&zeros).unwrap());
        } else {
            std::io::copy(&mut entry, &mut zip).unwrap();
        }
    }
    let comment = [crate::format::archive::SEAL, &[b'0'; 64]].concat();
    zip.set_raw_comment(comment.into()).unwrap();
    let mut honest = zip.finish().unwrap().into_inner();
    crate::format::archive::seal(&mut Cursor::new(&mut honest)).unwrap();
    assert!(read(&honest).unwrap_err().contains("the manifest says"));

    let true_size = (1u32 << 30).to_le_bytes();
    let mut lying = honest;
    let places: Vec<usize> =
        lying.windows(4).enumerate().filter(|(_, w)| *w == true_size).map(|(i, _)| i).collect();
    for place in places {
        lying[place..place + 4].copy_from_slice(&size.to_le_bytes());
    }
    crate::format::archive::seal(&mut Cursor::new(&mut lying)).unwrap();
    assert!(read(&lying).unwrap_err().contains("model.onnx"));
}
