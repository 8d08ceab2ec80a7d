//! A stored calibration is the calibration that was stored.

use proptest::prelude::*;

use super::*;
use crate::format::{read_calibration, write_calibration};
use crate::quantize::LayerStatistics;
use crate::tensor::{Tensor, Values};

#[test]
fn a_calibration_comes_back() {
    let calibration = calibration(&graph());
    let bytes = write_calibration(&calibration).unwrap();
    assert_eq!(read_calibration(&bytes, "c").unwrap(), calibration);
    assert_eq!(write_calibration(&calibration).unwrap(), bytes);
}

#[test]
fn layers_that_saw_nothing_and_no_layers_come_back() {
    let mut calibration = Calibration::default();
    assert_eq!(
        read_calibration(&write_calibration(&calibration).unwrap(), "c").unwrap(),
        calibration
    );
    let statistics = LayerStatistics { sample_length: 9, ..Default::default() };
    calibration.layers.insert("später/Ω".to_string(), statistics);
    assert_eq!(
        read_calibration(&write_calibration(&calibration).unwrap(), "c").unwrap(),
        calibration
    );
}

#[test]
fn inputs_that_were_kept_come_back() {
    let two = |values: Values| Tensor::new(vec![2], values).unwrap();
    let batch = vec![
        two(Values::F32(vec![0.5, -0.0])),
        two(Values::F64(vec![1e300, 0.1])),
        two(Values::U8(vec![0, 255])),
        two(Values::I8(vec![-128, 127])),
        two(Values::I32(vec![i32::MIN, 7])),
        two(Values::I64(vec![i64::MAX, -1])),
        two(Values::Bool(vec![true, false])),
    ];
    let calibration = Calibration { batches: vec![batch.clone(), batch], ..Default::default() };
    let bytes = write_calibration(&calibration).unwrap();
    assert_eq!(read_calibration(&bytes, "c").unwrap(), calibration);
}

#[test]
fn samples_of_another_length_are_not_written() {
    let mut calibration = Calibration::default();
    let statistics =
        LayerStatistics { sample_length: 2, samples: vec![0.0; 3], ..Default::default() };
    calibration.layers.insert("layer".to_string(), statistics);
    assert!(complaint(write_calibration(&calibration)).contains("`samples/0.npy`"));
}

#[test]
fn a_plan_is_no_calibration() {
    let text = complaint(read_calibration(&sample().write().unwrap(), "a.plan"));
    assert!(text.contains("`a.plan` is a plan, not a stored calibration"), "{text}");
}

#[test]
fn a_changed_bit_anywhere_is_found() {
    let mut calibration = calibration(&graph());
    calibration.layers.retain(|name, _| name == "depthwise");
    let bytes = write_calibration(&calibration).unwrap();
    for index in (0..bytes.len()).step_by(3) {
        let mut damaged = bytes.clone();
        damaged[index] ^= 1 << (index % 8);
        assert!(read_calibration(&damaged, "c").is_err(), "byte {index}");
        assert!(read_calibration(&bytes[..index], "c").is_err(), "{index} bytes");
    }
}

#[test]
fn counts_that_cannot_be_added_up_are_refused() {
    let bytes = write_calibration(&calibration(&graph())).unwrap();
    let mut all = entries(&bytes);
    let (_, histogram) = all.iter_mut().find(|(name, _)| name == "histogram/0.npy").unwrap();
    let n_bytes = histogram.len();
    histogram[n_bytes - 16..].fill(0xff);
    let text = complaint(read_calibration(&signed(Kind::Calibration, &all), "c"));
    assert!(text.contains("the range of layer"), "{text}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_values_come_back(
        values in prop::collection::vec(any::<f32>().prop_filter("finite", |x| x.is_finite()), 0..40),
        samples in prop::collection::vec(any::<u32>().prop_map(f32::from_bits), 0..12),
        n_inputs in any::<u64>(),
        source in ".*",
        name in ".*",
    ) {
        let mut calibration = Calibration { n_inputs, source, ..Default::default() };
        let samples: Vec<f32> = samples.chunks_exact(3).flatten().copied().collect();
        let mut statistics = LayerStatistics { sample_length: 3, samples, ..Default::default() };
        statistics.inputs.add(&values);
        calibration.layers.insert(name.clone(), statistics);
        let mut again = read_calibration(&write_calibration(&calibration).unwrap(), "c").unwrap();
        let bits = |c: &Calibration| -> Vec<u32> {
            c.layers[&name].samples.iter().map(|x| x.to_bits()).collect()
        };
        prop_assert_eq!(bits(&again), bits(&calibration));
        // NaN is not equal to itself; its bits were.
        for c in [&mut again, &mut calibration] {
            c.layers.get_mut(&name).unwrap().samples.clear();
        }
        prop_assert_eq!(again, calibration);
    }
}
