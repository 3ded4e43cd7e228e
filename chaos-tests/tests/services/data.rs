//! Secrets, configs and templates, as containers see them.

use std::path::Path;

use shoal_chaos_tests::command::{command, run};
use shoal_chaos_tests::service_lab::file;

use crate::{SLEEP, lab};

const SECRET: &str = "ein sehr geheimes Wort";

#[test]
fn containers_see_secrets_configs_and_templates() {
    let lab = lab("data", 2, 1, &[]);
    let secret = file(&lab.path(1), "input", SECRET).unwrap();
    lab.docker(&["secret", "create", "-l", "a=b", "key", &secret]).unwrap();
    std::fs::remove_file(&secret).unwrap();
    let template = file(
        &lab.path(1),
        "template",
        "{{.Service.Name}} on {{.Node.Hostname}} {{secret \"key\"}}\n",
    )
    .unwrap();
    lab.docker(&["config", "create", "--template-driver", "golang", "conf", &template]).unwrap();
    let plain = file(&lab.path(1), "plain", "{{.Service.Name}}\n").unwrap();
    lab.docker(&["config", "create", "plain", &plain]).unwrap();
    assert_eq!(
        lab.docker(&["secret", "ls", "--format", "{{.Name}} {{.Labels}}"]).unwrap(),
        "key a=b"
    );
    let shown = lab.docker(&["secret", "inspect", "key"]).unwrap();
    assert!(!shown.contains("Data") && !shown.contains(SECRET), "{shown}");

    lab.create(
        "web",
        &[
            "--constraint",
            "node.hostname==h2",
            "--hostname",
            "{{.Service.Name}}-{{.Task.Slot}}",
            "--env",
            "WHERE={{.Node.Hostname}}",
            "--env",
            "TASK={{.Task.Name}}",
            "--secret",
            "key",
            "--secret",
            "source=key,target=deep/er,uid=33,gid=8,mode=0400",
            "--secret",
            "source=key,target=/etc/own.key,mode=0440",
            "--config",
            "source=conf,target=/etc/conf.txt,uid=33,mode=0640",
            "--config",
            "plain",
        ],
        &SLEEP,
    )
    .unwrap();
    let exec = |script: &str| lab.exec(2, "web", &["sh", "-c", script]).unwrap();
    assert_eq!(exec("hostname; echo $WHERE"), "web-1\nh2\n");
    let task = lab.docker(&["service", "ps", "-q", "--no-trunc", "web"]).unwrap();
    assert_eq!(exec("echo $TASK").trim_end(), format!("web.1.{task}"));
    let stat =
        "cd /run/secrets && stat -c '%n %a %u %g' key deep/er /etc/own.key /etc/conf.txt /plain";
    assert_eq!(
        exec(stat),
        "key 444 0 0\ndeep/er 400 33 8\n/etc/own.key 440 0 0\n/etc/conf.txt 640 33 0\n/plain 444 0 0\n"
    );
    for path in ["/run/secrets/key", "/run/secrets/deep/er", "/etc/own.key"] {
        assert_eq!(exec(&format!("cat {path}")), SECRET);
    }
    assert_eq!(exec("cat /etc/conf.txt"), format!("web on h2 {SECRET}\n"));
    assert_eq!(exec("cat /plain"), "{{.Service.Name}}\n");
    assert_eq!(exec("grep -c ' /run/secrets tmpfs ' /proc/mounts"), "1\n");
    let fails = |script: &str| exec(&format!("{script} 2>/dev/null || echo refused"));
    assert_eq!(fails("echo x > /run/secrets/key"), "refused\n");
    for host in [1, 2] {
        nowhere_in_clear(&lab.path(host).join("data"));
    }

    for (kind, name) in [("secret", "key"), ("config", "plain")] {
        let refused = lab.refused(&[kind, "rm", name]).unwrap();
        let wanted = format!(
            "rpc error: code = InvalidArgument desc = {kind} '{name}' is in use by the following service: web"
        );
        assert!(refused.ends_with(&wanted), "{refused}");
    }
    // Rotation: another secret at the same place.
    let next = file(&lab.path(1), "next", "das naechste Wort").unwrap();
    lab.docker(&["secret", "create", "key2", &next]).unwrap();
    lab.docker(&[
        "service",
        "update",
        "-q",
        "--no-resolve-image",
        "--update-monitor",
        "100ms",
        "--secret-rm",
        "key",
        "--config-rm",
        "conf",
        "--secret-add",
        "source=key2,target=key",
        "web",
    ])
    .unwrap();
    assert_eq!(lab.exec(2, "web", &["cat", "/run/secrets/key"]).unwrap(), "das naechste Wort");
    lab.docker(&["secret", "rm", "key"]).unwrap();
    lab.remove(&["web"]).unwrap();
    lab.docker(&["secret", "rm", "key2"]).unwrap();
    lab.docker(&["config", "rm", "conf", "plain"]).unwrap();
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
    let tasks = lab.path(2).join("run/tasks").display().to_string();
    assert!(!mounts.contains(&tasks), "{mounts}");
}

/// No file beneath the directory has the secret in it.
fn nowhere_in_clear(directory: &Path) {
    let found = run(command("grep").args(["-rla", SECRET]).arg(directory)).unwrap();
    let files = String::from_utf8_lossy(&found.stdout).into_owned();
    assert_eq!(files, "", "the secret is on disk in clear");
}
