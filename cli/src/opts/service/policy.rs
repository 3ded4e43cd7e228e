//! How services restart, update, roll back; what they need; how their health is checked. Pure.

use serde_json::{Value as Json, json};

use super::put;
use crate::args::Args;
use crate::args::check::{parse_bytes, parse_cpus, parse_duration};
use crate::args::parse::quote;

/// A duration that is not negative.
pub(crate) fn positive(text: &str) -> Result<(), String> {
    if parse_duration(text)? < 0 {
        return Err("duration cannot be negative".to_owned());
    }
    Ok(())
}

pub(crate) fn float(text: &str) -> Result<(), String> {
    let parsed = text.parse::<f32>();
    parsed
        .map(|_| ())
        .map_err(|_| format!("strconv.ParseFloat: parsing {}: invalid syntax", quote(text)))
}

/// Nanoseconds of a flag whose kind has checked it.
pub(super) fn nanos(args: &Args, flag: &str) -> Option<i64> {
    args.get(flag).and_then(|text| parse_duration(text).ok())
}

pub(super) fn number(args: &Args, flag: &str) -> Option<u64> {
    args.given(flag).then(|| u64::try_from(args.int(flag)).unwrap_or(0))
}

/// The update or rollback policy after the options, from the one before them; `None`: still none.
pub(super) fn update(args: &Args, which: &str, before: &Json) -> Option<Json> {
    let name = |part: &str| format!("{which}-{part}");
    let parts = ["parallelism", "delay", "monitor", "failure-action", "max-failure-ratio", "order"];
    if !parts.iter().any(|part| args.given(&name(part))) {
        return before.is_object().then(|| before.clone());
    }
    let mut config = match before {
        Json::Object(_) => before.clone(),
        _ => json!({
            "Parallelism": 1,
            "FailureAction": "pause",
            "Monitor": 5_000_000_000_i64,
            "MaxFailureRatio": 0,
            "Order": "stop-first",
        }),
    };
    if let Some(parallelism) = number(args, &name("parallelism")) {
        config["Parallelism"] = parallelism.into();
    }
    for (key, part) in [("Delay", "delay"), ("Monitor", "monitor")] {
        if let Some(time) = nanos(args, &name(part)) {
            config[key] = time.into();
        }
    }
    for (key, part) in [("FailureAction", "failure-action"), ("Order", "order")] {
        if let Some(text) = args.get(&name(part)) {
            config[key] = text.into();
        }
    }
    if let Some(ratio) = args.get(&name("max-failure-ratio")) {
        config["MaxFailureRatio"] = ratio.parse::<f32>().unwrap_or(0.0).into();
    }
    Some(config)
}

/// Applies the options that docker lacks: labels, which docker's own commands leave alone.
pub(super) fn extensions(args: &Args, spec: &mut Json) {
    for (flag, label) in [
        ("update-deadline", "io.shoal.update.deadline"),
        ("on-disconnect", "io.shoal.on-disconnect"),
        ("keep-revisions", "io.shoal.revisions"),
    ] {
        if args.given(flag) {
            spec["Labels"][label] = args.text(flag).into();
        }
    }
}

/// The restart policy after the options, from the one before them; `None`: still none.
pub(super) fn restart(args: &Args, before: &Json) -> Option<Json> {
    let parts = ["condition", "delay", "max-attempts", "window"];
    if !parts.iter().any(|part| args.given(&format!("restart-{part}"))) {
        return before.is_object().then(|| before.clone());
    }
    let mut policy = match before {
        Json::Object(_) => before.clone(),
        _ => json!({"Condition": "any", "Delay": 5_000_000_000_i64, "MaxAttempts": 0, "Window": 0}),
    };
    if let Some(condition) = args.get("restart-condition") {
        policy["Condition"] = condition.into();
    }
    for (key, flag) in [("Delay", "restart-delay"), ("Window", "restart-window")] {
        if let Some(time) = nanos(args, flag) {
            policy[key] = time.into();
        }
    }
    if let Some(attempts) = number(args, "restart-max-attempts") {
        policy["MaxAttempts"] = attempts.into();
    }
    Some(policy)
}

/// Applies limits and reservations.
pub(super) fn resources(args: &Args, resources: &mut Json) -> Result<(), String> {
    let cpus = |flag: &str| args.get(flag).and_then(|text| parse_cpus(text).ok());
    let bytes = |flag: &str| args.get(flag).and_then(|text| parse_bytes(text).ok());
    let pids = args.given("limit-pids").then(|| args.int("limit-pids"));
    for (part, key, value) in [
        ("Limits", "NanoCPUs", cpus("limit-cpu")),
        ("Limits", "MemoryBytes", bytes("limit-memory")),
        ("Limits", "Pids", pids),
        ("Reservations", "NanoCPUs", cpus("reserve-cpu")),
        ("Reservations", "MemoryBytes", bytes("reserve-memory")),
    ] {
        if let Some(value) = value {
            resources[part][key] = if value == 0 { Json::Null } else { value.into() };
        }
    }
    if let Some(text) = args.get("memory-swap") {
        let limited = args.given("limit-memory")
            || resources["Limits"]["MemoryBytes"].as_i64().is_some_and(|limit| limit > 0);
        if !limited {
            return Err("memory-swap can only be used in conjunction with limit-memory".into());
        }
        resources["SwapBytes"] = parse_bytes(text).unwrap_or(-1).into();
    }
    if args.given("memory-swappiness") {
        resources["MemorySwappiness"] = args.int("memory-swappiness").into();
    }
    Ok(())
}

/// Applies the options of the health check.
pub(super) fn health(args: &Args, before: &Json) -> Result<Option<Json>, String> {
    let times = [
        ("Interval", "health-interval"),
        ("Timeout", "health-timeout"),
        ("StartPeriod", "health-start-period"),
        ("StartInterval", "health-start-interval"),
    ];
    let any = args.given("health-cmd")
        || args.given("health-retries")
        || times.iter().any(|(_, flag)| args.given(flag));
    if args.on("no-healthcheck") {
        if any {
            return Err("--no-healthcheck conflicts with --health-* options".into());
        }
        return Ok(Some(json!({"Test": ["NONE"]})));
    }
    if !any && !args.given("no-healthcheck") {
        return Ok(before.is_object().then(|| before.clone()));
    }
    let mut health = if before.is_object() { before.clone() } else { json!({}) };
    if health["Test"][0] == "NONE" {
        health["Test"] = Json::Null;
    }
    for (key, flag) in times {
        if let Some(time) = nanos(args, flag) {
            health[key] = time.into();
        }
    }
    if args.given("health-retries") {
        health["Retries"] = args.int("health-retries").into();
    }
    if let Some(command) = args.get("health-cmd") {
        let test = if command.is_empty() { json!([]) } else { json!(["CMD-SHELL", command]) };
        put(&mut health, "Test", test);
    }
    Ok(Some(health))
}
