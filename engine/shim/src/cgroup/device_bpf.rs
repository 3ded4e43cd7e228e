//! The device filter of cgroup v2: an eBPF program made by hand. `program` is pure, `attach` not.
//!
//! Source: kernel `include/uapi/linux/bpf.h` `struct bpf_cgroup_dev_ctx` (u32 access_type, major, minor;
//! access_type = access << 16 | device type).

use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

use shoal_shim_protocol::message::FailureKind;
use shoal_shim_protocol::spec::DeviceRule;

use crate::failure::{Context, Result, failure};

/// One eBPF instruction in the kernel's layout.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Instruction {
    code: u8,
    registers: u8,
    offset: i16,
    immediate: i32,
}

const fn ins(code: u8, dst: u8, src: u8, offset: i16, immediate: i32) -> Instruction {
    Instruction { code, registers: src << 4 | dst, offset, immediate }
}

const LOAD_WORD: u8 = 0x61; // BPF_LDX | BPF_MEM | BPF_W
const MOVE32: u8 = 0xbc; // BPF_ALU | BPF_MOV | BPF_X
const MOVE_IMMEDIATE: u8 = 0xb7; // BPF_ALU64 | BPF_MOV | BPF_K
const AND32: u8 = 0x54; // BPF_ALU | BPF_AND | BPF_K
const SHIFT_RIGHT32: u8 = 0x74; // BPF_ALU | BPF_RSH | BPF_K
const JUMP_UNEQUAL: u8 = 0x55; // BPF_JMP | BPF_JNE | BPF_K
const JUMP_UNEQUAL_REGISTER: u8 = 0x5d; // BPF_JMP | BPF_JNE | BPF_X
const EXIT: u8 = 0x95;

/// Makes the filter: rules are tried from the last to the first, and the first that fits decides, so
/// that later rules override earlier ones as in cgroup v1. Nothing fits: denied.
///
/// A rule with part of the accesses `rwm` fits a request whose accesses are all among its own when it
/// allows, and any request that shares one when it denies.
pub(crate) fn program(rules: &[DeviceRule]) -> Result<Vec<Instruction>> {
    let mut out = vec![
        ins(LOAD_WORD, 2, 1, 0, 0),
        ins(AND32, 2, 0, 0, 0xffff), // r2: type
        ins(LOAD_WORD, 3, 1, 0, 0),
        ins(SHIFT_RIGHT32, 3, 0, 0, 16), // r3: accesses
        ins(LOAD_WORD, 4, 1, 4, 0),      // r4: major
        ins(LOAD_WORD, 5, 1, 8, 0),      // r5: minor
    ];
    for rule in rules.iter().rev() {
        let block = rule_block(rule)?;
        let unconditional = block.len() == 2;
        out.extend(block);
        if unconditional {
            return Ok(out); // what follows is unreachable, which the verifier refuses
        }
    }
    out.extend([ins(MOVE_IMMEDIATE, 0, 0, 0, 0), ins(EXIT, 0, 0, 0, 0)]);
    Ok(out)
}

/// Conditions that jump behind the block, then the verdict.
fn rule_block(rule: &DeviceRule) -> Result<Vec<Instruction>> {
    let wrong = |what: &str| {
        let message = format!("linux.resources.devices: {what} of {rule:?} is not valid");
        failure(FailureKind::InvalidArgument, message)
    };
    let mut block = Vec::new();
    let mut conditions = Vec::new();
    match rule.kind.as_deref() {
        None | Some("a") => {}
        Some("b") => conditions.push((2, 1)),
        Some("c" | "u") => conditions.push((2, 2)),
        Some(_) => return Err(wrong("type")),
    }
    for (register, number) in [(4, rule.major), (5, rule.minor)] {
        if let Some(number) = number.filter(|number| *number >= 0) {
            conditions.push((register, i32::try_from(number).map_err(|_| wrong("number"))?));
        }
    }
    let accesses = access_mask(rule.access.as_deref()).ok_or_else(|| wrong("access"))?;
    if accesses != 0b111 {
        block.push(ins(MOVE32, 1, 3, 0, 0));
        block.push(ins(AND32, 1, 0, 0, accesses));
    }
    let partial = block.len();
    for (register, value) in conditions {
        block.push(ins(JUMP_UNEQUAL, register, 0, 0, value));
    }
    let verdict = ins(MOVE_IMMEDIATE, 0, 0, 0, i32::from(rule.allow));
    if partial > 0 && rule.allow {
        block.push(ins(JUMP_UNEQUAL_REGISTER, 1, 3, 0, 0));
    } else if partial > 0 {
        block.push(ins(0x15, 1, 0, 0, 0)); // jump if none is shared: BPF_JMP | BPF_JEQ | BPF_K
    }
    block.extend([verdict, ins(EXIT, 0, 0, 0, 0)]);
    let end = block.len();
    for (place, instruction) in block.iter_mut().enumerate() {
        if matches!(instruction.code, JUMP_UNEQUAL | JUMP_UNEQUAL_REGISTER | 0x15) {
            instruction.offset = i16::try_from(end - place - 1).expect("blocks are short");
        }
    }
    Ok(block)
}

fn access_mask(access: Option<&str>) -> Option<i32> {
    let bit = |letter| match letter {
        'm' => Some(1),
        'r' => Some(2),
        'w' => Some(4),
        _ => None,
    };
    access.unwrap_or("rwm").chars().try_fold(0, |mask, letter| Some(mask | bit(letter)?))
}

/// Loads the filter and attaches it to a cgroup directory.
pub(crate) fn attach(program: &[Instruction], directory: &OwnedFd) -> Result<()> {
    let failed = || "attach the device filter to the cgroup".to_owned();
    // union bpf_attr of BPF_PROG_LOAD (5): type CGROUP_DEVICE (15), count, instructions, licence.
    let mut load = [0u8; 120];
    load[0..4].copy_from_slice(&15u32.to_ne_bytes());
    let count = u32::try_from(program.len()).expect("programs are short");
    load[4..8].copy_from_slice(&count.to_ne_bytes());
    load[8..16].copy_from_slice(&(program.as_ptr() as u64).to_ne_bytes());
    load[16..24].copy_from_slice(&(c"Apache".as_ptr() as u64).to_ne_bytes());
    // SAFETY: the attributes have the kernel's layout, point at `count` instructions and a string,
    // and all live over the call.
    let loaded = unsafe { libc::syscall(libc::SYS_bpf, 5, load.as_ptr(), load.len()) };
    let loaded = i32::try_from(loaded).unwrap_or(-1);
    if loaded < 0 {
        return Err(std::io::Error::last_os_error()).doing(failed);
    }
    // SAFETY: the kernel just made it for us.
    let loaded = unsafe { OwnedFd::from_raw_fd(loaded) };
    // BPF_PROG_ATTACH (8): target, program, type BPF_CGROUP_DEVICE (6), flag ALLOW_MULTI (2).
    let attributes = [directory.as_raw_fd(), loaded.as_fd().as_raw_fd(), 6, 2];
    // SAFETY: the attributes have the kernel's layout and live over the call.
    let attached =
        unsafe { libc::syscall(libc::SYS_bpf, 8, attributes.as_ptr(), size_of_val(&attributes)) };
    if attached < 0 { Err(std::io::Error::last_os_error()).doing(failed) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(allow: bool, kind: &str, major: i64, minor: i64, access: &str) -> DeviceRule {
        let number = |number| (number >= 0).then_some(number);
        DeviceRule {
            allow,
            kind: Some(kind.to_owned()),
            major: number(major),
            minor: number(minor),
            access: Some(access.to_owned()),
        }
    }

    /// Runs the instructions this module emits.
    fn run(program: &[Instruction], kind: i32, accesses: i32, major: i32, minor: i32) -> i32 {
        let context = [accesses << 16 | kind, major, minor];
        let mut registers = [0i32; 11];
        let mut place = 0usize;
        loop {
            let instruction = program[place];
            let dst = usize::from(instruction.registers & 15);
            let src = usize::from(instruction.registers >> 4);
            let immediate = instruction.immediate;
            let mut jump = false;
            match instruction.code {
                LOAD_WORD => {
                    registers[dst] = context[usize::from(instruction.offset.cast_unsigned()) / 4]
                }
                AND32 => registers[dst] &= immediate,
                SHIFT_RIGHT32 => registers[dst] >>= immediate,
                MOVE32 => registers[dst] = registers[src],
                MOVE_IMMEDIATE => registers[dst] = immediate,
                JUMP_UNEQUAL => jump = registers[dst] != immediate,
                JUMP_UNEQUAL_REGISTER => jump = registers[dst] != registers[src],
                0x15 => jump = registers[dst] == immediate,
                EXIT => return registers[0],
                other => panic!("instruction {other:#x}"),
            }
            place += 1 + if jump { usize::from(instruction.offset.cast_unsigned()) } else { 0 };
        }
    }

    #[test]
    fn later_rules_override() {
        let rules = [
            rule(false, "a", -1, -1, "rwm"),
            rule(true, "c", -1, -1, "m"),
            rule(true, "c", 1, 3, "rwm"),
        ];
        let program = program(&rules).unwrap();
        let verdicts = [
            run(&program, 2, 0b110, 1, 3), // read and write /dev/null
            run(&program, 2, 0b001, 9, 9), // mknod of any character device
            run(&program, 2, 0b011, 9, 9), // mknod and read
            run(&program, 1, 0b001, 8, 0), // mknod of a block device
        ];
        assert_eq!(verdicts, [1, 1, 0, 0]);
    }

    #[test]
    fn nothing_after_a_rule_that_always_fits() {
        let program = program(&[rule(true, "c", 1, 3, "rwm"), rule(true, "a", -1, -1, "rwm")]);
        assert_eq!(program.unwrap().len(), 8);
    }
}
