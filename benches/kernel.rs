//! The tile kernel against a dense f32 matrix product of the same planes.
//!
//! Both do 8 bit-planes of 1,024 positions on one thread: the dense product
//! multiplies a matrix of zeros and ones (one row a plane and position) with
//! the tile's conductances; the kernel does the same, and also converts every
//! output and shifts and adds. Ratios are taken in one run, the two in turn,
//! minimum of several rounds.
//!
//! `cargo bench --bench kernel`

#![allow(clippy::print_stdout, reason = "a bench prints its table")]
#![allow(
    clippy::disallowed_methods,
    reason = "random conductances need not be the same everywhere"
)]

use std::collections::BTreeMap;
use std::hint::black_box;
use std::time::Instant;

use ohmc::chip::{Chip, ReadNoise, Scratch, TileKernel};
use ohmc::entity::{LayerId, PeId};
use ohmc::mapping::WeightTile;
use ohmc::schedule::{AdcSetting, Plane};
use ohmc::target::{Pe, Subtract};

const POSITIONS: usize = 1024;
const PLANES: usize = 8;
const ROUNDS: usize = 15;

/// A small generator, so that the bench needs no other crate: Lehmer's.
struct Lehmer(u64);

impl Lehmer {
    fn next(&mut self) -> u32 {
        self.0 = self.0.wrapping_mul(0xDA94_2042_E4DD_58B5).wrapping_add(1);
        (self.0 >> 33) as u32
    }
}

struct Case {
    name: &'static str,
    inputs: u32,
    pairs: u32,
    noise: f64,
    subtract: Subtract,
}

fn kernel(case: &Case) -> TileKernel {
    let mut random = Lehmer(7);
    let pe = Pe { inputs: case.inputs, outputs: 2 * case.pairs };
    let cells = (0..pe.inputs * pe.outputs)
        .map(|_| 2.0 + 18.0 * random.next() as f32 / 2f32.powf(31.0))
        .collect();
    let chip = Chip {
        pe,
        conductances_us: BTreeMap::from([(PeId(0), cells)]),
        read_noise_fraction: case.noise,
        seed: 0,
    };
    let place = WeightTile {
        layer: LayerId(0),
        replica: 0,
        groups: 0..1,
        rows: 0..case.inputs,
        columns: 0..case.pairs,
        pe: PeId(0),
        input_line: 0,
        output_line: 0,
    };
    let adc = AdcSetting { step_us: 2.0, min_code: -127, max_code: 127 };
    TileKernel::new(&chip, &place, &adc, case.subtract).unwrap_or_else(|| unreachable!())
}

/// Seconds of the kernel and of the dense product, minimum of all rounds.
fn measure(case: &Case) -> (f64, f64) {
    let kernel = kernel(case);
    let (inputs, pairs) = (case.inputs as usize, case.pairs as usize);
    let mut random = Lehmer(3);
    let codes: Vec<u16> = (0..POSITIONS * inputs).map(|_| (random.next() & 255) as u16).collect();
    let planes: Vec<Plane> = (0..PLANES as u8).map(|bit| Plane { bit, negative: false }).collect();
    let noise = ReadNoise::new(0, 0, 0, 0);
    let bits: Vec<f32> = codes
        .chunks(inputs)
        .flat_map(|codes| (0..PLANES).map(move |bit| (codes, bit)))
        .flat_map(|(codes, bit)| codes.iter().map(move |code| f32::from(code >> bit & 1)))
        .collect();
    let weights: Vec<f32> = (0..inputs * pairs).map(|i| (i % 37) as f32 - 18.0).collect();
    let rows = POSITIONS * PLANES;
    let mut dense = vec![0f32; rows * pairs];
    let mut results = vec![0i64; POSITIONS * pairs];
    let mut scratch = Scratch::default();
    let (mut best_kernel, mut best_dense) = (f64::INFINITY, f64::INFINITY);
    for _ in 0..ROUNDS {
        let start = Instant::now();
        for (position, (codes, results)) in
            codes.chunks(inputs).zip(results.chunks_mut(pairs)).enumerate()
        {
            let noise = Some((&noise, position as u32));
            kernel.wave(black_box(codes), &planes, noise, &mut scratch, results);
        }
        black_box(&results);
        best_kernel = best_kernel.min(start.elapsed().as_secs_f64());
        let start = Instant::now();
        // SAFETY: the three slices have exactly m x n, m x k and k x n values,
        // row-major, and the result overlaps neither operand.
        #[allow(unsafe_code, reason = "the product to compare with has a raw interface")]
        unsafe {
            matrixmultiply::sgemm(
                rows,
                inputs,
                pairs,
                1.0,
                black_box(&bits).as_ptr(),
                inputs as isize,
                1,
                weights.as_ptr(),
                pairs as isize,
                1,
                0.0,
                dense.as_mut_ptr(),
                pairs as isize,
                1,
            );
        }
        black_box(&dense);
        best_dense = best_dense.min(start.elapsed().as_secs_f64());
    }
    (best_kernel, best_dense)
}

fn main() {
    let before = Subtract::BeforeConversion;
    let after = Subtract::AfterConversion;
    let cases = [
        Case { name: "128 x 64 pairs", inputs: 128, pairs: 64, noise: 0.0, subtract: before },
        Case {
            name: "128 x 64 pairs, read noise",
            inputs: 128,
            pairs: 64,
            noise: 0.01,
            subtract: before,
        },
        Case { name: "16 x 64 pairs", inputs: 16, pairs: 64, noise: 0.0, subtract: before },
        Case {
            name: "16 x 64 pairs, each line",
            inputs: 16,
            pairs: 64,
            noise: 0.0,
            subtract: after,
        },
        Case {
            name: "16 x 64 pairs, each line, read noise",
            inputs: 16,
            pairs: 64,
            noise: 0.01,
            subtract: after,
        },
        Case { name: "144 x 16 pairs", inputs: 144, pairs: 16, noise: 0.0, subtract: before },
        Case { name: "9 x 8 pairs", inputs: 9, pairs: 8, noise: 0.0, subtract: before },
    ];
    println!("| tile, 8 planes | kernel G cell-op/s | dense f32 G cell-op/s | ratio |");
    println!("|---|---|---|---|");
    for case in &cases {
        let (kernel, dense) = measure(case);
        let operations =
            (POSITIONS * PLANES) as f64 * f64::from(case.inputs) * f64::from(case.pairs);
        println!(
            "| {} | {:.1} | {:.1} | {:.2} |",
            case.name,
            operations / kernel / 1e9,
            operations / dense / 1e9,
            dense / kernel
        );
    }
}
