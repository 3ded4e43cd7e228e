//! Exact answers of the API over a backend in memory, read with our own client.

#[allow(
    unreachable_pub,
    missing_docs,
    missing_debug_implementations,
    dead_code,
    clippy::unwrap_used,
    reason = "shared by tests"
)]
mod support;

use expect_test::{Expect, expect};
use http::{HeaderMap, Method};
use shoal_api_wire::ApiVersion;
use shoal_api_wire::client::{Body, Client, Endpoint};
use support::{Served, served};

#[expect(clippy::unwrap_used, reason = "a helper of tests")]
async fn check(served: &Served, minor: u16, request: &str, body: &str, expected: Expect) {
    let client = Client::new(Endpoint::Unix(served.socket.clone())).unwrap();
    let client = client.with_version(ApiVersion::new(minor));
    let (method, path) = request.split_once(' ').unwrap();
    let mut headers = HeaderMap::new();
    let mut wire = Body::Empty;
    if !body.is_empty() {
        headers.insert("content-type", "application/json".parse().unwrap());
        wire = Body::Bytes(body.to_owned().into());
    }
    let method: Method = method.parse().unwrap();
    let text = match client.request(method, path, headers, wire).await {
        Ok(response) => {
            let status = response.status();
            let bytes = response.bytes().await.unwrap();
            format!(
                "{} {}",
                status.as_u16(),
                String::from_utf8_lossy(&bytes).replace("\r\n", "\n").trim_end()
            )
        }
        Err(error) => format!("{} {error}", error.status().map_or(0, |status| status.as_u16())),
    };
    expected.assert_eq(&text);
}

#[tokio::test]
async fn answers() {
    let served = served("golden");
    let s = &served;
    check(s, 55, "GET /nope", "", expect!["404 page not found"]).await;
    check(s, 55, "GET /_ping", "", expect!["200 OK"]).await;
    check(s, 30, "GET /info", "", expect!["400 client version 1.30 is too old. Minimum supported API version is 1.40, please upgrade your client to a newer version"]).await;
    check(s, 55, "POST /containers/echo/stop", "", expect!["304 "]).await;
    check(
        s,
        55,
        "POST /containers/create",
        "",
        expect!["400 invalid JSON: got EOF while reading request body"],
    )
    .await;
    check(
        s,
        55,
        "POST /containers/create",
        "{",
        expect!["400 invalid JSON: EOF while parsing an object at line 1 column 1"],
    )
    .await;
    check(
        s,
        55,
        "POST /containers/create?name=a/b",
        "{}",
        expect!["400 Invalid container name (a/b), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed"],
    )
    .await;
    check(
        s,
        55,
        "POST /containers/create",
        r#"{"Image":"other"}"#,
        expect!["404 No such image: other:latest"],
    )
    .await;
    check(s, 55, "GET /images/a/b/json", "", expect!["404 No such image: a/b:latest"]).await;
    check(s, 55, "GET /volumes", "", expect![[r#"200 {"Volumes":[],"Warnings":null}"#]]).await;
    check(s, 55, "GET /containers/echo/changes", "", expect!["200 null"]).await;
    check(
        s,
        55,
        "GET /containers/echo/logs",
        "",
        expect!["400 Bad parameters: you must choose at least one stream"],
    )
    .await;
    check(
        s,
        55,
        "POST /swarm/init",
        "{}",
        expect!["501 swarm mode is not available in this daemon"],
    )
    .await;
    check(s, 55, "POST /build", "", expect!["501 building images is not implemented by Shoal"])
        .await;
    check(
        s,
        44,
        "POST /auth",
        r#"{"username":"u"}"#,
        expect!["401 incorrect username or password"],
    )
    .await;
    check(s, 55, "GET /images/json", "", expect![[r#"200 [{"Containers":-1,"Created":1700000000,"Id":"sha256:1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a","Labels":null,"ParentId":"","RepoDigests":[],"RepoTags":["busybox:latest"],"SharedSize":-1,"Size":4261550}]"#]]).await;
    check(s, 41, "GET /events?until=1700000001&filters={%22type%22:[%22container%22]}", "", expect![[r#"200 {"status":"start","id":"x","from":"busybox","Type":"container","Action":"start","Actor":{"ID":"x","Attributes":{"image":"busybox"}},"scope":"local","time":1700000000,"timeNano":1700000000000000000}"#]]).await;
    check(
        s,
        55,
        "POST /images/create?fromImage=busybox&tag=latest",
        "",
        expect![[r#"
        200 {"status":"Pulling from library/busybox","id":"latest"}
        {"status":"Pull complete","progressDetail":{},"id":"0123456789ab"}
        {"errorDetail":{"message":"registry went away"},"error":"registry went away"}"#]],
    )
    .await;
    check(s, 55, "GET /containers/echo/stats?stream=0", "", expect![[r#"200 {"name":"/echo","id":"c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0","read":"2023-11-14T22:13:22Z","preread":"2023-11-14T22:13:21Z","pids_stats":{},"blkio_stats":{"io_service_bytes_recursive":null,"io_serviced_recursive":null,"io_queue_recursive":null,"io_service_time_recursive":null,"io_wait_time_recursive":null,"io_merged_recursive":null,"io_time_recursive":null,"sectors_recursive":null},"num_procs":0,"storage_stats":{},"cpu_stats":{"cpu_usage":{"total_usage":2000000000,"usage_in_kernelmode":0,"usage_in_usermode":0},"throttling_data":{"periods":0,"throttled_periods":0,"throttled_time":0}},"precpu_stats":{"cpu_usage":{"total_usage":1000000000,"usage_in_kernelmode":0,"usage_in_usermode":0},"throttling_data":{"periods":0,"throttled_periods":0,"throttled_time":0}},"memory_stats":{}}"#]]).await;
    check(s, 55, "GET /exec/0/json", "", expect!["404 No such exec instance: 0"]).await;
}

#[tokio::test]
async fn inspect_by_version() {
    let served = served("inspect");
    let s = &served;
    let body = r#"{"Image":"busybox","Cmd":"cat","ExposedPorts":{"80":{}},"HostConfig":{"Binds":["/a:/b:ro"],"PortBindings":{"80/tcp":[{"HostPort":"8080"}]},"RestartPolicy":{"Name":"on-failure","MaximumRetryCount":3}}}"#;
    check(s, 44, "POST /containers/create", body, expect![[r#"201 {"Id":"c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0","Warnings":[]}"#]]).await;
    check(s, 44, "GET /containers/echo/json", "", expect![[r#"200 {"Id":"c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0","Created":"2023-11-14T22:13:20Z","Path":"cat","Args":[],"State":{"Status":"running","Running":true,"Paused":false,"Restarting":false,"OOMKilled":false,"Dead":false,"Pid":42,"ExitCode":0,"Error":"","StartedAt":"2023-11-14T22:13:21Z","FinishedAt":"0001-01-01T00:00:00Z"},"Image":"sha256:1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a","ResolvConfPath":"","HostnamePath":"","HostsPath":"","LogPath":"","Name":"/echo","RestartCount":0,"Driver":"overlay2","Platform":"linux","MountLabel":"","ProcessLabel":"","AppArmorProfile":"","ExecIDs":null,"HostConfig":{"Binds":["/a:/b:ro"],"ContainerIDFile":"","LogConfig":{"Type":"","Config":{}},"NetworkMode":"bridge","PortBindings":{"80/tcp":[{"HostIp":"","HostPort":"8080"}]},"RestartPolicy":{"Name":"on-failure","MaximumRetryCount":3},"AutoRemove":false,"VolumeDriver":"","VolumesFrom":null,"ConsoleSize":[0,0],"CapAdd":null,"CapDrop":null,"CgroupnsMode":"","Dns":[],"DnsOptions":[],"DnsSearch":[],"ExtraHosts":null,"GroupAdd":null,"IpcMode":"","Cgroup":"","Links":null,"OomScoreAdj":0,"PidMode":"","Privileged":false,"PublishAllPorts":false,"ReadonlyRootfs":false,"SecurityOpt":null,"UTSMode":"","UsernsMode":"","ShmSize":0,"Isolation":"","CpuShares":0,"Memory":0,"NanoCpus":0,"CgroupParent":"","BlkioWeight":0,"BlkioWeightDevice":[],"BlkioDeviceReadBps":null,"BlkioDeviceWriteBps":null,"BlkioDeviceReadIOps":null,"BlkioDeviceWriteIOps":null,"CpuPeriod":0,"CpuQuota":0,"CpuRealtimePeriod":0,"CpuRealtimeRuntime":0,"CpusetCpus":"","CpusetMems":"","Devices":[],"DeviceCgroupRules":null,"DeviceRequests":null,"MemoryReservation":0,"MemorySwap":0,"MemorySwappiness":null,"OomKillDisable":null,"PidsLimit":null,"Ulimits":[],"CpuCount":0,"CpuPercent":0,"IOMaximumIOps":0,"IOMaximumBandwidth":0,"MaskedPaths":null,"ReadonlyPaths":null},"GraphDriver":{"Data":null,"Name":"overlay2"},"Mounts":[],"Config":{"Hostname":"c0c0c0c0c0c0","Domainname":"","User":"","AttachStdin":false,"AttachStdout":false,"AttachStderr":false,"ExposedPorts":{"80/tcp":{}},"Tty":false,"OpenStdin":false,"StdinOnce":false,"Env":[],"Cmd":["cat"],"Image":"busybox","Volumes":null,"WorkingDir":"","Entrypoint":null,"Labels":{}},"NetworkSettings":{"Bridge":"","SandboxID":"","SandboxKey":"","Ports":{},"HairpinMode":false,"LinkLocalIPv6Address":"","LinkLocalIPv6PrefixLen":0,"SecondaryIPAddresses":null,"SecondaryIPv6Addresses":null,"EndpointID":"","Gateway":"","GlobalIPv6Address":"","GlobalIPv6PrefixLen":0,"IPAddress":"","IPPrefixLen":0,"IPv6Gateway":"","MacAddress":"","Networks":{}}}"#]]).await;
    check(s, 55, "GET /containers/echo/json", "", expect![[r#"200 {"Id":"c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0","Created":"2023-11-14T22:13:20Z","Path":"cat","Args":[],"State":{"Status":"running","Running":true,"Paused":false,"Restarting":false,"OOMKilled":false,"Dead":false,"Pid":42,"ExitCode":0,"Error":"","StartedAt":"2023-11-14T22:13:21Z","FinishedAt":"0001-01-01T00:00:00Z"},"Image":"sha256:1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a","ResolvConfPath":"","HostnamePath":"","HostsPath":"","LogPath":"","Name":"/echo","RestartCount":0,"Driver":"overlay2","Platform":"linux","MountLabel":"","ProcessLabel":"","AppArmorProfile":"","ExecIDs":null,"HostConfig":{"Binds":["/a:/b:ro"],"ContainerIDFile":"","LogConfig":{"Type":"","Config":{}},"NetworkMode":"bridge","PortBindings":{"80/tcp":[{"HostIp":"","HostPort":"8080"}]},"RestartPolicy":{"Name":"on-failure","MaximumRetryCount":3},"AutoRemove":false,"VolumeDriver":"","VolumesFrom":null,"ConsoleSize":[0,0],"CapAdd":null,"CapDrop":null,"CgroupnsMode":"","Dns":[],"DnsOptions":[],"DnsSearch":[],"ExtraHosts":null,"GroupAdd":null,"IpcMode":"","Cgroup":"","Links":null,"OomScoreAdj":0,"PidMode":"","Privileged":false,"PublishAllPorts":false,"ReadonlyRootfs":false,"SecurityOpt":null,"UTSMode":"","UsernsMode":"","ShmSize":0,"Isolation":"","CpuShares":0,"Memory":0,"NanoCpus":0,"CgroupParent":"","BlkioWeight":0,"BlkioWeightDevice":[],"BlkioDeviceReadBps":null,"BlkioDeviceWriteBps":null,"BlkioDeviceReadIOps":null,"BlkioDeviceWriteIOps":null,"CpuPeriod":0,"CpuQuota":0,"CpuRealtimePeriod":0,"CpuRealtimeRuntime":0,"CpusetCpus":"","CpusetMems":"","Devices":[],"DeviceCgroupRules":null,"DeviceRequests":null,"MemoryReservation":0,"MemorySwap":0,"MemorySwappiness":null,"OomKillDisable":null,"PidsLimit":null,"Ulimits":[],"CpuCount":0,"CpuPercent":0,"IOMaximumIOps":0,"IOMaximumBandwidth":0,"MaskedPaths":null,"ReadonlyPaths":null},"GraphDriver":{"Data":null,"Name":"overlay2"},"Mounts":[],"Config":{"Hostname":"c0c0c0c0c0c0","Domainname":"","User":"","AttachStdin":false,"AttachStdout":false,"AttachStderr":false,"ExposedPorts":{"80/tcp":{}},"Tty":false,"OpenStdin":false,"StdinOnce":false,"Env":[],"Cmd":["cat"],"Image":"busybox","Volumes":null,"WorkingDir":"","Entrypoint":null,"Labels":{}},"NetworkSettings":{"Bridge":"","SandboxID":"","SandboxKey":"","Ports":{},"Networks":{}}}"#]]).await;
}

#[tokio::test]
async fn stat_of_a_path() {
    let served = served("stat");
    let client = Client::new(Endpoint::Unix(served.socket.clone())).unwrap();
    let path = "/containers/echo/archive?path=/etc";
    let answer = client.request(Method::HEAD, path, HeaderMap::new(), Body::Empty).await.unwrap();
    let stat = answer.headers()["x-docker-container-path-stat"].to_str().unwrap().to_owned();
    use base64::Engine as _;
    let json = base64::engine::general_purpose::STANDARD.decode(stat).unwrap();
    expect![[r#"{"name":"etc","size":4096,"mode":2147484141,"mtime":"2023-11-14T22:13:20Z","linkTarget":""}"#]].assert_eq(&String::from_utf8(json).unwrap());
}
