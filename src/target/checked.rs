//! From the file's words to the checked type. The only thing decided here is
//! what `as-levels` comes to.

use super::adc;
use super::cell_spec::{
    DriftSpec, FaultsSpec, FormingSpec, GateSpec, PulseModelSpec, PulsesSpec, ReadDisturbSpec,
    RecipeSpec,
};
use super::conversion_spec::{AccumulationSpec, AdcErrorsSpec, AnalogStageSpec, SelfTimedSpec};
use super::spec::{
    AdcBitsSpec, AdcRangeSpec, AsLevels, AsNeeded, CellKindSpec, CellSpec, ChipSpec, ChipsSpec,
    ConductanceMaxSpec, CostsSpec, IdleInputsSpec, IdleOutputsSpec, MachineSpec, PairSpec, PeSpec,
    PesSpec, RatesSpec, ReadoutSpec, SubtractSpec, TargetSpec, WiresSolvedSpec,
};
use super::{
    Accumulation, AdcBits, AdcErrors, AdcRange, AnalogStages, Cell, ChipCount, ChipSize,
    Conversion, Costs, Drift, FaultRates, Forming, Gate, IdleInputs, IdleOutputs, Machine,
    Nonlinearity, Pe, PeCount, PulseModel, Pulses, Rates, ReadDisturb, Readout, Recipe, SelfTimed,
    Subtract, Target, Wires, WiresSolved,
};

impl From<TargetSpec> for Target {
    fn from(spec: TargetSpec) -> Self {
        Self {
            name: spec.name.clone(),
            cell: Cell::from(&spec.cell),
            pe: Pe::from(&spec.pe),
            wires: Wires::from(&spec.pe),
            transposed_reads: spec.pe.transposed_reads,
            readout: Readout::from(&spec.readout),
            chip: ChipSize::from(spec.chip),
            costs: spec.costs.as_ref().map(|costs| scaled(costs, &spec.readout)),
            rates: spec.rates.as_ref().map_or(Rates::default(), Rates::from),
            spec,
        }
    }
}

impl From<&CellSpec> for Cell {
    fn from(spec: &CellSpec) -> Self {
        let CellKindSpec::Linear = spec.kind;
        let conductance_max_us = match spec.conductance_max_us {
            ConductanceMaxSpec::Us(us) => us,
            // One microsiemens a level: whole numbers, so that a level's
            // conductance is exact from 0 on, whatever the number of levels.
            ConductanceMaxSpec::Word(AsLevels::AsLevels) => {
                spec.conductance_min_us + f64::from(spec.levels - 1)
            }
        };
        Self {
            levels: spec.levels,
            conductance_min_us: spec.conductance_min_us,
            conductance_max_us,
            read_voltage_v: spec.read_voltage_v,
            verify_tolerance_us: spec.verify_tolerance_us,
            relaxation_sd_us: spec.relaxation_sd_us,
            read_noise_fraction: spec.read_noise_fraction,
            pulses: spec.pulses.as_ref().map(Pulses::from),
            drift: spec.drift.as_ref().map(Drift::from),
            read_disturb: spec.read_disturb.as_ref().map(ReadDisturb::from),
            nonlinearity: spec.nonlinearity.as_ref().map(|curve| Nonlinearity {
                verify_voltage_v: curve.verify_voltage_v.unwrap_or(spec.read_voltage_v),
                scale_low_v: curve.scale_low_v,
                scale_high_v: curve.scale_high_v.unwrap_or(curve.scale_low_v),
            }),
            faults: spec.faults.as_ref().map_or(FaultRates::default(), FaultRates::from),
        }
    }
}

impl From<&PulsesSpec> for Pulses {
    fn from(spec: &PulsesSpec) -> Self {
        Self {
            model: pulse_model(spec),
            recipe: match (spec.recipe, &spec.gate) {
                (RecipeSpec::GateRamped, Some(gate)) => Recipe::GateRamped(Gate::from(gate)),
                // A ramp without its voltages was refused.
                (RecipeSpec::Identical, _) | (RecipeSpec::GateRamped, None) => Recipe::Identical,
            },
            give_up_pulses: spec.give_up_pulses,
            rounds: spec.rounds,
            margin_us: spec.margin_us,
            device_spread_fraction: spec.device_spread_fraction,
            formed_us: spec.formed_us,
            formed_sd_us: spec.formed_sd_us,
            set_v: spec.set_v,
            reset_v: spec.reset_v,
            pulse_ns: spec.pulse_ns,
            forming: spec.forming.as_ref().map(Forming::from),
        }
    }
}

/// Figures that a file leaves out are those published with the model.
fn pulse_model(spec: &PulsesSpec) -> PulseModel {
    match spec.model {
        PulseModelSpec::TableRaw => PulseModel::TableRaw,
        PulseModelSpec::TableScaled => PulseModel::TableScaled,
        // TaOx/HfOx of NeuroSim (O).
        PulseModelSpec::Exponential => PulseModel::Exponential {
            full_pulses: spec.full_pulses.unwrap_or(128.0),
            set_curvature: spec.set_curvature.unwrap_or(31.57),
            reset_curvature: spec.reset_curvature.unwrap_or(-2.0),
            cycle_noise_fraction: spec.cycle_noise_fraction.unwrap_or(0.037),
        },
        // A choice (?): the mean steps of the raw table at the ends of its
        // window, and noise of aihwkit's default, 30 % of a step.
        PulseModelSpec::SoftBounds => PulseModel::SoftBounds {
            set_step_us: spec.set_step_us.unwrap_or(1.138),
            reset_step_us: spec.reset_step_us.unwrap_or(6.259),
            cycle_noise_fraction: spec.cycle_noise_fraction.unwrap_or(0.3),
        },
    }
}

impl From<&GateSpec> for Gate {
    fn from(spec: &GateSpec) -> Self {
        Self {
            set_first_v: spec.set_first_v,
            set_last_v: spec.set_last_v,
            reset_first_v: spec.reset_first_v,
            reset_last_v: spec.reset_last_v,
            step_v: spec.step_v,
            cycle_sd_us: spec.cycle_sd_us,
            device_sd_us: spec.device_sd_us,
        }
    }
}

impl From<&FormingSpec> for Forming {
    fn from(spec: &FormingSpec) -> Self {
        Self {
            first_v: spec.first_v,
            last_v: spec.last_v,
            step_v: spec.step_v,
            mean_v: spec.mean_v,
            sd_v: spec.sd_v,
        }
    }
}

impl From<&DriftSpec> for Drift {
    fn from(spec: &DriftSpec) -> Self {
        Self {
            t0_s: spec.t0_s,
            mean_us: spec.mean_us,
            mean_fraction: spec.mean_fraction,
            sd_initial_us: spec.sd_initial_us,
            sd_us: spec.sd_us,
        }
    }
}

impl From<&ReadDisturbSpec> for ReadDisturb {
    fn from(spec: &ReadDisturbSpec) -> Self {
        Self { shift_us: spec.shift_us, sd_us: spec.sd_us }
    }
}

impl From<&FaultsSpec> for FaultRates {
    fn from(spec: &FaultsSpec) -> Self {
        Self {
            stuck_high: spec.stuck_high_rate,
            stuck_low: spec.stuck_low_rate,
            dead_input: spec.dead_input_rate,
            dead_output: spec.dead_output_rate,
        }
    }
}

impl From<&PeSpec> for Pe {
    fn from(spec: &PeSpec) -> Self {
        let PairSpec::NeighbouringOutputs = spec.pair;
        Self { inputs: spec.inputs, outputs: spec.outputs }
    }
}

impl From<&PeSpec> for Wires {
    fn from(spec: &PeSpec) -> Self {
        Self {
            input_ohm_per_cell: spec.wire_input_ohm_per_cell,
            output_ohm_per_cell: spec.wire_output_ohm_per_cell,
            driver_ohm: spec.driver_ohm,
            sense_ohm: spec.sense_ohm,
            idle_outputs: match spec.idle_outputs {
                IdleOutputsSpec::Connected => IdleOutputs::Connected,
                IdleOutputsSpec::GatedOff => IdleOutputs::GatedOff,
            },
            idle_inputs: match spec.idle_inputs {
                IdleInputsSpec::Grounded => IdleInputs::Grounded,
                IdleInputsSpec::Floating => IdleInputs::Floating,
                IdleInputsSpec::GatedOff => IdleInputs::GatedOff,
            },
            solved: match (spec.wires_solved, spec.idle_inputs) {
                (Some(WiresSolvedSpec::Once), _) | (None, IdleInputsSpec::Grounded) => {
                    WiresSolved::Once
                }
                (Some(WiresSolvedSpec::EachVector), _) | (None, _) => WiresSolved::EachVector,
            },
        }
    }
}

impl From<&ReadoutSpec> for Readout {
    fn from(spec: &ReadoutSpec) -> Self {
        Self {
            input_bits: spec.input_bits,
            cycle_ns: spec.cycle_ns,
            adc_bits: match spec.adc_bits {
                AdcBitsSpec::Bits(bits) => AdcBits::Bits(bits),
                AdcBitsSpec::Word(AsNeeded::AsNeeded) => AdcBits::AsNeeded,
            },
            adc_range: match spec.adc_range {
                AdcRangeSpec::FullScale => AdcRange::FullScale,
                AdcRangeSpec::Calibrated => AdcRange::Calibrated,
                AdcRangeSpec::CalibratedByPlane => AdcRange::CalibratedByPlane,
                AdcRangeSpec::OneLevel => AdcRange::OneLevel,
            },
            adcs_per_pe: spec.adcs_per_pe,
            conversions_per_cycle: spec.conversions_per_cycle,
            subtract: match spec.subtract {
                SubtractSpec::BeforeConversion => Subtract::BeforeConversion,
                SubtractSpec::AfterConversion => Subtract::AfterConversion,
            },
            adc_errors: spec.adc_errors.as_ref().map_or(AdcErrors::NONE, AdcErrors::from),
            conversion: match (spec.accumulation, spec.significant_planes) {
                (Some(_), _) => Conversion::Accumulated,
                (None, Some(n_planes)) => Conversion::Significant(n_planes),
                (None, None) => Conversion::EveryPlane,
            },
            accumulation: spec.accumulation.map_or(Accumulation::default(), Accumulation::from),
            self_timed: spec.self_timed.map(SelfTimed::from),
        }
    }
}

impl From<SelfTimedSpec> for SelfTimed {
    fn from(spec: SelfTimedSpec) -> Self {
        Self {
            settle_ns: spec.settle_ns,
            skip_ns: spec.skip_ns,
            decision_ns: spec.decision_ns,
            comparator_ns: spec.comparator_ns,
            handshake_ns: spec.handshake_ns,
        }
    }
}

impl From<AccumulationSpec> for Accumulation {
    fn from(spec: AccumulationSpec) -> Self {
        Self {
            mismatch_sd_fraction: spec.mismatch_sd_fraction,
            droop_fraction: spec.droop_fraction,
            noise_sd_fraction: spec.noise_sd_fraction,
            compression_fraction: spec.compression_fraction,
            stages: match spec.stage {
                AnalogStageSpec::None => AnalogStages::None,
                AnalogStageSpec::Relu => AnalogStages::Relu,
                AnalogStageSpec::ReluAndMaxPool => AnalogStages::ReluAndMaxPool,
            },
            comparator_sd_fraction: spec.comparator_sd_fraction,
        }
    }
}

impl From<&AdcErrorsSpec> for AdcErrors {
    fn from(spec: &AdcErrorsSpec) -> Self {
        Self {
            gain_sd_fraction: spec.gain_sd_fraction,
            offset_sd_codes: spec.offset_sd_codes,
            bow_sd_codes: spec.bow_sd_codes,
            noise_sd_codes: spec.noise_sd_codes,
            calibration_readings: spec.calibration_readings,
        }
    }
}

impl From<ChipSpec> for ChipSize {
    fn from(spec: ChipSpec) -> Self {
        Self {
            pes: match spec.pes {
                PesSpec::Count(n_pes) => PeCount::Count(n_pes),
                PesSpec::Word(AsNeeded::AsNeeded) => PeCount::AsNeeded,
            },
            chips: match spec.count {
                None => ChipCount::Count(1),
                Some(ChipsSpec::Count(n_chips)) => ChipCount::Count(n_chips),
                Some(ChipsSpec::Word(AsNeeded::AsNeeded)) => ChipCount::AsNeeded,
            },
        }
    }
}

impl From<&CostsSpec> for Costs {
    fn from(spec: &CostsSpec) -> Self {
        Self {
            adc_pj_per_conversion: spec.adc_pj_per_conversion,
            adc_bits: None,
            comparison_pj: spec.comparison_pj,
            sample_and_hold_pj_per_cycle: spec.sample_and_hold_pj_per_cycle,
            drivers_pj_per_cycle: spec.drivers_pj_per_cycle,
            array_pj_per_cycle: spec.array_pj_per_cycle,
            shift_and_add_pj_per_cycle: spec.shift_and_add_pj_per_cycle,
            idle_mw_per_pe: spec.idle_mw_per_pe,
            area_mm2_per_pe: spec.area_mm2_per_pe,
            areas: spec.areas.iter().map(|own| (own.part.clone(), own.mm2_per_pe)).collect(),
            compare: spec.compare.iter().map(Machine::from).collect(),
        }
    }
}

/// The costs of a target whose ADC is another than the one that was measured.
fn scaled(spec: &CostsSpec, readout: &ReadoutSpec) -> Costs {
    let costs = Costs::from(spec);
    let (Some(from), AdcBitsSpec::Bits(bits)) = (spec.adc_scaling, readout.adc_bits) else {
        return costs;
    };
    const NS_TO_MS_PER_S: f64 = 1000.0;
    let ms_per_s = f64::from(readout.conversions_per_cycle) / readout.cycle_ns * NS_TO_MS_PER_S;
    let bound = adc::least_pj(bits, ms_per_s) / adc::least_pj(from.bits, from.ms_per_s);
    let node = from.to_node_nm.map_or(1.0, |to| to / from.node_nm);
    Costs {
        adc_pj_per_conversion: costs.adc_pj_per_conversion * bound * node,
        adc_bits: Some(bits),
        ..costs
    }
}

impl From<&RatesSpec> for Rates {
    fn from(spec: &RatesSpec) -> Self {
        let unlimited = Self::default();
        Self {
            pes_per_adc_set: spec.pes_per_adc_set.unwrap_or(unlimited.pes_per_adc_set),
            pes_per_core: spec.pes_per_core.unwrap_or(unlimited.pes_per_core),
            issue_ns_per_wave: spec.issue_ns_per_wave.unwrap_or(0.0),
            multiplexer_ns_per_switch: spec.multiplexer_ns_per_switch.unwrap_or(0.0),
            shift_and_add_per_cycle: spec.shift_and_add_per_cycle,
            link_gb_per_s: spec.link_gb_per_s,
            chip_link_gb_per_s: spec.chip_link_gb_per_s,
            buffer_gb_per_s: spec.buffer_gb_per_s,
            digital_gops: spec.digital_gops,
            sum_bits: spec.sum_bits.unwrap_or(unlimited.sum_bits),
        }
    }
}

impl From<&MachineSpec> for Machine {
    fn from(spec: &MachineSpec) -> Self {
        Self {
            name: spec.name.clone(),
            gops: spec.gops,
            power_w: spec.power_w,
            gops_per_w: spec.gops_per_w,
        }
    }
}
