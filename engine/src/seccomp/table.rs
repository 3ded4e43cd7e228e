//! Numbers of system calls. Data in `syscalls.txt`, parsed once.

use std::collections::HashMap;
use std::sync::LazyLock;

use super::Arch;

/// Set in the numbers of x32.
pub(super) const X32_BIT: u32 = 0x4000_0000;

const TEXT: &str = include_str!("syscalls.txt");

static TABLE: LazyLock<HashMap<&'static str, [Option<u32>; 5]>> = LazyLock::new(|| {
    let lines = TEXT.lines().filter(|line| !line.starts_with('#'));
    lines
        .filter_map(|line| {
            let mut words = line.split(' ');
            let name = words.next()?;
            let mut numbers = [None; 5];
            for number in &mut numbers {
                *number = words.next()?.parse().ok();
            }
            Some((name, numbers))
        })
        .collect()
});

/// The number of `name` on `arch` as the kernel sees it, with the bit of x32. `None`: there is no such
/// call.
pub(super) fn number(arch: Arch, name: &str) -> Option<u32> {
    let column = Arch::ALL.iter().position(|known| *known == arch)?;
    let number = TABLE.get(name)?[column]?;
    Some(if arch == Arch::X32 { number | X32_BIT } else { number })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_agree_with_the_c_library_where_it_knows_them() {
        assert_eq!(TABLE.len(), TEXT.lines().filter(|line| !line.starts_with('#')).count());
        assert_eq!(TABLE["read"], [Some(0), Some(3), Some(0), Some(63), Some(3)]);
        let native = |name| number(Arch::NATIVE, name).map(libc::c_long::from);
        for (name, expected) in [
            ("openat", libc::SYS_openat),
            ("clone3", libc::SYS_clone3),
            ("io_uring_setup", libc::SYS_io_uring_setup),
            ("mseal", libc::SYS_mseal),
            ("execve", libc::SYS_execve),
        ] {
            assert_eq!(native(name), Some(expected), "{name}");
        }
        assert_eq!(number(Arch::X32, "write"), Some(X32_BIT | 1));
        assert_eq!(number(Arch::Aarch64, "open"), None);
    }
}
