//! Decoding JSON as Go does: `null` is the same as absent.

use serde::de::DeserializeOwned;
use serde_json::Value;

/// JSON that does not fit its type.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It is no JSON.
    #[error("invalid JSON: {0}")]
    Syntax(#[source] serde_json::Error),
    /// A field has the wrong type.
    #[error("invalid JSON: field {path}: {source}")]
    Field {
        /// Where, e.g. `HostConfig.Memory`.
        path: String,
        /// Why.
        source: serde_json::Error,
    },
}

/// Writes a ratio as Go does: whole ones without a fraction.
pub(crate) fn ratio<S: serde::Serializer>(value: &f32, out: S) -> Result<S::Ok, S::Error> {
    match *value {
        0.0 => out.serialize_u8(0),
        1.0 => out.serialize_u8(1),
        other => out.serialize_f32(other),
    }
}

/// Decodes `bytes`; members that are `null` count as absent.
///
/// # Errors
/// When it is no JSON or does not fit; the error names the field.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Error> {
    decode_value(serde_json::from_slice(bytes).map_err(Error::Syntax)?)
}

/// [`decode`] for a value that is already parsed.
///
/// # Errors
/// When it does not fit; the error names the field.
pub fn decode_value<T: DeserializeOwned>(mut value: Value) -> Result<T, Error> {
    drop_nulls(&mut value);
    serde_path_to_error::deserialize(value).map_err(|error| Error::Field {
        path: error.path().to_string(),
        source: error.into_inner(),
    })
}

fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.retain(|_, member| !member.is_null());
            members.values_mut().for_each(drop_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_nulls),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Default, serde::Deserialize)]
    #[serde(default)]
    struct Outer {
        list: Vec<String>,
        inner: Inner,
    }

    #[derive(Debug, PartialEq, Default, serde::Deserialize)]
    #[serde(default)]
    struct Inner {
        number: i64,
    }

    #[test]
    fn null_is_absent() {
        let outer: Outer = decode(br#"{"list":null,"inner":{"number":null}}"#).unwrap();
        assert_eq!(outer, Outer::default());
    }

    #[test]
    fn names_the_field() {
        let error = decode::<Outer>(br#"{"inner":{"number":"x"}}"#).unwrap_err();
        assert_eq!(
            error.to_string(),
            r#"invalid JSON: field inner.number: invalid type: string "x", expected i64"#
        );
        let error = decode::<Outer>(b"{").unwrap_err();
        assert_eq!(
            error.to_string(),
            "invalid JSON: EOF while parsing an object at line 1 column 1"
        );
    }
}
