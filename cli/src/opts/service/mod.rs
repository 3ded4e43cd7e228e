//! Options of services → their specification in the API's JSON. Pure, but for files that options name.
//!
//! A specification is edited as JSON, so that an update keeps what this program does not know.

pub(crate) mod create;
pub(crate) mod flags;
pub(crate) mod parts;
pub(crate) mod policy;
pub(crate) mod update;

use serde_json::Value as Json;

/// Removes members that are null: reading an absent member of JSON to edit it leaves one.
pub(crate) fn tidy(value: &mut Json) {
    match value {
        Json::Object(fields) => {
            fields.retain(|_, value| !value.is_null());
            fields.values_mut().for_each(tidy);
        }
        Json::Array(list) => list.iter_mut().for_each(tidy),
        _ => {}
    }
}

/// Sets a member, or removes it where the value says nothing: empty text, list or object.
pub(crate) fn put(object: &mut Json, key: &str, value: impl Into<Json>) {
    let value = value.into();
    let empty = match &value {
        Json::Null => true,
        Json::String(text) => text.is_empty(),
        Json::Array(list) => list.is_empty(),
        Json::Object(fields) => fields.is_empty(),
        _ => false,
    };
    object[key] = if empty { Json::Null } else { value };
}

/// The texts of a list; none when it is absent.
pub(crate) fn texts(value: &Json) -> Vec<String> {
    let list = value.as_array().map(Vec::as_slice).unwrap_or_default();
    list.iter().filter_map(|item| item.as_str().map(str::to_owned)).collect()
}

/// A list; empty when it is absent.
pub(crate) fn items(value: &Json) -> Vec<Json> {
    value.as_array().cloned().unwrap_or_default()
}
