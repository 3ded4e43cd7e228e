//! A cluster of three hosts with an overlay network, and what the tests ask of it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use shoal_chaos_tests::service_lab::ServiceLab;
use shoal_chaos_tests::traffic::{Place, Server};

/// Says its host name on port 80.
pub(crate) const SERVER: &str = "exec nc -ll -p 80 -e hostname";
/// Does nothing.
pub(crate) const IDLE: &str = "exec sleep 100000";

pub(crate) struct Cluster {
    pub(crate) lab: ServiceLab,
}

impl std::ops::Deref for Cluster {
    type Target = ServiceLab;

    fn deref(&self) -> &ServiceLab {
        &self.lab
    }
}

impl Cluster {
    /// Three hosts, the first `managers` of them managers; network `net` has both families.
    pub(crate) fn up(name: &str, managers: u8) -> Self {
        let lab = ServiceLab::up(name, 3, managers, &[]).unwrap();
        lab.docker(&["network", "create", "-d", "overlay", "--ipv6", "net"]).unwrap();
        Self { lab }
    }

    /// A service of one task on a host, with its own name as host name.
    pub(crate) fn put(&self, name: &str, host: u8, flags: &[&str], script: &str) {
        let node = self.lab.run(host, &["info", "-f", "{{.Swarm.NodeID}}"]).unwrap();
        let place = format!("node.id=={node}");
        let mut all = vec!["--network", "net", "--hostname", name, "--constraint", &place];
        all.extend(flags);
        self.lab.create(name, &all, &["sh", "-c", script]).unwrap();
    }

    /// A service of several tasks.
    pub(crate) fn spread(&self, name: &str, replicas: &str) {
        let flags = ["--network", "net", "--replicas", replicas];
        self.lab.create(name, &flags, &["sh", "-c", IDLE]).unwrap();
    }

    /// Output of a script in the only container of a service on a host; empty when it fails.
    pub(crate) fn say(&self, host: u8, service: &str, script: &str) -> String {
        let said = self.lab.exec(host, service, &["sh", "-c", script]);
        said.unwrap_or_default().trim().to_owned()
    }

    /// Waits until a script in a container says something.
    #[track_caller]
    pub(crate) fn until_says(&self, host: u8, service: &str, script: &str, wanted: &str) {
        let mut last = String::new();
        let came = self.lab.until(wanted, || {
            last = self.say(host, service, script);
            Ok(last == wanted)
        });
        assert!(came.is_ok(), "`{script}` says `{last}`, not `{wanted}`\n{}", self.lab.log(host));
    }

    /// What `docker` on a host says when it must fail.
    #[track_caller]
    pub(crate) fn docker_on(&self, host: u8, arguments: &[&str]) -> String {
        let output = self.lab.lab.docker(host).args(arguments).output().unwrap();
        assert!(!output.status.success(), "docker {arguments:?} did not fail");
        String::from_utf8_lossy(&output.stderr).into_owned()
    }

    /// Waits until a name leads a client to a server.
    #[track_caller]
    pub(crate) fn until_leads(&self, host: u8, client: &str, name: &str, server: &str) {
        self.until_says(host, client, &format!("nc -w 2 {name} 80 </dev/null"), server);
    }

    /// Waits until a name is not known any more.
    #[track_caller]
    pub(crate) fn until_unknown(&self, host: u8, client: &str, name: &str) {
        let ask = format!("nslookup {name} 127.0.0.11 >/dev/null 2>&1 || echo none");
        self.until_says(host, client, &ask, "none");
    }

    fn inspected(&self, host: u8, container: &str, format: &str) -> String {
        self.lab.run(host, &["inspect", "-f", format, container]).unwrap()
    }

    /// The network namespace of a container.
    pub(crate) fn place_of(&self, host: u8, container: &str) -> Place {
        Place::of(self.inspected(host, container, "{{.State.Pid}}").parse().unwrap()).unwrap()
    }

    /// The network namespace of a service's only container.
    pub(crate) fn place(&self, host: u8, service: &str) -> Place {
        self.place_of(host, &self.lab.containers(host, service).unwrap()[0])
    }

    /// Addresses of a container on network `net`: IPv4, IPv6.
    pub(crate) fn addresses_of(&self, host: u8, container: &str) -> [IpAddr; 2] {
        let format =
            "{{with .NetworkSettings.Networks.net}}{{.IPAddress}} {{.GlobalIPv6Address}}{{end}}";
        let text = self.inspected(host, container, format);
        let (ipv4, ipv6) = text.split_once(' ').unwrap();
        [ipv4.parse().unwrap(), ipv6.parse().unwrap()]
    }

    /// Addresses of a service's only container on network `net`.
    pub(crate) fn addresses(&self, host: u8, service: &str) -> [IpAddr; 2] {
        self.addresses_of(host, &self.lab.containers(host, service).unwrap()[0])
    }

    /// Virtual addresses of a service on network `net`: IPv4, IPv6.
    pub(crate) fn vips(&self, service: &str) -> [IpAddr; 2] {
        let format = "{{range .Endpoint.VirtualIPs}}{{.Addr}} {{end}}";
        let text = self.lab.docker(&["service", "inspect", "-f", format, service]).unwrap();
        let all = text.split_whitespace().map(|one| one.split('/').next().unwrap());
        let all: Vec<IpAddr> = all.map(|one| one.parse().unwrap()).collect();
        let of = |ipv4: bool| *all.iter().find(|one| one.is_ipv4() == ipv4).unwrap();
        [of(true), of(false)]
    }

    /// A server beside each container of a service, named by the container; with the host.
    pub(crate) fn serve(&self, service: &str) -> BTreeMap<String, (u8, Server)> {
        let mut servers = BTreeMap::new();
        for host in self.lab.numbers() {
            for container in self.lab.containers(host, service).unwrap() {
                let server = Server::start(&self.place_of(host, &container), &container).unwrap();
                servers.insert(container, (host, server));
            }
        }
        servers
    }

    /// Removes all and sees that nothing of the network is left on any host.
    pub(crate) fn remove(&self, services: &[&str]) {
        self.lab.remove(services).unwrap();
        self.remove_network();
    }

    /// Removes network `net` and sees that nothing is left.
    pub(crate) fn remove_network(&self) {
        let removed = || Ok(self.lab.docker(&["network", "rm", "net"]).is_ok());
        self.lab.until("the network's removal", removed).unwrap();
        for host in self.lab.numbers() {
            let mut left = Vec::new();
            let gone = self.lab.until_within("nothing left", Duration::from_secs(15), || {
                left = self.leftovers(host);
                Ok(left.is_empty())
            });
            assert!(gone.is_ok(), "host {host}: {left:?}");
        }
    }

    /// Namespaces, views and links of containers and networks; those of the routing mesh are there for good.
    fn leftovers(&self, host: u8) -> Vec<String> {
        let mut found = Vec::new();
        let run = self.lab.path(host).join("run");
        for kind in ["overlays", "netns"] {
            let Ok(entries) = std::fs::read_dir(run.join(kind)) else { continue };
            found.extend(entries.flatten().map(|entry| entry.path().display().to_string()));
        }
        for kind in ["vxlan", "veth"] {
            let mut show = self.lab.inside(host);
            let shown = show.args(["ip", "-o", "link", "show", "type", kind]).output().unwrap();
            let text = String::from_utf8(shown.stdout).unwrap();
            let own = text.lines().filter(|line| !line.contains("eth0@") && !line.contains("ing"));
            found.extend(own.map(str::to_owned));
        }
        found
    }
}
