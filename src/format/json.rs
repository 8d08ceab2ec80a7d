//! JSON that people read: what fits on a line stands on a line, lists of short
//! things are filled like text.

use serde::Serialize;
use serde_json::Value;

/// Columns of a line.
const WIDTH: usize = 100;

/// The document, with a line break at its end. The error says what JSON cannot
/// hold.
pub(super) fn text(document: &impl Serialize) -> Result<String, String> {
    let value = serde_json::to_value(document).map_err(|e| e.to_string())?;
    let mut text = String::new();
    write(&value, 0, 0, &mut text);
    text.push('\n');
    Ok(text)
}

/// `used` columns of the line are taken, by a key for example.
fn write(value: &Value, indent: usize, used: usize, text: &mut String) {
    let (open, close) = match value {
        Value::Array(items) if !items.is_empty() => ('[', ']'),
        Value::Object(fields) if !fields.is_empty() => ('{', '}'),
        _ => return text.push_str(&value.to_string()),
    };
    // A comma may follow.
    if let Some(line) = on_a_line(value, WIDTH.saturating_sub(indent + used + 1)) {
        return text.push_str(&line);
    }
    let inner = indent + 2;
    text.push(open);
    match value {
        Value::Array(items) if items.iter().all(|i| !i.is_array() && !i.is_object()) => {
            fill(items, inner, text);
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                separate(index, inner, text);
                write(item, inner, 0, text);
            }
        }
        Value::Object(fields) => {
            for (index, (key, field)) in fields.iter().enumerate() {
                separate(index, inner, text);
                let key = format!("{}: ", Value::from(key.as_str()));
                text.push_str(&key);
                write(field, inner, key.len(), text);
            }
        }
        _ => {}
    }
    line_break(indent, text);
    text.push(close);
}

fn fill(items: &[Value], indent: usize, text: &mut String) {
    let mut column = WIDTH;
    for (index, item) in items.iter().enumerate() {
        let item = item.to_string();
        if column + item.len() + 2 > WIDTH {
            separate(index, indent, text);
            column = indent;
        } else {
            text.push_str(", ");
            column += 2;
        }
        text.push_str(&item);
        column += item.len();
    }
}

fn separate(index: usize, indent: usize, text: &mut String) {
    if index > 0 {
        text.push(',');
    }
    line_break(indent, text);
}

fn line_break(indent: usize, text: &mut String) {
    text.push('\n');
    text.extend(std::iter::repeat_n(' ', indent));
}

/// The value on one line, if that takes at most `room` columns.
fn on_a_line(value: &Value, room: usize) -> Option<String> {
    let list = |open: char, items: &mut dyn Iterator<Item = Option<String>>, close: char| {
        let mut line = String::from(open);
        for (index, item) in items.enumerate() {
            line.push_str(if index > 0 { ", " } else { "" });
            line.push_str(&item?);
            if line.len() >= room {
                return None;
            }
        }
        line.push(close);
        Some(line)
    };
    let line = match value {
        Value::Array(items) => list('[', &mut items.iter().map(|i| on_a_line(i, room)), ']'),
        Value::Object(fields) => {
            let field = |(key, field): (&String, &Value)| {
                Some(format!("{}: {}", Value::from(key.as_str()), on_a_line(field, room)?))
            };
            list('{', &mut fields.iter().map(field), '}')
        }
        _ => Some(value.to_string()),
    }?;
    (line.len() <= room).then_some(line)
}
