//! A YAML text as a tree that knows where everything stands.
//!
//! Target files are plain: mappings, lists and scalars. Anchors, aliases and
//! tags are refused, because a figure should stand where it is read, and
//! because an alias inside an alias is how a short text becomes a huge tree.
//! The parser is driven event by event and the depth is limited, so that no
//! text, however hostile, can exhaust the stack.

use std::collections::BTreeMap;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle};
use serde_json::{Number, Value};

use super::fault::{Fault, FaultKind, KeyPath, Origin};

/// Longest text that is read, in bytes. The shipped targets take 3,000.
pub(super) const TEXT_BYTES_MAX: usize = 64 * 1024;
/// Deepest nesting that is read. Target files need five.
pub(super) const DEPTH_MAX: usize = 12;

/// One value of the text.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub content: Content,
    pub origin: Origin,
}

#[derive(Debug, Clone)]
pub(super) enum Content {
    /// The text as written, and what YAML takes it for.
    Scalar {
        text: String,
        value: Value,
    },
    /// Something that was refused and complained about where it stood.
    Refused,
    Sequence(Vec<Node>),
    Mapping(Vec<Entry>),
}

/// One key of a mapping with its value.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub key: String,
    pub key_origin: Origin,
    pub value: Node,
}

impl Node {
    /// The node at `path`, if the text has it.
    pub fn find(&self, path: &[String]) -> Option<&Node> {
        path.iter().try_fold(self, |node, key| match &node.content {
            Content::Mapping(entries) => {
                entries.iter().find(|entry| entry.key == *key).map(|entry| &entry.value)
            }
            Content::Sequence(items) => items.get(key.parse::<usize>().ok()?),
            Content::Scalar { .. } | Content::Refused => None,
        })
    }

    /// Where the key stands that `path` ends with.
    pub fn key_origin(&self, path: &[String]) -> Option<&Origin> {
        let (last, parents) = path.split_last()?;
        let parent = self.find(parents)?;
        match &parent.content {
            Content::Mapping(entries) => {
                entries.iter().find(|entry| entry.key == *last).map(|entry| &entry.key_origin)
            }
            _ => parent.find(std::slice::from_ref(last)).map(|node| &node.origin),
        }
    }

    /// The tree as JSON, which the schema checks and the spec is read from.
    /// What was refused becomes null.
    pub fn to_json(&self) -> Value {
        match &self.content {
            Content::Scalar { value, .. } => value.clone(),
            Content::Refused => Value::Null,
            Content::Sequence(items) => items.iter().map(Node::to_json).collect(),
            Content::Mapping(entries) => Value::Object(
                entries.iter().map(|entry| (entry.key.clone(), entry.value.to_json())).collect(),
            ),
        }
    }
}

/// Content of a plain (unquoted) scalar by YAML 1.2's core schema: null,
/// truth value, number or, failing these, text. A number that is not finite
/// stays text too: no key of a target takes it, and JSON has none.
pub(super) fn plain_scalar(text: &str) -> Content {
    let value = match text {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "true" | "True" | "TRUE" => Value::Bool(true),
        "false" | "False" | "FALSE" => Value::Bool(false),
        _ => match number(text).and_then(json_number) {
            Some(number) => Value::Number(number),
            None => Value::String(text.to_owned()),
        },
    };
    Content::Scalar { text: text.to_owned(), value }
}

/// Hexadecimal and octal integers are in the core schema too; as figures of a
/// chip they would be a mistake, so they stay text and are complained about.
fn number(text: &str) -> Option<f64> {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    // Rust also reads words such as `inf` and `nan`, which YAML does not.
    let starts = unsigned.starts_with(|first: char| first.is_ascii_digit() || first == '.');
    if starts { text.parse().ok() } else { None }
}

/// A whole number becomes a JSON integer, so that `8.0` and `8` are the same
/// count; beyond 2^53 a float no longer says which integer was meant.
fn json_number(number: f64) -> Option<Number> {
    const WHOLE_MAX: f64 = 9_007_199_254_740_992.0;
    if number.fract() == 0.0 && number.abs() <= WHOLE_MAX {
        // Exact: the value is whole and within 53 bits.
        return Some(Number::from(number as i64));
    }
    Number::from_f64(number)
}

/// Reads `text`. Everything that is wrong with it as a plain YAML mapping goes
/// to `faults`; there is no tree where the text cannot be read to its end.
pub(super) fn read(text: &str, faults: &mut Vec<Fault>) -> Option<Node> {
    if text.len() > TEXT_BYTES_MAX {
        faults.push(Fault::whole(FaultKind::TooLong { bytes: text.len() }));
        return None;
    }
    // A byte order mark says nothing in UTF-8, and would shift columns.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut parser = Parser::new_from_str(text);
    let mut reader = Reader { faults, open: Vec::new(), root: None };
    while let Some(event) = parser.next_event() {
        match event {
            Ok((event, span)) => {
                if !reader.take(event, position(&span.start)) {
                    return None;
                }
            }
            Err(error) => {
                let kind = FaultKind::Syntax { problem: error.info().to_owned() };
                let origin = position(error.marker());
                reader.fault(origin, kind);
                return None;
            }
        }
    }
    reader.root
}

/// Lines are counted from 1 by the parser, columns from 0.
fn position(marker: &Marker) -> Origin {
    Origin::File { line: marker.line(), column: marker.col() + 1 }
}

/// A collection whose end has not been read yet.
enum Open {
    Sequence { origin: Origin, items: Vec<Node> },
    Mapping { origin: Origin, entries: Vec<Entry>, seen: BTreeMap<String, Origin>, key: PendingKey },
}

/// Whether a mapping waits for a key or for a value.
enum PendingKey {
    None,
    Read(String, Origin),
    /// A key that was refused: its value is read and dropped.
    Refused,
}

struct Reader<'a> {
    faults: &'a mut Vec<Fault>,
    open: Vec<Open>,
    root: Option<Node>,
}

impl Reader<'_> {
    /// Takes one event; false ends the reading.
    fn take(&mut self, event: Event<'_>, origin: Origin) -> bool {
        match event {
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => true,
            Event::DocumentStart(_) => {
                let first = self.root.is_none();
                if !first {
                    self.fault(origin, FaultKind::SeveralDocuments);
                }
                first
            }
            Event::Alias(_) => {
                self.fault(origin.clone(), FaultKind::Anchor);
                self.put(Node { content: Content::Refused, origin });
                true
            }
            Event::Scalar(text, style, anchor, tag) => {
                self.refuse_extras(anchor, tag.is_some(), &origin);
                let content = if style == ScalarStyle::Plain {
                    plain_scalar(&text)
                } else {
                    let text = text.into_owned();
                    Content::Scalar { value: Value::String(text.clone()), text }
                };
                self.put(Node { content, origin });
                true
            }
            Event::SequenceStart(anchor, tag) => {
                self.refuse_extras(anchor, tag.is_some(), &origin);
                self.enter(origin.clone(), Open::Sequence { origin, items: Vec::new() })
            }
            Event::MappingStart(anchor, tag) => {
                self.refuse_extras(anchor, tag.is_some(), &origin);
                let mapping = Open::Mapping {
                    origin: origin.clone(),
                    entries: Vec::new(),
                    seen: BTreeMap::new(),
                    key: PendingKey::None,
                };
                self.enter(origin, mapping)
            }
            Event::SequenceEnd | Event::MappingEnd => {
                match self.open.pop() {
                    Some(Open::Sequence { origin, items }) => {
                        self.put(Node { content: Content::Sequence(items), origin });
                    }
                    Some(Open::Mapping { origin, entries, .. }) => {
                        self.put(Node { content: Content::Mapping(entries), origin });
                    }
                    None => {}
                }
                true
            }
        }
    }

    fn enter(&mut self, origin: Origin, collection: Open) -> bool {
        if self.open.len() == DEPTH_MAX {
            self.fault(origin, FaultKind::TooDeep);
            return false;
        }
        self.open.push(collection);
        true
    }

    fn refuse_extras(&mut self, anchor: usize, tagged: bool, origin: &Origin) {
        // The parser numbers anchors from 1; 0 says that there is none.
        if anchor != 0 {
            self.fault(origin.clone(), FaultKind::Anchor);
        }
        if tagged {
            self.fault(origin.clone(), FaultKind::Tag);
        }
    }

    /// Puts a finished node where it belongs: into the innermost open
    /// collection, as a key or a value, or at the root.
    fn put(&mut self, node: Node) {
        let fault = match self.open.last_mut() {
            None => {
                self.root = Some(node);
                None
            }
            Some(Open::Sequence { items, .. }) => {
                items.push(node);
                None
            }
            Some(Open::Mapping { entries, seen, key, .. }) => {
                match std::mem::replace(key, PendingKey::None) {
                    PendingKey::Read(name, key_origin) => {
                        entries.push(Entry { key: name, key_origin, value: node });
                        None
                    }
                    PendingKey::Refused => None,
                    PendingKey::None => {
                        let (pending, fault) = pending_key(node, seen);
                        *key = pending;
                        fault
                    }
                }
            }
        };
        if let Some((origin, kind)) = fault {
            self.fault(origin, kind);
        }
    }

    fn fault(&mut self, origin: Origin, kind: FaultKind) {
        let mut path = KeyPath::root();
        for collection in &self.open {
            match collection {
                Open::Mapping { key: PendingKey::Read(name, _), .. } => path.push(name.clone()),
                Open::Sequence { items, .. } => path.push(items.len().to_string()),
                Open::Mapping { .. } => {}
            }
        }
        if let FaultKind::DuplicateKey { key, .. } = &kind {
            path.push(key.clone());
        }
        self.faults.push(Fault::new(path, origin, kind));
    }
}

fn pending_key(
    node: Node,
    seen: &mut BTreeMap<String, Origin>,
) -> (PendingKey, Option<(Origin, FaultKind)>) {
    let Node { content: Content::Scalar { text, .. }, origin } = node else {
        return (PendingKey::Refused, Some((node.origin, FaultKind::KeyNotText)));
    };
    if let Some(first) = seen.get(&text) {
        let kind = FaultKind::DuplicateKey { key: text, first: first.clone() };
        return (PendingKey::Refused, Some((origin, kind)));
    }
    seen.insert(text.clone(), origin.clone());
    (PendingKey::Read(text, origin), None)
}
