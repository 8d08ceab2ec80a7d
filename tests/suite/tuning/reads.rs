//! What readings on the way back take, against counts done by hand.

use ohmc::chip::{self, ProgramOptions};
use ohmc::compiler::{self, CompileOptions};
use ohmc::quantize::{QuantizeOptions, WeightRule};
use ohmc::tensor::{Tensor, Values};
use ohmc::tuning::{Backward, Layers, Samples, Session, TuneOptions, Tuner, Update};

use crate::onnx::{Onnx, batched};
use crate::pipeline;

/// Two inputs of class 0, each of which carries an error through the second of
/// two products, a matrix of 5 x 2. Of two classes, errors are opposite, and
/// with one scale for both columns their codes are -127 and 127: two bits that
/// are 1 and seven.
#[test]
fn transposed_reads_are_counted_as_by_hand() {
    // An ADC set converts two lines a cycle; before conversion pairs are
    // subtracted, and five of them take three cycles, or else first five
    // positive lines, then five negative ones. Planes are driven for as long as
    // that takes, or, where charges are added up, for a cycle.
    let subtractions = ["before-conversion", "after-conversion"];
    let cases = [
        (subtractions[0], false, 8 * 5, (8 * 3, 8 * 3), 3),
        (subtractions[1], false, 8 * 10, (8 * 6, 8 * 6), 3),
        (subtractions[0], true, 5, (8, 3), 1),
        (subtractions[1], true, 10, (2 * 8, 6), 1),
    ];
    for (subtract, adds_up, n_conversions, (n_driving, n_converting), n_driven) in cases {
        let model = Onnx::new(3).input("x", &batched(None, &[4])).weights("a", &[4, 5]);
        let model = model.node("MatMul", &["x", "a"], "h", vec![]).weights("b", &[5, 2]);
        let model = model.node("MatMul", &["h", "b"], "y", vec![]).output("y");
        let model = pipeline::read(model.bytes()).unwrap();
        let subtract = format!("readout.subtract={subtract}");
        let sets = [
            "pe.transposed_reads=true",
            "readout.adcs_per_pe=2",
            "readout.conversions_per_cycle=1",
            "readout.input_bits=8",
            subtract.as_str(),
        ];
        let charges = adds_up.then_some("readout.accumulation.stage=none");
        let sets: Vec<String> = sets.into_iter().chain(charges).map(str::to_string).collect();
        let target = pipeline::target("yao2020-macro", &sets);
        let inputs = pipeline::inputs(&model, 2, -1.0, 1.0, 5);
        let calibration = pipeline::calibrate(&model, &inputs, 2);
        let quantize = QuantizeOptions { weights: WeightRule::Plain, ..Default::default() };
        let options = CompileOptions { quantize, ..Default::default() };
        let plan = compiler::compile(&model, &target, &calibration, &options).unwrap().plan;
        let writing = ProgramOptions { seed: 3, by_pulses: true, fault_map: None };
        let programmed = chip::write(&plan, &target, &writing).unwrap();
        let values: &Tensor = &inputs[0];
        let values = Tensor::new(vec![2, 4], Values::F32(values.as_f32().unwrap().to_vec()));
        let samples = Samples::new(vec![values.unwrap()], vec![0, 0]).unwrap();
        let options = TuneOptions {
            layers: Layers::All,
            backward: Backward::Arrays,
            update: Update::Threshold { least_us: 1e9 },
            n_batch: 2,
            n_batches: 1,
            ..TuneOptions::default()
        };
        let parts = (&plan, &model, &target);
        let tuner = Tuner::new(parts, programmed.clone(), options).unwrap();
        let mut session = Session::new(tuner, &samples).unwrap();
        session.step().unwrap();
        let reads = session.reads();
        assert_eq!(reads.waves, 2, "{subtract}");
        assert_eq!(reads.conversions, 2 * n_conversions, "{subtract}");
        // Planes are converted while they are driven, charges after it.
        let n_cycles = if adds_up { n_driving + n_converting } else { n_driving };
        assert_eq!(reads.pe_cycles, 2 * n_cycles, "{subtract}");
        let costs = target.costs.as_ref().unwrap();
        let driving_pj = costs.sample_and_hold_pj_per_cycle
            + costs.drivers_pj_per_cycle
            + costs.array_pj_per_cycle;
        let wanted_pj = reads.conversions as f64 * costs.adc_pj_per_conversion
            + (2 * n_driving) as f64 * driving_pj
            + (2 * n_converting) as f64 * costs.shift_and_add_pj_per_cycle;
        assert!((reads.energy_pj / wanted_pj - 1.0).abs() < 1e-12, "{reads:?} {wanted_pj}");
        let wanted_ns = reads.pe_cycles as f64 * target.readout.cycle_ns;
        assert!((reads.busy_ns / wanted_ns - 1.0).abs() < 1e-12, "{reads:?} {wanted_ns}");
        // The error of class 0 is negative.
        let (_, layer) = plan.layers.iter().nth(1).unwrap();
        assert_eq!((layer.nest.n_rows(), layer.nest.n_columns()), (5, 2));
        let id = *plan.layers.iter().nth(1).unwrap().0;
        let tile = &plan.tiles.values().find(|tile| tile.place.layer == id).unwrap().place;
        let cells = &programmed.pes[&tile.pe].relaxed_us;
        let mut drawn = 0.0;
        for (column, ones) in [(0, 2.0), (1, 7.0)] {
            for input in tile.input_line..tile.input_line + 5 {
                let at = (input * plan.pe.outputs + tile.output_line + 2 * column) as usize;
                drawn += ones * f64::from(cells[at] + cells[at + 1]);
            }
        }
        let volts = target.cell.read_voltage_v;
        let ns = f64::from(n_driven) * target.readout.cycle_ns;
        let wanted_pj = 2.0 * drawn * volts * volts * ns / 1000.0;
        assert!((reads.array_pj / wanted_pj - 1.0).abs() < 1e-6, "{reads:?} {wanted_pj}");
    }
}
