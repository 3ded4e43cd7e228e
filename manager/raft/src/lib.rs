//! Consensus behind plain types.
