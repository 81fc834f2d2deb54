//! YAML as a tree with line numbers, and back. Only what a file of plain facts needs: no anchors and aliases (so no
//! bombs), no tags, and a scalar is text until a field says otherwise (so `no` is a name like any other). Knows nothing
//! of what the documents mean.

use std::fmt::Write as _;

use saphyr_parser::{Event, Parser, ScalarStyle, Span};
use serde_json::{Map, Number, Value};

/// The deepest nesting.
const MAX_DEPTH: usize = 16;

/// Something with the line it begins at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Node {
    /// The first line is 1.
    pub(super) line: usize,
    /// What it is.
    pub(super) content: Content,
}

/// What a node is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Content {
    /// A scalar; `plain` when it stands without quotes.
    Text {
        /// The text.
        text: String,
        /// Whether it stands without quotes.
        plain: bool,
    },
    /// A sequence.
    List(Vec<Node>),
    /// A mapping, in the order of the file.
    Map(Vec<(String, Node)>),
}

/// What is wrong, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Problem {
    /// The line; the first is 1.
    pub(super) line: usize,
    /// In words.
    pub(super) what: String,
}

impl Node {
    /// Whether it says nothing: `null`, `~`, or nothing at all.
    pub(super) fn is_null(&self) -> bool {
        matches!(&self.content, Content::Text { text, plain: true } if matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL"))
    }

    /// As JSON, scalars read by YAML's core schema.
    pub(super) fn json(&self) -> Value {
        match &self.content {
            _ if self.is_null() => Value::Null,
            Content::Text { text, plain: true } => match text.as_str() {
                "true" => Value::Bool(true),
                "false" => Value::Bool(false),
                text => text.parse().map_or_else(|_| text.into(), |number: Number| number.into()),
            },
            Content::Text { text, .. } => text.as_str().into(),
            Content::List(items) => items.iter().map(Self::json).collect(),
            Content::Map(members) => {
                Value::Object(members.iter().map(|(name, node)| (name.clone(), node.json())).collect())
            }
        }
    }
}

/// Something that was begun and not ended yet.
enum Open {
    List { line: usize, items: Vec<Node> },
    Map { line: usize, members: Vec<(String, Node)>, key: Option<(String, usize)> },
}

/// Reads every document. What can be read is, beside the problems found; after a broken document nothing is.
pub(super) fn read(text: &str) -> (Vec<Node>, Vec<Problem>) {
    let (mut documents, mut problems) = (Vec::new(), Vec::new());
    let mut open: Vec<Open> = Vec::new();
    let mut parser = Parser::new_from_str(text);
    while let Some(next) = parser.next_event() {
        let (event, span) = match next {
            Ok(next) => next,
            Err(error) => {
                problems.push(Problem { line: error.marker().line(), what: format!("not YAML: {}", error.info()) });
                break;
            }
        };
        if let Err(what) = step(event, span, &mut open, &mut documents, &mut problems) {
            problems.push(Problem { line: span.start.line(), what: what.into() });
            break;
        }
    }
    (documents, problems)
}

fn step(
    event: Event<'_>,
    span: Span,
    open: &mut Vec<Open>,
    documents: &mut Vec<Node>,
    problems: &mut Vec<Problem>,
) -> Result<(), &'static str> {
    const WRITE_OUT: &str = "anchors and aliases are not used here: write it out";
    let line = span.start.line();
    let done = match event {
        Event::Alias(_) => return Err(WRITE_OUT),
        Event::Scalar(_, _, anchor, _) | Event::SequenceStart(anchor, _) | Event::MappingStart(anchor, _)
            if anchor != 0 =>
        {
            return Err(WRITE_OUT);
        }
        Event::Scalar(_, _, _, Some(_)) | Event::SequenceStart(_, Some(_)) | Event::MappingStart(_, Some(_)) => {
            return Err("tags are not used here");
        }
        Event::SequenceStart(..) | Event::MappingStart(..) if open.len() >= MAX_DEPTH => {
            return Err("nested too deeply");
        }
        Event::Scalar(text, style, ..) => {
            // A name of a mapping is waited for: this is it.
            if let Some(Open::Map { key: key @ None, .. }) = open.last_mut() {
                *key = Some((text.into_owned(), line));
                return Ok(());
            }
            let plain = matches!(style, ScalarStyle::Plain);
            Node { line, content: Content::Text { text: text.into_owned(), plain } }
        }
        Event::SequenceStart(..) | Event::MappingStart(..)
            if matches!(open.last(), Some(Open::Map { key: None, .. })) =>
        {
            return Err("a name is a text");
        }
        Event::SequenceStart(..) => {
            open.push(Open::List { line, items: Vec::new() });
            return Ok(());
        }
        Event::MappingStart(..) => {
            open.push(Open::Map { line, members: Vec::new(), key: None });
            return Ok(());
        }
        Event::SequenceEnd | Event::MappingEnd => match open.pop() {
            Some(Open::List { line, items }) => Node { line, content: Content::List(items) },
            Some(Open::Map { line, members, .. }) => Node { line, content: Content::Map(members) },
            None => return Ok(()),
        },
        Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentStart(_) | Event::DocumentEnd => {
            return Ok(());
        }
    };
    match open.last_mut() {
        None => documents.push(done),
        Some(Open::List { items, .. }) => items.push(done),
        Some(Open::Map { members, key, .. }) => {
            if let Some((name, line)) = key.take() {
                if members.iter().any(|(there, _)| *there == name) {
                    problems.push(Problem { line, what: format!("{name}: given twice") });
                } else {
                    // The place of a field is that of its name.
                    members.push((name, Node { line, ..done }));
                }
            }
        }
    }
    Ok(())
}

/// A mapping as a document, without the line that divides documents.
pub(super) fn write<'a>(document: impl IntoIterator<Item = (&'a str, &'a Value)>) -> String {
    let mut out = String::new();
    write_members(document, 0, &mut out);
    out
}

fn in_order(members: &Map<String, Value>) -> impl Iterator<Item = (&str, &Value)> {
    members.iter().map(|(name, value)| (name.as_str(), value))
}

fn write_members<'a>(members: impl IntoIterator<Item = (&'a str, &'a Value)>, indent: usize, out: &mut String) {
    for (name, value) in members {
        // Writing to a String cannot fail.
        let _ = write!(out, "{:indent$}{}:", "", scalar(name));
        write_value(value, indent, out);
    }
}

/// What follows a `name:` or a `-`.
fn write_value(value: &Value, indent: usize, out: &mut String) {
    match value {
        Value::Object(members) if !members.is_empty() => {
            out.push('\n');
            write_members(in_order(members), indent + 2, out);
        }
        Value::Array(items) if !items.is_empty() => {
            out.push('\n');
            for item in items {
                let _ = write!(out, "{:1$}-", "", indent + 2);
                match item {
                    // The first member stands beside the dash.
                    Value::Object(members) if !members.is_empty() => {
                        let mut inner = String::new();
                        write_members(in_order(members), indent + 4, &mut inner);
                        let _ = write!(out, " {}", inner.trim_start());
                    }
                    item => write_value(item, indent + 2, out),
                }
            }
        }
        Value::String(text) => {
            let _ = writeln!(out, " {}", scalar(text));
        }
        // Empty ones, numbers, booleans and null are YAML as they are JSON.
        other => {
            let _ = writeln!(out, " {other}");
        }
    }
}

/// Text that no YAML reader takes for anything else: bare when it is plainly a word, else quoted as in JSON.
fn scalar(text: &str) -> String {
    const WORDS: [&str; 9] = ["null", "true", "false", "yes", "no", "on", "off", "y", "n"];
    let bare = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/')
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._/ ".contains(&b))
        && !text.ends_with(' ')
        && !WORDS.contains(&text.to_ascii_lowercase().as_str());
    let colons = text.starts_with("edi:") && text.bytes().skip(4).all(|b| b.is_ascii_lowercase()) && text.len() > 4;
    if bare || colons { text.to_owned() } else { Value::from(text).to_string() }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn problems(text: &str) -> Vec<(usize, String)> {
        read(text).1.into_iter().map(|problem| (problem.line, problem.what)).collect()
    }

    #[test]
    fn documents_are_read_with_their_lines() {
        let (documents, problems) = read("# first\na: 1\nb:\n  - x\n  - \"no\"\n---\n---\nc: {d: [yes]}\n");
        assert_eq!(problems, []);
        let json: Vec<Value> = documents.iter().map(Node::json).collect();
        assert_eq!(json, [json!({ "a": 1, "b": ["x", "no"] }), Value::Null, json!({ "c": { "d": ["yes"] } })]);
        let Content::Map(members) = &documents[0].content else { panic!() };
        assert_eq!(
            members.iter().map(|(name, node)| (name.as_str(), node.line)).collect::<Vec<_>>(),
            [("a", 2), ("b", 3)]
        );
        assert!(documents[1].is_null());
    }

    #[test]
    fn every_fault_has_its_line() {
        for (text, line, what) in [
            ("a: 1\nb: &x 1\n", 2, "anchors"),
            ("a: &x [1]\nb: *x\n", 1, "anchors"),
            ("a: !!int 1\n", 1, "tags"),
            ("a: 1\n\na: 2\n", 3, "a: given twice"),
            ("? [a]\n: b\n", 1, "a name is a text"),
            ("a: [1\nb: 2\n", 2, "not YAML"),
            ("a: 'x\n", 1, "not YAML"),
            ("a: b: c\n", 1, "not YAML"),
        ] {
            let found = problems(text);
            assert!(found.len() == 1 && found[0].1.contains(what), "{text:?}: {found:?}");
            assert!(found[0].0.abs_diff(line) <= 1, "{text:?}: {found:?}");
        }
    }

    #[test]
    fn bombs_and_towers_are_refused_early() {
        let bomb = "a: &a [x,x]\nb: &b [*a,*a]\nc: &c [*b,*b]\n";
        assert!(problems(bomb)[0].1.contains("anchors"));
        for tower in ["[".repeat(5000), "a: {".repeat(5000), "- ".repeat(5000)] {
            assert!(!problems(&tower).is_empty());
        }
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(
            text in "\\PC{0,20}", name in "[a-z_]{1,8}", word in "(null|yes|No|~|1|1e3|0x1|-|\\*a|&b|edi:read|#|: |a: b|' ')",
        ) {
            let document = json!({
                name: { "text": text, "list": [text, word, {"k": word, "l": []}], "empty": [], "n": 5, "t": true },
                "word": word,
            });
            let written = write(in_order(document.as_object().unwrap()));
            let (documents, problems) = read(&written);
            prop_assert_eq!(&problems, &[], "{}", written);
            prop_assert_eq!(documents[0].json(), document, "{}", written);
        }

        #[test]
        fn no_text_makes_it_panic(text in "\\PC{0,200}", lines in "([-a:&*!\\[\\]{}, '\"|>#?\n ]){0,120}") {
            read(&text);
            read(&lines);
        }
    }
}
