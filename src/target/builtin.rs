//! The targets that come with ohmc and go by name.

/// Name and text of each, in the order in which they are listed.
const BUILTIN: [(&str, &str); 8] = [
    ("charge-macro", include_str!("../../targets/charge-macro.yaml")),
    ("hermes", include_str!("../../targets/hermes.yaml")),
    ("ideal", include_str!("../../targets/ideal.yaml")),
    ("isaac", include_str!("../../targets/isaac.yaml")),
    ("pimcomp", include_str!("../../targets/pimcomp.yaml")),
    ("self-timed-macro", include_str!("../../targets/self-timed-macro.yaml")),
    ("yao2020-chip", include_str!("../../targets/yao2020-chip.yaml")),
    ("yao2020-macro", include_str!("../../targets/yao2020-macro.yaml")),
];

/// The YAML text of the built-in target `name`, comments and all.
///
/// ```
/// let text = ohmc::target::builtin("ideal").unwrap();
/// assert!(text.contains("name: ideal"));
/// ```
pub fn builtin(name: &str) -> Option<&'static str> {
    BUILTIN.iter().find(|(known, _)| *known == name).map(|(_, text)| *text)
}

/// The names of the built-in targets, in the order in which they are listed.
pub fn builtin_names() -> impl Iterator<Item = &'static str> {
    BUILTIN.iter().map(|(name, _)| *name)
}
