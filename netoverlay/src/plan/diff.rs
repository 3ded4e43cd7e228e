//! What separates the kernel's table from the desired one.

use std::collections::{BTreeMap, BTreeSet};

use super::ruleset::{Base, Data, FieldType, Rule, Ruleset};

/// The table as the kernel shows it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Current {
    /// Chains by name.
    pub chains: BTreeMap<String, CurrentChain>,
    /// Maps by name.
    pub maps: BTreeMap<String, CurrentMap>,
}

/// A chain as the kernel shows it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CurrentChain {
    /// Type, hook number, priority.
    pub base: Option<(String, u32, i32)>,
    /// The mark of each rule, in order; `None`: not made by us.
    pub rules: Vec<Option<String>>,
}

/// A map as the kernel shows it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CurrentMap {
    /// Bytes of a key.
    pub key_len: usize,
    /// Bytes of the data; zero: verdicts.
    pub data_len: usize,
    /// Key to data.
    pub elements: BTreeMap<Vec<u8>, Data>,
}

/// One step of a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Change {
    DeleteTable,
    CreateTable,
    CreateChain { chain: String, base: Option<Base> },
    CreateMap { map: String, key: Vec<FieldType>, data: Vec<FieldType> },
    RemoveElements { map: String, keys: Vec<Vec<u8>> },
    FlushChain { chain: String },
    AddRule { chain: String, rule: Rule },
    AddElements { map: String, elements: Vec<(Vec<u8>, Data)> },
    DeleteChain { chain: String },
    DeleteMap { map: String },
}

/// The changes that make `current` (`None`: there is no table) equal to `desired`. Empty when it is.
pub fn diff(current: Option<&Current>, desired: &Ruleset) -> Vec<Change> {
    let mut changes = Vec::new();
    let empty = Current::default();
    let current = match current {
        Some(current) if compatible(current, desired) => current,
        Some(_) => {
            changes.extend([Change::DeleteTable, Change::CreateTable]);
            &empty
        }
        None => {
            changes.push(Change::CreateTable);
            &empty
        }
    };
    create(current, desired, &mut changes);
    remove_elements(current, desired, &mut changes);
    rewrite_rules(current, desired, &mut changes);
    add_elements(current, desired, &mut changes);
    delete(current, desired, &mut changes);
    changes
}

/// Whether what both have is of the same type; a type cannot be changed in place.
fn compatible(current: &Current, desired: &Ruleset) -> bool {
    let chains = desired.chains.iter().all(|(name, chain)| {
        let base = chain
            .base
            .map(|base| (base.kind.as_str().to_owned(), base.hook.number(), base.priority));
        current.chains.get(name).is_none_or(|current| current.base == base)
    });
    let len = |types: &[FieldType]| types.iter().map(|kind| kind.padded_len()).sum::<usize>();
    let maps = desired.maps.iter().all(|(name, map)| {
        current.maps.get(name).is_none_or(|current| {
            current.key_len == len(&map.key) && current.data_len == len(&map.data)
        })
    });
    chains && maps
}

fn create(current: &Current, desired: &Ruleset, changes: &mut Vec<Change>) {
    for (name, chain) in &desired.chains {
        if !current.chains.contains_key(name) {
            changes.push(Change::CreateChain { chain: name.clone(), base: chain.base });
        }
    }
    for (name, map) in &desired.maps {
        if !current.maps.contains_key(name) {
            changes.push(Change::CreateMap {
                map: name.clone(),
                key: map.key.clone(),
                data: map.data.clone(),
            });
        }
    }
}

fn remove_elements(current: &Current, desired: &Ruleset, changes: &mut Vec<Change>) {
    for (name, map) in &current.maps {
        let wanted = desired.maps.get(name);
        let keys: Vec<Vec<u8>> = map
            .elements
            .iter()
            .filter(|(key, data)| wanted.and_then(|map| map.elements.get(*key)) != Some(*data))
            .map(|(key, _)| key.clone())
            .collect();
        if !keys.is_empty() {
            changes.push(Change::RemoveElements { map: name.clone(), keys });
        }
    }
}

fn rewrite_rules(current: &Current, desired: &Ruleset, changes: &mut Vec<Change>) {
    let superfluous: BTreeSet<&String> =
        current.chains.keys().filter(|name| !desired.chains.contains_key(*name)).collect();
    for name in superfluous {
        changes.push(Change::FlushChain { chain: name.clone() });
    }
    for (name, chain) in &desired.chains {
        let marks: Vec<Option<String>> =
            chain.rules.iter().map(|rule| Some(rule.fingerprint())).collect();
        let existing = current.chains.get(name).map(|chain| &chain.rules[..]).unwrap_or_default();
        if existing == marks {
            continue;
        }
        if !existing.is_empty() {
            changes.push(Change::FlushChain { chain: name.clone() });
        }
        for rule in &chain.rules {
            changes.push(Change::AddRule { chain: name.clone(), rule: rule.clone() });
        }
    }
}

fn add_elements(current: &Current, desired: &Ruleset, changes: &mut Vec<Change>) {
    for (name, map) in &desired.maps {
        let existing = current.maps.get(name);
        let elements: Vec<(Vec<u8>, Data)> = map
            .elements
            .iter()
            .filter(|(key, data)| existing.and_then(|map| map.elements.get(*key)) != Some(*data))
            .map(|(key, data)| (key.clone(), data.clone()))
            .collect();
        if !elements.is_empty() {
            changes.push(Change::AddElements { map: name.clone(), elements });
        }
    }
}

fn delete(current: &Current, desired: &Ruleset, changes: &mut Vec<Change>) {
    for name in current.chains.keys().filter(|name| !desired.chains.contains_key(*name)) {
        changes.push(Change::DeleteChain { chain: name.clone() });
    }
    for name in current.maps.keys().filter(|name| !desired.maps.contains_key(*name)) {
        changes.push(Change::DeleteMap { map: name.clone() });
    }
}
