//! Numbers and names as people read them.

use crate::entity::{Entity, PeId};

/// `part / whole`; `None` of nothing.
pub(super) fn share(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

/// `34.9 %`, and `-` of nothing.
pub(super) fn percent(share: Option<f64>) -> String {
    share.map_or_else(|| "-".to_string(), |share| format!("{:.1} %", 100.0 * share))
}

/// `92,928`
pub(super) fn count(n: impl TryInto<u64>) -> String {
    // Counts are never negative, and never larger than 64 bits.
    group(&n.try_into().unwrap_or(u64::MAX).to_string())
}

/// Four significant digits, whole numbers whole, no zeros at the end:
/// `7.438`, `81.92`, `145`, `11,014`.
pub(super) fn four(x: f64) -> String {
    let n_decimals = match x.abs() {
        x if x >= 1000.0 => 0,
        x if x >= 100.0 => 1,
        x if x >= 10.0 => 2,
        x if x >= 1.0 => 3,
        x if x >= 0.1 => 4,
        x if x >= 0.01 => 5,
        _ => 6,
    };
    let text = format!("{x:.n_decimals$}");
    let (whole, decimals) = text.split_once('.').unwrap_or((&text, ""));
    match decimals.trim_end_matches('0') {
        "" => group(whole),
        decimals => format!("{}.{decimals}", group(whole)),
    }
}

/// A comma before every three digits.
fn group(digits: &str) -> String {
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1 tile`, `2 tiles`
pub(super) fn plural(n: usize, noun: &str) -> String {
    format!("{} {noun}{}", count(n as u64), if n == 1 { "" } else { "s" })
}

/// A name on one line of at most 40 characters, the middle left out of longer
/// ones: some exporters name a layer after all that they fused into it.
pub(super) fn short(name: &str) -> String {
    const HEAD: usize = 20;
    const TAIL: usize = 17;
    let plain = |c: char| if c.is_control() { ' ' } else { c };
    let name: Vec<char> = name.chars().map(plain).collect();
    if name.len() <= HEAD + TAIL + 3 {
        return name.into_iter().collect();
    }
    let (head, tail) = (&name[..HEAD], &name[name.len() - TAIL..]);
    head.iter().chain(&['.'; 3]).chain(tail).collect()
}

/// PEs in order, runs of three or more as one: `pe1, pe3`, `pe0-pe6`; of many
/// pieces the first ones, and how many PEs the others are.
pub(super) fn pe_list(pes: &[PeId]) -> String {
    const PIECES_MAX: usize = 5;
    let runs = pes.chunk_by(|a, b| a.index() + 1 == b.index());
    let mut pieces: Vec<(String, usize)> = Vec::new();
    for run in runs {
        match run {
            [first, .., last] if run.len() > 2 => {
                pieces.push((format!("{first}-{last}"), run.len()));
            }
            _ => pieces.extend(run.iter().map(|pe| (pe.to_string(), 1))),
        }
    }
    let shown = if pieces.len() > PIECES_MAX { PIECES_MAX - 1 } else { pieces.len() };
    let mut text: Vec<String> = pieces[..shown].iter().map(|piece| piece.0.clone()).collect();
    let rest: usize = pieces[shown..].iter().map(|piece| piece.1).sum();
    if rest > 0 {
        text.push(format!("{} more", count(rest as u64)));
    }
    text.join(", ")
}

#[cfg(test)]
mod tests {
    //! Numbers as they are printed.

    use super::*;

    #[test]
    fn figures_have_four_digits_and_counts_all() {
        assert_eq!(four(81.92), "81.92");
        assert_eq!(four(11_014.25), "11,014");
        assert_eq!(four(145.0), "145");
        assert_eq!(four(7.4382), "7.438");
        assert_eq!(four(9.9999), "10");
        assert_eq!(four(0.0), "0");
        assert_eq!(four(0.02519), "0.02519");
        assert_eq!(count(1_234_567u64), "1,234,567");
        assert_eq!(count(999u64), "999");
        assert_eq!(percent(share(1, 3)), "33.3 %");
        assert_eq!(percent(share(0, 0)), "-");
    }

    #[test]
    fn long_names_lose_their_middle() {
        let forty = "/layers.1/blocks.0/attention/qkv/MatMul_";
        assert_eq!((short(forty).as_str(), forty.len()), (forty, 40));
        assert_eq!(short(&format!("{forty}x")), "/layers.1/blocks.0/a...tion/qkv/MatMul_x");
        assert_eq!(short("two\nlines"), "two lines");
    }

    #[test]
    fn lists_of_pes_are_short() {
        let pes = |ids: &[u32]| pe_list(&ids.iter().map(|&id| PeId(id)).collect::<Vec<_>>());
        assert_eq!(pes(&[]), "");
        assert_eq!(pes(&[1, 3]), "pe1, pe3");
        assert_eq!(pes(&[0, 1, 2, 3, 7, 8]), "pe0-pe3, pe7, pe8");
        assert_eq!(pes(&[0, 2, 4, 6, 8]), "pe0, pe2, pe4, pe6, pe8");
        assert_eq!(pes(&[0, 2, 4, 6, 8, 9, 10]), "pe0, pe2, pe4, pe6, pe8-pe10");
        assert_eq!(pes(&[0, 2, 4, 6, 8, 10, 12]), "pe0, pe2, pe4, pe6, 3 more");
    }
}
