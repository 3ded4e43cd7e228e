//! Every rule for services, secrets, configs and nodes: the status and the words with which a request is refused.

use std::fmt::Write as _;

use serde_json::{Value, json};
use shoal_chaos_tests::http::Connection;
use shoal_chaos_tests::service_lab::ServiceLab;

use crate::{SLEEP, lab};

/// A request, its body, and the answer.
type Row = (&'static str, Value, u16, String);

/// Puts what `patch` has over `base`; null removes.
fn merge(base: &mut Value, patch: &Value) {
    let Value::Object(fields) = patch else {
        *base = patch.clone();
        return;
    };
    for (key, value) in fields {
        if value.is_null() {
            base.as_object_mut().unwrap().remove(key);
        } else {
            if !base[key].is_object() {
                base[key] = json!({});
            }
            merge(&mut base[key], value);
        }
    }
}

fn service(patch: &Value) -> Value {
    let mut spec = json!({
        "Name": "x",
        "TaskTemplate": {"ContainerSpec": {"Image": "busybox:latest", "Args": ["sleep", "1000"]}},
    });
    merge(&mut spec, patch);
    spec
}

fn of_container(patch: &Value) -> Value {
    service(&json!({"TaskTemplate": {"ContainerSpec": patch}}))
}

fn of_task(patch: &Value) -> Value {
    service(&json!({"TaskTemplate": patch}))
}

fn refused(code: &str, words: &str) -> String {
    format!("rpc error: code = {code} desc = {words}")
}

fn invalid(words: &str) -> String {
    refused("InvalidArgument", words)
}

const CREATE: &str = "POST /services/create";

fn names() -> Vec<Row> {
    let named = |name: &str| service(&json!({"Name": name}));
    let bad = invalid("name must be valid as a DNS name component");
    vec![
        (CREATE, named(""), 400, invalid("meta: name must be provided")),
        (CREATE, named("a.b"), 400, bad.clone()),
        (CREATE, named("-a"), 400, bad.clone()),
        (CREATE, named("a_"), 400, bad.clone()),
        (CREATE, named("ä"), 400, bad),
        (CREATE, named(&"a".repeat(64)), 400, invalid("name must be 63 characters or fewer")),
        (
            CREATE,
            named("web"),
            409,
            refused(
                "AlreadyExists",
                "name conflicts with an existing object: service web already exists",
            ),
        ),
    ]
}

fn containers() -> Vec<Row> {
    let mount = |target: &str| json!({"Type": "tmpfs", "Target": target});
    vec![
        (
            CREATE,
            of_container(&json!({"Image": ""})),
            400,
            invalid("ContainerSpec: image reference must be provided"),
        ),
        (
            CREATE,
            of_container(&json!({"Image": "UPPER"})),
            400,
            invalid("ContainerSpec: \"UPPER\" is not a valid repository/tag"),
        ),
        (
            CREATE,
            of_container(&json!({"Mounts": [mount("/x"), mount("/x")]})),
            400,
            invalid("ContainerSpec: duplicate mount point: /x"),
        ),
        (
            CREATE,
            of_container(&json!({"Mounts": [{"Type": "npipe", "Target": "/x"}]})),
            400,
            "invalid MountType: \"npipe\"".into(),
        ),
        (
            CREATE,
            of_container(&json!({"Healthcheck": {"Test": ["CMD", "true"], "Interval": 1000}})),
            400,
            invalid("ContainerSpec: Interval in HealthConfig cannot be less than 1ms"),
        ),
        (
            CREATE,
            of_container(&json!({"OomScoreAdj": 1001})),
            400,
            "Invalid value for OomScoreAdj: range is [-1000, 1000]".into(),
        ),
        (
            CREATE,
            of_container(&json!({"Privileges": {"Seccomp": {"Mode": "no"}}})),
            400,
            "unknown seccomp mode \"no\"".into(),
        ),
        (
            CREATE,
            of_container(&json!({"Privileges": {"AppArmor": {"Mode": "no"}}})),
            400,
            "unknown AppArmor mode \"no\"".into(),
        ),
    ]
}

fn tasks() -> Vec<Row> {
    let limits = |patch: Value| of_task(&json!({"Resources": {"Limits": patch}}));
    let reserve = |patch: Value| of_task(&json!({"Resources": {"Reservations": patch}}));
    let cpu = invalid("invalid cpu value 0.0005: Must be at least 0.001");
    let memory = invalid("invalid memory value 4096: Must be at least 4MiB");
    let constraint = |text: &str| of_task(&json!({"Placement": {"Constraints": [text]}}));
    vec![
        (CREATE, limits(json!({"NanoCPUs": 500_000})), 400, cpu.clone()),
        (CREATE, reserve(json!({"NanoCPUs": 500_000})), 400, cpu),
        (CREATE, limits(json!({"MemoryBytes": 4096})), 400, memory.clone()),
        (CREATE, reserve(json!({"MemoryBytes": 4096})), 400, memory),
        (CREATE, limits(json!({"Pids": -1})), 400, invalid("invalid pids limit -1")),
        (
            CREATE,
            of_task(&json!({"Resources": {"MemorySwappiness": 101}})),
            400,
            invalid("invalid memory swappiness 101: range is 0-100"),
        ),
        (
            CREATE,
            constraint("node.role"),
            400,
            invalid("constraint expected one operator from ==, !="),
        ),
        (
            CREATE,
            of_task(&json!({"RestartPolicy": {"Condition": "often"}})),
            400,
            "invalid RestartCondition: \"often\"".into(),
        ),
        (
            CREATE,
            of_task(&json!({"ContainerSpec": null})),
            400,
            "ContainerSpec: missing in task spec".into(),
        ),
    ]
}

fn modes() -> Vec<Row> {
    let mode = |patch: Value| service(&json!({"Mode": patch}));
    let update = |patch: Value| service(&json!({"UpdateConfig": patch}));
    let rollback = |patch: Value| service(&json!({"RollbackConfig": patch}));
    let job = json!({"Mode": {"GlobalJob": {}}, "UpdateConfig": {"Parallelism": 1}});
    let large = 1_u64 << 63;
    vec![
        (
            CREATE,
            mode(json!({"Replicated": {}, "Global": {}})),
            400,
            "must specify only one service mode".into(),
        ),
        (
            CREATE,
            mode(json!({"Replicated": {"Replicas": large}})),
            400,
            invalid("Number of replicas must be non-negative"),
        ),
        (
            CREATE,
            mode(json!({"ReplicatedJob": {"MaxConcurrent": large}})),
            400,
            invalid("Maximum concurrent jobs must not be negative"),
        ),
        (
            CREATE,
            mode(json!({"ReplicatedJob": {"TotalCompletions": large}})),
            400,
            invalid("Total completed jobs must not be negative"),
        ),
        (CREATE, service(&job), 400, invalid("Jobs may not have an update config")),
        (
            CREATE,
            update(json!({"FailureAction": "cry"})),
            400,
            "unrecognized update failure action cry".into(),
        ),
        (
            CREATE,
            rollback(json!({"FailureAction": "rollback"})),
            400,
            "unrecognized rollback failure action rollback".into(),
        ),
        (CREATE, update(json!({"Order": "any"})), 400, "unrecognized update order any".into()),
        (
            CREATE,
            update(json!({"MaxFailureRatio": 1.5})),
            400,
            "TaskSpec: update-maxfailureratio cannot be less than 0 or bigger than 1".into(),
        ),
        (
            CREATE,
            update(json!({"Delay": -1})),
            400,
            "TaskSpec: update-delay cannot be negative".into(),
        ),
        (
            CREATE,
            update(json!({"Monitor": -1})),
            400,
            "TaskSpec: update-monitor cannot be negative".into(),
        ),
    ]
}

fn endpoints() -> Vec<Row> {
    let endpoint = |patch: Value| service(&json!({"EndpointSpec": patch}));
    let port = |published: u16, mode: &str| json!({"TargetPort": 80, "PublishedPort": published, "PublishMode": mode});
    vec![
        (
            CREATE,
            endpoint(json!({"Mode": "magic"})),
            400,
            "invalid resolution mode: \"magic\"".into(),
        ),
        (
            CREATE,
            endpoint(json!({"Mode": "dnsrr", "Ports": [port(80, "ingress")]})),
            400,
            invalid("EndpointSpec: port published with ingress mode can't be used with dnsrr mode"),
        ),
        (
            CREATE,
            endpoint(json!({"Ports": [port(80, "host"), port(80, "host")]})),
            400,
            invalid("EndpointSpec: duplicate published ports provided"),
        ),
        (
            CREATE,
            endpoint(json!({"Ports": [port(80, "both")]})),
            400,
            "invalid publish mode \"both\"".into(),
        ),
        (
            CREATE,
            endpoint(json!({"Ports": [{"TargetPort": 80, "Protocol": "icmp"}]})),
            400,
            "invalid protocol value \"icmp\"".into(),
        ),
        (
            CREATE,
            endpoint(json!({"Ports": [port(8071, "ingress")]})),
            400,
            invalid(
                "port '8071' is already in use by service 'web' (WEB) as a host-published port",
            ),
        ),
        (
            CREATE,
            service(&json!({"Networks": [{"Target": "nothere"}]})),
            404,
            "network nothere not found".into(),
        ),
        (
            CREATE,
            service(&json!({"Labels": {"io.shoal.other": "1"}})),
            400,
            "unknown label io.shoal.other: labels that begin with io.shoal. are Shoal's own \
             (io.shoal.update.deadline, io.shoal.on-disconnect, io.shoal.revisions, io.shoal.depends-on, io.shoal.host.*, \
             io.shoal.publish.PORT/PROTOCOL.{policy,address,interface})"
                .into(),
        ),
    ]
}

fn references() -> Vec<Row> {
    let secret = |id: &str, name: &str, target: &str| json!({"SecretID": id, "SecretName": name, "File": {"Name": target, "UID": "0", "GID": "0", "Mode": 292}});
    let secrets = |list: Value| of_container(&json!({"Secrets": list}));
    let config =
        json!({"ConfigID": "0000000000000000000000001", "ConfigName": "c", "File": {"Name": "c"}});
    let absent = "0000000000000000000000001";
    vec![
        (
            CREATE,
            secrets(json!([secret(absent, "", "a")])),
            400,
            "malformed secret reference: SecretName is empty".into(),
        ),
        (CREATE, secrets(json!([secret("", "a", "a")])), 400, "malformed secret reference".into()),
        (CREATE, secrets(json!([secret(absent, "a", "a")])), 400, invalid("secret not found: a")),
        (
            CREATE,
            secrets(json!([secret(absent, "a", "a"), secret(absent, "b", "b")])),
            400,
            invalid("secrets not found: a, b"),
        ),
        (
            CREATE,
            secrets(json!([secret(absent, "a", "t"), secret(absent, "b", "t")])),
            400,
            invalid("secret references 'a' and 'b' have a conflicting target: 't'"),
        ),
        (
            CREATE,
            secrets(json!([secret(absent, "a", "")])),
            400,
            invalid("malformed file secret reference, invalid target file name provided"),
        ),
        (CREATE, of_container(&json!({"Configs": [config]})), 400, invalid("config not found: c")),
    ]
}

/// Of the service `web` and its version.
fn changes(version: &'static str, stale: &'static str) -> Vec<Row> {
    let web = |patch: &Value| {
        let mut spec = service(&json!({"Name": "web"}));
        merge(&mut spec, patch);
        spec
    };
    vec![
        (
            version,
            service(&json!({"Name": "other"})),
            501,
            refused("Unimplemented", "renaming services is not supported"),
        ),
        (
            version,
            web(&json!({"Mode": {"Global": {}}})),
            501,
            refused("Unimplemented", "service mode change is not allowed"),
        ),
        (
            stale,
            web(&json!({"Mode": {"Replicated": {"Replicas": 3}}})),
            500,
            refused("Unknown", "update out of sequence"),
        ),
        (
            "POST /services/web/update",
            web(&json!({})),
            400,
            "invalid service version '': strconv.ParseUint: parsing \"\": invalid syntax".into(),
        ),
        (
            "POST /services/nothere/update?version=1",
            web(&json!({})),
            404,
            "service nothere not found".into(),
        ),
        ("GET /services/nothere", Value::Null, 404, "service nothere not found".into()),
        ("DELETE /services/nothere", Value::Null, 404, "service nothere not found".into()),
        ("GET /tasks/nothere", Value::Null, 404, "task nothere not found".into()),
        (
            "GET /services?filters=%7B%22colour%22%3A%5B%22red%22%5D%7D",
            Value::Null,
            400,
            "invalid filter 'colour'".into(),
        ),
        (
            "GET /tasks?filters=%7B%22colour%22%3A%5B%22red%22%5D%7D",
            Value::Null,
            400,
            "invalid filter 'colour'".into(),
        ),
        (
            "GET /nodes?filters=%7B%22colour%22%3A%5B%22red%22%5D%7D",
            Value::Null,
            400,
            "invalid filter 'colour'".into(),
        ),
        (
            "GET /secrets?filters=%7B%22colour%22%3A%5B%22red%22%5D%7D",
            Value::Null,
            400,
            "invalid filter 'colour'".into(),
        ),
        (
            "GET /configs?filters=%7B%22colour%22%3A%5B%22red%22%5D%7D",
            Value::Null,
            400,
            "invalid filter 'colour'".into(),
        ),
    ]
}

/// Secrets and configs have the same rules, but for their sizes.
fn data(
    kind: &'static str,
    create: &'static str,
    limit: usize,
    paths: [&'static str; 4],
) -> Vec<Row> {
    // Three bytes `aaa` are four letters.
    let encoded = |bytes: usize| match bytes % 3 {
        0 => "YWFh".repeat(bytes / 3),
        1 => "YWFh".repeat(bytes / 3) + "YQ==",
        _ => "YWFh".repeat(bytes / 3) + "YWE=",
    };
    let named = |name: &str| json!({"Name": name, "Data": encoded(3)});
    let bad = invalid(
        "invalid name, only 64 [a-zA-Z0-9-_.] characters allowed, and the start and end character must be [a-zA-Z0-9]",
    );
    let size = invalid(&format!("{kind} data must be larger than 0 and less than {limit} bytes"));
    let [update, missing, remove_used, remove_missing] = paths;
    vec![
        (create, named(""), 400, invalid("name must be provided")),
        (create, named("a b"), 400, bad.clone()),
        (create, named(".a"), 400, bad.clone()),
        (create, named(&"a".repeat(65)), 400, bad),
        (create, json!({"Name": "x", "Data": ""}), 400, size.clone()),
        (create, json!({"Name": "x", "Data": encoded(limit)}), 400, size),
        (
            create,
            named("used"),
            409,
            refused("AlreadyExists", &format!("{kind} used already exists")),
        ),
        (
            update,
            json!({"Name": "used", "Data": encoded(9)}),
            400,
            invalid("only updates to Labels are allowed"),
        ),
        (update, named("other"), 400, invalid("only updates to Labels are allowed")),
        (missing, Value::Null, 404, format!("{kind} nothere not found")),
        (
            remove_used,
            Value::Null,
            400,
            invalid(&format!("{kind} 'used' is in use by the following service: web")),
        ),
        (remove_missing, Value::Null, 404, format!("{kind} nothere not found")),
    ]
}

fn nodes(update: &'static str, stale: &'static str, remove: &'static str) -> Vec<Row> {
    let spec = |patch: &Value| {
        let mut spec = json!({"Role": "manager", "Availability": "active"});
        merge(&mut spec, patch);
        spec
    };
    let member = "node NODE is a cluster manager and is a member of the raft cluster. It must be demoted to worker \
                  before removal";
    vec![
        (update, spec(&json!({"Role": "king"})), 400, "invalid Role: \"king\"".into()),
        (
            update,
            spec(&json!({"Availability": "maybe"})),
            400,
            "invalid Availability: \"maybe\"".into(),
        ),
        (
            update,
            spec(&json!({"Role": "worker"})),
            400,
            refused("FailedPrecondition", "attempting to demote the last manager of the swarm"),
        ),
        (
            stale,
            spec(&json!({"Labels": {"a": "b"}})),
            500,
            refused("Unknown", "update out of sequence"),
        ),
        (remove, Value::Null, 400, refused("FailedPrecondition", member)),
        ("GET /nodes/nothere", Value::Null, 404, "node nothere not found".into()),
        ("DELETE /nodes/nothere", Value::Null, 404, "node nothere not found".into()),
        (
            "POST /nodes/nothere/update?version=1",
            spec(&json!({})),
            404,
            "node nothere not found".into(),
        ),
    ]
}

#[test]
fn each_rule_has_its_status_and_its_words() {
    let lab = lab("refuse", 1, 1, &[]);
    let used = shoal_chaos_tests::service_lab::file(&lab.path(1), "used", "word").unwrap();
    lab.docker(&["secret", "create", "used", &used]).unwrap();
    lab.docker(&["config", "create", "used", &used]).unwrap();
    let flags =
        ["--secret", "used", "--config", "used", "-p", "published=8071,target=80,mode=host"];
    lab.create("web", &flags, &SLEEP).unwrap();
    let text = |path: &str, pointer: &str| {
        let value = lab.api(1, "GET", path, None).unwrap();
        let value = value.pointer(pointer).unwrap().clone();
        value.as_str().map_or_else(|| value.to_string(), str::to_owned)
    };
    let (web, node) = (text("/services/web", "/ID"), text("/nodes", "/0/ID"));
    let version = |path: &str| text(path, "/Version/Index");
    let path = |text: String| -> &'static str { Box::leak(text.into_boxed_str()) };
    let of_web = path(format!("POST /services/web/update?version={}", version("/services/web")));
    let of_node = format!("/nodes/{node}");
    let of_node = path(format!("POST {of_node}/update?version={}", version(&of_node)));
    let rows = [
        names(),
        containers(),
        tasks(),
        modes(),
        endpoints(),
        references(),
        changes(of_web, "POST /services/web/update?version=1"),
        data(
            "secret",
            "POST /secrets/create",
            512_000,
            [
                path(format!("POST /secrets/used/update?version={}", version("/secrets/used"))),
                "GET /secrets/nothere",
                "DELETE /secrets/used",
                "DELETE /secrets/nothere",
            ],
        ),
        data(
            "config",
            "POST /configs/create",
            1_024_000,
            [
                path(format!("POST /configs/used/update?version={}", version("/configs/used"))),
                "GET /configs/nothere",
                "DELETE /configs/used",
                "DELETE /configs/nothere",
            ],
        ),
        nodes(
            of_node,
            path(format!("POST /nodes/{node}/update?version=1")),
            path(format!("DELETE /nodes/{node}")),
        ),
    ];
    let mut wrong = String::new();
    for (request, body, status, words) in rows.concat() {
        let words = words.replace("WEB", &web).replace("NODE", &node);
        let answer = ask(&lab, request, &body);
        if answer != (status, words.clone()) {
            let _ = writeln!(
                wrong,
                "{request} {body:.300}\n  wanted {status} {words}\n  got {answer:?}"
            );
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
    lab.remove(&["web"]).unwrap();
}

/// Status and message.
fn ask(lab: &ServiceLab, request: &str, body: &Value) -> (u16, String) {
    let (method, path) = request.split_once(' ').unwrap();
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let mut connection = Connection::open(&lab.socket(1)).unwrap();
    match connection.call(method, path, body.as_bytes()) {
        Ok(answer) => (200, String::from_utf8_lossy(&answer).into_owned()),
        Err(error) => {
            let text = error.root_cause().to_string();
            let (status, body) = text.split_once(": ").unwrap_or(("0", &text));
            let message = serde_json::from_str::<Value>(body).map_or_else(
                |_| body.to_owned(),
                |json| json["message"].as_str().unwrap_or_default().to_owned(),
            );
            (status.parse().unwrap_or(0), message)
        }
    }
}
