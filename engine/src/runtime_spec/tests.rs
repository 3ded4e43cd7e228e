//! Golden runtime specs.

use expect_test::{Expect, expect};
use shoal_model::container::{Device as DeviceWish, IpcMode, Propagation};

use super::facts::CgroupVersion;
use super::oci::Device;
use super::*;
use crate::mounts::{Resolved, Source};
use crate::seccomp::Arch;

fn id() -> ContainerId {
    ContainerId::parse(&"0123456789abcdef".repeat(4)).unwrap()
}

fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

/// A fixed host: cgroup v1, three capabilities.
fn host() -> HostFacts {
    HostFacts {
        cgroup: CgroupVersion::V1,
        kernel: (6, 1),
        arch: Arch::X86_64,
        capabilities: words("CAP_CHOWN CAP_KILL CAP_SYS_ADMIN"),
        thermal_paths: vec!["/sys/devices/system/cpu/cpu0/thermal_throttle".to_owned()],
        ping_group_range: true,
        unprivileged_port_start: true,
        recursive_read_only: true,
        apparmor: false,
    }
}

struct Case {
    spec: ContainerSpec,
    host: HostFacts,
    daemon: DaemonDefaults,
    devices: HostDevices,
    mounts: Vec<Resolved>,
    namespaces: NamespacePaths,
    user: Option<ResolvedUser>,
    shared_memory: Option<PathBuf>,
}

/// `busybox sh` on the bridge.
fn busybox() -> Case {
    Case {
        spec: ContainerSpec {
            hostname: "0123456789ab".to_owned(),
            command: Some(words("sh")),
            ..ContainerSpec::default()
        },
        host: host(),
        daemon: DaemonDefaults::default(),
        devices: HostDevices::default(),
        mounts: Vec::new(),
        namespaces: NamespacePaths {
            network: Some("/run/shoal/netns/0123".into()),
            ..NamespacePaths::default()
        },
        user: Some(ResolvedUser { home: "/root".to_owned(), ..ResolvedUser::default() }),
        shared_memory: None,
    }
}

impl Case {
    fn build(&self) -> Result<Built, Error> {
        build(&Inputs {
            id: &id(),
            spec: &self.spec,
            host: &self.host,
            daemon: &self.daemon,
            devices: &self.devices,
            mounts: &self.mounts,
            namespaces: &self.namespaces,
            shared_memory: self.shared_memory.as_deref(),
            user: self.user.as_ref(),
            link_env: &[],
            rootfs: Path::new("/rootfs"),
        })
    }

    fn spec(&self) -> Spec {
        self.build().unwrap().spec
    }

    fn error(&self) -> String {
        self.build().unwrap_err().to_string()
    }
}

/// Compact JSON, one line for each list or object without nested ones.
fn render(value: &impl serde::Serialize) -> String {
    fn flat(value: &serde_json::Value) -> bool {
        let leaf = |value: &serde_json::Value| !value.is_object() && !value.is_array();
        match value {
            serde_json::Value::Array(items) => items.iter().all(leaf),
            serde_json::Value::Object(fields) => fields.values().all(|value| {
                leaf(value) || value.as_array().is_some_and(|items| items.iter().all(leaf))
            }),
            _ => true,
        }
    }
    fn write(value: &serde_json::Value, indent: usize, out: &mut String) {
        let pad = " ".repeat(indent + 1);
        match value {
            _ if flat(value) => out.push_str(&value.to_string()),
            serde_json::Value::Array(items) => {
                out.push_str("[\n");
                for item in items {
                    out.push_str(&pad);
                    write(item, indent + 1, out);
                    out.push('\n');
                }
                out.push_str(&" ".repeat(indent));
                out.push(']');
            }
            serde_json::Value::Object(fields) => {
                out.push_str("{\n");
                for (name, field) in fields {
                    out.push_str(&format!("{pad}{name}: "));
                    write(field, indent + 1, out);
                    out.push('\n');
                }
                out.push_str(&" ".repeat(indent));
                out.push('}');
            }
            _ => unreachable!("leaves are flat"),
        }
    }
    let mut out = String::new();
    write(&serde_json::to_value(value).unwrap(), 0, &mut out);
    out
}

#[track_caller]
fn check(value: &impl serde::Serialize, expected: Expect) {
    expected.assert_eq(&render(value));
}

#[test]
fn plain_busybox() {
    let built = busybox().build().unwrap();
    assert!(built.seccomp.is_some() && !built.init);
    check(
        &built.spec,
        expect![[r#"
        {
         hostname: "0123456789ab"
         linux: {
          cgroupsPath: "/shoal/0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
          maskedPaths: ["/proc/acpi","/proc/asound","/proc/interrupts","/proc/kcore","/proc/keys","/proc/latency_stats","/proc/sched_debug","/proc/scsi","/proc/timer_list","/proc/timer_stats","/sys/devices/virtual/powercap","/sys/firmware","/sys/devices/system/cpu/cpu0/thermal_throttle"]
          namespaces: [
           {"type":"mount"}
           {"path":"/run/shoal/netns/0123","type":"network"}
           {"type":"uts"}
           {"type":"pid"}
           {"type":"ipc"}
          ]
          readonlyPaths: ["/proc/bus","/proc/fs","/proc/irq","/proc/sys","/proc/sysrq-trigger"]
          resources: {
           devices: [
            {"access":"rwm","allow":false}
            {"access":"rwm","allow":true,"major":1,"minor":5,"type":"c"}
            {"access":"rwm","allow":true,"major":1,"minor":3,"type":"c"}
            {"access":"rwm","allow":true,"major":1,"minor":9,"type":"c"}
            {"access":"rwm","allow":true,"major":1,"minor":8,"type":"c"}
            {"access":"rwm","allow":true,"major":5,"minor":0,"type":"c"}
            {"access":"rwm","allow":true,"major":5,"minor":1,"type":"c"}
            {"access":"rwm","allow":false,"major":10,"minor":229,"type":"c"}
           ]
          }
          sysctl: {"net.ipv4.ip_unprivileged_port_start":"0","net.ipv4.ping_group_range":"0 2147483647"}
         }
         mounts: [
          {"destination":"/proc","options":["nosuid","noexec","nodev"],"source":"proc","type":"proc"}
          {"destination":"/dev","options":["nosuid","strictatime","mode=755","size=65536k"],"source":"tmpfs","type":"tmpfs"}
          {"destination":"/dev/pts","options":["nosuid","noexec","newinstance","ptmxmode=0666","mode=0620","gid=5"],"source":"devpts","type":"devpts"}
          {"destination":"/sys","options":["nosuid","noexec","nodev","ro"],"source":"sysfs","type":"sysfs"}
          {"destination":"/sys/fs/cgroup","options":["ro","nosuid","noexec","nodev"],"source":"cgroup","type":"cgroup"}
          {"destination":"/dev/mqueue","options":["nosuid","noexec","nodev"],"source":"mqueue","type":"mqueue"}
          {"destination":"/dev/shm","options":["nosuid","noexec","nodev","mode=1777","size=67108864"],"source":"shm","type":"tmpfs"}
         ]
         ociVersion: "1.2.1"
         process: {
          args: ["sh"]
          capabilities: {"bounding":["CAP_CHOWN","CAP_DAC_OVERRIDE","CAP_FSETID","CAP_FOWNER","CAP_MKNOD","CAP_NET_RAW","CAP_SETGID","CAP_SETUID","CAP_SETFCAP","CAP_SETPCAP","CAP_NET_BIND_SERVICE","CAP_SYS_CHROOT","CAP_KILL","CAP_AUDIT_WRITE"],"effective":["CAP_CHOWN","CAP_DAC_OVERRIDE","CAP_FSETID","CAP_FOWNER","CAP_MKNOD","CAP_NET_RAW","CAP_SETGID","CAP_SETUID","CAP_SETFCAP","CAP_SETPCAP","CAP_NET_BIND_SERVICE","CAP_SYS_CHROOT","CAP_KILL","CAP_AUDIT_WRITE"],"permitted":["CAP_CHOWN","CAP_DAC_OVERRIDE","CAP_FSETID","CAP_FOWNER","CAP_MKNOD","CAP_NET_RAW","CAP_SETGID","CAP_SETUID","CAP_SETFCAP","CAP_SETPCAP","CAP_NET_BIND_SERVICE","CAP_SYS_CHROOT","CAP_KILL","CAP_AUDIT_WRITE"]}
          cwd: "/"
          env: ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin","HOSTNAME=0123456789ab","HOME=/root"]
          oomScoreAdj: 0
          user: {"additionalGids":[0],"gid":0,"uid":0}
         }
         root: {"path":"/rootfs"}
        }"#]],
    );
}

#[test]
fn privileged() {
    let mut case = busybox();
    case.spec.host.privileged = true;
    case.devices.all = vec![Device {
        path: "/dev/kvm".into(),
        kind: "c".into(),
        major: 10,
        minor: 232,
        ..Device::default()
    }];
    let built = case.build().unwrap();
    assert_eq!(built.seccomp, None);
    let spec = built.spec;
    assert_eq!(spec.process.capabilities.bounding, host().capabilities);
    assert_eq!((spec.linux.masked_paths.len(), spec.linux.readonly_paths.len()), (0, 0));
    check(
        &(spec.linux.devices, spec.linux.resources, spec.mounts),
        expect![[r#"
        [
         [
          {"major":10,"minor":232,"path":"/dev/kvm","type":"c"}
         ]
         {
          devices: [
           {"access":"rwm","allow":true}
          ]
         }
         [
          {"destination":"/proc","options":["nosuid","noexec","nodev"],"source":"proc","type":"proc"}
          {"destination":"/dev","options":["nosuid","strictatime","mode=755","size=65536k"],"source":"tmpfs","type":"tmpfs"}
          {"destination":"/dev/pts","options":["nosuid","noexec","newinstance","ptmxmode=0666","mode=0620","gid=5"],"source":"devpts","type":"devpts"}
          {"destination":"/sys","options":["nosuid","noexec","nodev"],"source":"sysfs","type":"sysfs"}
          {"destination":"/sys/fs/cgroup","options":["nosuid","noexec","nodev"],"source":"cgroup","type":"cgroup"}
          {"destination":"/dev/mqueue","options":["nosuid","noexec","nodev"],"source":"mqueue","type":"mqueue"}
          {"destination":"/dev/shm","options":["nosuid","noexec","nodev","mode=1777","size=67108864"],"source":"shm","type":"tmpfs"}
         ]
        ]"#]],
    );
}

#[test]
fn all_limits() {
    use shoal_model::container::BlkioDevice;
    let mut case = busybox();
    let disk = |value| vec![BlkioDevice { path: "/dev/sda".into(), value }];
    case.devices.block.insert("/dev/sda".into(), (8, 0));
    let resources = &mut case.spec.host.resources;
    resources.cpu_shares = 512;
    resources.memory = 64 << 20;
    resources.memory_swap = 128 << 20;
    resources.memory_reservation = 32 << 20;
    resources.memory_swappiness = Some(10);
    resources.oom_kill_disable = Some(true);
    resources.kernel_memory_tcp = 1 << 20;
    resources.blkio_weight = 300;
    resources.blkio_weight_device = disk(200);
    resources.blkio_read_bps = disk(1);
    resources.blkio_write_bps = disk(2);
    resources.blkio_read_iops = disk(3);
    resources.blkio_write_iops = disk(4);
    resources.cpu_period = 50_000;
    resources.cpu_quota = 25_000;
    resources.cpu_rt_period = 1_000_000;
    resources.cpu_rt_runtime = 950_000;
    resources.cpuset_cpus = "0-1".into();
    resources.cpuset_mems = "0".into();
    resources.pids_limit = Some(100);
    resources.cgroup_parent = "../web/".into();
    resources.device_cgroup_rules = vec!["b 8:* r".into()];
    resources.devices = vec![DeviceWish {
        path_on_host: "/dev/fuse".into(),
        path_in_container: "/dev/fuse".into(),
        permissions: "rw".into(),
    }];
    case.devices.requested = vec![(
        Device {
            path: "/dev/fuse".into(),
            kind: "c".into(),
            major: 10,
            minor: 229,
            ..Device::default()
        },
        "rw".into(),
    )];
    case.spec.host.oom_score_adj = 500;
    let spec = case.spec();
    assert_eq!(spec.process.oom_score_adj, Some(500));
    assert_eq!(spec.linux.cgroups_path, format!("/web/{}", id()));
    check(
        &(spec.linux.resources, spec.linux.devices),
        expect![[r#"
        [
         {
          blockIO: {
           throttleReadBpsDevice: [
            {"major":8,"minor":0,"rate":1}
           ]
           throttleReadIOPSDevice: [
            {"major":8,"minor":0,"rate":3}
           ]
           throttleWriteBpsDevice: [
            {"major":8,"minor":0,"rate":2}
           ]
           throttleWriteIOPSDevice: [
            {"major":8,"minor":0,"rate":4}
           ]
           weight: 300
           weightDevice: [
            {"major":8,"minor":0,"weight":200}
           ]
          }
          cpu: {"cpus":"0-1","mems":"0","period":50000,"quota":25000,"realtimePeriod":1000000,"realtimeRuntime":950000,"shares":512}
          devices: [
           {"access":"rwm","allow":false}
           {"access":"rwm","allow":true,"major":1,"minor":5,"type":"c"}
           {"access":"rwm","allow":true,"major":1,"minor":3,"type":"c"}
           {"access":"rwm","allow":true,"major":1,"minor":9,"type":"c"}
           {"access":"rwm","allow":true,"major":1,"minor":8,"type":"c"}
           {"access":"rwm","allow":true,"major":5,"minor":0,"type":"c"}
           {"access":"rwm","allow":true,"major":5,"minor":1,"type":"c"}
           {"access":"rwm","allow":false,"major":10,"minor":229,"type":"c"}
           {"access":"rw","allow":true,"major":10,"minor":229,"type":"c"}
           {"access":"r","allow":true,"major":8,"minor":-1,"type":"b"}
          ]
          memory: {"disableOOMKiller":true,"kernelTCP":1048576,"limit":67108864,"reservation":33554432,"swap":134217728,"swappiness":10}
          pids: {"limit":100}
         }
         [
          {"major":10,"minor":229,"path":"/dev/fuse","type":"c"}
         ]
        ]"#]],
    );
}

#[test]
fn read_only_root() {
    let mut case = busybox();
    case.spec.host.readonly_rootfs = true;
    let tmpfs = Source::Tmpfs { options: "size=1m,exec".into() };
    case.mounts = vec![
        Resolved {
            writable: false,
            propagation: Some(Propagation::RSlave),
            ..Resolved::own_file("/srv".into(), "/data/deep")
        },
        Resolved { source: tmpfs, ..Resolved::own_file(PathBuf::new(), "/tmp") },
    ];
    let spec = case.spec();
    assert!(spec.root.readonly);
    assert_eq!(spec.linux.rootfs_propagation, "rslave");
    check(
        &spec.mounts,
        expect![[r#"
        [
         {"destination":"/proc","options":["nosuid","noexec","nodev"],"source":"proc","type":"proc"}
         {"destination":"/dev","options":["nosuid","strictatime","mode=755","size=65536k"],"source":"tmpfs","type":"tmpfs"}
         {"destination":"/dev/pts","options":["nosuid","noexec","newinstance","ptmxmode=0666","mode=0620","gid=5"],"source":"devpts","type":"devpts"}
         {"destination":"/sys","options":["nosuid","noexec","nodev","ro"],"source":"sysfs","type":"sysfs"}
         {"destination":"/sys/fs/cgroup","options":["ro","nosuid","noexec","nodev"],"source":"cgroup","type":"cgroup"}
         {"destination":"/dev/mqueue","options":["nosuid","noexec","nodev"],"source":"mqueue","type":"mqueue"}
         {"destination":"/dev/shm","options":["nosuid","noexec","nodev","mode=1777","size=67108864"],"source":"shm","type":"tmpfs"}
         {"destination":"/tmp","options":["nosuid","nodev","rprivate","size=1m","exec"],"source":"tmpfs","type":"tmpfs"}
         {"destination":"/data/deep","options":["rbind","rro","rslave"],"source":"/srv","type":"bind"}
        ]"#]],
    );
}

#[test]
fn namespace_modes() {
    let mut case = busybox();
    let names = |case: &Case| {
        let spec = case.spec();
        let named = spec.linux.namespaces.iter().map(|ns| match ns.path.as_str() {
            "" => ns.kind.clone(),
            path => format!("{}={path}", ns.kind),
        });
        let shm = spec.mounts.iter().find(|mount| mount.destination == "/dev/shm");
        let shm = shm.map_or("-", |mount| mount.source.as_str()).to_owned();
        format!("{} shm:{shm} {:?}", named.collect::<Vec<_>>().join(" "), spec.linux.sysctl.len())
    };
    assert_eq!(names(&case), "mount network=/run/shoal/netns/0123 uts pid ipc shm:shm 2");
    case.host.cgroup = CgroupVersion::V2;
    case.spec.domainname = "example.org".into();
    assert_eq!(names(&case), "mount network=/run/shoal/netns/0123 uts pid ipc cgroup shm:shm 3");
    case.spec.host.network_mode = NetworkMode::Host;
    case.spec.host.pid_mode = NamespaceMode::Host;
    case.spec.host.uts_mode = NamespaceMode::Host;
    case.spec.host.ipc_mode = IpcMode::Host;
    case.spec.host.cgroupns_mode = NamespaceMode::Host;
    assert_eq!(names(&case), "mount shm:/dev/shm 0");
    assert_eq!(case.spec().hostname, "");
    case.spec.host.ipc_mode = IpcMode::None;
    case.spec.host.pid_mode = NamespaceMode::Container("other".into());
    assert_eq!(case.error(), "pid namespace of container `other` was not looked up");
    case.namespaces.pid = Some("/proc/7/ns/pid".into());
    case.namespaces.ipc = Some("/proc/7/ns/ipc".into());
    assert_eq!(names(&case), "mount pid=/proc/7/ns/pid ipc shm:- 0");
    case.spec.host.ipc_mode = IpcMode::Container("other".into());
    assert_eq!(case.error(), "IPC namespace cannot be shared with container `other`");
    case.shared_memory = Some("/run/shoal/shm/7".into());
    assert_eq!(names(&case), "mount pid=/proc/7/ns/pid ipc=/proc/7/ns/ipc shm:/run/shoal/shm/7 0");
    case.spec.host.userns_mode = NamespaceMode::Private;
    assert_eq!(
        case.error(),
        "user namespaces are not available: the only user namespace mode is `host`"
    );
}

#[test]
fn arguments_environment_and_user() {
    let mut case = busybox();
    case.spec.tty = true;
    case.spec.host.init = Some(true);
    case.spec.host.console_size = Some((24, 80));
    case.spec.entrypoint = Some(words("/entry"));
    case.spec.env = words("A=1 PATH=/bin TERM HOSTNAME=x B A=2");
    case.spec.working_dir = "/srv".into();
    case.spec.host.security_opt =
        words("no-new-privileges seccomp=unconfined apparmor=x label=disable");
    case.user =
        Some(ResolvedUser { uid: 5, gid: 6, groups: vec![7, 6, 8], home: "/home/u".into() });
    let built = case.build().unwrap();
    assert!(built.init && built.seccomp.is_none());
    let process = Process { capabilities: Capabilities::default(), ..built.spec.process };
    check(
        &process,
        expect![[r#"
        {
         args: ["/sbin/docker-init","--","/entry","sh"]
         capabilities: {}
         consoleSize: {"height":24,"width":80}
         cwd: "/srv"
         env: ["PATH=/bin","HOSTNAME=x","A=2","HOME=/home/u"]
         noNewPrivileges: true
         oomScoreAdj: 0
         terminal: true
         user: {"additionalGids":[6,7,8],"gid":6,"uid":5}
        }"#]],
    );
    case.spec.host.pid_mode = NamespaceMode::Host;
    assert!(!case.build().unwrap().init);
}

#[test]
fn unlooked_up_users_get_no_home() {
    let mut case = busybox();
    case.user = None;
    assert_eq!(
        case.spec().process.env,
        [format!("PATH={DEFAULT_PATH}"), "HOSTNAME=0123456789ab".into()]
    );
}

#[test]
fn what_cannot_be_is_refused() {
    let refused = |change: fn(&mut ContainerSpec)| {
        let mut case = busybox();
        change(&mut case.spec);
        case.error()
    };
    assert_eq!(refused(|spec| spec.command = None), "no command specified");
    assert_eq!(refused(|spec| spec.host.cap_add = words("FLY")), "invalid capability: \"FLY\"");
    assert_eq!(
        refused(|spec| spec.host.oom_score_adj = 1001),
        "invalid value 1001, range for oom score adj is [-1000, 1000]"
    );
    assert_eq!(
        refused(|spec| {
            spec.host.network_mode = NetworkMode::Host;
            spec.host.sysctls.insert("net.ipv4.ip_forward".into(), "1".into());
        }),
        "sysctl \"net.ipv4.ip_forward\" is not in a separate kernel namespace of this container"
    );
    assert_eq!(
        refused(|spec| {
            let request = shoal_model::container::DeviceRequest {
                capabilities: vec![words("gpu")],
                ..shoal_model::container::DeviceRequest::default()
            };
            spec.host.resources.device_requests.push(request);
        }),
        "could not select device driver \"\" with capabilities: [[gpu]]"
    );
}

#[test]
fn scopes_and_hostnames_are_named_like_dockers() {
    let mut case = busybox();
    case.daemon.systemd_cgroups = true;
    case.daemon.cgroup_parent = "system.slice".into();
    assert_eq!(case.spec().linux.cgroups_path, format!("system.slice:shoal:{}", id()));
    assert_eq!(default_hostname(&id(), &NetworkMode::Bridge, "pc"), "0123456789ab");
    assert_eq!(default_hostname(&id(), &NetworkMode::Host, "pc"), "pc");
}

#[test]
fn creation_refuses_what_a_start_would() {
    let refused = |change: fn(&mut HostSpec)| {
        let mut case = busybox();
        change(&mut case.spec.host);
        let early = validate(&case.spec).unwrap_err().to_string();
        // A tmpfs reaches the builder as a mount, by way of the plan.
        if case.spec.host.tmpfs.is_empty() {
            assert_eq!(case.error(), early);
        }
        early
    };
    assert_eq!(validate(&busybox().spec).map_err(|error| error.to_string()), Ok(()));
    assert_eq!(refused(|host| host.cap_drop = words("FLY")), "invalid capability: \"FLY\"");
    refused(|host| host.security_opt = words("colour=red"));
    refused(|host| host.security_opt = words("seccomp={"));
    refused(|host| host.sysctls = [("vm.swappiness".to_owned(), "1".to_owned())].into());
    refused(|host| host.resources.device_cgroup_rules = words("x"));
    refused(|host| host.tmpfs = [("/t".to_owned(), "lowerdir=/".to_owned())].into());
    refused(|host| {
        host.resources.ulimits = vec![Ulimit { name: "air".into(), soft: 1, hard: 1 }];
    });
}
