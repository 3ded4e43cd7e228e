//! A web service and a stand-in for a database: deployed, deployed again, changed, pruned, removed.

use crate::{Stacks, text};

/// The database answers on its port with what is in its volume; the web service asks it by name.
const SHOP: &str = r#"
services:
  web:
    image: busybox
    command: ["sh", "-c", "while sleep 0.2; do nc db 5432 > /tmp/page; done"]
    stop_signal: SIGKILL
    secrets: [key]
    configs:
      - source: site
        target: /etc/site
    ports:
      - {target: 80, published: 8080, mode: host}
    depends_on:
      db: {condition: service_healthy}
    networks: [back]
    deploy: {replicas: 2}
  db:
    image: busybox
    command: ["sh", "-c", "sleep 1; echo ${GREETING:-hello} > /data/page; while true; do nc -l -p 5432 < /data/page; done"]
    stop_signal: SIGKILL
    volumes: [data:/data]
    healthcheck: {test: test -s /data/page, interval: 300ms, retries: 20}
    networks: [back]
networks:
  back: {}
volumes:
  data: {}
secrets:
  key: {file: key.txt}
configs:
  site: {content: "name: shop"}
"#;

const DEPLOY: [&str; 5] = ["stack", "deploy", "--resolve-image=never", "-c", "shop.yaml"];

fn deploy<'a>(more: &[&'a str]) -> Vec<&'a str> {
    [&DEPLOY[..], more, &["shop"]].concat()
}

#[test]
fn a_stack_lives_from_deploy_to_rm() {
    let stacks = Stacks::up("stk");
    stacks.file("key.txt", "s3cret");
    stacks.file("shop.yaml", SHOP);
    let said = stacks.run("shoal", &deploy(&["--detach=false"]));
    for line in [
        "Creating network shop_back",
        "Creating secret shop_key",
        "Creating config shop_site",
        "Creating service shop_db",
        "Creating service shop_web",
    ] {
        assert!(said.lines().any(|said| said == line), "{line}: {said}");
    }
    serves(&stacks, "hello");
    nothing_restarts(&stacks);
    changes(&stacks);
    ends(&stacks);
    warns_as_docker(&stacks);
}

/// An image of which no registry tells: both clients say nothing when its service is made, and the same when it is changed.
fn warns_as_docker(stacks: &Stacks) {
    let file = "services:\n  one: {image: busybox, command: sleep 1000, stop_signal: SIGKILL}\n";
    stacks.file("one.yaml", &format!("version: '3.8'\n{file}"));
    let [docker, shoal] = ["docker", "shoal"].map(|program| {
        let name = format!("by-{program}");
        let deploy = ["stack", "deploy", "--detach=true", "-c", "one.yaml", &name];
        let said = [(); 2].map(|()| text(&stacks.output(program, &deploy).stderr));
        stacks.run("shoal", &["stack", "rm", &name]);
        said
    });
    assert_eq!(shoal, docker);
    assert_eq!(docker[0], "");
    let warning = "image busybox:latest could not be accessed on a registry to record";
    assert!(docker[1].starts_with(warning), "{docker:?}");
}

/// What web read of db, with its secret and its config.
fn serves(stacks: &Stacks, greeting: &str) {
    let lab = &stacks.lab;
    lab.await_replicas("shop_web", "2/2").unwrap();
    lab.until("web to have asked db", || {
        let mut seen = 0;
        for host in 1..=3 {
            for container in lab.containers(host, "shop_web")? {
                let script = "cat /tmp/page /run/secrets/key /etc/site";
                let page = lab.run(host, &["exec", &container, "sh", "-c", script])?;
                seen += usize::from(page == format!("{greeting}\ns3cretname: shop"));
            }
        }
        Ok(seen == 2)
    })
    .unwrap();
}

/// The same file again changes nothing, whoever brings it; each client sees the other's stacks.
fn nothing_restarts(stacks: &Stacks) {
    let before = stacks.tasks("shop");
    assert_eq!(before.len(), 3, "{before:?}");
    stacks.run("shoal", &deploy(&["--detach=false"]));
    stacks.run("shoal", &deploy(&["--detach", "--with-registry-auth"]));
    // What docker's client knows of the format.
    let plain = SHOP
        .replace("depends_on:\n      db: {condition: service_healthy}", "depends_on: [db]")
        .replace("site: {content: \"name: shop\"}", "site: {file: site.txt}");
    stacks.file("site.txt", "name: shop");
    stacks.file("plain.yaml", &format!("version: '3.8'\n{plain}"));
    let docker =
        ["stack", "deploy", "--resolve-image=never", "-c", "plain.yaml", "--detach=false", "shop"];
    stacks.run("docker", &docker);
    assert_eq!(stacks.tasks("shop"), before);
    stacks.run("shoal", &deploy(&["--detach=false"]));
    assert_eq!(stacks.tasks("shop"), before);
    for command in [
        &["stack", "ls"][..],
        &["stack", "services", "shop"],
        &["stack", "ps", "--format", "{{.ID}} {{.Name}} {{.Image}} {{.DesiredState}}", "shop"],
        &["stack", "services", "--format", "{{.Name}} {{.Replicas}} {{.Ports}}", "shop"],
    ] {
        assert_eq!(stacks.run("shoal", command), stacks.run("docker", command), "{command:?}");
    }
    // What is printed of the files is a file too.
    let printed = stacks.run("shoal", &["stack", "config", "-c", "shop.yaml"]);
    stacks.file("printed.yaml", &printed);
    stacks
        .run("shoal", &["stack", "deploy", "--resolve-image=never", "-c", "printed.yaml", "shop"]);
    assert_eq!(stacks.tasks("shop"), before);
}

/// Only what a file changes is replaced; with `--prune` what it does not name goes.
fn changes(stacks: &Stacks) {
    let before = stacks.tasks("shop");
    stacks.file("shop.yaml", &SHOP.replace("replicas: 2", "replicas: 3"));
    stacks.run("shoal", &deploy(&["--detach=false"]));
    let after = stacks.tasks("shop");
    assert!(before.iter().all(|task| after.contains(task)), "{before:?} {after:?}");
    assert_eq!(after.len(), 4);
    // Another stack file, without web.
    let only_db = SHOP.split("  web:\n").next().unwrap().to_owned()
        + &SHOP[SHOP.find("  db:\n    image").unwrap()..];
    stacks.file("shop.yaml", &only_db);
    stacks.run("shoal", &deploy(&[]));
    assert_eq!(stacks.run("docker", &["stack", "ls", "--format", "{{.Services}}"]), "2");
    let said = stacks.run("shoal", &deploy(&["--prune"]));
    assert!(said.contains("Removing service shop_web"), "{said}");
    assert_eq!(stacks.run("docker", &["stack", "ls", "--format", "{{.Services}}"]), "1");
}

fn ends(stacks: &Stacks) {
    let said = stacks.run("docker", &["stack", "rm", "--detach=false", "shop"]);
    for line in [
        "Removing service shop_db",
        "Removing secret shop_key",
        "Removing config shop_site",
        "Removing network shop_back",
    ] {
        assert!(said.lines().any(|said| said == line), "{line}: {said}");
    }
    assert_eq!(stacks.run("shoal", &["stack", "ls"]), "NAME      SERVICES");
    let wrong = stacks.refused("shoal", &["stack", "deploy", "-c", "nothere.yaml", "shop"]);
    assert_eq!(wrong, "open nothere.yaml: no such file or directory");
    stacks.file("wrong.yaml", "services:\n  web:\n    imag: busybox\n");
    let wrong = stacks.refused("shoal", &["stack", "deploy", "-c", "wrong.yaml", "shop"]);
    assert_eq!(wrong, "wrong.yaml:3:5: services.web.imag: unknown key; did you mean `image`?");
    let outside =
        "services: {web: {image: busybox, networks: [n]}}\nnetworks: {n: {external: true}}";
    stacks.file("outside.yaml", outside);
    let wrong = stacks.refused("shoal", &["stack", "deploy", "-c", "outside.yaml", "shop"]);
    assert!(
        wrong.contains("network \"n\" is declared as external, but could not be found"),
        "{wrong}"
    );
}
