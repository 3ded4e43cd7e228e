//! The part of Go's `text/template` that docker's users write: `--format`, templated specs and secrets. Pure.
//!
//! Data are JSON values: struct fields and map keys are the same thing here, so a struct prints as
//! `map[…]`, where Go prints `{…}`; but for [`Value::structure`], which knows the fields that JSON leaves out.

mod eval;
mod funcs;
mod lex;
mod parse;
pub mod text;
pub mod value;

pub use value::{Field, Value, indent};

/// A parsed template.
#[derive(Debug, Clone)]
pub struct Template {
    nodes: Vec<parse::Node>,
}

/// What is done with a field that the data do not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    /// The template is refused: it names a column that does not exist.
    Field,
    /// The template is refused: objects of this kind have no such key.
    Key,
    /// The template is refused, also for keys that are data; what has no value prints nothing.
    Strict,
}

/// Functions beside Go's built-in ones and docker's.
pub trait Functions {
    /// Their names.
    fn names(&self) -> &[&str];
    /// Calls one of them.
    ///
    /// # Errors
    /// Why the call fails.
    fn call(&self, name: &str, arguments: &[Value]) -> Result<Value, String>;
}

/// No further functions.
#[derive(Debug, Clone, Copy)]
pub struct NoFunctions;

impl Functions for NoFunctions {
    fn names(&self) -> &[&str] {
        &[]
    }

    fn call(&self, name: &str, _: &[Value]) -> Result<Value, String> {
        Err(format!("function {} not defined", text::quote(name)))
    }
}

impl Template {
    /// # Errors
    /// The text of Go's parser, as far as ours tells the same errors apart.
    pub fn parse(text: &str) -> Result<Self, String> {
        Self::parse_with(text, &NoFunctions)
    }

    /// Parses a template that may name further functions.
    ///
    /// # Errors
    /// As [`Self::parse`].
    pub fn parse_with(text: &str, functions: &dyn Functions) -> Result<Self, String> {
        let tokens = lex::tokens(text)?;
        parse::nodes(&tokens, functions.names()).map(|nodes| Self { nodes })
    }

    /// # Errors
    /// When a field is missing or a function does not fit its arguments.
    pub fn render(&self, data: &Value, missing: Missing) -> Result<String, String> {
        self.render_with(data, missing, &NoFunctions)
    }

    /// Renders a template that was parsed with the same functions.
    ///
    /// # Errors
    /// As [`Self::render`].
    pub fn render_with(
        &self,
        data: &Value,
        missing: Missing,
        functions: &dyn Functions,
    ) -> Result<String, String> {
        eval::render(&self.nodes, data, missing, functions)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(template: &str, expected: &str) {
        let data: Value = serde_json::from_str(
            r#"{"Name":"/web","Id":"sha256:abc","N":3,"F":1.5,"Empty":"","Nil":null,"T":true,
            "State":{"Status":"running","Pid":12},"Tags":["a","b"],"None":[],
            "Labels":{"com.x/y":"1","a":"<2>"},
            "Ports":{"80/tcp":[{"HostIp":"0.0.0.0","HostPort":"8080"}],"81/tcp":null}}"#,
        )
        .unwrap();
        let rendered = Template::parse(template).and_then(|t| t.render(&data, Missing::Key));
        assert_eq!(
            rendered.unwrap_or_else(|error| format!("error: {error}")),
            expected,
            "{template}"
        );
    }

    #[test]
    fn fields_and_values_print_as_in_go() {
        check("{{.Name}} {{ .State.Status }}:{{.State.Pid}}", "/web running:12");
        check(
            "{{.}}",
            "map[Empty: F:1.5 Id:sha256:abc Labels:map[a:<2> com.x/y:1] N:3 Name:/web Nil:<nil> None:[] Ports:map[80/tcp:[map[HostIp:0.0.0.0 HostPort:8080]] 81/tcp:<nil>] State:map[Pid:12 Status:running] T:true Tags:[a b]]",
        );
        check("{{.Tags}} {{.None}} {{.Nil}}", "[a b] [] <no value>");
        check(r#"{{"a\tb"}}{{`c"d`}} {{'x'}} {{1.50}} {{true}}"#, "a\tbc\"d 120 1.5 true");
    }

    #[test]
    fn pipelines_and_functions() {
        check("{{.Labels | json}} {{json .Tags}}", r#"{"com.x/y":"1","a":"<2>"} ["a","b"]"#);
        check(r#"{{index .Labels "com.x/y"}} {{index .Tags 1}} {{len .Tags}}"#, "1 b 2");
        check(
            r#"{{join .Tags ","}} {{.Name | upper | lower}} {{title "ab cd"}}"#,
            "a,b /web Ab Cd",
        );
        check(r#"{{(index (index .Ports "80/tcp") 0).HostPort}}"#, "8080");
        check(
            r#"{{printf "%s-%d-%5.2f-%q-%v" .Name .N .F "x" .Tags}}"#,
            r#"/web-3- 1.50-"x"-[a b]"#,
        );
        check(r#"{{println "a" 1}}{{print "a" 1 2 "b"}}"#, "a 1\na1 2b");
        check(
            r#"{{truncate .Id 3}}|{{pad "x" 1 2}}|{{pad "" 1 2}}|{{split "a:b" ":"}}"#,
            "sha| x  ||[a b]",
        );
        check(r#"{{slice .Id 7 9}} {{slice .Id 7}}"#, "ab abc");
        check(r#"{{html "<a>"}} {{js "'"}} {{urlquery "a b"}}"#, r"&lt;a&gt; \' a+b");
    }

    #[test]
    fn conditions_loops_and_variables() {
        check(r#"{{if eq .State.Status "running" "paused"}}yes{{else}}no{{end}}"#, "yes");
        check(
            "{{if and .T (not .Empty)}}1{{end}}{{if or .Empty .Nil}}2{{else if gt .N 2}}3{{end}}",
            "13",
        );
        check("{{range .Tags}}<{{.}}>{{end}}{{range .None}}x{{else}}none{{end}}", "<a><b>none");
        check(
            r"{{range $k, $v := .Ports}}{{$k}}={{with $v}}{{(index . 0).HostPort}}{{else}}-{{end}};{{end}}",
            "80/tcp=8080;81/tcp=-;",
        );
        check("{{range $i, $e := .Tags}}{{if $i}},{{end}}{{$e}}{{$.N}}{{end}}", "a3,b3");
        check("{{$x := 1}}{{range .Tags}}{{$x = .}}{{end}}{{$x}}", "b");
        check("{{range .Tags}}{{if eq . \"b\"}}{{break}}{{end}}{{.}}{{end}}", "a");
        check("a {{- /* note */ -}} b {{- .N }}", "ab3");
        check(
            "{{with .State}}{{.Pid}}{{end}}{{define \"x\"}}[{{.}}]{{end}}{{template \"x\" .N}}",
            "12[3]",
        );
        check(
            "{{ne 1 2}} {{lt 1 2}} {{le 2 2}} {{ge 1 2}} {{not .T}}",
            "true true true false false",
        );
    }

    #[test]
    fn structs_have_the_fields_that_json_leaves_out() {
        let field =
            |name: &str, value: Value, given: bool| Field { name: name.to_owned(), value, given };
        let bytes = Value::Coded {
            json: Box::new("aGk=".into()),
            shown: "[104 105]".to_owned(),
            text: "hi".to_owned(),
        };
        let data = Value::structure(
            "swarm.Config",
            [
                field("Index", Value::Int(0), false),
                field("Data", bytes, true),
                field("Next", Value::Nil("swarm.Config".to_owned()), false),
            ],
        );
        let shown = |template: &str| {
            Template::parse(template).unwrap().render(&data, Missing::Key).unwrap_or_else(|why| why)
        };
        assert_eq!(shown("{{.}} {{json .}}"), r#"{0 [104 105] <nil>} {"Data":"aGk="}"#);
        assert_eq!(
            shown(r#"{{.Data}} {{printf "%s %v" .Data .Data}} {{len .Data}}"#),
            "[104 105] hi [104 105] 2"
        );
        assert_eq!(
            shown("{{.Index}} {{.Next}} {{json .Next}} {{if .Next}}1{{else}}2{{end}}"),
            "0 <nil> null 2"
        );
        let failed =
            |at: &str, why: &str| format!(r#"template: :1:2: executing "" at <{at}>: {why}"#);
        assert_eq!(
            shown("{{.Nope}}"),
            failed(".Nope", "can't evaluate field Nope in type swarm.Config")
        );
        assert_eq!(
            shown("{{.Next.Index}}"),
            failed(".Next.Index", "nil pointer evaluating *swarm.Config.Index")
                .replace(":1:2:", ":1:7:")
        );
    }

    #[test]
    fn errors_say_where_they_come_from() {
        check(
            "{{.Nope}}",
            r#"error: template: :1:2: executing "" at <.Nope>: map has no entry for key "Nope""#,
        );
        check("{{.Name", "error: template: :1: unclosed action");
        check("{{nope 1}}", r#"error: template: :1: function "nope" not defined"#);
        check("{{if .T}}", "error: template: :1: unexpected EOF");
        check(
            "{{index .Tags 7}}",
            r#"error: template: :1:2: executing "" at <index .Tags 7>: error calling index: index out of range: 7"#,
        );
    }
}
