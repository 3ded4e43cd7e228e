//! Hears of the memory killer while the container runs. Effects.

use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

use rustix::event::EventfdFlags;
use rustix::fs::inotify;

/// A descriptor that becomes readable when the memory killer may have struck. Without one (no memory
/// controller), the exit still tells.
pub(crate) fn watch(directory: &Path, v2: bool) -> Option<OwnedFd> {
    if v2 {
        let flags = inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK;
        let events = inotify::init(flags).ok()?;
        let file = directory.join("memory.events");
        inotify::add_watch(&events, &file, inotify::WatchFlags::MODIFY).ok()?;
        return Some(events);
    }
    let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
    let event = rustix::event::eventfd(0, flags).ok()?;
    let control = std::fs::File::open(directory.join("memory.oom_control")).ok()?;
    let line = format!("{} {}", event.as_raw_fd(), control.as_raw_fd());
    std::fs::write(directory.join("cgroup.event_control"), line).ok()?;
    Some(event)
}
