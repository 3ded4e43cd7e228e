//! What separates two views of a network, part by part. Pure.

use shoal_model::cluster::NetworkView;
use shoal_model::cluster::view::{ViewEndpoint, ViewService, differing};

/// Parts that are no longer as they were, as they were and as they are: what stayed is in neither list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Turn<'a> {
    /// Endpoints before.
    pub left: Vec<&'a ViewEndpoint>,
    /// Endpoints now.
    pub came: Vec<&'a ViewEndpoint>,
    /// Services before.
    pub services_left: Vec<&'a ViewService>,
    /// Services now.
    pub services_came: Vec<&'a ViewService>,
}

impl<'a> Turn<'a> {
    /// From nothing to a view.
    pub fn to(view: &'a NetworkView) -> Self {
        let (left, services_left) = Default::default();
        let (came, services_came) =
            (view.endpoints.iter().collect(), view.services.iter().collect());
        Self { left, came, services_left, services_came }
    }

    /// From `before` to a view.
    pub fn between(before: &'a NetworkView, view: &'a NetworkView) -> Self {
        let mut turn = Self::default();
        if std::ptr::eq(before, view) {
            return turn;
        }
        for (old, new) in differing(&before.endpoints, &view.endpoints, |one| one.task) {
            turn.left.extend(old);
            turn.came.extend(new);
        }
        for (old, new) in differing(&before.services, &view.services, |one| one.id) {
            turn.services_left.extend(old);
            turn.services_came.extend(new);
        }
        turn
    }
}
