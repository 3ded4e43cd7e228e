//! What users make: specs as the API and docker's client take them, and what is known of them from an answer.

use serde_json::{Value, json};

use super::asking::{ASKED, network};
use super::observed::{MADE, VERSION};
use super::world::{NETWORKS, answering};

/// A kind of objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// A service that is asked all the time.
    Asked,
    /// A service of some tasks.
    Service,
    /// One with a task on each node, or on each worker.
    Global,
    /// Tasks that come to an end.
    Job,
    /// A service that docker's client makes of a file.
    Stack,
    /// A secret.
    Secret,
    /// A config.
    Config,
    /// A network of the cluster.
    Network,
}

/// How the report calls operations.
#[derive(Debug, Clone, Copy)]
pub(super) struct Words {
    /// Make it.
    pub(super) create: &'static str,
    /// Look.
    pub(super) read: &'static str,
    /// Another spec.
    pub(super) change: &'static str,
    /// No more.
    pub(super) remove: &'static str,
}

const fn words(
    create: &'static str,
    read: &'static str,
    change: &'static str,
    remove: &'static str,
) -> Words {
    Words { create, read, change, remove }
}

impl Kind {
    /// Where the API has them.
    pub(super) const fn path(self) -> &'static str {
        match self {
            Self::Asked | Self::Service | Self::Global | Self::Job | Self::Stack => "/services",
            Self::Secret => "/secrets",
            Self::Config => "/configs",
            Self::Network => "/networks",
        }
    }

    /// Whether containers are made of them.
    pub(super) fn has_containers(self) -> bool {
        self.path() == Self::Service.path()
    }

    /// How the report calls what is done with them.
    pub(super) const fn words(self) -> Words {
        match self {
            Self::Asked | Self::Service | Self::Global => {
                words("create a service", "read a service", "update a service", "remove a service")
            }
            Self::Job => words("create a job", "read a job", "run a job again", "remove a job"),
            Self::Stack => {
                words("deploy a stack", "read a stack", "deploy a stack", "remove a stack")
            }
            Self::Secret => {
                words("create a secret", "read a secret", "label a secret", "remove a secret")
            }
            Self::Config => {
                words("create a config", "read a config", "label a config", "remove a config")
            }
            Self::Network => words("create a network", "read a network", "", "remove a network"),
        }
    }
}

/// The name of an object.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Name {
    /// Of what.
    pub(super) kind: Kind,
    /// As the API takes it.
    pub(super) text: String,
}

impl Name {
    /// One.
    pub(super) fn new(kind: Kind, text: impl Into<String>) -> Self {
        Self { kind, text: text.into() }
    }
}

/// All names of a user.
pub(super) fn names(user: usize) -> Vec<Name> {
    let all = [
        (Kind::Service, "sa"),
        (Kind::Service, "sb"),
        (Kind::Global, "g"),
        (Kind::Job, "j"),
        (Kind::Stack, "k"),
        (Kind::Secret, "xa"),
        (Kind::Secret, "xb"),
        (Kind::Config, "c"),
        (Kind::Network, "o"),
    ];
    let name = |(kind, letters): (Kind, &str)| {
        let own = format!("{letters}{user}");
        Name::new(kind, if kind == Kind::Stack { format!("{own}_{STACKED}") } else { own })
    };
    all.into_iter().map(name).collect()
}

/// The service of a stack.
const STACKED: &str = "web";

/// The stack of a service.
pub(super) fn stack(name: &Name) -> &str {
    name.text.split('_').next().unwrap_or_default()
}

/// What an object is to be, as far as anybody looks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wish {
    /// Which write made it.
    pub(super) v: u64,
    /// The last write that changed its containers; that of other objects is `v`.
    pub(super) made: u64,
    /// Of services that say how many.
    pub(super) replicas: Option<u64>,
}

/// What an answer says of an object.
pub(super) fn wish(kind: Kind, value: &Value) -> Wish {
    let number = |label: &Value| label.as_str().and_then(|text| text.parse().ok()).unwrap_or(0);
    let spec = &value["Spec"];
    let v = match kind {
        Kind::Network => number(&value["Labels"][VERSION]),
        _ => number(&spec["Labels"][VERSION]),
    };
    if !kind.has_containers() {
        return Wish { v, made: v, replicas: None };
    }
    let made = number(&spec["TaskTemplate"]["ContainerSpec"]["Labels"][MADE]);
    let mode = &spec["Mode"];
    let replicas = mode["Replicated"]["Replicas"].as_u64();
    let replicas = replicas.or_else(|| mode["ReplicatedJob"]["TotalCompletions"].as_u64());
    Wish { v, made, replicas }
}

/// The same spec with another wish.
pub(super) fn changed(kind: Kind, spec: &Value, wish: &Wish) -> Value {
    let mut spec = spec.clone();
    spec["Labels"][VERSION] = wish.v.to_string().into();
    match kind {
        Kind::Secret | Kind::Config | Kind::Network => return spec,
        Kind::Job => {
            spec["Mode"]["ReplicatedJob"]["TotalCompletions"] = json!(wish.replicas);
        }
        Kind::Asked | Kind::Service | Kind::Stack => {
            spec["Mode"]["Replicated"]["Replicas"] = json!(wish.replicas);
        }
        Kind::Global => {}
    }
    spec["TaskTemplate"]["ContainerSpec"]["Labels"][MADE] = wish.made.to_string().into();
    spec
}

/// Path and body of the request that creates an object. `other`: of two variants the other one.
pub(super) fn creation(name: &Name, wish: &Wish, other: bool) -> (&'static str, Value) {
    let labels = json!({VERSION: wish.v.to_string()});
    let (path, spec) = match name.kind {
        Kind::Secret => {
            return (
                "/secrets/create",
                json!({"Name": name.text, "Labels": labels, "Data": "eA=="}),
            );
        }
        Kind::Config => {
            return (
                "/configs/create",
                json!({"Name": name.text, "Labels": labels, "Data": "eA=="}),
            );
        }
        Kind::Network => {
            let body = json!({"Name": name.text, "Driver": "overlay", "Labels": labels});
            return ("/networks/create", body);
        }
        Kind::Asked => {
            let port = ASKED.iter().find(|(asked, _)| *asked == name.text).map(|(_, port)| *port);
            let mut spec = answering(&name.text, port);
            spec["TaskTemplate"]["Networks"] = json!([{"Target": network(&name.text)}]);
            ("/services/create", spec)
        }
        Kind::Service | Kind::Stack => {
            let mut spec = answering(&name.text, None);
            let networks = if other { &NETWORKS[..] } else { &NETWORKS[..1] };
            let networks: Vec<Value> =
                networks.iter().map(|network| json!({"Target": network})).collect();
            spec["TaskTemplate"]["Networks"] = networks.into();
            ("/services/create", spec)
        }
        Kind::Global => {
            let mut spec = answering(&name.text, None);
            spec["Mode"] = json!({"Global": {}});
            if other {
                spec["TaskTemplate"]["Placement"] = json!({"Constraints": ["node.role==worker"]});
            }
            ("/services/create", spec)
        }
        Kind::Job => {
            let mut spec = answering(&name.text, None);
            spec["Mode"] = json!({"ReplicatedJob": {"MaxConcurrent": 2}});
            spec["TaskTemplate"]["ContainerSpec"]["Command"] = json!(["true"]);
            spec["TaskTemplate"]["RestartPolicy"] =
                json!({"Condition": "on-failure", "Delay": 200_000_000});
            for update in ["UpdateConfig", "RollbackConfig", "EndpointSpec"] {
                spec.as_object_mut().map(|spec| spec.remove(update));
            }
            ("/services/create", spec)
        }
    };
    (path, changed(name.kind, &spec, wish))
}

/// A stack with one service, as docker's client takes it: what is said twice is what compose files replace.
pub(super) fn stack_file(wish: &Wish) -> String {
    let Wish { v, made, replicas } = wish;
    let replicas = replicas.unwrap_or(1);
    format!(
        "services:
  {STACKED}:
    image: busybox
    command: [sh, -c, 'trap \"exit 0\" TERM; while :; do sleep 1000 & wait $$!; done']
    labels: {{{MADE}: '{made}'}}
    networks: [net]
    deploy:
      replicas: {replicas}
      labels: {{{VERSION}: '{v}'}}
      restart_policy: {{condition: any, delay: 200ms}}
      update_config: {{failure_action: continue, monitor: 100ms}}
networks:
  net: {{external: true, name: {}}}
",
        NETWORKS[0]
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_wished_is_read_again() {
        for (kind, replicas) in [
            (Kind::Asked, Some(3)),
            (Kind::Service, Some(0)),
            (Kind::Global, None),
            (Kind::Job, Some(2)),
            (Kind::Secret, None),
            (Kind::Config, None),
            (Kind::Network, None),
        ] {
            let name = Name::new(kind, "t0");
            let made = if kind.has_containers() { 3 } else { 4 };
            let expected = Wish { v: 4, made, replicas };
            let (_, spec) = creation(&name, &expected, true);
            // An API shows networks without a spec.
            let shown = if kind == Kind::Network { spec } else { json!({"Spec": spec}) };
            assert_eq!(wish(kind, &shown), expected, "{kind:?}");
            if kind != Kind::Network {
                let next = Wish { v: 9, made: 9, replicas: replicas.map(|count| count + 1) };
                let spec = changed(kind, &shown["Spec"], &next);
                assert_eq!(wish(kind, &json!({"Spec": spec})), next, "{kind:?}");
            }
        }
    }

    #[test]
    fn a_stack_is_a_file() {
        let file = stack_file(&Wish { v: 7, made: 5, replicas: Some(0) });
        for line in ["labels: {made: '5'}", "labels: {v: '7'}", "replicas: 0", "name: n0"] {
            assert!(
                file.lines().any(|other| other.ends_with(line) || other.contains(line)),
                "{file}"
            );
        }
        let name = names(1).into_iter().find(|name| name.kind == Kind::Stack).unwrap();
        assert_eq!((name.text.as_str(), stack(&name)), ("k1_web", "k1"));
    }
}
