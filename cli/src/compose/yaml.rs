//! YAML → JSON values with their places: anchors, merge keys, Compose's tags, scalars as Go's YAML library reads them; and back. Pure.

mod scalar;
mod write;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, Tag};
use serde_json::{Map, Value as Json};

use super::place::{Fault, Place};
use scalar::{plain, scalar};
pub(crate) use write::write;

/// Nesting and copies by aliases end here: a file of a few lines must not fill the memory.
const MOST_NODES: usize = 200_000;
const MOST_DEPTH: usize = 100;

/// Line and column, from one.
type Point = (usize, usize);

/// What a file says to do with what earlier files say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mark {
    /// `!reset`: there is nothing here.
    Reset,
    /// `!override`: there is only this.
    Override,
}

/// A file that was read.
#[derive(Debug, Default)]
pub(crate) struct Document {
    pub(crate) value: Json,
    /// Where the values stand, by their paths: those of members at their keys.
    pub(crate) points: Vec<(String, Point)>,
    pub(crate) marks: Vec<(String, Mark)>,
}

/// Reads one document of the file with this name.
///
/// # Errors
/// What is wrong, and where.
pub(crate) fn parse(file: &str, text: &str) -> Result<Document, Fault> {
    let mut reader =
        Reader { parser: Parser::new_from_str(text), anchors: BTreeMap::new(), nodes: 0 };
    let node = reader.document().map_err(|(message, (line, column))| Fault {
        path: String::new(),
        place: (!file.is_empty()).then(|| Place { file: file.into(), line, column }),
        message: format!("yaml: {message}"),
    })?;
    let mut document = Document::default();
    if let Some(node) = node {
        document.value = document.flatten(node, &mut String::new()).unwrap_or_default();
    }
    Ok(document)
}

#[derive(Debug, Clone)]
struct Node {
    at: Point,
    mark: Option<Mark>,
    content: Content,
}

#[derive(Debug, Clone)]
enum Content {
    Scalar(Json),
    List(Vec<Node>),
    /// Values by their keys, with the places of these.
    Map(BTreeMap<String, (Point, Node)>),
}

impl Document {
    /// The value of a node; `None`: it is to be reset.
    fn flatten(&mut self, node: Node, path: &mut String) -> Option<Json> {
        if let Some(mark) = node.mark {
            self.marks.push((path.clone(), mark));
            if mark == Mark::Reset {
                return None;
            }
        }
        Some(match node.content {
            Content::Scalar(value) => value,
            Content::List(nodes) => {
                let mut list = Vec::new();
                for (index, node) in nodes.into_iter().enumerate() {
                    let point = node.at;
                    list.extend(self.member(&index.to_string(), point, node, path));
                }
                Json::Array(list)
            }
            Content::Map(nodes) => {
                let mut fields = Map::new();
                for (key, (point, node)) in nodes {
                    if let Some(value) = self.member(&key, point, node, path) {
                        fields.insert(key, value);
                    }
                }
                Json::Object(fields)
            }
        })
    }

    fn member(&mut self, key: &str, point: Point, node: Node, path: &mut String) -> Option<Json> {
        let end = path.len();
        if end > 0 {
            path.push('.');
        }
        path.push_str(key);
        self.points.push((path.clone(), point));
        let value = self.flatten(node, path);
        path.truncate(end);
        value
    }
}

struct Reader<'a> {
    parser: Parser<'a, saphyr_parser::StrInput<'a>>,
    anchors: BTreeMap<usize, (Node, usize)>,
    nodes: usize,
}

type Read<T> = Result<T, (String, Point)>;

fn point(marker: &Marker) -> Point {
    (marker.line(), marker.col() + 1)
}

impl<'a> Reader<'a> {
    fn document(&mut self) -> Read<Option<Node>> {
        let mut document = None;
        loop {
            match self.next()? {
                (Event::StreamEnd, _) => return Ok(document),
                (Event::StreamStart | Event::Nothing | Event::DocumentEnd, _) => {}
                (Event::DocumentStart(_), at) if document.is_some() => {
                    return Err(("more than one document".into(), at));
                }
                (Event::DocumentStart(_), _) => {
                    let (event, at) = self.next()?;
                    document = Some(self.node(event, at, 0)?);
                }
                (_, at) => return Err(("unexpected content".into(), at)),
            }
        }
    }

    fn next(&mut self) -> Read<(Event<'a>, Point)> {
        match self.parser.next_event() {
            Some(Ok((event, span))) => Ok((event, point(&span.start))),
            Some(Err(error)) => Err((error.info().to_owned(), point(error.marker()))),
            None => Ok((Event::StreamEnd, (0, 0))),
        }
    }

    fn count(&mut self, nodes: usize, at: Point) -> Read<()> {
        self.nodes += nodes;
        if self.nodes > MOST_NODES {
            return Err(("document contains excessive aliasing".into(), at));
        }
        Ok(())
    }

    fn node(&mut self, event: Event<'a>, at: Point, depth: usize) -> Read<Node> {
        if depth > MOST_DEPTH {
            return Err((format!("exceeded max depth of {MOST_DEPTH}"), at));
        }
        let before = self.nodes;
        self.count(1, at)?;
        let (content, anchor, mark) = match event {
            Event::Alias(id) => {
                let found = self.anchors.get(&id).cloned();
                let (node, nodes) = found.ok_or_else(|| ("unknown anchor".to_owned(), at))?;
                self.count(nodes, at)?;
                return Ok(node);
            }
            Event::Scalar(text, style, anchor, tag) => {
                let tag = tag.map(|tag| format!("{}{}", tag.handle, tag.suffix));
                let mark = tag.as_deref().and_then(mark);
                let tag = tag.as_deref().filter(|_| mark.is_none());
                let value = scalar(&text, style, tag).map_err(|why| (why, at))?;
                (Content::Scalar(value), anchor, mark)
            }
            Event::SequenceStart(anchor, tag) => {
                (self.sequence(depth)?, anchor, mark_of(tag.as_deref()))
            }
            Event::MappingStart(anchor, tag) => {
                (self.mapping(depth)?, anchor, mark_of(tag.as_deref()))
            }
            _ => return Err(("unexpected content".into(), at)),
        };
        let node = Node { at, mark, content };
        if anchor > 0 {
            self.anchors.insert(anchor, (node.clone(), self.nodes - before));
        }
        Ok(node)
    }

    fn sequence(&mut self, depth: usize) -> Read<Content> {
        let mut list = Vec::new();
        loop {
            match self.next()? {
                (Event::SequenceEnd, _) => return Ok(Content::List(list)),
                (event, at) => list.push(self.node(event, at, depth + 1)?),
            }
        }
    }

    fn mapping(&mut self, depth: usize) -> Read<Content> {
        let mut own = BTreeMap::new();
        let mut merged: Vec<Node> = Vec::new();
        loop {
            let (event, at) = self.next()?;
            if event == Event::MappingEnd {
                break;
            }
            let is_merge =
                matches!(&event, Event::Scalar(text, ScalarStyle::Plain, _, _) if text == "<<");
            let key = match self.node(event, at, depth + 1)?.content {
                Content::Scalar(Json::String(key)) => key,
                Content::Scalar(Json::Null) => "null".to_owned(),
                Content::Scalar(other) => other.to_string(),
                Content::List(_) | Content::Map(_) => {
                    return Err(("a key must be a scalar".into(), at));
                }
            };
            let (event, value_at) = self.next()?;
            let value = self.node(event, value_at, depth + 1)?;
            if is_merge {
                match value.content {
                    Content::List(list) => merged.extend(list),
                    _ => merged.push(value),
                }
            } else {
                match own.entry(key) {
                    Entry::Vacant(entry) => {
                        entry.insert((at, value));
                    }
                    Entry::Occupied(entry) => {
                        return Err((format!("mapping key {:?} already defined", entry.key()), at));
                    }
                }
            }
        }
        // What a mapping says itself goes before what it merges, and earlier merges before later ones.
        for source in merged {
            let Content::Map(fields) = source.content else {
                let why = "map merge requires map or sequence of maps as the value";
                return Err((why.into(), source.at));
            };
            for (key, value) in fields {
                own.entry(key).or_insert(value);
            }
        }
        Ok(Content::Map(own))
    }
}

fn mark(tag: &str) -> Option<Mark> {
    match tag {
        "!reset" => Some(Mark::Reset),
        "!override" => Some(Mark::Override),
        _ => None,
    }
}

fn mark_of(tag: Option<&Tag>) -> Option<Mark> {
    tag.and_then(|tag| mark(&format!("{}{}", tag.handle, tag.suffix)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn value(text: &str) -> Json {
        parse("f", text).unwrap().value
    }

    fn fault(text: &str) -> String {
        parse("f", text).unwrap_err().to_string()
    }

    #[test]
    fn anchors_and_merge_keys_are_resolved() {
        let text = "x-base: &base {image: a, tty: true}\nx-more: &more\n  user: u\n  tty: false\n\
                    one:\n  <<: [*base, *more]\n  image: b\ntwo: *base\n";
        let value = value(text);
        assert_eq!(value["one"], json!({"image": "b", "tty": true, "user": "u"}));
        assert_eq!(value["two"], json!({"image": "a", "tty": true}));
    }

    #[test]
    fn scalars_mean_what_they_mean_to_docker() {
        let text = "a: 0440\nb: 0o17\nc: 1.5\nd: yes\ne: ~\nf: \"1\"\ng: 3.8.1\nh: 1_000\ni: 22:22\n\
                    j: !!str 5\nk: |\n  x\n  y\nl:\nm: 0x10\nn: -3\no: 1e3\np: 08\n";
        assert_eq!(
            value(text),
            json!({"a": 288, "b": 15, "c": 1.5, "d": "yes", "e": null, "f": "1", "g": "3.8.1",
                   "h": 1000, "i": "22:22", "j": "5", "k": "x\ny\n", "l": null, "m": 16, "n": -3,
                   "o": 1000.0, "p": 8.0})
        );
    }

    #[test]
    fn values_have_places_and_marks() {
        let document =
            parse("f", "a:\n  b: [1, !reset 2]\n  c: !override\n    d: x\n  e: !reset null\n")
                .unwrap();
        assert_eq!(document.value, json!({"a": {"b": [1], "c": {"d": "x"}}}));
        let points: Vec<String> = document
            .points
            .iter()
            .map(|(path, (line, column))| format!("{path} {line}:{column}"))
            .collect();
        assert_eq!(
            points,
            ["a 1:1", "a.b 2:3", "a.b.0 2:7", "a.b.1 2:10", "a.c 3:3", "a.c.d 4:5", "a.e 5:3"]
        );
        let marks = [("a.b.1", Mark::Reset), ("a.c", Mark::Override), ("a.e", Mark::Reset)];
        assert_eq!(document.marks, marks.map(|(path, mark)| (path.to_owned(), mark)));
    }

    #[test]
    fn faults_have_a_place() {
        assert_eq!(fault("a: 1\nb: 2\na: 3\n"), "f:3:1: yaml: mapping key \"a\" already defined");
        assert!(fault("a: [1\nb: 2").starts_with("f:2:"));
        assert_eq!(fault("a: !what 1"), "f:1:4: yaml: unknown tag `!what`");
        let mut bomb = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n".to_owned();
        for level in 1..9 {
            let item = format!("*a{}", level - 1);
            bomb.push_str(&format!("a{level}: &a{level} [{}]\n", [item.as_str(); 10].join(",")));
        }
        assert!(fault(&bomb).ends_with("document contains excessive aliasing"));
    }
}
