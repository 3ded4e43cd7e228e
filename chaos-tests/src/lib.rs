//! Conformance, crash tests, benches.
