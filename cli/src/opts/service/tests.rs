//! Options → specifications and their changes.

use serde_json::{Value as Json, json};

use super::tidy;
use super::update::{apply, references};
use crate::args::Args;
use crate::commands::by_path;

fn args(name: &str, line: &[&str]) -> Args {
    let line: Vec<String> = line.iter().map(|word| (*word).to_owned()).collect();
    let command = by_path(name).expect("the command exists");
    crate::args::parse::parse(command, name, &line).unwrap()
}

/// The specification of `service create`, which must have only members that the API knows.
fn created(line: &[&str]) -> Json {
    let spec = super::create::spec(
        &args("service create", line),
        &|path| Ok(format!("FROM_FILE={path}\nA=0")),
        &|name| Ok((name == "OURS").then(|| "1".to_owned())),
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
            let number = |value: &serde_json::Number| value.as_f64().unwrap();
            assert!((number(left) - number(right)).abs() < 1e-6, "{path}");
        }
        _ => assert_eq!(left, right, "{path}"),
    }
}

#[test]
fn a_plain_service_is_what_dockers_client_sends() {
    assert_eq!(
        created(&["--name", "web", "nginx", "-g", "x"].map(|w| if w == "-g" { "run" } else { w })),
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
        super::create::spec(&args("service create", line), &|_| Ok(String::new()), &|_| Ok(None))
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
        "Unknown mode: foo, only replicated and global supported"
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
