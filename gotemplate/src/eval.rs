//! Tree + data → text.

use std::collections::BTreeMap;

use super::funcs;
use super::parse::{Action, Node, Operand};
use super::{Functions, Missing};
use crate::value::Value;

/// Renders nodes.
pub(super) fn render(
    nodes: &[Node],
    data: &Value,
    missing: Missing,
    functions: &dyn Functions,
) -> Result<String, String> {
    let mut defined = BTreeMap::new();
    for node in nodes {
        if let Node::Define { name, body } = node {
            defined.insert(name.as_str(), body.as_slice());
        }
    }
    let variables = vec![("$".to_owned(), data.clone())];
    let mut run = Run { defined, missing, functions, variables, out: String::new(), depth: 0 };
    run.nodes(nodes, data)?;
    Ok(run.out)
}

/// Objects whose keys are data: a key that is not there has no value, and that is no error.
const ENTRIES: &[&str] = &[
    "Annotations",
    "Data",
    "DriverOpts",
    "ExposedPorts",
    "Labels",
    "Networks",
    "Options",
    "Ports",
    "StorageOpt",
    "Sysctls",
    "Tmpfs",
    "Volumes",
];

/// How a list of nodes ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Flow {
    On,
    Break,
    Continue,
}

struct Run<'a> {
    defined: BTreeMap<&'a str, &'a [Node]>,
    missing: Missing,
    functions: &'a dyn Functions,
    variables: Vec<(String, Value)>,
    out: String,
    depth: usize,
}

impl<'a> Run<'a> {
    fn nodes(&mut self, nodes: &'a [Node], dot: &Value) -> Result<Flow, String> {
        let scope = self.variables.len();
        for node in nodes {
            let flow = self.node(node, dot)?;
            if flow != Flow::On {
                self.variables.truncate(scope);
                return Ok(flow);
            }
        }
        if !nodes.is_empty() && scope > 1 {
            self.variables.truncate(scope);
        }
        Ok(Flow::On)
    }

    fn node(&mut self, node: &'a Node, dot: &Value) -> Result<Flow, String> {
        match node {
            Node::Text(text) => self.out.push_str(text),
            Node::Print(action) => {
                let value = self.action(action, dot)?;
                if action.variables.is_empty() {
                    let text = match value {
                        Value::Null if self.missing == Missing::Strict => String::new(),
                        Value::Null => "<no value>".to_owned(),
                        value => funcs::show(&value),
                    };
                    self.out.push_str(&text);
                }
            }
            Node::If { when, then, or } => {
                let scope = self.variables.len();
                let value = self.action(when, dot)?;
                let flow = self.nodes(if funcs::truth(&value) { then } else { or }, dot)?;
                self.variables.truncate(scope);
                return Ok(flow);
            }
            Node::With { value, then, or } => {
                let scope = self.variables.len();
                let value = self.action(value, dot)?;
                let flow = if funcs::truth(&value) {
                    self.nodes(then, &value)?
                } else {
                    self.nodes(or, dot)?
                };
                self.variables.truncate(scope);
                return Ok(flow);
            }
            Node::Range { over, then, or } => self.range(over, then, or, dot)?,
            Node::Define { .. } => {}
            Node::Call { name, data } => self.call(name, data.as_ref(), dot)?,
            Node::Break => return Ok(Flow::Break),
            Node::Continue => return Ok(Flow::Continue),
        }
        Ok(Flow::On)
    }

    fn call(&mut self, name: &str, data: Option<&'a Action>, dot: &Value) -> Result<(), String> {
        let body = *self.defined.get(name).ok_or_else(|| {
            format!("template: no template {name:?} associated with template \"\"")
        })?;
        if self.depth > 100 {
            return Err(format!("template: exceeded maximum template depth in {name:?}"));
        }
        let data = data.map_or(Ok(Value::Null), |action| self.action(action, dot))?;
        let outer = std::mem::replace(&mut self.variables, vec![("$".to_owned(), data.clone())]);
        self.depth += 1;
        self.nodes(body, &data)?;
        self.depth -= 1;
        self.variables = outer;
        Ok(())
    }

    fn range(
        &mut self,
        over: &'a Action,
        then: &'a [Node],
        or: &'a [Node],
        dot: &Value,
    ) -> Result<(), String> {
        let value = self.pipeline(over, dot)?;
        let mut items: Vec<(Value, Value)> = match value {
            Value::List(list) => (0i64..).map(Value::Int).zip(list).collect(),
            Value::Map(fields) => {
                let shown = fields.into_iter().filter(|(key, _)| !key.starts_with('\0'));
                shown.map(|(key, value)| (Value::Text(key), value)).collect()
            }
            Value::Int(count) => (0..count).map(|n| (Value::Int(n), Value::Int(n))).collect(),
            Value::Null => Vec::new(),
            other => {
                let shown = funcs::show(&other);
                return Err(self.fail(over, &format!("range can't iterate over {shown}")));
            }
        };
        if matches!(items.first(), Some((Value::Text(_), _))) {
            items.sort_by(|left, right| left.0.text().cmp(right.0.text()));
        }
        if items.is_empty() {
            self.nodes(or, dot)?;
        }
        for (key, value) in items {
            let scope = self.variables.len();
            match over.variables.as_slice() {
                [element] => self.set(element, value.clone(), over.declares),
                [index, element] => {
                    self.set(index, key, over.declares);
                    self.set(element, value.clone(), over.declares);
                }
                _ => {}
            }
            let flow = self.nodes(then, &value)?;
            self.variables.truncate(scope);
            if flow == Flow::Break {
                break;
            }
        }
        Ok(())
    }

    fn set(&mut self, name: &str, value: Value, declare: bool) {
        let known = self.variables.iter_mut().rev().find(|(known, _)| known == name);
        match known {
            Some((_, place)) if !declare => *place = value,
            _ => self.variables.push((name.to_owned(), value)),
        }
    }

    fn action(&mut self, action: &'a Action, dot: &Value) -> Result<Value, String> {
        let value = self.pipeline(action, dot)?;
        for name in &action.variables {
            self.set(name, value.clone(), action.declares);
        }
        Ok(value)
    }

    fn pipeline(&mut self, action: &'a Action, dot: &Value) -> Result<Value, String> {
        let mut last = None;
        for command in &action.commands {
            last = Some(self.command(command, last.take(), action, dot)?);
        }
        Ok(last.unwrap_or_default())
    }

    fn command(
        &mut self,
        command: &'a [Operand],
        piped: Option<Value>,
        action: &'a Action,
        dot: &Value,
    ) -> Result<Value, String> {
        let Some((first, rest)) = command.split_first() else { return Ok(Value::Null) };
        let Operand::Function(name) = first else {
            if let (Operand::Dot(names), false) = (first, rest.is_empty())
                && let [name] = names.as_slice()
            {
                let argument = self.operand(&rest[0], action, dot)?;
                return Ok(method(dot, name, &argument));
            }
            if !rest.is_empty() || piped.is_some() {
                return Err(self.fail(action, "can't give argument to non-function"));
            }
            return self.operand(first, action, dot);
        };
        let mut arguments = Vec::new();
        for operand in rest {
            let value = self.operand(operand, action, dot)?;
            // `and` and `or` stop at the first operand that decides.
            let decided =
                (name == "and" && !funcs::truth(&value)) || (name == "or" && funcs::truth(&value));
            arguments.push(value);
            if decided {
                break;
            }
        }
        arguments.extend(piped);
        self.function(name, &arguments)
            .map_err(|why| self.fail(action, &format!("error calling {name}: {why}")))
    }

    fn function(&self, name: &str, arguments: &[Value]) -> Result<Value, String> {
        match self.functions.names().contains(&name) {
            true => self.functions.call(name, arguments),
            false => funcs::call(name, arguments),
        }
    }

    fn operand(
        &mut self,
        operand: &'a Operand,
        action: &'a Action,
        dot: &Value,
    ) -> Result<Value, String> {
        match operand {
            Operand::Dot(names) => self.fields(dot, names, action, ""),
            Operand::Variable(name, names) => {
                let value = self.variables.iter().rev().find(|(known, _)| known == name);
                let Some((_, value)) = value else {
                    return Err(format!(
                        "template: :{}: undefined variable {}",
                        action.at.0,
                        crate::text::quote(name)
                    ));
                };
                let value = value.clone();
                self.fields(&value, names, action, name)
            }
            Operand::Literal(value) => Ok(value.clone()),
            Operand::Function(name) => {
                self.function(name, &[]).map_err(|why| self.fail(action, &why))
            }
            Operand::Pipeline(inner, names) => {
                let value = self.pipeline(inner, dot)?;
                self.fields(&value, names, action, "")
            }
        }
    }

    fn fields(
        &self,
        value: &Value,
        names: &[String],
        action: &Action,
        of: &str,
    ) -> Result<Value, String> {
        let mut value = value;
        for (index, name) in names.iter().enumerate() {
            let found = value.find(name);
            value = match (found, value) {
                (Some(value), _) => value,
                (None, Value::Null) if index > 0 => value,
                (None, Value::Map(_))
                    if self.missing == Missing::Key
                        && index > 0
                        && ENTRIES.contains(&names[index - 1].as_str()) =>
                {
                    &Value::Null
                }
                (None, value) => {
                    let why = match (self.missing, value) {
                        (_, Value::Nil(of)) => format!("nil pointer evaluating *{of}.{name}"),
                        (_, value) if value.type_name().is_some() => {
                            let of = value.type_name().unwrap_or_default();
                            format!("can't evaluate field {name} in type {of}")
                        }
                        (Missing::Key | Missing::Strict, Value::Map(_)) => {
                            format!("map has no entry for key {}", crate::text::quote(name))
                        }
                        _ => format!("can't evaluate field {name} in this object"),
                    };
                    let place = format!("{of}.{}", names[..=index].join("."));
                    let (line, column) =
                        (action.at.0, action.at.1 + chain_start(action, names, of));
                    return Err(format!(
                        "template: :{line}:{column}: executing \"\" at <{place}>: {why}"
                    ));
                }
            };
        }
        Ok(value.clone())
    }

    fn fail(&self, action: &Action, why: &str) -> String {
        let (line, column) = action.at;
        format!("template: :{line}:{column}: executing \"\" at <{}>: {why}", action.source)
    }
}

/// How far into an action that is nothing but a chain of fields Go says that the chain is: where its second link begins.
fn chain_start(action: &Action, names: &[String], of: &str) -> usize {
    let is_alone = matches!(action.commands.as_slice(), [command] if command.len() == 1);
    match names {
        _ if !is_alone => 0,
        [_, ..] if !of.is_empty() => of.len(),
        [first, _, ..] => first.len() + 1,
        _ => 0,
    }
}

/// Rows of tables have one method with an argument: `.Label "key"`.
fn method(dot: &Value, name: &str, argument: &Value) -> Value {
    if name == "Label" {
        return Value::Text(dot.at("\0labels").at(argument.text()).text().to_owned());
    }
    Value::Null
}
