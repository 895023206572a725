//! Rows as CSV (RFC 4180): the fields of the JSON, nested ones with a dot, in a fixed order.

use serde::Serialize;
use serde_json::Value;

/// A line of names, then one for each row. Without rows, nothing: there are no names then.
///
/// # Errors
/// A row is no JSON object.
pub fn csv(rows: &[impl Serialize]) -> Result<String, serde_json::Error> {
    let mut text = String::new();
    for (number, row) in rows.iter().enumerate() {
        let mut fields = Vec::new();
        flatten("", &serde_json::to_value(row)?, &mut fields);
        if number == 0 {
            push_line(&mut text, fields.iter().map(|(name, _)| name));
        }
        push_line(&mut text, fields.iter().map(|(_, value)| value));
    }
    Ok(text)
}

fn flatten(name: &str, value: &Value, fields: &mut Vec<(String, String)>) {
    match value {
        Value::Object(members) => {
            for (member, value) in members {
                let name = match name {
                    "" => member.clone(),
                    _ => format!("{name}.{member}"),
                };
                flatten(&name, value, fields);
            }
        }
        Value::Null => fields.push((name.to_owned(), String::new())),
        Value::String(text) => fields.push((name.to_owned(), text.clone())),
        other => fields.push((name.to_owned(), other.to_string())),
    }
}

fn push_line<'a>(text: &mut String, fields: impl Iterator<Item = &'a String>) {
    let fields: Vec<String> = fields.map(|field| quoted(field)).collect();
    text.push_str(&fields.join(","));
    text.push_str("\r\n");
}

/// In quotes where a reader would take it for more than one field.
pub(super) fn quoted(field: &str) -> String {
    match field.contains([',', '"', '\r', '\n']) {
        true => format!("\"{}\"", field.replace('"', "\"\"")),
        false => field.to_owned(),
    }
}
