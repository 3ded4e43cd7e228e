//! Seccomp: Docker's profile, profiles of the user, and their compiler to classic BPF.
//!
//! Compiling a profile costs other engines 15–30 ms at every start (`reference/runtime-net.md`). Here a
//! profile becomes a balanced tree over ranges of system call numbers, in a file that is reused by every
//! container with the same profile, capabilities, architecture and kernel.
//!
//! Steps: [`Profile`] (JSON, with conditions) → [`Choice::section`] (the OCI section, conditions decided)
//! → [`compile`] (a program) → [`Cache`] (a file for the shim).

mod builtin;
mod cache;
mod compile;
mod error;
mod profile;
mod rules;
mod table;

use serde::{Deserialize, Serialize};

pub use cache::{Cache, Program};
pub use compile::{Instruction, compile};
pub use error::Error;
pub use profile::{Choice, Profile};

/// An instruction set whose system calls are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Arch {
    X86_64,
    X86,
    X32,
    Aarch64,
    Arm,
}

impl Arch {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::X86_64, Self::X86, Self::X32, Self::Aarch64, Self::Arm];

    /// The one this program is built for.
    #[cfg(target_arch = "x86_64")]
    pub const NATIVE: Self = Self::X86_64;
    /// The one this program is built for.
    #[cfg(target_arch = "aarch64")]
    pub const NATIVE: Self = Self::Aarch64;

    /// The name in profiles and in the OCI section.
    pub const fn oci_name(self) -> &'static str {
        match self {
            Self::X86_64 => "SCMP_ARCH_X86_64",
            Self::X86 => "SCMP_ARCH_X86",
            Self::X32 => "SCMP_ARCH_X32",
            Self::Aarch64 => "SCMP_ARCH_AARCH64",
            Self::Arm => "SCMP_ARCH_ARM",
        }
    }

    /// From [`Arch::oci_name`].
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|arch| arch.oci_name() == name)
    }

    /// The name in a profile's conditions.
    const fn condition_name(self) -> &'static str {
        match self {
            Self::X86_64 => "amd64",
            Self::X86 => "x86",
            Self::X32 => "x32",
            Self::Aarch64 => "arm64",
            Self::Arm => "arm",
        }
    }

    /// The kernel's `AUDIT_ARCH_*`; x32 shares that of x86-64.
    pub const fn audit(self) -> u32 {
        match self {
            Self::X86_64 | Self::X32 => 0xC000_003E,
            Self::X86 => 0x4000_0003,
            Self::Aarch64 => 0xC000_00B7,
            Self::Arm => 0x4000_0028,
        }
    }
}
