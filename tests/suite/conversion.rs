//! Other ways from currents to codes: what they compute on exact chips, what
//! they save, and what they cost where chips are not exact.

use ohmc::chip::{Effect, Effects};
use ohmc::compiler::CompileOptions;
use ohmc::mapping::MappingOptions;
use ohmc::quantize::ByLayer;
use ohmc::report::{Report, ReportParts};
use ohmc::runtime::Executor;
use ohmc::schedule::{self, PlanFault};
use ohmc::target::Target;
use ohmc::tensor::Values;
use ohmc::timing::TimingOptions;
use proptest::prelude::*;

use crate::exactness::{Feed, Setting, conv, conv_model, feed, setting};
use crate::onnx::{Conv, Onnx, batched, int, ints};
use crate::pipeline::{self, Case, difference};

fn sets(sets: &[&str]) -> Vec<String> {
    sets.iter().map(ToString::to_string).collect()
}

/// What a rectifier and a pooling behind a convolution are like.
#[derive(Debug, Clone)]
struct Behind {
    rectified: bool,
    pooled_first: bool,
    extent: usize,
    stride: usize,
    pad: usize,
    ceil: bool,
}

fn behind() -> impl Strategy<Value = Behind> {
    let window = (1usize..=3, 1usize..=3, 0usize..=1);
    (any::<bool>(), any::<bool>(), window, any::<bool>()).prop_map(
        |(rectified, pooled_first, (extent, stride, pad), ceil)| {
            let pad = pad.min(extent / 2);
            Behind { rectified, pooled_first, extent, stride, pad, ceil }
        },
    )
}

/// A convolution over an image, and behind it what `behind` says.
fn pooled_model(conv: &Conv, behind: &Behind, feed: &Feed, side: usize, seed: u64) -> Onnx {
    let shape = [conv.in_channels(), side, side];
    let model = Onnx::new(seed).input("x", &batched(feed.batch(), &shape));
    let mut model = conv.add_to(model, "conv", "x");
    let mut last = "conv";
    if behind.rectified && !behind.pooled_first {
        model = model.node("Relu", &[last], "relu", vec![]);
        last = "relu";
    }
    let pads = [behind.pad; 4];
    let attributes = vec![
        ints("kernel_shape", &[behind.extent; 2]),
        ints("strides", &[behind.stride; 2]),
        ints("pads", &pads),
        int("ceil_mode", i64::from(behind.ceil)),
    ];
    model = model.node("MaxPool", &[last], "pool", attributes);
    last = "pool";
    if behind.rectified && behind.pooled_first {
        model = model.node("Relu", &[last], "relu", vec![]);
        last = "relu";
    }
    model.output(last)
}

/// The target of a setting with charges added up, if it can be.
fn accumulating(setting: &Setting, stage: &str) -> Option<Target> {
    let target = setting.target();
    let more = [format!("readout.accumulation.stage={stage}")];
    let more: Vec<_> = more.iter().map(|s| ohmc::target::Override::parse(s).unwrap()).collect();
    target.with(&more).ok()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn charges_of_exact_chips_add_up_to_the_integers(
        (conv, spatial) in (1usize..=2).prop_flat_map(conv),
        setting in setting(),
        feed in feed(),
    ) {
        // Where 22 bits hold every sum.
        let Some(target) = accumulating(&setting, "none") else { return Ok(()) };
        let model = pipeline::read(conv_model(&conv, &spatial, &feed, setting.seed).bytes()).unwrap();
        let inputs = pipeline::inputs(&model, feed.n, feed.low, feed.high, setting.seed);
        let options = setting.options(&model);
        let case = Case::new(model, target, &options, inputs).unwrap();
        prop_assert_eq!(schedule::verify(&case.compiled.plan), []);
        let outputs = case.run_on(&case.program(setting.seed));
        prop_assert_eq!(difference(&outputs, &case.reference()), None);
    }

    #[test]
    fn comparing_charges_changes_no_bit_on_an_exact_chip(
        channels in 1usize..=3,
        outputs in 1usize..=5,
        behind in behind(),
        feed in feed(),
        setting in setting(),
        side in 4usize..=9,
    ) {
        let one = Setting { slices: 1, replicas: 1, window: [1; 3], ..setting };
        let setting = Setting { after_conversion: false, ..one };
        let Some(target) = accumulating(&setting, "relu-and-max-pool") else { return Ok(()) };
        let conv = Conv::new(channels, outputs, &[3, 3]);
        let onnx = pooled_model(&conv, &behind, &feed, side, setting.seed);
        let model = pipeline::read(onnx.bytes()).unwrap();
        let inputs = pipeline::inputs(&model, feed.n, feed.low, feed.high, setting.seed);
        let options = setting.options(&model);
        let case = Case::new(model, target, &options, inputs).unwrap();
        prop_assert_eq!(schedule::verify(&case.compiled.plan), []);
        let outputs = case.run_on(&case.program(setting.seed));
        prop_assert_eq!(difference(&outputs, &case.reference()), None);
        // Whole sums of these layers are in one tile if the PE has the lines.
        let staged = case.compiled.plan.layers.values().any(|layer| layer.stage.is_some());
        let whole = setting.pe_inputs as usize >= 9 * channels;
        prop_assert!(!staged || whole);
        let scaled = case.compiled.plan.layers.values().all(|l| l.column_scales.iter().all(|&s| s > 0.0));
        prop_assert!(staged || !whole || !scaled);
    }

    #[test]
    fn as_many_significant_planes_as_there_are_change_nothing(
        (conv, spatial) in conv(2),
        setting in setting(),
        feed in feed(),
    ) {
        let model = pipeline::read(conv_model(&conv, &spatial, &feed, setting.seed).bytes()).unwrap();
        let inputs = pipeline::inputs(&model, feed.n, feed.low, feed.high, setting.seed);
        let options = setting.options(&model);
        let all = format!("readout.significant_planes={}", setting.input_bits);
        let target = setting.target().with(&[ohmc::target::Override::parse(&all).unwrap()]).unwrap();
        let case = Case::new(model, target, &options, inputs).unwrap();
        let outputs = case.run_on(&case.program(1));
        prop_assert_eq!(difference(&outputs, &case.reference()), None);
    }
}

/// A network of two convolutions, the second too tall for a PE of 30 inputs.
fn network(target: &str, changes: &[&str], options: &CompileOptions) -> Case {
    let mut model = Onnx::new(5).input("x", &batched(None, &[2, 12, 12]));
    model = Conv::new(2, 8, &[3, 3]).add_to(model, "one", "x").node("Relu", &["one"], "r1", vec![]);
    let pool = vec![ints("kernel_shape", &[2, 2]), ints("strides", &[2, 2])];
    model = model.node("MaxPool", &["r1"], "p1", pool);
    model =
        Conv::new(8, 6, &[3, 3]).add_to(model, "two", "p1").node("Relu", &["two"], "r2", vec![]);
    let model = pipeline::read(model.output("r2").bytes()).unwrap();
    let mut inputs = pipeline::inputs(&model, 24, 0.0, 1.0, 9);
    // Most values are small, as those of pictures and of rectified layers are.
    if let Values::F32(values) = &mut inputs[0].values {
        values.iter_mut().for_each(|value| *value = *value * *value * *value * *value);
    }
    Case::new(model, pipeline::target(target, &sets(changes)), options, inputs).unwrap()
}

fn report(case: &Case) -> Report {
    Report::new(&ReportParts {
        model_name: "",
        graph: &case.model.graph,
        plan: &case.compiled.plan,
        target: &case.target,
        preprocessing: "",
        calibration: "",
        timing: TimingOptions::default(),
    })
}

/// Relative error of the outputs on a chip without any flaw but that of
/// conversion.
fn error(case: &Case) -> f64 {
    let outputs = case.run_on(&ohmc::chip::program(&case.compiled.plan, &case.target.exact(), 0));
    let reference = case.reference();
    let (outputs, reference) = (outputs[0].as_f32().unwrap(), reference[0].as_f32().unwrap());
    let square = |x: f64| x * x;
    let off: f64 = outputs.iter().zip(reference).map(|(&a, &b)| square(f64::from(a - b))).sum();
    (off / reference.iter().map(|&b| square(b.into())).sum::<f64>()).sqrt()
}

#[test]
fn a_stage_is_analog_where_the_whole_sum_is_and_the_report_says_where_not() {
    let case = network("charge-macro", &["pe.inputs=30"], &CompileOptions::default());
    let report = report(&case);
    assert_eq!(report.stages.len(), 2);
    let windows = report.stages[0].stage.as_ref().unwrap();
    assert!(windows.rectifies);
    assert_eq!(windows.n_sums(100), 25);
    let because = report.stages[1].stage.as_ref().unwrap_err();
    assert_eq!(because.to_string(), "its sums are of several tiles");
    let replicated =
        MappingOptions { replicas: [("one".to_string(), 2)].into(), ..Default::default() };
    let options = CompileOptions { mapping: replicated, ..Default::default() };
    let case = network("charge-macro", &["pe.inputs=128"], &options);
    let stages: Vec<bool> =
        self::report(&case).stages.iter().map(|row| row.stage.is_ok()).collect();
    assert_eq!(stages, [false, true]);
}

#[test]
fn only_winners_are_counted_and_converted() {
    let every = network("yao2020-macro", &[], &CompileOptions::default());
    let charges =
        network("charge-macro", &["readout.accumulation.stage=none"], &Default::default());
    let pooled = network("charge-macro", &[], &CompileOptions::default());
    let counts = [&every, &charges, &pooled].map(|case| case.compiled.plan.counts());
    // Eight planes; 100 positions of 8 outputs, then 9 of 6.
    assert_eq!(counts.map(|c| c.conversions), [8 * 854, 854, 25 * 8 + 54]);
    assert_eq!(counts.map(|c| c.comparisons), [0, 0, 100 * 8 + 54]);
    // A conversion cycle for every sum, beside those that drive.
    assert_eq!(counts.map(|c| c.driven_cycles), [872; 3]);
    assert_eq!(counts.map(|c| c.pe_cycles), [872, 872 + 109, 872 + 25 + 9]);
    let energies =
        [&every, &charges, &pooled].map(|case| report(case).costs.unwrap().energy.total_pj());
    assert!(energies[0] > 2.0 * energies[1] && energies[1] > energies[2], "{energies:?}");
    // What is rectified is not converted either, and never more than planned.
    let chip = pooled.program(0);
    let executor = Executor::new(&pooled.compiled.plan, &pooled.model, &chip).unwrap();
    let executor = executor.counting_energy();
    executor.run(&pooled.inputs, 0).unwrap();
    let real = executor.array_energy(&chip, &pooled.target.cell).conversions_per_input();
    assert!(real > 0.0 && real < 254.0, "{real}");
}

#[test]
fn more_errors_of_accumulators_are_worse_and_can_be_left_out() {
    let with = |key: &str, value: f64| {
        let change = format!("readout.accumulation.{key}={value}");
        let case =
            network("ideal", &["readout.accumulation.stage=none", &change], &Default::default());
        let outputs = case.run_on(&case.program(3));
        let reference = case.reference();
        let (outputs, wanted) = (outputs[0].as_f32().unwrap(), reference[0].as_f32().unwrap());
        outputs.iter().zip(wanted).map(|(a, b)| f64::from((a - b).abs())).sum::<f64>()
    };
    let keys =
        ["mismatch_sd_fraction", "droop_fraction", "noise_sd_fraction", "compression_fraction"];
    for key in keys {
        let [none, little, much] = [0.0, 0.01, 0.1].map(|value| with(key, value));
        assert!(none == 0.0 && little > 0.0 && much > 2.0 * little, "{key}: {little} {much}");
    }
    let only = Effects::only([Effect::Accumulation]);
    assert!(
        only.has(Effect::Accumulation)
            && !Effects::ALL.without(Effect::Accumulation).has(Effect::Accumulation)
    );
}

#[test]
fn a_range_for_each_plane_loses_less() {
    let bits = |bits: u8, range: &str| {
        let changes = [format!("readout.adc_bits={bits}"), format!("readout.adc_range={range}")];
        let changes: Vec<&str> = changes.iter().map(String::as_str).collect();
        error(&network("yao2020-macro", &changes, &CompileOptions::default()))
    };
    for n in [4, 5, 6] {
        let (one, each) = (bits(n, "calibrated"), bits(n, "calibrated-by-plane"));
        assert!(each < 0.9 * one, "{n} bits: {one} {each}");
    }
}

#[test]
fn fewer_significant_planes_take_less_and_lose_more() {
    let with = |n: u8| {
        let change = format!("readout.significant_planes={n}");
        network("yao2020-macro", &[&change], &CompileOptions::default())
    };
    let mut before: Option<(f64, f64)> = None;
    for n in [8, 6, 4, 2] {
        let case = with(n);
        let chip = case.program(0);
        let executor = Executor::new(&case.compiled.plan, &case.model, &chip).unwrap();
        let executor = executor.counting_energy();
        executor.run(&case.inputs, 0).unwrap();
        let real = executor.array_energy(&chip, &case.target.cell);
        assert!(real.conversions_per_input() <= case.compiled.plan.counts().conversions as f64);
        let (conversions, off) = (real.conversions_per_input(), error(&case));
        if let Some((more, less_off)) = before {
            assert!(conversions < more && off > less_off, "{n} planes: {conversions} {off}");
        }
        before = Some((conversions, off));
    }
}

#[test]
fn resolutions_of_layers_are_their_own_in_codes_and_energy() {
    let resolved = |bits: &[(&str, u8)]| {
        let named = bits.iter().map(|&(name, bits)| (name.to_string(), bits)).collect();
        let adc_bits = ByLayer { all: None, named };
        network("charge-macro", &[], &CompileOptions { adc_bits, ..Default::default() })
    };
    let (eight, mixed) = (resolved(&[]), resolved(&[("two", 6)]));
    let bits =
        |case: &Case| case.compiled.plan.tiles.values().map(|t| t.adc.bits()).collect::<Vec<_>>();
    assert_eq!((bits(&eight), bits(&mixed)), (vec![8, 8], vec![8, 6]));
    let adc = |case: &Case| {
        let (_, n, pj) = report(case).costs.unwrap().energy.parts()[0];
        n as f64 * pj
    };
    // A bit less takes a quarter: 200 conversions of 8 bits, 54 of 6.
    assert!((adc(&eight) - 254.0 * 2.55).abs() < 1e-9);
    assert!((adc(&mixed) - (200.0 + 54.0 / 16.0) * 2.55).abs() < 1e-9);
    assert!(error(&mixed) > error(&eight));
}

#[test]
fn a_plan_that_compares_sums_that_are_not_whole_is_refused() {
    let case = network("charge-macro", &["pe.inputs=30"], &CompileOptions::default());
    let plan = &case.compiled.plan;
    let (one, two) = {
        let mut ids = plan.layers.keys().copied();
        (ids.next().unwrap(), ids.next().unwrap())
    };
    let broken = |change: &dyn Fn(&mut ohmc::ExecutionPlan)| {
        let mut plan = plan.clone();
        change(&mut plan);
        schedule::verify(&plan)
            .iter()
            .any(|fault| matches!(fault, PlanFault::Layer { .. } | PlanFault::Tile { .. }))
    };
    assert!(!broken(&|_| {}));
    let stage = plan.layers[&one].stage.clone();
    assert!(broken(&|plan| plan.layers.get_mut(&two).unwrap().stage = stage.clone()));
    assert!(broken(&|plan| plan.conversion = ohmc::target::Conversion::EveryPlane));
    assert!(broken(&|plan| {
        let stage = plan.layers.get_mut(&one).unwrap().stage.as_mut().unwrap();
        stage.windows[0].n_windows = usize::MAX;
    }));
    assert!(broken(&|plan| {
        plan.layers.get_mut(&one).unwrap().stage.as_mut().unwrap().windows[0].axis = 1;
    }));
    assert!(broken(&|plan| plan.tiles[ohmc::entity::WeightTileId(0)].adc.halvings[3] = 1));
}

#[test]
fn areas_of_parts_add_up_to_the_area() {
    let case = network("isaac", &[], &CompileOptions::default());
    let costs = report(&case).costs.unwrap();
    let all: f64 = costs.areas.iter().map(|(_, mm2)| mm2).sum();
    // Parts are rounded; what is left over is the last.
    assert!((all / costs.energy.area_mm2 - 1.0).abs() < 0.01, "{all}");
    let (adc, mm2) = &costs.areas[0];
    assert_eq!((adc.as_str(), *mm2), ("ADC", 0.0012 * costs.energy.n_pes as f64));
    // Of the published macro as a whole is known: whatever its parts are said to
    // be, together they have its density.
    let text = ohmc::target::builtin("yao2020-macro").unwrap();
    let parts = "  areas:\n    - { part: ADC, mm2_per_pe: 0.05 }\n    - { part: array, mm2_per_pe: 0.01 }\n";
    let whole = "  area_mm2_per_pe: 0.07038";
    assert!(text.contains(whole));
    let text = text.replace(whole, &format!("{parts}{whole}"));
    let target = Target::from_yaml(&text, "yao2020-macro", &[]).unwrap();
    let inputs = pipeline::inputs(&case.model, 4, 0.0, 1.0, 9);
    let case = Case::new(case.model, target, &CompileOptions::default(), inputs).unwrap();
    let costs = report(&case).costs.unwrap();
    let of_pe: f64 =
        costs.areas.iter().map(|(_, mm2)| mm2).sum::<f64>() / costs.energy.n_pes as f64;
    assert_eq!(costs.areas.len(), 3);
    assert!((costs.benchmark.peak_gops / of_pe - 1164.0).abs() < 1.0, "{of_pe}");
    let text = ohmc::target::builtin("isaac").unwrap();
    let change = ohmc::target::Override::parse("costs.areas.0.mm2_per_pe=0.5").unwrap();
    let error = Target::from_yaml(text, "isaac", &[change]).unwrap_err();
    assert!(error.faults[0].kind.to_string().starts_with("parts of a PE take 0.5"), "{error:?}");
}
