//! The compiler: verdicts to classic BPF. Pure.
//!
//! The numbers of calls are cut into ranges of equal verdict; a balanced tree of comparisons finds the
//! range. A call costs about seven comparisons, and the program is a third of libseccomp's.
//!
//! Source: kernel `Documentation/userspace-api/seccomp_filter.rst`, `include/uapi/linux/filter.h`.

use super::rules::{self, Condition, Op, Verdict, Verdicts, ret};
use super::table::X32_BIT;
use super::{Arch, Error};
use crate::runtime_spec::oci::Seccomp;

/// The kernel's limit on a program.
const INSTRUCTIONS_MAX: usize = 4096;

/// The kernel's `struct sock_filter`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Instruction {
    /// Operation.
    pub code: u16,
    /// Instructions to skip when the comparison holds.
    pub jt: u8,
    /// Instructions to skip when it does not.
    pub jf: u8,
    /// Operand.
    pub k: u32,
}

impl Instruction {
    /// As the kernel reads it, in native byte order.
    pub fn to_bytes(self) -> [u8; 8] {
        let code = self.code.to_ne_bytes();
        let k = self.k.to_ne_bytes();
        [code[0], code[1], self.jt, self.jf, k[0], k[1], k[2], k[3]]
    }
}

pub(super) mod op {
    pub(in super::super) const LOAD: u16 = 0x20; // BPF_LD | BPF_W | BPF_ABS
    pub(in super::super) const AND: u16 = 0x54; // BPF_ALU | BPF_AND | BPF_K
    pub(in super::super) const JUMP: u16 = 0x05; // BPF_JMP | BPF_JA
    pub(in super::super) const JEQ: u16 = 0x15;
    pub(in super::super) const JGT: u16 = 0x25;
    pub(in super::super) const JGE: u16 = 0x35;
    pub(in super::super) const RETURN: u16 = 0x06; // BPF_RET | BPF_K
}

/// Offsets in `struct seccomp_data`.
pub(super) mod data {
    pub(in super::super) const NUMBER: u32 = 0;
    pub(in super::super) const ARCH: u32 = 4;
    pub(in super::super) const ARGS: u32 = 16;
}

/// Compiles a section for processes of a host with `native` instructions.
///
/// # Errors
/// When the section is malformed or the program would be larger than the kernel takes.
pub fn compile(section: &Seccomp, native: Arch) -> Result<Vec<Instruction>, Error> {
    let default = rules::default_action(section)?;
    let newer = rules::newer_action(section)?;
    let arches = rules::arches(section, native)?;
    let mut program = vec![load(data::ARCH)];
    let mut done: Vec<u32> = Vec::new();
    for arch in &arches {
        if done.contains(&arch.audit()) {
            continue;
        }
        done.push(arch.audit());
        let mut group: Vec<(u32, Leaf)> = Vec::new();
        // x32 is x86-64 to the kernel, with a bit in the number.
        for arch in arches.iter().filter(|other| other.audit() == arch.audit()) {
            let first = if *arch == Arch::X32 { X32_BIT } else { 0 };
            group.extend(ranges(&rules::verdicts(section, *arch)?, first, default, newer));
        }
        if *arch == Arch::X86_64 && !arches.contains(&Arch::X32) {
            group.push((X32_BIT, Leaf::Return(ret::KILL_THREAD)));
            group.push((u32::MAX, Leaf::Return(default))); // what a tracer writes to skip a call
        }
        group.sort_by_key(|(first, _)| *first);
        let mut code = vec![load(data::NUMBER)];
        tree(&group, default, &mut code);
        program.push(compare(op::JEQ, arch.audit(), 1, 0));
        program.push(jump(code.len()));
        program.append(&mut code);
    }
    program.push(give(ret::KILL_PROCESS));
    match program.len() {
        instructions if instructions > INSTRUCTIONS_MAX => Err(Error::TooLarge { instructions }),
        _ => Ok(program),
    }
}

/// What is at the end of a branch.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Leaf {
    Return(u32),
    Rules(Vec<(Vec<Condition>, u32)>),
}

/// Ranges of equal verdict, each from its first number to the next range.
fn ranges(verdicts: &Verdicts, first: u32, default: u32, newer: u32) -> Vec<(u32, Leaf)> {
    let mut ranges: Vec<(u32, Leaf)> = Vec::new();
    let mut next = first;
    for (number, verdict) in verdicts {
        if *number > next {
            push(&mut ranges, next, Leaf::Return(default));
        }
        push(
            &mut ranges,
            *number,
            match verdict {
                Verdict::Fixed(action) => Leaf::Return(*action),
                Verdict::Conditional(rules) => Leaf::Rules(rules.clone()),
            },
        );
        next = number + 1;
    }
    // A profile without rules names no calls at all: then nothing is "newer".
    push(&mut ranges, next, Leaf::Return(if verdicts.is_empty() { default } else { newer }));
    ranges
}

/// Starts a range, unless it only continues the last one.
fn push(ranges: &mut Vec<(u32, Leaf)>, start: u32, leaf: Leaf) {
    if ranges.last().is_none_or(|(_, last)| *last != leaf) {
        ranges.push((start, leaf));
    }
}

fn tree(ranges: &[(u32, Leaf)], default: u32, out: &mut Vec<Instruction>) {
    let [first, .., _] = ranges else {
        match ranges.first() {
            Some((_, leaf)) => emit(leaf, default, out),
            None => out.push(give(default)),
        }
        return;
    };
    debug_assert!(first.0 < ranges[ranges.len() / 2].0, "ranges are sorted");
    let (low, high) = ranges.split_at(ranges.len() / 2);
    let mut code = Vec::new();
    tree(low, default, &mut code);
    match u8::try_from(code.len()) {
        Ok(distance) => out.push(compare(op::JGE, high[0].0, distance, 0)),
        Err(_) => {
            out.push(compare(op::JGE, high[0].0, 0, 1));
            out.push(jump(code.len()));
        }
    }
    out.append(&mut code);
    tree(high, default, out);
}

fn emit(leaf: &Leaf, default: u32, out: &mut Vec<Instruction>) {
    match leaf {
        Leaf::Return(action) => out.push(give(*action)),
        Leaf::Rules(rules) => {
            if let Some(set) = value_set(rules) {
                emit_set(&set, default, out);
                return;
            }
            for (conditions, action) in rules {
                emit_rule(conditions, *action, out);
            }
            out.push(give(default));
        }
    }
}

/// One action for some small values of one argument.
struct ValueSet {
    index: u32,
    action: u32,
    /// First and last values, sorted; they may overlap.
    values: Vec<(u32, u32)>,
}

/// Rules that only compare one argument with small values become a tree over the values. `None`: they
/// are not of this form.
fn value_set(rules: &[(Vec<Condition>, u32)]) -> Option<ValueSet> {
    let (first, action) = rules.first()?;
    let index = first.first()?.index;
    let mut values = Vec::new();
    for (conditions, other) in rules {
        let [condition] = conditions.as_slice() else { return None };
        let value = u32::try_from(condition.value).ok()?;
        if condition.index != index || other != action {
            return None;
        }
        match condition.op {
            Op::Eq => values.push((value, value)),
            Op::Lt => values.push((0, value.checked_sub(1)?)),
            Op::Le => values.push((0, value)),
            _ => return None,
        }
    }
    values.sort_unstable();
    Some(ValueSet { index, action: *action, values })
}

fn emit_set(set: &ValueSet, default: u32, out: &mut Vec<Instruction>) {
    let mut ranges: Vec<(u32, Leaf)> = Vec::new();
    let mut free = Some(0);
    for (first, last) in &set.values {
        let Some(from) = free else { break };
        if *first > from {
            push(&mut ranges, from, Leaf::Return(default));
        }
        if *last >= from {
            push(&mut ranges, from.max(*first), Leaf::Return(set.action));
            free = last.checked_add(1);
        }
    }
    if let Some(from) = free {
        push(&mut ranges, from, Leaf::Return(default));
    }
    let (low, high) = offsets(set.index);
    out.extend([load(high), compare(op::JEQ, 0, 1, 0), give(default), load(low)]);
    tree(&ranges, default, out);
}

/// Where a jump of a condition leads.
#[derive(Debug, Clone, Copy)]
enum To {
    Next,
    Holds,
    Fails,
}

type Step = (u16, u32, To, To);

/// One alternative: falls through to the next one when a condition fails.
fn emit_rule(conditions: &[Condition], action: u32, out: &mut Vec<Instruction>) {
    let blocks: Vec<Vec<Step>> = conditions.iter().map(steps).collect();
    let length: usize = blocks.iter().map(Vec::len).sum::<usize>() + 1;
    let mut place = 0;
    for block in &blocks {
        let end = place + block.len();
        for (code, k, holds, fails) in block {
            let distance = |to: &To| {
                let target = match to {
                    To::Next => place + 1,
                    To::Holds => end,
                    To::Fails => length,
                };
                u8::try_from(target - place - 1).expect("six conditions have less than 255 steps")
            };
            out.push(compare(*code, *k, distance(holds), distance(fails)));
            place += 1;
        }
    }
    out.push(give(action));
}

/// A comparison of 64 bits by a machine of 32.
fn steps(condition: &Condition) -> Vec<Step> {
    use To::{Fails, Holds, Next};
    let (low, high) = offsets(condition.index);
    let (value_low, value_high) = halves(condition.value);
    let load = |offset| (op::LOAD, offset, Next, Next);
    let exceeds = |code, to_greater, to_less, last_holds, last_fails| {
        vec![
            load(high),
            (op::JGT, value_high, to_greater, Next),
            (op::JEQ, value_high, Next, to_less),
            load(low),
            (code, value_low, last_holds, last_fails),
        ]
    };
    match condition.op {
        Op::Eq => vec![
            load(high),
            (op::JEQ, value_high, Next, Fails),
            load(low),
            (op::JEQ, value_low, Holds, Fails),
        ],
        Op::Ne => vec![
            load(high),
            (op::JEQ, value_high, Next, Holds),
            load(low),
            (op::JEQ, value_low, Fails, Holds),
        ],
        Op::Gt => exceeds(op::JGT, Holds, Fails, Holds, Fails),
        Op::Ge => exceeds(op::JGE, Holds, Fails, Holds, Fails),
        Op::Lt => exceeds(op::JGE, Fails, Holds, Fails, Holds),
        Op::Le => exceeds(op::JGT, Fails, Holds, Fails, Holds),
        Op::Masked => {
            let (wanted_low, wanted_high) = halves(condition.value_two);
            vec![
                load(high),
                (op::AND, value_high, Next, Next),
                (op::JEQ, wanted_high, Next, Fails),
                load(low),
                (op::AND, value_low, Next, Next),
                (op::JEQ, wanted_low, Holds, Fails),
            ]
        }
    }
}

/// Offsets of the low and the high half of an argument.
fn offsets(index: u32) -> (u32, u32) {
    let first = data::ARGS + 8 * index;
    if cfg!(target_endian = "little") { (first, first + 4) } else { (first + 4, first) }
}

#[expect(clippy::cast_possible_truncation, reason = "the halves of a number")]
fn halves(value: u64) -> (u32, u32) {
    (value as u32, (value >> 32) as u32)
}

fn load(offset: u32) -> Instruction {
    Instruction { code: op::LOAD, jt: 0, jf: 0, k: offset }
}

fn compare(code: u16, k: u32, jt: u8, jf: u8) -> Instruction {
    Instruction { code, jt, jf, k }
}

fn jump(distance: usize) -> Instruction {
    let k = u32::try_from(distance).expect("a program has at most 4096 instructions");
    Instruction { code: op::JUMP, jt: 0, jf: 0, k }
}

fn give(action: u32) -> Instruction {
    Instruction { code: op::RETURN, jt: 0, jf: 0, k: action }
}

#[cfg(test)]
#[path = "compile_tests.rs"]
mod tests;
