//! The node agent: session, assignments, task lifecycles.
