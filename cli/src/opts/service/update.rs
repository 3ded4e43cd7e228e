//! `service update`: options → changes of a specification. Pure.
//!
//! Networks, secrets and configs are changed by the caller, who asks the daemon for their ids.

use std::collections::BTreeMap;

use serde_json::{Value as Json, json};

use super::super::{map, mount, resources};
use super::create::{credential, log_driver};
use super::{items, parts, policy, put, texts, tidy};
use crate::args::Args;

type Parsed<T> = Result<T, String>;

/// Applies the options to a specification.
pub(crate) fn apply(args: &Args, spec: &mut Json) -> Parsed<()> {
    labels(args, "label", &mut spec["Labels"]);
    container(args, &mut spec["TaskTemplate"]["ContainerSpec"])?;
    let task = &mut spec["TaskTemplate"];
    policy::resources(args, &mut task["Resources"])?;
    generic(args, &mut task["Resources"]["Reservations"])?;
    task["RestartPolicy"] = policy::restart(args, &task["RestartPolicy"]).unwrap_or_default();
    placement(args, &mut task["Placement"])?;
    if let Some(driver) = log_driver(args) {
        task["LogDriver"] = driver;
    }
    if args.on("force") {
        task["ForceUpdate"] = (task["ForceUpdate"].as_u64().unwrap_or(0) + 1).into();
    }
    replicas(args, &mut spec["Mode"])?;
    for (key, which) in [("UpdateConfig", "update"), ("RollbackConfig", "rollback")] {
        spec[key] = policy::update(args, which, &spec[key]).unwrap_or_default();
    }
    if let Some(mode) = args.get("endpoint-mode") {
        spec["EndpointSpec"]["Mode"] = mode.into();
    }
    if args.given("publish-add") || args.given("publish-rm") {
        ports(args, &mut spec["EndpointSpec"])?;
    }
    tidy(spec);
    Ok(())
}

fn replicas(args: &Args, mode: &mut Json) -> Parsed<()> {
    if let Some(replicas) = policy::number(args, "replicas") {
        if mode["Replicated"].is_object() {
            mode["Replicated"]["Replicas"] = replicas.into();
        } else if mode["ReplicatedJob"].is_object() {
            mode["ReplicatedJob"]["TotalCompletions"] = replicas.into();
        } else {
            return Err("replicas can only be used with replicated or replicated-job mode".into());
        }
    }
    if let Some(concurrent) = policy::number(args, "max-concurrent") {
        if !mode["ReplicatedJob"].is_object() {
            return Err("max-concurrent can only be used with replicated-job mode".into());
        }
        mode["ReplicatedJob"]["MaxConcurrent"] = concurrent.into();
    }
    Ok(())
}

/// Adds and removes `key=value` entries of an object by the flags `name-add` and `name-rm`.
fn labels(args: &Args, name: &str, labels: &mut Json) {
    if let Json::Object(added) = map(args.all(&format!("{name}-add"))) {
        for (key, value) in added {
            labels[key] = value;
        }
    }
    if let Json::Object(fields) = labels {
        for key in args.all(&format!("{name}-rm")) {
            fields.remove(key.as_str());
        }
    }
}

/// Adds and removes texts of a list, sorted afterwards.
fn list(args: &Args, name: &str, object: &mut Json, key: &str) {
    let (add, rm) = (format!("{name}-add"), format!("{name}-rm"));
    if !args.given(&add) && !args.given(&rm) {
        return;
    }
    let mut all = texts(&object[key]);
    all.extend(args.all(&add).iter().cloned());
    all.retain(|item| !args.all(&rm).contains(item));
    all.sort_unstable();
    all.dedup();
    put(object, key, all);
}

fn container(args: &Args, spec: &mut Json) -> Parsed<()> {
    labels(args, "container-label", &mut spec["Labels"]);
    labels(args, "sysctl", &mut spec["Sysctls"]);
    for (key, flag) in [
        ("Image", "image"),
        ("Dir", "workdir"),
        ("User", "user"),
        ("Hostname", "hostname"),
        ("StopSignal", "stop-signal"),
        ("Isolation", "isolation"),
    ] {
        if args.given(flag) {
            put(spec, key, args.text(flag));
        }
    }
    for (key, flag) in [("Args", "args"), ("Command", "entrypoint")] {
        if args.given(flag) {
            put(spec, key, parts::words(args.text(flag))?);
        }
    }
    for (key, flag) in [("TTY", "tty"), ("ReadOnly", "read-only"), ("Init", "init")] {
        if args.given(flag) {
            spec[key] = args.on(flag).into();
        }
    }
    environment(args, spec);
    mounts(args, spec)?;
    if let Some(time) = policy::nanos(args, "stop-grace-period") {
        spec["StopGracePeriod"] = time.into();
    }
    if args.given("oom-score-adj") {
        spec["OomScoreAdj"] = args.int("oom-score-adj").into();
    }
    if let Some(text) = args.get("credential-spec") {
        spec["Privileges"]["CredentialSpec"] =
            if text.is_empty() { Json::Null } else { credential(text)? };
    }
    list(args, "group", spec, "Groups");
    for (key, name) in [("Nameservers", "dns"), ("Search", "dns-search"), ("Options", "dns-option")]
    {
        list(args, name, &mut spec["DNSConfig"], key);
    }
    hosts(args, spec);
    ulimits(args, spec)?;
    capabilities(args, spec);
    let health = policy::health(args, &spec["Healthcheck"])?.unwrap_or_default();
    spec["Healthcheck"] = health;
    Ok(())
}

/// Removed first, then added: an added variable replaces one of the same name.
fn environment(args: &Args, spec: &mut Json) {
    if !args.given("env-add") && !args.given("env-rm") {
        return;
    }
    let name = |line: &str| line.split('=').next().unwrap_or_default().to_owned();
    let mut all = texts(&spec["Env"]);
    all.retain(|line| !args.all("env-rm").contains(&name(line)));
    for added in args.all("env-add") {
        let line = if added.contains('=') {
            added.clone()
        } else {
            match crate::sys::env(added) {
                Some(value) => format!("{added}={value}"),
                None => continue,
            }
        };
        match all.iter_mut().find(|other| name(other) == name(&line)) {
            Some(other) => *other = line,
            None => all.push(line),
        }
    }
    put(spec, "Env", all);
}

fn mounts(args: &Args, spec: &mut Json) -> Parsed<()> {
    if !args.given("mount-add") && !args.given("mount-rm") {
        return Ok(());
    }
    let target = |mount: &Json| mount["Target"].as_str().unwrap_or_default().to_owned();
    let mut by_target = BTreeMap::new();
    for text in args.all("mount-add") {
        let mount = mount::parse(text)?;
        if by_target.insert(target(&mount), mount).is_some() {
            return Err("duplicate mount target".into());
        }
    }
    for mount in items(&spec["Mounts"]) {
        if !args.all("mount-rm").contains(&target(&mount)) {
            by_target.entry(target(&mount)).or_insert(mount);
        }
    }
    let mut all: Vec<Json> = by_target.into_values().collect();
    all.sort_by_key(|mount| {
        (mount["Source"].as_str().unwrap_or_default().to_owned(), target(mount))
    });
    put(spec, "Mounts", all);
    Ok(())
}

fn hosts(args: &Args, spec: &mut Json) {
    if !args.given("host-add") && !args.given("host-rm") {
        return;
    }
    let split = |text: &str| {
        let (name, ip) = text.split_once([':', '=']).unwrap_or((text, ""));
        (name.to_owned(), ip.to_owned())
    };
    let removed: Vec<(String, String)> =
        args.all("host-rm").iter().map(|text| split(text)).collect();
    let gone = |line: &String| {
        let mut words = line.split_whitespace();
        let (ip, name) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        removed.iter().any(|(host, address)| host == name && (address.is_empty() || address == ip))
    };
    let mut all = texts(&spec["Hosts"]);
    all.retain(|line| !gone(line));
    for added in args.all("host-add").iter().map(|text| parts::host_line(text)) {
        if !all.contains(&added) {
            all.push(added);
        }
    }
    all.sort_unstable();
    put(spec, "Hosts", all);
}

fn ulimits(args: &Args, spec: &mut Json) -> Parsed<()> {
    if !args.given("ulimit-add") && !args.given("ulimit-rm") {
        return Ok(());
    }
    let name = |limit: &Json| limit["Name"].as_str().unwrap_or_default().to_owned();
    let mut by_name: BTreeMap<String, Json> =
        items(&spec["Ulimits"]).into_iter().map(|limit| (name(&limit), limit)).collect();
    by_name.retain(|name, _| !args.all("ulimit-rm").contains(name));
    for text in args.all("ulimit-add") {
        let limit = resources::ulimit(text)?;
        by_name.insert(name(&limit), limit);
    }
    put(spec, "Ulimits", by_name.into_values().collect::<Vec<_>>());
    Ok(())
}

fn capabilities(args: &Args, spec: &mut Json) {
    if !args.given("cap-add") && !args.given("cap-drop") {
        return;
    }
    let mut add = parts::capabilities(&texts(&spec["CapabilityAdd"]));
    let mut drop = parts::capabilities(&texts(&spec["CapabilityDrop"]));
    let mut to_add = parts::capabilities(args.all("cap-add"));
    let mut to_drop = parts::capabilities(args.all("cap-drop"));
    if to_add.remove("RESET") {
        add.clear();
    }
    if to_drop.remove("RESET") {
        drop.clear();
    }
    for name in to_drop.difference(&to_add) {
        add.remove(name);
        drop.insert(name.clone());
    }
    for name in to_add {
        drop.remove(&name);
        add.insert(name);
    }
    let (add, drop) = parts::effective(add, drop);
    put(spec, "CapabilityAdd", add);
    put(spec, "CapabilityDrop", drop);
}

fn generic(args: &Args, reservations: &mut Json) -> Parsed<()> {
    if !args.given("generic-resource-add") && !args.given("generic-resource-rm") {
        return Ok(());
    }
    let mut all = items(&reservations["GenericResources"]);
    let removed = args.all("generic-resource-rm");
    all.retain(|resource| !removed.iter().any(|kind| kind == parts::generic_kind(resource)));
    for text in args.all("generic-resource-add") {
        let added = parts::generic(text)?;
        all.retain(|other| parts::generic_kind(other) != parts::generic_kind(&added));
        all.push(added);
    }
    put(reservations, "GenericResources", all);
    Ok(())
}

fn placement(args: &Args, placement: &mut Json) -> Parsed<()> {
    list(args, "constraint", placement, "Constraints");
    if let Some(most) = policy::number(args, "replicas-max-per-node") {
        placement["MaxReplicas"] = if most == 0 { Json::Null } else { most.into() };
    }
    if !args.given("placement-pref-add") && !args.given("placement-pref-rm") {
        return Ok(());
    }
    let mut all = items(&placement["Preferences"]);
    for text in args.all("placement-pref-rm") {
        let removed = parts::preference(text)?;
        all.retain(|other| *other != removed);
    }
    for text in args.all("placement-pref-add") {
        all.push(parts::preference(text)?);
    }
    put(placement, "Preferences", all);
    Ok(())
}

fn ports(args: &Args, endpoint: &mut Json) -> Parsed<()> {
    let text = |port: &Json, key: &str, default: &str| {
        port[key].as_str().filter(|text| !text.is_empty()).unwrap_or(default).to_owned()
    };
    let same = |one: &Json, other: &Json| {
        one["TargetPort"] == other["TargetPort"]
            && text(one, "Protocol", "tcp") == text(other, "Protocol", "tcp")
            && text(one, "PublishMode", "ingress") == text(other, "PublishMode", "ingress")
    };
    let mut all = items(&endpoint["Ports"]);
    for removed in args.all("publish-rm") {
        for removed in parts::port(removed)? {
            all.retain(|port| !same(port, &removed));
        }
    }
    for added in args.all("publish-add") {
        for added in parts::port(added)? {
            if !all
                .iter()
                .any(|port| same(port, &added) && port["PublishedPort"] == added["PublishedPort"])
            {
                all.push(added);
            }
        }
    }
    all.sort_by_key(|port| {
        (
            format!("{}:{}", port["PublishedPort"], port["TargetPort"]),
            text(port, "Protocol", "tcp"),
            text(port, "PublishMode", "ingress"),
        )
    });
    put(endpoint, "Ports", all);
    Ok(())
}

/// Replaces references to secrets or configs: those of `removed` go, then `added` come.
pub(crate) fn references(kind: &str, list: &Json, removed: &[String], added: Vec<Json>) -> Json {
    let name = format!("{kind}Name");
    let mut all = items(list);
    all.retain(|reference| !removed.iter().any(|gone| reference[&name] == gone.as_str()));
    for reference in added {
        all.retain(|other| other["File"]["Name"] != reference["File"]["Name"]);
        all.push(reference);
    }
    if all.is_empty() { Json::Null } else { json!(all) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::by_path;

    fn args(name: &str, line: &[&str]) -> Args {
        let line: Vec<String> = line.iter().map(|word| (*word).to_owned()).collect();
        let command = by_path(name).expect("the command exists");
        crate::args::parse::parse(command, name, &line).unwrap()
    }

    /// The specification of `service create`, which must have only members that the API knows.
    fn created(line: &[&str]) -> Json {
        let spec = super::super::create::spec(
            &args("service create", line),
            &|path| Ok(format!("FROM_FILE={path}\nA=0")),
            &|name| (name == "OURS").then(|| "1".to_owned()),
        )
        .unwrap();
        let known: shoal_api_wire::swarm::service::ServiceSpec =
            serde_json::from_value(spec.clone()).unwrap();
        let mut known = serde_json::to_value(known).unwrap();
        let mut expected = spec.clone();
        for side in [&mut known, &mut expected] {
            tidy(side);
        }
        expect_subset(&expected, &known, "spec");
        spec
    }

    /// Every member on the left is there on the right.
    #[track_caller]
    fn expect_subset(left: &Json, right: &Json, path: &str) {
        match (left, right) {
            (Json::Object(left), Json::Object(_)) => {
                for (key, value) in left {
                    let empty = *value == json!({}) || *value == json!(0) || *value == json!("");
                    if !empty {
                        expect_subset(value, &right[key], &format!("{path}.{key}"));
                    }
                }
            }
            (Json::Array(left), Json::Array(right)) if left.len() == right.len() => {
                left.iter().zip(right).for_each(|(l, r)| expect_subset(l, r, path));
            }
            (Json::Number(left), Json::Number(right)) => {
                assert_eq!(
                    left.as_f64().map(|n| n as f32),
                    right.as_f64().map(|n| n as f32),
                    "{path}"
                );
            }
            _ => assert_eq!(left, right, "{path}"),
        }
    }

    #[test]
    fn a_plain_service_is_what_dockers_client_sends() {
        assert_eq!(
            created(&["--name", "web", "nginx", "-g", "x"].map(|w| if w == "-g" {
                "run"
            } else {
                w
            })),
            json!({
                "Name": "web",
                "Labels": {},
                "TaskTemplate": {
                    "ContainerSpec": {
                        "Image": "nginx", "Args": ["run", "x"], "Init": false, "DNSConfig": {},
                    },
                    "Resources": {"Limits": {}, "Reservations": {}},
                    "Placement": {},
                    "ForceUpdate": 0,
                },
                "Mode": {"Replicated": {}},
                "EndpointSpec": {"Mode": "vip"},
            })
        );
    }

    #[test]
    fn every_option_has_its_place() {
        let spec = created(&[
            "--mode=replicated-job",
            "--replicas=5",
            "--max-concurrent=2",
            "--name=j",
            "--constraint=node.role==worker",
            "--placement-pref=spread=node.labels.rack",
            "--replicas-max-per-node=3",
            "--reserve-cpu=.5",
            "--reserve-memory=64m",
            "--limit-cpu=2",
            "--limit-memory=128m",
            "--limit-pids=10",
            "--memory-swap=256m",
            "--generic-resource=gpu=2",
            "--restart-condition=on-failure",
            "--restart-delay=1s",
            "--entrypoint=sh -c",
            "--env-file=f",
            "-e",
            "A=1",
            "-e",
            "OURS",
            "-e",
            "THEIRS",
            "-u",
            "1:2",
            "--group=g",
            "-w",
            "/w",
            "-t",
            "--read-only",
            "--init",
            "--stop-signal=INT",
            "--stop-grace-period=3s",
            "--cap-add=net_admin",
            "--sysctl=net.ipv4.ip_forward=1",
            "--ulimit=nofile=1:2",
            "--dns=1.1.1.1",
            "--dns-search=x",
            "--dns-option=ndots:1",
            "--host=a:1.2.3.4",
            "--health-cmd=true",
            "--health-interval=2s",
            "--container-label=c=1",
            "-l",
            "s=2",
            "--log-driver=local",
            "--log-opt=max-size=1m",
            "--mount=type=tmpfs,dst=/t",
            "-p",
            "8080:80",
            "--hostname={{.Task.Slot}}",
            "--oom-score-adj=5",
            "busybox",
            "echo",
        ]);
        expect_test::expect_file!["testdata/every_option.json"]
            .assert_eq(&(serde_json::to_string_pretty(&spec).unwrap() + "\n"));
    }

    #[test]
    fn policies_begin_with_dockers_defaults() {
        let spec = created(&["--update-delay=10s", "--rollback-order=start-first", "x"]);
        assert_eq!(
            spec["UpdateConfig"],
            json!({"Parallelism": 1, "FailureAction": "pause", "Monitor": 5_000_000_000_i64,
                   "MaxFailureRatio": 0, "Order": "stop-first", "Delay": 10_000_000_000_i64})
        );
        assert_eq!(spec["RollbackConfig"]["Order"], "start-first");
        let refused = |line: &[&str]| {
            super::super::create::spec(
                &args("service create", line),
                &|_| Ok(String::new()),
                &|_| None,
            )
            .unwrap_err()
        };
        assert_eq!(
            refused(&["--mode=global", "--replicas=2", "x"]),
            "replicas can only be used with replicated or replicated-job mode"
        );
        assert_eq!(
            refused(&["--mode=global-job", "--update-delay=1s", "x"]),
            "update and rollback configuration is not supported for jobs"
        );
        assert_eq!(
            refused(&["--mode=foo", "x"]),
            "Unknown mode: foo, only replicated, global, replicated-job, and global-job supported"
        );
    }

    fn updated(before: &[&str], line: &[&str]) -> Json {
        let mut spec = created(before);
        spec["Unknown"] = json!({"kept": true});
        let line: Vec<&str> = line.iter().copied().chain(["svc"]).collect();
        apply(&args("service update", &line), &mut spec).unwrap();
        assert_eq!(spec["Unknown"], json!({"kept": true}), "what we do not know stays");
        spec
    }

    #[test]
    fn without_options_nothing_changes() {
        let line = ["--name=a", "-e", "A=1", "-p", "80", "--update-delay=1s", "img"];
        let mut spec = updated(&line, &[]);
        spec.as_object_mut().unwrap().remove("Unknown");
        let mut before = created(&line);
        // An empty object and an absent one are the same to the daemon.
        for side in [&mut spec, &mut before] {
            tidy(side);
        }
        assert_eq!(spec, before);
    }

    #[test]
    fn lists_lose_first_and_gain_then() {
        let spec = updated(
            &[
                "-e",
                "A=1",
                "-e",
                "B=2",
                "-l",
                "x=1",
                "--constraint=a==b",
                "-p",
                "80:80",
                "-p",
                "81:81",
                "--host=a:1.1.1.1",
                "--mount=type=tmpfs,dst=/a",
                "--ulimit=nofile=1",
                "--cap-add=CHOWN",
                "img",
            ],
            &[
                "--env-rm=B",
                "--env-add=A=2",
                "--env-add=C=3",
                "--label-rm=x",
                "--label-add=y=2",
                "--constraint-rm=a==b",
                "--constraint-add=c==d",
                "--publish-rm=80",
                "--publish-add=82:82",
                "--host-rm=a:1.1.1.1",
                "--host-add=b:2.2.2.2",
                "--mount-rm=/a",
                "--mount-add=type=tmpfs,dst=/b",
                "--ulimit-rm=nofile",
                "--cap-drop=CHOWN",
                "--replicas=4",
                "--force",
                "--args=x 'y z'",
                "--image=new",
                "--restart-delay=1s",
            ],
        );
        let container = &spec["TaskTemplate"]["ContainerSpec"];
        assert_eq!(container["Env"], json!(["A=2", "C=3"]));
        assert_eq!(spec["Labels"], json!({"y": "2"}));
        assert_eq!(spec["TaskTemplate"]["Placement"]["Constraints"], json!(["c==d"]));
        let published: Vec<&Json> = spec["EndpointSpec"]["Ports"]
            .as_array()
            .unwrap()
            .iter()
            .map(|p| &p["PublishedPort"])
            .collect();
        assert_eq!(published, [81, 82]);
        assert_eq!(container["Hosts"], json!(["2.2.2.2 b"]));
        assert_eq!(container["Mounts"], json!([{"Type": "tmpfs", "Target": "/b"}]));
        assert_eq!(container["Ulimits"], Json::Null);
        assert_eq!(container["CapabilityDrop"], json!(["CAP_CHOWN"]));
        assert_eq!(container["CapabilityAdd"], Json::Null);
        assert_eq!(spec["Mode"]["Replicated"]["Replicas"], 4);
        assert_eq!(spec["TaskTemplate"]["ForceUpdate"], 1);
        assert_eq!(container["Args"], json!(["x", "y z"]));
        assert_eq!(container["Image"], "new");
        assert_eq!(spec["TaskTemplate"]["RestartPolicy"]["Condition"], "any");
    }

    #[test]
    fn references_are_known_by_name_and_by_target() {
        let reference =
            |name: &str, target: &str| json!({"SecretName": name, "File": {"Name": target}});
        let before = json!([reference("a", "a"), reference("b", "b")]);
        assert_eq!(
            references("Secret", &before, &["a".into()], vec![reference("c", "b")]),
            json!([reference("c", "b")])
        );
        assert_eq!(references("Secret", &before, &["a".into(), "b".into()], vec![]), Json::Null);
    }
}
