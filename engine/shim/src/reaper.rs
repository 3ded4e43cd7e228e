//! Wait statuses. Pure.

/// Exit code as docker shows it, and the signal.
pub(crate) fn exit_code(status: i32) -> (u8, Option<i32>) {
    if libc::WIFSIGNALED(status) {
        let signal = libc::WTERMSIG(status);
        (u8::try_from(128 + signal).unwrap_or(u8::MAX), Some(signal))
    } else {
        (u8::try_from(libc::WEXITSTATUS(status)).unwrap_or(u8::MAX), None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes() {
        assert_eq!(exit_code(7 << 8), (7, None));
        assert_eq!(exit_code(9), (137, Some(9)));
    }
}
