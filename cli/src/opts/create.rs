//! All options of `run` and `create` → the body of `POST /containers/create`.

use serde_json::{Map, Value as Json, json};

use super::{network, ports, resources, volume};
use crate::args::Args;
use crate::args::check::{parse_bytes, parse_cpus, parse_duration};

type Parsed<T> = Result<T, String>;

/// Reads a file that an option names.
pub(crate) type Read<'a> = &'a dyn Fn(&str) -> std::io::Result<String>;

/// Looks up a variable of our own environment.
pub(crate) type Ours<'a> = &'a dyn Fn(&str) -> Parsed<Option<String>>;

/// Refuses options that have no effect on Linux, or none yet.
fn unsupported(args: &Args) -> Parsed<()> {
    let windows = ["cpu-count", "cpu-percent", "io-maxbandwidth", "io-maxiops"];
    if let Some(name) = windows.iter().find(|name| args.given(name)) {
        return Err(format!("--{name} is not supported: it works on Windows only"));
    }
    if args.given("kernel-memory") {
        return Err("--kernel-memory is not supported: kernels no longer have such a limit".into());
    }
    if args.on("use-api-socket") {
        return Err("--use-api-socket is not implemented".into());
    }
    Ok(())
}

/// Makes the body. `ours` looks up variables of our own environment.
///
/// # Errors
/// Docker's words for what is wrong.
pub(crate) fn body(args: &Args, read: Read<'_>, ours: Ours<'_>) -> Parsed<Json> {
    unsupported(args)?;
    let mut config = config(args, read, ours)?;
    let mut host = host_config(args, read)?;
    volumes(args, &mut config, &mut host)?;
    published(args, &mut config, &mut host)?;
    let (mode, endpoints) = network::endpoints(args)?;
    host.insert("NetworkMode".into(), mode.into());
    let mut body = config;
    body.insert("HostConfig".into(), Json::Object(host));
    body.insert("NetworkingConfig".into(), json!({"EndpointsConfig": endpoints}));
    Ok(Json::Object(body))
}

/// Lines of environment files: `NAME=value`, or `NAME` for our own value.
fn file_lines(path: &str, read: Read<'_>) -> Parsed<Vec<String>> {
    let text =
        read(path).map_err(|error| format!("open {path}: {}", crate::error::io_text(&error)))?;
    let lines = text.trim_start_matches('\u{feff}').lines();
    let mut kept = Vec::new();
    for line in lines.map(str::trim_start).filter(|line| !line.is_empty() && !line.starts_with('#'))
    {
        let name = line.split('=').next().unwrap_or_default();
        if name.is_empty() {
            return Err(format!("invalid env file ({path}): no variable name on line '{line}'"));
        }
        if name.contains(char::is_whitespace) {
            let why = format!("variable '{name}' contains whitespaces");
            return Err(format!("invalid env file ({path}): {why}"));
        }
        kept.push(line.to_owned());
    }
    Ok(kept)
}

/// `--env-file` and `--env`, in this order.
pub(crate) fn environment(args: &Args, read: Read<'_>, ours: Ours<'_>) -> Parsed<Vec<String>> {
    let mut all = Vec::new();
    for path in args.all("env-file") {
        all.extend(file_lines(path, read)?);
    }
    all.extend(args.all("env").iter().cloned());
    let known = |line: String| match line.contains('=') {
        true => Ok(Some(line)),
        false => Ok(ours(&line)?.map(|value| format!("{line}={value}"))),
    };
    all.into_iter().filter_map(|line| known(line).transpose()).collect()
}

fn config(args: &Args, read: Read<'_>, ours: Ours<'_>) -> Parsed<Map<String, Json>> {
    let attach: Vec<String> = args.all("attach").iter().map(|name| name.to_lowercase()).collect();
    let attached = |name: &str| attach.iter().any(|known| known == name);
    let (detached, stdin) = (args.on("detach"), args.on("interactive"));
    let default = attach.is_empty() && !detached;
    let attach_stdin = attached("stdin") || (default && stdin);
    let mut labels = Vec::new();
    for path in args.all("label-file") {
        labels.extend(file_lines(path, read)?);
    }
    labels.extend(args.all("label").iter().cloned());
    let entrypoint = args
        .get("entrypoint")
        .map(|text| if text.is_empty() { json!([""]) } else { json!([text]) });
    let mut config = json!({
        "Hostname": args.text("hostname"),
        "Domainname": args.text("domainname"),
        "User": args.text("user"),
        "AttachStdin": attach_stdin,
        "AttachStdout": attached("stdout") || default,
        "AttachStderr": attached("stderr") || default,
        "Tty": args.on("tty"),
        "OpenStdin": stdin,
        "StdinOnce": attach_stdin && stdin,
        "Env": environment(args, read, ours)?,
        "Cmd": if args.rest.len() > 1 { json!(args.rest[1..]) } else { Json::Null },
        "Image": args.arg(0),
        "WorkingDir": args.text("workdir"),
        "Entrypoint": entrypoint,
        "Labels": super::map(&labels),
    });
    if let Some(signal) = args.get("stop-signal") {
        config["StopSignal"] = signal.into();
    }
    if args.given("stop-timeout") {
        config["StopTimeout"] = args.int("stop-timeout").into();
    }
    if let Some(health) = health(args)? {
        config["Healthcheck"] = health;
    }
    match config {
        Json::Object(map) => Ok(map),
        _ => Ok(Map::new()),
    }
}

fn health(args: &Args) -> Parsed<Option<Json>> {
    let nanos = |flag: &str| args.get(flag).and_then(|text| parse_duration(text).ok()).unwrap_or(0);
    let times = ["interval", "timeout", "start-period", "start-interval"];
    let given = |name: &str| args.given(&format!("health-{name}"));
    let any = given("cmd") || given("retries") || times.iter().any(|name| given(name));
    if args.on("no-healthcheck") {
        if any {
            return Err("--no-healthcheck conflicts with --health-* options".into());
        }
        return Ok(Some(json!({"Test": ["NONE"]})));
    }
    if !any {
        return Ok(None);
    }
    for name in times {
        if nanos(&format!("health-{name}")) < 0 {
            return Err(format!("--health-{name} cannot be negative"));
        }
    }
    if args.int("health-retries") < 0 {
        return Err("--health-retries cannot be negative".into());
    }
    let command = args.get("health-cmd").filter(|text| !text.is_empty());
    Ok(Some(json!({
        "Test": command.map(|command| json!(["CMD-SHELL", command])),
        "Interval": nanos("health-interval"),
        "Timeout": nanos("health-timeout"),
        "StartPeriod": nanos("health-start-period"),
        "StartInterval": nanos("health-start-interval"),
        "Retries": args.int("health-retries"),
    })))
}

/// The limits that `update` knows too; absent flags are left out.
pub(crate) fn limits(args: &Args) -> Map<String, Json> {
    let bytes = |flag: &str| args.get(flag).map(|text| parse_bytes(text).unwrap_or(-1));
    let int = |flag: &str| args.given(flag).then(|| args.int(flag));
    let numbers = [
        ("BlkioWeight", int("blkio-weight")),
        ("CpuPeriod", int("cpu-period")),
        ("CpuQuota", int("cpu-quota")),
        ("CpuRealtimePeriod", int("cpu-rt-period")),
        ("CpuRealtimeRuntime", int("cpu-rt-runtime")),
        ("CpuShares", int("cpu-shares")),
        ("NanoCpus", args.get("cpus").and_then(|text| parse_cpus(text).ok())),
        ("Memory", bytes("memory")),
        ("MemoryReservation", bytes("memory-reservation")),
        ("MemorySwap", bytes("memory-swap")),
        ("PidsLimit", int("pids-limit")),
    ];
    let mut map: Map<String, Json> = numbers
        .into_iter()
        .filter_map(|(key, value)| Some((key.to_owned(), Json::from(value?))))
        .collect();
    for (key, flag) in [("CpusetCpus", "cpuset-cpus"), ("CpusetMems", "cpuset-mems")] {
        if let Some(text) = args.get(flag) {
            map.insert(key.into(), text.into());
        }
    }
    map
}

/// `no`, `always`, `unless-stopped`, `on-failure[:n]`.
pub(crate) fn restart(text: &str) -> Parsed<Json> {
    let (name, count) = match text.split_once(':') {
        Some((name, count)) => {
            let why = "invalid restart policy format: maximum retry count must be an integer";
            (name, count.parse::<i64>().map_err(|_| why.to_owned())?)
        }
        None => (text, 0),
    };
    if name.is_empty() && text.contains(':') {
        return Err("invalid restart policy format: no policy provided before colon".into());
    }
    Ok(json!({"Name": name, "MaximumRetryCount": count}))
}

fn host_config(args: &Args, read: Read<'_>) -> Parsed<Map<String, Json>> {
    let mut host = limits(args);
    let mut put = |key: &str, value: Json| host.insert(key.to_owned(), value);
    if args.on("rm") && !matches!(args.text("restart"), "no" | "") {
        return Err("conflicting options: cannot specify both --restart and --rm".into());
    }
    put("RestartPolicy", restart(args.text("restart"))?);
    for (key, flag) in [
        ("AutoRemove", "rm"),
        ("Privileged", "privileged"),
        ("PublishAllPorts", "publish-all"),
        ("ReadonlyRootfs", "read-only"),
        ("OomKillDisable", "oom-kill-disable"),
        ("Init", "init"),
    ] {
        if args.given(flag) {
            put(key, args.on(flag).into());
        }
    }
    for (key, flag) in [
        ("CgroupParent", "cgroup-parent"),
        ("ContainerIDFile", "cidfile"),
        ("IpcMode", "ipc"),
        ("Isolation", "isolation"),
        ("Runtime", "runtime"),
        ("VolumeDriver", "volume-driver"),
    ] {
        if let Some(text) = args.get(flag) {
            put(key, text.into());
        }
    }
    for (key, flag) in [
        ("CapAdd", "cap-add"),
        ("CapDrop", "cap-drop"),
        ("DeviceCgroupRules", "device-cgroup-rule"),
        ("Dns", "dns"),
        ("DnsOptions", "dns-option"),
        ("DnsSearch", "dns-search"),
        ("GroupAdd", "group-add"),
        ("Links", "link"),
        ("VolumesFrom", "volumes-from"),
    ] {
        if !args.all(flag).is_empty() {
            put(key, json!(args.all(flag)));
        }
    }
    for (key, flag) in [("Annotations", "annotation"), ("Sysctls", "sysctl")] {
        if !args.all(flag).is_empty() {
            put(key, super::map(args.all(flag)));
        }
    }
    for (key, flag, what) in [
        ("PidMode", "pid", "PID"),
        ("UTSMode", "uts", "UTS"),
        ("UsernsMode", "userns", "USER"),
        ("CgroupnsMode", "cgroupns", "CGROUP"),
    ] {
        let Some(mode) = args.get(flag) else { continue };
        let named = mode.strip_prefix("container:").is_some_and(|name| !name.is_empty());
        let good = matches!(mode, "" | "host")
            || (flag == "pid" && named)
            || (flag == "cgroupns" && mode == "private");
        if !good {
            return Err(format!("--{flag}: invalid {what} mode"));
        }
        put(key, mode.into());
    }
    swappiness(args, &mut host)?;
    devices(args, &mut host)?;
    security(args, read, &mut host)?;
    rest(args, &mut host)?;
    Ok(host)
}

fn swappiness(args: &Args, host: &mut Map<String, Json>) -> Parsed<()> {
    let value = args.int("memory-swappiness");
    if !(-1..=100).contains(&value) {
        return Err(format!("invalid value: {value}. Valid memory swappiness range is 0-100"));
    }
    host.insert("MemorySwappiness".into(), value.into());
    Ok(())
}

fn devices(args: &Args, host: &mut Map<String, Json>) -> Parsed<()> {
    let (cdi, plain): (Vec<&String>, Vec<&String>) =
        args.all("device").iter().partition(|text| resources::is_cdi(text));
    let parsed: Parsed<Vec<Json>> = plain.iter().map(|text| resources::device(text)).collect();
    host.insert("Devices".into(), json!(parsed?));
    let mut requests = Vec::new();
    for text in args.all("gpus") {
        requests.push(resources::gpus(text)?);
    }
    if !cdi.is_empty() {
        requests.push(json!({"Driver": "cdi", "DeviceIDs": cdi}));
    }
    if !requests.is_empty() {
        host.insert("DeviceRequests".into(), requests.into());
    }
    type Parser = fn(&str) -> Parsed<Json>;
    let lists: [(&str, &str, Parser); 6] = [
        ("BlkioWeightDevice", "blkio-weight-device", resources::weight),
        ("BlkioDeviceReadBps", "device-read-bps", resources::bps),
        ("BlkioDeviceWriteBps", "device-write-bps", resources::bps),
        ("BlkioDeviceReadIOps", "device-read-iops", resources::iops),
        ("BlkioDeviceWriteIOps", "device-write-iops", resources::iops),
        ("Ulimits", "ulimit", resources::ulimit),
    ];
    for (key, flag, parse) in lists {
        let parsed: Parsed<Vec<Json>> = args.all(flag).iter().map(|text| parse(text)).collect();
        let parsed = parsed?;
        if !parsed.is_empty() {
            host.insert(key.into(), parsed.into());
        }
    }
    Ok(())
}

fn security(args: &Args, read: Read<'_>, host: &mut Map<String, Json>) -> Parsed<()> {
    let mut options = Vec::new();
    let mut all_paths = false;
    for option in args.all("security-opt") {
        if option == "systempaths=unconfined" {
            all_paths = true;
            continue;
        }
        let Some((key, value)) = option.split_once('=').or_else(|| option.split_once(':')) else {
            if option != "no-new-privileges" {
                return Err(format!("Invalid --security-opt: {option:?}"));
            }
            options.push(option.clone());
            continue;
        };
        if key == "seccomp" && !matches!(value, "unconfined" | "builtin") {
            let text = read(value).map_err(|error| {
                let why = crate::error::io_text(&error);
                format!("opening seccomp profile ({value}) failed: open {value}: {why}")
            })?;
            let profile: shoal_gotemplate::value::Value =
                serde_json::from_str(&text).map_err(|error| {
                    format!("compacting json for seccomp profile ({value}) failed: {error}")
                })?;
            options.push(format!("seccomp={}", profile.json(false)));
        } else {
            options.push(option.clone());
        }
    }
    if !options.is_empty() {
        host.insert("SecurityOpt".into(), json!(options));
    }
    if all_paths {
        host.insert("MaskedPaths".into(), json!([]));
        host.insert("ReadonlyPaths".into(), json!([]));
    }
    Ok(())
}

fn rest(args: &Args, host: &mut Map<String, Json>) -> Parsed<()> {
    let logging = args.text("log-driver");
    if logging == "none" && !args.all("log-opt").is_empty() {
        return Err(format!("invalid logging opts for driver {logging}"));
    }
    host.insert(
        "LogConfig".into(),
        json!({"Type": logging, "Config": super::map(args.all("log-opt"))}),
    );
    if !args.all("storage-opt").is_empty() {
        if args.all("storage-opt").iter().any(|option| !option.contains('=')) {
            return Err("invalid storage option".into());
        }
        host.insert("StorageOpt".into(), super::map(args.all("storage-opt")));
    }
    if args.given("oom-score-adj") {
        host.insert("OomScoreAdj".into(), args.int("oom-score-adj").into());
    }
    if let Some(size) = args.get("shm-size") {
        host.insert("ShmSize".into(), parse_bytes(size)?.into());
    }
    // `name=ip` is said as `name:ip` on the wire.
    let hosts: Vec<String> = args
        .all("add-host")
        .iter()
        .map(|text| match text.split_once('=') {
            Some((name, ip)) => format!("{name}:{}", ip.trim_matches(['[', ']'])),
            None => text.clone(),
        })
        .collect();
    if !hosts.is_empty() {
        host.insert("ExtraHosts".into(), json!(hosts));
    }
    Ok(())
}

fn volumes(
    args: &Args,
    config: &mut Map<String, Json>,
    host: &mut Map<String, Json>,
) -> Parsed<()> {
    let (mut binds, mut anonymous, mut mounts) = (Vec::new(), Map::new(), Vec::new());
    for text in args.all("volume") {
        match volume::parse(text)? {
            volume::Volume::Bind(bind) => binds.push(bind),
            volume::Volume::Anonymous(path) => {
                anonymous.insert(path, json!({}));
            }
        }
    }
    for text in args.all("mount") {
        mounts.push(super::mount::parse(text)?);
    }
    if !binds.is_empty() {
        host.insert("Binds".into(), json!(binds));
    }
    if !mounts.is_empty() {
        host.insert("Mounts".into(), mounts.into());
    }
    if !anonymous.is_empty() {
        config.insert("Volumes".into(), anonymous.into());
    }
    if !args.all("tmpfs").is_empty() {
        let pairs = args.all("tmpfs").iter().map(|text| text.split_once(':').unwrap_or((text, "")));
        let map: Map<String, Json> =
            pairs.map(|(path, options)| (path.into(), options.into())).collect();
        host.insert("Tmpfs".into(), map.into());
    }
    Ok(())
}

fn published(
    args: &Args,
    config: &mut Map<String, Json>,
    host: &mut Map<String, Json>,
) -> Parsed<()> {
    let mut bindings = ports::Bindings::new();
    for text in args.all("publish") {
        ports::publish(text, &mut bindings)?;
    }
    let mut exposed: Map<String, Json> =
        bindings.keys().map(|port| (port.clone(), json!({}))).collect();
    for text in args.all("expose") {
        exposed.extend(ports::expose(text)?.into_iter().map(|port| (port, json!({}))));
    }
    if !bindings.is_empty() {
        host.insert("PortBindings".into(), json!(bindings));
    }
    if !exposed.is_empty() {
        config.insert("ExposedPorts".into(), exposed.into());
    }
    Ok(())
}
