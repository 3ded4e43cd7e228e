//! Rounds of a converging service and the lines they show.

use super::*;

const SECOND: i128 = 1_000_000_000;

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

struct Rounds {
    state: Converging,
    service: Value,
}

impl Rounds {
    fn new(service: &str) -> Self {
        Self { state: Converging::new("svc"), service: json(service) }
    }

    /// The lines of a round, and how it ended when not by waiting.
    fn round(&mut self, second: i128, tasks: &str) -> String {
        let active = BTreeSet::from(["n1".to_owned(), "n2".to_owned()]);
        let tasks = json(tasks);
        let view = View { service: &self.service, tasks: tasks.list(), active: &active };
        let mut lines = Vec::new();
        let step = self.state.step(second * SECOND, &view, &mut lines);
        let mut text: String = lines
            .iter()
            .map(|line| {
                let steps =
                    line.steps.map_or(String::new(), |(done, of)| format!(" [{done}/{of}]"));
                format!("{}: {}{steps}\n", line.name, line.text)
            })
            .collect();
        match step {
            Ok(Step::Wait) => {}
            Ok(Step::Done) => text.push_str("done\n"),
            Err(why) => text.push_str(&format!("failed: {why}\n")),
        }
        text
    }
}

fn task(slot: i64, node: &str, desired: &str, state: &str, error: &str) -> String {
    format!(
        r#"{{"Slot":{slot},"NodeID":"{node}","DesiredState":"{desired}","JobIteration":{{"Index":7}},
            "Status":{{"State":"{state}","Err":"{error}"}}}}"#
    )
}

#[test]
fn replicas_start_run_and_are_watched() {
    let mut rounds = Rounds::new(r#"{"Spec":{"Mode":{"Replicated":{"Replicas":2}}}}"#);
    assert_eq!(
        rounds.round(0, "[]"),
        "overall progress: 0 out of 2 tasks\n1/2:  \n2/2:  \noverall progress: 0 out of 2 tasks\n"
    );
    let one = task(4, "n1", "running", "running", "");
    let two = task(2, "n2", "running", "preparing", "");
    let dead = task(2, "n2", "shutdown", "failed", "boom");
    assert_eq!(
        rounds.round(1, &format!("[{one},{dead},{two}]")),
        "1/2: preparing [6/9]\n2/2: running   [9/9]\noverall progress: 1 out of 2 tasks\n"
    );
    let two = task(2, "n2", "running", "running", "");
    let all = format!("[{one},{two}]");
    assert_eq!(
        rounds.round(2, &all),
        "1/2: running   [9/9]\n2/2: running   [9/9]\noverall progress: 2 out of 2 tasks\n\
         verify: Waiting 5 seconds to verify that tasks are stable...\n"
    );
    assert_eq!(
        rounds.round(3, &all),
        "verify: Waiting 4 seconds to verify that tasks are stable...\n"
    );
    let failed = task(2, "n2", "running", "failed", "exit\\n1");
    assert_eq!(
        rounds.round(4, &format!("[{one},{failed}]")),
        "1/2: exit 1\n2/2: running   [9/9]\noverall progress: 1 out of 2 tasks\n\
         verify: Detected task failure\n"
    );
    rounds.round(5, &all);
    assert_eq!(rounds.round(10, &all), "verify: Service svc converged\ndone\n");
}

#[test]
fn tasks_on_nodes_that_are_down_do_not_count() {
    let mut rounds = Rounds::new(r#"{"Spec":{"Mode":{"Replicated":{"Replicas":1}}}}"#);
    let lost = task(1, "gone", "running", "running", "");
    assert!(rounds.round(0, &format!("[{lost}]")).ends_with("0 out of 1 tasks\n"));
}

#[test]
fn a_global_service_has_a_line_for_each_node() {
    let mut rounds = Rounds::new(
        r#"{"Spec":{"Mode":{"Global":{}},"UpdateConfig":{"Monitor":1000000000}},
            "UpdateStatus":{"State":"rollback_started","Message":"update rolled back"}}"#,
    );
    assert_eq!(
        rounds.round(0, "[]"),
        "rollback: update rolled back\noverall progress: waiting for new tasks\n"
    );
    let all = format!("[{}]", task(0, "n1", "running", "running", ""));
    assert_eq!(
        rounds.round(1, &all),
        "overall progress: rolling back update: 0 out of 1 tasks\nn1: running   [9/9]\n\
         overall progress: rolling back update: 1 out of 1 tasks\n\
         verify: Waiting 1 seconds to verify that tasks are stable...\n"
    );
    assert_eq!(rounds.round(2, &all), "verify: Service svc converged\ndone\n");
}

#[test]
fn jobs_end_when_enough_tasks_are_complete() {
    let mut rounds = Rounds::new(
        r#"{"Spec":{"Mode":{"ReplicatedJob":{"TotalCompletions":2,"MaxConcurrent":1}}},
            "JobStatus":{"JobIteration":{"Index":7}}}"#,
    );
    let first = task(0, "n1", "complete", "running", "");
    assert_eq!(
        rounds.round(0, &format!("[{first}]")),
        "job progress: 0 out of 2 complete [0/2]\nactive tasks: 0 out of 1 tasks\n1/2:  \n2/2:  \n\
         1/2: running   [9/10]\njob progress: 0 out of 2 complete [0/2]\n\
         active tasks: 1 out of 1 tasks\n"
    );
    let (first, second) =
        (task(0, "n1", "complete", "complete", ""), task(1, "n1", "complete", "complete", ""));
    assert_eq!(
        rounds.round(1, &format!("[{first},{second}]")),
        "1/2: complete  [10/10]\n2/2: complete  [10/10]\njob progress: 2 out of 2 complete [2/2]\n\
         active tasks: 0 out of 0 tasks\n: job complete\ndone\n"
    );
}

#[test]
fn a_global_job_waits_for_the_nodes_it_began_with() {
    let mut rounds = Rounds::new(
        r#"{"Spec":{"Mode":{"GlobalJob":{}}},"JobStatus":{"JobIteration":{"Index":7}}}"#,
    );
    assert_eq!(rounds.round(0, "[]"), "job progress: waiting for tasks\n");
    let first = task(0, "n1", "complete", "running", "");
    assert_eq!(
        rounds.round(1, &format!("[{first}]")),
        "n1: running   [9/10]\njob progress: 0 out of 1 complete [0/1]\n"
    );
    let (first, late) =
        (task(0, "n1", "complete", "complete", ""), task(0, "n2", "complete", "running", ""));
    assert_eq!(
        rounds.round(2, &format!("[{first},{late}]")),
        "n1: complete  [10/10]\njob progress: 1 out of 1 complete [1/1]\n: job complete\ndone\n"
    );
}

#[test]
fn a_paused_update_is_an_error_and_a_completed_one_an_end() {
    let service = |state: &str| {
        format!(
            r#"{{"Spec":{{"Mode":{{"Replicated":{{"Replicas":1}}}}}},
                 "UpdateStatus":{{"State":"{state}","Message":"because"}}}}"#
        )
    };
    assert_eq!(
        Rounds::new(&service("paused")).round(0, "[]"),
        "failed: service update paused: because\n"
    );
    assert_eq!(
        Rounds::new(&service("rollback_paused")).round(0, "[]"),
        "failed: service rollback paused: because\n"
    );
    assert_eq!(Rounds::new(&service("completed")).round(0, "[]"), "done\n");
}
