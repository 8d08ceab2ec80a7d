//! What a folder holds, told from the names in it, and which part of it is
//! meant.
//!
//! A folder whose sub-folders are called `train` and `test` (or `val`) has
//! its parts there; other sub-folders are classes of images. What the name of
//! a single file says is told in `names.rs`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::files::Files;
use super::images::Picture;
use super::names::{Kind, Member, members, name_of, part_called};
use super::{DataError, Part};

/// The data of a folder.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Content {
    /// One file of inputs, one of labels if there is one.
    File { inputs: PathBuf, labels: Option<PathBuf> },
    /// CIFAR-10 files that follow each other.
    Cifar(Vec<PathBuf>),
    /// Images, each a file.
    Images(Vec<Picture>),
}

/// What was chosen from a folder.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Chosen {
    pub content: Content,
    /// The part that it is; `None` where the folder is not divided.
    pub part: Option<Part>,
}

/// Finds the data of a folder, of the wanted part if there is one; else what
/// is not divided; else the other part, which the caller is told.
pub(super) fn choose(files: &dyn Files, dir: &Path, wanted: Part) -> Result<Chosen, DataError> {
    choose_at_depth(files, dir, wanted, 0)
}

fn choose_at_depth(
    files: &dyn Files,
    dir: &Path,
    wanted: Part,
    depth: usize,
) -> Result<Chosen, DataError> {
    let entries = visible_entries(files, dir)?;
    if entries.is_empty() {
        return Err(DataError::Empty { file: dir.display().to_string() });
    }
    let (folders, plain): (Vec<_>, Vec<_>) =
        entries.iter().cloned().partition(|path| files.is_dir(path));
    let members = members(&plain);
    let inputs: Vec<&Member> = members.iter().filter(|member| !member.is_labels).collect();
    expect_one_kind(dir, inputs.iter().copied())?;
    match inputs.first().map(|member| member.kind) {
        Some(Kind::Image) => {
            let picture = |member: &&Member| Picture { path: member.path.clone(), label: None };
            let content = Content::Images(inputs.iter().map(picture).collect());
            Ok(Chosen { content, part: None })
        }
        Some(kind) => choose_files(dir, kind, &members, wanted),
        None => match part_folder(&folders, wanted).filter(|_| depth == 0) {
            Some((folder, part)) => {
                let inner = choose_at_depth(files, folder, wanted, 1)?;
                Ok(Chosen { part: Some(part), ..inner })
            }
            None => {
                let pictures = class_folders(files, dir, &folders)?;
                if pictures.is_empty() {
                    let (file, found) = (dir.display().to_string(), names(&entries));
                    return Err(DataError::UnknownFormat { file, found });
                }
                Ok(Chosen { content: Content::Images(pictures), part: None })
            }
        },
    }
}

/// The labels that belong to a file of images in MNIST's naming, beside it.
pub(super) fn labels_beside(files: &dyn Files, images: &Path) -> Option<PathBuf> {
    let name = images.file_name()?.to_str()?;
    let plain = name.strip_suffix(".gz").unwrap_or(name);
    if !plain.contains("images") || !plain.ends_with("idx3-ubyte") {
        return None;
    }
    let labels = plain.replace("images", "labels").replace("idx3-ubyte", "idx1-ubyte");
    let candidates = [labels.clone(), format!("{labels}.gz")];
    candidates.iter().map(|name| images.with_file_name(name)).find(|path| files.exists(path))
}

/// All entries but hidden ones, which systems leave behind.
fn visible_entries(files: &dyn Files, dir: &Path) -> Result<Vec<PathBuf>, DataError> {
    let mut entries = files
        .list(dir)
        .map_err(|source| DataError::Open { file: dir.display().to_string(), source })?;
    entries.retain(|path| !name_of(path).starts_with('.'));
    Ok(entries)
}

fn names(paths: &[PathBuf]) -> Vec<String> {
    paths
        .iter()
        .map(|path| path.file_name().unwrap_or_default().to_string_lossy().into_owned())
        .collect()
}

fn expect_one_kind<'m>(
    dir: &Path,
    members: impl Iterator<Item = &'m Member>,
) -> Result<(), DataError> {
    let mut kinds: BTreeMap<Kind, &Path> = BTreeMap::new();
    for member in members {
        kinds.entry(member.kind).or_insert(&member.path);
    }
    if kinds.len() < 2 {
        return Ok(());
    }
    Err(DataError::MixedFormats {
        dir: dir.display().to_string(),
        formats: kinds.keys().map(|kind| kind.name().to_owned()).collect(),
        examples: kinds.values().map(|path| path.display().to_string()).collect(),
    })
}

/// Chooses among files that are no images.
fn choose_files(
    dir: &Path,
    kind: Kind,
    members: &[Member],
    wanted: Part,
) -> Result<Chosen, DataError> {
    let inputs: Vec<&Member> = members.iter().filter(|member| !member.is_labels).collect();
    let part_named = |member: &Member| member.part.map(|(part, _)| part);
    let part = in_order_of_preference(wanted)
        .into_iter()
        .find(|part| inputs.iter().any(|member| part_named(member) == *part))
        .unwrap_or(None);
    // Of `test` and `val`, or of `calib` and `train`, only one is taken.
    let rank = inputs.iter().filter(|member| part_named(member) == part).map(|m| m.part).min();
    let of_part = |member: &&Member| Some(member.part) == rank;
    let inputs = inputs.into_iter().filter(of_part).map(|member| member.path.clone());
    let labels = members.iter().filter(|member| member.is_labels).filter(of_part);
    let content = match kind {
        Kind::Cifar => Content::Cifar(inputs.collect()),
        _ => {
            let labels = at_most_one(dir, "label", labels.map(|member| member.path.clone()))?;
            let inputs = at_most_one(dir, kind.name(), inputs)?;
            let inputs =
                inputs.ok_or_else(|| DataError::Empty { file: dir.display().to_string() })?;
            Content::File { inputs, labels }
        }
    };
    Ok(Chosen { content, part })
}

fn in_order_of_preference(wanted: Part) -> [Option<Part>; 3] {
    let other = match wanted {
        Part::Evaluation => Part::Calibration,
        Part::Calibration => Part::Evaluation,
    };
    [Some(wanted), None, Some(other)]
}

fn at_most_one(
    dir: &Path,
    what: &'static str,
    paths: impl Iterator<Item = PathBuf>,
) -> Result<Option<PathBuf>, DataError> {
    let mut paths: Vec<PathBuf> = paths.collect();
    if paths.len() > 1 {
        let (dir, found) = (dir.display().to_string(), names(&paths));
        return Err(DataError::Ambiguous { dir, what, found });
    }
    Ok(paths.pop())
}

/// The sub-folder of the wanted part, else of the other, if the sub-folders
/// are parts. A single `train` among other names is a class: railway trains.
fn part_folder(folders: &[PathBuf], wanted: Part) -> Option<(&Path, Part)> {
    let parts: Vec<(Part, usize, &Path)> = folders
        .iter()
        .filter_map(|path| part_called(&name_of(path)).map(|(part, rank)| (part, rank, path)))
        .map(|(part, rank, path)| (part, rank, path.as_path()))
        .collect();
    let has = |part| parts.iter().any(|(other, ..)| *other == part);
    let both = has(Part::Evaluation) && has(Part::Calibration);
    if !both && parts.len() < folders.len() {
        return None;
    }
    in_order_of_preference(wanted).into_iter().flatten().find_map(|part| {
        let of_part = parts.iter().filter(|(other, ..)| *other == part);
        of_part.min_by_key(|(_, rank, _)| *rank).map(|(_, _, folder)| (*folder, part))
    })
}

/// The images of class folders, labelled with the folder's number among the
/// sorted names, or with the name itself where all names are numbers. One
/// image of each class comes after the other, so that the first N of them are
/// a fair sample.
fn class_folders(
    files: &dyn Files,
    dir: &Path,
    folders: &[PathBuf],
) -> Result<Vec<Picture>, DataError> {
    let numbers: BTreeSet<u32> =
        folders.iter().filter_map(|folder| name_of(folder).parse().ok()).collect();
    let by_number = numbers.len() == folders.len();
    let mut rounds: Vec<(usize, u32, PathBuf)> = Vec::new();
    for (folder, number) in folders.iter().zip(0u32..) {
        let label = name_of(folder).parse().ok().filter(|_| by_number).unwrap_or(number);
        let members = members(&visible_entries(files, folder)?);
        expect_one_kind(dir, members.iter())?;
        let images = members.into_iter().filter(|member| member.kind == Kind::Image);
        rounds.extend(images.enumerate().map(|(round, image)| (round, label, image.path)));
    }
    rounds.sort();
    let picture = |(_, label, path)| Picture { path, label: Some(label) };
    Ok(rounds.into_iter().map(picture).collect())
}

#[cfg(test)]
mod tests {
    //! Names as data sets really have them, and folders that cannot be meant.
    #![allow(clippy::unwrap_used, reason = "a failed test may panic")]

    use super::*;
    use crate::data::MemoryFiles;

    /// A folder `d` with these files, all of them with one byte.
    fn folder(names: &[&str]) -> MemoryFiles {
        let mut files = MemoryFiles::new();
        names.iter().for_each(|name| files.insert(format!("d/{name}"), *b"x"));
        files
    }

    fn chosen(names: &[&str], wanted: Part) -> Result<Chosen, DataError> {
        choose(&folder(names), Path::new("d"), wanted)
    }

    fn file(inputs: &str, labels: Option<&str>) -> Content {
        let in_d = |name: &str| PathBuf::from(format!("d/{name}"));
        Content::File { inputs: in_d(inputs), labels: labels.map(in_d) }
    }

    #[test]
    fn mnist_under_all_its_names() {
        for (dash, packed) in [("-", ""), ("-", ".gz"), (".", ""), (".", ".gz")] {
            let name = |part: &str, what: &str| format!("{part}-{what}-ubyte{packed}");
            let [train, test] = ["train", "t10k"].map(|part| {
                [format!("images{dash}idx3"), format!("labels{dash}idx1")]
                    .map(|what| name(part, &what))
            });
            let all = [&train[0], &train[1], &test[0], &test[1]].map(String::as_str);
            for (part, of_part) in [(Part::Calibration, &train), (Part::Evaluation, &test)] {
                let found = chosen(&all, part).unwrap();
                assert_eq!(found.part, Some(part));
                assert_eq!(found.content, file(&of_part[0], Some(&of_part[1])));
            }
        }
    }

    #[test]
    fn the_unpacked_copy_of_a_packed_file_counts() {
        let found = chosen(&["test.npy", "test.npy.gz"], Part::Evaluation).unwrap();
        assert_eq!(found.content, file("test.npy", None));
    }

    #[test]
    fn cifar_parts_follow_each_other() {
        let names = [
            "batches.meta.txt",
            "data_batch_1.bin",
            "data_batch_2.bin.gz",
            "readme.html",
            "test_batch.bin",
        ];
        let paths = |names: &[&str]| {
            Content::Cifar(names.iter().map(|name| PathBuf::from(format!("d/{name}"))).collect())
        };
        let training = chosen(&names, Part::Calibration).unwrap();
        assert_eq!(training.content, paths(&["data_batch_1.bin", "data_batch_2.bin.gz"]));
        let test = chosen(&names, Part::Evaluation).unwrap();
        assert_eq!(test.content, paths(&["test_batch.bin"]));
        let cut = chosen(&["train_10000.bin.gz", "test_batch.bin.gz"], Part::Calibration).unwrap();
        assert_eq!(
            (cut.content, cut.part),
            (paths(&["train_10000.bin.gz"]), Some(Part::Calibration))
        );
    }

    #[test]
    fn arrays_with_their_labels() {
        let names = ["x_test.npy", "x_train.npy", "y_test.npy", "y_train.npy"];
        let found = chosen(&names, Part::Calibration).unwrap();
        assert_eq!(found.content, file("x_train.npy", Some("y_train.npy")));
        let found = chosen(&["test.npz", "val.npz", "train.npz"], Part::Evaluation).unwrap();
        assert_eq!(found.content, file("test.npz", None));
    }

    #[test]
    fn the_part_that_was_found_is_said() {
        let part = |names: &[&str], wanted| chosen(names, wanted).unwrap().part;
        assert_eq!(part(&["x.npy", "labels.npy"], Part::Calibration), None);
        assert_eq!(part(&["test.npy"], Part::Calibration), Some(Part::Evaluation));
        assert_eq!(part(&["train.npy"], Part::Evaluation), Some(Part::Calibration));
        // What is in no part goes before the other part.
        let found = chosen(&["train.npy", "x.npy"], Part::Evaluation).unwrap();
        assert_eq!((found.content, found.part), (file("x.npy", None), None));
    }

    fn pictures(content: Content) -> Vec<(String, Option<u32>)> {
        let Content::Images(pictures) = content else { unreachable!("{content:?}") };
        let plain = |picture: Picture| (picture.path.display().to_string(), picture.label);
        pictures.into_iter().map(plain).collect()
    }

    #[test]
    fn classes_take_turns() {
        let names = ["cat/1.png", "cat/2.png", "ant/1.jpg", "ant/.hidden", "ant/notes.txt"];
        let found = chosen(&names, Part::Evaluation).unwrap();
        assert_eq!(
            pictures(found.content),
            [
                ("d/ant/1.jpg".to_owned(), Some(0)),
                ("d/cat/1.png".to_owned(), Some(1)),
                ("d/cat/2.png".to_owned(), Some(1)),
            ]
        );
    }

    #[test]
    fn numbers_as_folder_names_are_the_classes() {
        let found = chosen(&["10/a.png", "9/a.png"], Part::Evaluation).unwrap();
        let labels: Vec<_> = pictures(found.content).into_iter().map(|(_, label)| label).collect();
        assert_eq!(labels, [Some(9), Some(10)]);
        let found = chosen(&["10/a.png", "x/a.png"], Part::Evaluation).unwrap();
        let labels: Vec<_> = pictures(found.content).into_iter().map(|(_, label)| label).collect();
        assert_eq!(labels, [Some(0), Some(1)]);
    }

    #[test]
    fn parts_as_sub_folders() {
        let names = ["train/a/1.png", "val/a/1.png", "test/a/2.png", "notes/x.txt"];
        for (wanted, expected) in
            [(Part::Evaluation, "d/test/a/2.png"), (Part::Calibration, "d/train/a/1.png")]
        {
            let found = chosen(&names, wanted).unwrap();
            assert_eq!(found.part, Some(wanted));
            assert_eq!(pictures(found.content), [(expected.to_owned(), Some(0))]);
        }
        // Among other classes, `train` is a railway train.
        let found = chosen(&["train/1.png", "car/1.png"], Part::Calibration).unwrap();
        assert_eq!(found.part, None);
    }

    #[test]
    fn images_without_classes_have_no_labels() {
        let found = chosen(&["b.png", "a.PNG"], Part::Evaluation).unwrap();
        assert_eq!(
            pictures(found.content),
            [("d/a.PNG".to_owned(), None), ("d/b.png".to_owned(), None)]
        );
    }

    #[test]
    fn folders_that_cannot_be_meant() {
        let mut empty = folder(&[".hidden"]);
        empty.insert_folder("d");
        let error = choose(&empty, Path::new("d"), Part::Evaluation).unwrap_err();
        assert!(matches!(error, DataError::Empty { .. }), "{error}");

        let error = chosen(&["a.npy", "b.png"], Part::Evaluation).unwrap_err();
        assert_eq!(error.to_string(), "folder `d` mixes `.npy`, `image`");

        let error = chosen(&["a.npy", "b.npy"], Part::Evaluation).unwrap_err();
        assert_eq!(error.to_string(), "folder `d` holds 2 .npy files, one is needed");

        let error = chosen(&["a.mat", "b/c.txt"], Part::Evaluation).unwrap_err();
        let DataError::UnknownFormat { found, .. } = error else { unreachable!("{error}") };
        assert_eq!(found, ["a.mat", "b"]);
    }

    #[test]
    fn labels_beside_a_single_file() {
        let files = folder(&["t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz", "x.npy"]);
        let labels = labels_beside(&files, Path::new("d/t10k-images-idx3-ubyte.gz"));
        assert_eq!(labels, Some("d/t10k-labels-idx1-ubyte.gz".into()));
        assert_eq!(labels_beside(&files, Path::new("d/x.npy")), None);
    }
}
