//! The whole life of a replicated service, attached, with exact output.

use shoal_chaos_tests::command::stdout;

use crate::{SLEEP, lab};

const PRETTY: &str = "
ID:\t\tID
Name:\t\tweb
Labels:
 tier=front
Service Mode:\tReplicated
 Replicas:\t4
Placement:
UpdateConfig:
 Parallelism:\t1
 On failure:\tpause
 Monitoring Period: 5s
 Max failure ratio: 0
 Update order:      stop-first
RollbackConfig:
 Parallelism:\t1
 On failure:\tpause
 Monitoring Period: 5s
 Max failure ratio: 0
 Rollback order:    stop-first
ContainerSpec:
 Image:\t\tbusybox:latest
 Args:\t\tsleep 1000 
 Init:\t\tfalse
Resources:
Endpoint Mode:\tvip
";

#[test]
fn a_replicated_service_is_created_scaled_updated_rolled_back_and_removed() {
    let lab = lab("life", 3, 1, &[]);
    let created = lab
        .docker(&[
            "service",
            "create",
            "--no-resolve-image",
            "--stop-signal",
            "SIGKILL",
            "--name",
            "web",
            "--replicas",
            "4",
            "--label",
            "tier=front",
            "busybox",
            "sleep",
            "1000",
        ])
        .unwrap();
    let lines: Vec<&str> = created.lines().collect();
    let id = lines[0];
    assert_eq!(lines[1], "overall progress: 0 out of 4 tasks", "{created}");
    assert_eq!(lines[lines.len() - 1], format!("verify: Service {id} converged"), "{created}");
    let format = "{{.Name}} {{.Mode}} {{.Replicas}} {{.Image}} [{{.Ports}}]";
    let listed = lab.docker(&["service", "ls", "--format", format]).unwrap();
    assert_eq!(listed, "web replicated 4/4 busybox:latest []");
    let format = "{{.Name}} {{.Image}} {{.DesiredState}} [{{.Error}}]";
    let wanted: Vec<String> =
        (1..=4).map(|slot| format!("web.{slot} busybox:latest Running []")).collect();
    assert_eq!(lab.ps("web", format).unwrap(), wanted);
    let mut nodes = lab.ps("web", "{{.Node}}").unwrap();
    nodes.dedup();
    assert_eq!(nodes, ["h1", "h2", "h3"]);
    let pretty = stdout(lab.lab.docker(1).args(["service", "inspect", "--pretty", "web"])).unwrap();
    assert_eq!(pretty.trim_end(), PRETTY.replace("ID\n", &format!("{id}\n")).trim_end());

    // Scaling leaves the tasks that are there alone.
    let before = lab.ps("web", "{{.ID}}").unwrap();
    let scaled = lab.docker(&["service", "scale", "web=6"]).unwrap();
    assert_eq!(scaled.lines().next().unwrap(), "web scaled to 6");
    assert_eq!(scaled.lines().last().unwrap(), "verify: Service web converged");
    let after = lab.ps("web", "{{.ID}}").unwrap();
    assert_eq!(after.len(), 6);
    assert!(before.iter().all(|task| after.contains(task)), "{before:?} {after:?}");
    lab.docker(&["service", "scale", "-d", "web=2"]).unwrap();
    lab.await_replicas("web", "2/2").unwrap();

    let updated = lab
        .docker(&[
            "service",
            "update",
            "--no-resolve-image",
            "--image",
            "busybox:two",
            "--env-add",
            "A=1",
            "--update-parallelism",
            "0",
            "--update-monitor",
            "1s",
            "web",
        ])
        .unwrap();
    assert_eq!(updated.lines().next().unwrap(), "web");
    assert_eq!(updated.lines().last().unwrap(), "verify: Service web converged");
    assert_eq!(lab.inspect("web", "{{.UpdateStatus.State}}").unwrap(), "completed");
    assert_eq!(lab.inspect("web", "{{.UpdateStatus.Message}}").unwrap(), "update completed");
    let running = ["ps", "--filter", "desired-state=running", "--format", "{{.Name}} {{.Image}}"];
    let two = "web.1 busybox:two\nweb.2 busybox:two";
    assert_eq!(lab.docker(&[&["service"], &running[..], &["web"]].concat()).unwrap(), two);

    // What changes nothing changes nothing.
    let tasks = lab.ps("web", "{{.ID}} {{.DesiredState}}").unwrap();
    lab.docker(&["service", "update", "-q", "--env-add", "A=1", "--no-resolve-image", "web"])
        .unwrap();
    assert_eq!(lab.ps("web", "{{.ID}} {{.DesiredState}}").unwrap(), tasks);

    let rolled = lab.docker(&["service", "rollback", "web"]).unwrap();
    assert_eq!(rolled.lines().next().unwrap(), "web");
    assert_eq!(lab.inspect("web", "{{.UpdateStatus.State}}").unwrap(), "rollback_completed");
    let back = lab.docker(&[&["service"], &running[..], &["web"]].concat()).unwrap();
    assert!(back.lines().all(|line| line.ends_with("busybox:latest")), "{back}");

    lab.create("other", &[], &SLEEP).unwrap();
    let twice =
        lab.refused(&["service", "create", "-d", "--no-resolve-image", "--name", "web", "busybox"]);
    assert_eq!(
        twice.unwrap(),
        "Error response from daemon: rpc error: code = AlreadyExists desc = name conflicts with an existing \
         object: service web already exists"
    );
    let missing = lab.refused(&["service", "inspect", "-f", "x", "nothere"]).unwrap();
    assert!(missing.ends_with("no such service: nothere"), "{missing}");
    lab.remove(&["web", "other"]).unwrap();
    assert_eq!(lab.docker(&["service", "ls", "-q"]).unwrap(), "");
}

const TOLD: [&str; 9] = [
    r#"service create {"name":"web"}"#,
    r#"service update {"name":"web","replicas.new":"3","replicas.old":"1"}"#,
    r#"service update {"image.new":"busybox:two","image.old":"busybox:latest","name":"web"}"#,
    r#"service update {"name":"web","updatestate.new":"completed","updatestate.old":"updating"}"#,
    r#"service remove {"name":"web"}"#,
    r#"node update {"availability.new":"drain","availability.old":"active","name":"h2"}"#,
    r#"secret create {"name":"key"}"#,
    r#"secret remove {"name":"key"}"#,
    r#"config create {"name":"conf"}"#,
];

/// What happened to the objects of the cluster is told on each manager.
#[test]
fn managers_tell_of_what_happens_in_the_cluster() {
    let lab = lab("told", 2, 2, &[]);
    lab.create("web", &[], &SLEEP).unwrap();
    lab.docker(&["service", "scale", "-d", "web=3"]).unwrap();
    lab.docker(&[
        "service",
        "update",
        "-q",
        "--no-resolve-image",
        "--image",
        "busybox:two",
        "--update-monitor",
        "100ms",
        "--update-parallelism",
        "0",
        "web",
    ])
    .unwrap();
    let h2 = lab.docker(&["node", "inspect", "-f", "{{.ID}}", "h2"]).unwrap();
    lab.docker(&["node", "update", "--availability", "drain", "h2"]).unwrap();
    let file = shoal_chaos_tests::service_lab::file(&lab.path(1), "data.txt", "text").unwrap();
    lab.docker(&["secret", "create", "key", &file]).unwrap();
    lab.docker(&["secret", "rm", "key"]).unwrap();
    lab.docker(&["config", "create", "conf", &file]).unwrap();
    lab.docker(&["service", "rm", "web"]).unwrap();
    for host in [1, 2] {
        let told = || {
            lab.run(
                host,
                &[
                    "events",
                    "--since",
                    "5m",
                    "--until",
                    "0s",
                    "--filter",
                    "scope=swarm",
                    "--format",
                    "{{.Type}} {{.Action}} {{json .Actor.Attributes}}",
                ],
            )
        };
        // Replicas tell what they have applied: a follower comes a moment later.
        lab.until("the last event", || Ok(told()?.contains(r#"service remove {"name":"web"}"#)))
            .unwrap_or_else(|error| panic!("{error} on host {host}:\n{}", told().unwrap()));
        let told = told().unwrap();
        for wanted in TOLD {
            let count = told.lines().filter(|line| *line == wanted).count();
            assert_eq!(count, 1, "{wanted} on host {host}:\n{told}");
        }
    }
    let filtered = lab
        .docker(&[
            "events",
            "--since",
            "5m",
            "--until",
            "0s",
            "--filter",
            "type=node",
            "--filter",
            &format!("node={h2}"),
            "--format",
            "{{.Actor.ID}}",
        ])
        .unwrap();
    assert!(!filtered.is_empty() && filtered.lines().all(|line| line == h2), "{filtered}");
}
