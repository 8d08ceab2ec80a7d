//! Plans changed by hand: what breaks an invariant is refused, by the verifier
//! and by the runtime, with a fault that says what; what breaks none gives
//! another result, because the runtime reads everything from the plan.

use std::sync::Arc;

use ohmc::compiler::CompileOptions;
use ohmc::diagnostic::Explain;
use ohmc::entity::{Entity, LayerId, PeId, StepId, Table, TensorId, WeightTileId};
use ohmc::graph::{Extent, LoopRef};
use ohmc::mapping::{MappingOptions, Positions};
use ohmc::quantize::{InputRule, QuantizeOptions};
use ohmc::runtime::{Executor, RunError};
use ohmc::schedule::{self, ExecutionPlan, Step, StepKind};

use crate::onnx::{Conv, Onnx, batched, int};
use crate::pipeline::{self, Case, difference};

/// Two convolutions and a product on small PEs, the first one twice: slices,
/// blocks, replicas, several tiles driven together, several cycles a plane.
fn case() -> Case {
    let mut first = Conv::new(2, 9, &[3, 3]);
    first.pads = vec![(1, 1); 2];
    let mut second = Conv::new(1, 1, &[2, 2]);
    second.groups = 9;
    let mut model = Onnx::new(21).input("x", &batched(None, &[2, 6, 6]));
    model = first.add_to(model, "first", "x").node("Relu", &["first"], "relu", vec![]);
    model = second.add_to(model, "second", "relu");
    model = model.node("Flatten", &["second"], "flat", vec![int("axis", 1)]);
    model = model.weights("w", &[225, 5]).node("MatMul", &["flat", "w"], "third", vec![]);
    let model = pipeline::read(model.output("third").bytes()).unwrap();
    let inputs = pipeline::inputs(&model, 3, -1.0, 1.0, 22);
    // Fewer PEs than tiles, so that some share one.
    let sets = ["pe.inputs=10", "pe.outputs=12", "readout.adcs_per_pe=4", "chip.pes=33"];
    let sets: Vec<String> = sets.iter().map(ToString::to_string).collect();
    let options = CompileOptions {
        quantize: QuantizeOptions { inputs: InputRule::Affine, ..Default::default() },
        mapping: MappingOptions {
            replicas: [("first".to_string(), 2)].into(),
            ..Default::default()
        },
        ..Default::default()
    };
    Case::new(model, pipeline::target("ideal", &sets), &options, inputs).unwrap()
}

/// The layer of this name.
fn layer(plan: &ExecutionPlan, name: &str) -> LayerId {
    *plan.layers.iter().find(|(_, layer)| layer.name == name).unwrap().0
}

/// The first step that is of a kind.
fn find(plan: &ExecutionPlan, is: impl Fn(&StepKind) -> bool) -> StepId {
    plan.steps.iter().find(|(_, step)| is(&step.kind)).unwrap().0
}

fn is_waves(kind: &StepKind) -> bool {
    matches!(kind, StepKind::Waves { .. })
}

fn is_sum(kind: &StepKind) -> bool {
    matches!(kind, StepKind::Sum { .. })
}

/// The first waves, taken apart.
fn waves(plan: &mut ExecutionPlan) -> &mut Step {
    let id = find(plan, is_waves);
    &mut plan.steps[id]
}

fn swap_steps(plan: &mut ExecutionPlan, a: StepId, b: StepId) {
    let mut steps: Vec<Step> = plan.steps.values().cloned().collect();
    steps.swap(a.index(), b.index());
    plan.steps = Table::from_iter(steps);
}

fn tiles_of_sum(plan: &mut ExecutionPlan) -> &mut Vec<WeightTileId> {
    let id = find(plan, is_sum);
    let StepKind::Sum { tiles, .. } = &mut plan.steps[id].kind else { panic!() };
    tiles
}

/// The two first tiles that share a PE.
fn neighbours(plan: &ExecutionPlan) -> (WeightTileId, WeightTileId) {
    let tiles: Vec<_> = plan.tiles.iter().collect();
    tiles
        .iter()
        .enumerate()
        .find_map(|(index, (a, first))| {
            let second = tiles[index + 1..].iter().find(|(_, t)| t.place.pe == first.place.pe)?;
            Some((*a, second.0))
        })
        .unwrap()
}

/// A cell that some tile uses, and one that none does.
fn cell(plan: &ExecutionPlan, used: bool) -> (PeId, usize) {
    plan.targets
        .iter()
        .find_map(|(&pe, targets)| {
            Some((pe, targets.levels.iter().position(|level| level.is_nan() != used)?))
        })
        .unwrap()
}

fn set_cell(plan: &mut ExecutionPlan, used: bool, level: f32) {
    let (pe, cell) = cell(plan, used);
    plan.targets.get_mut(&pe).unwrap().levels[cell] = level;
}

type Edit = fn(&mut ExecutionPlan);

/// What it is, how it is done, and what the fault says.
#[rustfmt::skip]
const REFUSED: &[(&str, Edit, &str)] = &[
    ("a plane dropped", |plan| {
        let StepKind::Waves { planes, .. } = &mut waves(plan).kind else { panic!() };
        planes.pop();
    }, "its planes are not those of the coding"),
    ("two planes swapped", |plan| {
        let StepKind::Waves { planes, .. } = &mut waves(plan).kind else { panic!() };
        planes.swap(2, 3);
    }, "its planes are not those of the coding"),
    ("a plane that counts negative", |plan| {
        let StepKind::Waves { planes, .. } = &mut waves(plan).kind else { panic!() };
        planes[7].negative = true;
    }, "its planes are not those of the coding"),
    ("a plane of a bit that codes do not have", |plan| {
        let StepKind::Waves { planes, .. } = &mut waves(plan).kind else { panic!() };
        planes[7].bit = 200;
    }, "its planes are not those of the coding"),
    ("waves before their codes", |plan| {
        let waves = find(plan, is_waves);
        swap_steps(plan, StepId(waves.0 - 1), waves);
    }, "which does not stand before it"),
    ("a sum before its waves", |plan| {
        let sum = find(plan, is_sum);
        swap_steps(plan, StepId(sum.0 - 1), sum);
    }, "which does not stand before it"),
    ("a sum that waits for nothing", |plan| {
        let sum = find(plan, is_sum);
        plan.steps[sum].after.clear();
    }, "without waiting for it"),
    ("a step that waits for one that is not there", |plan| {
        waves(plan).after.push(StepId(9999));
    }, "which does not stand before it"),
    ("a tile dropped from a sum", |plan| { tiles_of_sum(plan).pop(); }, "does not add each tile"),
    ("a tile added twice", |plan| {
        let first = tiles_of_sum(plan)[0];
        tiles_of_sum(plan).push(first);
    }, "does not add each tile"),
    ("a sum of a tile of another layer", |plan| {
        let last = plan.tiles.keys().last().unwrap();
        tiles_of_sum(plan)[0] = last;
    }, "does not add each tile"),
    ("a sum of a tile that is not there", |plan| {
        tiles_of_sum(plan)[0] = WeightTileId(9999);
    }, "does not add each tile"),
    ("a layer without its sum", |plan| {
        let sum = find(plan, is_sum);
        let steps = plan.steps.iter().filter(|(id, _)| *id != sum).map(|(_, step)| step.clone());
        plan.steps = steps.collect();
    }, "has no sum, or several"),
    ("a sum of a layer that is none", |plan| {
        let sum = find(plan, is_sum);
        let StepKind::Sum { layer, .. } = &mut plan.steps[sum].kind else { panic!() };
        *layer = LayerId(999);
    }, "layer999 is not a crossbar layer"),
    ("codes of a layer that is none", |plan| {
        let encode = find(plan, |kind| matches!(kind, StepKind::Encode { .. }));
        plan.steps[encode].kind = StepKind::Encode { layer: LayerId(999) };
    }, "layer999 is not a crossbar layer"),
    ("waves of a layer that is none", |plan| {
        let StepKind::Waves { layer, .. } = &mut waves(plan).kind else { panic!() };
        *layer = LayerId(999);
    }, "layer999 is not a crossbar layer"),
    ("waves of a tile that is not there", |plan| {
        let StepKind::Waves { tiles, .. } = &mut waves(plan).kind else { panic!() };
        tiles[0] = WeightTileId(9999);
    }, "tiles that are not there"),
    ("waves of no tile", |plan| {
        let StepKind::Waves { tiles, .. } = &mut waves(plan).kind else { panic!() };
        tiles.clear();
    }, "it drives no tiles"),
    ("waves of tiles of two PEs", |plan| {
        let last = plan.tiles.keys().last().unwrap();
        let StepKind::Waves { tiles, .. } = &mut waves(plan).kind else { panic!() };
        tiles.push(last);
    }, "cannot be driven together"),
    ("a run of positions shortened", |plan| {
        let StepKind::Waves { positions, .. } = &mut waves(plan).kind else { panic!() };
        positions.end -= 1;
    }, "were not each driven once"),
    ("a run of positions of another replica", |plan| {
        let StepKind::Waves { positions, .. } = &mut waves(plan).kind else { panic!() };
        *positions = Positions { start: 18, end: 36, every: 1 };
    }, "positions of its replica"),
    ("positions that the layer does not have", |plan| {
        let StepKind::Waves { positions, .. } = &mut waves(plan).kind else { panic!() };
        *positions = Positions { start: 20, end: 4_000_000_000, every: 1 };
    }, "it drives positions 20..4000000000 of 36"),
    ("no positions", |plan| {
        let StepKind::Waves { positions, .. } = &mut waves(plan).kind else { panic!() };
        *positions = Positions { start: 7, end: 7, every: 1 };
    }, "it drives positions 7..7"),
    ("a cycle of conversions dropped", |plan| {
        let StepKind::Waves { conversions, .. } = &mut waves(plan).kind else { panic!() };
        conversions.pop();
    }, "outputs of"),
    ("more conversions in a cycle than ADCs", |plan| {
        let StepKind::Waves { conversions, .. } = &mut waves(plan).kind else { panic!() };
        let all = 0..conversions.last().unwrap().end;
        *conversions = vec![all];
    }, "at most 4"),
    ("an output converted twice", |plan| {
        let StepKind::Waves { conversions, .. } = &mut waves(plan).kind else { panic!() };
        conversions[1].start -= 1;
    }, "a cycle converts"),
    ("fewer cycles than the waves take", |plan| waves(plan).cycles -= 1, "its waves"),
    ("a start before what is waited for has ended", |plan| {
        let sum = find(plan, is_sum);
        plan.steps[sum].start = 0;
    }, "it starts at 0"),
    ("two steps that drive one PE at once", |plan| {
        let (first, second) = neighbours(plan);
        let drives = |id: WeightTileId| move |kind: &StepKind| {
            matches!(kind, StepKind::Waves { tiles, .. } if tiles.contains(&id))
        };
        let (a, b) = (find(plan, drives(first)), find(plan, drives(second)));
        assert_ne!(a, b);
        let start = plan.steps[b].start;
        plan.steps[a].start = start;
    }, "still driven by"),
    ("a start at the end of time", |plan| waves(plan).start = u64::MAX, "it ends in cycle"),
    ("an ADC without a step", |plan| plan.tiles[WeightTileId(0)].adc.step_us = 0.0, "its ADC has the step 0"),
    ("an ADC with a step that is no number", |plan| plan.tiles[WeightTileId(0)].adc.step_us = f64::NAN, "its ADC has the step NaN"),
    ("an ADC with one code", |plan| {
        let adc = &mut plan.tiles[WeightTileId(0)].adc;
        adc.min_code = adc.max_code;
    }, "its ADC has the step"),
    ("an ADC with more codes than can be converted", |plan| {
        plan.tiles[WeightTileId(0)].adc.max_code = 1 << 22;
    }, "its ADC has the step"),
    ("two tiles in one place", |plan| {
        let (first, second) = neighbours(plan);
        let place = &plan.tiles[first].place;
        let (input, output) = (place.input_line, place.output_line);
        let moved = &mut plan.tiles[second].place;
        (moved.input_line, moved.output_line) = (input, output);
    }, "it shares cells with"),
    ("a tile beyond its PE's inputs", |plan| plan.tiles[WeightTileId(0)].place.input_line = 5, "does not lie inside pe"),
    ("a tile beyond its PE's outputs", |plan| plan.tiles[WeightTileId(0)].place.output_line = 10, "does not lie inside pe"),
    ("a tile far out", |plan| plan.tiles[WeightTileId(0)].place.output_line = u32::MAX - 1, "does not lie inside pe"),
    ("a pair on an odd line", |plan| plan.tiles[WeightTileId(0)].place.output_line += 1, "does not lie inside pe"),
    ("a tile on a PE that is not there", |plan| plan.tiles[WeightTileId(0)].place.pe = PeId(999), "does not lie inside pe999"),
    ("a tile with fewer rows", |plan| plan.tiles[WeightTileId(0)].place.rows.end -= 1, "weights in tiles, its matrix has"),
    ("a tile with rows of another", |plan| plan.tiles[WeightTileId(0)].place.rows = 8..18, "weights in two tiles"),
    ("a tile of rows that there are not", |plan| plan.tiles[WeightTileId(0)].place.rows = 0..19, "not a piece of the matrix"),
    ("a tile of a layer that is none", |plan| plan.tiles[WeightTileId(0)].place.layer = LayerId(999), "layer999 is not a crossbar layer"),
    ("a tile of a replica that is none", |plan| plan.tiles[WeightTileId(0)].place.replica = 2, "not a piece of the matrix"),
    ("a replica more", |plan| {
        let id = layer(plan, "first");
        plan.layers.get_mut(&id).unwrap().n_replicas = 3;
    }, "of its 3 replicas have tiles"),
    ("no replica", |plan| {
        let id = layer(plan, "first");
        plan.layers.get_mut(&id).unwrap().n_replicas = 0;
    }, "0 replicas"),
    ("a used cell without a target", |plan| set_cell(plan, true, f32::NAN), "has the target NaN"),
    ("a cell below the lowest level", |plan| set_cell(plan, true, -1.0), "has the target -1"),
    ("a cell at infinity", |plan| set_cell(plan, true, f32::INFINITY), "has the target inf"),
    ("a target for a cell of no tile", |plan| set_cell(plan, false, 1.0), "has the target 1"),
    ("a PE without targets", |plan| { plan.targets.pop_first(); }, "it has no targets"),
    ("targets of a PE that no tile uses", |plan| {
        let targets = plan.targets.values().next().unwrap().clone();
        plan.targets.insert(PeId(12345), targets);
    }, "no tile uses it"),
    ("a PE with a target too few", |plan| {
        plan.targets.values_mut().next().unwrap().levels.to_mut().pop();
    }, "cell targets for 120 cells"),
    ("an output that nothing makes", |plan| plan.outputs.push(TensorId(999)), "no step makes the output t999"),
    ("a digital stage that reads nothing", |plan| {
        let stage = find(plan, |kind| matches!(kind, StepKind::Digital { .. }));
        let StepKind::Digital { inputs, .. } = &mut plan.steps[stage].kind else { panic!() };
        inputs[0] = TensorId(999);
    }, "it reads t999, which is not made before it"),
    ("a tensor made twice", |plan| {
        let stage = find(plan, |kind| matches!(kind, StepKind::Digital { .. }));
        let StepKind::Digital { inputs, outputs } = &mut plan.steps[stage].kind else { panic!() };
        outputs.push(inputs[0]);
    }, "a second time"),
    ("a level sum that is not that of the levels", |plan| {
        plan.layers.values_mut().next().unwrap().level_sums[0] += 1;
    }, "add up to"),
    ("a level more", |plan| Arc::make_mut(&mut plan.layers.values_mut().next().unwrap().levels).push(0), "levels, its loops say"),
    ("a bias that is no number", |plan| {
        plan.layers.values_mut().next().unwrap().bias[0] = f32::NAN;
    }, "scales or biases are not finite"),
    ("a scale at infinity", |plan| {
        plan.layers.values_mut().next().unwrap().column_scales[0] = f64::INFINITY;
    }, "scales or biases are not finite"),
    ("a zero point that is no code", |plan| {
        plan.layers.values_mut().next().unwrap().coding.zero_point = 256;
    }, "zero point 256"),
    ("codes of no bits", |plan| plan.layers.values_mut().next().unwrap().coding.bits = 0, "inputs have 0 bits"),
    ("codes of 17 bits", |plan| plan.layers.values_mut().next().unwrap().coding.bits = 17, "inputs have 17 bits"),
    ("codes without a scale", |plan| plan.layers.values_mut().next().unwrap().coding.scale = 0.0, "the scale 0"),
    ("a loop of extent zero", |plan| {
        plan.layers.values_mut().next().unwrap().nest.rows[0] = 0;
    }, "no proper extents"),
    ("a loop without end", |plan| {
        plan.layers.values_mut().next().unwrap().nest.positions[1] = Extent::Fixed(usize::MAX);
    }, "extents"),
    ("an output map that writes twice", |plan| {
        let nest = &mut plan.layers.values_mut().next().unwrap().nest;
        nest.output[3].terms[0].0 = LoopRef::Position(1);
    }, "does not use every loop once"),
    ("an input map that reads a loop that is not there", |plan| {
        let nest = &mut plan.layers.values_mut().next().unwrap().nest;
        nest.input[1].terms[0].0 = LoopRef::Row(9);
    }, "loops that are not there"),
    ("a PE of an odd number of lines", |plan| plan.pe.outputs = 13, "13 outputs"),
    ("a level of no conductance", |plan| plan.level_us = 0.0, "its level is 0 uS"),
];

#[test]
fn what_breaks_an_invariant_is_refused_and_says_what() {
    let case = case();
    let chip = case.program(0);
    assert_eq!(schedule::verify(&case.compiled.plan), []);
    let mut wrong = Vec::new();
    for (name, edit, needle) in REFUSED {
        let mut plan = case.compiled.plan.clone();
        edit(&mut plan);
        let faults: Vec<String> = schedule::verify(&plan).iter().map(ToString::to_string).collect();
        if !faults.iter().any(|fault| fault.contains(needle)) {
            wrong.push(format!("{name}: `{needle}` is not in {faults:?}"));
        }
        // The runtime refuses it too, with the same words; it never panics.
        match Executor::new(&plan, &case.model, &chip) {
            Err(error @ RunError::Plan(_)) => {
                let said: Vec<String> =
                    error.diagnostics().iter().map(|d| d.message.clone()).collect();
                let same = said.iter().zip(&faults).all(|(said, fault)| said.ends_with(fault));
                assert!(same && said.len() == faults.len(), "{name}: {said:?}");
            }
            other => wrong.push(format!("{name}: the runtime gave {:?}", other.map(|_| ()))),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A cell of a weight that is not zero.
fn weight_cell(plan: &ExecutionPlan) -> (PeId, usize) {
    let place = &plan.tiles[WeightTileId(0)].place;
    let levels = &plan.targets[&place.pe].levels;
    (place.pe, levels.iter().position(|&level| level >= 2.0).unwrap())
}

/// What it is, and how it is done.
#[rustfmt::skip]
const HEARD: &[(&str, Edit)] = &[
    ("a cell one level lower", |plan| {
        let (pe, cell) = weight_cell(plan);
        plan.targets.get_mut(&pe).unwrap().levels[cell] -= 1.0;
    }),
    ("a cell half a level higher, read by a finer ADC", |plan| {
        let (pe, cell) = weight_cell(plan);
        plan.targets.get_mut(&pe).unwrap().levels[cell] += 0.5;
        for tile in plan.tiles.values_mut() {
            tile.adc.step_us /= 2.0;
            (tile.adc.min_code, tile.adc.max_code) = (2 * tile.adc.min_code, 2 * tile.adc.max_code);
        }
    }),
    ("an ADC of twice the step", |plan| plan.tiles[WeightTileId(0)].adc.step_us *= 2.0),
    ("an ADC that clips", |plan| plan.tiles[WeightTileId(0)].adc.max_code = 1),
    ("an ADC that clips below", |plan| plan.tiles[WeightTileId(0)].adc.min_code = -1),
    ("a column's scale", |plan| {
        plan.layers.values_mut().next().unwrap().column_scales[0] *= 1.5;
    }),
    ("a bias", |plan| plan.layers.values_mut().last().unwrap().bias[0] += 1.0),
    ("the scale of codes", |plan| plan.layers.values_mut().next().unwrap().coding.scale *= 2.0),
    ("a zero point", |plan| plan.layers.values_mut().next().unwrap().coding.zero_point += 1),
    ("the padding of a convolution", |plan| {
        plan.layers.values_mut().next().unwrap().nest.input[2].padding = 2;
    }),
    ("the stride of a convolution", |plan| {
        plan.layers.values_mut().next().unwrap().nest.input[2].terms[0].1 = 2;
    }),
    ("where a convolution writes", |plan| {
        let nest = &mut plan.layers.values_mut().next().unwrap().nest;
        nest.output.swap(2, 3);
    }),
    ("the conductance of a level", |plan| plan.level_us *= 2.0),
    ("tiles that hold each other's rows", |plan| {
        let rows = plan.tiles[WeightTileId(0)].place.rows.clone();
        let ids: Vec<_> = plan
            .tiles
            .iter()
            .filter(|(_, tile)| tile.place.replica == 0 && tile.place.layer == layer(plan, "third"))
            .map(|(id, _)| id)
            .collect();
        assert!(!rows.is_empty());
        let (a, b) = (ids[0], ids[1]);
        let first = plan.tiles[a].place.rows.clone();
        plan.tiles[a].place.rows = plan.tiles[b].place.rows.clone();
        plan.tiles[b].place.rows = first;
    }),
];

#[test]
fn what_breaks_none_is_heard_in_the_result() {
    let case = case();
    let wanted = case.run_on(&case.program(0));
    for (name, edit) in HEARD {
        let mut plan = case.compiled.plan.clone();
        edit(&mut plan);
        assert_eq!(schedule::verify(&plan), [], "{name}");
        let chip = ohmc::chip::program(&plan, &case.target, 0);
        let executor = Executor::new(&plan, &case.model, &chip).unwrap();
        let outputs = executor.run(&case.inputs, 0).unwrap();
        assert!(difference(&outputs, &wanted).is_some(), "{name}: nobody noticed");
    }
}

/// Where a tile sits, and in which order independent steps stand, is of no
/// consequence to integers.
#[test]
fn what_only_moves_things_changes_nothing() {
    let case = case();
    let wanted = case.run_on(&case.program(0));
    let mut plan = case.compiled.plan.clone();
    // Every PE changes places with its mirror image.
    let last = plan.n_pes - 1;
    for tile in plan.tiles.values_mut() {
        tile.place.pe = PeId(last - tile.place.pe.0);
    }
    let targets = std::mem::take(&mut plan.targets);
    plan.targets = targets.into_iter().map(|(pe, t)| (PeId(last - pe.0), t)).collect();
    assert_eq!(schedule::verify(&plan), []);
    let chip = ohmc::chip::program(&plan, &case.target, 0);
    let executor = Executor::new(&plan, &case.model, &chip).unwrap();
    assert_eq!(difference(&executor.run(&case.inputs, 0).unwrap(), &wanted), None);
}

#[test]
fn a_chip_of_another_plan_is_refused() {
    let case = case();
    let mut chip = case.program(0);
    chip.conductances_us.pop_first();
    let error = Executor::new(&case.compiled.plan, &case.model, &chip).unwrap_err();
    assert!(matches!(error, RunError::WrongChip { .. }), "{error}");
    let mut chip = case.program(0);
    (chip.pe.inputs, chip.pe.outputs) = (chip.pe.outputs, chip.pe.inputs);
    let error = Executor::new(&case.compiled.plan, &case.model, &chip).unwrap_err();
    assert!(matches!(error, RunError::WrongChip { .. }), "{error}");
}

#[test]
fn a_plan_on_another_model_is_refused() {
    let case = case();
    let chip = case.program(0);
    let error = Executor::new(&case.compiled.plan, &pipeline::mcnn(), &chip).unwrap_err();
    assert!(!error.diagnostics().is_empty(), "{error}");
}
