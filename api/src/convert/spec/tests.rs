use super::*;

fn outcome(body: &str, minor: u16) -> String {
    let made = parts(body.as_bytes()).and_then(|mut parts| {
        let warnings = adapt(&mut parts, ApiVersion::new(minor))?;
        spec(parts).map(|spec| (spec, warnings))
    });
    match made {
        Ok((_, warnings)) => format!("ok {warnings:?}"),
        Err(failure) => failure.chain(),
    }
}

#[test]
fn refuses_in_dockers_words() {
    let host = |text: &str| format!(r#"{{"Image":"x","HostConfig":{{{text}}}}}"#);
    for (body, expected) in [
        ("{}".to_owned(), "config cannot be empty in order to create a container"),
        (
            host(r#""Memory":"1""#),
            r#"invalid JSON: field HostConfig.Memory: invalid type: string "1", expected i64"#,
        ),
        (
            r#"{"Env":"A"}"#.into(),
            r#"invalid JSON: field Env: invalid type: string "A", expected a sequence"#,
        ),
        (host(r#""Memory":5"#), "Minimum memory limit allowed is 6MB"),
        (
            host(r#""MemorySwap":50"#),
            "You should always set the Memory limit when using Memoryswap limit, see usage",
        ),
        (
            host(r#""AutoRemove":true,"RestartPolicy":{"Name":"always"}"#),
            "can't create 'AutoRemove' container with restart policy",
        ),
        (
            host(r#""RestartPolicy":{"Name":"x"}"#),
            "invalid restart policy: unknown policy 'x'; use one of 'no', 'always', 'on-failure', or 'unless-stopped'",
        ),
        (
            host(r#""RestartPolicy":{"Name":"always","MaximumRetryCount":3}"#),
            "invalid restart policy: maximum retry count can only be used with 'on-failure'",
        ),
        (host(r#""PortBindings":{"x/tcp":[]}"#), "invalid port specification: \"x\""),
        (
            host(r#""PortBindings":{"80/tcp":[{"HostPort":"99999"}]}"#),
            "invalid port specification: \"99999\"",
        ),
        (
            host(r#""Ulimits":[{"Name":"nofile","Soft":5,"Hard":4}]"#),
            "ulimit soft limit must be less than or equal to hard limit: 5 > 4",
        ),
        (
            host(r#""NetworkMode":"container:""#),
            "Invalid network mode: invalid container format container:<name|id>",
        ),
        (host(r#""PidMode":"foo""#), "invalid PID mode: foo"),
        (
            r#"{"Hostname":"h","HostConfig":{"NetworkMode":"container:a"}}"#.into(),
            "conflicting options: hostname and the network mode",
        ),
        (
            r#"{"WorkingDir":"a"}"#.into(),
            "the working directory 'a' is invalid, it needs to be an absolute path",
        ),
        (host(r#""Isolation":"process""#), "invalid isolation 'process' on linux"),
    ] {
        assert_eq!(outcome(&body, 50), expected);
    }
}

#[test]
fn old_clients_get_what_they_knew() {
    let two = r#"{"Image":"x","NetworkingConfig":{"EndpointsConfig":{"a":{},"b":{}}}}"#;
    assert_eq!(
        outcome(two, 43),
        "Container cannot be created with multiple network endpoints: a, b"
    );
    assert_eq!(outcome(two, 44), "ok []");
    let mac = r#"{"Image":"x","MacAddress":"02:00:00:00:00:01"}"#;
    assert_eq!(outcome(mac, 43), "ok []");
    assert!(outcome(mac, 44).starts_with("ok [\"The container-wide MacAddress field"));
}
