//! Random words from a place: a block cipher of few rounds over a counter.
//!
//! This is ARS-5 of Salmon et al., "Parallel random numbers: as easy as 1, 2,
//! 3" (SC 2011): five rounds of AES with the round keys of a Weyl sequence,
//! the fewest that pass their tests. Every processor of today has an
//! instruction for a round, so that a Gaussian costs two or three of them; the
//! code here is what those instructions are held against, and what runs where
//! they are missing.

/// Rounds, the last one without mixing of columns.
pub const N_ROUNDS: usize = 5;

/// What a counter is enciphered with: a word to start from and one a round, in
/// memory order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(align(16))]
pub struct RoundKeys(pub [[u8; 16]; N_ROUNDS + 1]);

impl RoundKeys {
    /// The round keys of this key: it, and multiples of a Weyl constant added
    /// to each half.
    pub fn new(key: [u64; 2]) -> Self {
        // The golden ratio and the square root of 3 less 1, as in Random123.
        const WEYL: [u64; 2] = [0x9E37_79B9_7F4A_7C15, 0xBB67_AE85_84CA_A73B];
        let mut keys = [[0; 16]; N_ROUNDS + 1];
        for (round, bytes) in (0u64..).zip(&mut keys) {
            for (half, bytes) in bytes.chunks_exact_mut(8).enumerate() {
                let word = key[half].wrapping_add(round.wrapping_mul(WEYL[half]));
                bytes.copy_from_slice(&word.to_le_bytes());
            }
        }
        Self(keys)
    }

    /// Enciphers one counter.
    pub fn encipher(&self, counter: [u32; 4]) -> [u8; 16] {
        let mut state = [0; 16];
        for (bytes, word) in state.chunks_exact_mut(4).zip(counter) {
            bytes.copy_from_slice(&word.to_le_bytes());
        }
        state = xor(state, self.0[0]);
        for key in &self.0[1..N_ROUNDS] {
            state = xor(mix_columns(substitute(state)), *key);
        }
        xor(substitute(state), self.0[N_ROUNDS])
    }
}

fn xor(mut state: [u8; 16], key: [u8; 16]) -> [u8; 16] {
    for (byte, key) in state.iter_mut().zip(key) {
        *byte ^= key;
    }
    state
}

/// The substitution of bytes and the shift of rows; a column is four
/// neighbouring bytes.
fn substitute(state: [u8; 16]) -> [u8; 16] {
    std::array::from_fn(|i| SUBSTITUTION[usize::from(state[(i + 4 * (i % 4)) % 16])])
}

fn mix_columns(state: [u8; 16]) -> [u8; 16] {
    let double = |x: u8| (x << 1) ^ (0x1B & 0u8.wrapping_sub(x >> 7));
    std::array::from_fn(|i| {
        let at = |row: usize| state[i / 4 * 4 + (i + row) % 4];
        double(at(0)) ^ double(at(1)) ^ at(1) ^ at(2) ^ at(3)
    })
}

/// The substitution box of FIPS 197: the inverse in GF(2^8), then an affine
/// map of its bits.
const SUBSTITUTION: [u8; 256] = {
    let mut table = [0; 256];
    // `power` runs through all non-zero elements as powers of 3, `inverse`
    // through their inverses as powers of 1/3.
    let (mut power, mut inverse) = (1u8, 1u8);
    loop {
        power = power ^ (power << 1) ^ (if power & 0x80 != 0 { 0x1B } else { 0 });
        inverse ^= inverse << 1;
        inverse ^= inverse << 2;
        inverse ^= inverse << 4;
        if inverse & 0x80 != 0 {
            inverse ^= 0x09;
        }
        table[power as usize] = 0x63
            ^ inverse
            ^ inverse.rotate_left(1)
            ^ inverse.rotate_left(2)
            ^ inverse.rotate_left(3)
            ^ inverse.rotate_left(4);
        if power == 1 {
            break;
        }
    }
    table[0] = 0x63;
    table
};

#[cfg(test)]
mod tests {
    //! A round is the round of AES.

    use super::*;

    /// AES-128 of FIPS 197, appendix C.1, from the same substitution and
    /// mixing of columns.
    #[test]
    #[allow(clippy::needless_range_loop, reason = "indices as in the standard")]
    fn a_round_is_that_of_aes() {
        let key: [u8; 16] = std::array::from_fn(|i| i as u8);
        let mut state: [u8; 16] = std::array::from_fn(|i| (0x11 * i) as u8);
        let mut keys = vec![key];
        let mut constant = 1u8;
        for _ in 0..10 {
            let last = keys[keys.len() - 1];
            let mut next = [0; 16];
            for i in 0..16 {
                let mixed = match i {
                    0..4 => {
                        let turned = SUBSTITUTION[usize::from(last[12 + (i + 1) % 4])];
                        turned ^ if i == 0 { constant } else { 0 }
                    }
                    _ => next[i - 4],
                };
                next[i] = last[i] ^ mixed;
            }
            constant = (constant << 1) ^ if constant & 0x80 != 0 { 0x1B } else { 0 };
            keys.push(next);
        }
        state = xor(state, keys[0]);
        for key in &keys[1..10] {
            state = xor(mix_columns(substitute(state)), *key);
        }
        state = xor(substitute(state), keys[10]);
        let wanted = 0x69c4_e0d8_6a7b_0430_d8cd_b780_70b4_c55au128.to_be_bytes();
        assert_eq!(state, wanted);
    }
}
