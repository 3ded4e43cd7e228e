//! What everybody may see of a container at any moment, published by its owner.

use std::sync::Arc;

use shoal_model::container::{ExitStatus, Phase, State, WaitOutcome};

use super::record::Record;
use crate::networking::NetworkSettings;

/// A consistent picture of one container.
#[derive(Debug, Clone)]
pub struct View {
    /// Its record.
    pub record: Arc<Record>,
    /// What it does now.
    pub state: State,
    /// Its network while it runs.
    pub network: Option<Arc<NetworkSettings>>,
    /// How many runs ended since the daemon started. Waiters compare it, so that none misses an exit.
    pub exits: u64,
    /// How many starts failed since the daemon started.
    pub failed_starts: u64,
    /// It is gone; nothing follows.
    pub removed: bool,
}

impl View {
    /// Its name without slash.
    pub fn name(&self) -> &str {
        &self.record.name
    }

    /// Whether clients see it as running: live, or waiting for its restart.
    pub fn counts_as_running(&self) -> bool {
        self.state.phase.is_live() || self.state.phase == Phase::Restarting
    }

    /// How its last run ended, as a waiter learns it.
    pub fn outcome(&self) -> WaitOutcome {
        let code = self.state.exit.as_ref().map_or(0, |exit: &ExitStatus| i64::from(exit.code));
        let error = Some(self.state.error.clone()).filter(|error| !error.is_empty());
        WaitOutcome { code, error }
    }
}
