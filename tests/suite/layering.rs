//! Who may use whom: the architecture's absences, read from the sources.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Every module of the library with the modules it may name, from the bottom
/// of the house to the top.
const MAY_USE: &[(&str, &[&str])] = &[
    ("diagnostic", &[]),
    ("entity", &[]),
    ("tensor", &[]),
    ("graph", &["entity"]),
    ("target", &["diagnostic"]),
    ("data", &["diagnostic", "tensor"]),
    ("frontend", &["diagnostic", "entity", "graph", "tensor"]),
    ("quantize", &["diagnostic", "entity", "graph", "target", "tensor"]),
    ("mapping", &["diagnostic", "entity", "graph", "target"]),
    ("schedule", &["entity", "graph", "mapping", "quantize", "target"]),
    ("timing", &["entity", "graph", "mapping", "schedule", "target"]),
    ("optimize", &["diagnostic", "entity", "graph", "mapping", "target", "timing"]),
    ("chip", &["diagnostic", "entity", "graph", "mapping", "quantize", "schedule", "target"]),
    (
        "runtime",
        &[
            "chip",
            "diagnostic",
            "entity",
            "frontend",
            "graph",
            "mapping",
            "quantize",
            "schedule",
            "target",
            "tensor",
        ],
    ),
    (
        "refine",
        &[
            "chip",
            "diagnostic",
            "entity",
            "frontend",
            "graph",
            "quantize",
            "runtime",
            "schedule",
            "target",
            "tensor",
        ],
    ),
    ("adapt", &["chip", "entity", "mapping", "quantize", "schedule", "target"]),
    (
        "compiler",
        &[
            "chip",
            "diagnostic",
            "entity",
            "frontend",
            "mapping",
            "optimize",
            "quantize",
            "refine",
            "runtime",
            "schedule",
            "target",
            "tensor",
        ],
    ),
    (
        "fit",
        &[
            "chip",
            "compiler",
            "diagnostic",
            "frontend",
            "graph",
            "mapping",
            "quantize",
            "runtime",
            "target",
            "tensor",
        ],
    ),
    (
        "tuning",
        &[
            "chip",
            "diagnostic",
            "entity",
            "frontend",
            "graph",
            "mapping",
            "quantize",
            "runtime",
            "schedule",
            "target",
            "tensor",
        ],
    ),
    ("report", &["chip", "entity", "graph", "mapping", "quantize", "schedule", "target", "timing"]),
    (
        "format",
        &[
            "chip",
            "diagnostic",
            "entity",
            "frontend",
            "graph",
            "mapping",
            "quantize",
            "schedule",
            "target",
            "tensor",
            "tuning",
        ],
    ),
];

/// Modules of the binary, which may use everything.
const BINARY: &[&str] = &["cli", "main", "lib"];

fn sources() -> Vec<(String, PathBuf, String)> {
    fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
        let mut entries: Vec<PathBuf> =
            fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        entries.sort();
        for path in entries {
            if path.is_dir() {
                walk(&path, found);
            } else if path.extension().is_some_and(|e| e == "rs") {
                found.push(path);
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut paths = Vec::new();
    walk(&root, &mut paths);
    paths
        .into_iter()
        .map(|path| {
            let inside = path.strip_prefix(&root).unwrap();
            let first = inside.components().next().unwrap().as_os_str().to_string_lossy();
            let module = first.trim_end_matches(".rs").to_string();
            let text = fs::read_to_string(&path).unwrap();
            // Unit tests may look around freely.
            let code = text.split("\n#[cfg(test)]\n").next().unwrap().to_string();
            (module, path, code)
        })
        .filter(|(_, path, _)| {
            !path.components().any(|c| c.as_os_str() == "tests")
                && !path.ends_with("tests.rs")
                && !path.ends_with("testing.rs")
        })
        .collect()
}

/// Lines of code, without comments.
fn code_lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines().map(str::trim_start).filter(|line| !line.starts_with("//"))
}

#[test]
fn modules_use_only_what_lies_below_them() {
    let allowed: BTreeMap<&str, &[&str]> = MAY_USE.iter().copied().collect();
    let mut broken = Vec::new();
    for (module, path, code) in sources() {
        if BINARY.contains(&module.as_str()) {
            continue;
        }
        let Some(may_use) = allowed.get(module.as_str()) else {
            broken.push(format!("`{module}` has no row in MAY_USE"));
            continue;
        };
        for line in code_lines(&code) {
            for part in line.split("crate::").skip(1) {
                let name: String =
                    part.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
                let known = allowed.contains_key(name.as_str()) || name == "cli";
                if known && name != module && !may_use.contains(&name.as_str()) {
                    broken.push(format!("{} uses `{name}`: {line}", path.display()));
                }
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn tract_is_named_in_the_front_end_and_the_digital_side_only() {
    for (module, path, code) in sources() {
        let allowed = module == "frontend" || path.to_string_lossy().contains("runtime/digital/");
        let crates = ["tract_onnx", "tract_core", "tract_hir", "tract_data", "tract_linalg"];
        let named = code_lines(&code).any(|line| crates.iter().any(|name| line.contains(name)));
        assert!(allowed || !named, "{} names tract", path.display());
    }
}

#[test]
fn the_library_neither_opens_files_nor_prints() {
    for (module, path, code) in sources() {
        if BINARY.contains(&module.as_str()) {
            continue;
        }
        for line in code_lines(&code) {
            for word in ["std::fs", "File::open", "println!", "eprintln!", "std::env"] {
                assert!(!line.contains(word), "{}: {line}", path.display());
            }
        }
    }
}

#[test]
fn plans_carry_the_version_of_tract_that_is_built_in() {
    let lock =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.lock")).unwrap();
    let wanted = format!("name = \"tract-onnx\"\nversion = \"{}\"", ohmc::frontend::TRACT_VERSION);
    assert!(lock.contains(&wanted), "Cargo.lock has another tract than `TRACT_VERSION`");
}
