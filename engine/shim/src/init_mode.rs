//! The shim's program as pid 1 of a container (`--init`): runs a program, passes signals on, reaps
//! everything, ends with the program's code. Effects.

use std::ffi::CString;
use std::os::fd::AsFd;

use crate::init::program;
use crate::sys::{self, Forked};

/// Runs `arguments` and gives the code to end with.
pub(crate) fn run(mut arguments: Vec<String>) -> i32 {
    if arguments.first().is_some_and(|first| first == "--") {
        arguments.remove(0);
    }
    let Some(name) = arguments.first().cloned() else {
        return 1;
    };
    let all: Vec<_> = (1..65).filter(|signal| !unforwardable(*signal)).collect();
    let signals = match sys::signal_fd(&all) {
        Ok(signals) => signals,
        Err(error) => {
            tell(&format!("receive signals: {error}"));
            return 1;
        }
    };
    let child = match sys::fork() {
        Ok(Forked::Parent(pid)) => pid,
        Err(error) => {
            tell(&format!("fork: {error}"));
            return 1;
        }
        Ok(Forked::Child) => exec(&name, &arguments),
    };
    let _nonblocking = rustix::io::ioctl_fionbio(&signals, false);
    loop {
        let mut event = [0; 128]; // struct signalfd_siginfo
        match rustix::io::read(signals.as_fd(), &mut event) {
            Ok(128) => {}
            Err(rustix::io::Errno::INTR) => continue,
            _ => return 1,
        }
        let signal = i32::from_ne_bytes([event[0], event[1], event[2], event[3]]);
        if signal != libc::SIGCHLD {
            let _gone = sys::kill(child, signal);
            continue;
        }
        while let Some((pid, status)) = sys::reap() {
            if pid == child {
                return i32::from(crate::reaper::exit_code(status).0);
            }
        }
    }
}

/// Signals that cannot be caught, or tell of faults of this process itself.
fn unforwardable(signal: i32) -> bool {
    let own =
        [libc::SIGFPE, libc::SIGILL, libc::SIGSEGV, libc::SIGBUS, libc::SIGABRT, libc::SIGTRAP];
    own.contains(&signal) || [libc::SIGKILL, libc::SIGSTOP, 32, 33].contains(&signal)
}

/// Says on standard error what went wrong.
fn tell(what: &str) {
    let line = format!("[docker-init] {what}\n");
    let _unheard = rustix::io::write(rustix::stdio::stderr(), line.as_bytes());
}

fn exec(name: &str, arguments: &[String]) -> ! {
    sys::reset_signals();
    // A group of its own that owns the terminal, so that Ctrl-C reaches it once.
    let _group = rustix::process::setpgid(None, None);
    if let Some(group) =
        rustix::process::Pid::from_raw(rustix::process::getpid().as_raw_nonzero().get())
    {
        // Taking the terminal from the background stops a process that does not ignore this.
        sys::ignore_signal(libc::SIGTTOU);
        let _not_a_terminal = rustix::termios::tcsetpgrp(rustix::stdio::stdin(), group);
        sys::reset_signals();
    }
    let env: Vec<String> = std::env::vars_os()
        .map(|(name, value)| format!("{}={}", name.to_string_lossy(), value.to_string_lossy()))
        .collect();
    let failed = match program::find(name, &env, program::probe) {
        Err(failed) => failed,
        Ok(path) => {
            let text = |text: &String| CString::new(text.as_str()).unwrap_or_default();
            let args: Vec<_> = arguments.iter().map(text).collect();
            let env: Vec<_> = env.iter().map(text).collect();
            let args: Vec<_> = args.iter().map(CString::as_c_str).collect();
            let env: Vec<_> = env.iter().map(CString::as_c_str).collect();
            program::exec_failed(&path, &sys::execve(&text(&path), &args, &env))
        }
    };
    tell(&failed.to_string());
    sys::exit_now(i32::from(failed.kind.exit_code()))
}
