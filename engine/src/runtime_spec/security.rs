//! Security options, sysctls, masked paths. Pure.
//!
//! Source: moby `daemon/daemon_unix.go parseSecurityOpt`, runc `libcontainer/configs/validate`.

use std::collections::BTreeMap;

use shoal_model::boolean;

use super::Error;

/// What `--security-opt` says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Security {
    /// `no-new-privileges`; `None`: the daemon's default.
    pub no_new_privileges: Option<bool>,
    /// Which filter.
    pub seccomp: SeccompChoice,
    /// `apparmor=…`, used where the host has AppArmor.
    pub apparmor: Option<String>,
    /// `label=…`. Docker ignores them without SELinux, and so do we.
    pub labels: Vec<String>,
    /// `systempaths=unconfined`. Docker's client turns it into empty path lists.
    pub system_paths_unconfined: bool,
    /// `writable-cgroups`.
    pub writable_cgroups: bool,
}

/// Which seccomp filter a container gets.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum SeccompChoice {
    /// Not said: the daemon's, and none for privileged containers.
    #[default]
    Default,
    /// None.
    Unconfined,
    /// Docker's profile, whatever the daemon's is.
    Builtin,
    /// A profile in JSON.
    Profile(String),
}

/// Parses the options of a container.
///
/// # Errors
/// When one is malformed or unknown.
pub fn parse(options: &[String]) -> Result<Security, Error> {
    let mut security = Security::default();
    for option in options {
        match option.as_str() {
            "no-new-privileges" => security.no_new_privileges = Some(true),
            "writable-cgroups" => security.writable_cgroups = true,
            "disable" => security.labels.push("disable".to_owned()),
            _ => parse_pair(option, &mut security)?,
        }
    }
    Ok(security)
}

fn parse_pair(option: &str, security: &mut Security) -> Result<(), Error> {
    let malformed = || Error::SecurityOption { option: option.to_owned() };
    // The colon is the form of old clients; values may hold both characters.
    let pair = option.split_once('=').or_else(|| option.split_once(':'));
    let (key, value) = pair.ok_or_else(malformed)?;
    match key {
        "label" => security.labels.push(value.to_owned()),
        "apparmor" => security.apparmor = Some(value.to_owned()),
        "seccomp" => {
            security.seccomp = match value {
                "unconfined" => SeccompChoice::Unconfined,
                "builtin" => SeccompChoice::Builtin,
                profile => SeccompChoice::Profile(profile.to_owned()),
            }
        }
        "no-new-privileges" => {
            security.no_new_privileges = Some(boolean::parse(value).ok_or_else(malformed)?);
        }
        "writable-cgroups" => {
            security.writable_cgroups = boolean::parse(value).ok_or_else(malformed)?;
        }
        "systempaths" if value == "unconfined" => security.system_paths_unconfined = true,
        _ => return Err(malformed()),
    }
    Ok(())
}

/// Which namespaces a container does not share with the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct OwnNamespaces {
    pub(super) network: bool,
    pub(super) ipc: bool,
    pub(super) uts: bool,
}

/// Refuses parameters that would change the host.
pub(super) fn check_sysctls(
    sysctls: &BTreeMap<String, String>,
    own: OwnNamespaces,
) -> Result<(), Error> {
    const IPC: [&str; 8] = [
        "kernel.msgmax",
        "kernel.msgmnb",
        "kernel.msgmni",
        "kernel.sem",
        "kernel.shmall",
        "kernel.shmmax",
        "kernel.shmmni",
        "kernel.shm_rmid_forced",
    ];
    for name in sysctls.keys() {
        // `net/ipv4/x` and `net.ipv4.x` are the same parameter; interface names may hold dots.
        let dotted = match (name.find('/'), name.find('.')) {
            (Some(slash), dot) if dot.is_none_or(|dot| slash < dot) => name.replace('/', "."),
            _ => name.clone(),
        };
        let allowed = if IPC.contains(&dotted.as_str()) || dotted.starts_with("fs.mqueue.") {
            own.ipc
        } else if dotted.starts_with("net.") {
            own.network
        } else {
            dotted == "kernel.domainname" && own.uts
        };
        if !allowed {
            return Err(Error::Sysctl { name: name.clone() });
        }
    }
    Ok(())
}

/// Paths hidden in every container.
pub fn masked_paths(thermal: &[String]) -> Vec<String> {
    const PATHS: [&str; 12] = [
        "/proc/acpi",
        "/proc/asound",
        "/proc/interrupts",
        "/proc/kcore",
        "/proc/keys",
        "/proc/latency_stats",
        "/proc/sched_debug",
        "/proc/scsi",
        "/proc/timer_list",
        "/proc/timer_stats",
        "/sys/devices/virtual/powercap",
        "/sys/firmware",
    ];
    PATHS.iter().map(|path| (*path).to_owned()).chain(thermal.iter().cloned()).collect()
}

/// Paths read-only in every container.
pub fn readonly_paths() -> Vec<String> {
    ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]
        .map(str::to_owned)
        .to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(options: &[&str]) -> Result<Security, Error> {
        parse(&options.iter().map(|option| (*option).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn options_are_understood() {
        let profile = r#"{"defaultAction":"SCMP_ACT_ALLOW","a":"b=c"}"#;
        assert_eq!(
            parsed(&[
                "no-new-privileges:false",
                "apparmor=mine",
                "label:disable",
                &format!("seccomp={profile}"),
                "writable-cgroups=true",
                "systempaths=unconfined",
            ])
            .unwrap(),
            Security {
                no_new_privileges: Some(false),
                seccomp: SeccompChoice::Profile(profile.to_owned()),
                apparmor: Some("mine".into()),
                labels: vec!["disable".into()],
                system_paths_unconfined: true,
                writable_cgroups: true,
            }
        );
        assert_eq!(parsed(&["no-new-privileges"]).unwrap().no_new_privileges, Some(true));
        assert_eq!(parsed(&["seccomp=unconfined"]).unwrap().seccomp, SeccompChoice::Unconfined);
        assert_eq!(parsed(&["seccomp:builtin"]).unwrap().seccomp, SeccompChoice::Builtin);
    }

    #[test]
    fn nonsense_is_refused() {
        for bad in ["x", "no-new-privileges=maybe", "colour=red", "systempaths=x"] {
            let error = parsed(&[bad]).unwrap_err();
            assert_eq!(error.to_string(), format!("invalid --security-opt: {bad:?}"));
        }
    }

    #[test]
    fn parameters_need_a_namespace_of_the_containers_own() {
        let check = |name: &str, own| {
            check_sysctls(&[(name.to_owned(), "1".to_owned())].into(), own).is_ok()
        };
        let all = OwnNamespaces { network: true, ipc: true, uts: true };
        let none = OwnNamespaces { network: false, ipc: false, uts: false };
        for name in [
            "net.ipv4.ip_forward",
            "net/ipv4/conf/eth0.1/rp_filter",
            "kernel.msgmax",
            "fs.mqueue.x",
            "kernel.domainname",
        ] {
            assert!(check(name, all), "{name}");
            assert!(!check(name, none), "{name}");
        }
        assert!(!check("kernel.panic", all));
        assert!(!check("vm.swappiness", all));
    }
}
