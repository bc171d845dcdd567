//! A template of one's own for records: words, and what stands in braces in its place.
//!
//! `{{` and `}}` are braces; `\t`, `\n` and `\\` a tab, a line's end and a backslash. What a record does not have is empty.

use std::fmt::Write;
use std::str::FromStr;

use serde_json::Value;

use crate::cli::near::did_you_mean;
use crate::rows::record::Row;

/// What may stand in braces.
const NAMES: [&str; 12] =
    ["offset", "time", "kind", "state", "word", "key", "value", "text", "headers", "error", "worker", "rest"];

/// What may stand there with a name behind it.
const PREFIXES: [&str; 3] = ["value.", "header.", "detail."];

/// A template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    pieces: Vec<Piece>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Words(String),
    /// One of [`NAMES`], or one of [`PREFIXES`] with a name.
    Name(String),
}

impl FromStr for Template {
    type Err = String;

    fn from_str(text: &str) -> Result<Template, String> {
        let (mut pieces, mut words) = (Vec::new(), String::new());
        let mut letters = text.chars().peekable();
        while let Some(letter) = letters.next() {
            match (letter, letters.peek()) {
                ('{', Some('{')) | ('}', Some('}')) => words.extend(letters.next()),
                ('\\', Some('t' | 'n' | '\\')) => words.push(match letters.next() {
                    Some('t') => '\t',
                    Some('n') => '\n',
                    _ => '\\',
                }),
                ('{', _) => {
                    let mut name = String::new();
                    loop {
                        match letters.next() {
                            Some('}') => break,
                            Some(letter) => name.push(letter),
                            None => return Err(format!("`{{{name}` has no end: a brace alone is {{{{")),
                        }
                    }
                    pieces.push(Piece::Words(std::mem::take(&mut words)));
                    pieces.push(Piece::Name(known(name)?));
                }
                ('}', _) => return Err("a `}` closes nothing: a brace alone is }}".to_owned()),
                (letter, _) => words.push(letter),
            }
        }
        pieces.push(Piece::Words(words));
        Ok(Template { pieces })
    }
}

fn known(name: String) -> Result<String, String> {
    let is_prefixed = |prefix: &str| name.strip_prefix(prefix).is_some_and(|rest| !rest.is_empty());
    if NAMES.contains(&name.as_str()) || PREFIXES.into_iter().any(is_prefixed) {
        return Ok(name);
    }
    let all = NAMES.map(|name| format!("{{{name}}}")).join(" ");
    let prefixed = PREFIXES.map(|prefix| format!("{{{prefix}NAME}}")).join(" ");
    let meant = did_you_mean(&name, NAMES.into_iter());
    Err(format!("there is no {{{name}}}: {meant}there are {all} {prefixed}"))
}

impl Template {
    /// A record in its words; `time`: its time as it is printed.
    pub fn filled(&self, row: &Row, time: &str) -> String {
        let mut line = String::new();
        for piece in &self.pieces {
            match piece {
                Piece::Words(words) => line.push_str(words),
                Piece::Name(name) => fill(&mut line, name, row, time),
            }
        }
        line
    }
}

fn fill(line: &mut String, name: &str, row: &Row, time: &str) {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let filled = match name {
        "offset" => row.offset.to_string(),
        "time" => time.to_owned(),
        "kind" => row.kind.to_owned(),
        "state" => row.state.unwrap_or_default().to_owned(),
        "word" => row.word().to_owned(),
        "key" => text(&row.key),
        "value" => row.value.as_ref().map(Value::to_string).unwrap_or_default(),
        "text" => row.value.as_ref().map(bare).unwrap_or_default(),
        "headers" if row.headers.is_empty() => String::new(),
        "headers" => Value::Object(row.headers.clone()).to_string(),
        "error" => text(&row.error),
        "worker" => row.worker.as_deref().unwrap_or_default().to_owned(),
        "rest" => row.rest().join("  "),
        _ => match name.split_once('.') {
            Some(("value", path)) => within(row.value.as_ref(), path).map(bare).unwrap_or_default(),
            Some(("header", name)) => row.headers.get(name).map(bare).unwrap_or_default(),
            Some((_, name)) => row.details.get(name).map(bare).unwrap_or_default(),
            None => String::new(),
        },
    };
    let _ = write!(line, "{filled}");
}

/// A value without the quotes of a text.
fn bare(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// What is inside a value: fields by name, items by number, with dots in between.
fn within<'a>(value: Option<&'a Value>, path: &str) -> Option<&'a Value> {
    path.split('.').try_fold(value?, |value, step| match value {
        Value::Array(items) => items.get(step.parse::<usize>().ok()?),
        other => other.get(step),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, json};

    use super::*;

    fn row() -> Row {
        let map = |value: Value| value.as_object().cloned().unwrap_or_else(Map::new);
        Row {
            offset: 7,
            kind: "appended",
            value: Some(json!({"a": {"b": [1, "two"]}, "c": "text"})),
            headers: map(json!({"unit": "m"})),
            details: map(json!({"producer": "import", "number": 3})),
            ..Row::default()
        }
    }

    fn filled(template: &str) -> String {
        template.parse::<Template>().unwrap().filled(&row(), "NOW")
    }

    #[test]
    fn what_stands_in_braces_is_filled_in() {
        assert_eq!(filled("{offset} {time} {kind}:{state}:{word}"), "7 NOW appended::appended");
        assert_eq!(filled("{value}"), r#"{"a":{"b":[1,"two"]},"c":"text"}"#);
        assert_eq!(filled("{value.c}|{value.a.b.1}|{value.a.b}|{value.x.y}"), r#"text|two|[1,"two"]|"#);
        assert_eq!(
            filled("{header.unit} {headers} {detail.producer} {detail.number}"),
            r#"m {"unit":"m"} import 3"#
        );
        assert_eq!(filled(r"a\tb\\n{{offset}}"), "a\tb\\n{offset}");
        let text = Row { value: Some(json!("a \"b\"")), ..Row::default() };
        assert_eq!("{text} {value}".parse::<Template>().unwrap().filled(&text, ""), r#"a "b" "a \"b\"""#);
    }

    #[test]
    fn what_is_not_known_is_refused_with_what_is() {
        let refused = "{ofset}".parse::<Template>().unwrap_err();
        assert!(
            refused.starts_with("there is no {ofset}: did you mean `offset`? there are {offset} {time} "),
            "{refused}"
        );
        assert!(refused.ends_with("{value.NAME} {header.NAME} {detail.NAME}"), "{refused}");
        for (bad, words) in [
            ("{offset", "has no end"),
            ("a}", "closes nothing"),
            ("{value.}", "there is no {value.}"),
            ("{}", "there is no {}"),
        ] {
            assert!(bad.parse::<Template>().unwrap_err().contains(words), "{bad}");
        }
    }
}
