//! What stands behind `=`: from words to values, or what should stand there.

use ohmc::fit::Goal;
use ohmc::frontend::Axis;
use ohmc::mapping::unroll::Choice;
use ohmc::quantize::RangeRule;
use ohmc::target::Override;

pub fn parse_count(text: &str) -> Result<u64, String> {
    let count = text.parse().ok().filter(|&n| n > 0);
    count.ok_or_else(|| "give a whole number from 1 up".to_string())
}

/// So many, or a share of all.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Amount {
    /// This many.
    Count(u64),
    /// This share, 0 to 1.
    Share(f64),
}

impl Amount {
    /// How many that is of so many, at most all.
    pub fn of(self, n: u64) -> u64 {
        match self {
            Self::Count(count) => count.min(n),
            // No data set has more than 2^53 inputs.
            Self::Share(share) => ((n as f64 * share).round_ties_even() as u64).min(n),
        }
    }
}

/// `500` or `10%`.
pub fn parse_amount(text: &str) -> Result<Amount, String> {
    let wrong = || "give a whole number, or a share of all as in `10%`".to_string();
    match text.trim().strip_suffix('%') {
        Some(percent) => {
            let percent: f64 = percent.trim().parse().map_err(|_| wrong())?;
            let share = percent / 100.0;
            (0.0..=1.0).contains(&share).then_some(Amount::Share(share)).ok_or_else(wrong)
        }
        None => text.trim().parse().map(Amount::Count).map_err(|_| wrong()),
    }
}

/// `--set`, for commands that have it apart from [`Compilation`].
pub fn parse_override(text: &str) -> Result<Override, String> {
    Override::parse(text).map_err(|_| {
        "give a key of the target and its value, as in `readout.adc_bits=8`".to_string()
    })
}

pub(super) fn parse_shape(text: &str) -> Result<(String, Vec<Axis>), String> {
    let wrong = || "give an input and its extents, as in `image=N,3,32,32`".to_string();
    let (name, extents) = text.rsplit_once('=').ok_or_else(wrong)?;
    let axis = |text: &str| match text.trim() {
        "N" | "n" => Ok(Axis::Batch),
        "0" => Err("an extent of 0 leaves no values".to_string()),
        extent => extent.parse().map(Axis::Fixed).map_err(|_| wrong()),
    };
    let axes = match extents.trim() {
        // A scalar.
        "" => Vec::new(),
        extents => extents.split(',').map(axis).collect::<Result<_, _>>()?,
    };
    if name.is_empty() { Err(wrong()) } else { Ok((name.to_string(), axes)) }
}

pub(super) fn parse_replicas(text: &str) -> Result<(String, u32), String> {
    let wrong = || "give a layer and its copies, at least 1, as in `conv1=3`".to_string();
    let (name, copies) = text.rsplit_once('=').ok_or_else(wrong)?;
    let copies = copies.trim().parse().ok().filter(|&n: &u32| n > 0).ok_or_else(wrong)?;
    if name.is_empty() { Err(wrong()) } else { Ok((name.to_string(), copies)) }
}

pub(super) fn parse_goal(text: &str) -> Result<Goal, String> {
    let wrong =
        || "give what may be lost in percent, as in `accuracy=0.5%` or `error=1%`".to_string();
    let (what, share) = text.split_once('=').ok_or_else(wrong)?;
    let percent = share.trim().strip_suffix('%').ok_or_else(wrong)?;
    let percent: f64 = percent.trim().parse().map_err(|_| wrong())?;
    if !(0.0..=100.0).contains(&percent) {
        return Err(wrong());
    }
    match what.trim() {
        "accuracy" => Ok(Goal::Accuracy(percent / 100.0)),
        "error" => Ok(Goal::Error(percent / 100.0)),
        _ => Err(wrong()),
    }
}

pub(super) fn parse_by_layer(text: &str) -> Result<(Option<String>, u8), String> {
    let wrong = || "give a number, or a layer and its number, as in `conv1=2`".to_string();
    let (name, number) = match text.rsplit_once('=') {
        Some((name, number)) => (Some(name), number),
        None => (None, text),
    };
    let number = number.trim().parse().ok().filter(|&n: &u8| n > 0).ok_or_else(wrong)?;
    match name {
        Some("") => Err(wrong()),
        _ => Ok((name.map(String::from), number)),
    }
}

pub(super) fn parse_unroll(text: &str) -> Result<(Option<String>, Choice), String> {
    let wrong = || {
        "give `im2col`, `window`, `auto` or positions as in `2x4`, for one layer as in `conv1=2x4`"
            .to_string()
    };
    let (name, how) = match text.rsplit_once('=') {
        Some(("", _)) => return Err(wrong()),
        Some((name, how)) => (Some(name.to_string()), how.trim()),
        None => (None, text.trim()),
    };
    let length = |text: &str| text.parse().ok().filter(|&n: &usize| n > 0).ok_or_else(wrong);
    let choice = match how {
        "im2col" => Choice::Im2col,
        "window" => Choice::Fewest,
        "auto" => Choice::Auto,
        lengths => Choice::Window(lengths.split('x').map(length).collect::<Result<_, _>>()?),
    };
    Ok((name, choice))
}

pub(super) fn parse_range(text: &str) -> Result<RangeRule, String> {
    match text.split_once(':') {
        None if text == "mse" => Ok(RangeRule::Mse),
        None if text == "minmax" => Ok(RangeRule::MinMax),
        Some(("percentile", percent)) => {
            let percent: f64 = percent.trim().parse().unwrap_or(f64::NAN);
            if percent > 0.0 && percent <= 100.0 {
                Ok(RangeRule::Percentile(percent / 100.0))
            } else {
                Err("a percentile is above 0 and at most 100".to_string())
            }
        }
        _ => Err("give `mse`, `minmax` or `percentile:P`, P in percent".to_string()),
    }
}

#[cfg(test)]
mod tests {
    //! What is accepted, and what is refused.
    #![allow(clippy::unwrap_used, reason = "a failed test may panic")]

    use super::*;

    #[test]
    fn shapes_have_a_name_and_extents() {
        let axes = vec![Axis::Batch, Axis::Fixed(3)];
        assert_eq!(parse_shape("a=b=N, 3").unwrap(), ("a=b".to_string(), axes));
        assert_eq!(parse_shape("x=").unwrap(), ("x".to_string(), Vec::new()));
        for wrong in ["x", "=1", "x=1,,2", "x=-1", "x=0", "x=a"] {
            assert!(parse_shape(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn ranges_have_a_name_and_a_share() {
        assert_eq!(parse_range("percentile:99.9").unwrap(), RangeRule::Percentile(99.9 / 100.0));
        for wrong in ["percentile", "percentile:0", "percentile:101", "percentile:x", "mse:1", ""] {
            assert!(parse_range(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn copies_and_slices_are_of_a_layer_and_not_none() {
        assert_eq!(parse_replicas("a=b=3").unwrap(), ("a=b".to_string(), 3));
        assert!(parse_replicas("a=0").is_err());
        assert_eq!(parse_by_layer("2").unwrap(), (None, 2));
        assert_eq!(parse_by_layer("a=b=3").unwrap(), (Some("a=b".to_string()), 3));
        for wrong in ["", "0", "a=", "=2", "a=0", "256", "a=-1"] {
            assert!(parse_by_layer(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn windows_are_words_or_positions() {
        assert_eq!(parse_unroll("auto").unwrap(), (None, Choice::Auto));
        assert_eq!(parse_unroll("window").unwrap(), (None, Choice::Fewest));
        let conv1 = Some("a=b".to_string());
        assert_eq!(parse_unroll("a=b=2x4").unwrap(), (conv1, Choice::Window(vec![2, 4])));
        for wrong in ["", "0", "2x", "x2", "2x0", "=auto", "a=", "best", "-1x2"] {
            assert!(parse_unroll(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn goals_are_shares_in_percent() {
        assert_eq!(parse_goal("accuracy=0.5%").unwrap(), Goal::Accuracy(0.005));
        assert_eq!(parse_goal("error = 1 %").unwrap(), Goal::Error(0.01));
        for wrong in ["accuracy=1", "accuracy=-1%", "error=101%", "loss=1%", "error=nan%", ""] {
            assert!(parse_goal(wrong).is_err(), "{wrong}");
        }
    }
}
