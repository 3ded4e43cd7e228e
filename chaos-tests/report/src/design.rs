//! The budgets of the design (§8) by name, so that a run can tell which of them it did not measure.

/// Name and words of each budget. Figures are held against them where they are measured.
pub const BUDGETS: [(&str, &str); 28] = [
    ("create-start", "create + start over the API"),
    ("run-shoal", "`shoal run --rm busybox true`, whole process"),
    ("run-docker", "`docker run --rm busybox true`, whole process"),
    ("parallel", "50 containers created and started in parallel over the API"),
    ("exec", "exec of `true`, attached, over the API"),
    ("remove", "remove an exited container"),
    ("memory-idle", "daemon memory, idle"),
    ("memory-50", "daemon memory with 50 containers"),
    ("memory-shim", "memory of a shim"),
    ("list", "list of 50 containers over the API"),
    ("load", "load of a 200 MB image"),
    ("save", "save of a 200 MB image"),
    ("service", "service of 20 replicas, create to all running"),
    ("scale-up", "scale 20 to 100"),
    ("scale-down", "scale 100 to 20"),
    ("service-remove", "remove a service of 20"),
    ("update", "update of 20, parallelism 10"),
    ("rollback", "rollback of 20, parallelism 1"),
    ("failover", "leader killed to next write, median of 20"),
    ("failover-worst", "leader killed to next write, worst of 20"),
    ("elections", "no election in ten idle minutes on a busy machine"),
    ("node-dead", "node dead to replacement running"),
    ("tasks", "a million tasks placed and running on 5,000 nodes, in-process workers"),
    ("tasks-tls", "the same with 5,000 mTLS sessions"),
    ("memory-task", "memory per task on a manager"),
    ("idle-100", "idle CPU with 100 running tasks"),
    ("idle-1000", "idle CPU with 1,000 running tasks"),
    ("change", "cost of one task's change"),
];

/// The words of the budgets that no row answers.
pub fn unanswered<'a>(answered: impl Iterator<Item = &'a str> + Clone) -> Vec<&'static str> {
    let missing = BUDGETS.iter().filter(|(name, _)| !answered.clone().any(|one| one == *name));
    missing.map(|(_, words)| *words).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_row_answers_is_named() {
        let answered = BUDGETS.iter().map(|(name, _)| *name);
        assert!(unanswered(answered.clone()).is_empty());
        assert_eq!(
            unanswered(answered.filter(|name| !["exec", "tasks-tls"].contains(name))),
            ["exec of `true`, attached, over the API", "the same with 5,000 mTLS sessions"]
        );
    }

    #[test]
    fn names_are_told_apart() {
        let names: std::collections::BTreeSet<_> = BUDGETS.iter().map(|(name, _)| name).collect();
        assert_eq!(names.len(), BUDGETS.len());
    }
}
