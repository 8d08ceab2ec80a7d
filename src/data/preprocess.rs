//! From stored numbers to what the model was trained on: scale, mean,
//! standard deviation, order of the channels.
//!
//! The arithmetic is that of the training frameworks, in f32 and in their
//! order: `byte / 255`, minus mean, divided by standard deviation. The same
//! input therefore has the same bits here and there.

use std::fmt;

use thiserror::Error;

/// In which order the model takes the three colour channels. Files are read
/// as red, green, blue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ChannelOrder {
    /// Red first, as nearly all models take it.
    #[default]
    Rgb,
    /// Blue first, as models from the Caffe and OpenCV lines take it.
    Bgr,
}

impl fmt::Display for ChannelOrder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Rgb => "RGB",
            Self::Bgr => "BGR",
        })
    }
}

/// What is done to the numbers of a data set before a floating-point input of
/// the model gets them: `(x * scale - mean) / std`.
///
/// Inputs of integer type take the stored integers as they are. The default
/// divides bytes by 255 and leaves everything else alone.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Preprocess {
    /// The factor for every stored number. `None`: bytes (u8) are divided by
    /// 255, numbers of other types are taken as they are.
    pub scale: Option<f32>,
    /// Subtracted after scaling: one number for all channels or one a channel,
    /// in the order in which the model takes the channels; empty for 0.
    pub mean: Vec<f32>,
    /// Divides last, given like `mean`; empty for 1.
    pub std: Vec<f32>,
    /// The order in which the model takes the channels. Applies to data with
    /// three channels; others have no order.
    pub channel_order: ChannelOrder,
}

/// Why preprocessing cannot be done as given.
#[derive(Debug, Error, Clone, PartialEq)]
pub enum PreprocessError {
    /// Division by zero.
    #[error("standard deviation of channel {channel} is 0")]
    ZeroStd {
        /// The channel, from 0.
        channel: usize,
    },
    /// A scale, mean or standard deviation that is NaN or infinite.
    #[error("{what} {value} is no finite number")]
    NotFinite {
        /// `scale`, `mean` or `std`.
        what: &'static str,
        /// What was given.
        value: f32,
    },
    /// A scale of zero makes all inputs alike.
    #[error("scale is 0, which makes all inputs alike")]
    ZeroScale,
    /// As many numbers as the input has no channels.
    #[error("{what} has {given} numbers, `{input}` of shape {shape:?} has {channels}")]
    Channels {
        /// `mean` or `std`.
        what: &'static str,
        /// How many numbers were given.
        given: usize,
        /// The model's input.
        input: String,
        /// The shape of one input.
        shape: Vec<usize>,
        /// How many channels it has, in words where that cannot be told.
        channels: String,
    },
    /// Options that no input of the model uses.
    #[error("scale, mean and std apply to floating-point inputs, and `{input}` takes {takes}")]
    NoFloatInput {
        /// The model's first input.
        input: String,
        /// Its element type.
        takes: String,
    },
}

impl Preprocess {
    /// Whether scale, mean or standard deviation were given, so that data
    /// which are no bytes are changed too.
    pub fn is_explicit(&self) -> bool {
        self.scale.is_some() || !self.mean.is_empty() || !self.std.is_empty()
    }

    /// The sentence that reports print, for example `bytes / 255, other
    /// numbers as they are; then (x - 0.1307) / 0.3081`.
    pub fn describe(&self) -> String {
        let mut sentence = match self.scale {
            None => "bytes / 255, other numbers as they are".to_owned(),
            Some(scale) => format!("every number x {scale}"),
        };
        match (list(&self.mean), list(&self.std)) {
            (None, None) => {}
            (Some(mean), None) => sentence += &format!("; then x - {mean}"),
            (None, Some(std)) => sentence += &format!("; then x / {std}"),
            (Some(mean), Some(std)) => sentence += &format!("; then (x - {mean}) / {std}"),
        }
        if self.channel_order == ChannelOrder::Bgr {
            sentence += "; colour channels in the order BGR";
        }
        sentence
    }

    /// Finds what is wrong whatever the data are.
    ///
    /// # Errors
    /// Numbers that are not finite, a scale or a standard deviation of 0.
    pub fn check(&self) -> Result<(), PreprocessError> {
        let scale: &[f32] = self.scale.as_slice();
        for (what, numbers) in [("scale", scale), ("mean", &self.mean), ("std", &self.std)] {
            if let Some(&value) = numbers.iter().find(|value| !value.is_finite()) {
                return Err(PreprocessError::NotFinite { what, value });
            }
        }
        if self.scale == Some(0.0) {
            return Err(PreprocessError::ZeroScale);
        }
        match self.std.iter().position(|&std| std == 0.0) {
            Some(channel) => Err(PreprocessError::ZeroStd { channel }),
            None => Ok(()),
        }
    }

    /// How many channels the data must have, if mean or std are given by
    /// channel.
    pub(super) fn n_channels(&self) -> Option<(&'static str, usize)> {
        [("mean", self.mean.len()), ("std", self.std.len())].into_iter().find(|(_, n)| *n > 1)
    }

    /// The value that the model gets for a byte.
    pub(super) fn byte(&self, byte: u8, channel: usize) -> f32 {
        let x = f32::from(byte);
        let scaled = self.scale.map_or_else(|| x / 255.0, |scale| x * scale);
        self.normalise(scaled, channel)
    }

    /// The value that the model gets for a number that is no byte.
    pub(super) fn number(&self, x: f32, channel: usize) -> f32 {
        self.normalise(self.scale.map_or(x, |scale| x * scale), channel)
    }

    fn normalise(&self, x: f32, channel: usize) -> f32 {
        let centred = of_channel(&self.mean, channel).map_or(x, |mean| x - mean);
        of_channel(&self.std, channel).map_or(centred, |std| centred / std)
    }
}

/// The number for a channel: its own, or the one for all.
fn of_channel(numbers: &[f32], channel: usize) -> Option<f32> {
    match numbers {
        [for_all] => Some(*for_all),
        _ => numbers.get(channel).copied(),
    }
}

fn list(numbers: &[f32]) -> Option<String> {
    match numbers {
        [] => None,
        [for_all] => Some(for_all.to_string()),
        by_channel => Some(format!("{by_channel:?}")),
    }
}

#[cfg(test)]
mod tests {
    //! The arithmetic, its sentence, and options that make no sense.

    use super::*;

    fn cifar() -> Preprocess {
        Preprocess { mean: vec![0.5, 0.4, 0.3], std: vec![0.25, 0.2, 0.1], ..Preprocess::default() }
    }

    #[test]
    fn bytes_are_divided_by_255_and_then_normalised_by_channel() {
        let plain = Preprocess::default();
        assert_eq!(plain.byte(255, 0), 1.0);
        assert_eq!(plain.byte(51, 0), 51.0 / 255.0);
        assert_eq!(cifar().byte(255, 1), (1.0 - 0.4) / 0.2);
        let scaled = Preprocess { scale: Some(1.0), ..Preprocess::default() };
        assert_eq!(scaled.byte(51, 0), 51.0);
    }

    #[test]
    fn other_numbers_change_only_when_told_to() {
        assert_eq!(Preprocess::default().number(51.0, 0), 51.0);
        let one_for_all = Preprocess { mean: vec![1.0], ..Preprocess::default() };
        assert_eq!(one_for_all.number(51.0, 2), 50.0);
        let scaled = Preprocess { scale: Some(2.0), ..Preprocess::default() };
        assert_eq!(scaled.number(51.0, 0), 102.0);
    }

    #[test]
    fn the_sentence_says_what_is_done() {
        let plain = Preprocess::default().describe();
        assert_eq!(plain, "bytes / 255, other numbers as they are");
        let bgr = Preprocess { scale: Some(1.0), channel_order: ChannelOrder::Bgr, ..cifar() };
        assert_eq!(
            bgr.describe(),
            "every number x 1; then (x - [0.5, 0.4, 0.3]) / [0.25, 0.2, 0.1]; colour channels in \
             the order BGR"
        );
    }

    #[test]
    fn impossible_numbers_are_refused() {
        let zero_std = Preprocess { std: vec![1.0, 0.0, 1.0], ..Preprocess::default() };
        assert_eq!(zero_std.check(), Err(PreprocessError::ZeroStd { channel: 1 }));
        let zero_scale = Preprocess { scale: Some(0.0), ..Preprocess::default() };
        assert_eq!(zero_scale.check(), Err(PreprocessError::ZeroScale));
        let infinite = Preprocess { mean: vec![f32::INFINITY], ..Preprocess::default() };
        assert!(matches!(infinite.check(), Err(PreprocessError::NotFinite { what: "mean", .. })));
        assert_eq!(cifar().check(), Ok(()));
    }
}
