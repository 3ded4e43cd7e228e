//! What is posted is what is read back.

use serde_json::{Value, json};
use shoal_api_wire::json::decode_value;

use super::{service, service_out, swarm};

fn rich() -> Value {
    json!({
        "Name": "web",
        "Labels": { "a": "b", "io.shoal.on-disconnect": "stop:90s" },
        "TaskTemplate": {
            "ContainerSpec": {
                "Image": "nginx:1@sha256:0000000000000000000000000000000000000000000000000000000000000000",
                "Labels": { "c": "d" },
                "Command": ["/entry"],
                "Args": ["-g", "daemon off;"],
                "Hostname": "{{.Node.Hostname}}",
                "Env": ["A=1", "B"],
                "Dir": "/srv",
                "User": "1:2",
                "Groups": ["wheel"],
                "Privileges": {
                    "CredentialSpec": null,
                    "SELinuxContext": null,
                    "Seccomp": { "Mode": "unconfined" },
                    "NoNewPrivileges": true
                },
                "Init": true,
                "StopSignal": "SIGQUIT",
                "TTY": true,
                "OpenStdin": true,
                "ReadOnly": true,
                "Mounts": [{ "Type": "volume", "Source": "data", "Target": "/data" }],
                "StopGracePeriod": 5_000_000_000_i64,
                "Healthcheck": { "Test": ["CMD-SHELL", "true"], "Interval": 1_000_000_000 },
                "Hosts": ["10.0.0.1 db", "fe80::1 six"],
                "DNSConfig": { "Nameservers": ["1.1.1.1"] },
                "Secrets": [{
                    "File": { "Name": "s", "UID": "0", "GID": "0", "Mode": 292 },
                    "SecretID": "0123456789abcdefghijklmno",
                    "SecretName": "s"
                }],
                "Configs": [{
                    "File": { "Name": "/c", "UID": "0", "GID": "0", "Mode": 292 },
                    "ConfigID": "0123456789abcdefghijklmno",
                    "ConfigName": "c"
                }],
                "Isolation": "default",
                "Sysctls": { "net.core.somaxconn": "1024" },
                "CapabilityAdd": ["CAP_NET_ADMIN"],
                "CapabilityDrop": ["CAP_CHOWN"],
                "Ulimits": [{ "Name": "nofile", "Hard": 2, "Soft": 1 }],
                "OomScoreAdj": 10
            },
            "Resources": {
                "Limits": { "NanoCPUs": 500_000_000, "MemoryBytes": 104_857_600, "Pids": 100 },
                "Reservations": {
                    "MemoryBytes": 52_428_800,
                    "GenericResources": [{ "DiscreteResourceSpec": { "Kind": "gpu", "Value": 2 } }]
                },
                "SwapBytes": 0,
                "MemorySwappiness": 10
            },
            "RestartPolicy": {
                "Condition": "on-failure", "Delay": 0, "MaxAttempts": 3, "Window": 60_000_000_000_i64
            },
            "Placement": {
                "Constraints": ["node.role==manager"],
                "Preferences": [{ "Spread": { "SpreadDescriptor": "node.labels.zone" } }],
                "MaxReplicas": 2,
                "Platforms": [{ "Architecture": "amd64", "OS": "linux" }]
            },
            "Networks": [{ "Target": "n", "Aliases": ["x"], "DriverOpts": { "k": "v" } }],
            "LogDriver": { "Name": "json-file", "Options": { "max-size": "1m" } },
            "ForceUpdate": 7,
            "Runtime": "container"
        },
        "Mode": { "Replicated": { "Replicas": 0 } },
        "UpdateConfig": {
            "Parallelism": 0,
            "Delay": 1_000_000_000,
            "FailureAction": "rollback",
            "Monitor": 2_000_000_000,
            "MaxFailureRatio": 0.5,
            "Order": "start-first"
        },
        "RollbackConfig": {
            "Parallelism": 1, "FailureAction": "continue", "MaxFailureRatio": 0, "Order": "stop-first"
        },
        "EndpointSpec": {
            "Mode": "vip",
            "Ports": [
                { "Protocol": "tcp", "TargetPort": 80, "PublishedPort": 8080, "PublishMode": "ingress" },
                { "Protocol": "udp", "TargetPort": 53, "PublishMode": "host" }
            ]
        }
    })
}

fn back(value: Value) -> Value {
    let spec = service::spec(decode_value(value).unwrap(), "").unwrap();
    serde_json::to_value(service_out::spec(&spec)).unwrap()
}

#[test]
fn a_rich_service_comes_back_as_it_was() {
    pretty_assertions(&back(rich()), &rich());
}

#[test]
fn what_was_left_out_stays_out() {
    let lean = json!({
        "Name": "lean",
        "Labels": {},
        "TaskTemplate": {
            "ContainerSpec": { "Image": "busybox", "Isolation": "default" },
            "ForceUpdate": 0,
            "Runtime": "container"
        },
        "Mode": { "Global": {} }
    });
    pretty_assertions(&back(lean.clone()), &lean);
}

#[test]
fn writing_back_what_was_read_changes_nothing() {
    let posted = json!({
        "Name": "web",
        "TaskTemplate": { "ContainerSpec": { "Image": "busybox", "Args": ["sleep", "9"] } },
        "Mode": { "Replicated": { "Replicas": 1 } }
    });
    let first = service::spec(decode_value(posted).unwrap(), "").unwrap();
    let read = serde_json::to_value(service_out::spec(&first)).unwrap();
    let second = service::spec(decode_value(read).unwrap(), "").unwrap();
    assert_eq!(first, second);
}

#[test]
fn defaults_of_a_cluster_are_those_of_init() {
    let spec = swarm::spec(decode_value(json!({})).unwrap()).unwrap();
    let out = serde_json::to_value(swarm::spec_out(&spec)).unwrap();
    pretty_assertions(
        &out,
        &json!({
            "Name": "default",
            "Labels": {},
            "Orchestration": { "TaskHistoryRetentionLimit": 5 },
            "Raft": {
                "SnapshotInterval": 10000,
                "KeepOldSnapshots": 0,
                "LogEntriesForSlowFollowers": 500,
                "ElectionTick": 6,
                "HeartbeatTick": 1
            },
            "Dispatcher": { "HeartbeatPeriod": 5_000_000_000_i64 },
            "CAConfig": { "NodeCertExpiry": 7_776_000_000_000_000_i64 },
            "TaskDefaults": {},
            "EncryptionConfig": { "AutoLockManagers": false }
        }),
    );
}

#[test]
fn mistakes_are_refused_in_dockers_words() {
    for (pointer, value, expected) in [
        ("/Mode/Global", json!({}), "must specify only one service mode"),
        ("/UpdateConfig/Order", json!("x"), "unrecognized update order x"),
        (
            "/UpdateConfig/MaxFailureRatio",
            json!(2.0),
            "TaskSpec: update-maxfailureratio cannot be less than 0 or bigger than 1",
        ),
        (
            "/RollbackConfig/FailureAction",
            json!("rollback"),
            "unrecognized rollback failure action rollback",
        ),
        ("/TaskTemplate/RestartPolicy/Condition", json!("x"), "invalid RestartCondition: \"x\""),
        (
            "/TaskTemplate/RestartPolicy/Delay",
            json!(-1),
            "TaskSpec: restart-delay cannot be negative",
        ),
        ("/EndpointSpec/Mode", json!("x"), "invalid resolution mode: \"x\""),
        (
            "/TaskTemplate/Runtime",
            json!("plugin"),
            "services of plugins are not implemented by Shoal",
        ),
        (
            "/TaskTemplate/ContainerSpec/Secrets/0/SecretID",
            json!("x"),
            "malformed secret reference",
        ),
    ] {
        let mut wire = rich();
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        wire.pointer_mut(parent).unwrap()[key] = value;
        let failure = service::spec(decode_value(wire).unwrap(), "").unwrap_err();
        assert_eq!(failure.chain(), expected, "{pointer}");
    }
}

#[track_caller]
fn pretty_assertions(found: &Value, expected: &Value) {
    assert_eq!(
        serde_json::to_string_pretty(found).unwrap(),
        serde_json::to_string_pretty(expected).unwrap()
    );
}
