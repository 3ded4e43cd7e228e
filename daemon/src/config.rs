//! Options of the command line and of the configuration file, merged and completed.
//!
//! A value given in both is an error, as with dockerd: the user must know which one rules.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use crate::options::{Options, RuntimeEntry};

const CONFIG_FILE: &str = "/etc/shoal/daemon.json";
const DATA_ROOT: &str = "/var/lib/shoal";
const EXEC_ROOT: &str = "/run/shoal";
const DOCKER_SOCKET: &str = "/run/docker.sock";

/// Everything the daemon needs to know before it starts.
#[derive(Debug)]
pub(crate) struct Config {
    /// The merged options.
    pub(crate) options: Options,
    /// Data root.
    pub(crate) data_root: PathBuf,
    /// Exec root.
    pub(crate) exec_root: PathBuf,
    /// Runtimes by name, flags and file together.
    pub(crate) runtimes: BTreeMap<String, RuntimeEntry>,
    /// Options of the default log driver.
    pub(crate) log_opts: BTreeMap<String, String>,
    /// Address pools: base and prefix length.
    pub(crate) pools: Vec<(String, u8)>,
    /// Addresses to serve.
    pub(crate) hosts: Vec<Host>,
}

/// An address the API is served on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Host {
    /// A socket; `optional`: only when nothing serves it.
    Unix { path: PathBuf, optional: bool },
    /// `address:port`.
    Tcp(String),
}

/// Reads the configuration file and merges it with the flags.
pub(crate) fn load(flags: Options) -> anyhow::Result<Config> {
    let path = flags.config_file.clone().unwrap_or_else(|| CONFIG_FILE.into());
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => Some(text),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => {
            return Err(error).with_context(|| format!("cannot read `{}`", path.display()));
        }
    };
    let file = text.map_or_else(|| Ok(Options::default()), |text| parse(&path, &text))?;
    complete(merge(flags, file)?)
}

fn parse(path: &Path, text: &str) -> anyhow::Result<Options> {
    serde_json::from_str(&without_comments(text))
        .with_context(|| format!("invalid configuration file `{}`", path.display()))
}

/// Empties lines that begin with `//`, so that errors name the lines of the file.
fn without_comments(text: &str) -> String {
    let kept = |line: &str| if line.trim_start().starts_with("//") { "" } else { line }.to_owned();
    text.lines().map(|line| kept(line) + "\n").collect()
}

/// Takes each value from where it is given.
fn merge(flags: Options, file: Options) -> anyhow::Result<Options> {
    let mut twice = Vec::new();
    let mut merged = flags;
    macro_rules! optional {
        ($($field:ident),*) => {$(
            match (&merged.$field, file.$field) {
                (Some(_), Some(_)) => twice.push(stringify!($field)),
                (None, value @ Some(_)) => merged.$field = value,
                (_, None) => {}
            }
        )*};
    }
    macro_rules! list {
        ($($field:ident),*) => {$(
            if merged.$field.is_empty() {
                merged.$field = file.$field;
            } else if !file.$field.is_empty() {
                twice.push(stringify!($field));
            }
        )*};
    }
    optional!(
        group,
        data_root,
        exec_root,
        pidfile,
        log_level,
        cgroup_parent,
        default_runtime,
        shim,
        log_driver,
        certs_dir,
        max_concurrent_downloads,
        max_concurrent_uploads,
        bip,
        bridge,
        mtu,
        mesh_mark_shift,
        default_shm_size,
        tlscacert,
        tlscert,
        tlskey
    );
    list!(
        hosts,
        labels,
        node_generic_resources,
        registry_mirrors,
        insecure_registries,
        dns,
        dns_opts,
        dns_search
    );
    merged.debug |= file.debug;
    merged.init |= file.init;
    merged.tls |= file.tls;
    merged.tlsverify |= file.tlsverify;
    merged.live_restore |= file.live_restore;
    merged.runtimes = file.runtimes;
    merged.log_opts = file.log_opts;
    merged.default_address_pools = file.default_address_pools;
    if !twice.is_empty() {
        let names = twice.join(", ").replace('_', "-");
        bail!("given both as a flag and in the configuration file: {names}; remove one of them");
    }
    Ok(merged)
}

fn complete(options: Options) -> anyhow::Result<Config> {
    let exec_root = options.exec_root.clone().unwrap_or_else(|| EXEC_ROOT.into());
    let mut runtimes = options.runtimes.clone();
    for text in &options.add_runtimes {
        let (name, path) = text
            .split_once('=')
            .with_context(|| format!("--add-runtime `{text}`: write NAME=PATH"))?;
        runtimes
            .insert(name.to_owned(), RuntimeEntry { path: path.into(), runtime_args: Vec::new() });
    }
    let mut log_opts = options.log_opts.clone();
    for text in &options.log_opt {
        let (key, value) =
            text.split_once('=').with_context(|| format!("--log-opt `{text}`: write KEY=VALUE"))?;
        log_opts.insert(key.to_owned(), value.to_owned());
    }
    let mut pools: Vec<(String, u8)> =
        options.default_address_pools.iter().map(|pool| (pool.base.clone(), pool.size)).collect();
    for text in &options.default_address_pool {
        pools.push(
            pool(text).with_context(|| {
                format!("--default-address-pool `{text}`: write base=CIDR,size=N")
            })?,
        );
    }
    let hosts = hosts(&options.hosts, &exec_root)?;
    let data_root = options.data_root.clone().unwrap_or_else(|| DATA_ROOT.into());
    Ok(Config { options, data_root, exec_root, runtimes, log_opts, pools, hosts })
}

fn pool(text: &str) -> Option<(String, u8)> {
    let fields: BTreeMap<&str, &str> =
        text.split(',').filter_map(|field| field.split_once('=')).collect();
    Some(((*fields.get("base")?).to_owned(), fields.get("size")?.parse().ok()?))
}

/// Without any: our own socket, and docker's where nothing serves it.
fn hosts(given: &[String], exec_root: &Path) -> anyhow::Result<Vec<Host>> {
    if given.is_empty() {
        return Ok(vec![
            Host::Unix { path: exec_root.join("shoal.sock"), optional: false },
            Host::Unix { path: DOCKER_SOCKET.into(), optional: true },
        ]);
    }
    given
        .iter()
        .map(|url| match url.split_once("://") {
            Some(("unix", path)) if path.starts_with('/') => {
                Ok(Host::Unix { path: path.into(), optional: false })
            }
            Some(("tcp", address)) => Ok(Host::Tcp(address.trim_end_matches('/').to_owned())),
            _ => bail!("cannot serve `{url}`: write unix:///PATH or tcp://ADDRESS:PORT"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    fn flags(words: &[&str]) -> Options {
        Options::try_parse_from([&["shoald"], words].concat()).unwrap()
    }

    #[test]
    fn file_and_flags_complete_each_other() {
        let file = parse(
            Path::new("f"),
            r#"{"mtu": 1400, "runtimes": {"crun": {"path": "/usr/bin/crun"}}}"#,
        )
        .unwrap();
        let merged =
            merge(flags(&["--bip", "10.1.0.1/16", "--add-runtime", "runc=/usr/bin/runc"]), file)
                .unwrap();
        let config = complete(merged).unwrap();
        assert_eq!(config.options.mtu, Some(1400));
        assert_eq!(config.options.bip.as_deref(), Some("10.1.0.1/16"));
        assert_eq!(config.runtimes.keys().collect::<Vec<_>>(), ["crun", "runc"]);
    }

    #[test]
    fn the_file_that_is_shipped_is_good_with_its_comments() {
        let text = include_str!("../../deploy/daemon.json");
        let file = parse(Path::new("daemon.json"), text).unwrap();
        let config = complete(merge(flags(&[]), file).unwrap()).unwrap();
        assert_eq!(config.hosts.len(), 2);
        assert_eq!(config.log_opts["max-file"], "3");
    }

    #[test]
    fn a_value_given_twice_is_refused_by_name() {
        let file = parse(Path::new("f"), r#"{"data-root": "/a", "hosts": ["unix:///x"]}"#).unwrap();
        let error = merge(flags(&["--data-root", "/b", "-H", "unix:///y"]), file).unwrap_err();
        assert_eq!(
            error.to_string(),
            "given both as a flag and in the configuration file: data-root, hosts; remove one of them"
        );
    }

    #[test]
    fn an_unknown_key_is_named() {
        let error = parse(Path::new("f"), r#"{"data-rooot": "/a"}"#).unwrap_err();
        assert!(format!("{error:#}").contains("unknown field `data-rooot`"), "{error:#}");
    }

    #[test]
    fn pools_and_hosts_are_read() {
        let config = complete(flags(&[
            "--default-address-pool",
            "base=10.9.0.0/16,size=24",
            "-H",
            "tcp://127.0.0.1:1",
        ]))
        .unwrap();
        assert_eq!(config.pools, [("10.9.0.0/16".to_owned(), 24)]);
        assert_eq!(config.hosts, [Host::Tcp("127.0.0.1:1".to_owned())]);
        assert!(complete(flags(&["-H", "http://x"])).is_err());
    }
}
