//! The kernel against sums done the long way, and its forms against each
//! other.

use std::collections::BTreeMap;

use super::super::Converter;
use super::super::converters::bow as bow_of;
use super::*;
use crate::chip::normals;
use crate::chip::wires::currents_us;
use crate::entity::{LayerId, PeId};
use crate::target::{IdleInputs, Pe, Wires};

/// A tile that fills its PE, with cells between 2 and 20 uS off their levels.
struct Tile {
    chip: Chip,
    place: WeightTile,
}

fn tile(inputs: u32, pairs: u32, cell_error_us: f64, noise: f64) -> Tile {
    let pe = Pe { inputs, outputs: 2 * pairs };
    let random = normals(5, 2 * (inputs * pe.outputs) as usize);
    let cell = |nth: usize| {
        let level = (random[2 * nth].abs() * 3.0).min(7.0).floor();
        let exact = if cell_error_us > 0.0 { 2.0 + 18.0 / 7.0 * level } else { level };
        (exact + cell_error_us as f32 * random[2 * nth + 1]).max(0.0)
    };
    let cells = (0..(inputs * pe.outputs) as usize).map(cell).collect();
    let chip = Chip {
        pe,
        wires: Wires::NONE,
        curve: None,
        vectors: None,
        conductances_us: BTreeMap::from([(PeId(0), cells)]),
        cell_error_us,
        read_noise_fraction: noise,
        converters: BTreeMap::new(),
        accumulators: BTreeMap::new(),
        seed: 0,
    };
    let place = WeightTile {
        layer: LayerId(0),
        replica: 0,
        groups: 0..1,
        rows: 0..inputs,
        columns: 0..pairs,
        slice: 0,
        pe: PeId(0),
        input_line: 0,
        output_line: 0,
    };
    Tile { chip, place }
}

impl Tile {
    /// An ADC of this largest code whose range is a quarter of the tile's, or
    /// all of it for lines, which clip at one end only.
    fn adc(&self, max_code: i32, subtract: Subtract) -> AdcSetting {
        let rows = Rows::new(&self.chip, &self.place, subtract).unwrap();
        let share = if subtract == Subtract::BeforeConversion { 0.25 } else { 1.0 };
        let step_us = share * rows.largest_current_us() / f64::from(max_code);
        let min_code = if subtract == Subtract::BeforeConversion { -max_code } else { 0 };
        AdcSetting::new(step_us, min_code, max_code)
    }

    fn kernel(&self, adc: &AdcSetting, subtract: Subtract) -> TileKernel {
        TileKernel::new(&self.chip, &self.place, adc, subtract).unwrap()
    }
}

fn planes(n: u8) -> Vec<Plane> {
    (0..n).map(|bit| Plane { bit, negative: bit + 1 == n }).collect()
}

fn codes(inputs: u32, bits: u8) -> Vec<u16> {
    let mask = u16::MAX >> (16 - bits);
    (0..inputs as u16).map(|i| i.wrapping_mul(40_503).rotate_left(5) & mask).collect()
}

const SUBTRACTIONS: [Subtract; 2] = [Subtract::BeforeConversion, Subtract::AfterConversion];

#[test]
fn every_instruction_set_gives_the_same_codes() {
    let stream = ReadNoise::new(1, 2, 3, 4);
    for (inputs, pairs) in [(128, 64), (9, 8), (5, 1), (37, 13), (144, 16), (16, 24)] {
        for (noise, max_code, bits) in
            [(0.0, 127, 8), (0.02, 255, 8), (0.02, 1023, 11), (0.02, 127, 16), (0.02, 1 << 20, 9)]
        {
            for subtract in SUBTRACTIONS {
                let tile = tile(inputs, pairs, 0.3, noise);
                let mut kernel = tile.kernel(&tile.adc(max_code, subtract), subtract);
                let (codes, planes) = (codes(inputs, bits), planes(bits));
                let mut run = |instructions: Instructions| {
                    kernel.instructions = instructions;
                    let mut results = vec![0; pairs as usize];
                    let noise = Some((&stream, 11));
                    kernel.wave(&codes, &planes, noise, &mut Scratch::default(), &mut results);
                    results
                };
                let plain = run(Instructions::Plain);
                let case = format!("{inputs}x{pairs}, {noise}, {max_code}, {subtract:?}");
                assert!(plain.iter().any(|&sum| sum != 0), "{case}");
                for instructions in Instructions::available() {
                    assert_eq!(run(instructions), plain, "{instructions:?} {case}");
                }
            }
        }
    }
}

/// Waves and planes without any line driven are not worked on: what they give,
/// with and without noise, is the code of no current.
#[test]
fn what_is_not_driven_gives_the_code_of_no_current() {
    let stream = ReadNoise::new(1, 2, 3, 4);
    let (subtract, bits) = (Subtract::BeforeConversion, 11);
    let weights: i64 =
        planes(bits).iter().map(|p| if p.negative { -1 << p.bit } else { 1 << p.bit }).sum();
    // No ADC of a target starts above zero; whatever it does, both agree.
    for (min_code, code) in [(-127, 0), (3, 3)] {
        for noise in [0.0, 0.02] {
            let tile = tile(37, 13, 0.3, noise);
            let adc = AdcSetting { min_code, ..tile.adc(127, subtract) };
            let narrow = tile.kernel(&adc, subtract);
            let wide = TileKernel::finest(&tile.chip, &tile.place, &adc, subtract).unwrap();
            assert_eq!((narrow.precision_bits(), wide.precision_bits()), (16, 32));
            for kernel in [narrow, wide] {
                let mut results = vec![0; 13];
                let (none, planes) = ([0; 37], planes(bits));
                let noise = Some((&stream, 11));
                kernel.wave(&none, &planes, noise, &mut Scratch::default(), &mut results);
                assert!(results.iter().all(|&sum| sum == code * weights), "{results:?}");
            }
        }
    }
}

/// ADCs with a gain, an offset and a bow of their own give the codes that the
/// formula says, plane by plane; measured, they give nearly what they should.
#[test]
fn converters_give_the_codes_of_their_formula() {
    let (inputs, pairs) = (37u32, 13u32);
    let of_adcs = |bow: f64, n_readings| {
        [(1.03, 1.3), (0.98, -2.2), (1.0, 0.4)]
            .map(|(gain, offset)| Converter::quiet(gain, offset, bow, n_readings))
    };
    for subtract in SUBTRACTIONS {
        let mut tile = tile(inputs, pairs, 0.3, 0.0);
        let adc = tile.adc(127, subtract);
        let rows = Rows::new(&tile.chip, &tile.place, subtract).unwrap();
        let (codes, planes) = (codes(inputs, 8), planes(8));
        let steps = |plane: &Plane, value: usize| -> f64 {
            let driven = |line: &usize| codes[*line] >> plane.bit & 1 == 1;
            let lines = (0..inputs as usize).filter(driven);
            lines.map(|line| rows.currents()[line * rows.n_values() + value]).sum::<f64>()
                / adc.step_us
        };
        let run = |tile: &Tile| {
            let kernel = tile.kernel(&adc, subtract);
            let mut results = vec![0; pairs as usize];
            kernel.wave(&codes, &planes, None, &mut Scratch::default(), &mut results);
            (kernel.precision_bits(), results)
        };
        let n_values = rows.n_values();
        for (bow, bits, slack) in [(0.0, 16, 0.2), (1.5, 32, 1e-3)] {
            let adcs = of_adcs(bow, 0);
            tile.chip.converters = BTreeMap::from([(PeId(0), adcs.to_vec())]);
            let (found_bits, found) = run(&tile);
            assert_eq!(found_bits, bits);
            // Least and largest sum of a value, currents being off by a little.
            let reach = |value: usize| {
                let adc_of = &adcs[value * 3 / n_values];
                planes.iter().fold((0i64, 0i64), |(least, most), plane| {
                    let code = |x: f64| {
                        let straight = adc_of.gain * x + adc_of.offset_codes;
                        let bent = straight + bow_of(straight, adc_of.bow_codes, &adc);
                        let (min, max) = (f64::from(adc.min_code), f64::from(adc.max_code));
                        (bent.round_ties_even().clamp(min, max) as i64) << plane.bit
                    };
                    let x = steps(plane, value);
                    let (low, high) = (code(x - slack), code(x + slack));
                    match plane.negative {
                        true => (least - high, most - low),
                        false => (least + low, most + high),
                    }
                })
            };
            for (pair, &sum) in found.iter().enumerate() {
                let (least, most) = match subtract {
                    Subtract::BeforeConversion => reach(pair),
                    Subtract::AfterConversion => {
                        let (positive, negative) = (reach(2 * pair), reach(2 * pair + 1));
                        (positive.0 - negative.1, positive.1 - negative.0)
                    }
                };
                assert!((least..=most).contains(&sum), "{subtract:?} {pair}: {sum}");
            }
        }
        // Wide enough that nothing is clipped, and no plane takes off what
        // another's offset adds.
        let adc = AdcSetting { step_us: 4.0 * adc.step_us, ..adc };
        let planes: Vec<Plane> = (0..8).map(|bit| Plane { bit, negative: false }).collect();
        let run = |tile: &Tile| {
            let mut results = vec![0; pairs as usize];
            let mut scratch = Scratch::default();
            tile.kernel(&adc, subtract).wave(&codes, &planes, None, &mut scratch, &mut results);
            results
        };
        let off = |tile: &Tile, ideal: &[i64]| -> f64 {
            let found = run(tile);
            found.iter().zip(ideal).map(|(a, b)| ((a - b) * (a - b)) as f64).sum()
        };
        tile.chip.converters = BTreeMap::new();
        let ideal = run(&tile);
        tile.chip.converters = BTreeMap::from([(PeId(0), of_adcs(0.0, 0).to_vec())]);
        let uncorrected = off(&tile, &ideal);
        tile.chip.converters = BTreeMap::from([(PeId(0), of_adcs(0.0, 32).to_vec())]);
        let corrected = off(&tile, &ideal);
        // What rounding leaves, of codes that are rounded at other places.
        assert!(corrected < 0.5 * uncorrected, "{subtract:?}: {corrected} of {uncorrected}");
    }
}

/// An offset is converted where nothing is driven, too, and noise of ADCs is
/// added to every conversion.
#[test]
fn conversions_of_nothing_are_those_of_their_converter() {
    for noise_codes in [0.0, 2.0] {
        let mut tile = tile(37, 13, 0.3, 0.0);
        let mut own = Converter::quiet(1.0, 3.0, 0.0, 0);
        own.noise_codes = noise_codes;
        tile.chip.converters = BTreeMap::from([(PeId(0), vec![own])]);
        let subtract = Subtract::BeforeConversion;
        let kernel = tile.kernel(&tile.adc(127, subtract), subtract);
        let (mut sum, mut squares, n) = (0.0, 0.0, 400);
        for nth in 0..n {
            let (stream, mut results) = (ReadNoise::new(1, nth, 3, 4), vec![0; 13]);
            let noise = Some((&stream, 11));
            let plane = [Plane { bit: 0, negative: false }];
            kernel.wave(&[0; 37], &plane, noise, &mut Scratch::default(), &mut results);
            for code in results {
                let off = code as f64 - 3.0;
                sum += off;
                squares += off * off;
            }
        }
        let count = 13.0 * n as f64;
        let (mean, variance) = (sum / count, squares / count);
        if noise_codes == 0.0 {
            assert_eq!((mean, variance), (0.0, 0.0));
        } else {
            // Rounding adds a twelfth.
            assert!(mean.abs() < 0.1 && (variance / (4.0 + 1.0 / 12.0) - 1.0).abs() < 0.1);
        }
    }
}

/// Whole codes take 16 bits, and give what 32 bits give.
#[test]
fn an_exact_chip_is_exact_in_sixteen_bits() {
    for (inputs, pairs) in [(128, 64), (9, 8), (130, 17)] {
        for subtract in SUBTRACTIONS {
            let tile = tile(inputs, pairs, 0.0, 0.0);
            let min_code = if subtract == Subtract::BeforeConversion { -1023 } else { 0 };
            let adc = AdcSetting::new(1.0, min_code, 1023);
            let narrow = tile.kernel(&adc, subtract);
            assert_eq!(narrow.precision_bits(), 16);
            let wide = TileKernel::finest(&tile.chip, &tile.place, &adc, subtract).unwrap();
            assert_eq!(wide.precision_bits(), 32);
            let (codes, planes) = (codes(inputs, 8), planes(8));
            let run = |kernel: &TileKernel| {
                let mut results = vec![0; pairs as usize];
                kernel.wave(&codes, &planes, None, &mut Scratch::default(), &mut results);
                results
            };
            assert_eq!(run(&narrow), run(&wide));
        }
    }
}

/// The error of 16 bits is what `precision` says: half a unit a group at most,
/// a unit being a small part of an ADC's step.
#[test]
fn sixteen_bits_are_as_precise_as_stated() {
    for (inputs, pairs) in [(128, 64), (16, 64), (144, 16), (9, 8)] {
        for subtract in SUBTRACTIONS {
            let tile = tile(inputs, pairs, 0.3, 0.01);
            let adc = tile.adc(127, subtract);
            let kernel = tile.kernel(&adc, subtract);
            let Tables::Narrow(_) = &kernel.tables else { panic!("{inputs}x{pairs} is wide") };
            let n_groups = kernel.groups.len();
            let rows = Rows::new(&tile.chip, &tile.place, subtract).unwrap();
            let fixed = Fixed::choose(&rows, n_groups, &adc, 0.3).unwrap();
            let bound_us = n_groups as f64 / 2.0 * fixed.unit_us;
            let (codes, mut squares, mut n) = (codes(inputs, 8), 0.0, 0);
            kernel.currents(&codes, 8, &mut Scratch::default(), |bit, currents| {
                for (value, &current) in currents.iter().enumerate() {
                    let exact: f64 = (0..inputs as usize)
                        .filter(|&line| codes[line] >> bit & 1 == 1)
                        .map(|line| rows.currents()[line * rows.n_values() + value])
                        .sum();
                    let error = f64::from(current) - exact;
                    assert!(error.abs() <= bound_us * 1.001, "{error} uS of {bound_us}");
                    squares += error * error;
                    n += 1;
                }
            });
            let rms_us = (squares / f64::from(n)).sqrt();
            assert!(rms_us <= adc.step_us / 8.0, "{rms_us} uS of a step of {}", adc.step_us);
            let cells_us = 0.3 * f64::from(inputs / 2).sqrt();
            assert!(rms_us <= cells_us / 8.0, "{rms_us} uS of {cells_us}");
        }
    }
}

/// What sixteen bits cannot hold precisely enough is added up in more.
#[test]
fn finer_converters_and_better_cells_take_more_bits() {
    let bits = |max_code: i32, cell_error_us: f64| {
        let tile = tile(128, 16, cell_error_us, 0.0);
        let subtract = Subtract::BeforeConversion;
        tile.kernel(&tile.adc(max_code, subtract), subtract).precision_bits()
    };
    assert_eq!(bits(127, 0.3), 16);
    assert_eq!(bits(127, 1e-4), 32);
    assert_eq!(bits(1 << 14, 0.3), 32);
    let tile = tile(128, 16, 0.3, 0.0);
    let adc = AdcSetting::new(1e-7, -255, 255);
    assert_eq!(tile.kernel(&adc, Subtract::BeforeConversion).precision_bits(), 64);
}

/// The square root is a square root.
#[test]
fn deviations_are_roots_of_variances() {
    for variance in 0..=i16::MAX {
        let wanted = f64::from(variance).sqrt() * 100.0;
        let found = block::deviation(variance, 100.0);
        let error = (f64::from(found) - wanted).abs();
        assert!(error <= 0.51 + 7e-4 * wanted, "{variance}: {found}, {wanted}");
    }
}

const IDLE: [IdleInputs; 3] = [IdleInputs::Grounded, IdleInputs::Floating, IdleInputs::GatedOff];

/// A circuit that is solved for each vector gives the codes of its currents,
/// whatever becomes of idle lines.
#[test]
fn solved_circuits_give_the_codes_of_their_currents() {
    let (inputs, pairs) = (24u32, 7u32);
    for (subtract, idle_inputs) in SUBTRACTIONS.into_iter().flat_map(|s| IDLE.map(|i| (s, i))) {
        let Tile { mut chip, place } = tile(inputs, pairs, 0.3, 0.0);
        let ohm = 20.0;
        chip.wires = Wires {
            input_ohm_per_cell: ohm,
            output_ohm_per_cell: ohm,
            driver_ohm: 100.0,
            idle_inputs,
            ..Wires::NONE
        };
        let tile = Tile { chip: chip.with_own_circuit(&place), place };
        let adc = tile.adc(127, subtract);
        let (codes, planes) = (codes(inputs, 8), planes(8));
        let cells: Vec<f64> = chip.conductances_us[&PeId(0)].iter().map(|&us| us.into()).collect();
        let mut wanted = vec![0i64; pairs as usize];
        let mut currents = Vec::new();
        for plane in &planes {
            let driven: Vec<bool> = codes.iter().map(|code| code >> plane.bit & 1 == 1).collect();
            let lines = currents_us(chip.pe, &chip.wires, None, &cells, &driven);
            let code = |us: f64| {
                let (min, max) = (f64::from(adc.min_code), f64::from(adc.max_code));
                (us / adc.step_us).round_ties_even().clamp(min, max) as i64
            };
            for (sum, pair) in wanted.iter_mut().zip(lines.chunks_exact(2)) {
                let codes = match subtract {
                    Subtract::BeforeConversion => code(pair[0] - pair[1]),
                    Subtract::AfterConversion => code(pair[0]) - code(pair[1]),
                };
                *sum += if plane.negative { -codes << plane.bit } else { codes << plane.bit };
            }
            currents.push(lines);
        }
        let kernel = tile.kernel(&adc, subtract);
        let mut found = vec![0; pairs as usize];
        kernel.wave(&codes, &planes, None, &mut Scratch::default(), &mut found);
        assert_eq!(found, wanted, "{subtract:?} {idle_inputs:?}");
        kernel.currents(&codes, 8, &mut Scratch::default(), |bit, found| {
            let lines = &currents[bit];
            for (value, &found) in found.iter().enumerate() {
                let wanted = match subtract {
                    Subtract::BeforeConversion => lines[2 * value] - lines[2 * value + 1],
                    Subtract::AfterConversion => lines[value],
                };
                assert!((f64::from(found) - wanted).abs() < 1e-3, "{found} {wanted}");
            }
        });
    }
}

/// Noise, ADCs of their own and planes that are added up do to the currents of a
/// solved circuit what they do to tabulated ones: without resistance they are
/// the same.
#[test]
fn solved_circuits_are_read_like_tabulated_ones() {
    let (inputs, pairs) = (37u32, 13u32);
    let stream = ReadNoise::new(1, 2, 3, 4);
    for subtract in SUBTRACTIONS {
        let mut plain = tile(inputs, pairs, 0.3, 0.02);
        for bow in [0.0, 1.5] {
            let mut own = Converter::quiet(1.03, -1.3, bow, 16);
            own.noise_codes = 0.3;
            plain.chip.converters = BTreeMap::from([(PeId(0), vec![own])]);
            let solved = Tile {
                chip: plain.chip.with_own_circuit(&plain.place),
                place: plain.place.clone(),
            };
            let adc = plain.adc(1 << 14, subtract);
            for conversion in
                [Conversion::EveryPlane, Conversion::Significant(3), Conversion::Accumulated]
            {
                let adc = match conversion {
                    Conversion::Accumulated => AdcSetting { step_us: 256.0 * adc.step_us, ..adc },
                    _ => adc,
                };
                let run = |tile: &Tile| {
                    let scheme = Scheme { subtract, conversion };
                    let kernel = TileKernel::new(&tile.chip, &tile.place, &adc, scheme).unwrap();
                    let mut results = vec![0; pairs as usize];
                    let noise = Some((&stream, 11));
                    let (codes, planes) = (codes(inputs, 8), planes(8));
                    kernel.wave(&codes, &planes, noise, &mut Scratch::default(), &mut results);
                    (kernel, results)
                };
                let ((_, wanted), (kernel, found)) = (run(&plain), run(&solved));
                assert!(matches!(kernel.tables, Tables::Solved(_)));
                // One code in each plane that rounds the other way.
                let slack = if conversion == Conversion::Accumulated { 1 } else { 255 };
                for (a, b) in found.iter().zip(&wanted) {
                    assert!((a - b).abs() <= slack, "{conversion:?} {subtract:?}: {a} and {b}");
                }
                assert!(wanted.iter().any(|&sum| sum.abs() > 20 * slack), "{wanted:?}");
            }
        }
    }
}
