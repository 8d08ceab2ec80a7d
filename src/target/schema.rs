//! The schema as a source of words: what may stand at a key, what the key
//! means, which key was probably meant.

use jsonschema::Validator;
use serde_json::Value;

use super::fault::{KeyPath, quoted};
use super::spec;
use crate::diagnostic::nearest;

/// The schema of target files, and the same compiled.
pub(super) struct Rules {
    schema: Value,
    /// The error is ohmc's own and a test keeps it from happening.
    pub validator: Result<Validator, String>,
}

impl Rules {
    pub fn new() -> Self {
        let schema = spec::schema();
        let validator = jsonschema::validator_for(&schema).map_err(|error| error.to_string());
        Self { schema, validator }
    }

    /// The schema of the value at `path`.
    pub fn rule_at(&self, path: &[String]) -> Option<&Value> {
        path.iter().try_fold(&self.schema, |rule, key| {
            rule.get("properties").and_then(|keys| keys.get(key)).or_else(|| {
                // Items of a list are addressed by their index.
                key.parse::<usize>().ok().and_then(|_| rule.get("items"))
            })
        })
    }

    /// The keys that may stand in the mapping at `path`.
    pub fn keys_at(&self, path: &[String]) -> Vec<String> {
        let keys = self.rule_at(path).and_then(|rule| rule.get("properties"));
        keys.and_then(Value::as_object)
            .map(|keys| keys.keys().cloned().collect())
            .unwrap_or_default()
    }

    /// What the key at `path` means, on one line.
    pub fn meaning(&self, path: &[String]) -> String {
        let description = self.rule_at(path).and_then(|rule| rule.get("description"));
        let words = description.and_then(Value::as_str).unwrap_or_default().split_whitespace();
        words.collect::<Vec<_>>().join(" ").trim_end_matches('.').to_owned()
    }

    /// The key that `key` in `parent` was probably meant to be: one that is
    /// spelt alike beside it, or the same word in another place, as when
    /// `levels` is given for `cell.levels`.
    pub fn nearest_key(&self, parent: &KeyPath, key: &str) -> Option<KeyPath> {
        let siblings = self.keys_at(parent.keys());
        if let Some(sibling) = nearest(key, siblings.iter().map(String::as_str)) {
            return Some(parent.join(sibling));
        }
        self.keys_at(&[]).iter().find_map(|section| {
            let section = KeyPath::new([section.clone()]);
            self.keys_at(section.keys())
                .iter()
                .find(|other| *other == key)
                .map(|_| section.join(key))
        })
    }
}

/// What a schema lets stand, in words: "a whole number from 1 to 22, or
/// `as-needed`".
pub(super) fn expectation(rule: &Value) -> String {
    if let Some(choices) = rule.get("anyOf").and_then(Value::as_array) {
        let choices: Vec<String> =
            choices.iter().map(expectation).filter(|choice| !choice.is_empty()).collect();
        return choices.join(", or ");
    }
    let words = words(rule);
    if !words.is_empty() {
        return quoted(&words, "or");
    }
    let types: Vec<&str> = match rule.get("type") {
        Some(Value::String(single)) => vec![single],
        Some(Value::Array(several)) => several.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    let number = limits(rule, "minimum", "maximum", " from ");
    match types.iter().find(|name| **name != "null").copied() {
        Some("integer") if rule.get("multipleOf").is_some() => format!("an even number{number}"),
        Some("integer") => format!("a whole number{number}"),
        Some("number") => format!("a number{number}"),
        Some("string") => match limits(rule, "minLength", "maxLength", " of ").as_str() {
            "" => "text".to_owned(),
            length => format!("text{length} characters"),
        },
        Some("array") => match limits(rule, "minItems", "maxItems", " of ").as_str() {
            "" => "a list".to_owned(),
            length => format!("a list{length} items"),
        },
        Some("object") => "a mapping of keys to values".to_owned(),
        _ => String::new(),
    }
}

/// The limits of a number or a length, from their names in the schema.
fn limits(rule: &Value, least: &str, most: &str, opening: &str) -> String {
    let limit = |key: &str| rule.get(key).and_then(Value::as_f64).map(short);
    match (limit(least), limit(most)) {
        (Some(least), Some(most)) => format!("{opening}{least} to {most}"),
        (Some(least), None) => format!(" of at least {least}"),
        (None, Some(most)) => format!(" of at most {most}"),
        (None, None) => String::new(),
    }
}

/// A limit without rows of zeros: 16384, 0.001, 1e9.
fn short(limit: f64) -> String {
    let plain = limit.to_string();
    let scientific = format!("{limit:e}");
    if plain.len() > 2 * scientific.len() { scientific } else { plain }
}

/// The words that a schema lists, whichever way it lists them.
fn words(rule: &Value) -> Vec<String> {
    let listed = rule.get("enum").and_then(Value::as_array).into_iter().flatten();
    let single = rule.get("const").into_iter();
    let described = rule.get("oneOf").and_then(Value::as_array).into_iter().flatten();
    listed
        .chain(single)
        .chain(described.filter_map(|choice| choice.get("const")))
        .filter_map(|word| word.as_str().map(str::to_owned))
        .collect()
}

/// The word of the schema that `text` was probably meant to be.
pub(super) fn word_for(rule: &Value, text: &str) -> Option<String> {
    let choices = rule.get("anyOf").and_then(Value::as_array);
    let words: Vec<String> = match choices {
        Some(choices) => choices.iter().flat_map(words).collect(),
        None => words(rule),
    };
    nearest(text, words.iter().map(String::as_str)).map(str::to_owned)
}
