//! The options of `run` and `create`.

use super::{check, mount, network, resources};
use crate::args::{
    BOOL, BYTES, DECIMAL, DURATION, Flag, INT, LIST, STR, SWAP, UINT, UINT16, flag, list, short,
};

const ENV: crate::args::Kind = list("list", check::env);
const LABEL: crate::args::Kind = list("list", check::label);
const IP: crate::args::Kind = list("list", check::ip);

/// What containers and the tasks of services are made of, and services may change.
pub(crate) const SHARED: &[Flag] = &[
    flag("cap-add", LIST, "Add a Linux capability"),
    flag("cap-drop", LIST, "Drop a Linux capability"),
    flag("health-cmd", STR, "Command that checks health"),
    flag("health-retries", INT, "Failures in a row that make it unhealthy"),
    flag("init", BOOL, "Run an init that forwards signals and reaps processes"),
    flag("isolation", STR, "Isolation technology (Windows)"),
    flag("log-driver", STR, "Logging driver"),
    flag("log-opt", LIST, "Option of the logging driver"),
    flag("no-healthcheck", BOOL, "Switch off the image's health check"),
    flag("oom-score-adj", INT, "Adjust the OOM score, -1000 to 1000"),
    flag("read-only", BOOL, "Mount the root file system read-only"),
    short('u', "user", STR, "User and group (name|uid[:group|gid])"),
    short('w', "workdir", STR, "Working directory"),
];

/// What containers and the tasks of services are made of, where services have other options to change it.
pub(crate) const SHARED_AT_FIRST: &[Flag] = &[
    flag("dns", IP, "DNS server"),
    flag("dns-option", LIST, "Option of the resolver"),
    flag("dns-search", LIST, "DNS search domain"),
    short('e', "env", ENV, "Set an environment variable (NAME=value, or NAME to pass ours)"),
    flag("env-file", LIST, "Read environment variables from a file"),
];

pub(crate) const CREATE: &[Flag] = &[
    flag("add-host", list("list", check::add_host), "Add a line to /etc/hosts (host:ip)"),
    flag("annotation", list("map", check::pair), "Annotation handed to the OCI runtime"),
    short('a', "attach", list("list", check::attach), "Attach to STDIN, STDOUT or STDERR"),
    flag("blkio-weight", UINT16, "Weight of block I/O, 10 to 1000, or 0 for none").or("0"),
    flag(
        "blkio-weight-device",
        list("list", resources::weight_device),
        "Weight of block I/O for one device",
    ),
    flag("cgroup-parent", STR, "Parent cgroup of the container"),
    flag("cgroupns", STR, "Cgroup namespace: host or private"),
    flag("cidfile", STR, "Write the container's id to this file"),
    flag("cpu-count", INT, "Number of CPUs (Windows)"),
    flag("cpu-percent", INT, "Share of CPU in percent (Windows)"),
    flag("cpu-period", INT, "Period of the CFS quota in microseconds"),
    flag("cpu-quota", INT, "CFS quota in microseconds"),
    flag("cpu-rt-period", INT, "Period of the real-time quota in microseconds"),
    flag("cpu-rt-runtime", INT, "Real-time quota in microseconds"),
    short('c', "cpu-shares", INT, "Relative weight of CPU time"),
    flag("cpus", DECIMAL, "Number of CPUs, as a decimal"),
    flag("cpuset-cpus", STR, "CPUs to run on (0-3, 0,1)"),
    flag("cpuset-mems", STR, "Memory nodes to use (0-3, 0,1)"),
    flag("device", LIST, "Add a host device (path[:path in container[:rwm]])"),
    flag("device-cgroup-rule", list("list", check::device_rule), "Add a rule for allowed devices"),
    flag(
        "device-read-bps",
        list("list", resources::rate_bytes),
        "Limit reads of a device (path:bytes per second)",
    ),
    flag(
        "device-read-iops",
        list("list", resources::rate_count),
        "Limit reads of a device (path:reads per second)",
    ),
    flag(
        "device-write-bps",
        list("list", resources::rate_bytes),
        "Limit writes to a device (path:bytes per second)",
    ),
    flag(
        "device-write-iops",
        list("list", resources::rate_count),
        "Limit writes to a device (path:writes per second)",
    ),
    flag("domainname", STR, "NIS domain name"),
    flag("entrypoint", STR, "Replace the image's entrypoint"),
    flag("expose", LIST, "Expose a port or a range of ports"),
    flag(
        "gpus",
        list("gpu-request", resources::gpu),
        "GPUs to add (all, or count=, device=, driver=, capabilities=)",
    ),
    flag("group-add", LIST, "Join one more group"),
    flag("health-interval", DURATION, "Time between checks").or("0s"),
    flag("health-start-interval", DURATION, "Time between checks while starting").or("0s"),
    flag("health-start-period", DURATION, "Time to start in which failures do not count").or("0s"),
    flag("health-timeout", DURATION, "Longest time for one check").or("0s"),
    short('h', "hostname", STR, "Host name of the container"),
    short('i', "interactive", BOOL, "Keep standard input open"),
    flag("io-maxbandwidth", BYTES, "Limit of I/O bandwidth (Windows)"),
    flag("io-maxiops", UINT, "Limit of I/O operations (Windows)"),
    flag("ip", STR, "IPv4 address"),
    flag("ip6", STR, "IPv6 address"),
    flag("ipc", STR, "IPC namespace: private, shareable, host, none, container:<name>"),
    flag("kernel-memory", BYTES, "Limit of kernel memory"),
    short('l', "label", LABEL, "Set a label"),
    flag("label-file", LIST, "Read labels from a file"),
    flag("link", list("list", check::link), "Link to another container"),
    flag("link-local-ip", IP, "Link-local address"),
    flag("mac-address", STR, "MAC address"),
    short('m', "memory", BYTES, "Limit of memory"),
    flag("memory-reservation", BYTES, "Soft limit of memory"),
    flag("memory-swap", SWAP, "Limit of memory and swap together, -1 for none"),
    flag("memory-swappiness", INT, "Swappiness, 0 to 100").or("-1"),
    flag("mount", list("mount", mount::check), "Attach a mount (type=…,source=…,target=…)"),
    flag("name", STR, "Name of the container"),
    flag(
        "network",
        list("network", network::check),
        "Connect to a network (name, or name=…,alias=…,ip=…)",
    ),
    flag("network-alias", LIST, "Alias of the container in its network"),
    flag("oom-kill-disable", BOOL, "Keep the OOM killer away"),
    flag("pid", STR, "PID namespace: host or container:<name>"),
    flag("pids-limit", INT, "Limit of processes, -1 for none"),
    flag("platform", STR, "Platform of the image"),
    flag("privileged", BOOL, "Give all privileges"),
    short('p', "publish", LIST, "Publish a port ([[ip:]host port:]port[/proto])"),
    short('P', "publish-all", BOOL, "Publish all exposed ports at random ports"),
    flag("pull", STR, "Pull the image: always, missing, never").or("missing"),
    short('q', "quiet", BOOL, "Show no pull progress"),
    flag("restart", STR, "Restart policy: no, on-failure[:n], always, unless-stopped").or("no"),
    flag("rm", BOOL, "Remove the container and its anonymous volumes when it exits"),
    flag("runtime", STR, "Runtime to use"),
    flag("security-opt", LIST, "Security option"),
    flag("shm-size", BYTES, "Size of /dev/shm"),
    flag("stop-signal", STR, "Signal that stops the container"),
    flag("stop-timeout", INT, "Seconds to wait before killing it"),
    flag("storage-opt", LIST, "Option of the storage driver"),
    flag("sysctl", list("map", check::sysctl), "Kernel parameter"),
    flag("tmpfs", LIST, "Mount a tmpfs (path[:options])"),
    short('t', "tty", BOOL, "Give it a terminal"),
    flag("ulimit", list("ulimit", resources::ulimit_check), "Resource limit (name=soft[:hard])"),
    flag("use-api-socket", BOOL, "Give it the daemon's socket"),
    flag("userns", STR, "User namespace: host"),
    flag("uts", STR, "UTS namespace: host"),
    short('v', "volume", LIST, "Mount a volume or directory ([source:]target[:options])"),
    flag("volume-driver", STR, "Driver of its volumes"),
    flag("volumes-from", LIST, "Mount the volumes of another container"),
];

pub(crate) const RUN: &[Flag] = &[
    short('d', "detach", BOOL, "Run in the background and print the id"),
    flag("detach-keys", STR, "Keys that detach from the container"),
    flag("sig-proxy", BOOL, "Pass signals on to the process").or("true"),
];
