//! Which capabilities a container gets. Pure.
//!
//! Source: moby `daemon/pkg/oci/caps/utils.go`, `defaults.go`; the numbers are the kernel's.

use super::Error;

/// All capabilities in the order of their numbers.
const ALL: [&str; 41] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
];

/// What a container has unless told otherwise, in docker's order.
const DEFAULT: [&str; 14] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FSETID",
    "CAP_FOWNER",
    "CAP_MKNOD",
    "CAP_NET_RAW",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETFCAP",
    "CAP_SETPCAP",
    "CAP_NET_BIND_SERVICE",
    "CAP_SYS_CHROOT",
    "CAP_KILL",
    "CAP_AUDIT_WRITE",
];

/// A change to the default set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    All,
    One(&'static str),
}

/// The names of the capabilities with numbers up to `last`, which the daemon itself holds in its
/// bounding set `bounding` (one bit each).
pub(super) fn usable(last: u32, bounding: u64) -> Vec<String> {
    let known = ALL.iter().enumerate().take(usize::try_from(last).unwrap_or(usize::MAX) + 1);
    known
        .filter(|(number, _)| bounding & (1_u64 << number) != 0)
        .map(|(_, name)| (*name).to_owned())
        .collect()
}

/// Applies `--cap-add` and `--cap-drop` to docker's default set.
///
/// `usable` is what `ALL` and privileged mean on this host.
///
/// # Errors
/// When a name is no capability.
pub fn decide(
    add: &[String],
    drop: &[String],
    privileged: bool,
    usable: &[String],
) -> Result<Vec<String>, Error> {
    let add = add.iter().map(|name| normalise(name)).collect::<Result<Vec<_>, _>>()?;
    let drop = drop.iter().map(|name| normalise(name)).collect::<Result<Vec<_>, _>>()?;
    if privileged {
        return Ok(usable.to_vec());
    }
    let dropped = |name: &str| drop.iter().any(|change| *change == Change::One(leak(name)));
    let added = add.iter().filter_map(|change| match change {
        Change::All => None,
        Change::One(name) => Some(*name),
    });
    let names: Vec<&str> = if add.contains(&Change::All) {
        usable.iter().map(String::as_str).filter(|name| !dropped(name)).collect()
    } else if drop.contains(&Change::All) {
        added.collect()
    } else {
        DEFAULT.into_iter().filter(|name| !dropped(name)).chain(added).collect()
    };
    let mut unique: Vec<String> = Vec::with_capacity(names.len());
    for name in names {
        if !unique.iter().any(|have| have == name) {
            unique.push(name.to_owned());
        }
    }
    Ok(unique)
}

/// The entry of [`ALL`] that equals `name`; the empty string when there is none.
fn leak(name: &str) -> &'static str {
    ALL.iter().find(|known| **known == name).copied().unwrap_or("")
}

fn normalise(name: &str) -> Result<Change, Error> {
    let upper = name.to_uppercase();
    if upper == "ALL" {
        return Ok(Change::All);
    }
    let full = if upper.starts_with("CAP_") { upper } else { format!("CAP_{upper}") };
    match leak(&full) {
        "" => Err(Error::UnknownCapability { name: name.to_owned() }),
        known => Ok(Change::One(known)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> Vec<String> {
        usable(40, u64::MAX)
    }

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[track_caller]
    fn check(add: &str, drop: &str, expected: &str) {
        let got = decide(&words(add), &words(drop), false, &all()).unwrap();
        assert_eq!(got, words(expected));
    }

    #[test]
    fn nothing_given_is_the_default() {
        check("", "", &DEFAULT.join(" "));
    }

    #[test]
    fn names_may_be_short_or_in_lower_case() {
        check("net_admin CAP_SYS_TIME", "all", "CAP_NET_ADMIN CAP_SYS_TIME");
    }

    #[test]
    fn adding_all_honours_what_is_dropped() {
        let got = decide(&words("ALL"), &words("chown"), false, &all()).unwrap();
        assert_eq!(got, all()[1..]);
    }

    #[test]
    fn adding_and_dropping_keep_the_order() {
        check(
            "SYS_PTRACE CHOWN",
            "MKNOD NET_RAW AUDIT_WRITE",
            "CAP_CHOWN CAP_DAC_OVERRIDE CAP_FSETID CAP_FOWNER CAP_SETGID CAP_SETUID CAP_SETFCAP \
             CAP_SETPCAP CAP_NET_BIND_SERVICE CAP_SYS_CHROOT CAP_KILL CAP_SYS_PTRACE",
        );
    }

    #[test]
    fn privileged_is_everything_usable() {
        assert_eq!(decide(&[], &[], true, &words("CAP_KILL")).unwrap(), words("CAP_KILL"));
        assert_eq!(usable(2, 0b101), words("CAP_CHOWN CAP_DAC_READ_SEARCH"));
    }

    #[test]
    fn unknown_names_are_refused() {
        let error = decide(&words("FLY"), &[], false, &all()).unwrap_err();
        assert_eq!(error.to_string(), "invalid capability: \"FLY\"");
    }
}
