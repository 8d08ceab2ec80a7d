//! Changes that the command line makes to a target: `--set PATH=VALUE`.

use super::document::{Content, DEPTH_MAX, Entry, Node, plain_scalar};
use super::fault::{Fault, FaultKind, KeyPath, Origin};
use crate::diagnostic::{Diagnostic, Explain};

/// One `--set PATH=VALUE`: the value takes the place of what the target's
/// file says, or adds what it does not say.
///
/// ```
/// use ohmc::target::Override;
///
/// let eight_bits = Override::parse("readout.adc_bits=8").unwrap();
/// assert_eq!((eight_bits.path.as_str(), eight_bits.value.as_str()), ("readout.adc_bits", "8"));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Override {
    /// Keys from the top with dots between, list items by number from 0:
    /// `readout.adc_bits`, `costs.compare.0.power_w`.
    pub path: String,
    /// A YAML scalar, as it would stand in the file: `8`, `as-needed`.
    pub value: String,
}

/// A `--set` that is not of the form `PATH=VALUE`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`--set {given}` is not of the form PATH=VALUE")]
pub struct OverrideError {
    /// What was given.
    pub given: String,
}

impl Explain for OverrideError {
    fn diagnostics(&self) -> Vec<Diagnostic> {
        vec![
            Diagnostic::error(self.to_string())
                .help("give a key of the target and its value, as in `--set readout.adc_bits=8`"),
        ]
    }
}

impl Override {
    /// Reads `PATH=VALUE`.
    ///
    /// # Errors
    /// There is no `=`, or the path has an empty key. Whether the path leads
    /// anywhere is found when it is applied to a target.
    pub fn parse(given: &str) -> Result<Self, OverrideError> {
        let (path, value) = given
            .split_once('=')
            .map(|(path, value)| (path.trim(), value.trim()))
            .filter(|(path, _)| path.split('.').all(|key| !key.is_empty()))
            .ok_or_else(|| OverrideError { given: given.to_owned() })?;
        Ok(Self { path: path.to_owned(), value: value.to_owned() })
    }

    /// Puts the value into the tree. Mappings on the way are made where the
    /// file has none, so that `costs` can be given by `--set` alone; whether
    /// their keys exist is for the schema to say.
    pub(super) fn apply(&self, root: &mut Node, faults: &mut Vec<Fault>) {
        let origin = Origin::Set { path: self.path.clone() };
        let mut node = root;
        let mut path = KeyPath::root();
        if self.path.split('.').count() > DEPTH_MAX {
            let kind = FaultKind::SetTooDeep { set: self.path.clone() };
            faults.push(Fault::new(path, origin, kind));
            return;
        }
        for key in self.path.split('.') {
            let through = path.clone();
            path.push(key.to_owned());
            node = match child(node, key, &origin) {
                Some(child) => child,
                None => {
                    let (set, key) = (self.path.clone(), key.to_owned());
                    let kind = FaultKind::SetLeadsNowhere { set, through, key };
                    faults.push(Fault::new(path, origin, kind));
                    return;
                }
            };
        }
        *node = Node { content: plain_scalar(&self.value), origin };
    }
}

/// The value of `key` in `node`, made if `node` is a mapping without it.
fn child<'a>(node: &'a mut Node, key: &str, origin: &Origin) -> Option<&'a mut Node> {
    // A key without a value, `costs:`, can be filled as a missing one can.
    if matches!(&node.content, Content::Scalar { value, .. } if value.is_null()) {
        *node = Node { content: Content::Mapping(Vec::new()), origin: origin.clone() };
    }
    match &mut node.content {
        Content::Mapping(entries) => {
            let index = match entries.iter().position(|entry| entry.key == key) {
                Some(index) => index,
                None => {
                    entries.push(Entry {
                        key: key.to_owned(),
                        key_origin: origin.clone(),
                        value: Node { content: plain_scalar(""), origin: origin.clone() },
                    });
                    entries.len() - 1
                }
            };
            entries.get_mut(index).map(|entry| &mut entry.value)
        }
        Content::Sequence(items) => items.get_mut(key.parse::<usize>().ok()?),
        Content::Scalar { .. } | Content::Refused => None,
    }
}
