//! The text form of what rounding gained.

use std::fmt::Write as _;

use super::LayerGain;

/// Relative errors after each part, a line a layer: part of `--emit graph`.
pub fn gains_text(gains: &[LayerGain]) -> String {
    let mut text = String::new();
    for gain in gains {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "`{}` outputs off by {}", gain.layer, parts(&gain.relative()));
    }
    text
}

/// The mean over layers of their relative errors after each part; `None`
/// without layers.
pub fn mean_gains(gains: &[LayerGain]) -> Option<[(&'static str, f64); 5]> {
    let mut means = gains.first()?.relative();
    for gain in &gains[1..] {
        for ((_, mean), (_, error)) in means.iter_mut().zip(gain.relative()) {
            *mean += error;
        }
    }
    means.iter_mut().for_each(|(_, mean)| *mean /= gains.len() as f64);
    Some(means)
}

/// Relative errors in percent, by part.
pub fn parts(errors: &[(&'static str, f64)]) -> String {
    let part = |(part, error): &(&str, f64)| format!("{:.2} % {part}", 100.0 * error);
    errors.iter().map(part).collect::<Vec<_>>().join(", ")
}
