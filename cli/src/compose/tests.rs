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
fn shown(stack: &convert::Stack) -> String {
    let all = json!({
        "networks": stack.networks,
        "external": stack.external_networks,
        "secrets": kept(&stack.secrets),
        "configs": kept(&stack.configs),
        "services": stack.services,
    });
    serde_json::to_string_pretty(&all).unwrap() + "\n"
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
