//! Capabilities: names → bit masks (pure), and giving them to a process (effects).

use shoal_shim_protocol::message::FailureKind;
use shoal_shim_protocol::spec::Capabilities;

use crate::failure::{Context, Result, failure};
use crate::sys;

/// In the kernel's order.
const NAMES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// Capability sets as masks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Masks {
    bounding: u64,
    effective: u64,
    inheritable: u64,
    permitted: u64,
    ambient: u64,
}

/// Parses the names.
pub(crate) fn masks(sets: Option<&Capabilities>) -> Result<Masks> {
    let Some(sets) = sets else { return Ok(Masks::default()) };
    let mask = |names: &[String]| {
        names.iter().try_fold(0, |mask, name| {
            let short = name.strip_prefix("CAP_").unwrap_or(name);
            let bit = NAMES.iter().position(|known| *known == short).ok_or_else(|| {
                failure(FailureKind::InvalidArgument, format!("unknown capability `{name}`"))
            })?;
            Ok(mask | 1u64 << bit)
        })
    };
    Ok(Masks {
        bounding: mask(&sets.bounding)?,
        effective: mask(&sets.effective)?,
        inheritable: mask(&sets.inheritable)?,
        permitted: mask(&sets.permitted)?,
        ambient: mask(&sets.ambient)?,
    })
}

/// What this process has at most; a request beyond it is cut, as by docker in a container.
fn own_permitted() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("CapPrm:"));
    line.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(u64::MAX)
}

/// Drops what is not in the bounding set; before the change of user.
pub(crate) fn drop_bounding(masks: Masks) -> Result<()> {
    for bit in 0..64u64 {
        if masks.bounding & 1 << bit != 0 {
            continue;
        }
        match sys::prctl(libc::PR_CAPBSET_DROP, bit, 0) {
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => break, // beyond the last
            result => result.doing(|| format!("drop capability {bit}"))?,
        }
    }
    Ok(())
}

/// Sets all the other sets; after the change of user with capabilities kept.
pub(crate) fn apply(masks: Masks) -> Result<()> {
    let own = own_permitted();
    sys::capset(masks.effective & own, masks.permitted & own, masks.inheritable & own)
        .doing(|| "set capabilities".to_owned())?;
    const AMBIENT_RAISE: u64 = 2;
    const AMBIENT_CLEAR: u64 = 4;
    let failed = || "set ambient capabilities".to_owned();
    sys::prctl(libc::PR_CAP_AMBIENT, AMBIENT_CLEAR, 0).doing(failed)?;
    for bit in (0..64u64).filter(|bit| masks.ambient & own & 1 << bit != 0) {
        sys::prctl(libc::PR_CAP_AMBIENT, AMBIENT_RAISE, bit).doing(failed)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_bits() {
        let sets = Capabilities {
            bounding: vec!["CAP_CHOWN".into(), "CAP_CHECKPOINT_RESTORE".into()],
            ..Default::default()
        };
        assert_eq!(masks(Some(&sets)).unwrap().bounding, 1 | 1 << 40);
        let wrong = Capabilities { ambient: vec!["CAP_FLY".into()], ..Default::default() };
        assert_eq!(masks(Some(&wrong)).unwrap_err().message, "unknown capability `CAP_FLY`");
    }
}
