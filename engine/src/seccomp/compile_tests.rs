//! Compiled programs, run by a small interpreter, against a direct reading of the profile.

use std::collections::HashMap;

use super::*;
use crate::runtime_spec::oci::{SeccompArg, SeccompRule};
use crate::seccomp::{Choice, Profile, table};

/// One system call as the filter sees it.
#[derive(Debug, Clone, Copy)]
struct Call {
    arch: Arch,
    number: u32,
    args: [u64; 6],
}

fn run(program: &[Instruction], call: &Call) -> u32 {
    let word = |offset: u32| match offset {
        data::NUMBER => call.number,
        data::ARCH => call.arch.audit(),
        _ => {
            let offset = usize::try_from(offset - data::ARGS).unwrap();
            let (low, high) = halves(call.args[offset / 8]);
            if offset % 8 == 0 { low } else { high }
        }
    };
    let (mut accumulator, mut place) = (0_u32, 0_usize);
    for _ in 0..=program.len() {
        let Instruction { code, jt, jf, k } = program[place];
        place += 1;
        let mut branch = |holds: bool| place += usize::from(if holds { jt } else { jf });
        match code {
            op::LOAD => accumulator = word(k),
            op::AND => accumulator &= k,
            op::JUMP => place += usize::try_from(k).unwrap(),
            op::JEQ => branch(accumulator == k),
            op::JGT => branch(accumulator > k),
            op::JGE => branch(accumulator >= k),
            op::RETURN => return k,
            other => panic!("unknown operation {other:#x}"),
        }
    }
    panic!("the program does not end");
}

/// The verdict read directly from the section, by names.
struct Reader<'a> {
    section: &'a Seccomp,
    names: HashMap<(Arch, u32), Vec<&'a str>>,
    newest: HashMap<Arch, u32>,
}

impl<'a> Reader<'a> {
    fn new(section: &'a Seccomp) -> Self {
        let mut names: HashMap<_, Vec<&str>> = HashMap::new();
        let mut newest = HashMap::new();
        for name in section.syscalls.iter().flat_map(|rule| &rule.names) {
            for arch in Arch::ALL {
                if let Some(number) = table::number(arch, name) {
                    names.entry((arch, number)).or_default().push(name);
                    let last = newest.entry(arch).or_insert(number);
                    *last = number.max(*last);
                }
            }
        }
        Self { section, names, newest }
    }

    fn verdict(&self, call: &Call) -> u32 {
        let arch = match call.arch {
            Arch::X86_64 if call.number >= X32_BIT => Arch::X32,
            arch => arch,
        };
        let action = |name: &str, errno: Option<u32>| match name {
            "SCMP_ACT_ALLOW" => 0x7fff_0000,
            "SCMP_ACT_ERRNO" => 0x5_0000 + errno.unwrap_or(1),
            "SCMP_ACT_LOG" => 0x7ffc_0000,
            "SCMP_ACT_TRAP" => 0x3_0000,
            "SCMP_ACT_KILL_PROCESS" => 0x8000_0000,
            other => panic!("{other}"),
        };
        let default = action(&self.section.default_action, self.section.default_errno_ret);
        if call.number > self.newest[&arch] && !matches!(default, 0x7fff_0000 | 0x7ffc_0000) {
            return 0x5_0000 + 38;
        }
        let Some(names) = self.names.get(&(arch, call.number)) else { return default };
        let rules = self.section.syscalls.iter().filter(|rule| {
            rule.names.iter().any(|name| names.contains(&name.as_str()))
                && action(&rule.action, rule.errno_ret) != default
        });
        let (open, conditional): (Vec<_>, Vec<_>) = rules.partition(|rule| rule.args.is_empty());
        let matching = conditional.into_iter().find(|rule| matches(rule, call));
        let chosen = open.first().copied().or(matching);
        chosen.map_or(default, |rule| action(&rule.action, rule.errno_ret))
    }
}

fn matches(rule: &SeccompRule, call: &Call) -> bool {
    let holds = |arg: &SeccompArg| {
        let given = call.args[usize::try_from(arg.index).unwrap()];
        match arg.op.as_str() {
            "SCMP_CMP_NE" => given != arg.value,
            "SCMP_CMP_LT" => given < arg.value,
            "SCMP_CMP_LE" => given <= arg.value,
            "SCMP_CMP_EQ" => given == arg.value,
            "SCMP_CMP_GE" => given >= arg.value,
            "SCMP_CMP_GT" => given > arg.value,
            "SCMP_CMP_MASKED_EQ" => given & arg.value == arg.value_two,
            other => panic!("{other}"),
        }
    };
    let indices: std::collections::BTreeSet<u32> = rule.args.iter().map(|arg| arg.index).collect();
    if indices.len() < rule.args.len() {
        rule.args.iter().any(holds)
    } else {
        rule.args.iter().all(holds)
    }
}

/// Compares program and reading; returns the number of instructions and of calls compared.
fn compare_all(section: &Seccomp, native: Arch, values: &[u64]) -> (usize, usize) {
    let program = compile(section, native).unwrap();
    let reader = Reader::new(section);
    let mut compared = 0;
    for arch in rules::arches(section, native).unwrap() {
        let first = if arch == Arch::X32 { X32_BIT } else { 0 };
        let last = [0xf_0001, 0xf_0005, 0x3fff_ffff, if first == 0 { 601 } else { 0xbfff_ffff }];
        for number in (0..=600).chain(last).map(|number| first + number) {
            for value in values {
                let mut args = [0; 6];
                for (shift, arg) in args.iter_mut().enumerate() {
                    *arg = value.rotate_left(u32::try_from(shift).unwrap());
                }
                let call = Call { arch, number, args };
                assert_eq!(run(&program, &call), reader.verdict(&call), "{call:x?}");
                compared += 1;
            }
        }
    }
    (program.len(), compared)
}

fn docker(arch: Arch, capabilities: &[&str]) -> Seccomp {
    let capabilities = capabilities.iter().map(|name| (*name).to_owned()).collect();
    Choice::new(Profile::builtin().clone(), arch, capabilities, (6, 1)).section().unwrap()
}

const VALUES: [u64; 22] = [
    0,
    1,
    2,
    8,
    11,
    12,
    13,
    16,
    20,
    38,
    40,
    45,
    46,
    0x1_0000_0001,
    0x2_0000,
    0x2_0008,
    0x0200_0000,
    0x7E02_0000,
    0xffff_ffff,
    0x1_0000_0000,
    0x11_8000,
    u64::MAX,
];

#[test]
fn dockers_profile_means_the_same_compiled() {
    let (instructions, compared) =
        compare_all(&docker(Arch::X86_64, &["CAP_SYS_CHROOT"]), Arch::X86_64, &VALUES);
    assert_eq!(compared, 3 * 605 * VALUES.len());
    assert!(instructions < 800, "{instructions} instructions");
    compare_all(&docker(Arch::X86_64, &["CAP_SYS_ADMIN", "CAP_BPF"]), Arch::X86_64, &VALUES);
    compare_all(&docker(Arch::Aarch64, &[]), Arch::Aarch64, &VALUES);
}

#[test]
fn what_dockers_profile_is_known_for() {
    let program = compile(&docker(Arch::X86_64, &[]), Arch::X86_64).unwrap();
    let verdict = |arch, name: &str, first| {
        let number = table::number(arch, name).unwrap();
        run(&program, &Call { arch, number, args: [first, 0, 0, 0, 0, 0] })
    };
    let x64 = Arch::X86_64;
    assert_eq!(verdict(x64, "read", 0), ret::ALLOW);
    assert_eq!(verdict(x64, "mount", 0), ret::ERRNO | 1);
    assert_eq!(verdict(x64, "clone", 0x11), ret::ALLOW);
    assert_eq!(verdict(x64, "clone", 0x1000_0000), ret::ERRNO | 1); // a user namespace
    assert_eq!(verdict(x64, "clone3", 0), ret::ERRNO | 38);
    assert_eq!(verdict(x64, "socket", 2), ret::ALLOW);
    assert_eq!(verdict(x64, "socket", 40), ret::ERRNO | 1); // vsock
    assert_eq!(verdict(x64, "socket", 38), ret::ERRNO | 1); // alg
    assert_eq!(verdict(x64, "personality", 0xffff_ffff), ret::ALLOW);
    assert_eq!(verdict(x64, "personality", 4), ret::ERRNO | 1);
    assert_eq!(verdict(x64, "io_uring_setup", 0), ret::ERRNO | 1);
    assert_eq!(verdict(x64, "file_setattr", 0), ret::ERRNO | 38); // newer than the profile
    assert_eq!(verdict(Arch::X86, "socketcall", 0), ret::ALLOW);
    assert_eq!(verdict(Arch::X32, "write", 0), ret::ALLOW);
    let arm = Call { arch: Arch::Arm, number: 3, args: [0; 6] };
    assert_eq!(run(&program, &arm), ret::KILL_PROCESS);
}

fn rule(names: &[&str], action: &str, args: &[(u32, &str, u64, u64)]) -> SeccompRule {
    SeccompRule {
        names: names.iter().map(|name| (*name).to_owned()).collect(),
        action: action.to_owned(),
        errno_ret: action.ends_with("ERRNO").then_some(13),
        args: args
            .iter()
            .map(|(index, op, value, value_two)| SeccompArg {
                index: *index,
                value: *value,
                value_two: *value_two,
                op: format!("SCMP_CMP_{op}"),
            })
            .collect(),
    }
}

#[test]
fn every_operator_compares_64_bits() {
    for (default, action) in
        [("SCMP_ACT_ERRNO", "SCMP_ACT_ALLOW"), ("SCMP_ACT_LOG", "SCMP_ACT_ERRNO")]
    {
        for operator in ["NE", "LT", "LE", "EQ", "GE", "GT"] {
            for value in [0, 1, 0xffff_ffff, 0x1_0000_0000, 0x5_0000_0007, u64::MAX] {
                let section = Seccomp {
                    default_action: default.to_owned(),
                    syscalls: vec![
                        rule(&["read"], action, &[(0, operator, value, 0)]),
                        rule(&["write"], action, &[(2, operator, value, 0), (5, "NE", 3, 0)]),
                        rule(&["close"], action, &[(1, operator, value, 0), (1, "EQ", 9, 0)]),
                    ],
                    ..Seccomp::default()
                };
                let near =
                    [value.wrapping_sub(1), value, value.wrapping_add(1), value ^ (1 << 32), 9, 3];
                compare_all(&section, Arch::X86_64, &near);
            }
        }
    }
}

#[test]
fn masks_alternatives_and_several_errors_keep_their_order() {
    let section = Seccomp {
        default_action: "SCMP_ACT_KILL_PROCESS".to_owned(),
        architectures: vec!["SCMP_ARCH_X86".to_owned(), "SCMP_ARCH_S390X".to_owned()],
        syscalls: vec![
            rule(
                &["ioctl"],
                "SCMP_ACT_ALLOW",
                &[(1, "MASKED_EQ", 0xff00_0000_00f0, 0x1200_0000_0030)],
            ),
            rule(&["ioctl", "read"], "SCMP_ACT_ERRNO", &[(0, "LE", 12, 0)]),
            rule(&["read"], "SCMP_ACT_TRAP", &[(0, "LE", 40, 0)]),
            rule(&["mount", "open"], "SCMP_ACT_ERRNO", &[]),
            rule(&["open"], "SCMP_ACT_ALLOW", &[(0, "EQ", 1, 0)]),
        ],
        ..Seccomp::default()
    };
    let values = [0, 1, 12, 13, 40, 41, 0x1200_0000_0030, 0x0900_0000_0018, 0x1300_0000_0030];
    compare_all(&section, Arch::X86_64, &values);
}

#[test]
fn a_foreign_x32_call_kills_unless_a_tracer_skipped_it() {
    let section = Seccomp {
        default_action: "SCMP_ACT_ERRNO".to_owned(),
        syscalls: vec![rule(&["read"], "SCMP_ACT_ALLOW", &[])],
        ..Seccomp::default()
    };
    let program = compile(&section, Arch::X86_64).unwrap();
    let verdict = |number| run(&program, &Call { arch: Arch::X86_64, number, args: [0; 6] });
    assert_eq!(verdict(X32_BIT), ret::KILL_THREAD);
    assert_eq!(verdict(u32::MAX), ret::ERRNO | 1);
    assert_eq!(verdict(1), ENOSYS_OF_NEWER);
}

const ENOSYS_OF_NEWER: u32 = rules::ENOSYS;

#[test]
fn too_large_a_program_is_refused() {
    let many = (0..1000).map(|value| rule(&["read"], "SCMP_ACT_ALLOW", &[(0, "NE", value, 0)]));
    let section = Seccomp {
        default_action: "SCMP_ACT_ERRNO".to_owned(),
        syscalls: many.collect(),
        ..Seccomp::default()
    };
    assert!(matches!(compile(&section, Arch::X86_64), Err(Error::TooLarge { .. })));
}
