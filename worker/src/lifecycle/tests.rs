//! Whole lives as text: each line is an event, what it caused, and the state after it.

use expect_test::{Expect, expect};
use shoal_model::cluster::task::{ContainerStatus, RestartCondition, RestartPolicy};

use super::*;

struct Run {
    lifecycle: Lifecycle,
    seconds: i64,
    log: String,
}

fn rules() -> Rules {
    Rules {
        grace: Duration::from_secs(90),
        restart: RestartPolicy {
            condition: Some(RestartCondition::Any),
            delay: Some(Duration::from_secs(5)),
            max_attempts: Some(2),
            window: None,
        },
        stop_after: None,
    }
}

fn memory(state: TaskState) -> Memory {
    Memory { status: TaskStatus { state, ..TaskStatus::default() }, ..Memory::default() }
}

fn found(stage: Stage) -> Found {
    let container = ContainerStatus { id: "c1".to_owned(), pid: 7, exit_code: 0 };
    Found { container, ports: Vec::new(), stage }
}

fn end(exit_code: i32) -> End {
    End { exit_code, error: String::new() }
}

fn wish(desired: TaskState) -> Event {
    Event::Wish { desired, rules: rules() }
}

fn trouble(transient: bool) -> Trouble {
    Trouble { message: "no such image".to_owned(), transient }
}

impl Run {
    fn new(state: TaskState, desired: TaskState) -> Self {
        Self::with(memory(state), desired, rules())
    }

    fn with(memory: Memory, desired: TaskState, rules: Rules) -> Self {
        let lifecycle = Lifecycle::new(memory, desired, rules);
        Self { lifecycle, seconds: 0, log: String::new() }
    }

    fn step(&mut self, event: Event) -> &mut Self {
        let now = Now {
            monotonic: Timestamp::from_parts(self.seconds, 0),
            wall: Timestamp::from_parts(1000 + self.seconds, 0),
        };
        let name = match &event {
            Event::Wish { desired, .. } => format!("Wish {}", desired.as_str()),
            Event::Resume
            | Event::Unassigned
            | Event::CutOff
            | Event::Connected
            | Event::Tick
            | Event::Found(_)
            | Event::Prepared(_)
            | Event::Started(_)
            | Event::Settled(_)
            | Event::Waited(_)
            | Event::Stopped(_)
            | Event::Removed(_) => {
                format!("{event:?}").split(['(', ' ']).next().unwrap().to_owned()
            }
        };
        let before = self.lifecycle.memory().status.state;
        let mut out = Vec::new();
        self.lifecycle.step(now, event, &mut out);
        let memory = self.lifecycle.memory();
        assert!(memory.status.state >= before, "observed state went back");
        let mut line = format!("{}s {name}:", self.seconds);
        for effect in out {
            line += &match effect {
                Effect::Run(Operation::Shutdown { grace }) => format!(" Shutdown({grace:?})"),
                Effect::Run(operation) => format!(" {operation:?}"),
                Effect::Report => " Report".to_owned(),
                Effect::Forget => " Forget".to_owned(),
            };
        }
        line += &format!(" [{}", memory.status.state.as_str());
        if !memory.status.error.is_empty() {
            line += &format!(": {}", memory.status.error);
        }
        if memory.runs > 0 {
            line += &format!(", runs {}", memory.runs);
        }
        if let Some(at) = self.lifecycle.next_deadline() {
            line += &format!(", until {}s", at.seconds());
        }
        self.log += &line;
        self.log += "]\n";
        self
    }

    fn at(&mut self, seconds: i64) -> &mut Self {
        self.seconds = seconds;
        self
    }

    /// From nothing to running.
    fn run(&mut self) -> &mut Self {
        self.step(Event::Resume)
            .step(Event::Found(Ok(None)))
            .step(Event::Prepared(Ok(found(Stage::Created))))
            .step(Event::Started(Ok(found(Stage::Running))))
            .step(Event::Settled(Ok(None)))
    }

    #[track_caller]
    fn check(&self, expected: &Expect) {
        expected.assert_eq(&self.log);
    }
}

#[test]
fn a_whole_life_waits_at_ready_and_honours_the_grace_period() {
    let mut run = Run::new(TaskState::Assigned, TaskState::Ready);
    run.step(Event::Resume)
        .step(Event::Found(Ok(None)))
        .step(Event::Prepared(Ok(found(Stage::Created))))
        .step(wish(TaskState::Running))
        .step(Event::Started(Ok(found(Stage::Running))))
        .step(Event::Settled(Ok(None)))
        .step(wish(TaskState::Ready))
        .step(wish(TaskState::Shutdown))
        .step(Event::Stopped(Ok(Some(found(Stage::Ended(end(137)))))))
        .step(wish(TaskState::Remove))
        .step(Event::Unassigned)
        .step(Event::Removed(Ok(())));
    run.check(&expect![[r#"
        0s Resume: Find [assigned]
        0s Found: Prepare Report [preparing]
        0s Prepared: Report [ready]
        0s Wish running: Start Report [starting]
        0s Started: Settle [starting]
        0s Settled: Wait Report [running]
        0s Wish ready: [running]
        0s Wish shutdown: Shutdown(90s) [running]
        0s Stopped: Report [shutdown]
        0s Wish remove: [shutdown]
        0s Unassigned: Remove [shutdown]
        0s Removed: Forget [shutdown]
    "#]]);
}

#[test]
fn failure_before_starting_is_a_rejection_and_after_it_a_failure() {
    let mut run = Run::new(TaskState::Assigned, TaskState::Running);
    run.step(Event::Resume).step(Event::Found(Ok(None))).step(Event::Prepared(Err(trouble(false))));
    run.check(&expect![[r#"
        0s Resume: Find [assigned]
        0s Found: Prepare Report [preparing]
        0s Prepared: Report [rejected: no such image]
    "#]]);
    let mut run = Run::new(TaskState::Assigned, TaskState::Running);
    run.step(Event::Resume)
        .step(Event::Found(Ok(None)))
        .step(Event::Prepared(Ok(found(Stage::Created))))
        .step(Event::Started(Err(trouble(false))));
    run.check(&expect![[r#"
        0s Resume: Find [assigned]
        0s Found: Prepare Report [preparing]
        0s Prepared: Start Report [starting]
        0s Started: Report [failed: no such image]
    "#]]);
    let mut run = Run::new(TaskState::Assigned, TaskState::Running);
    run.run().step(Event::Waited(Ok(Outcome::Ended(end(3)))));
    run.check(&expect![[r#"
        0s Resume: Find [assigned]
        0s Found: Prepare Report [preparing]
        0s Prepared: Start Report [starting]
        0s Started: Settle [starting]
        0s Settled: Wait Report [running]
        0s Waited: Report [failed: task: non-zero exit (3)]
    "#]]);
    let mut run = Run::new(TaskState::Assigned, TaskState::Complete);
    run.run().step(Event::Waited(Ok(Outcome::Ended(end(0)))));
    run.check(&expect![[r#"
        0s Resume: Find [assigned]
        0s Found: Prepare Report [preparing]
        0s Prepared: Start Report [starting]
        0s Started: Settle [starting]
        0s Settled: Wait Report [running]
        0s Waited: Report [complete]
    "#]]);
}

#[test]
fn what_is_unavailable_is_tried_again_and_then_rejected() {
    let mut run = Run::new(TaskState::Assigned, TaskState::Running);
    run.step(Event::Resume).step(Event::Found(Ok(None)));
    for seconds in [0, 1, 3, 7, 15] {
        run.at(seconds).step(Event::Prepared(Err(trouble(true))));
        let due = run.lifecycle.next_deadline().unwrap().seconds();
        run.at(due).step(Event::Tick);
    }
    run.step(Event::Prepared(Err(trouble(true))));
    run.check(&expect![[r#"
        0s Resume: Find [assigned]
        0s Found: Prepare Report [preparing]
        0s Prepared: Report [preparing: no such image, until 1s]
        1s Tick: Prepare [preparing: no such image]
        1s Prepared: [preparing: no such image, until 3s]
        3s Tick: Prepare [preparing: no such image]
        3s Prepared: [preparing: no such image, until 7s]
        7s Tick: Prepare [preparing: no such image]
        7s Prepared: [preparing: no such image, until 15s]
        15s Tick: Prepare [preparing: no such image]
        15s Prepared: [preparing: no such image, until 31s]
        31s Tick: Prepare [preparing: no such image]
        31s Prepared: Report [rejected: no such image]
    "#]]);
}

#[test]
fn an_unhealthy_container_is_stopped_before_the_task_fails() {
    let mut run = Run::new(TaskState::Assigned, TaskState::Running);
    run.run()
        .step(Event::Waited(Ok(Outcome::Unhealthy)))
        .step(Event::Stopped(Ok(Some(found(Stage::Ended(end(0)))))));
    run.check(&expect![[r#"
        0s Resume: Find [assigned]
        0s Found: Prepare Report [preparing]
        0s Prepared: Start Report [starting]
        0s Started: Settle [starting]
        0s Settled: Wait Report [running]
        0s Waited: Shutdown(90s) [running]
        0s Stopped: Report [failed: task: unhealthy container]
    "#]]);
}

#[test]
fn a_daemon_that_restarts_touches_no_running_container() {
    let mut run = Run::new(TaskState::Running, TaskState::Running);
    run.step(Event::CutOff)
        .step(Event::Resume)
        .step(Event::Found(Ok(Some(found(Stage::Running)))))
        .step(Event::Settled(Ok(None)))
        .step(Event::Connected);
    run.check(&expect![[r#"
        0s CutOff: [running]
        0s Resume: Find [running]
        0s Found: Settle Report [running]
        0s Settled: Wait [running]
        0s Connected: [running]
    "#]]);
    // It died between the start and the writing of it.
    let mut run = Run::new(TaskState::Ready, TaskState::Running);
    run.step(Event::Resume).step(Event::Found(Ok(Some(found(Stage::Running)))));
    run.check(&expect![[r#"
        0s Resume: Find [ready]
        0s Found: Settle Report [starting]
    "#]]);
    // It had ended before.
    let mut run = Run::new(TaskState::Failed, TaskState::Running);
    run.step(Event::Resume).step(Event::Found(Ok(Some(found(Stage::Ended(end(1)))))));
    run.check(&expect![[r#"
        0s Resume: Find [failed]
        0s Found: [failed]
    "#]]);
}

#[test]
fn a_container_that_ended_meanwhile_is_a_failure_once_managers_are_there() {
    let mut run = Run::new(TaskState::Running, TaskState::Running);
    run.step(Event::CutOff)
        .step(Event::Resume)
        .step(Event::Found(Ok(Some(found(Stage::Ended(end(1)))))))
        .at(2)
        .step(Event::Connected);
    run.check(&expect![[r#"
        0s CutOff: [running]
        0s Resume: Find [running]
        0s Found: Report [running, until 10s]
        2s Connected: Report [failed: task: non-zero exit (1)]
    "#]]);
}

#[test]
fn without_managers_a_task_runs_again_as_often_as_its_policy_says() {
    let mut run = Run::new(TaskState::Assigned, TaskState::Running);
    run.run();
    run.log.clear();
    run.at(100).step(Event::CutOff);
    for seconds in [101, 120] {
        run.at(seconds).step(Event::Waited(Ok(Outcome::Ended(end(1)))));
        let due = run.lifecycle.next_deadline().unwrap().seconds();
        run.at(due)
            .step(Event::Tick)
            .step(Event::Removed(Ok(())))
            .step(Event::Prepared(Ok(found(Stage::Created))))
            .step(Event::Started(Ok(found(Stage::Running))))
            .step(Event::Settled(Ok(None)));
    }
    run.at(200).step(Event::Waited(Ok(Outcome::Ended(end(1)))));
    run.check(&expect![[r#"
        100s CutOff: [running]
        101s Waited: [running, until 110s]
        110s Tick: Remove Report [running, runs 1]
        110s Removed: Prepare [running, runs 1]
        110s Prepared: Start [running, runs 1]
        110s Started: Settle [running, runs 1]
        110s Settled: Wait [running, runs 1]
        120s Waited: [running, runs 1, until 130s]
        130s Tick: Remove Report [running, runs 2]
        130s Removed: Prepare [running, runs 2]
        130s Prepared: Start [running, runs 2]
        130s Started: Settle [running, runs 2]
        130s Settled: Wait [running, runs 2]
        200s Waited: Report [failed: task: non-zero exit (1), runs 2]
    "#]]);
}

#[test]
fn a_node_that_is_cut_off_stops_tasks_that_want_it() {
    let rules = Rules { stop_after: Some(Duration::from_secs(60)), ..rules() };
    let mut run = Run::with(memory(TaskState::Assigned), TaskState::Running, rules);
    run.run();
    run.log.clear();
    run.at(100)
        .step(Event::CutOff)
        .at(110)
        .step(Event::Connected)
        .at(120)
        .step(Event::CutOff)
        .at(179)
        .step(Event::Tick)
        .at(180)
        .step(Event::Tick)
        .step(Event::Stopped(Ok(None)))
        .at(190)
        .step(Event::Connected);
    run.check(&expect![[r#"
        100s CutOff: [running, until 160s]
        110s Connected: [running]
        120s CutOff: [running, until 180s]
        179s Tick: [running, until 180s]
        180s Tick: Shutdown(90s) [running]
        180s Stopped: Report [failed: stopped by its node, which reached no manager for 60s]
        190s Connected: [failed: stopped by its node, which reached no manager for 60s]
    "#]]);
}

#[test]
fn a_stop_in_each_phase_shuts_down_and_a_failed_one_is_tried_again() {
    let mut run = Run::new(TaskState::Assigned, TaskState::Running);
    run.step(Event::Resume)
        .step(Event::Found(Ok(None)))
        .step(wish(TaskState::Shutdown))
        .step(Event::Stopped(Err(trouble(false))))
        .at(1)
        .step(Event::Tick)
        .step(Event::Unassigned)
        .step(Event::Stopped(Ok(None)))
        .step(Event::Removed(Err(trouble(false))))
        .at(2)
        .step(Event::Tick)
        .step(Event::Removed(Ok(())));
    run.check(&expect![[r#"
        0s Resume: Find [assigned]
        0s Found: Prepare Report [preparing]
        0s Wish shutdown: Shutdown(90s) [preparing]
        0s Stopped: Report [preparing: no such image, until 1s]
        1s Tick: Shutdown(90s) [preparing: no such image]
        1s Unassigned: [preparing: no such image]
        1s Stopped: Remove Report [shutdown]
        1s Removed: [shutdown, until 2s]
        2s Tick: Remove [shutdown]
        2s Removed: Forget [shutdown]
    "#]]);
}
