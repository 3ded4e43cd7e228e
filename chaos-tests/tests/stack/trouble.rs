//! Deploys that are cut short, that meet each other, that lose their manager, or find no daemon.

use std::process::{Child, Stdio};

use shoal_chaos_tests::host::bin_dir;

use crate::Stacks;

/// Eight services on a network, with a secret.
fn many(stacks: &Stacks) {
    let mut text = "secrets: {key: {file: key.txt}}\nservices:\n".to_owned();
    for number in 1..=8 {
        text += &format!(
            "  s{number}: {{image: busybox, command: sleep 1000, stop_signal: SIGKILL, secrets: [key]}}\n"
        );
    }
    stacks.file("key.txt", "s3cret");
    stacks.file("many.yaml", &text);
}

const DEPLOY: [&str; 6] =
    ["stack", "deploy", "--detach", "--resolve-image=never", "-c", "many.yaml"];

impl Stacks {
    /// Begins to deploy the eight services by `shoal` on a host.
    fn begin(&self, host: u8) -> Child {
        let mut client = self.lab.lab.client(host, &bin_dir().unwrap().join("shoal"));
        client.current_dir(self.files.path()).args(DEPLOY).arg("many");
        client.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    }

    /// Waits until all eight run, each once, asking a host.
    fn all_run(&self, host: u8) {
        let arguments = ["service", "ls", "--format", "{{.Name}} {{.Replicas}}"];
        self.lab
            .until("eight services to run", || {
                let text = self.lab.run(host, &arguments)?;
                Ok(text.lines().count() == 8 && text.lines().all(|line| line.ends_with(" 1/1")))
            })
            .unwrap();
    }
}

#[test]
fn a_deploy_that_was_cut_short_is_finished_by_the_next() {
    let stacks = Stacks::up("stk-cut");
    many(&stacks);
    let mut first = stacks.begin(1);
    stacks
        .lab
        .until("the first services", || {
            Ok(!stacks.lab.docker(&["service", "ls", "-q"])?.is_empty())
        })
        .unwrap();
    let _ended = first.kill();
    first.wait().unwrap();
    stacks.run("shoal", &[&DEPLOY[..], &["many"]].concat());
    stacks.all_run(1);
    stacks.run("docker", &["stack", "rm", "many"]);
}

#[test]
fn two_deploys_at_once_make_one_stack() {
    let stacks = Stacks::up("stk-two");
    many(&stacks);
    let both = [stacks.begin(1), stacks.begin(1)];
    for mut deploy in both {
        assert!(deploy.wait().unwrap().success());
    }
    stacks.all_run(1);
    let before = stacks.tasks("many");
    stacks.run("shoal", &[&DEPLOY[..], &["many"]].concat());
    assert_eq!(stacks.tasks("many"), before);
    stacks.run("shoal", &["stack", "rm", "many"]);
}

#[test]
fn a_manager_that_dies_during_a_deploy_loses_nothing() {
    let stacks = Stacks::with_managers("stk-die", 3);
    many(&stacks);
    let mut first = stacks.begin(1);
    stacks
        .lab
        .until("the first services", || {
            Ok(!stacks.lab.run(2, &["service", "ls", "-q"])?.is_empty())
        })
        .unwrap();
    stacks.lab.kill(1).unwrap();
    // Whether it had told all its managers already is a matter of time.
    first.wait().unwrap();
    stacks
        .lab
        .until("the rest to be deployed by another manager", || {
            Ok(stacks.begin(2).wait()?.success())
        })
        .unwrap();
    stacks.all_run(2);
}

#[test]
fn a_daemon_that_does_not_run_is_said_with_how_to_start_it() {
    let stacks = Stacks::up("stk-off");
    many(&stacks);
    stacks.lab.stop(1).unwrap();
    let said = stacks.refused("shoal", &[&DEPLOY[..], &["many"]].concat());
    assert!(said.contains("shoald"), "{said}");
    stacks.lab.start(1).unwrap();
}
