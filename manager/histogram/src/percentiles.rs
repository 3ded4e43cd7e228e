//! The usual percentiles.

use std::fmt;

/// Percentiles of a histogram; zeros when it has no values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub struct PercentileStats {
    /// Values that were counted.
    pub samples: u64,
    pub p0_1: u64,
    pub p1: u64,
    pub p5: u64,
    pub p10: u64,
    pub p50: u64,
    pub p90: u64,
    pub p99: u64,
    pub p99_9: u64,
}

impl fmt::Display for PercentileStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[samples: {}", self.samples)?;
        let named = [
            ("0.1", self.p0_1),
            ("1", self.p1),
            ("5", self.p5),
            ("10", self.p10),
            ("50", self.p50),
            ("90", self.p90),
            ("99", self.p99),
            ("99.9", self.p99_9),
        ];
        for (name, value) in named {
            write!(f, ", P{name}: {value}")?;
        }
        f.write_str("]")
    }
}
