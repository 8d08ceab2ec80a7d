//! What one identical pulse does, as measured: ten bins of the window from 2 to
//! 20 uS, in each the mean and the standard deviation of the step that a SET
//! or a RESET pulse of 50 ns makes. From the laboratory of the reference chip,
//! later than it (L).

/// Bins of the window, 1.8 uS each.
pub(super) const N_BINS: usize = 10;

/// Width of the window that was measured, in uS.
pub(super) const WINDOW_US: f64 = 18.0;

/// The steps from one bin, in uS: of SET, of RESET.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Bin {
    pub mean_us: [f64; 2],
    pub sd_us: [f64; 2],
}

const fn bin(mean_us: [f64; 2], sd_us: [f64; 2]) -> Bin {
    Bin { mean_us, sd_us }
}

/// What looks like measurements.
pub(super) const RAW: [Bin; N_BINS] = [
    bin([1.138, -0.039], [2.21, 2.42]),
    bin([0.874, -0.936], [2.27, 3.3]),
    bin([0.828, -0.781], [2.44, 2.82]),
    bin([0.751, -0.957], [2.53, 3.18]),
    bin([0.606, -1.748], [2.73, 3.77]),
    bin([0.523, -1.799], [2.69, 3.58]),
    bin([0.472, -2.765], [2.8, 4.12]),
    bin([0.376, -3.311], [2.67, 4.34]),
    bin([0.227, -4.71], [2.64, 5.06]),
    bin([0.272, -6.259], [1.85, 5.76]),
];

/// What the same authors simulated networks with.
pub(super) const SCALED: [Bin; N_BINS] = [
    bin([0.325, -0.0028], [0.372, 0.268]),
    bin([0.25, -0.0764], [0.382, 0.366]),
    bin([0.237, -0.0744], [0.411, 0.313]),
    bin([0.143, -0.0219], [0.426, 0.353]),
    bin([0.087, -0.0454], [0.459, 0.418]),
    bin([0.06, -0.0541], [0.452, 0.397]),
    bin([0.054, -0.0987], [0.471, 0.458]),
    bin([0.036, -0.1455], [0.449, 0.482]),
    bin([0.019, -0.2692], [0.445, 0.562]),
    bin([0.019, -0.5109], [0.311, 0.64]),
];
