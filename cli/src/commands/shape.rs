//! The types of the cluster's objects, for templates: docker renders them on its structs, in which members that the API
//! leaves out have their zero values. Pure. The fields of embedded structs stand among those of the struct around them.
//!
//! Source: moby `api/types/swarm`, `api/types/mount`, `api/types/container/health.go`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use shoal_gotemplate::{Field, Value};

use crate::units::{go_duration, go_time};

/// Each type with its fields in order. `*` a pointer, `[]` a list, `%` a map of texts to it; `s` text, `i` number, `b` truth,
/// `t` time, `d` duration, `y` bytes, `m` mode of a file.
const TYPES: &[(&str, &str)] = &[
    ("Version", "Index:i"),
    (
        "Service",
        "ID:s Version:Version CreatedAt:t UpdatedAt:t Spec:ServiceSpec PreviousSpec:*ServiceSpec Endpoint:Endpoint \
         UpdateStatus:*UpdateStatus ServiceStatus:*ServiceStatus JobStatus:*JobStatus",
    ),
    (
        "ServiceSpec",
        "Name:s Labels:%s TaskTemplate:TaskSpec Mode:ServiceMode UpdateConfig:*UpdateConfig \
         RollbackConfig:*UpdateConfig Networks:[]NetworkAttachmentConfig EndpointSpec:*EndpointSpec",
    ),
    (
        "ServiceMode",
        "Replicated:*ReplicatedService Global:*GlobalService ReplicatedJob:*ReplicatedJob GlobalJob:*GlobalJob",
    ),
    ("ReplicatedService", "Replicas:*i"),
    ("GlobalService", ""),
    ("ReplicatedJob", "MaxConcurrent:*i TotalCompletions:*i"),
    ("GlobalJob", ""),
    ("UpdateStatus", "State:s StartedAt:*t CompletedAt:*t Message:s"),
    ("UpdateConfig", "Parallelism:i Delay:d FailureAction:s Monitor:d MaxFailureRatio:i Order:s"),
    ("ServiceStatus", "RunningTasks:i DesiredTasks:i CompletedTasks:i"),
    ("JobStatus", "JobIteration:Version LastExecution:t"),
    ("Endpoint", "Spec:EndpointSpec Ports:[]PortConfig VirtualIPs:[]EndpointVirtualIP"),
    ("EndpointSpec", "Mode:s Ports:[]PortConfig"),
    ("PortConfig", "Name:s Protocol:s TargetPort:i PublishedPort:i PublishMode:s"),
    ("EndpointVirtualIP", "NetworkID:s Addr:s"),
    (
        "TaskSpec",
        "ContainerSpec:*ContainerSpec PluginSpec:*PluginSpec NetworkAttachmentSpec:*NetworkAttachmentSpec \
         Resources:*ResourceRequirements RestartPolicy:*RestartPolicy Placement:*Placement \
         Networks:[]NetworkAttachmentConfig LogDriver:*Driver ForceUpdate:i Runtime:s",
    ),
    ("PluginSpec", "Name:s Remote:s Disabled:b Env:[]s"),
    ("NetworkAttachmentSpec", "ContainerID:s"),
    ("ResourceRequirements", "Limits:*Limit Reservations:*Resources"),
    ("Limit", "NanoCPUs:i MemoryBytes:i Pids:i"),
    ("Resources", "NanoCPUs:i MemoryBytes:i GenericResources:[]GenericResource"),
    (
        "GenericResource",
        "NamedResourceSpec:*NamedGenericResource DiscreteResourceSpec:*DiscreteGenericResource",
    ),
    ("NamedGenericResource", "Kind:s Value:s"),
    ("DiscreteGenericResource", "Kind:s Value:i"),
    ("RestartPolicy", "Condition:s Delay:*d MaxAttempts:*i Window:*d"),
    (
        "Placement",
        "Constraints:[]s Preferences:[]PlacementPreference MaxReplicas:i Platforms:[]Platform",
    ),
    ("PlacementPreference", "Spread:*SpreadOver"),
    ("SpreadOver", "SpreadDescriptor:s"),
    ("Platform", "Architecture:s OS:s"),
    ("NetworkAttachmentConfig", "Target:s Aliases:[]s DriverOpts:%s"),
    ("Driver", "Name:s Options:%s"),
    (
        "ContainerSpec",
        "Image:s Labels:%s Command:[]s Args:[]s Hostname:s Env:[]s Dir:s User:s Groups:[]s Privileges:*Privileges \
         Init:*b StopSignal:s TTY:b OpenStdin:b ReadOnly:b Mounts:[]mount.Mount StopGracePeriod:*d \
         Healthcheck:*container.HealthConfig Hosts:[]s DNSConfig:*DNSConfig Secrets:[]SecretReference \
         Configs:[]ConfigReference Isolation:s Sysctls:%s CapabilityAdd:[]s CapabilityDrop:[]s \
         Ulimits:[]container.Ulimit OomScoreAdj:i",
    ),
    (
        "Privileges",
        "CredentialSpec:*CredentialSpec SELinuxContext:*SELinuxContext Seccomp:*SeccompOpts AppArmor:*AppArmorOpts \
         NoNewPrivileges:b",
    ),
    ("CredentialSpec", "Config:s File:s Registry:s"),
    ("SELinuxContext", "Disable:b User:s Role:s Type:s Level:s"),
    ("SeccompOpts", "Mode:s Profile:y"),
    ("AppArmorOpts", "Mode:s"),
    (
        "mount.Mount",
        "Type:s Source:s Target:s ReadOnly:b Consistency:s BindOptions:*mount.BindOptions \
         VolumeOptions:*mount.VolumeOptions ImageOptions:*mount.ImageOptions TmpfsOptions:*mount.TmpfsOptions \
         ClusterOptions:*mount.ClusterOptions",
    ),
    (
        "mount.BindOptions",
        "Propagation:s NonRecursive:b CreateMountpoint:b ReadOnlyNonRecursive:b ReadOnlyForceRecursive:b",
    ),
    ("mount.VolumeOptions", "NoCopy:b Labels:%s Subpath:s DriverConfig:*mount.Driver"),
    ("mount.Driver", "Name:s Options:%s"),
    ("mount.ImageOptions", "Subpath:s"),
    ("mount.TmpfsOptions", "SizeBytes:i Mode:m Options:[][]s"),
    ("mount.ClusterOptions", ""),
    (
        "container.HealthConfig",
        "Test:[]s Interval:d Timeout:d StartPeriod:d StartInterval:d Retries:i",
    ),
    ("container.Ulimit", "Name:s Hard:i Soft:i"),
    ("DNSConfig", "Nameservers:[]s Search:[]s Options:[]s"),
    ("SecretReference", "File:*SecretReferenceFileTarget SecretID:s SecretName:s"),
    ("SecretReferenceFileTarget", "Name:s UID:s GID:s Mode:m"),
    (
        "ConfigReference",
        "File:*ConfigReferenceFileTarget Runtime:*ConfigReferenceRuntimeTarget ConfigID:s ConfigName:s",
    ),
    ("ConfigReferenceFileTarget", "Name:s UID:s GID:s Mode:m"),
    ("ConfigReferenceRuntimeTarget", ""),
    (
        "Node",
        "ID:s Version:Version CreatedAt:t UpdatedAt:t Spec:NodeSpec Description:NodeDescription Status:NodeStatus \
         ManagerStatus:*ManagerStatus",
    ),
    ("NodeSpec", "Name:s Labels:%s Role:s Availability:s"),
    (
        "NodeDescription",
        "Hostname:s Platform:Platform Resources:Resources Engine:EngineDescription TLSInfo:TLSInfo CSIInfo:[]NodeCSIInfo",
    ),
    ("EngineDescription", "EngineVersion:s Labels:%s Plugins:[]PluginDescription"),
    ("PluginDescription", "Type:s Name:s"),
    ("TLSInfo", "TrustRoot:s CertIssuerSubject:y CertIssuerPublicKey:y"),
    ("NodeCSIInfo", "PluginName:s NodeID:s MaxVolumesPerNode:i"),
    ("NodeStatus", "State:s Message:s Addr:s"),
    ("ManagerStatus", "Leader:b Reachability:s Addr:s"),
    ("Secret", "ID:s Version:Version CreatedAt:t UpdatedAt:t Spec:SecretSpec"),
    ("SecretSpec", "Name:s Labels:%s Data:y Driver:*Driver Templating:*Driver"),
    ("Config", "ID:s Version:Version CreatedAt:t UpdatedAt:t Spec:ConfigSpec"),
    ("ConfigSpec", "Name:s Labels:%s Data:y Templating:*Driver"),
];

/// An object as docker's templates see it. `kind` is the word of its commands: `service`, `node`, `secret`, `config`.
pub(super) fn typed(kind: &str, object: &Value) -> Value {
    let name = match kind {
        "service" => "Service",
        "node" => "Node",
        "secret" => "Secret",
        "config" => "Config",
        _ => return object.clone(),
    };
    of(name, Some(object))
}

/// A value of a type; `None`: its zero value.
fn of(kind: &str, value: Option<&Value>) -> Value {
    let value = value.filter(|value| **value != Value::Null);
    if let Some(inner) = kind.strip_prefix('*') {
        return value.map_or_else(|| Value::Nil(full(inner)), |value| of(inner, Some(value)));
    }
    if let Some(inner) = kind.strip_prefix("[]") {
        let list = value.map_or(&[][..], Value::list);
        return Value::List(list.iter().map(|value| of(inner, Some(value))).collect());
    }
    if let Some(inner) = kind.strip_prefix('%') {
        let fields = value.map_or(&[][..], Value::fields).iter();
        return Value::Map(
            fields.map(|(key, value)| (key.clone(), of(inner, Some(value)))).collect(),
        );
    }
    match kind {
        "s" => value.cloned().unwrap_or_else(|| Value::from("")),
        "i" => value.cloned().unwrap_or(Value::Int(0)),
        "b" => value.cloned().unwrap_or(Value::Bool(false)),
        "t" => time(value.map_or("0001-01-01T00:00:00Z", Value::text)),
        "d" => coded(Value::Int(value.map_or(0, Value::int)), go_duration),
        "m" => coded(Value::Int(value.map_or(0, Value::int)), mode),
        "y" => bytes(value.map_or("", Value::text)),
        name => structure(name, value),
    }
}

fn structure(name: &str, value: Option<&Value>) -> Value {
    let fields = TYPES.iter().find(|(known, _)| *known == name).map_or("", |(_, fields)| fields);
    let known = fields.split_whitespace().filter_map(|field| field.split_once(':'));
    let known = known.map(|(field, kind)| {
        let given = value.and_then(|value| value.find(field));
        Field { name: field.to_owned(), value: of(kind, given), given: given.is_some() }
    });
    Value::structure(&full(name), known)
}

/// The name of a type as Go says it.
fn full(name: &str) -> String {
    if name.contains('.') { name.to_owned() } else { format!("swarm.{name}") }
}

fn time(text: &str) -> Value {
    let shown = go_time(text).unwrap_or_else(|| text.to_owned());
    Value::Coded { json: Box::new(text.into()), text: shown.clone(), shown }
}

fn coded(json: Value, show: impl Fn(i64) -> String) -> Value {
    let shown = show(json.int());
    Value::Coded { json: Box::new(json), text: shown.clone(), shown }
}

fn bytes(encoded: &str) -> Value {
    // The API promises base64.
    let Ok(bytes) = STANDARD.decode(encoded) else { return Value::from(encoded) };
    let numbers: Vec<String> = bytes.iter().map(u8::to_string).collect();
    let text = String::from_utf8_lossy(&bytes).into_owned();
    Value::Coded { json: Box::new(encoded.into()), shown: format!("[{}]", numbers.join(" ")), text }
}

/// Permissions as Go's `os.FileMode` prints them.
fn mode(bits: i64) -> String {
    let letter = |at: u32| {
        let set = bits & (1 << (8 - at)) != 0;
        if set { ['r', 'w', 'x'][(at % 3) as usize] } else { '-' }
    };
    std::iter::once('-').chain((0..9).map(letter)).collect()
}

#[cfg(test)]
mod tests {
    use shoal_gotemplate::{Missing, Template};

    use super::*;

    #[track_caller]
    fn shown(kind: &str, object: &str, template: &str) -> String {
        let object: Value = serde_json::from_str(object).unwrap();
        let data = typed(kind, &object);
        Template::parse(template).unwrap().render(&data, Missing::Key).unwrap_or_else(|why| why)
    }

    const SERVICE: &str = r#"{"ID":"x1","CreatedAt":"2026-01-02T03:04:05.5Z","Spec":{"Name":"web","Labels":{"a":"b"},
        "TaskTemplate":{"ContainerSpec":{"Image":"i","StopGracePeriod":10000000000,"Secrets":[{"File":{"Name":"f","Mode":292}}]}},
        "Mode":{"Replicated":{"Replicas":2}}}}"#;

    #[test]
    fn what_the_api_leaves_out_has_its_zero_value() {
        let of = |template: &str| shown("service", SERVICE, template);
        assert_eq!(of("{{.PreviousSpec}} {{.Version.Index}} {{.UpdateStatus}}"), "<nil> 0 <nil>");
        assert_eq!(of("{{.Spec.TaskTemplate.ForceUpdate}}|{{.Spec.TaskTemplate.Runtime}}|"), "0||");
        assert_eq!(of("{{.Spec.Mode.Replicated.Replicas}} {{.Spec.Mode.Global}}"), "2 <nil>");
        assert_eq!(of("{{.Endpoint}}"), "{{ []} [] []}");
        assert_eq!(
            of("{{.CreatedAt}} {{.UpdatedAt}}"),
            "2026-01-02 03:04:05.5 +0000 UTC 0001-01-01 00:00:00 +0000 UTC"
        );
        assert_eq!(
            of("{{json .Spec.Mode}} {{json .PreviousSpec}}"),
            r#"{"Replicated":{"Replicas":2}} null"#
        );
        let container = "{{with .Spec.TaskTemplate.ContainerSpec}}{{.StopGracePeriod}} {{.Init}} {{.Env}} {{.Healthcheck}}\
                         {{range .Secrets}} {{.File.Mode}} {{json .File.Mode}}{{end}}{{end}}";
        assert_eq!(of(container), "10s <nil> [] <nil> -r--r--r-- 292");
        assert_eq!(
            of("{{.UpdateStatus.State}}"),
            "template: :1:15: executing \"\" at <.UpdateStatus.State>: nil pointer evaluating *swarm.UpdateStatus.State"
        );
        assert_eq!(
            of("{{.Spec.Nope}}"),
            "template: :1:7: executing \"\" at <.Spec.Nope>: can't evaluate field Nope in type swarm.ServiceSpec"
        );
    }

    #[test]
    fn data_are_bytes() {
        let config = r#"{"ID":"c","Spec":{"Name":"conf","Labels":{},"Data":"Y2xlYXI="}}"#;
        let of = |template: &str| shown("config", config, template);
        assert_eq!(of("{{.Spec.Data}} {{json .Spec.Data}}"), r#"[99 108 101 97 114] "Y2xlYXI=""#);
        assert_eq!(of(r#"{{printf "%s" .Spec.Data}} {{len .Spec.Data}}"#), "clear 5");
        assert_eq!(shown("secret", config, "{{.Spec.Driver}}"), "<nil>");
    }

    #[test]
    fn every_type_that_is_named_is_known() {
        let simple = ["s", "i", "b", "t", "d", "y", "m"];
        for (name, fields) in TYPES {
            for field in fields.split_whitespace() {
                let (_, kind) = field.split_once(':').unwrap();
                let kind = kind.trim_start_matches(['*', '%', '[', ']']);
                let known = TYPES.iter().any(|(name, _)| *name == kind);
                assert!(known || simple.contains(&kind), "{field} of {name}");
            }
        }
    }
}
