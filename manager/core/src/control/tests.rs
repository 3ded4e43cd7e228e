//! Requests and their refusals, in docker's words.

use std::sync::Arc;
use std::time::Duration;

use shoal_model::cluster::filters::TaskFilters;
use shoal_model::cluster::node::{Availability, NodeRole, NodeState};
use shoal_model::cluster::request::{AuthFrom, ServiceUpdate};
use shoal_model::cluster::service::{
    EndpointMode, EndpointSpec, PortConfig, PublishMode, ServiceMode, UpdateConfig, UpdateState,
};
use shoal_model::cluster::task::{
    ConfigReference, FileTarget, Limits, NetworkAttachment, NetworkWish, Placement,
    ResourceRequirements, SecretReference,
};
use shoal_model::cluster::{
    Annotations, ConfigId, ConfigSpec, NodeSpec, SecretId, SecretSpec, ServiceId, ServiceSpec,
    TaskSpec, TaskState, Version,
};
use shoal_model::container::{ContainerSpec, Healthcheck, Mount, MountKind, TmpfsOptions};
use shoal_model::error::Classified;
use shoal_model::network::{IpamPool, NetworkSpec};
use shoal_model::{ErrorKind, Fact, ObjectKind, Timestamp};

use super::nodes::Seat;
use super::*;
use crate::ids::SeededIds;
use crate::samples;
use crate::store::{Change, State, Txn};

struct Cluster {
    state: State,
    ids: SeededIds,
}

impl Cluster {
    fn new() -> Self {
        Self { state: State::default(), ids: SeededIds::new(1) }
    }

    /// Decides and applies; gives docker's words for a refusal.
    fn run<T>(
        &mut self,
        request: impl FnOnce(&mut Txn, &mut SeededIds) -> Result<T>,
    ) -> std::result::Result<T, String> {
        let index = self.state.index() + 1;
        let at = Timestamp::from_nanos(i64::try_from(index).unwrap());
        let mut txn = Txn::new(&self.state, at);
        let value = request(&mut txn, &mut self.ids).map_err(|error| match error.fact() {
            Some(Fact::Refused { code, text }) => format!("{}: {text}", code.as_str()),
            _ => error.to_string(),
        })?;
        if !txn.is_empty() {
            self.state.apply(index, &txn.finish()).unwrap();
        }
        Ok(value)
    }

    fn put(&mut self, change: Change) {
        self.run(|txn, _| Ok(txn.change(change)?)).unwrap();
    }

    fn create(&mut self, spec: ServiceSpec) -> std::result::Result<ServiceId, String> {
        self.run(|txn, ids| services::create(txn, ids, spec))
    }

    fn update(&mut self, name: &str, request: ServiceUpdate) -> std::result::Result<(), String> {
        let version = find::service(&self.state, name).unwrap().meta.version;
        self.run(|txn, _| services::update(txn, name, version, request))
    }
}

fn named(name: &str) -> Annotations {
    Annotations { name: name.to_owned(), ..Annotations::default() }
}

fn task() -> TaskSpec {
    let container = ContainerSpec { image: "busybox".to_owned(), ..ContainerSpec::default() };
    TaskSpec { container, ..TaskSpec::default() }
}

fn spec(name: &str) -> ServiceSpec {
    ServiceSpec { annotations: named(name), task: Arc::new(task()), ..ServiceSpec::default() }
}

fn with_task(change: impl FnOnce(&mut TaskSpec)) -> ServiceSpec {
    let mut task = task();
    change(&mut task);
    ServiceSpec { task: Arc::new(task), ..spec("web") }
}

fn port(published: u16, mode: PublishMode) -> PortConfig {
    PortConfig { target: 80, published, mode, ..PortConfig::default() }
}

fn with_ports(name: &str, ports: Vec<PortConfig>) -> ServiceSpec {
    ServiceSpec { endpoint: Some(EndpointSpec { ports, ..EndpointSpec::default() }), ..spec(name) }
}

fn refused(spec: ServiceSpec, words: &str) {
    assert_eq!(Cluster::new().create(spec), Err(format!("InvalidArgument: {words}")));
}

fn file(name: &str) -> Option<FileTarget> {
    Some(FileTarget { name: name.to_owned(), ..FileTarget::default() })
}

#[test]
fn names_are_refused_in_dockers_words() {
    refused(spec(""), "meta: name must be provided");
    for name in ["-a", "a_", "a.b", "ä"] {
        refused(spec(name), "name must be valid as a DNS name component");
    }
    refused(spec(&"a".repeat(64)), "name must be 63 characters or fewer");
    let long = "invalid name, only 64 [a-zA-Z0-9-_.] characters allowed, and the start and end character \
                must be [a-zA-Z0-9]";
    for (name, words) in [("", "name must be provided"), (".a", long), ("a b", long)] {
        let spec = ConfigSpec { annotations: named(name), data: vec![1], ..ConfigSpec::default() };
        let created = Cluster::new().run(|txn, ids| secrets::create_config(txn, ids, spec));
        assert_eq!(created, Err(format!("InvalidArgument: {words}")));
    }
}

#[test]
fn resources_images_and_mounts_are_refused_in_dockers_words() {
    let limits = |limits: Limits| {
        with_task(|task| {
            task.resources =
                Some(ResourceRequirements { limits: Some(limits), ..Default::default() });
        })
    };
    let cpus = |nano_cpus| limits(Limits { nano_cpus, ..Limits::default() });
    refused(cpus(500_000), "invalid cpu value 0.0005: Must be at least 0.001");
    refused(cpus(10_000), "invalid cpu value 1e-05: Must be at least 0.001");
    let memory = limits(Limits { memory: 4096, ..Limits::default() });
    refused(memory, "invalid memory value 4096: Must be at least 4MiB");
    let image = |image: &str| with_task(|task| image.clone_into(&mut task.container.image));
    refused(image(""), "ContainerSpec: image reference must be provided");
    refused(image("UPPER"), "ContainerSpec: \"UPPER\" is not a valid repository/tag");
    let mount = Mount {
        kind: MountKind::Tmpfs(TmpfsOptions::default()),
        target: "/x".to_owned(),
        read_only: false,
        consistency: String::new(),
    };
    let twice = with_task(|task| task.container.host.mounts = vec![mount.clone(), mount]);
    refused(twice, "ContainerSpec: duplicate mount point: /x");
    let interval = Duration::from_micros(5);
    let check = Healthcheck { interval, ..Healthcheck::default() };
    let check = with_task(|task| task.container.healthcheck = Some(check));
    refused(check, "ContainerSpec: Interval in HealthConfig cannot be less than 1ms");
    let placement = Placement { constraints: vec!["node.role".to_owned()], ..Default::default() };
    let placed = with_task(|task| task.placement = Some(placement));
    refused(placed, "constraint expected one operator from ==, !=");
}

#[test]
fn modes_updates_and_endpoints_are_refused_in_dockers_words() {
    let mode = |mode| ServiceSpec { mode, ..spec("web") };
    let replicas = Some(u64::MAX);
    refused(mode(ServiceMode::Replicated { replicas }), "Number of replicas must be non-negative");
    let update = Some(UpdateConfig::default());
    let job = ServiceSpec { update, ..mode(ServiceMode::GlobalJob) };
    refused(job, "Jobs may not have an update config");
    let update = Some(UpdateConfig { max_failure_ratio: 1.5, ..UpdateConfig::default() });
    refused(
        ServiceSpec { update, ..spec("web") },
        "TaskSpec: update-maxfailureratio cannot be less than 0 or bigger than 1",
    );
    let twice = vec![port(80, PublishMode::Ingress), port(80, PublishMode::Host)];
    refused(with_ports("web", twice), "EndpointSpec: duplicate published ports provided");
    let mut dnsrr = with_ports("web", vec![port(80, PublishMode::Ingress)]);
    dnsrr.endpoint.as_mut().unwrap().mode = EndpointMode::DnsRoundRobin;
    refused(dnsrr, "EndpointSpec: port published with ingress mode can't be used with dnsrr mode");
}

#[test]
fn references_to_secrets_and_configs_are_checked() {
    let secret = |name: &str, file| SecretReference {
        id: SecretId::from_bytes([1; 16]),
        name: name.to_owned(),
        file,
    };
    let secrets = |secrets| with_task(|task| task.secrets = secrets);
    refused(secrets(vec![secret("", file("a"))]), "malformed secret reference");
    refused(secrets(vec![secret("a", None)]), "malformed secret reference, no target provided");
    refused(
        secrets(vec![secret("a", file("x")), secret("b", file("x"))]),
        "secret references 'a' and 'b' have a conflicting target: 'x'",
    );
    refused(
        secrets(vec![secret("a", file("x")), secret("b", file("y"))]),
        "secrets not found: a, b",
    );
    let id = ConfigId::from_bytes([1; 16]);
    let config = ConfigReference { id, name: "c".to_owned(), file: file("") };
    refused(
        with_task(|task| task.configs = vec![config.clone()]),
        "malformed file config reference, invalid target file name provided",
    );
    let config = ConfigReference { file: file("c"), ..config };
    refused(with_task(|task| task.configs = vec![config]), "config not found: c");
}

#[test]
fn published_ports_are_the_services_own() {
    let mut cluster = Cluster::new();
    let needs = with_ports("a", vec![port(80, PublishMode::Ingress)]);
    assert_eq!(
        cluster.create(needs.clone()),
        Err("FailedPrecondition: service needs ingress network, but no ingress network is present"
            .to_owned())
    );
    let ingress =
        NetworkSpec { name: "ingress".to_owned(), ingress: true, ..NetworkSpec::default() };
    let network = cluster.run(|txn, ids| networks::create(txn, ids, ingress.clone())).unwrap();
    let a = cluster.create(needs).unwrap();
    let host = cluster.create(with_ports("h", vec![port(81, PublishMode::Host)])).unwrap();
    let taken = |published, name: &str, id, how: &str| {
        Err(format!(
            "InvalidArgument: port '{published}' is already in use by service '{name}' ({id}) as {how}"
        ))
    };
    for mode in [PublishMode::Ingress, PublishMode::Host] {
        assert_eq!(
            cluster.create(with_ports("b", vec![port(80, mode)])),
            taken(80, "a", a, "an ingress port")
        );
    }
    assert_eq!(
        cluster.create(with_ports("b", vec![port(81, PublishMode::Ingress)])),
        taken(81, "h", host, "a host-published port")
    );
    cluster.create(with_ports("b", vec![port(81, PublishMode::Host)])).unwrap();
    let own = with_ports("a", vec![port(80, PublishMode::Ingress), port(0, PublishMode::Ingress)]);
    cluster.update("a", ServiceUpdate { spec: own, ..ServiceUpdate::default() }).unwrap();
    assert_eq!(
        cluster.run(|txn, _| networks::remove(txn, network)),
        Err(format!(
            "FailedPrecondition: ingress network cannot be removed because service {a} depends on it"
        ))
    );
    let again = NetworkSpec { name: "other".to_owned(), ..ingress };
    assert_eq!(
        cluster.run(|txn, ids| networks::create(txn, ids, again)),
        Err(format!("AlreadyExists: ingress network ({network}) is already present"))
    );
}

#[test]
fn an_update_keeps_what_may_not_change() {
    let mut cluster = Cluster::new();
    cluster.create(spec("web")).unwrap();
    let update = |spec| ServiceUpdate { spec, ..ServiceUpdate::default() };
    assert_eq!(
        cluster.update("web", update(spec("other"))),
        Err("Unimplemented: renaming services is not supported".to_owned())
    );
    let global = ServiceSpec { mode: ServiceMode::Global, ..spec("web") };
    assert_eq!(
        cluster.update("web", update(global)),
        Err("Unimplemented: service mode change is not allowed".to_owned())
    );
    let id = cluster.state.service_by_name("web").unwrap().id;
    assert_eq!(
        cluster.update("web", ServiceUpdate { rollback: true, ..ServiceUpdate::default() }),
        Err(format!("FailedPrecondition: service {id} does not have a previous spec"))
    );
    assert_eq!(
        cluster.create(spec("WEB")),
        Err("AlreadyExists: name conflicts with an existing object: service WEB already exists"
            .to_owned())
    );
}

#[test]
fn an_update_that_changes_nothing_keeps_the_way_back() {
    let mut cluster = Cluster::new();
    cluster.create(spec("web")).unwrap();
    let scaled = ServiceSpec { mode: ServiceMode::Replicated { replicas: Some(3) }, ..spec("web") };
    let update = || ServiceUpdate { spec: scaled.clone(), ..ServiceUpdate::default() };
    cluster.update("web", update()).unwrap();
    let before = Arc::clone(cluster.state.service_by_name("web").unwrap());
    assert_eq!(before.spec_version, Version(1));
    assert_eq!(before.previous.as_ref().unwrap().spec, spec("web"));
    cluster.update("web", update()).unwrap();
    assert_eq!(cluster.state.service_by_name("web"), Some(&before));
    let back = ServiceUpdate { rollback: true, ..ServiceUpdate::default() };
    cluster.update("web", back).unwrap();
    let after = cluster.state.service_by_name("web").unwrap();
    assert_eq!(after.spec, spec("web"));
    let status = after.update.as_ref().unwrap();
    assert_eq!(status.state, UpdateState::RollbackStarted);
    assert_eq!(status.message, "manually requested rollback");
}

#[test]
fn credentials_are_kept_and_are_no_change_of_their_own() {
    let mut cluster = Cluster::new();
    let with_auth = |auth: &str| with_task(|task| auth.clone_into(&mut task.registry_auth));
    cluster.create(with_auth("one")).unwrap();
    let kept = ServiceUpdate { auth_from: Some(AuthFrom::Spec), ..ServiceUpdate::default() };
    cluster.update("web", ServiceUpdate { spec: spec("web"), ..kept }).unwrap();
    assert_eq!(cluster.state.service_by_name("web").unwrap().meta.version, Version(1));
    let other = ServiceUpdate { spec: with_auth("two"), ..ServiceUpdate::default() };
    cluster.update("web", other).unwrap();
    let service = cluster.state.service_by_name("web").unwrap();
    assert_eq!(service.spec.task.registry_auth, "two");
    assert_eq!((service.spec_version, service.previous.is_none()), (Version(0), true));
    let previous = ServiceUpdate { auth_from: Some(AuthFrom::PreviousSpec), ..kept };
    assert_eq!(
        cluster.update("web", ServiceUpdate { spec: spec("web"), ..previous }),
        Err("service does not have a previous spec".to_owned())
    );
}

#[test]
fn a_stale_version_is_out_of_sequence() {
    let mut cluster = Cluster::new();
    cluster.create(spec("web")).unwrap();
    let request = ServiceUpdate { spec: spec("web"), ..ServiceUpdate::default() };
    let mut txn = Txn::new(&cluster.state, Timestamp::default());
    let error = services::update(&mut txn, "web", Version(7), request).unwrap_err();
    assert_eq!(error, Error::OutOfSequence);
    // 500, as in Docker.
    assert_eq!((error.kind(), error.fact()), (ErrorKind::Internal, Some(Fact::OutOfSequence)));
}

#[test]
fn networks_are_resolved_and_the_mesh_is_not_joined() {
    let mut cluster = Cluster::new();
    let network = |name: &str, ingress| NetworkSpec {
        name: name.to_owned(),
        ingress,
        ..NetworkSpec::default()
    };
    let id = cluster.run(|txn, ids| networks::create(txn, ids, network("back", false))).unwrap();
    cluster.run(|txn, ids| networks::create(txn, ids, network("ingress", true))).unwrap();
    let on = |target: &str| {
        let wish = NetworkWish { target: target.to_owned(), ..NetworkWish::default() };
        with_task(|task| task.networks = vec![wish])
    };
    assert_eq!(
        cluster.create(on("ingress")),
        Err("InvalidArgument: Service cannot be explicitly attached to the ingress network \"ingress\""
            .to_owned())
    );
    assert!(cluster.create(on("nowhere")).is_err());
    let web = cluster.create(on("back")).unwrap();
    let service = cluster.state.service(web).unwrap();
    assert_eq!(service.spec.task.networks[0].target, id.to_string());
    assert_eq!(
        cluster.run(|txn, _| networks::remove(txn, id)),
        Err(format!("FailedPrecondition: network {id} is in use by service {web}"))
    );
    // Its tasks keep no network once the service was removed, though they run for another moment.
    let mut task = samples::task(77, 1, 1);
    task.service = Some(web);
    task.networks = vec![NetworkAttachment {
        network: id,
        addresses: Vec::new(),
        aliases: Vec::new(),
        driver_opts: Default::default(),
    }];
    cluster.run(|txn, _| Ok(txn.put_task(task)?)).unwrap();
    cluster.run(|txn, _| services::remove(txn, "web")).unwrap();
    assert_eq!(cluster.state.tasks_on_network(id).count(), 1);
    cluster.run(|txn, _| networks::remove(txn, id)).unwrap();
}

#[test]
fn networks_are_refused_in_dockers_words() {
    let pool = |subnet: &str, range: &str, gateway: Option<&str>| IpamPool {
        subnet: subnet.to_owned(),
        ip_range: range.to_owned(),
        gateway: gateway.map(|gateway| gateway.parse().unwrap()),
        ..IpamPool::default()
    };
    let cases = [
        (pool("10.0.0", "", Some("10.0.0.1")), "invalid subnet 10.0.0"),
        (pool("10.0.0.0/24", "x", None), "invalid range x"),
        (
            pool("10.0.0.0/24", "10.1.0.0/25", None),
            "subnet 10.0.0.0/24 does not contain range 10.1.0.0/25",
        ),
        (
            pool("10.0.0.0/24", "", Some("10.1.0.1")),
            "subnet 10.0.0.0/24 does not contain gateway 10.1.0.1",
        ),
    ];
    for (pool, words) in cases {
        let mut spec = NetworkSpec { name: "a".to_owned(), ..NetworkSpec::default() };
        spec.ipam.pools = vec![pool];
        let created = Cluster::new().run(|txn, ids| networks::create(txn, ids, spec));
        assert_eq!(created, Err(format!("InvalidArgument: ipam configuration: {words}")));
    }
}

#[test]
fn only_labels_of_secrets_change() {
    let mut cluster = Cluster::new();
    let spec = SecretSpec { annotations: named("a"), data: vec![1], ..SecretSpec::default() };
    cluster.run(|txn, ids| secrets::create_secret(txn, ids, spec.clone())).unwrap();
    assert_eq!(
        cluster.run(|txn, ids| secrets::create_secret(txn, ids, spec.clone())),
        Err("AlreadyExists: secret a already exists".to_owned())
    );
    let empty = SecretSpec { data: Vec::new(), annotations: named("b"), ..spec.clone() };
    assert_eq!(
        cluster.run(|txn, ids| secrets::create_secret(txn, ids, empty)),
        Err("InvalidArgument: secret data must be larger than 0 and less than 512000 bytes"
            .to_owned())
    );
    let other = SecretSpec { data: vec![2], ..spec.clone() };
    assert_eq!(
        cluster.run(|txn, _| secrets::update_secret(txn, "a", Version(1), &other)),
        Err("InvalidArgument: only updates to Labels are allowed".to_owned())
    );
    let mut labelled = SecretSpec { data: Vec::new(), ..spec };
    labelled.annotations.labels.insert("x".to_owned(), "y".to_owned());
    cluster.run(|txn, _| secrets::update_secret(txn, "a", Version(1), &labelled)).unwrap();
    let secret = cluster.state.secret_by_name("a").unwrap();
    assert_eq!((secret.spec.data.as_slice(), secret.spec.annotations.labels.len()), (&[1][..], 1));
}

#[test]
fn managers_and_live_nodes_are_not_removed() {
    let mut cluster = Cluster::new();
    for number in 1..=2 {
        let mut node = samples::node(number);
        node.spec.role = NodeRole::Manager;
        cluster.put(Change::PutNode(Arc::new(node)));
    }
    let version = |cluster: &Cluster| find::node(&cluster.state, "n1").unwrap().meta.version;
    let worker = NodeSpec::default();
    let demote = |cluster: &mut Cluster, seat: Seat| {
        let version = version(cluster);
        cluster.run(|txn, _| nodes::update(txn, "n1", version, worker.clone(), |_| seat))
    };
    assert_eq!(
        demote(&mut cluster, Seat::Needed { voters: 2, reachable: 1, needed: 2 }),
        Err("FailedPrecondition: can't remove member from the raft: this would result in a loss of quorum: \
             1 of 2 managers would answer, 2 must"
            .to_owned())
    );
    let remove = |cluster: &mut Cluster, name: &str, force, seat: Seat| {
        cluster.run(|txn, _| nodes::remove(txn, name, force, |_| seat))
    };
    let id = find::node(&cluster.state, "n1").unwrap().id;
    assert_eq!(
        remove(&mut cluster, "n1", true, Seat::Free),
        Err(format!(
            "FailedPrecondition: node {id} is a cluster manager and is a member of the raft cluster. It must \
             be demoted to worker before removal"
        ))
    );
    demote(&mut cluster, Seat::Free).unwrap();
    assert_eq!(
        remove(&mut cluster, "n1", false, Seat::None),
        Err(format!("FailedPrecondition: node {id} is not down and can't be removed"))
    );
    remove(&mut cluster, "n1", true, Seat::None).unwrap();
    let version = find::node(&cluster.state, "n2").unwrap().meta.version;
    assert_eq!(
        cluster.run(|txn, _| nodes::update(txn, "n2", version, worker.clone(), |_| Seat::Free)),
        Err("FailedPrecondition: attempting to demote the last manager of the swarm".to_owned())
    );
    let drained = NodeSpec {
        role: NodeRole::Manager,
        availability: Availability::Drain,
        ..NodeSpec::default()
    };
    cluster.run(|txn, _| nodes::update(txn, "n2", version, drained, |_| Seat::None)).unwrap();
}

#[test]
fn references_are_id_then_name_then_prefix() {
    let mut cluster = Cluster::new();
    for number in [1, 2] {
        let mut node = samples::node(number);
        node.description.as_mut().unwrap().hostname = "same".to_owned();
        node.status.state = NodeState::Down;
        cluster.put(Change::PutNode(Arc::new(node)));
    }
    let ambiguous = |name: &str, count| {
        let (object, name) = (ObjectKind::Node, name.to_owned());
        Error::Ambiguous { object, name, count }
    };
    assert_eq!(find::node(&cluster.state, "same").unwrap_err(), ambiguous("same", 2));
    assert_eq!(find::node(&cluster.state, "000").unwrap_err(), ambiguous("000", 2));
    let id = samples::node(2).id;
    assert_eq!(find::node(&cluster.state, &id.to_string()).unwrap().id, id);
    for nothing in ["", "zzz"] {
        let name = nothing.to_owned();
        let missing = Error::NotFound { object: ObjectKind::Node, name };
        assert_eq!(find::node(&cluster.state, nothing).unwrap_err(), missing);
    }
}

#[test]
fn tasks_are_found_by_a_prefix() {
    let mut cluster = Cluster::new();
    cluster.put(Change::PutService(Arc::new(samples::service(1, "web"))));
    for number in [1, 36, 37] {
        cluster.put(Change::PutTask(Arc::new(samples::task(number, 1, number))));
    }
    let find = |prefix: &str| find::task(&cluster.state, prefix).map(|task| task.slot.0);
    assert_eq!(find(&format!("{:0>24}", "")), Ok(1));
    assert_eq!(
        find(&format!("{:0>23}1", "")).map_err(|error| error.kind()),
        Err(ErrorKind::InvalidArgument)
    );
    for nothing in ["", "1", "zz", "A", &"0".repeat(26)] {
        assert_eq!(find(nothing).map_err(|error| error.kind()), Err(ErrorKind::NotFound));
    }
}

#[test]
fn tasks_are_listed_by_service_node_state_and_freshness() {
    let mut cluster = Cluster::new();
    cluster.create(spec("web")).unwrap();
    let web = Arc::clone(cluster.state.service_by_name("web").unwrap());
    for number in 1..=3u64 {
        let mut made = samples::task(number, 1, number);
        made.service = Some(web.id);
        made.annotations = Arc::new(named("web"));
        made.spec_version = if number == 1 { Version(9) } else { web.spec_version };
        made.desired = if number == 3 { TaskState::Shutdown } else { TaskState::Running };
        cluster.put(Change::PutTask(Arc::new(made)));
    }
    let list = |filters: TaskFilters| {
        let tasks = lists::tasks(&cluster.state, &filters).unwrap();
        tasks.iter().map(|task| task.slot.0).collect::<Vec<_>>()
    };
    let of = TaskFilters { services: vec!["web".to_owned()], ..TaskFilters::default() };
    assert_eq!(list(of.clone()), [1, 2, 3]);
    assert_eq!(list(TaskFilters { up_to_date: Some(true), ..of.clone() }), [2, 3]);
    assert_eq!(list(TaskFilters { up_to_date: Some(false), ..of.clone() }), [1]);
    assert_eq!(list(TaskFilters { desired: vec![TaskState::Running], ..of.clone() }), [1, 2]);
    assert_eq!(list(TaskFilters { names: vec!["web.3".to_owned()], ..of }), [3]);
    let nowhere = TaskFilters { services: vec!["nope".to_owned()], ..TaskFilters::default() };
    assert!(lists::tasks(&cluster.state, &nowhere).is_err());
}
