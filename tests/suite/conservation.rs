//! Every weight sits exactly once in each replica, in the right cells, and
//! nothing else sits anywhere.
//!
//! The matrix is read back from the cell targets by walking lines, not by the
//! library's own addressing.

use std::collections::{BTreeMap, BTreeSet};

use ohmc::compiler::{CompileError, CompileOptions, Compiled};
use ohmc::entity::{LayerId, PeId};
use ohmc::mapping::{Floorplan, LayerPlan, MappingError, MappingOptions, Spot, Unrolling};
use ohmc::schedule::ExecutionPlan;
use ohmc::target::{Pe, Target};
use proptest::prelude::*;
use rand::rngs::ChaCha8Rng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};

use crate::exactness::{Feed, Setting, config, conv, conv_model, feed, setting};
use crate::onnx::{Conv, Onnx};
use crate::pipeline::{self, Case, difference};

/// Levels of one replica, `[group][row][column]`, read from the cells: digits of
/// all slices put together.
fn matrix(plan: &ExecutionPlan, layer: LayerId, replica: u32, base: u16) -> Vec<f32> {
    let slices = (0..plan.layers[&layer].n_slices()).map(|slice| {
        let digits = digits(plan, layer, replica, slice);
        let top = f32::from(base / 2);
        assert!(digits.iter().all(|digit| digit.abs() <= top), "more than a pair holds");
        digits.into_iter().map(move |digit| digit * f32::from(base).powi(slice.into()))
    });
    let add = |sum: Vec<f32>, slice: Vec<f32>| sum.iter().zip(slice).map(|(a, b)| a + b).collect();
    slices.map(Iterator::collect).reduce(add).unwrap()
}

/// What one slice holds.
fn digits(plan: &ExecutionPlan, layer: LayerId, replica: u32, slice: u8) -> Vec<f32> {
    let nest = &plan.layers[&layer].nest;
    let (n_rows, n_columns) = (nest.n_rows(), nest.n_columns());
    let mut found: Vec<Option<f32>> = vec![None; nest.n_groups() * n_rows * n_columns];
    let places = plan.tiles.values().map(|tile| &tile.place);
    let wanted = (layer, replica, slice);
    for place in places.filter(|place| (place.layer, place.replica, place.slice) == wanted) {
        let cells = &plan.targets[&place.pe].levels;
        let (rows, columns) = (place.rows.len(), place.columns.len());
        for line in 0..place.groups.len() * rows {
            for pair in 0..place.groups.len() * columns {
                let at = (place.input_line as usize + line) * plan.pe.outputs as usize
                    + place.output_line as usize
                    + 2 * pair;
                let (positive, negative) = (cells[at], cells[at + 1]);
                // One cell of a pair is always at level zero.
                assert_eq!(positive.min(negative), 0.0);
                if line / rows != pair / columns {
                    assert_eq!((positive, negative), (0.0, 0.0), "off the diagonal");
                    continue;
                }
                let group = place.groups.start as usize + line / rows;
                let row = place.rows.start as usize + line % rows;
                let column = place.columns.start as usize + pair % columns;
                let slot = &mut found[(group * n_rows + row) * n_columns + column];
                assert_eq!(*slot, None, "a weight in two places");
                *slot = Some(positive - negative);
            }
        }
    }
    found.into_iter().map(|level| level.expect("a weight without a place")).collect()
}

/// How often each level but zero is there, so many times.
fn counted(levels: &[i16], times: usize) -> BTreeMap<i16, usize> {
    let mut counts = BTreeMap::new();
    for &level in levels.iter().filter(|level| **level != 0) {
        *counts.entry(level).or_default() += times;
    }
    counts
}

/// Holds every replica of every layer against its levels, and every cell of no
/// tile to be unused.
fn check_conserved(compiled: &Compiled) {
    let plan = &compiled.plan;
    for (&id, layer) in &compiled.quantized {
        let own = &plan.layers[&id];
        let wanted: Vec<f32> = own.levels.iter().map(|&level| f32::from(level)).collect();
        // Every weight once, or as often as a wave makes positions.
        let n_copies = own.unrolled.as_ref().map_or(1, |own| own.window.iter().product());
        assert_eq!(counted(&own.levels, 1), counted(&layer.levels, n_copies));
        if n_copies == 1 {
            assert_eq!(own.levels, layer.levels);
        }
        for replica in 0..own.n_replicas {
            assert_eq!(
                matrix(plan, id, replica, layer.slicing.base()),
                wanted,
                "{id} replica {replica}"
            );
        }
    }
    let mut used: BTreeMap<PeId, BTreeSet<usize>> = BTreeMap::new();
    for place in plan.tiles.values().map(|tile| &tile.place) {
        for line in place.input_line..place.input_line + place.n_inputs() {
            for output in place.output_line..place.output_line + place.n_outputs() {
                let cell = (line * plan.pe.outputs + output) as usize;
                assert!(used.entry(place.pe).or_default().insert(cell), "a cell in two tiles");
            }
        }
    }
    assert_eq!(used.keys().collect::<Vec<_>>(), plan.targets.keys().collect::<Vec<_>>());
    for (pe, targets) in &plan.targets {
        assert_eq!(targets.levels.len() as u64, plan.pe.cells());
        for (cell, level) in targets.levels.iter().enumerate() {
            assert_eq!(level.is_nan(), !used[pe].contains(&cell), "{pe} cell {cell}");
        }
    }
}

fn compile(onnx: &Onnx, target: Target, feed: &Feed, setting: &Setting) -> Case {
    let model = pipeline::read(onnx.bytes()).unwrap();
    let inputs = pipeline::inputs(&model, feed.n, feed.low, feed.high, setting.seed);
    let options = setting.options(&model);
    Case::new(model, target, &options, inputs).unwrap()
}

/// A floorplan of random slices, each tile on a PE of its own, at random lines.
fn random_floorplan(compiled: &Compiled, pe: Pe, slices: Vec<u32>, seed: u64) -> Floorplan {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let tiles: Vec<_> = compiled.mapping.tiles.values().collect();
    let mut pes: Vec<u32> = (0..2 * tiles.len() as u32).collect();
    pes.shuffle(&mut random);
    let spots = tiles
        .iter()
        .zip(pes)
        .map(|(tile, pe_number)| {
            let inputs_left = pe.inputs - tile.n_inputs();
            let pairs_left = pe.pairs() - tile.n_pairs();
            Spot {
                pe: pe_number,
                input_line: random.random::<bool>().then(|| random.random_range(0..=inputs_left)),
                output_line: random
                    .random::<bool>()
                    .then(|| 2 * random.random_range(0..=pairs_left)),
            }
        })
        .collect();
    let plan = LayerPlan { slice_inputs: Some(slices), spots, ..Default::default() };
    Floorplan { layers: [("conv".to_string(), plan)].into() }
}

/// Lengths that add up to `n`, none longer than `limit`.
fn random_slices(n: u32, limit: u32, seed: u64) -> Vec<u32> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut slices = Vec::new();
    let mut left = n;
    while left > 0 {
        let slice = random.random_range(1..=left.min(limit));
        slices.push(slice);
        left -= slice;
    }
    slices
}

/// tract keeps it as one convolution, so that its name is known.
fn plain_conv() -> impl Strategy<Value = (Conv, Vec<usize>)> {
    conv(2).prop_filter("it stays a convolution", |(conv, spatial)| {
        let result = conv.result(spatial).unwrap();
        conv.kernel.iter().product::<usize>() > 1
            && result.iter().product::<usize>() > 1
            && spatial.iter().all(|&n| n > 1)
    })
}

proptest! {
    #![proptest_config(config(96))]

    #[test]
    fn every_weight_is_in_exactly_one_place_of_each_replica(
        (conv, spatial) in conv(2), setting in setting(), feed in feed()
    ) {
        let onnx = conv_model(&conv, &spatial, &feed, setting.seed);
        let case = compile(&onnx, setting.target(), &feed, &setting);
        check_conserved(&case.compiled);
        // A chip without errors holds the targets themselves.
        for (pe, conductances) in &case.program(setting.seed).conductances_us {
            for (found, level) in conductances.iter().zip(case.compiled.plan.targets[pe].levels.iter()) {
                prop_assert_eq!(*found, if level.is_nan() { 0.0 } else { *level });
            }
        }
    }

    #[test]
    fn a_floorplan_is_followed_and_loses_nothing(
        (conv, spatial) in plain_conv(), setting in setting(), feed in feed()
    ) {
        let onnx = conv_model(&conv, &spatial, &feed, setting.seed);
        let model = pipeline::read(onnx.bytes()).unwrap();
        let target = setting.target();
        let inputs = pipeline::inputs(&model, feed.n, feed.low, feed.high, setting.seed);
        let kernel = &model.graph.crossbar_layers().next().unwrap().2.nest;
        let unrolled = Unrolling::new(kernel, &setting.windows(&model)["conv"]).unwrap();
        let n_rows = unrolled.nest.n_rows() as u32;
        let slices = random_slices(n_rows, target.pe.inputs, setting.seed);
        // Once with slices alone, to know how many tiles there are.
        let mut options = setting.options(&model);
        let sliced = LayerPlan { slice_inputs: Some(slices.clone()), ..Default::default() };
        options.mapping.floorplan.layers.insert("conv".to_string(), sliced);
        let first = Case::new(model.clone(), target.clone(), &options, inputs.clone()).unwrap();
        check_conserved(&first.compiled);
        let floorplan = random_floorplan(&first.compiled, target.pe, slices, setting.seed);
        let spots = floorplan.layers["conv"].spots.clone();
        options.mapping.floorplan = floorplan;
        let second = Case::new(model, target, &options, inputs).unwrap();
        check_conserved(&second.compiled);
        for (tile, spot) in second.compiled.mapping.tiles.values().zip(&spots) {
            prop_assert_eq!(tile.pe, PeId(spot.pe));
            prop_assert!(spot.input_line.is_none_or(|line| line == tile.input_line));
            prop_assert!(spot.output_line.is_none_or(|line| line == tile.output_line));
        }
        // Where weights sit is of no consequence to what comes out.
        let outputs = second.run_on(&second.program(0));
        prop_assert_eq!(difference(&outputs, &first.run_on(&first.program(0))), None);
        prop_assert_eq!(difference(&outputs, &second.reference()), None);
    }

    #[test]
    fn a_chip_that_is_too_small_is_told_what_it_takes(
        (conv, spatial) in conv(2), setting in setting(), feed in feed()
    ) {
        let onnx = conv_model(&conv, &spatial, &feed, setting.seed);
        let model = pipeline::read(onnx.bytes()).unwrap();
        let options = setting.options(&model);
        let inputs = pipeline::inputs(&model, feed.n, feed.low, feed.high, setting.seed);
        let calibration = pipeline::calibrate(&model, &inputs, 1);
        let on = |n_pes: u32| {
            let mut target = setting.target();
            target.chip.pes = ohmc::target::PeCount::Count(n_pes);
            ohmc::compile(&model, &target, &calibration, &options)
        };
        let unlimited = ohmc::compile(&model, &setting.target(), &calibration, &options).unwrap();
        let (mut available, mut needed) = (1, None);
        let compiled = loop {
            match on(available) {
                Ok(compiled) => break compiled,
                Err(CompileError::Mapping(MappingError::TooLarge { needed: n, available: a, layers, .. })) => {
                    prop_assert_eq!(a, available);
                    prop_assert!(n > available, "{} PEs would do, {} are there", n, available);
                    // The same answer whatever there is, and the truth.
                    prop_assert_eq!(*needed.get_or_insert(n), n);
                    let places: Vec<_> = unlimited.mapping.tiles.values().collect();
                    let cells: u64 = places.iter().map(|tile| tile.n_cells()).sum();
                    prop_assert_eq!(layers.iter().map(|l| l.1).sum::<usize>(), places.len());
                    prop_assert_eq!(layers.iter().map(|l| l.2).sum::<u64>(), cells);
                    // Straight to the edge once it is known.
                    available = if available == 1 && n > 2 { n - 1 } else { n };
                }
                Err(error) => panic!("{error}"),
            }
        };
        prop_assert!(needed.is_none_or(|needed| available <= needed));
        prop_assert_eq!(compiled.mapping.n_pes, available);
        check_conserved(&compiled);
    }
}

#[test]
fn too_large_says_the_numbers_and_the_way_out() {
    let model = pipeline::mcnn();
    let (images, _) = pipeline::digits(&model, 2);
    let target = pipeline::target("yao2020-chip", &["chip.pes=2".to_string()]);
    let options = CompileOptions { mapping: MappingOptions::default(), ..Default::default() };
    let error = Case::new(model, target, &options, vec![images]).err().unwrap();
    // 5,712 cells of weights on PEs of 2,048.
    assert!(
        matches!(
            error,
            CompileError::Mapping(MappingError::TooLarge { needed: 3.., available: 2, .. })
        ),
        "{error}"
    );
}

#[test]
fn what_is_too_large_for_one_chip_fits_on_several() {
    let model = pipeline::mcnn();
    let (images, _) = pipeline::digits(&model, 2);
    let on = |sets: &[&str]| {
        let sets: Vec<String> = sets.iter().map(ToString::to_string).collect();
        let target = pipeline::target("yao2020-chip", &sets);
        let options = CompileOptions::default();
        Case::new(pipeline::mcnn(), target, &options, vec![images.clone()])
    };
    let one = on(&["chip.pes=6"]).ok().unwrap();
    let three = on(&["chip.pes=2", "chip.count=3"]).ok().unwrap();
    assert_eq!(one.compiled.plan, three.compiled.plan);
    let chips: BTreeSet<u32> = three
        .compiled
        .plan
        .tiles
        .values()
        .map(|tile| three.target.chip.chip_of(tile.place.pe.0))
        .collect();
    assert_eq!(chips, BTreeSet::from([0, 1, 2]));
    let any = on(&["chip.pes=2", "chip.count=as-needed"]).ok().unwrap();
    check_conserved(&any.compiled);
    assert_eq!(any.target.chip.n_pes(), None);
}
