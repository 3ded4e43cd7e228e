//! Files → specifications.

use expect_test::{expect, expect_file};
use serde_json::{Value as Json, json};

use super::*;

const SHOP: &str = include_str!("testdata/shop.yaml");
const OVER: &str = include_str!("testdata/over.yaml");

fn project(texts: &[&str]) -> Result<Project, String> {
    let sources: Vec<Source> = texts
        .iter()
        .map(|text| Source { text: (*text).to_owned(), directory: "/work".to_owned() })
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
    load(&sources, &Reading { lookup: &lookup, read: &read, literal: false })
}

fn stack(texts: &[&str]) -> convert::Stack {
    convert::stack("shop", &project(texts).unwrap().content).unwrap()
}

/// All of a stack, to be looked at.
fn shown(stack: &convert::Stack) -> String {
    let all = json!({
        "networks": stack.networks,
        "external": stack.external_networks,
        "secrets": stack.secrets,
        "configs": stack.configs,
        "services": stack.services,
    });
    serde_json::to_string_pretty(&all).unwrap() + "\n"
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
fn what_is_ignored_is_named() {
    let project = project(&[SHOP]).unwrap();
    assert_eq!(
        project.warnings,
        [
            "Ignoring unsupported options: links, privileged, restart\n",
            "Ignoring deprecated options:\n\ncontainer_name: Setting the container name is not \
             supported.\n"
        ]
    );
    assert_eq!(project.ignored, ["container_name", "links", "privileged"]);
    let address =
        self::project(&["services: {a: {image: x, ports: ['127.0.0.1:80:80']}}"]).unwrap();
    assert_eq!(
        address.warnings,
        ["ignoring IP-address (127.0.0.1:80:80) service \"a\" will listen on '0.0.0.0'"]
    );
    assert_eq!(address.ignored, address.warnings);
}

#[track_caller]
fn refused(text: &str, expected: &str) {
    let made = project(&[text]).and_then(|project| convert::stack("s", &project.content));
    assert_eq!(made.unwrap_err(), expected, "{text}");
}

#[test]
fn bad_files_are_refused() {
    refused(
        "services: {a: {image: x, mem_limit: 5}}",
        "Compose file contains unsupported options:\n\nmem_limit: Set resource limits using \
         deploy.resources\n",
    );
    refused("version: '2.4'", "unsupported Compose file version: 2.4");
    refused("services: {a: {}}", "service a: invalid image reference: no image specified");
    refused("services: {a: {image: x, networks: [b]}}", "service a: undefined network \"b\"");
    refused("services: {a: {image: x, volumes: ['b:/b']}}", "service a: undefined volume \"b\"");
    refused("services: {a: {image: x, secrets: [b]}}", "service a: undefined secret \"b\"");
    refused("services: {a: {image: '${B:?say}'}}", "required variable B is missing a value: say");
    refused(
        "services: {a: {image: x, deploy: {mode: global, replicas: 2}}}",
        "service a: replicas can only be used with replicated or replicated-job mode",
    );
    refused(
        "services: {a: {image: x, env_file: none.env}}",
        "services.a.open /work/none.env: no such file or directory",
    );
    refused(
        "services: {a: {image: x, volumes: ['a:b:c:d']}}",
        "services.a.volumes: invalid spec: a:b:c:d: too many colons",
    );
}

#[test]
fn what_config_prints_makes_the_same_stack() {
    let content = project(&[SHOP]).unwrap().content;
    let again = project(&[&yaml::write(&content)]).unwrap().content;
    assert_eq!(convert::stack("shop", &again).unwrap(), convert::stack("shop", &content).unwrap());
}
