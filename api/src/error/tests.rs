use expect_test::{Expect, expect};

use super::*;

fn check(kind: ErrorKind, fact: Fact, verb: Verb<'_>, expected: Expect) {
    let error = ApiError::of(&Failure::of(kind, fact), verb);
    expected.assert_eq(&format!("{} {}", error.status.as_u16(), error.message));
}

fn no(object: ObjectKind, name: &str) -> Fact {
    Fact::NoSuch { object, name: name.to_owned() }
}

#[test]
fn words_for_missing_objects() {
    use ErrorKind::NotFound;
    let other = Verb::Other;
    check(NotFound, no(ObjectKind::Container, "x"), other, expect!["404 No such container: x"]);
    check(NotFound, no(ObjectKind::Image, "x"), other, expect!["404 No such image: x:latest"]);
    check(NotFound, no(ObjectKind::Image, "x:1"), other, expect!["404 No such image: x:1"]);
    check(NotFound, no(ObjectKind::Volume, "x"), other, expect!["404 get x: no such volume"]);
    check(NotFound, no(ObjectKind::Network, "x"), other, expect!["404 network x not found"]);
    check(NotFound, no(ObjectKind::Exec, "x"), other, expect!["404 No such exec instance: x"]);
    check(
        NotFound,
        no(ObjectKind::Container, "x"),
        Verb::Kill("x"),
        expect!["404 cannot kill container: x: No such container: x"],
    );
}

#[test]
fn words_for_conflicts() {
    use ErrorKind::Conflict;
    let other = Verb::Other;
    check(
        Conflict,
        Fact::ContainerNameTaken { name: "x".into(), by: "abc".into() },
        other,
        expect![[
            r#"409 Conflict. The container name "/x" is already in use by container "abc". You have to remove (or rename) that container to be able to reuse that name."#
        ]],
    );
    check(
        Conflict,
        Fact::RemoveRunning { container: "x".into(), state: "running".into() },
        other,
        expect![[
            r#"409 cannot remove container "/x": container is running: stop the container before removing or force remove"#
        ]],
    );
    check(
        Conflict,
        Fact::VolumeInUse { volume: "v".into(), containers: vec!["a".into(), "b".into()] },
        other,
        expect!["409 remove v: volume is in use - [a, b]"],
    );
    check(
        Conflict,
        Fact::Paused { container: "x".into() },
        Verb::ExecCreate,
        expect!["409 container x is paused, unpause the container before exec"],
    );
    check(
        Conflict,
        Fact::NotRunning { container: "x".into() },
        Verb::Kill("x"),
        expect!["409 cannot kill container: x: container x is not running"],
    );
    check(
        Conflict,
        Fact::ImageInUse {
            image: "busybox:latest".into(),
            why: "container 1 is using its referenced image 2".into(),
            must_force: true,
        },
        other,
        expect![[
            r#"409 conflict: unable to remove repository reference "busybox:latest" (must force) - container 1 is using its referenced image 2"#
        ]],
    );
    check(
        Conflict,
        Fact::ImageInUse {
            image: format!("sha256:{}", "ab".repeat(32)),
            why: "image is being used by running container 1".into(),
            must_force: false,
        },
        other,
        expect![
            "409 conflict: unable to delete abababababab (cannot be forced) - image is being used by running container 1"
        ],
    );
}

#[test]
fn words_that_decide_the_exit_code_of_docker_run() {
    let missing = "exec: \"foo\": executable file not found in $PATH";
    let fact = |exit_code, reason: &str| Fact::StartFailed { exit_code, reason: reason.to_owned() };
    check(
        ErrorKind::InvalidArgument,
        fact(127, missing),
        Verb::Start,
        expect![[
            r#"400 failed to create task for container: failed to create shim task: OCI runtime create failed: runc create failed: unable to start container process: error during container init: exec: "foo": executable file not found in $PATH: unknown"#
        ]],
    );
    check(
        ErrorKind::InvalidArgument,
        fact(127, missing),
        Verb::ExecStart,
        expect![[
            r#"400 OCI runtime exec failed: exec failed: unable to start container process: exec: "foo": executable file not found in $PATH: unknown"#
        ]],
    );
    let failure = Failure::of(ErrorKind::Internal, fact(128, "no cgroup"));
    assert_eq!(ApiError::of(&failure, Verb::Start).status, StatusCode::INTERNAL_SERVER_ERROR);
    check(ErrorKind::NotModified, Fact::AlreadyInState, Verb::Start, expect!["304 "]);
}

#[test]
fn words_for_filters() {
    let filter = |value: Option<&str>| Fact::InvalidFilter {
        key: "x".into(),
        value: value.map(str::to_owned),
    };
    let kind = ErrorKind::InvalidArgument;
    check(kind, filter(None), Verb::Other, expect!["400 invalid filter 'x'"]);
    check(kind, filter(Some("y")), Verb::Other, expect!["400 invalid filter 'x=[y]'"]);
}
