//! From values to the codes that drive input lines.

use super::layout::Layout;
use crate::chip::{Instructions, Simd, Task};
use crate::quantize::InputCoding;

/// Codes of one input, eight bits each, with the padding, which is the code of
/// zero, filled in; and those of their upper eight bits, if they have more.
///
/// Values are finite; each of `octets` has at least as many as the layout has
/// codes.
pub(super) fn encode(
    layout: &Layout,
    coding: &InputCoding,
    values: &[f32],
    octets: &mut [Vec<u8>],
) {
    // The low bits of two's complement, as many as there are planes.
    let mask = u16::MAX >> (16 - coding.bits.clamp(1, 16));
    let zero = coding.zero_point.clamp(coding.min_code(), coding.max_code()) as u16 & mask;
    for (octet, (codes, byte)) in octets.iter_mut().zip(zero.to_le_bytes()).enumerate() {
        codes[..layout.n_codes()].fill(byte);
        let shift = 8 * octet as u32;
        Instructions::detect().run(Encode { layout, coding, values, mask, shift, codes });
    }
}

/// The first value that is infinite or no number, and where.
pub(super) fn first_not_finite(values: &[f32]) -> Option<(usize, f32)> {
    if Instructions::detect().run(AllFinite(values)) {
        return None;
    }
    values.iter().copied().enumerate().find(|(_, value)| !value.is_finite())
}

/// Looks at all values, without an early end, which vector code cannot have.
struct AllFinite<'a>(&'a [f32]);

impl Task for AllFinite<'_> {
    type Output = bool;

    #[inline(always)]
    fn run<S: Simd>(self) -> bool {
        const EXPONENT: u32 = f32::INFINITY.to_bits();
        let largest = |largest: u32, value: &f32| largest.max(value.to_bits() & EXPONENT);
        self.0.iter().fold(0, largest) < EXPONENT
    }
}

/// Writes eight bits of every code.
struct Encode<'a> {
    layout: &'a Layout,
    coding: &'a InputCoding,
    values: &'a [f32],
    mask: u16,
    shift: u32,
    codes: &'a mut [u8],
}

impl Task for Encode<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self) {
        let Self { layout, coding, values, mask, shift, codes } = self;
        let length = layout.run_length();
        let byte = |code: i32| ((code as u16 & mask) >> shift) as u8;
        let coder = Coder::new(coding);
        for (&start, values) in layout.run_codes.iter().zip(values.chunks_exact(length.max(1))) {
            let codes = codes[start as usize..start as usize + length].iter_mut().zip(values);
            match &coder {
                Some(coder) => codes.for_each(|(code, &value)| *code = byte(coder.encode(value))),
                None => codes.for_each(|(code, &value)| *code = byte(coding.encode(value))),
            }
        }
    }
}

/// [`InputCoding::encode`] without branches or calls, so that the compiler
/// turns it into vector code.
struct Coder {
    scale: f32,
    zero_point: i32,
    min_code: i32,
    max_code: i32,
}

impl Coder {
    /// `None` for a zero point so far away that no value of 22 bits reaches a
    /// code.
    fn new(coding: &InputCoding) -> Option<Self> {
        let &InputCoding { scale, zero_point, .. } = coding;
        let (min_code, max_code) = (coding.min_code(), coding.max_code());
        (zero_point.unsigned_abs() < 1 << 21).then_some(Self {
            scale,
            zero_point,
            min_code,
            max_code,
        })
    }

    /// The code of a finite value: nearest, ties to even, clipped.
    #[inline(always)]
    fn encode(&self, value: f32) -> i32 {
        // Adding 1.5 x 2^23 leaves the nearest integer, ties to even, in the
        // low bits of anything up to 2^22.
        const LIMIT: f32 = 4_194_304.0;
        const ROUND: f32 = 12_582_912.0;
        let steps = value / self.scale;
        let steps = if steps < LIMIT { steps } else { LIMIT };
        let steps = if steps > -LIMIT { steps } else { -LIMIT };
        let code = (steps + ROUND).to_bits() as i32 - ROUND.to_bits() as i32;
        (code + self.zero_point).max(self.min_code).min(self.max_code)
    }
}
