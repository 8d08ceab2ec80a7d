//! What one pulse does to a cell.
//!
//! Conductances stay within what cells can hold: the window, and at either end
//! a margin by which they can leave it. (With a hard clip at the window every
//! cell at an end level would be too good, and most cells of an array sit at
//! the lowest.)

use super::table::{Bin, N_BINS, RAW, SCALED, WINDOW_US};
use crate::chip::math::exp;
use crate::chip::random::Stream;
use crate::target::{Cell, Gate, PulseModel, Pulses};

/// What a pulse is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operation {
    /// Raise the conductance.
    Set,
    /// Lower it.
    Reset,
}

/// What distinguishes a cell from others of its kind.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Device {
    /// Mean steps of SET and RESET, over those of all cells.
    factors: [f64; 2],
    /// Where ramped pulses bring it, from where they bring the mean cell, in
    /// standard deviations.
    offsets: [f64; 2],
    /// Voltage at which it forms, in standard deviations from the mean.
    pub forming: f64,
    /// Conductance once formed, in uS.
    pub formed_us: f64,
}

impl Device {
    /// One like all others.
    const MEAN: Self = Self { factors: [1.0; 2], offsets: [0.0; 2], forming: 0.0, formed_us: 0.0 };
}

/// The kind of cell that a target has.
#[derive(Debug, Clone)]
pub(super) struct DeviceModel {
    pulses: Pulses,
    min_us: f64,
    /// What cells can hold.
    low_us: f64,
    high_us: f64,
    window_us: f64,
    step: Step,
}

/// What a pulse of fixed height does.
#[derive(Debug, Clone)]
enum Step {
    /// By bins of the window, the lowest first.
    Table(Box<[Bin; N_BINS]>),
    /// Towards the end of an exponential, a share of the way each time: where
    /// that end lies, and the share; then the noise in uS.
    Exponential { ends_us: [f64; 2], shares: [f64; 2], noise_us: f64 },
    /// Steps of SET and RESET far from their bounds, and noise as a fraction.
    SoftBounds { steps_us: [f64; 2], noise: f64 },
}

/// No cell works backwards.
const FACTOR_MIN: f64 = 0.1;

impl DeviceModel {
    pub fn new(cell: &Cell, pulses: &Pulses) -> Self {
        let (min_us, max_us) = (cell.conductance_min_us, cell.conductance_max_us);
        let window_us = max_us - min_us;
        Self {
            pulses: *pulses,
            min_us,
            low_us: (min_us - pulses.margin_us).max(0.0),
            high_us: max_us + pulses.margin_us,
            window_us,
            step: Step::new(pulses.model, min_us, window_us),
        }
    }

    /// Draws a cell.
    pub fn device(&self, random: &mut Stream) -> Device {
        let Pulses { device_spread_fraction, formed_us, formed_sd_us, .. } = self.pulses;
        let mut factor = || (1.0 + device_spread_fraction * random.normal()).max(FACTOR_MIN);
        let factors = [factor(), factor()];
        Device {
            factors,
            offsets: [random.normal(), random.normal()],
            forming: random.normal(),
            formed_us: self.held(formed_us + formed_sd_us * random.normal()),
        }
    }

    /// The conductance after one more pulse of fixed height; `z` is a standard
    /// Gaussian.
    #[inline]
    pub fn pulse(&self, device: &Device, operation: Operation, us: f64, z: f64) -> f64 {
        self.held(us + self.change(device, operation as usize, us, z))
    }

    /// What a pulse of fixed height changes, before the ends hold it.
    #[inline]
    fn change(&self, device: &Device, nth: usize, us: f64, z: f64) -> f64 {
        let factor = device.factors[nth];
        match &self.step {
            Step::Table(bins) => {
                let bin = ((us - self.min_us) / self.window_us * N_BINS as f64) as usize;
                // Casts of what is below the window give the lowest bin.
                let Bin { mean_us, sd_us } = &bins[bin.min(N_BINS - 1)];
                factor * mean_us[nth] + sd_us[nth] * z
            }
            Step::Exponential { ends_us, shares, noise_us } => {
                factor * (ends_us[nth] - us) * shares[nth] + noise_us * z
            }
            Step::SoftBounds { steps_us, noise } => {
                let span = self.high_us - self.low_us;
                let room = [self.high_us - us, self.low_us - us][nth];
                factor * steps_us[nth] * room / span * (1.0 + noise * z)
            }
        }
    }

    /// The ends of what cells can hold, in uS.
    pub fn ends_us(&self) -> (f64, f64) {
        (self.low_us, self.high_us)
    }

    /// Mean and standard deviation, in uS, of what a pulse of fixed height
    /// changes from here, over cells and pulses and before the ends hold it.
    pub fn step(&self, operation: Operation, us: f64) -> (f64, f64) {
        let nth = operation as usize;
        let free = |z: f64| self.change(&Device::MEAN, nth, us, z);
        let (mean_us, noise_us) = (free(0.0), (free(1.0) - free(0.0)).abs());
        (mean_us, noise_us.hypot(self.pulses.device_spread_fraction * mean_us))
    }

    /// The conductance after one more pulse at this gate voltage.
    pub fn gated(
        &self,
        device: &Device,
        operation: Operation,
        gate: (&Gate, f64),
        us: f64,
        z: f64,
    ) -> f64 {
        let (gate, gate_v) = gate;
        let spread = gate.device_sd_us * device.offsets[operation as usize] + gate.cycle_sd_us * z;
        let span = self.high_us - self.low_us;
        let along = |first_v: f64, last_v: f64| (gate_v - first_v) / (last_v - first_v);
        self.held(match operation {
            Operation::Set => {
                let up_to = self.low_us + span * along(gate.set_first_v, gate.set_last_v);
                us.max(up_to + spread)
            }
            Operation::Reset => {
                let down_to = self.high_us - span * along(gate.reset_first_v, gate.reset_last_v);
                us.min(down_to + spread)
            }
        })
    }

    /// The gate voltage at which a pulse brings the mean cell here, as near as
    /// the ramp reaches, and where that is.
    pub fn gate_for(&self, operation: Operation, gate: &Gate, us: f64) -> (f64, f64) {
        let span = self.high_us - self.low_us;
        let along = ((us - self.low_us) / span).clamp(0.0, 1.0);
        let between = |first_v: f64, last_v: f64, share: f64| first_v + share * (last_v - first_v);
        let gate_v = match operation {
            Operation::Set => between(gate.set_first_v, gate.set_last_v, along),
            Operation::Reset => between(gate.reset_first_v, gate.reset_last_v, 1.0 - along),
        };
        (gate_v, self.low_us + along * span)
    }

    #[inline]
    fn held(&self, us: f64) -> f64 {
        us.clamp(self.low_us, self.high_us)
    }
}

impl Step {
    fn new(model: PulseModel, min_us: f64, window_us: f64) -> Self {
        // The table is of a window from 2 to 20 uS; another has the same
        // steps in proportion.
        let table = |bins: &[Bin; N_BINS]| {
            let scale = window_us / WINDOW_US;
            let scaled = |pair: [f64; 2]| pair.map(|us| us * scale);
            let bin = |bin: Bin| Bin { mean_us: scaled(bin.mean_us), sd_us: scaled(bin.sd_us) };
            Self::Table(Box::new(bins.map(bin)))
        };
        match model {
            PulseModel::TableRaw => table(&RAW),
            PulseModel::TableScaled => table(&SCALED),
            PulseModel::Exponential {
                full_pulses,
                set_curvature,
                reset_curvature,
                cycle_noise_fraction,
            } => {
                // G_SET(P) = B(1 - exp(-P/A)) + Gmin and G_RESET(P) = Gmax -
                // B(1 - exp((P - Pmax)/A)), each with its own A and B =
                // (Gmax - Gmin)/(1 - exp(-Pmax/A)) (NeuroSim): one pulse more
                // goes a fixed share of the way to the curve's end.
                let b = |curvature: f64| window_us / (1.0 - exp(-1.0 / curvature));
                let share = |curvature: f64| 1.0 - exp(-1.0 / (curvature * full_pulses));
                let max_us = min_us + window_us;
                Self::Exponential {
                    ends_us: [min_us + b(set_curvature), max_us - b(reset_curvature)],
                    shares: [share(set_curvature), share(reset_curvature)],
                    noise_us: cycle_noise_fraction * window_us,
                }
            }
            PulseModel::SoftBounds { set_step_us, reset_step_us, cycle_noise_fraction } => {
                Self::SoftBounds {
                    steps_us: [set_step_us, reset_step_us],
                    noise: cycle_noise_fraction,
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    //! A pulse does what its model says, on average over many.

    use super::*;
    use crate::chip::random::{Purpose, Streams};
    use crate::entity::PeId;
    use crate::target::{Override, Target, builtin};

    fn model(sets: &[&str]) -> DeviceModel {
        let sets: Vec<Override> = sets.iter().map(|set| Override::parse(set).unwrap()).collect();
        let text = builtin("yao2020-chip").unwrap();
        let cell = Target::from_yaml(text, "yao2020-chip", &sets).unwrap().cell;
        DeviceModel::new(&cell, &cell.pulses.unwrap())
    }

    /// Mean and standard deviation of a pulse from `us`, over cells that each
    /// take one.
    fn moments(model: &DeviceModel, operation: Operation, us: f64) -> (f64, f64) {
        let n = 100_000;
        let streams = Streams::new(3, Purpose::Device, PeId(0));
        let steps: Vec<f64> = (0..n)
            .map(|cell| {
                let mut random = streams.of(cell);
                let device = model.device(&mut random);
                model.pulse(&device, operation, us, random.normal()) - us
            })
            .collect();
        let mean = steps.iter().sum::<f64>() / n as f64;
        let variance = steps.iter().map(|s| (s - mean) * (s - mean)).sum::<f64>() / n as f64;
        (mean, variance.sqrt())
    }

    /// With a margin so wide that nothing is clipped, the mean of many pulses
    /// from a bin is that of the table, and so is the spread where cells are
    /// alike.
    #[test]
    fn many_pulses_from_a_bin_have_the_tables_mean() {
        for (name, table) in [("table-raw", &RAW), ("table-scaled", &SCALED)] {
            let named = format!("cell.pulses.model={name}");
            let window = ["cell.conductance_min_us=102", "cell.conductance_max_us=120"];
            let wide = ["cell.pulses.margin_us=100", named.as_str(), window[0], window[1]];
            let spread = model(&wide);
            let alike = model(&[&wide[..], &["cell.pulses.device_spread_fraction=0"]].concat());
            for (nth, bin) in table.iter().enumerate() {
                for at in [0.1, 0.9] {
                    let us = 102.0 + 1.8 * (nth as f64 + at);
                    for (operation, which) in [(Operation::Set, 0), (Operation::Reset, 1)] {
                        // Five standard errors.
                        let slack = 5.0 * bin.sd_us[which] / 100_000f64.sqrt();
                        let (mean, _) = moments(&spread, operation, us);
                        let wanted = bin.mean_us[which];
                        assert!((mean - wanted).abs() < slack, "{name} {us} {mean} {wanted}");
                        let (_, sd) = moments(&alike, operation, us);
                        assert!((sd / bin.sd_us[which] - 1.0).abs() < 0.02, "{name} {us} {sd}");
                    }
                }
            }
        }
    }

    /// What a programmer knows of a step is what steps are, over many cells.
    #[test]
    fn a_step_that_is_foretold_is_the_one_that_is_made() {
        for name in ["table-raw", "exponential", "soft-bounds"] {
            let model =
                model(&["cell.pulses.margin_us=1000", &format!("cell.pulses.model={name}")]);
            for us in [7.0, 15.0] {
                for operation in [Operation::Set, Operation::Reset] {
                    let (mean, sd) = moments(&model, operation, us);
                    let (wanted_mean, wanted_sd) = model.step(operation, us);
                    let slack = 5.0 * sd / 100_000f64.sqrt();
                    assert!((mean - wanted_mean).abs() < slack, "{name}: {mean} {wanted_mean}");
                    assert!((sd / wanted_sd - 1.0).abs() < 0.03, "{name}: {sd} {wanted_sd}");
                }
            }
        }
    }

    /// From one end to the other, without noise, in as many pulses as stated
    /// and along the published curve.
    #[test]
    fn the_exponential_is_the_published_curve() {
        let (set, reset) = (0.5, -0.4);
        let quiet = model(&[
            "cell.pulses.model=exponential",
            "cell.pulses.full_pulses=40",
            &format!("cell.pulses.set_curvature={set}"),
            &format!("cell.pulses.reset_curvature={reset}"),
            "cell.pulses.cycle_noise_fraction=0",
            "cell.pulses.device_spread_fraction=0",
        ]);
        let device = quiet.device(&mut Streams::new(0, Purpose::Device, PeId(0)).of(0));
        let b = |a: f64| 18.0 / (1.0 - exp(-1.0 / a));
        let (mut up, mut down) = (2.0, 20.0);
        for pulse in 1..=40 {
            up = quiet.pulse(&device, Operation::Set, up, 0.0);
            down = quiet.pulse(&device, Operation::Reset, down, 0.0);
            let share = f64::from(pulse) / 40.0;
            let wanted_up = b(set) * (1.0 - exp(-share / set)) + 2.0;
            let wanted_down = 20.0 - b(reset) * (1.0 - exp(-share / reset));
            assert!((up - wanted_up).abs() < 1e-9, "{pulse}: {up} {wanted_up}");
            assert!((down - wanted_down).abs() < 1e-9, "{pulse}: {down} {wanted_down}");
        }
        assert!((up - 20.0).abs() < 1e-9 && (down - 2.0).abs() < 1e-9, "{up} {down}");
    }

    #[test]
    fn soft_bounds_are_approached_and_never_passed() {
        let soft = model(&["cell.pulses.model=soft-bounds", "cell.pulses.cycle_noise_fraction=0"]);
        let device = soft.device(&mut Streams::new(0, Purpose::Device, PeId(0)).of(0));
        let (mut us, mut last) = (2.0, f64::INFINITY);
        for _ in 0..500 {
            let next = soft.pulse(&device, Operation::Set, us, 0.0);
            assert!(next >= us && next - us < last && next <= 21.0);
            (last, us) = (next - us + 1e-12, next);
        }
        assert!(us > 20.9, "{us}");
    }

    #[test]
    fn no_pulse_leaves_what_cells_can_hold() {
        for name in ["table-raw", "exponential", "soft-bounds"] {
            let model = model(&[&format!("cell.pulses.model={name}")]);
            let mut random = Streams::new(1, Purpose::Pulses, PeId(0)).of(0);
            let device = model.device(&mut random);
            let mut us = 2.0;
            for nth in 0..10_000 {
                let operation = if nth / 100 % 2 == 0 { Operation::Set } else { Operation::Reset };
                us = model.pulse(&device, operation, us, 3.0 * random.normal());
                assert!((1.0..=21.0).contains(&us), "{name}: {us}");
            }
        }
    }
}
