//! `depends_on` → the label by which managers know what a service waits for. Pure.

use serde_json::Value as Json;

use super::convert::scoped;

/// What a service of a stack waits for, as the label's value; `None`: for nothing.
///
/// The form is `service:condition[:optional]`, with commas between dependencies.
pub(super) fn label(stack: &str, service: &Json) -> Option<String> {
    let wanted = service["depends_on"].as_object()?;
    let one = |(key, how): (&String, &Json)| {
        let condition = how["condition"].as_str().unwrap_or("service_started");
        let condition = condition.strip_prefix("service_").unwrap_or(condition);
        let condition = if condition == "completed_successfully" { "completed" } else { condition };
        let optional = if how["required"] == false { ":optional" } else { "" };
        format!("{}:{condition}{optional}", scoped(stack, key))
    };
    let all: Vec<String> = wanted.iter().map(one).collect();
    (!all.is_empty()).then(|| all.join(","))
}

/// Whether others wait for the end of a service: it runs once.
pub(super) fn runs_once(key: &str, content: &Json) -> bool {
    let services = content["services"].as_object();
    services
        .into_iter()
        .flatten()
        .any(|(_, other)| other["depends_on"][key]["condition"] == "service_completed_successfully")
}
