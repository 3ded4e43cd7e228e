//! The options of `service create` and `service update`.

use super::super::{check, mount, resources};
use super::{parts, policy};
use crate::args::{
    BOOL, BYTES, DECIMAL, DURATION, Flag, INT, Kind, LIST, STR, SWAP, UINT, flag, list, short,
};

const ENV: Kind = list("list", check::env);
const LABEL: Kind = list("list", check::label);
const IP: Kind = list("list", check::ip);
const HOST: Kind = list("list", check::add_host);
const MOUNT: Kind = list("mount", mount::check);
const NETWORK: Kind = list("network", parts::network_check);
const PORT: Kind = list("port", parts::port_check);
const SECRET: Kind = list("secret", parts::secret_check);
const CONFIG: Kind = list("config", parts::config_check);
const PREF: Kind = list("pref", parts::preference_check);
const ULIMIT: Kind = list("ulimit", resources::ulimit_check);
const SYSCTL: Kind = list("list", parts::sysctl_check);
const TIME: Kind = Kind { name: "duration", many: false, check: policy::positive };
const FLOAT: Kind = Kind { name: "float", many: false, check: policy::float };
const WORDS: Kind = Kind { name: "command", many: false, check: parts::words_check };

/// What both commands know.
pub(crate) const COMMON: &[Flag] = &[
    flag("credential-spec", STR, "Credential spec of a managed service account (Windows)"),
    short('d', "detach", BOOL, "Do not wait until the service has converged"),
    flag("endpoint-mode", STR, "How the name resolves: vip or dnsrr"),
    flag("entrypoint", WORDS, "Replace the image's entrypoint"),
    flag("health-interval", TIME, "Time between checks"),
    flag("health-start-interval", TIME, "Time between checks while starting"),
    flag("health-start-period", TIME, "Time to start in which failures do not count"),
    flag("health-timeout", TIME, "Longest time for one check"),
    flag("hostname", STR, "Host name of the containers"),
    flag("limit-cpu", DECIMAL, "Limit of CPUs"),
    flag("limit-memory", BYTES, "Limit of memory"),
    flag("limit-pids", INT, "Limit of processes, 0 for none"),
    flag("max-concurrent", UINT, "Tasks of a job that may run at the same time"),
    flag("memory-swap", SWAP, "Swap, -1 for no limit"),
    flag("memory-swappiness", INT, "Swappiness, 0 to 100, or -1 for the node's own"),
    flag("no-resolve-image", BOOL, "Do not ask the registry for the image's digest and platforms"),
    flag("keep-revisions", UINT, "Earlier specifications to keep, for rollback --to"),
    flag("on-disconnect", STR, "When a node is cut off: keep its tasks, or stop:DURATION"),
    short('q', "quiet", BOOL, "Show no progress"),
    flag("replicas", UINT, "Number of tasks"),
    flag("replicas-max-per-node", UINT, "Most tasks on one node, 0 for no limit"),
    flag("reserve-cpu", DECIMAL, "CPUs to reserve"),
    flag("reserve-memory", BYTES, "Memory to reserve"),
    flag("restart-condition", STR, "Restart when: none, on-failure, any"),
    flag("restart-delay", DURATION, "Time before a restart"),
    flag("restart-max-attempts", UINT, "Restarts before giving up"),
    flag("restart-window", DURATION, "Time in which restarts are counted"),
    flag("rollback-delay", DURATION, "Time between tasks of a rollback"),
    flag("rollback-failure-action", STR, "On failure of a rollback: pause or continue"),
    flag("rollback-max-failure-ratio", FLOAT, "Failures that a rollback tolerates, 0 to 1"),
    flag("rollback-monitor", DURATION, "Time after a task's rollback to watch for failure"),
    flag("rollback-order", STR, "Order of a rollback: start-first or stop-first"),
    flag("rollback-parallelism", UINT, "Tasks rolled back at once, 0 for all"),
    flag("stop-grace-period", DURATION, "Time to stop before a container is killed"),
    flag("stop-signal", STR, "Signal that stops the containers"),
    short('t', "tty", BOOL, "Give them a terminal"),
    flag("update-deadline", TIME, "Time without progress after which an update has failed"),
    flag("update-delay", DURATION, "Time between tasks of an update"),
    flag("update-failure-action", STR, "On failure of an update: pause, continue or rollback"),
    flag("update-max-failure-ratio", FLOAT, "Failures that an update tolerates, 0 to 1"),
    flag("update-monitor", DURATION, "Time after a task's update to watch for failure"),
    flag("update-order", STR, "Order of an update: start-first or stop-first"),
    flag("update-parallelism", UINT, "Tasks updated at once, 0 for all"),
    flag("with-registry-auth", BOOL, "Send our credentials of the registry to the nodes"),
];

pub(crate) const CREATE: &[Flag] = &[
    flag("config", CONFIG, "Config to mount (name, or source=…,target=…,uid=…,gid=…,mode=…)"),
    flag("constraint", LIST, "Condition on nodes (node.role==worker)"),
    flag("container-label", LABEL, "Set a label of the containers"),
    flag("generic-resource", LIST, "Resource of nodes to reserve (kind=number)"),
    flag("group", LIST, "Join one more group"),
    flag("host", HOST, "Add a line to /etc/hosts (host:ip)"),
    short('l', "label", LABEL, "Set a label of the service"),
    flag("mode", STR, "Mode: replicated, global, replicated-job, global-job").or("replicated"),
    flag("mount", MOUNT, "Attach a mount (type=…,source=…,target=…)"),
    flag("name", STR, "Name of the service"),
    flag("network", NETWORK, "Connect to a network (name, or name=…,alias=…)"),
    flag("placement-pref", PREF, "Preference among nodes (spread=node.labels.rack)"),
    short('p', "publish", PORT, "Publish a port ([port:]target[/proto], or target=…,mode=host)"),
    flag("secret", SECRET, "Secret to mount (name, or source=…,target=…,uid=…,gid=…,mode=…)"),
    flag("sysctl", SYSCTL, "Kernel parameter"),
    flag("ulimit", ULIMIT, "Resource limit (name=soft[:hard])"),
];

pub(crate) const UPDATE: &[Flag] = &[
    flag("args", WORDS, "Arguments of the command"),
    flag("config-add", CONFIG, "Add or change a config"),
    flag("config-rm", LIST, "Remove a config"),
    flag("constraint-add", LIST, "Add a condition on nodes"),
    flag("constraint-rm", LIST, "Remove a condition on nodes"),
    flag("container-label-add", LABEL, "Add or change a label of the containers"),
    flag("container-label-rm", LIST, "Remove a label of the containers"),
    flag("dns-add", IP, "Add a DNS server"),
    flag("dns-option-add", LIST, "Add an option of the resolver"),
    flag("dns-option-rm", LIST, "Remove an option of the resolver"),
    flag("dns-rm", LIST, "Remove a DNS server"),
    flag("dns-search-add", LIST, "Add a DNS search domain"),
    flag("dns-search-rm", LIST, "Remove a DNS search domain"),
    flag("env-add", ENV, "Add or change an environment variable"),
    flag("env-rm", LIST, "Remove an environment variable"),
    flag("force", BOOL, "Replace the tasks even when nothing changed"),
    flag("generic-resource-add", LIST, "Add a resource of nodes to reserve"),
    flag("generic-resource-rm", LIST, "Remove a resource of nodes to reserve"),
    flag("group-add", LIST, "Join one more group"),
    flag("group-rm", LIST, "Leave a group"),
    flag("host-add", HOST, "Add a line to /etc/hosts (host:ip)"),
    flag("host-rm", LIST, "Remove a line of /etc/hosts (host:ip)"),
    flag("image", STR, "Image of the containers"),
    flag("label-add", LABEL, "Add or change a label of the service"),
    flag("label-rm", LIST, "Remove a label of the service"),
    flag("mount-add", MOUNT, "Add or change a mount"),
    flag("mount-rm", LIST, "Remove a mount, by its target"),
    flag("network-add", NETWORK, "Connect to a network"),
    flag("network-rm", LIST, "Leave a network"),
    flag("placement-pref-add", PREF, "Add a preference among nodes"),
    flag("placement-pref-rm", PREF, "Remove a preference among nodes"),
    flag("publish-add", PORT, "Publish one more port"),
    flag("publish-rm", PORT, "Publish a port no more, by its target"),
    flag("rollback", BOOL, "Go back to the previous specification"),
    flag("secret-add", SECRET, "Add or change a secret"),
    flag("secret-rm", LIST, "Remove a secret"),
    flag("sysctl-add", SYSCTL, "Add or change a kernel parameter"),
    flag("sysctl-rm", LIST, "Remove a kernel parameter"),
    flag("ulimit-add", ULIMIT, "Add or change a resource limit"),
    flag("ulimit-rm", LIST, "Remove a resource limit"),
];
