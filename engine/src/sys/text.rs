//! The program's own code and constants in memory.
//!
//! The kernel maps what is touched, in large steps, and keeps it mapped: what only the start needed stays for ever. It can be
//! let go of at any time, since nobody writes it: what is touched again is mapped again from the page cache.
//!
//! Source: the ELF specification, program header; madvise(2).

use std::io::{self, Read as _};
use std::ops::Range;

/// Program headers lie directly behind the file's own.
const HEADERS_MAX: u64 = 4096;

/// Lets go of code and constants; bytes of address space.
///
/// # Errors
/// When the kernel tells nothing of the program, or refuses.
pub fn release_text() -> io::Result<usize> {
    let mut headers = Vec::new();
    std::fs::File::open("/proc/self/exe")?.take(HEADERS_MAX).read_to_end(&mut headers)?;
    let maps = std::fs::read_to_string("/proc/self/maps")?;
    let program = std::fs::read_link("/proc/self/exe")?;
    let start = start_of(&maps, &program.to_string_lossy());
    let parts = start.and_then(|start| constant_parts(&headers, start, rustix::param::page_size()));
    let parts = parts.ok_or(io::ErrorKind::InvalidData)?;
    let mut released = 0;
    for part in parts {
        // SAFETY: the range is of a segment that is mapped from the program's file and never written, so that its pages
        // come back from there with the same content.
        let answer = unsafe {
            libc::madvise(part.start as *mut libc::c_void, part.len(), libc::MADV_DONTNEED)
        };
        if answer != 0 {
            return Err(io::Error::last_os_error());
        }
        released += part.len();
    }
    Ok(released)
}

/// Where the file's first byte is mapped.
fn start_of(maps: &str, program: &str) -> Option<usize> {
    let line = maps.lines().find(|line| {
        let mut words = line.split_ascii_whitespace().skip(2);
        words.next() == Some("00000000") && line.ends_with(program)
    })?;
    usize::from_str_radix(line.split_once('-')?.0, 16).ok()
}

/// Whole pages (of `page` bytes) of the segments that are mapped without write permission, when the file's first byte is at `start`.
fn constant_parts(file: &[u8], start: usize, page: usize) -> Option<Vec<Range<usize>>> {
    const LOAD: u64 = 1;
    const WRITABLE: u64 = 2;
    let number = |at: usize, size: usize| -> Option<u64> {
        let mut bytes = [0; 8];
        bytes.get_mut(..size)?.copy_from_slice(file.get(at..at.checked_add(size)?)?);
        Some(u64::from_le_bytes(bytes))
    };
    let size = |at: usize| number(at, 8).and_then(|value| usize::try_from(value).ok());
    let is_known = file.starts_with(b"\x7fELF\x02\x01");
    let table = size(32).filter(|_| is_known)?;
    let (entry, count) = (number(54, 2)?, number(56, 2)?);
    let mut loads = Vec::new();
    for index in 0..count {
        let at = table + usize::try_from(index * entry).ok()?;
        if number(at, 4)? == LOAD {
            let (flags, offset, address, length) =
                (number(at + 4, 4)?, size(at + 8)?, size(at + 16)?, size(at + 40)?);
            loads.push((flags, offset, address, length));
        }
    }
    // The file's first byte tells how far everything was moved.
    let (_, _, first, _) = loads.iter().find(|(_, offset, ..)| *offset == 0)?;
    let base = start.checked_sub(*first)?;
    let constant = loads.iter().filter(|(flags, ..)| flags & WRITABLE == 0);
    let pages = constant.map(|(_, _, address, length)| {
        let (from, to) = (base + address, base + address + length);
        from.next_multiple_of(page)..to / page * page
    });
    Some(pages.filter(|pages| !pages.is_empty()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: usize = 4096;

    fn file(loads: &[(u32, u64, u64, u64)]) -> Vec<u8> {
        let mut file = vec![0; 64];
        file[..6].copy_from_slice(b"\x7fELF\x02\x01");
        file[32..40].copy_from_slice(&64_u64.to_le_bytes());
        file[54..56].copy_from_slice(&56_u16.to_le_bytes());
        file[56..58].copy_from_slice(&u16::try_from(loads.len() + 1).unwrap().to_le_bytes());
        file.extend([6, 0, 0, 0].into_iter().chain([0; 52]));
        for (flags, offset, address, length) in loads {
            file.extend(1_u32.to_le_bytes());
            file.extend(flags.to_le_bytes());
            for value in [*offset, *address, *address, *length, *length, PAGE as u64] {
                file.extend(value.to_le_bytes());
            }
        }
        file
    }

    #[test]
    fn whole_pages_of_what_is_never_written() {
        let loads = [
            (4, 0, 0, 0x2345),
            (5, 0x2400, 0x3400, 0x5000),
            (6, 0x7400, 0x9400, 0x3000),
            (4, 0xa400, 0xd400, 0x10),
        ];
        let parts = constant_parts(&file(&loads), 0x10000, PAGE);
        assert_eq!(parts, Some(vec![0x10000..0x12000, 0x14000..0x18000]));
        assert_eq!(
            constant_parts(&file(&loads[1..]), 0x10000, PAGE),
            None,
            "not moved by a known distance"
        );
        assert_eq!(constant_parts(&file(&loads)[..150], 0x10000, PAGE), None, "cut");
        assert_eq!(constant_parts(b"#!/bin/sh", 0x10000, PAGE), None);
        let maps = "55d0-55d1 r--p 00000000 fe:00 1 /usr/bin/other\n\
                    7f00-7f01 r-xp 00001000 fe:00 2 /usr/bin/shoald\n\
                    7e00-7f00 r--p 00000000 fe:00 2 /usr/bin/shoald\n";
        assert_eq!(start_of(maps, "/usr/bin/shoald"), Some(0x7e00));
        assert_eq!(start_of(maps, "/usr/bin/none"), None);
    }

    #[test]
    fn the_program_goes_on_without_its_text() {
        assert!(release_text().unwrap() > 64 << 10);
        assert!(release_text().unwrap() > 64 << 10, "and again");
    }
}
