//! Files → specifications.

use expect_test::{expect, expect_file};
use serde_json::{Value as Json, json};

use super::*;

const SHOP: &str = include_str!("testdata/shop.yaml");
const OVER: &str = include_str!("testdata/over.yaml");

fn project(texts: &[&str]) -> Result<Project, String> {
    let sources: Vec<Source> = texts
        .iter()
        .map(|text| Source {
            name: "f.yaml".to_owned(),
            text: (*text).to_owned(),
            directory: "/work".to_owned(),
        })
        .collect();
    let lookup = |name: &str| match name {
        "OURS" => Some("mine".to_owned()),
        "HOME" => Some("/home/u".to_owned()),
        _ => None,
    };
    let read = |path: &str| match path {
        "/work/web.env" => Ok("FILE=1\nPORT=1\n".to_owned()),
        _ => Err(std::io::Error::from_raw_os_error(2)),
    };
    let reading = Reading { lookup: &lookup, read: &read, literal: false, profiles: &[] };
    load(&sources, &reading).map_err(|fault| fault.to_string())
}

fn stack(texts: &[&str]) -> convert::Stack {
    project(texts).unwrap().stack("shop").unwrap()
}

/// All of a stack, to be looked at.
fn all(stack: &convert::Stack) -> Json {
    json!({
        "networks": stack.networks,
        "external": stack.external_networks,
        "secrets": kept(&stack.secrets),
        "configs": kept(&stack.configs),
        "services": stack.services,
    })
}

fn shown(stack: &convert::Stack) -> String {
    serde_json::to_string_pretty(&all(stack)).unwrap() + "\n"
}

fn kept(objects: &[(Json, convert::Data)]) -> Json {
    objects.iter().map(|(spec, data)| json!([spec, format!("{data:?}")])).collect()
}

#[test]
fn every_key_has_its_place() {
    let stack = stack(&[SHOP]);
    expect_file!["testdata/shop.json"].assert_eq(&shown(&stack));
    for spec in stack.services.values() {
        // The API knows every member.
        let known: shoal_api_wire::swarm::service::ServiceSpec =
            serde_json::from_value(spec.clone()).unwrap();
        let known = serde_json::to_value(known).unwrap();
        assert_known(spec, &known, "spec");
    }
}

#[track_caller]
fn assert_known(ours: &Json, known: &Json, path: &str) {
    if let (Json::Object(ours), Json::Object(known)) = (ours, known) {
        for (key, value) in ours {
            let empty = *value == json!({}) || *value == json!("") || *value == json!(0);
            let other = known.get(key);
            assert!(empty || other.is_some(), "{path}.{key} is not of the API");
            if let Some(other) = other {
                assert_known(value, other, &format!("{path}.{key}"));
            }
        }
    }
}

#[test]
fn later_files_add_and_override() {
    let stack = stack(&[SHOP, OVER]);
    let web = &stack.services["shop_web"];
    let container = &web["TaskTemplate"]["ContainerSpec"];
    assert_eq!(container["Args"], json!(["other"]));
    assert_eq!(container["Env"], json!(["FILE=1", "LEVEL=debug", "OURS=mine", "PORT=80"]));
    assert_eq!(web["Mode"]["Replicated"]["Replicas"], 5);
    assert_eq!(
        web["TaskTemplate"]["Placement"]["Constraints"],
        json!(["node.role == worker", "node.labels.x == y"])
    );
    let data = container["Mounts"].as_array().unwrap();
    let data: Vec<&Json> = data.iter().filter(|mount| mount["Target"] == "/var/data").collect();
    assert_eq!((data.len(), &data[0]["Source"]), (1, &json!("shop_other")));
    let ports: Vec<(&Json, &Json)> = web["EndpointSpec"]["Ports"]
        .as_array()
        .unwrap()
        .iter()
        .map(|port| (&port["PublishedPort"], &port["PublishMode"]))
        .collect();
    expect![[r#"[(Number(53), String("ingress")), (Number(8080), String("host")), (Number(8443), String("host")), (Number(9090), String("ingress"))]"#]]
        .assert_eq(&format!("{ports:?}"));
}

#[test]
fn the_same_files_make_the_same_stack() {
    assert_eq!(stack(&[SHOP, OVER]), stack(&[SHOP, OVER]));
}

#[test]
fn what_config_prints_makes_the_same_stack() {
    let first = project(&[SHOP]).unwrap();
    let again = project(&[&yaml::write(&first.content)]).unwrap();
    assert_eq!(again.stack("shop").unwrap(), first.stack("shop").unwrap());
}

/// What files may read in the tests below.
fn stored(path: &str) -> std::io::Result<String> {
    Ok(match path {
        "/work/common.yaml" => {
            "services:\n  app: {image: 'app:1', restart: always, environment: {ROLE: none, LEVEL: info}, \
             volumes: ['./data:/data']}\n"
        }
        "/work/part/compose.yaml" => {
            "services:\n  api: {image: 'api:${TAG}', env_file: api.env}\nnetworks: {back: {}}\n"
        }
        "/work/part/.env" => "FROM_PART=1\n",
        "/work/part/api.env" => "LEVEL=info\n",
        "/work/part/cache.yaml" => "services: {cache: {image: 'redis:${CACHE}'}}\n",
        "/work/part/cache.env" => "CACHE=7\n",
        "/work/profile.json" => "{\"defaultAction\": \"SCMP_ACT_ALLOW\"}\n",
        _ => return Err(std::io::Error::from_raw_os_error(2)),
    }
    .to_owned())
}

/// A file, and another one over it where there is one, as they are written to the wire or refused.
fn outcome(path: &std::path::Path) -> String {
    let over = path.with_extension("over.yaml");
    let paths = [path, &over];
    let sources: Vec<Source> = paths
        .iter()
        .filter(|path| path.exists())
        .map(|path| Source {
            name: path.file_name().unwrap().to_str().unwrap().to_owned(),
            text: std::fs::read_to_string(path).unwrap(),
            directory: "/work".to_owned(),
        })
        .collect();
    let lookup = |name: &str| {
        Some(match name {
            "TAG" => "1.2".to_owned(),
            "COUNT" => "3".to_owned(),
            "YES" => "yes".to_owned(),
            "EMPTY" => String::new(),
            "OURS" => "mine".to_owned(),
            "DB_PASSWORD" | "ADMIN_PASSWORD" => "s3cret".to_owned(),
            "HOME" => "/home/u".to_owned(),
            "COMPOSE_PROFILES" => "debug".to_owned(),
            _ => return None,
        })
    };
    let reading = Reading { lookup: &lookup, read: &stored, literal: false, profiles: &[] };
    let made = load(&sources, &reading).and_then(|project| {
        let warnings: String = project.ignored.iter().map(|fault| format!("# {fault}\n")).collect();
        Ok(warnings + &yaml::write(&pruned(all(&project.stack("shop")?))))
    });
    made.unwrap_or_else(|fault| format!("refused: {fault}\n"))
}

/// Without sections that are empty and what every service has.
fn pruned(mut stack: Json) -> Json {
    let fields = stack.as_object_mut().unwrap();
    fields.retain(|_, section| *section != json!({}) && *section != json!([]));
    stack
}

/// At least 25 projects as people write them, and the mistakes they make in them.
#[test]
fn projects_deploy_or_are_refused_for_the_right_reason() {
    let directory =
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/compose/testdata/stacks");
    let mut paths: Vec<_> = std::fs::read_dir(&directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|end| end == "yaml"))
        .filter(|path| !path.to_str().unwrap().ends_with(".over.yaml"))
        .collect();
    paths.sort();
    assert!(paths.len() > 50, "{}", paths.len());
    for path in paths {
        expect_file![path.with_extension("txt")].assert_eq(&outcome(&path));
    }
}

/// The stacks that are shipped as examples have nothing that is refused or without effect.
#[test]
fn shipped_stacks_are_good() {
    let directory = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/stacks");
    let lookup = |name: &str| (name == "SHOP_KEY").then(|| "key".to_owned());
    let reading = Reading { lookup: &lookup, read: &stored, literal: false, profiles: &[] };
    let mut count = 0;
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let name = path.display().to_string();
        let text = std::fs::read_to_string(&path).unwrap();
        let source = Source { name: name.clone(), text, directory: "/work".to_owned() };
        let project = load(&[source], &reading).unwrap_or_else(|fault| panic!("{fault}"));
        assert_eq!(project.ignored, [], "{name}");
        project.stack("s").unwrap_or_else(|fault| panic!("{fault}"));
        count += 1;
    }
    assert!(count >= 4, "{count}");
}

#[test]
fn fifty_services_are_read() {
    let mut text = "x-base: &base {image: busybox, environment: {A: '1', B: \"${HOME}\"}, ports: ['80']}\nservices:\n".to_owned();
    for number in 0..50 {
        text.push_str(&format!("  s{number}: {{<<: *base, networks: [n], volumes: ['v{number}:/data'], deploy: {{replicas: 2}}}}\n"));
    }
    text.push_str("networks: {n: {}}\nvolumes:\n");
    (0..50).for_each(|number| text.push_str(&format!("  v{number}: {{}}\n")));
    assert_eq!(stack(&[&text]).services.len(), 50);
}
