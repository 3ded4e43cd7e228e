//! What containers are given beyond Docker's specs of services, and the order in which services start.

use crate::Stacks;

const SETTINGS: &str = r#"
services:
  all:
    image: busybox
    command: sleep 1000
    stop_signal: SIGKILL
    privileged: true
    devices: ["/dev/null:/dev/other"]
    security_opt: [seccomp=unconfined]
    shm_size: 2m
    ipc: private
    pid: host
    tmpfs: ["/scratch:size=1m"]
    ulimits: {nofile: {soft: 100, hard: 200}}
    group_add: ["4242"]
    dns_opt: ["ndots:3"]
    cpu_shares: 512
"#;

#[test]
fn settings_reach_the_container_and_outlive_dockers_client() {
    let stacks = Stacks::up("stk-set");
    stacks.file("set.yaml", SETTINGS);
    stacks.run(
        "shoal",
        &["stack", "deploy", "--resolve-image=never", "--detach=false", "-c", "set.yaml", "set"],
    );
    let lab = &stacks.lab;
    let seen = |what: &str| {
        for host in 1..=3 {
            if let [container] = &lab.containers(host, "set_all").unwrap()[..] {
                let inspect = ["inspect", "-f", what, container];
                return lab.run(host, &inspect).unwrap();
            }
        }
        panic!("no container")
    };
    let host = "{{.HostConfig.Privileged}} {{.HostConfig.ShmSize}} {{.HostConfig.PidMode}} \
                {{.HostConfig.IpcMode}} {{.HostConfig.CpuShares}} {{.HostConfig.SecurityOpt}} \
                {{.HostConfig.Tmpfs}} {{.HostConfig.GroupAdd}} {{.HostConfig.DnsOptions}} \
                {{range .HostConfig.Devices}}{{.PathOnHost}}:{{.PathInContainer}}{{end}}";
    let expected = "true 2097152 host private 512 [seccomp=unconfined] map[/scratch:size=1m] \
                    [4242] [ndots:3] /dev/null:/dev/other";
    assert_eq!(seen(host), expected);
    let inside = |script: &str| {
        for host in 1..=3 {
            if !lab.containers(host, "set_all").unwrap().is_empty() {
                let seen = lab.exec(host, "set_all", &["sh", "-c", script]).unwrap();
                return seen.trim_end().to_owned();
            }
        }
        panic!("no container")
    };
    let script = "test -c /dev/other && ulimit -n && grep -c ' /scratch tmpfs' /proc/mounts && \
                  grep Seccomp: /proc/self/status | tr -d '\\t' && id -G && test -d /proc/1 && \
                  cat /proc/1/comm | grep -vc sleep";
    assert_eq!(inside(script), "100\n1\nSeccomp:0\n0 4242\n1");
    // Docker's client writes the spec back as it knows it: nothing is lost.
    lab.docker(&["service", "update", "-d", "--label-add", "a=b", "set_all"]).unwrap();
    lab.docker(&["service", "scale", "-d", "set_all=1"]).unwrap();
    assert_eq!(seen(host), expected);
    stacks.run("shoal", &["stack", "rm", "set"]);
}

const ORDER: &str = r#"
services:
  app:
    image: busybox
    command: ["sh", "-c", "date +%s%N > /tmp/at; exec sleep 1000"]
    stop_signal: SIGKILL
    depends_on: {migrate: {condition: service_completed_successfully}}
  migrate:
    image: busybox
    command: ["sh", "-c", "sleep 1"]
    depends_on: {db: {condition: service_healthy}}
  db:
    image: busybox
    command: ["sh", "-c", "sleep 1; touch /tmp/ready; exec sleep 1000"]
    stop_signal: SIGKILL
    healthcheck: {test: test -e /tmp/ready, interval: 200ms, retries: 50}
    environment: {RELEASE: "1"}
"#;

#[test]
fn services_start_in_the_order_of_what_they_depend_on() {
    let stacks = Stacks::up("stk-ord");
    stacks.file("order.yaml", ORDER);
    let deploy = ["stack", "deploy", "--resolve-image=never", "-c", "order.yaml", "order"];
    // The client goes at once; the managers keep the order.
    stacks.run("shoal", &deploy);
    let lab = &stacks.lab;
    lab.await_replicas("order_app", "1/1").unwrap();
    let migrated = lab.ps("order_migrate", "{{.CurrentState}}").unwrap();
    assert!(migrated[0].starts_with("Complete"), "{migrated:?}");
    assert_eq!(lab.replicas("order_db").unwrap(), "1/1");
    let start = |service: &str| {
        for host in 1..=3 {
            let filter = format!("label=com.docker.swarm.service.name=order_{service}");
            let ids = lab.run(host, &["ps", "-aq", "--filter", &filter]).unwrap();
            if let Some(id) = ids.lines().next() {
                let format = "{{.State.StartedAt}}";
                return lab.run(host, &["inspect", "-f", format, id]).unwrap();
            }
        }
        panic!("no container of {service}")
    };
    let (db, migrate, app) = (start("db"), start("migrate"), start("app"));
    assert!(db < migrate && migrate < app, "{db} {migrate} {app}");
    // What was started is not held back when its dependency fails.
    stacks.run("shoal", &["service", "scale", "--detach", "order_db=0"]);
    lab.docker(&["service", "scale", "-d", "order_app=2"]).unwrap();
    lab.await_replicas("order_app", "2/2").unwrap();
    stacks.run("shoal", &["stack", "rm", "order"]);
}
