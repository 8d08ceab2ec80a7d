//! From the file's words to the checked type. The only thing decided here is
//! what `as-levels` comes to.

use super::spec::{
    AdcBitsSpec, AdcRangeSpec, AsLevels, AsNeeded, CellKindSpec, CellSpec, ConductanceMaxSpec,
    CostsSpec, IdleOutputsSpec, MachineSpec, PairSpec, PeSpec, PesSpec, ReadoutSpec, SubtractSpec,
    TargetSpec,
};
use super::{
    AdcBits, AdcRange, Cell, ChipSize, Costs, IdleOutputs, Machine, Pe, PeCount, Readout, Subtract,
    Target, Wires,
};

impl From<TargetSpec> for Target {
    fn from(spec: TargetSpec) -> Self {
        Self {
            name: spec.name.clone(),
            cell: Cell::from(&spec.cell),
            pe: Pe::from(&spec.pe),
            wires: Wires::from(&spec.pe),
            readout: Readout::from(&spec.readout),
            chip: ChipSize { pes: PeCount::from(spec.chip.pes) },
            costs: spec.costs.as_ref().map(Costs::from),
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
                AdcRangeSpec::OneLevel => AdcRange::OneLevel,
            },
            adcs_per_pe: spec.adcs_per_pe,
            conversions_per_cycle: spec.conversions_per_cycle,
            subtract: match spec.subtract {
                SubtractSpec::BeforeConversion => Subtract::BeforeConversion,
                SubtractSpec::AfterConversion => Subtract::AfterConversion,
            },
        }
    }
}

impl From<PesSpec> for PeCount {
    fn from(spec: PesSpec) -> Self {
        match spec {
            PesSpec::Count(n_pes) => Self::Count(n_pes),
            PesSpec::Word(AsNeeded::AsNeeded) => Self::AsNeeded,
        }
    }
}

impl From<&CostsSpec> for Costs {
    fn from(spec: &CostsSpec) -> Self {
        Self {
            adc_pj_per_conversion: spec.adc_pj_per_conversion,
            sample_and_hold_pj_per_cycle: spec.sample_and_hold_pj_per_cycle,
            drivers_pj_per_cycle: spec.drivers_pj_per_cycle,
            array_pj_per_cycle: spec.array_pj_per_cycle,
            shift_and_add_pj_per_cycle: spec.shift_and_add_pj_per_cycle,
            area_mm2_per_pe: spec.area_mm2_per_pe,
            compare: spec.compare.iter().map(Machine::from).collect(),
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
