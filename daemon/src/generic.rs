//! Generic resources of this node: `KIND=NUMBER`, or `KIND=NAME` once for each piece. Pure.
//!
//! Source: swarmkit `api/genericresource/parse.go`.

use std::collections::BTreeMap;

use anyhow::bail;
use shoal_model::cluster::node::GenericResource;

/// Reads all values of `--node-generic-resource`; one value may hold several, separated by commas.
pub(crate) fn parse(values: &[String]) -> anyhow::Result<Vec<GenericResource>> {
    let mut kinds = BTreeMap::<&str, Vec<&str>>::new();
    for term in values.iter().flat_map(|value| value.split(',')) {
        let (kind, value) = term.split_once('=').unwrap_or_default();
        let (kind, value) = (kind.trim(), value.trim());
        if kind.is_empty() || value.is_empty() || value.contains('=') || value.starts_with('-') {
            bail!("invalid generic resource `{term}`: write KIND=NUMBER or KIND=NAME");
        }
        kinds.entry(kind).or_default().push(value);
    }
    let mut resources = Vec::new();
    for (kind, values) in kinds {
        let owned = || kind.to_owned();
        match &values[..] {
            [value] if let Ok(value) = value.parse() => {
                resources.push(GenericResource::Discrete { kind: owned(), value });
            }
            names if names.iter().all(|name| name.parse::<i64>().is_err()) => {
                let named = |name: &&str| GenericResource::Named {
                    kind: owned(),
                    value: (*name).to_owned(),
                };
                resources.extend(names.iter().map(named));
            }
            mixed => bail!(
                "generic resource `{kind}` is given {}: it has either one amount or names",
                mixed.join(", ")
            ),
        }
    }
    Ok(resources)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(values: &[&str]) -> Result<Vec<GenericResource>, String> {
        let values: Vec<String> = values.iter().map(|value| (*value).to_owned()).collect();
        parse(&values).map_err(|error| error.to_string())
    }

    #[test]
    fn amounts_and_names() {
        let named = |value: &str| GenericResource::Named {
            kind: "gpu".to_owned(),
            value: value.to_owned(),
        };
        let apple = GenericResource::Discrete { kind: "apple".to_owned(), value: 5 };
        assert_eq!(
            parsed(&["gpu=uuid1,apple=5", "gpu = uuid2"]),
            Ok(vec![apple, named("uuid1"), named("uuid2")])
        );
        assert_eq!(parsed(&[]), Ok(Vec::new()));
    }

    #[test]
    fn what_is_neither_is_refused() {
        for term in ["gpu", "gpu=", "=1", "gpu=a=b", "gpu=-1", ""] {
            let text = format!("invalid generic resource `{term}`: write KIND=NUMBER or KIND=NAME");
            assert_eq!(parsed(&[term]), Err(text));
        }
        for values in [["gpu=1", "gpu=a"], ["gpu=1", "gpu=2"]] {
            let given = values.map(|value| value.trim_start_matches("gpu=")).join(", ");
            let text = format!(
                "generic resource `gpu` is given {given}: it has either one amount or names"
            );
            assert_eq!(parsed(&values), Err(text));
        }
    }
}
