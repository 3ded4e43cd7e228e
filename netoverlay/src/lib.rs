//! Networks of one host: planner and kernel.
