//! What the name of a data file says: its kind, whether it holds labels, and
//! which part of a data set it is.
//!
//! Names are split into words: `t10k-images-idx3-ubyte.gz` is the evaluation
//! part of IDX images, `y_train.npy` the labels of a training part.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::Part;

/// Words that mark what is evaluated; where several are there, the first
/// counts.
const EVALUATION_WORDS: [&str; 8] =
    ["test", "t10k", "testing", "val", "valid", "validation", "eval", "evaluation"];

/// Words that mark what may be calibrated on; `batch` stands for CIFAR-10's
/// `data_batch_1.bin`, whose test part says `test` besides.
const CALIBRATION_WORDS: [&str; 5] = ["calibration", "calib", "train", "training", "batch"];

const LABEL_WORDS: [&str; 5] = ["labels", "label", "y", "targets", "target"];

/// The formats that names tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Idx,
    Cifar,
    Npy,
    Npz,
    Image,
}

impl Kind {
    /// The kind as messages call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Idx => "IDX",
            Self::Cifar => "CIFAR-10",
            Self::Npy => ".npy",
            Self::Npz => ".npz",
            Self::Image => "image",
        }
    }
}

/// A file of a known kind.
pub(super) struct Member {
    pub path: PathBuf,
    pub kind: Kind,
    pub is_labels: bool,
    /// The part that its name says, and how early in the list of words.
    pub part: Option<(Part, usize)>,
}

/// The last part of a path in lower case.
pub(super) fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().to_lowercase()
}

/// The files of known kinds. Where a file is there packed and unpacked, the
/// unpacked one counts.
pub(super) fn members(paths: &[PathBuf]) -> Vec<Member> {
    let all: BTreeSet<String> = paths.iter().map(|path| name_of(path)).collect();
    let is_second_copy =
        |path: &Path| name_of(path).strip_suffix(".gz").is_some_and(|plain| all.contains(plain));
    paths.iter().filter(|path| !is_second_copy(path)).filter_map(|path| member(path)).collect()
}

fn member(path: &Path) -> Option<Member> {
    let name = name_of(path);
    let plain = name.strip_suffix(".gz").unwrap_or(&name);
    let extension = plain.rsplit_once('.').map_or("", |(_, extension)| extension);
    let is_idx = plain.ends_with("-ubyte") && plain.contains("idx") || extension == "idx";
    let kind = match extension {
        _ if is_idx => Kind::Idx,
        "bin" => Kind::Cifar,
        "npy" => Kind::Npy,
        "npz" if plain == name => Kind::Npz,
        "png" | "jpg" | "jpeg" if plain == name => Kind::Image,
        _ => return None,
    };
    let is_labels = matches!(kind, Kind::Idx | Kind::Npy)
        && words(plain).any(|word| LABEL_WORDS.contains(&word) || word == "idx1");
    Some(Member { path: path.to_path_buf(), kind, is_labels, part: part_of(plain) })
}

/// The part that a whole name stands for, and how early in the list of words
/// it comes.
pub(super) fn part_called(word: &str) -> Option<(Part, usize)> {
    let rank = |list: &[&str]| list.iter().position(|&known| known == word);
    let evaluation = rank(&EVALUATION_WORDS).map(|rank| (Part::Evaluation, rank));
    evaluation.or_else(|| rank(&CALIBRATION_WORDS).map(|rank| (Part::Calibration, rank)))
}

fn words(name: &str) -> impl Iterator<Item = &str> {
    name.split(|letter: char| !letter.is_ascii_alphanumeric())
}

/// The part that a word of the name stands for; evaluation wins, since
/// `test_batch` has a word of either.
fn part_of(name: &str) -> Option<(Part, usize)> {
    words(name).filter_map(part_called).min()
}

#[cfg(test)]
mod tests {
    //! Names as they are found, and what they are taken for.
    #![allow(clippy::unwrap_used, reason = "a failed test may panic")]

    use super::*;

    #[test]
    fn names_say_kind_and_part() {
        let evaluation = Some(Part::Evaluation);
        let calibration = Some(Part::Calibration);
        for (name, kind, is_labels, part) in [
            ("t10k-images-idx3-ubyte.gz", Kind::Idx, false, evaluation),
            ("train-labels.idx1-ubyte", Kind::Idx, true, calibration),
            ("emnist-digits-test-images-idx3-ubyte", Kind::Idx, false, evaluation),
            ("test_batch.bin", Kind::Cifar, false, evaluation),
            ("data_batch_3.bin.gz", Kind::Cifar, false, calibration),
            ("Y_train.npy", Kind::Npy, true, calibration),
            ("yawn.npy", Kind::Npy, false, None),
            ("contest.npz", Kind::Npz, false, None),
            ("scan.JPEG", Kind::Image, false, None),
        ] {
            let member = member(Path::new(name)).unwrap();
            let found = (member.kind, member.is_labels, member.part.map(|(part, _)| part));
            assert_eq!(found, (kind, is_labels, part), "{name}");
        }
        for name in ["readme.md", "x.npz.gz", "bin", "x.png.txt"] {
            assert!(member(Path::new(name)).is_none(), "{name}");
        }
    }
}
