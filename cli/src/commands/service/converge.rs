//! Waiting until the tasks of a service run as wanted, with a line for each.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::at;
use crate::client::Request;
use crate::context::Context;
use crate::error::{Failure, Result};
use crate::stream::live::{Line, Live};
use crate::stream::progress::To;
use crate::sys;
use crate::table::short_id;
use shoal_gotemplate::value::Value;

/// How often the daemon is asked.
const ROUND: Duration = Duration::from_millis(200);
/// How long tasks are watched when the service does not say.
const MONITOR: i64 = 5_000_000_000;
/// More tasks than this have no lines of their own.
const MOST_LINES: i64 = 20;
const STATES: [&str; 13] = [
    "new",
    "allocated",
    "pending",
    "assigned",
    "accepted",
    "preparing",
    "ready",
    "starting",
    "running",
    "complete",
    "shutdown",
    "failed",
    "rejected",
];
const RUNNING: i64 = 9;
const COMPLETE: i64 = 10;
/// The longest name of a state that is shown.
const WIDTH: usize = 9;

/// Shows how a service converges, until it has.
///
/// # Errors
/// When the update or rollback pauses, or the daemon cannot be asked. An interrupt ends the waiting only.
pub(crate) async fn wait(context: &Context, id: &str, to: To) -> Result {
    let client = context.client()?;
    let mut live = Live::new(to);
    let mut state = Converging::new(id);
    let interrupt = tokio::signal::ctrl_c();
    tokio::pin!(interrupt);
    loop {
        let service = client.value(Request::get(at(id))).await?;
        let filters = serde_json::json!({
            "service": {service.at("ID").text(): true},
            "_up-to-date": {"true": true},
        });
        let request = Request::get("/tasks").query("filters", filters.to_string());
        let tasks = client.value(request).await?;
        let nodes = client.value(Request::get("/nodes")).await?;
        let active = active(&nodes);
        let mut lines = Vec::new();
        let view = View { service: &service, tasks: tasks.list(), active: &active };
        let step = state.step(sys::now_nanos(), &view, &mut lines);
        live.show(&lines);
        if step.map_err(Failure::new)? == Step::Done {
            return Ok(());
        }
        tokio::select! {
            () = sys::sleep(ROUND) => {}
            _ = &mut interrupt => {
                if !state.converged {
                    live.show(&[
                        Line::new("", "Operation continuing in background."),
                        Line::new("", format!("Use `shoal service ps {id}` to check progress.")),
                    ]);
                }
                return Ok(());
            }
        }
    }
}

fn active(nodes: &Value) -> BTreeSet<String> {
    let up = nodes.list().iter().filter(|node| node.path("Status.State").text() != "down");
    up.map(|node| node.at("ID").text().to_owned()).collect()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Wait,
    Done,
}

/// What the daemon said in one round.
struct View<'a> {
    service: &'a Value,
    tasks: &'a [Value],
    /// Ids of the nodes that are not down.
    active: &'a BTreeSet<String>,
}

/// What is remembered between rounds. Pure.
#[derive(Debug, Default)]
struct Converging {
    id: String,
    converged: bool,
    /// When all tasks ran for the first time since.
    since: Option<i128>,
    rollback: bool,
    ending: Option<Line>,
    started: bool,
    done: bool,
    /// Lines of slots, in the order in which slots were seen.
    slots: BTreeMap<i64, i64>,
    /// The nodes of a global job when it began.
    nodes: BTreeSet<String>,
}

impl Converging {
    fn new(id: &str) -> Self {
        Self { id: id.to_owned(), ..Self::default() }
    }

    fn step(
        &mut self,
        now: i128,
        view: &View<'_>,
        out: &mut Vec<Line>,
    ) -> std::result::Result<Step, String> {
        let monitor = match view.service.path("Spec.UpdateConfig.Monitor").int() {
            0 => MONITOR,
            given => given,
        };
        if self.update_state(view.service, out)? == Step::Done {
            return Ok(Step::Done);
        }
        if self.converged && self.since.is_some_and(|since| now - since >= i128::from(monitor)) {
            out.push(Line::new("verify", format!("Service {} converged", self.id)));
            out.extend(self.ending.take());
            return Ok(Step::Done);
        }
        self.converged = self.tasks(view, out)?;
        if !self.converged {
            if self.since.take().is_some() {
                out.push(Line::new("verify", "Detected task failure"));
            }
            return Ok(Step::Wait);
        }
        if matches!(view.service.at("JobStatus"), Value::Map(_)) {
            out.push(Line::new("", "job complete"));
            return Ok(Step::Done);
        }
        let since = *self.since.get_or_insert(now);
        let left = i128::from(monitor) - (now - since);
        if left >= 0 {
            let seconds = ((left + 999_999_999) / 1_000_000_000).max(1);
            let text = format!("Waiting {seconds} seconds to verify that tasks are stable...");
            out.push(Line::new("verify", text));
        }
        Ok(Step::Wait)
    }

    fn update_state(
        &mut self,
        service: &Value,
        out: &mut Vec<Line>,
    ) -> std::result::Result<Step, String> {
        let message = service.path("UpdateStatus.Message").text();
        match service.path("UpdateStatus.State").text() {
            "updating" => self.rollback = false,
            "completed" if !self.converged => return Ok(Step::Done),
            "paused" => return Err(format!("service update paused: {message}")),
            "rollback_started" => {
                if !self.rollback && !message.is_empty() {
                    out.push(Line::new("rollback", message));
                }
                self.rollback = true;
            }
            "rollback_paused" => return Err(format!("service rollback paused: {message}")),
            "rollback_completed" => {
                if !self.converged {
                    self.ending = Some(Line::new("rollback", message));
                }
                self.rollback = true;
            }
            _ => {}
        }
        Ok(Step::Wait)
    }

    /// Shows the tasks: are all as wanted?
    fn tasks(&mut self, view: &View<'_>, out: &mut Vec<Line>) -> std::result::Result<bool, String> {
        let mode = view.service.path("Spec.Mode");
        let has = |key: &str| matches!(mode.at(key), Value::Map(_));
        if has("Replicated") {
            Ok(self.replicated(mode.path("Replicated.Replicas").int(), view, out))
        } else if has("Global") {
            Ok(self.global(view, out))
        } else if has("ReplicatedJob") {
            Ok(self.replicated_job(mode.at("ReplicatedJob"), view, out))
        } else if has("GlobalJob") {
            Ok(self.global_job(view, out))
        } else {
            Err("unrecognized service mode".to_owned())
        }
    }

    fn overall(&self, running: i64, wanted: i64) -> Line {
        let what = if self.rollback { "rolling back update: " } else { "" };
        Line::new("overall progress", format!("{what}{running} out of {wanted} tasks"))
    }

    fn replicated(&mut self, replicas: i64, view: &View<'_>, out: &mut Vec<Line>) -> bool {
        if !self.started {
            out.push(self.overall(0, replicas));
            if replicas <= MOST_LINES {
                out.extend((1..=replicas).map(|n| Line::new(format!("{n}/{replicas}"), " ")));
            }
            self.started = true;
        }
        let tasks = liveliest(
            view,
            |task| task.at("Slot").int(),
            |task| {
                let node = task.at("NodeID").text();
                node.is_empty() || view.active.contains(node)
            },
        );
        self.done &= tasks.values().all(|task| observed(task) == RUNNING || is_finished(task));
        let mut running = 0;
        for (slot, task) in &tasks {
            let line = self.line_of(*slot);
            running += i64::from(runs(task) || is_finished(task));
            if !self.done && replicas <= MOST_LINES && line <= replicas {
                out.extend(task_line(format!("{line}/{replicas}"), task, RUNNING));
            }
        }
        self.summary(running, replicas, out)
    }

    fn global(&mut self, view: &View<'_>, out: &mut Vec<Line>) -> bool {
        let tasks = liveliest(view, |task| task.at("NodeID").text().to_owned(), |_| true);
        let count = i64::try_from(tasks.len()).unwrap_or(i64::MAX);
        if !self.started {
            if count == 0 {
                out.push(Line::new("overall progress", "waiting for new tasks"));
                return false;
            }
            out.push(self.overall(0, count));
            self.started = true;
        }
        self.done &= tasks.values().all(|task| observed(task) == RUNNING);
        let mut running = 0;
        for (node, task) in tasks.iter().filter(|(node, _)| view.active.contains(*node)) {
            running += i64::from(runs(task));
            if !self.done && count <= MOST_LINES {
                out.extend(task_line(short_id(node), task, RUNNING));
            }
        }
        self.summary(running, count, out)
    }

    fn summary(&mut self, running: i64, wanted: i64, out: &mut Vec<Line>) -> bool {
        if !self.done {
            out.push(self.overall(running, wanted));
            self.done = running == wanted;
        }
        running == wanted
    }

    fn line_of(&mut self, slot: i64) -> i64 {
        let next = i64::try_from(self.slots.len()).unwrap_or(i64::MAX).saturating_add(1);
        *self.slots.entry(slot).or_insert(next)
    }

    fn replicated_job(&mut self, job: &Value, view: &View<'_>, out: &mut Vec<Line>) -> bool {
        let (total, most) = (job.at("TotalCompletions").int(), job.at("MaxConcurrent").int());
        let lines = |out: &mut Vec<Line>, active: i64, complete: i64| {
            out.push(job_progress(complete, total));
            let width = most.to_string().len();
            let wanted = (total - complete).min(most);
            let text = format!("{active:>width$} out of {wanted:>width$} tasks");
            out.push(Line::new("active tasks", text));
        };
        if !self.started {
            lines(out, 0, 0);
            if total <= MOST_LINES {
                out.extend((1..=total).map(|n| Line::new(format!("{n}/{total}"), " ")));
            }
            self.started = true;
        }
        let tasks = earliest(view, |task| Some(task.at("Slot").int()));
        let (mut active, mut complete) = (0, 0);
        for (slot, task) in &tasks {
            let line = self.line_of(*slot);
            if total <= MOST_LINES {
                out.extend(job_line(format!("{line}/{total}"), task));
            }
            active += i64::from(observed(task) < COMPLETE);
            complete += i64::from(observed(task) == COMPLETE);
        }
        lines(out, active, complete);
        complete == total
    }

    fn global_job(&mut self, view: &View<'_>, out: &mut Vec<Line>) -> bool {
        let node = |task: &Value| task.at("NodeID").text().to_owned();
        if !self.started {
            if view.tasks.is_empty() && !view.active.is_empty() {
                out.push(Line::new("job progress", "waiting for tasks"));
                return false;
            }
            // Nodes that join later are not waited for.
            self.nodes = of_iteration(view).map(node).collect();
            self.started = true;
        }
        let total = i64::try_from(self.nodes.len()).unwrap_or(i64::MAX);
        let tasks = earliest(view, |task| Some(node(task)).filter(|id| self.nodes.contains(id)));
        let mut complete = 0;
        for (id, task) in &tasks {
            if total <= MOST_LINES {
                out.extend(job_line(id.clone(), task));
            }
            complete += i64::from(observed(task) == COMPLETE);
        }
        out.push(job_progress(complete, total));
        complete == total
    }
}

/// The place of a state in the life of a task; 0 for states that are not followed.
fn rank(state: &str) -> i64 {
    let place = STATES.iter().position(|known| *known == state);
    place.and_then(|place| i64::try_from(place + 1).ok()).unwrap_or(0)
}

fn observed(task: &Value) -> i64 {
    rank(task.path("Status.State").text())
}

fn desired(task: &Value) -> i64 {
    rank(task.at("DesiredState").text())
}

/// Whether the work of a place is done: its task ended well, and its policy wants no other.
fn is_finished(task: &Value) -> bool {
    let condition = task.path("Spec.RestartPolicy.Condition").text();
    observed(task) == COMPLETE && matches!(condition, "none" | "on-failure")
}

fn runs(task: &Value) -> bool {
    desired(task) <= RUNNING && observed(task) == RUNNING
}

/// Of several tasks in one place the one that is to live: lowest desired state, then lowest observed one.
fn liveliest<'a, K: Ord>(
    view: &View<'a>,
    place: impl Fn(&Value) -> K,
    counts: impl Fn(&Value) -> bool,
) -> BTreeMap<K, &'a Value> {
    let mut chosen: BTreeMap<K, &Value> = BTreeMap::new();
    for task in view.tasks.iter().filter(|task| desired(task) > 0 && observed(task) > 0) {
        let key = place(task);
        let better = chosen.get(&key).is_none_or(|other| {
            (desired(task), observed(task)) < (desired(other), observed(other))
        });
        if better && counts(task) {
            chosen.insert(key, task);
        }
    }
    chosen
}

/// The tasks of the job's current run.
fn of_iteration<'a>(view: &View<'a>) -> impl Iterator<Item = &'a Value> {
    let current = view.service.path("JobStatus.JobIteration.Index").int();
    view.tasks.iter().filter(move |task| {
        matches!(task.at("JobIteration"), Value::Map(_))
            && task.path("JobIteration.Index").int() == current
            && desired(task) > 0
            && observed(task) > 0
    })
}

/// Of several tasks in one place the one with the lowest state.
fn earliest<'a, K: Ord>(
    view: &View<'a>,
    place: impl Fn(&Value) -> Option<K>,
) -> BTreeMap<K, &'a Value> {
    let mut chosen: BTreeMap<K, &Value> = BTreeMap::new();
    for task in of_iteration(view) {
        let Some(key) = place(task) else { continue };
        if chosen.get(&key).is_none_or(|other| observed(task) < observed(other)) {
            chosen.insert(key, task);
        }
    }
    chosen
}

fn job_progress(complete: i64, total: i64) -> Line {
    let width = total.to_string().len();
    let text = format!("{complete:>width$} out of {total} complete");
    Line::new("job progress", text).with_steps(complete, total)
}

fn failure(name: &str, task: &Value) -> Option<Line> {
    let error = task.path("Status.Err").text();
    let error = error.replace('\n', " ");
    (!error.is_empty()).then(|| Line::new(name, crate::table::ellipsis(&error, 75)))
}

/// The line of a task that goes on for ever; none once it is to end or has.
fn task_line(name: String, task: &Value, most: i64) -> Option<Line> {
    if let Some(line) = failure(&name, task) {
        return Some(line);
    }
    if desired(task) > RUNNING || observed(task) > RUNNING {
        return None;
    }
    let state = format!("{:<WIDTH$}", task.path("Status.State").text());
    Some(Line::new(name, state).with_steps(observed(task), most))
}

/// The line of a task of a job.
fn job_line(name: String, task: &Value) -> Option<Line> {
    failure(&name, task).or_else(|| {
        let state = format!("{:<WIDTH$}", task.path("Status.State").text());
        Some(Line::new(name, state).with_steps(observed(task), COMPLETE))
    })
}

#[cfg(test)]
mod tests;
