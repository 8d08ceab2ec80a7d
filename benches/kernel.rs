//! The tile kernel against a dense f32 matrix product of the same planes.
//!
//! Both do 8 bit-planes of 1,024 positions on one thread: the dense product
//! multiplies a matrix of zeros and ones (one row a plane and position) with
//! the tile's conductances; the kernel does the same from the codes, the
//! transposition of their bits included, and also converts every output and
//! shifts and adds. Ratios are taken in one run, the two in turn, minimum of
//! many rounds.
//!
//! `cargo bench --bench kernel`, and with `-- scaling` time against inputs,
//! outputs, planes and positions.

#![allow(clippy::print_stdout, reason = "a bench prints its table")]
#![allow(
    clippy::disallowed_methods,
    reason = "random conductances need not be the same everywhere"
)]

use std::collections::BTreeMap;
use std::hint::black_box;
use std::time::Instant;

use ohmc::chip::{
    Bundle, Chip, Driven, Pattern, PatternMap, ReadNoise, Slot, TileKernel, lines_per_bundle,
};
use ohmc::entity::{LayerId, PeId};
use ohmc::mapping::WeightTile;
use ohmc::schedule::{AdcSetting, Plane};
use ohmc::target::{Pe, Subtract, Wires};

/// Positions of a block, and blocks.
const BLOCK: usize = 128;
const N_BLOCKS: usize = 8;
const ROUNDS: usize = 60;

/// A small generator, so that the bench needs no other crate: Lehmer's.
struct Lehmer(u64);

impl Lehmer {
    fn next(&mut self) -> u32 {
        self.0 = self.0.wrapping_mul(0xDA94_2042_E4DD_58B5).wrapping_add(1);
        (self.0 >> 33) as u32
    }
}

#[derive(Clone, Copy)]
struct Case {
    inputs: u32,
    pairs: u32,
    planes: u8,
    noise: f64,
    subtract: Subtract,
}

impl Case {
    fn name(&self) -> String {
        let lines = if self.subtract == Subtract::AfterConversion { ", each line" } else { "" };
        let noise = if self.noise > 0.0 { ", read noise" } else { "" };
        format!("{} x {} pairs{lines}{noise}", self.inputs, self.pairs)
    }

    fn n_values(&self) -> usize {
        match self.subtract {
            Subtract::BeforeConversion => self.pairs as usize,
            Subtract::AfterConversion => 2 * self.pairs as usize,
        }
    }

    /// The kernel, and the patterns it wants of codes `[position][input]`.
    fn kernel(&self) -> (TileKernel, PatternMap) {
        let mut random = Lehmer(7);
        let pe = Pe { inputs: self.inputs, outputs: 2 * self.pairs };
        let cells = (0..pe.inputs * pe.outputs)
            .map(|_| 2.0 + 18.0 * random.next() as f32 / 2f32.powf(31.0))
            .collect();
        let chip = Chip {
            pe,
            wires: Wires::NONE,
            curve: None,
            vectors: None,
            conductances_us: BTreeMap::from([(PeId(0), cells)]),
            cell_error_us: 0.33,
            read_noise_fraction: self.noise,
            converters: BTreeMap::new(),
            accumulators: BTreeMap::new(),
            seed: 0,
        };
        let place = WeightTile {
            layer: LayerId(0),
            replica: 0,
            groups: 0..1,
            rows: 0..self.inputs,
            columns: 0..self.pairs,
            slice: 0,
            pe: PeId(0),
            input_line: 0,
            output_line: 0,
        };
        let adc = match self.subtract {
            Subtract::BeforeConversion => AdcSetting::new(2.0, -127, 127),
            Subtract::AfterConversion => AdcSetting::new(1.0, 0, 255),
        };
        let (noisy, n_inputs) = (self.noise > 0.0, self.inputs as usize);
        let most = lines_per_bundle(n_inputs, self.n_values(), noisy, BLOCK * N_BLOCKS);
        let size = n_inputs.div_ceil(n_inputs.div_ceil(most)) as u32;
        let mut map =
            PatternMap { runs: vec![0], run_length: BLOCK, stride: n_inputs, slots: vec![] };
        let mut bundles = Vec::new();
        for (number, start) in (0..self.inputs).step_by(size as usize).enumerate() {
            let length = size.min(self.inputs - start);
            map.slots.push(Slot { start, offsets: (0..length).collect() });
            let lines = (start..start + length).map(Some).collect();
            bundles.push(Bundle { lines, offset: (number * BLOCK) as u32 });
        }
        let kernel = TileKernel::with_bundles(&chip, &place, &adc, self.subtract.into(), bundles);
        (kernel.unwrap_or_else(|| unreachable!()), map)
    }
}

/// Seconds of the kernel and of the dense product, minimum of all rounds.
fn measure(case: &Case) -> (f64, f64) {
    let (kernel, map) = case.kernel();
    let (inputs, pairs) = (case.inputs as usize, case.pairs as usize);
    let n_positions = BLOCK * N_BLOCKS;
    let mut random = Lehmer(3);
    let mask = u8::MAX >> (8 - case.planes);
    let mut codes: Vec<u8> =
        (0..n_positions * inputs).map(|_| random.next() as u8 & mask).collect();
    let bits: Vec<f32> = codes
        .chunks(inputs)
        .flat_map(|codes| (0..case.planes).map(move |bit| (codes, bit)))
        .flat_map(|(codes, bit)| codes.iter().map(move |code| f32::from(code >> bit & 1)))
        .collect();
    codes.resize(n_positions * inputs + map.n_codes(), 0);
    let planes: Vec<Plane> = (0..case.planes).map(|bit| Plane { bit, negative: false }).collect();
    let noise = ReadNoise::new(0, 0, 0, 0);
    let mut patterns = vec![Pattern::default(); map.n_patterns()];
    let starts: Vec<u32> = (0..BLOCK as u32).collect();
    let mut results = vec![0f64; n_positions * pairs];

    let weights: Vec<f32> = (0..inputs * pairs).map(|i| (i % 37) as f32 - 18.0).collect();
    let rows = n_positions * usize::from(case.planes);
    let mut dense = vec![0f32; rows * pairs];
    let (mut best_kernel, mut best_dense) = (f64::INFINITY, f64::INFINITY);
    for _ in 0..ROUNDS {
        let start = Instant::now();
        for (block, results) in results.chunks_exact_mut(BLOCK * pairs).enumerate() {
            map.fill(black_box(&codes[block * BLOCK * inputs..]), &mut patterns);
            let first_position = (block * BLOCK) as u32;
            let driven = Driven {
                patterns: &patterns,
                octet_stride: 0,
                starts: &starts,
                first_position,
                every: 1,
            };
            kernel.drive(driven, &planes, Some(&noise), results);
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

fn print(case: &Case) {
    let (kernel, dense) = measure(case);
    let rows = (BLOCK * N_BLOCKS) as f64 * f64::from(case.planes);
    let operations = rows * f64::from(case.inputs) * f64::from(case.pairs);
    println!(
        "| {} | {} | {:.0} | {:.1} | {:.1} | {:.2} |",
        case.name(),
        case.planes,
        kernel * 1e9 / (BLOCK * N_BLOCKS) as f64,
        operations / kernel / 1e9,
        operations / dense / 1e9,
        dense / kernel
    );
}

fn main() {
    let before = Subtract::BeforeConversion;
    let after = Subtract::AfterConversion;
    println!(
        "| tile | planes | ns a position | kernel G cell-op/s | dense f32 G cell-op/s | ratio |"
    );
    println!("|---|---|---|---|---|---|");
    let tile = |inputs, pairs, noise, subtract| Case { inputs, pairs, planes: 8, noise, subtract };
    if std::env::args().any(|argument| argument == "scaling") {
        for inputs in [4, 8, 16, 32, 64, 128, 256, 512] {
            print(&tile(inputs, 64, 0.0, before));
        }
        for pairs in [4, 8, 16, 32, 64, 128, 256] {
            print(&tile(128, pairs, 0.0, before));
        }
        for planes in [1, 2, 4, 8] {
            print(&Case { planes, ..tile(128, 64, 0.0, before) });
        }
        return;
    }
    for (inputs, pairs, subtract) in
        [(128, 64, before), (16, 64, before), (144, 16, before), (16, 64, after), (9, 8, before)]
    {
        for noise in [0.0, 0.01] {
            print(&tile(inputs, pairs, noise, subtract));
        }
    }
}
