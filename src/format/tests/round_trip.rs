//! What is written comes back to the last bit, and the same thing is the same
//! bytes.

use proptest::prelude::*;

use super::*;

#[track_caller]
fn assert_same(a: &PlanFile, b: &PlanFile) {
    assert_eq!(a.plan, b.plan);
    assert_eq!(a.target, b.target);
    assert_eq!(a.preprocess, b.preprocess);
    assert_eq!(a.options.shapes, b.options.shapes);
    assert_eq!(a.model.onnx, b.model.onnx);
    assert_eq!(a.model.external, b.model.external);
    assert_eq!(
        (&a.graph_sha256, &a.tract_version, &a.ohmc_version),
        (&b.graph_sha256, &b.tract_version, &b.ohmc_version)
    );
}

#[test]
fn a_plan_comes_back() {
    let file = sample();
    let bytes = file.write().unwrap();
    let again = PlanFile::read(&bytes, "a.plan").unwrap();
    assert_same(&file, &again);
    assert_eq!(again.write().unwrap(), bytes);
}

#[test]
fn a_window_comes_back_and_is_held_against_its_loops() {
    let file = unrolled_sample();
    assert!(file.plan.layers.values().any(|layer| layer.unrolled.is_some()));
    let bytes = file.write().unwrap();
    assert_same(&file, &PlanFile::read(&bytes, "a.plan").unwrap());
    let mut parts = entries(&bytes);
    let text = String::from_utf8(parts[0].1.clone()).unwrap();
    assert!(text.contains(r#""window": [1, 2, 3]"#), "{text}");
    let other = text.replace(r#""window": [1, 2, 3]"#, r#""window": [1, 3, 2]"#);
    parts[0].1 = other.into_bytes();
    let wrong = complaint(PlanFile::read(&signed(Kind::Plan, &parts), "a.plan"));
    assert!(wrong.contains("its loops are not those of its window"), "{wrong}");
}

#[test]
fn the_same_plan_is_the_same_bytes() {
    assert_eq!(sample().write().unwrap(), sample().write().unwrap());
}

#[test]
fn entries_stand_in_their_order_after_the_manifest() {
    let bytes = sample().write().unwrap();
    assert_eq!(&bytes[30..30 + MANIFEST.len()], MANIFEST.as_bytes());
    let names: Vec<String> = entries(&bytes).into_iter().map(|(name, _)| name).collect();
    let expected = [
        "plan.json",
        "target.yaml",
        "model.onnx",
        "external/more/weights 2.bin",
        "external/weights.bin",
        "levels/layer0.npy",
    ];
    assert_eq!(names[..expected.len()], expected);
}

#[test]
fn the_document_reads_like_a_listing() {
    let bytes = sample().write().unwrap();
    let (_, document) = entries(&bytes).swap_remove(0);
    let text = String::from_utf8(document).unwrap();
    assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
    for part in [
        r#""shapes": {"x": ["N", 2, 6, 6]}"#,
        r#""positions": ["N", "6", "6"],"#,
        r#"{"terms": [["position1", 1], ["row1", 1]], "padding": 1}"#,
        r#""planes": ["+0", "+1", "+2", "+3", "+4", "+5", "+6", "-7"]"#,
        r#""do": {"encode": {"layer": "layer0"}}"#,
    ] {
        assert!(text.contains(part), "{part} in\n{text}");
    }
}

#[test]
fn another_graph_or_tract_is_named_with_the_ohmc_of_the_plan() {
    let mut file = sample();
    let text = graph().to_string();
    file.check_model(&text, "a.plan").unwrap();
    file.ohmc_version = "0.0.7".to_string();
    let file = PlanFile::read(&file.write().unwrap(), "a.plan").unwrap();
    let other = complaint(file.check_model(&text.replace("conv", "conw"), "a.plan"));
    assert!(other.contains("a.plan") && other.contains("ohmc 0.0.7"), "{other}");
    let file = PlanFile { tract_version: "0.1.2".to_string(), ..file };
    let other = complaint(file.check_model(&text, "a.plan"));
    assert!(other.contains("tract 0.1.2") && other.contains("ohmc 0.0.7"), "{other}");
}

#[test]
fn names_that_leave_the_archive_are_not_written() {
    for location in ["../weights", "a/../../b", "back\\slash", "", "new\nline"] {
        let mut file = sample();
        file.model.external.insert(location.to_string(), Arc::new(vec![1]));
        let complaint = complaint(file.write());
        assert!(complaint.contains("cannot be the name"), "{location}: {complaint}");
    }
}

#[test]
fn a_shape_that_does_not_fit_is_not_written() {
    let mut file = sample();
    for layer in file.plan.layers.values_mut() {
        layer.bias.push(0.0);
    }
    assert!(complaint(file.write()).contains("`bias/layer0.npy`"));
}

fn finite() -> impl Strategy<Value = f64> {
    any::<u64>().prop_map(f64::from_bits).prop_filter("finite", |x| x.is_finite())
}

fn positive() -> impl Strategy<Value = f64> {
    finite().prop_map(f64::abs).prop_filter("above zero", |&x| x > 0.0)
}

fn finite_f32() -> impl Strategy<Value = f32> {
    any::<u32>().prop_map(f32::from_bits).prop_filter("finite", |x| x.is_finite())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_float_comes_back(
        column_scale in finite(),
        step_us in positive(),
        coding_scale in finite_f32().prop_map(f32::abs).prop_filter("above zero", |&x| x > 0.0),
        cell in finite_f32(),
        bias in finite_f32(),
        scale in finite_f32(),
        mean in finite_f32(),
    ) {
        let mut file = sample();
        for layer in file.plan.layers.values_mut() {
            layer.column_scales.fill(column_scale);
            layer.bias.fill(bias);
            layer.coding.scale = coding_scale;
        }
        for tile in file.plan.tiles.values_mut() {
            tile.adc.step_us = step_us;
        }
        for pe in file.plan.targets.values_mut() {
            pe.levels.to_mut().iter_mut().filter(|level| !level.is_nan()).for_each(|level| *level = cell.abs());
        }
        file.preprocess.scale = Some(scale);
        file.preprocess.mean = vec![mean];
        let again = PlanFile::read(&file.write().unwrap(), "a.plan").unwrap();
        assert_same(&file, &again);
        prop_assert_eq!(again.preprocess.mean[0].to_bits(), mean.to_bits());
        let bits = |file: &PlanFile| -> Vec<u64> {
            file.plan.layers.values().flat_map(|l| &l.column_scales).map(|s| s.to_bits()).collect()
        };
        prop_assert_eq!(bits(&file), bits(&again));
    }
}
