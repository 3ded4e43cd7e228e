//! Which volumes a list or a prune means. Pure.

use shoal_model::volume::Volume;

/// A condition on labels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LabelFilter {
    /// `key` or `key=value` must be there.
    Has(String),
    /// `key` or `key=value` must not be there.
    Lacks(String),
}

/// Conditions that must all hold; of several names or drivers one is enough. Empty: every volume.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Parts of names.
    pub names: Vec<String>,
    /// Drivers.
    pub drivers: Vec<String>,
    /// Labels.
    pub labels: Vec<LabelFilter>,
    /// Whether no container refers to it.
    pub dangling: Option<bool>,
}

impl Filter {
    /// Whether `volume` with `references` containers fits.
    pub fn fits(&self, volume: &Volume, references: usize) -> bool {
        let name = |part: &String| volume.name.contains(part.as_str());
        (self.names.is_empty() || self.names.iter().any(name))
            && (self.drivers.is_empty() || self.drivers.contains(&volume.driver))
            && self.labels.iter().all(|filter| label(filter, volume))
            && self.dangling.is_none_or(|dangling| dangling == (references == 0))
    }
}

fn label(filter: &LabelFilter, volume: &Volume) -> bool {
    let has = |text: &str| match text.split_once('=') {
        None => volume.labels.contains_key(text),
        Some((key, value)) => volume.labels.get(key).is_some_and(|have| have == value),
    };
    match filter {
        LabelFilter::Has(text) => has(text),
        LabelFilter::Lacks(text) => !has(text),
    }
}
