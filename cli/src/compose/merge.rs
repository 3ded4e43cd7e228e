//! Several files as one: later ones add to earlier ones and override them. Pure, on long forms.

use serde_json::{Map, Value as Json};

use super::yaml::Mark;

/// What a file does with what earlier ones say, by path.
pub(crate) type Marks = [(String, Mark)];

/// Adds a later file.
pub(crate) fn files(base: &mut Json, over: Json, marks: &Marks) {
    forget(base, marks, "");
    let Json::Object(sections) = over else { return };
    for (section, objects) in sections {
        let Json::Object(objects) = objects else {
            base[&section] = objects;
            continue;
        };
        for (name, object) in objects {
            let old = &mut base[&section][&name];
            match section.as_str() {
                _ if old.is_null() => *old = object,
                "services" => service(old, object),
                _ => general(old, object),
            }
        }
    }
}

/// Adds to a service what extends it.
pub(crate) fn extend(base: &mut Json, name: &str, over: Json, marks: &Marks) {
    forget(base, marks, &format!("services.{name}."));
    service(base, over);
}

/// Takes away what a later file resets or overrides as a whole.
fn forget(base: &mut Json, marks: &Marks, outer: &str) {
    for (path, _) in marks {
        let Some(path) = path.strip_prefix(outer) else { continue };
        let mut place = &mut *base;
        let mut keys = path.split('.').peekable();
        while let Some(key) = keys.next() {
            let Json::Object(fields) = place else { break };
            if keys.peek().is_none() {
                fields.remove(key);
                break;
            }
            let Some(inner) = fields.get_mut(key) else { break };
            place = inner;
        }
    }
}

fn service(base: &mut Json, over: Json) {
    let Json::Object(fields) = over else { return };
    for (key, value) in fields {
        let old = &mut base[&key];
        match key.as_str() {
            _ if old.is_null() => *old = value,
            "command" | "entrypoint" => *old = value,
            "ports" => keyed(old, value, |port| {
                format!(
                    "{}/{}/{}/{}",
                    port["host_ip"], port["published"], port["target"], port["protocol"]
                )
            }),
            "volumes" => keyed(old, value, |mount| mount["target"].to_string()),
            "devices" => keyed(old, value, |device| device["target"].to_string()),
            "secrets" | "configs" => keyed(old, value, |file| file["source"].to_string()),
            "healthcheck" => {
                if let Json::Object(fields) = value {
                    fields.into_iter().for_each(|(key, value)| old[key] = value);
                }
            }
            "logging" if old["driver"] != value["driver"] && !value["driver"].is_null() => {
                *old = value;
            }
            _ => general(old, value),
        }
    }
}

/// Objects member by member, lists one behind the other, all else replaced.
fn general(base: &mut Json, over: Json) {
    match (base, over) {
        (Json::Object(base), Json::Object(over)) => {
            for (key, value) in over {
                match base.get_mut(&key) {
                    Some(old) => general(old, value),
                    None => {
                        base.insert(key, value);
                    }
                }
            }
        }
        (Json::Array(base), Json::Array(over)) => {
            for item in over {
                if !base.contains(&item) {
                    base.push(item);
                }
            }
        }
        (base, over) => *base = over,
    }
}

/// Items of the same key are merged, others added; in the order of the keys.
fn keyed(base: &mut Json, over: Json, key: impl Fn(&Json) -> String) {
    let (Json::Array(items), Json::Array(added)) = (&mut *base, over) else { return };
    let mut all: Map<String, Json> = items.drain(..).map(|item| (key(&item), item)).collect();
    for item in added {
        match all.get_mut(&key(&item)) {
            Some(old) => general(old, item),
            None => {
                all.insert(key(&item), item);
            }
        }
    }
    *items = all.into_iter().map(|(_, item)| item).collect();
}
