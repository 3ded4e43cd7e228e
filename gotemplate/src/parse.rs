//! Pieces → tree.

use super::funcs;
use super::lex::{Piece, Token};
use crate::value::Value;

/// A node of a template.
#[derive(Debug, Clone)]
pub(super) enum Node {
    Text(String),
    Print(Action),
    If { when: Action, then: Vec<Node>, or: Vec<Node> },
    With { value: Action, then: Vec<Node>, or: Vec<Node> },
    Range { over: Action, then: Vec<Node>, or: Vec<Node> },
    Define { name: String, body: Vec<Node> },
    Call { name: String, data: Option<Action> },
    Break,
    Continue,
}

/// A pipeline with the variables it sets.
#[derive(Debug, Clone)]
pub(super) struct Action {
    pub(super) variables: Vec<String>,
    /// `:=` and not `=`.
    pub(super) declares: bool,
    /// Each command gets the value of the one before as its last argument.
    pub(super) commands: Vec<Vec<Operand>>,
    /// For error texts.
    pub(super) source: String,
    pub(super) at: (usize, usize),
}

/// One operand of a command; fields are looked up in what precedes them.
#[derive(Debug, Clone)]
pub(super) enum Operand {
    Dot(Vec<String>),
    Variable(String, Vec<String>),
    Function(String),
    Literal(Value),
    Pipeline(Box<Action>, Vec<String>),
}

/// Parses all pieces.
pub(super) fn nodes(pieces: &[Piece], extra: &[&str]) -> Result<Vec<Node>, String> {
    let mut parser = Parser { pieces, next: 0, extra };
    let (nodes, end) = parser.block()?;
    match end {
        End::Eof => Ok(nodes),
        End::Close => Err("template: :1: unexpected {{end}}".to_owned()),
        End::Else(_) => Err("template: :1: unexpected {{else}}".to_owned()),
    }
}

enum End {
    Eof,
    Close,
    /// The tokens behind `else`, with their place.
    Else(Option<Piece>),
}

struct Parser<'a> {
    pieces: &'a [Piece],
    next: usize,
    /// Functions beside the built-in ones.
    extra: &'a [&'a str],
}

impl Parser<'_> {
    fn block(&mut self) -> Result<(Vec<Node>, End), String> {
        let mut nodes = Vec::new();
        while let Some(piece) = self.pieces.get(self.next) {
            self.next += 1;
            let (tokens, source, at) = match piece {
                Piece::Text(text) => {
                    nodes.push(Node::Text(text.clone()));
                    continue;
                }
                Piece::Action { tokens, source, at } => (tokens.as_slice(), source, *at),
            };
            let word = match tokens.first() {
                Some(Token::Word(word)) => word.as_str(),
                _ => "",
            };
            let rest = || {
                let source = source[word.len()..].trim().to_owned();
                pipeline(&tokens[1..], source, (at.0, at.1 + word.len() + 1), self.extra)
            };
            match word {
                "end" => return Ok((nodes, End::Close)),
                "else" => {
                    let piece = Piece::Action {
                        tokens: tokens[1..].to_vec(),
                        source: source[4..].trim().to_owned(),
                        at,
                    };
                    return Ok((nodes, End::Else((tokens.len() > 1).then_some(piece))));
                }
                "if" | "with" | "range" => nodes.push(self.control(word, rest()?)?),
                "break" => nodes.push(Node::Break),
                "continue" => nodes.push(Node::Continue),
                "define" => {
                    let name = name_of(tokens, at)?;
                    let (body, end) = self.block()?;
                    expect_end(&end)?;
                    nodes.push(Node::Define { name, body });
                }
                "template" => {
                    let name = name_of(tokens, at)?;
                    let data = (tokens.len() > 2)
                        .then(|| pipeline(&tokens[2..], source.clone(), at, self.extra))
                        .transpose()?;
                    nodes.push(Node::Call { name, data });
                }
                _ => nodes.push(Node::Print(pipeline(tokens, source.clone(), at, self.extra)?)),
            }
        }
        Ok((nodes, End::Eof))
    }

    fn control(&mut self, word: &str, action: Action) -> Result<Node, String> {
        let (then, end) = self.block()?;
        let or = match end {
            End::Else(None) => {
                let (or, end) = self.block()?;
                expect_end(&end)?;
                or
            }
            End::Else(Some(Piece::Action { tokens, source, at })) => {
                let Some(Token::Word(inner)) = tokens.first() else {
                    return Err(format!("template: :{}: unexpected token in else", at.0));
                };
                let source = source[inner.len()..].trim().to_owned();
                vec![self.control(inner, pipeline(&tokens[1..], source, at, self.extra)?)?]
            }
            other => {
                expect_end(&other)?;
                Vec::new()
            }
        };
        Ok(match word {
            "with" => Node::With { value: action, then, or },
            "range" => Node::Range { over: action, then, or },
            _ => Node::If { when: action, then, or },
        })
    }
}

fn name_of(tokens: &[Token], at: (usize, usize)) -> Result<String, String> {
    match tokens.get(1) {
        Some(Token::Text(name)) => Ok(name.clone()),
        _ => Err(format!("template: :{}: missing name of template", at.0)),
    }
}

fn expect_end(end: &End) -> Result<(), String> {
    match end {
        End::Close => Ok(()),
        End::Eof => Err("template: :1: unexpected EOF".to_owned()),
        End::Else(_) => Err("template: :1: unexpected {{else}}".to_owned()),
    }
}

fn pipeline(
    tokens: &[Token],
    source: String,
    at: (usize, usize),
    extra: &[&str],
) -> Result<Action, String> {
    let fail = |why: &str| format!("template: :{}: {why}", at.0);
    let mut action =
        Action { variables: Vec::new(), declares: false, commands: Vec::new(), source, at };
    let mut tokens = tokens;
    let sets = tokens.iter().position(|token| matches!(token, Token::Declare | Token::Assign));
    if let Some(position) = sets {
        action.declares = tokens[position] == Token::Declare;
        for token in &tokens[..position] {
            match token {
                Token::Variable(name) => action.variables.push(name.clone()),
                Token::Comma => {}
                _ => return Err(fail("unexpected token before assignment")),
            }
        }
        tokens = &tokens[position + 1..];
    }
    let mut next = 0;
    action.commands = commands(tokens, &mut next, at, extra)?;
    if next < tokens.len() {
        return Err(fail("unexpected right paren"));
    }
    if action.commands.iter().any(Vec::is_empty) {
        return Err(fail("missing value for command"));
    }
    Ok(action)
}

fn commands(
    tokens: &[Token],
    next: &mut usize,
    at: (usize, usize),
    extra: &[&str],
) -> Result<Vec<Vec<Operand>>, String> {
    let mut all = vec![Vec::new()];
    while let Some(token) = tokens.get(*next) {
        if *token == Token::Close {
            break;
        }
        *next += 1;
        let command = all.last_mut().expect("begins with one command");
        match token {
            Token::Pipe => all.push(Vec::new()),
            Token::Field(names, true) => match command.last_mut() {
                Some(Operand::Variable(_, fields) | Operand::Pipeline(_, fields)) => {
                    fields.extend(names.iter().cloned());
                }
                _ => command.push(Operand::Dot(names.clone())),
            },
            Token::Field(names, false) => command.push(Operand::Dot(names.clone())),
            Token::Variable(name) => command.push(Operand::Variable(name.clone(), Vec::new())),
            Token::Text(text) => command.push(Operand::Literal(Value::Text(text.clone()))),
            Token::Int(number) => command.push(Operand::Literal(Value::Int(*number))),
            Token::Float(number) => command.push(Operand::Literal(Value::Float(*number))),
            Token::Word(word) => command.push(match word.as_str() {
                "true" => Operand::Literal(Value::Bool(true)),
                "false" => Operand::Literal(Value::Bool(false)),
                "nil" => Operand::Literal(Value::Null),
                name if funcs::exists(name) || extra.contains(&name) => {
                    Operand::Function(name.to_owned())
                }
                name => {
                    let name = crate::text::quote(name);
                    return Err(format!("template: :{}: function {name} not defined", at.0));
                }
            }),
            Token::Open => {
                let inner = commands(tokens, next, at, extra)?;
                if tokens.get(*next) != Some(&Token::Close) {
                    return Err(format!("template: :{}: unclosed left paren", at.0));
                }
                *next += 1;
                let action = Action {
                    variables: Vec::new(),
                    declares: false,
                    commands: inner,
                    source: String::new(),
                    at,
                };
                command.push(Operand::Pipeline(Box::new(action), Vec::new()));
            }
            other => return Err(format!("template: :{}: unexpected {other:?} in command", at.0)),
        }
    }
    Ok(all)
}
