use shoal_model::cluster::node::Platform;
use shoal_model::cluster::task::{ConfigReference, FileTarget, SecretReference, Slot, TaskSpec};
use shoal_model::cluster::{Annotations, ConfigId, ConfigSpec, Meta, SecretId, SecretSpec};
use shoal_model::container::{Mount, VolumeMountOptions};

use super::*;
use crate::testing::assigned;

fn node() -> NodeDescription {
    NodeDescription {
        hostname: "h1".to_owned(),
        platform: Platform { architecture: "x86_64".to_owned(), os: "linux".to_owned() },
        ..NodeDescription::default()
    }
}

fn work(env: &[&str], hostname: &str) -> Work {
    let mut task = Task::clone(&assigned(1).task);
    let labels = [("zone".to_owned(), "a".to_owned())].into();
    task.annotations = Arc::new(Annotations { name: "web".to_owned(), labels });
    let container = ContainerSpec {
        env: env.iter().map(|entry| (*entry).to_owned()).collect(),
        hostname: hostname.to_owned(),
        ..ContainerSpec::default()
    };
    task.spec = Arc::new(TaskSpec { container, ..TaskSpec::default() });
    Work {
        task: Arc::new(task),
        secrets: Vec::new(),
        configs: Vec::new(),
        sensitive_configs: Vec::new(),
        networks: Vec::new(),
    }
}

fn golang() -> Option<DriverSpec> {
    Some(DriverSpec { name: "golang".to_owned(), ..DriverSpec::default() })
}

fn with_secret(mut work: Work, name: &str, data: &[u8], templating: Option<DriverSpec>) -> Work {
    let id = SecretId::from_bytes([1; 16]);
    let file = Some(FileTarget { name: name.to_owned(), ..FileTarget::default() });
    let reference = SecretReference { id, name: name.to_owned(), file };
    let spec = SecretSpec { data: data.to_vec(), templating, ..SecretSpec::default() };
    work.secrets.push((reference, Arc::new(Secret { id, meta: Meta::default(), spec })));
    work
}

fn with_config(mut work: Work, name: &str, data: &[u8], templating: Option<DriverSpec>) -> Work {
    let id = ConfigId::from_bytes([1; 16]);
    let file = Some(FileTarget { name: name.to_owned(), ..FileTarget::default() });
    let reference = ConfigReference { id, name: name.to_owned(), file };
    let spec = ConfigSpec { data: data.to_vec(), templating, ..ConfigSpec::default() };
    work.configs.push((reference, Arc::new(Config { id, meta: Meta::default(), spec })));
    work
}

#[test]
fn environment_and_hostname_know_service_node_and_task() {
    let env = [
        "A={{.Service.Name}}/{{index .Service.Labels \"zone\"}}/{{.Service.Labels.zone}}",
        "B={{.Node.Hostname}} {{.Node.Platform.OS}}-{{.Node.Platform.Architecture}}",
        "C={{if eq .Task.Slot \"1\"}}first{{else}}other{{end}}",
        "D={{index .Service.Labels \"none\"}}.",
        "UNSET",
        "E=a=b",
    ];
    let expanded = expand(work(&env, "{{.Task.Name}}"), &node()).unwrap();
    let task = &expanded.task;
    assert_eq!(
        task.spec.container.env,
        ["A=web/a/a", "B=h1 linux-x86_64", "C=first", "D=.", "UNSET", "E=a=b"]
    );
    assert_eq!(task.spec.container.hostname, format!("web.1.{}", task.id));
}

#[test]
fn mounts_are_expanded() {
    let mut work = work(&[], "");
    let mut task = Task::clone(&work.task);
    let options = VolumeMountOptions {
        labels: [("l".to_owned(), "{{.Task.Slot}}".to_owned())].into(),
        driver_options: [("o".to_owned(), "{{.Node.Hostname}}".to_owned())].into(),
        ..VolumeMountOptions::default()
    };
    let volume = MountKind::Volume { source: "data-{{.Task.Slot}}".to_owned(), options };
    let mount = Mount {
        kind: volume,
        target: "/{{.Service.Name}}".to_owned(),
        read_only: false,
        consistency: String::new(),
    };
    Arc::make_mut(&mut task.spec).container.host.mounts = vec![mount];
    work.task = Arc::new(task);
    let expanded = expand(work, &node()).unwrap();
    let mount = &expanded.task.spec.container.host.mounts[0];
    assert_eq!(mount.target, "/web");
    let MountKind::Volume { source, options } = &mount.kind else { panic!("a volume") };
    assert_eq!(source, "data-1");
    assert_eq!(options.labels["l"], "1");
    assert_eq!(options.driver_options["o"], "h1");
}

#[test]
fn tasks_without_a_slot_show_their_node() {
    let mut global = Task::clone(&work(&[], "").task);
    global.slot = Slot(0);
    let node = global.node.unwrap();
    assert_eq!(task_name(&global), format!("web.{node}.{}", global.id));
}

#[test]
fn templated_data_read_secrets_configs_and_environment() {
    let work = with_secret(work(&["NAME={{.Service.Name}}"], ""), "key", b"s3", None);
    let work = with_config(work, "plain", b"{{.Service.Name}}", None);
    let text = br#"{{secret "key"}} {{config "plain"}} {{env "NAME"}} {{env "NONE"}}."#;
    let work = with_config(work, "mixed", text, golang());
    let work = with_secret(work, "made", b"<{{.Node.Hostname}}>", golang());
    let expanded = expand(work, &node()).unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let configs: Vec<_> = expanded.configs.iter().map(|(_, c)| text(&c.spec.data)).collect();
    assert_eq!(configs, ["{{.Service.Name}}", "s3 {{.Service.Name}} web ."]);
    let secrets: Vec<_> = expanded.secrets.iter().map(|(_, s)| text(&s.spec.data)).collect();
    assert_eq!(secrets, ["s3", "<h1>"]);
    assert_eq!(expanded.sensitive_configs, [1]);
}

#[test]
fn errors_name_what_is_wrong() {
    let error = |work: Work| expand(work, &node()).unwrap_err().to_string();
    let empty = || work(&[], "");
    let other = Some(DriverSpec { name: "jinja".to_owned(), ..DriverSpec::default() });
    assert_eq!(
        [
            error(work(&["A={{.Service.Nope}}"], "")),
            error(work(&["A={{secret \"x\"}}"], "")),
            error(work(&[], "{{.Service.Labels.none}}")),
            error(with_config(empty(), "c", b"{{secret \"x\"}}", golang())),
            error(with_config(empty(), "c", b"x", other)),
            error(with_config(empty(), "c", b"\xff", golang())),
        ],
        [
            "failed to expand environment variable `A`: template: :1:10: executing \"\" at <.Service.Nope>: map has no entry for key \"Nope\"",
            "failed to expand environment variable `A`: template: :1: function \"secret\" not defined",
            "failed to expand the hostname: template: :1:10: executing \"\" at <.Service.Labels.none>: map has no entry for key \"none\"",
            "failed to expand config `c`: template: :1:2: executing \"\" at <secret \"x\">: error calling secret: secret target x not found",
            "config `c` asks for template driver `jinja`; there is only `golang`",
            "failed to expand config `c`: its data are not UTF-8",
        ]
    );
}
