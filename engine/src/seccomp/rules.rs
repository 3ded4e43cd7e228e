//! From names, words and rule lists to numbers and verdicts. Pure.
//!
//! What runc and libseccomp do where rules overlap: a rule without conditions beats those with
//! conditions; else the first that matches decides. Several conditions on one argument mean *or*, on
//! different ones *and*. A call newer than all that the profile names fails with ENOSYS, so that
//! programs fall back to older calls.
//!
//! Source: runc `libcontainer/seccomp/seccomp_linux.go matchCall`, `patchbpf/enosys_linux.go`.

use std::collections::BTreeMap;

use super::{Arch, Error, table};
use crate::runtime_spec::oci::{Seccomp, SeccompArg, SeccompRule};

/// The kernel's `SECCOMP_RET_*`.
pub(super) mod ret {
    pub(in super::super) const KILL_PROCESS: u32 = 0x8000_0000;
    pub(in super::super) const KILL_THREAD: u32 = 0;
    pub(in super::super) const TRAP: u32 = 0x0003_0000;
    pub(in super::super) const ERRNO: u32 = 0x0005_0000;
    pub(in super::super) const TRACE: u32 = 0x7ff0_0000;
    pub(in super::super) const LOG: u32 = 0x7ffc_0000;
    pub(in super::super) const ALLOW: u32 = 0x7fff_0000;
}

const EPERM: u32 = 1;
pub(super) const ENOSYS: u32 = ret::ERRNO | 38;

/// How a 64-bit argument is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Op {
    Ne,
    Lt,
    Le,
    Eq,
    Ge,
    Gt,
    /// Bits under the mask `value` equal `value_two`.
    Masked,
}

/// One condition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Condition {
    pub(super) index: u32,
    pub(super) op: Op,
    pub(super) value: u64,
    pub(super) value_two: u64,
}

/// What happens to one call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Always this.
    Fixed(u32),
    /// The first whose conditions all hold, else the default.
    Conditional(Vec<(Vec<Condition>, u32)>),
}

/// The verdicts of one instruction set, by number; what is missing gets the default.
pub(super) type Verdicts = BTreeMap<u32, Verdict>;

/// Checks everything that does not depend on conditions.
pub(super) fn check(section: &Seccomp) -> Result<(), Error> {
    default_action(section)?;
    arches(section, Arch::NATIVE)?;
    flags(section)?;
    section.syscalls.iter().try_for_each(|rule| alternatives(rule).map(|_| ()))
}

/// The verdict on calls that no rule names.
pub(super) fn default_action(section: &Seccomp) -> Result<u32, Error> {
    action(&section.default_action, section.default_errno_ret)
}

/// The verdict on calls newer than the profile.
pub(super) fn newer_action(section: &Seccomp) -> Result<u32, Error> {
    let default = default_action(section)?;
    Ok(if matches!(default, ret::ALLOW | ret::LOG) { default } else { ENOSYS })
}

/// The instruction sets of a section; the native one comes first and is always among them.
pub(super) fn arches(section: &Seccomp, native: Arch) -> Result<Vec<Arch>, Error> {
    /// Cannot run here; naming them is harmless.
    const FOREIGN: [&str; 19] = [
        "NATIVE",
        "MIPS",
        "MIPS64",
        "MIPS64N32",
        "MIPSEL",
        "MIPSEL64",
        "MIPSEL64N32",
        "PPC",
        "PPC64",
        "PPC64LE",
        "S390",
        "S390X",
        "PARISC",
        "PARISC64",
        "RISCV64",
        "LOONGARCH64",
        "M68K",
        "SH",
        "SHEB",
    ];
    let mut arches = vec![native];
    for name in &section.architectures {
        match Arch::parse(name) {
            Some(arch) if arches.contains(&arch) => {}
            Some(arch) => arches.push(arch),
            None if name.strip_prefix("SCMP_ARCH_").is_some_and(|name| FOREIGN.contains(&name)) => {
            }
            None => return Err(Error::UnknownArch { arch: name.clone() }),
        }
    }
    Ok(arches)
}

/// Flags of seccomp(2). Without any, runc lets the processor speculate.
pub(super) fn flags(section: &Seccomp) -> Result<u32, Error> {
    const SPEC_ALLOW: u32 = 4;
    let Some(flags) = &section.flags else { return Ok(SPEC_ALLOW) };
    flags.iter().try_fold(0, |bits, flag| match flag.as_str() {
        "SECCOMP_FILTER_FLAG_TSYNC" => Ok(bits), // the shim has one thread when it installs the filter
        "SECCOMP_FILTER_FLAG_LOG" => Ok(bits | 2),
        "SECCOMP_FILTER_FLAG_SPEC_ALLOW" => Ok(bits | SPEC_ALLOW),
        "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV" => Err(Error::Notify { action: flag.clone() }),
        _ => Err(Error::UnknownFlag { flag: flag.clone() }),
    })
}

/// The verdicts on the calls of `arch` that the section names. Names that `arch` has not are left out,
/// as docker does: profiles name calls of all architectures.
pub(super) fn verdicts(section: &Seccomp, arch: Arch) -> Result<Verdicts, Error> {
    let default = default_action(section)?;
    let mut verdicts = Verdicts::new();
    for rule in &section.syscalls {
        let alternatives = alternatives(rule)?;
        let names = rule.names.iter().filter_map(|name| table::number(arch, name));
        for number in names {
            let verdict = verdicts.entry(number).or_insert(Verdict::Conditional(Vec::new()));
            add(verdict, &alternatives, default);
        }
    }
    for verdict in verdicts.values_mut() {
        if matches!(verdict, Verdict::Conditional(rules) if rules.is_empty()) {
            *verdict = Verdict::Fixed(default);
        }
    }
    Ok(verdicts)
}

fn add(verdict: &mut Verdict, alternatives: &[(Vec<Condition>, u32)], default: u32) {
    for (conditions, action) in alternatives {
        match verdict {
            _ if *action == default => {} // runc skips such rules
            Verdict::Fixed(_) => {}
            Verdict::Conditional(_) if conditions.is_empty() => *verdict = Verdict::Fixed(*action),
            Verdict::Conditional(rules) => rules.push((conditions.clone(), *action)),
        }
    }
}

/// A rule as alternatives, each with conditions that must all hold.
fn alternatives(rule: &SeccompRule) -> Result<Vec<(Vec<Condition>, u32)>, Error> {
    let action = action(&rule.action, rule.errno_ret)?;
    let name = rule.names.first().map_or("", String::as_str);
    let conditions =
        rule.args.iter().map(|arg| condition(arg, name)).collect::<Result<Vec<_>, _>>()?;
    let repeated = conditions.iter().enumerate().any(|(place, condition)| {
        conditions[..place].iter().any(|other| other.index == condition.index)
    });
    Ok(if repeated {
        conditions.into_iter().map(|condition| (vec![condition], action)).collect()
    } else {
        vec![(conditions, action)]
    })
}

fn condition(arg: &SeccompArg, syscall: &str) -> Result<Condition, Error> {
    if arg.index > 5 {
        return Err(Error::ArgumentIndex { syscall: syscall.to_owned(), index: arg.index });
    }
    let op = match arg.op.as_str() {
        "SCMP_CMP_NE" => Op::Ne,
        "SCMP_CMP_LT" => Op::Lt,
        "SCMP_CMP_LE" => Op::Le,
        "SCMP_CMP_EQ" => Op::Eq,
        "SCMP_CMP_GE" => Op::Ge,
        "SCMP_CMP_GT" => Op::Gt,
        "SCMP_CMP_MASKED_EQ" => Op::Masked,
        _ => {
            return Err(Error::UnknownOperator { op: arg.op.clone(), syscall: syscall.to_owned() });
        }
    };
    Ok(Condition { index: arg.index, op, value: arg.value, value_two: arg.value_two })
}

fn action(name: &str, errno: Option<u32>) -> Result<u32, Error> {
    let number = errno.unwrap_or(EPERM);
    let limited = |base: u32| match number {
        0..=4095 => Ok(base | number),
        _ => Err(Error::Errno { number }),
    };
    match name {
        "SCMP_ACT_ALLOW" => Ok(ret::ALLOW),
        "SCMP_ACT_ERRNO" => limited(ret::ERRNO),
        "SCMP_ACT_KILL" | "SCMP_ACT_KILL_THREAD" => Ok(ret::KILL_THREAD),
        "SCMP_ACT_KILL_PROCESS" => Ok(ret::KILL_PROCESS),
        "SCMP_ACT_TRAP" => Ok(ret::TRAP),
        "SCMP_ACT_TRACE" => limited(ret::TRACE),
        "SCMP_ACT_LOG" => Ok(ret::LOG),
        "SCMP_ACT_NOTIFY" => Err(Error::Notify { action: name.to_owned() }),
        _ => Err(Error::UnknownAction { action: name.to_owned() }),
    }
}
