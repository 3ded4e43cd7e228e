//! Bad input and faults: updates that never become healthy, hosts that die under tasks of every state, secrets that change under
//! tasks that restart, a thousand services at once, users who change the same service at once.

use std::process::{Child, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use shoal_chaos_tests::http::Connection;
use shoal_chaos_tests::service_lab::{ServiceLab, call, file};

use crate::{SLEEP, lab};

const UPDATE: [&str; 4] = ["service", "update", "-d", "--no-resolve-image"];

#[test]
fn trouble_ends_well() {
    let lab = lab("trouble", 3, 1, &[]);
    no_image(&lab);
    unhealthy_update(&lab);
    rotation(&lab);
    conflicts(&lab);
    thousand(&lab);
    dying_host(&lab);
}

/// An image whose registry does not answer: the task goes on trying and says why, and an update to one that is there ends it.
fn no_image(lab: &ServiceLab) {
    let image = "127.0.0.1:9/nothere:1";
    let create = ["service", "create", "-d", "--no-resolve-image", "--name", "none"];
    lab.docker(&[&create[..], &[image, "sleep", "1000"]].concat()).unwrap();
    let why = "failed to pull `127.0.0.1:9/nothere:1`";
    lab.until(
        "the reason",
        || Ok(lab.ps("none", "{{.CurrentState}} {{.Error}}")?[0].contains(why)),
    )
    .unwrap();
    let said = lab.said(1, &["service", "explain", "none"]).unwrap();
    assert!(said.contains(why), "{said}");
    lab.docker(&[&UPDATE[..], &["--image", "busybox", "none"]].concat()).unwrap();
    lab.await_replicas("none", "1/1").unwrap();
    lab.remove(&["none"]).unwrap();
}

/// An update to what never becomes healthy does what failures ask for, and says so.
fn unhealthy_update(lab: &ServiceLab) {
    let flags =
        ["--update-failure-action", "rollback", "--update-monitor", "500ms", "--replicas", "2"];
    lab.create("sick", &[&flags[..], &["--restart-delay", "100ms"]].concat(), &SLEEP).unwrap();
    let health = ["--health-cmd", "false", "--health-interval", "200ms", "--health-retries", "2"];
    lab.docker(&[&UPDATE[..], &health, &["sick"]].concat()).unwrap();
    lab.until("the rollback", || {
        Ok(lab.inspect("sick", "{{.UpdateStatus.State}}")? == "rollback_completed")
    })
    .unwrap_or_else(|error| {
        panic!("{error}: {:?}", lab.ps("sick", "{{.CurrentState}} {{.Error}}"))
    });
    lab.await_replicas("sick", "2/2").unwrap();
    let health = lab.inspect("sick", "{{.Spec.TaskTemplate.ContainerSpec.Healthcheck}}").unwrap();
    assert_eq!(health, "<nil>");
    let errors = lab.ps("sick", "{{.Error}}").unwrap();
    assert!(errors.contains(&"\"task: unhealthy container\"".to_owned()), "{errors:?}");
    lab.remove(&["sick"]).unwrap();
}

/// Secrets change while tasks end and are restarted: no task misses its secret, and the last one is seen in the end.
fn rotation(lab: &ServiceLab) {
    let directory = lab.path(1);
    let create = |round: u32| {
        let path = file(&directory, "rotated", &format!("word {round}")).unwrap();
        lab.docker(&["secret", "create", &format!("word{round}"), &path]).unwrap();
    };
    create(0);
    lab.begin(
        "turns",
        &[
            "--replicas",
            "3",
            "--restart-delay",
            "50ms",
            "--update-parallelism",
            "0",
            "--update-monitor",
            "1ms",
            "--update-failure-action",
            "continue",
            "--secret",
            "source=word0,target=word",
        ],
        &["sh", "-c", "cat /run/secrets/word || exit 9; sleep 0.5; exit 1"],
    )
    .unwrap();
    lab.until("a first attempt", || Ok(lab.ps("turns", "{{.ID}}")?.len() > 3)).unwrap();
    for round in 1..=5 {
        create(round);
        let (old, new) = (format!("word{}", round - 1), format!("source=word{round},target=word"));
        let rotate = ["--secret-rm", &old, "--secret-add", &new, "turns"];
        lab.until("the update to be accepted", || {
            Ok(lab.docker(&[&UPDATE[..], &rotate].concat()).is_ok())
        })
        .unwrap();
        std::thread::sleep(Duration::from_millis(700));
    }
    let last = |host| {
        let containers = lab.containers(host, "turns").unwrap_or_default();
        containers.iter().any(|id| lab.run(host, &["logs", id]).is_ok_and(|log| log == "word 5"))
    };
    lab.until("the last word", || Ok(lab.numbers().any(last))).unwrap();
    let errors = lab.ps("turns", "{{.Error}}").unwrap();
    let expected = |error: &String| error.is_empty() || *error == "\"task: non-zero exit (1)\"";
    assert!(errors.iter().all(expected), "{errors:?}");
    lab.remove(&["turns"]).unwrap();
    for round in 0..=5 {
        lab.docker(&["secret", "rm", &format!("word{round}")]).unwrap();
    }
}

/// Users who read, change and write the same service at once: who was too slow is told, and no change is lost.
fn conflicts(lab: &ServiceLab) {
    const USERS: usize = 8;
    const CHANGES: usize = 5;
    lab.create("shared", &[], &SLEEP).unwrap();
    let change = |user: usize| {
        let mut connection = Connection::open(&lab.socket(1)).unwrap();
        let mut refused = 0;
        for number in 0..CHANGES {
            loop {
                let mut service = call(&mut connection, "GET", "/services/shared", "").unwrap();
                let version = service["Version"]["Index"].to_string();
                service["Spec"]["Labels"][format!("u{user}-{number}")] = "1".into();
                let path = format!("/services/shared/update?version={version}");
                match call(&mut connection, "POST", &path, &service["Spec"].to_string()) {
                    Ok(_) => break,
                    Err(error) => {
                        let text = format!("{error:#}");
                        assert!(text.contains("update out of sequence"), "{text}");
                        refused += 1;
                    }
                }
            }
        }
        refused
    };
    let refused: usize = std::thread::scope(|scope| {
        let users: Vec<_> = (0..USERS).map(|user| scope.spawn(move || change(user))).collect();
        users.into_iter().map(|user| user.join().unwrap()).sum()
    });
    assert!(refused > 0, "they never met");
    let labels = lab.inspect("shared", "{{len .Spec.Labels}}").unwrap();
    assert_eq!(labels, (USERS * CHANGES).to_string());
    // Labels of the service are no business of its tasks.
    assert_eq!(lab.ps("shared", "{{.DesiredState}}").unwrap(), ["Running"]);
    lab.remove(&["shared"]).unwrap();
}

/// A thousand services at once, none of which has a place to run: each is there, and each says why not.
fn thousand(lab: &ServiceLab) {
    const USERS: usize = 8;
    const EACH: usize = 125;
    let create = |user: usize| {
        let mut connection = Connection::open(&lab.socket(1)).unwrap();
        for number in 0..EACH {
            let spec = json!({
                "Name": format!("s{user}-{number}"),
                "TaskTemplate": {
                    "ContainerSpec": {"Image": "busybox:latest", "Args": ["sleep", "1000"]},
                    "Placement": {"Constraints": ["node.hostname==h9"]},
                },
            });
            call(&mut connection, "POST", "/services/create", &spec.to_string()).unwrap();
        }
    };
    std::thread::scope(|scope| {
        for user in 0..USERS {
            scope.spawn(move || create(user));
        }
    });
    let services = || lab.api(1, "GET", "/services", None).unwrap();
    let names: Vec<Value> = services().as_array().unwrap().clone();
    assert_eq!(names.len(), USERS * EACH);
    lab.until("all reasons", || {
        let tasks = lab.api(1, "GET", "/tasks", None)?;
        let why = "no suitable node (scheduling constraints not satisfied on 3 nodes)";
        let told = tasks.as_array().unwrap().iter().filter(|task| task["Status"]["Err"] == why);
        Ok(told.count() == USERS * EACH)
    })
    .unwrap();
    // Something else is placed while they wait.
    lab.create("meanwhile", &["--replicas", "3"], &SLEEP).unwrap();
    let mut connection = Connection::open(&lab.socket(1)).unwrap();
    for service in &names {
        let path = format!("/services/{}", service["ID"].as_str().unwrap());
        call(&mut connection, "DELETE", &path, "").unwrap();
    }
    lab.until("their tasks to go", || {
        Ok(lab.api(1, "GET", "/tasks", None)?.as_array().unwrap().len() == 3)
    })
    .unwrap();
    lab.remove(&["meanwhile"]).unwrap();
}

/// A registry that takes connections and never says a word.
struct Silent(Child);

impl Silent {
    fn listen(lab: &ServiceLab) -> (Self, String) {
        let mut nc = lab.inside(1);
        nc.args(["busybox", "nc", "-ll", "-p", "5999", "-e", "sleep", "1000"]);
        let child = nc.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        (Self(child.unwrap()), format!("{}:5999/image:1", lab.address(1)))
    }
}

impl Drop for Silent {
    fn drop(&mut self) {
        // Its children end with the connections that the lab's end closes.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A host dies under tasks of every state: each is replaced elsewhere, and the host comes back with nothing of them.
fn dying_host(lab: &ServiceLab) {
    let (_registry, image) = Silent::listen(lab);
    let elsewhere = ["--constraint", "node.role==worker", "--restart-delay", "100ms"];
    lab.docker(&["node", "update", "--availability", "drain", "h2"]).unwrap();
    let health =
        ["--health-cmd", "test -f /never", "--health-interval", "1s", "--health-retries", "1000"];
    lab.create("running", &elsewhere, &SLEEP).unwrap();
    lab.begin("starting", &[&elsewhere[..], &health].concat(), &SLEEP).unwrap();
    let preparing = [
        &["service", "create", "-d", "--no-resolve-image", "--name", "preparing"],
        &elsewhere[..],
        &[image.as_str()],
    ];
    lab.docker(&preparing.concat()).unwrap();
    // The old task takes its whole grace period; the new one is ready and waits.
    let stubborn = ["sh", "-c", "trap '' TERM; while :; do sleep 1; done"];
    let slow = [
        &[
            "service",
            "create",
            "-q",
            "--no-resolve-image",
            "--name",
            "ready",
            "--stop-grace-period",
            "10m",
        ],
        &elsewhere[..],
        &["busybox"],
        &stubborn[..],
    ];
    lab.docker(&slow.concat()).unwrap();
    lab.docker(&[&UPDATE[..], &["--env-add", "A=1", "ready"]].concat()).unwrap();
    for (name, state) in [
        ("running", "Running"),
        ("starting", "Starting"),
        ("preparing", "Preparing"),
        ("ready", "Ready"),
    ] {
        lab.until(&format!("a task that is {state}"), || {
            let states = lab.ps(name, "{{.CurrentState}}")?;
            Ok(states.iter().any(|line| line.starts_with(state)))
        })
        .unwrap_or_else(|error| {
            panic!("{error}: {:?}", lab.ps(name, "{{.CurrentState}} {{.Error}}"))
        });
    }
    lab.docker(&["node", "update", "--availability", "active", "h2"]).unwrap();
    lab.crash(3).unwrap();
    let wanted = |name: &str| {
        let arguments = [
            "service",
            "ps",
            "--filter",
            "desired-state=running",
            "--format",
            "{{.Node}} {{.CurrentState}}",
            name,
        ];
        lab.docker(&arguments)
    };
    lab.until_within("all tasks elsewhere", Duration::from_secs(120), || {
        let of = |name: &str, state: &str| {
            wanted(name).is_ok_and(|line| line.starts_with(&format!("h2 {state}")))
        };
        Ok(of("running", "Running")
            && of("starting", "Starting")
            && of("preparing", "Preparing")
            && of("ready", "Running"))
    })
    .unwrap_or_else(|error| {
        let all = ["running", "starting", "preparing", "ready"].map(|name| wanted(name).unwrap());
        panic!("{error}: {all:?}")
    });
    lab.start(3).unwrap();
    lab.until("the node to be ready", || {
        Ok(lab.docker(&["node", "ls", "--filter", "name=h3", "--format", "{{.Status}}"])?
            == "Ready")
    })
    .unwrap();
    lab.until("nothing of them on h3", || Ok(lab.run(3, &["ps", "-q"])?.is_empty())).unwrap();
    // With its grace period it would take ten minutes to stop.
    lab.docker(&["service", "scale", "-d", "ready=0"]).unwrap();
    kill_all(lab, "ready");
    lab.remove(&["running", "starting", "preparing", "ready"]).unwrap();
}

/// Ends the containers of a service that ignore their signal.
fn kill_all(lab: &ServiceLab, service: &str) {
    for host in lab.numbers() {
        for id in lab.containers(host, service).unwrap() {
            lab.run(host, &["kill", &id]).unwrap();
        }
    }
}
