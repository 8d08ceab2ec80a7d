//! How long ADCs without a clock take for a conversion.
//!
//! A successive approximation decides bit after bit; where it is not clocked,
//! the next bit begins when a comparator has decided the last. A comparator
//! that regenerates with the time constant `tau` takes
//!
//! ```text
//! tau ln(range / (2 |x - threshold|))
//! ```
//!
//! to decide a difference of its input from the threshold (S.-W. M. Chen and
//! R. W. Brodersen, "A 6-bit 600-MS/s 5.3-mW asynchronous ADC in 0.13-um CMOS",
//! IEEE JSSC 41, 2669-2680, 2006), so that of all bits one is slow at most.
//! Differences are those of the middle of the code that comes out; one below
//! half a code is taken as that.

use super::ln;
use crate::schedule::AdcSetting;
use crate::target::SelfTimed;

/// Times of conversions, by code.
#[derive(Debug, Clone)]
pub struct ConversionTimes {
    codes_per_us: f32,
    min_code: i32,
    max_code: i32,
    /// From the smallest code on, in ps.
    times_ps: Vec<u32>,
}

/// Codes whose times are told apart; of a wider ADC, its ends have that of the
/// last.
const CODES_MAX: i32 = 1 << 16;

impl ConversionTimes {
    /// Those of an ADC.
    pub fn new(adc: &AdcSetting, timed: &SelfTimed) -> Self {
        let min_code = adc.min_code.max(-CODES_MAX);
        let max_code = adc.max_code.min(CODES_MAX);
        let time = |code: i32| (decision_ns(code, min_code, max_code, timed) * 1000.0).round();
        Self {
            codes_per_us: (1.0 / adc.step_us) as f32,
            min_code,
            max_code,
            times_ps: (min_code..=max_code).map(|code| time(code) as u32).collect(),
        }
    }

    /// That of a current, in ps.
    pub fn of(&self, us: f32) -> u64 {
        let code = (us * self.codes_per_us).round_ties_even();
        let code = code.clamp(self.min_code as f32, self.max_code as f32) as i32;
        self.times_ps[(code - self.min_code) as usize].into()
    }
}

/// Time until all bits of a code are decided: a binary search for it.
fn decision_ns(code: i32, min_code: i32, max_code: i32, timed: &SelfTimed) -> f64 {
    let range = f64::from(max_code - min_code + 1);
    let (mut low, mut high) = (min_code, max_code);
    let mut ns = 0.0;
    while low < high {
        // The codes from `middle` on are above the threshold.
        let middle = low + (high - low + 1) / 2;
        let difference = (f64::from(code) - (f64::from(middle) - 0.5)).abs().max(0.5);
        ns += timed.decision_ns + timed.comparator_ns * ln(range / (2.0 * difference)).max(0.0);
        if code >= middle { low = middle } else { high = middle - 1 }
    }
    ns
}

#[cfg(test)]
mod tests {
    //! Every bit takes its time, and near a threshold more.

    use super::*;

    const TIMED: SelfTimed = SelfTimed {
        settle_ns: 0.0,
        skip_ns: 0.0,
        decision_ns: 1.0,
        comparator_ns: 0.0,
        handshake_ns: 0.0,
    };

    #[test]
    fn bits_are_decided_one_after_the_other() {
        let times = ConversionTimes::new(&AdcSetting::new(2.0, 0, 255), &TIMED);
        assert!((0..512).all(|us| times.of(us as f32) == 8000));
        // 255 codes of either sign: the last bit is spared for one of them.
        let signed = ConversionTimes::new(&AdcSetting::new(1.0, -127, 127), &TIMED);
        assert!((-200..200).all(|us| [7000, 8000].contains(&signed.of(us as f32))));
    }

    #[test]
    fn a_value_near_the_first_threshold_takes_longest() {
        let timed = SelfTimed { decision_ns: 0.0, comparator_ns: 1.0, ..TIMED };
        let times = ConversionTimes::new(&AdcSetting::new(1.0, 0, 255), &timed);
        // ln(256 / 2 |x - t|) of thresholds 128, 64, 32, ...; the end is far from the first.
        assert!(times.of(127.0) > times.of(0.0) && times.of(128.0) > times.of(255.0));
        assert_eq!(times.of(1e9), times.of(255.0));
    }
}
