//! Laws of the chip model: what programming, noise and conversion may do to a
//! result, each by itself.

use std::collections::BTreeMap;

use ohmc::chip::{Chip, ReadNoise, Scratch, TileKernel};
use ohmc::compiler::CompileOptions;
use ohmc::entity::{LayerId, PeId, WeightTileId};
use ohmc::mapping::WeightTile;
use ohmc::schedule::{AdcSetting, ExecutionPlan, Plane};
use ohmc::target::{Pe, Subtract, Target, Wires};
use ohmc::tensor::Tensor;
use proptest::prelude::*;
use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};

use crate::exactness::config;
use crate::onnx::{Conv, Onnx, batched, int};
use crate::pipeline::{self, Case, relative_error};

/// Cells from 2 to 20 uS, as those of the paper, without any error; what is
/// given changes that.
fn target(sets: &[&str]) -> Target {
    let window = ["cell.conductance_min_us=2", "cell.conductance_max_us=20"];
    let fine = ["readout.adc_bits=20", "readout.adc_range=full-scale"];
    let sets: Vec<String> =
        window.iter().chain(&fine).chain(sets).map(ToString::to_string).collect();
    pipeline::target("ideal", &sets)
}

/// Two layers with a rectifier between, on eight inputs.
fn case(target: Target) -> Case {
    let mut conv = Conv::new(2, 4, &[3, 3]);
    conv.pads = vec![(1, 1); 2];
    let model = Onnx::new(11).input("x", &batched(None, &[2, 6, 6]));
    let model = conv.add_to(model, "conv", "x").node("Relu", &["conv"], "relu", vec![]);
    let model = model.node("Flatten", &["relu"], "flat", vec![int("axis", 1)]);
    let model = model.weights("w", &[144, 10]).node("MatMul", &["flat", "w"], "fc", vec![]);
    let model = pipeline::read(model.output("fc").bytes()).unwrap();
    let inputs = pipeline::inputs(&model, 8, 0.0, 1.0, 12);
    Case::new(model, target, &CompileOptions::default(), inputs).unwrap()
}

/// How far each used cell is from its target, in uS.
fn deviations(plan: &ExecutionPlan, target: &Target, chip: &Chip) -> Vec<f64> {
    let mut deviations = Vec::new();
    for (pe, conductances) in &chip.conductances_us {
        for (&found, &level) in conductances.iter().zip(plan.targets[pe].levels.iter()) {
            if level.is_nan() {
                assert_eq!(found, 0.0, "a cell that was never formed");
            } else {
                deviations.push(f64::from(found) - target.cell.conductance_us(f64::from(level)));
            }
        }
    }
    deviations
}

fn mean_and_sd(values: &[f64]) -> (f64, f64) {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let variance = values.iter().map(|v| (v - mean) * (v - mean)).sum::<f64>() / (n - 1.0);
    (mean, variance.sqrt())
}

/// A cell holds an f32: up to 20 uS it is off by no more than this.
const ROUNDING_US: f64 = 2e-6;

#[test]
fn without_errors_a_cell_holds_its_target() {
    let case = case(target(&[]));
    for seed in [0, 1, u64::MAX] {
        let chip = case.program(seed);
        for deviation in deviations(&case.compiled.plan, &case.target, &chip) {
            assert!(deviation.abs() < ROUNDING_US, "{deviation}");
        }
    }
}

#[test]
fn write_verify_leaves_a_cell_anywhere_within_the_tolerance() {
    let case = case(target(&["cell.verify_tolerance_us=0.25"]));
    let mut all = Vec::new();
    for seed in 0..4 {
        all.extend(deviations(&case.compiled.plan, &case.target, &case.program(seed)));
    }
    assert!(all.len() > 10_000);
    assert!(all.iter().all(|d| d.abs() <= 0.25 + ROUNDING_US));
    // Uniform: a standard deviation of the tolerance over the root of three,
    // and as many in each tenth.
    let (mean, sd) = mean_and_sd(&all);
    assert!(mean.abs() < 0.005, "mean {mean}");
    assert!((sd - 0.25 / 3f64.sqrt()).abs() < 0.003, "sd {sd}");
    let mut tenths = [0usize; 10];
    for d in &all {
        tenths[(((d + 0.25) / 0.05) as usize).min(9)] += 1;
    }
    let each = all.len() / 10;
    assert!(tenths.iter().all(|&n| n.abs_diff(each) < each / 8), "{tenths:?}");
}

#[test]
fn relaxation_has_the_standard_deviation_that_the_target_says() {
    for sd_us in [0.1, 0.3, 0.6] {
        let case = case(target(&[&format!("cell.relaxation_sd_us={sd_us}")]));
        let mut all = Vec::new();
        for seed in 0..4 {
            all.extend(deviations(&case.compiled.plan, &case.target, &case.program(seed)));
        }
        let (mean, sd) = mean_and_sd(&all);
        assert!(mean.abs() < 0.03 * sd_us, "mean {mean}");
        // No cell is near 0 uS, where it could not fall further.
        assert!((sd / sd_us - 1.0).abs() < 0.03, "sd {sd} of {sd_us}");
    }
}

#[test]
fn conductances_never_fall_below_zero() {
    let case = case(target(&["cell.relaxation_sd_us=5"]));
    let chip = case.program(3);
    let all: Vec<f32> = chip.conductances_us.values().flatten().copied().collect();
    assert!(all.iter().all(|&us| us >= 0.0 && us.is_finite()));
}

/// What a cell draws depends on seed, PE and place alone.
#[test]
fn the_error_of_a_cell_does_not_depend_on_what_others_hold() {
    let target = target(&["cell.verify_tolerance_us=0.25", "cell.relaxation_sd_us=0.3"]);
    let case = case(target.clone());
    let plan = &case.compiled.plan;
    let mut other = plan.clone();
    for targets in other.targets.values_mut() {
        // Another network: every other cell is not used, the rest is flat.
        for (index, level) in targets.levels.to_mut().iter_mut().enumerate() {
            *level = if index % 2 == 0 { f32::NAN } else { 3.0 };
        }
    }
    let (first, second) = (case.program(9), ohmc::chip::program(&other, &target, 9));
    for (pe, cells) in &second.conductances_us {
        for (index, &found) in cells.iter().enumerate().filter(|(index, _)| index % 2 == 1) {
            let level = plan.targets[pe].levels[index];
            if level.is_nan() {
                continue;
            }
            let before = f64::from(first.conductances_us[pe][index])
                - target.cell.conductance_us(f64::from(level));
            let after = f64::from(found) - target.cell.conductance_us(3.0);
            assert!((before - after).abs() < 2.0 * ROUNDING_US, "{before} {after}");
        }
    }
    assert_ne!(first.conductances_us, case.program(10).conductances_us);
}

/// One PE of given conductances, all of it one tile.
fn chip(pe: Pe, conductances_us: Vec<f32>, read_noise_fraction: f64) -> (Chip, WeightTile) {
    let conductances_us = BTreeMap::from([(PeId(0), conductances_us)]);
    let place = WeightTile {
        layer: LayerId(0),
        replica: 0,
        groups: 0..1,
        rows: 0..pe.inputs,
        columns: 0..pe.pairs(),
        slice: 0,
        pe: PeId(0),
        input_line: 0,
        output_line: 0,
    };
    let chip = Chip {
        pe,
        wires: Wires::NONE,
        curve: None,
        vectors: None,
        conductances_us,
        cell_error_us: 0.0,
        read_noise_fraction,
        converters: BTreeMap::new(),
        accumulators: BTreeMap::new(),
        seed: 0,
    };
    (chip, place)
}

fn planes(n: u8) -> Vec<Plane> {
    (0..n).map(|bit| Plane { bit, negative: false }).collect()
}

/// A reading's noise is that of its cells, each by a fraction of its own
/// conductance, added up as squares; planes add theirs with their weights.
#[test]
fn the_variance_of_a_reading_is_the_sum_of_those_of_its_cells() {
    const READINGS: u32 = 20_000;
    let pe = Pe { inputs: 13, outputs: 6 };
    let fraction = 0.02;
    let mut random = ChaCha8Rng::seed_from_u64(5);
    let cells: Vec<f32> = (0..pe.cells()).map(|_| random.random_range(2.0f32..20.0)).collect();
    let (chip, place) = chip(pe, cells.clone(), fraction);
    let adc = |subtract| {
        let min_code = if subtract == Subtract::BeforeConversion { -2_000_000 } else { 0 };
        AdcSetting::new(1e-3, min_code, 2_000_000)
    };
    let codes: Vec<u16> = (0..pe.inputs).map(|_| random.random_range(0..8)).collect();
    let planes = planes(3);
    for subtract in [Subtract::BeforeConversion, Subtract::AfterConversion] {
        let kernel = TileKernel::new(&chip, &place, &adc(subtract), subtract).unwrap();
        let mut scratch = Scratch::default();
        let mut exact = vec![0; kernel.n_pairs()];
        kernel.wave(&codes, &planes, None, &mut scratch, &mut exact);
        let stream = ReadNoise::new(1, 2, 3, 4);
        let mut readings = vec![Vec::new(); kernel.n_pairs()];
        for position in 0..READINGS {
            let mut results = vec![0; kernel.n_pairs()];
            kernel.wave(&codes, &planes, Some((&stream, position)), &mut scratch, &mut results);
            for (pair, &result) in results.iter().enumerate() {
                readings[pair].push((result - exact[pair]) as f64 * 1e-3);
            }
        }
        for (pair, readings) in readings.iter().enumerate() {
            let mut variance = 0.0;
            for (line, &code) in codes.iter().enumerate() {
                for half in 0..2 {
                    let us = f64::from(cells[line * 6 + 2 * pair + half]);
                    let weights: f64 = (0..3)
                        .filter(|bit| code >> bit & 1 == 1)
                        .map(|bit| f64::from(1 << (2 * bit)))
                        .sum();
                    variance += (fraction * us) * (fraction * us) * weights;
                }
            }
            let (mean, sd) = mean_and_sd(readings);
            // Five standard errors of a variance from 20,000 readings.
            let ratio = sd * sd / variance;
            assert!((ratio - 1.0).abs() < 0.05, "{subtract:?} pair {pair}: ratio {ratio}");
            assert!(mean.abs() < 5.0 * sd / f64::from(READINGS).sqrt(), "mean {mean}");
        }
        // Lines do not share their noise.
        let product: f64 = readings[0].iter().zip(&readings[1]).map(|(a, b)| a * b).sum();
        let (sd0, sd1) = (mean_and_sd(&readings[0]).1, mean_and_sd(&readings[1]).1);
        let correlation = product / f64::from(READINGS) / sd0 / sd1;
        assert!(correlation.abs() < 0.04, "correlation {correlation}");
    }
}

#[test]
fn a_line_that_is_not_driven_has_no_noise() {
    let pe = Pe { inputs: 5, outputs: 4 };
    let (chip, place) = chip(pe, vec![20.0; 20], 0.5);
    let adc = AdcSetting::new(1e-3, -1_000_000, 1_000_000);
    let kernel = TileKernel::new(&chip, &place, &adc, Subtract::BeforeConversion).unwrap();
    let mut results = vec![1; 2];
    let stream = ReadNoise::new(1, 2, 3, 4);
    let scratch = &mut Scratch::default();
    kernel.wave(&[0; 5], &planes(8), Some((&stream, 0)), scratch, &mut results);
    assert_eq!(results, [0, 0]);
    // A pair of equal cells has a current of zero, and the noise of both.
    kernel.wave(&[1; 5], &planes(8), Some((&stream, 0)), scratch, &mut results);
    assert!(results.iter().all(|&code| code.abs() > 100), "{results:?}");
}

proptest! {
    #![proptest_config(config(256))]

    /// A code is the nearest multiple of the step, ties to even, clipped; line
    /// by line or pair by pair; shifted by its plane, the top one negative.
    #[test]
    fn a_conversion_rounds_clips_and_shifts_as_stated(
        inputs in 1u32..=40, pairs in 1u32..=20, bits in 1u8..=16, step_exponent in -3i32..=4,
        max_bits in 1u32..=21, signed in any::<bool>(), after in any::<bool>(), seed in any::<u64>(),
    ) {
        let pe = Pe { inputs, outputs: 2 * pairs };
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        // Sixteenths, so that sums and quotients are exact and ties occur.
        let cells: Vec<f32> =
            (0..pe.cells()).map(|_| random.random_range(0..320) as f32 / 16.0).collect();
        let (chip, place) = chip(pe, cells.clone(), 0.0);
        let subtract = if after { Subtract::AfterConversion } else { Subtract::BeforeConversion };
        let step_us = 2f64.powi(step_exponent);
        let max_code = (1 << max_bits) - 1;
        let adc = AdcSetting::new(step_us, if after { 0 } else { -max_code }, max_code);
        let kernel = TileKernel::new(&chip, &place, &adc, subtract).unwrap();
        let planes: Vec<Plane> =
            (0..bits).map(|bit| Plane { bit, negative: signed && bit + 1 == bits }).collect();
        let codes: Vec<u16> = (0..inputs)
            .map(|_| random.random_range(0..=u16::MAX) & (u16::MAX >> (16 - bits)))
            .collect();
        let mut results = vec![0; pairs as usize];
        kernel.wave(&codes, &planes, None, &mut Scratch::default(), &mut results);
        let convert = |current: f64| {
            let code = (current / step_us).round_ties_even() as i64;
            code.clamp(i64::from(adc.min_code), i64::from(adc.max_code))
        };
        for (pair, &found) in results.iter().enumerate() {
            let mut wanted = 0i64;
            for plane in &planes {
                let line = |half: usize| -> f64 {
                    (0..inputs as usize)
                        .filter(|&input| codes[input] >> plane.bit & 1 == 1)
                        .map(|input| f64::from(cells[input * pe.outputs as usize + 2 * pair + half]))
                        .sum()
                };
                let code = match subtract {
                    Subtract::BeforeConversion => convert(line(0) - line(1)),
                    Subtract::AfterConversion => convert(line(0)) - convert(line(1)),
                };
                wanted += if plane.negative { -(code << plane.bit) } else { code << plane.bit };
            }
            prop_assert_eq!(found, wanted, "pair {}", pair);
        }
    }
}

/// The error of outputs beside those of a chip without errors, averaged over
/// chips.
fn mean_error(sets: &[&str], n_chips: u64) -> f32 {
    let exact = case(target(&[]));
    let wanted: Tensor = exact.run_on(&exact.program(0)).remove(0);
    let case = case(target(sets));
    let errors =
        (0..n_chips).map(|seed| relative_error(&case.run_on(&case.program(seed))[0], &wanted));
    errors.sum::<f32>() / n_chips as f32
}

#[test]
fn more_of_an_error_is_no_better() {
    for key in ["cell.verify_tolerance_us", "cell.relaxation_sd_us", "cell.read_noise_fraction"] {
        let scale = if key.ends_with("us") { 1.0 } else { 0.05 };
        let errors: Vec<f32> = [0.0, 0.25, 1.0, 4.0]
            .iter()
            .map(|amount| mean_error(&[&format!("{key}={}", amount * scale)], 6))
            .collect();
        assert_eq!(errors[0], 0.0, "{key}");
        assert!(
            errors.is_sorted_by(|a, b| 1.5 * a < *b || b > a && *a == 0.0),
            "{key}: {errors:?}"
        );
    }
}

#[test]
fn half_the_step_of_an_adc_is_no_worse() {
    for subtract in ["before-conversion", "after-conversion"] {
        let errors: Vec<f32> = (4..=14)
            .step_by(2)
            .map(|bits| {
                let bits = format!("readout.adc_bits={bits}");
                mean_error(&[&bits, &format!("readout.subtract={subtract}")], 1)
            })
            .collect();
        assert!(errors.is_sorted_by(|coarse, fine| fine < coarse), "{subtract}: {errors:?}");
        assert!(errors[5] < 1e-2, "{subtract}: {errors:?}");
    }
}

/// A tile that is not on the chip is no kernel, rather than a wrong one.
#[test]
fn a_tile_outside_of_its_chip_has_no_kernel() {
    let case = case(target(&[]));
    let plan = &case.compiled.plan;
    let chip = case.program(0);
    let tile = &plan.tiles[WeightTileId(0)];
    let at = |change: &dyn Fn(&mut WeightTile)| {
        let mut place = tile.place.clone();
        change(&mut place);
        TileKernel::new(&chip, &place, &tile.adc, plan.subtract)
    };
    assert!(at(&|_| ()).is_some());
    assert!(at(&|place| place.pe = PeId(999)).is_none());
    assert!(at(&|place| place.input_line = 999).is_none());
}
