//! Secrets and configs of tasks: files on a tmpfs of their own, one per task, never on a disk.
//!
//! Layout of `<exec root>/tasks/<task>`: `secrets/` is shown whole at /run/secrets; a secret with an absolute
//! target and each config is a file of `files/`, shown by itself.

use std::fs::{File, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{PermissionsExt as _, fchown};
use std::path::{Component, Path, PathBuf};

use rustix::mount::{MountFlags, UnmountFlags};
use shoal_model::cluster::TaskId;
use shoal_model::cluster::task::FileTarget;
use shoal_model::{ErrorKind, Failure};
use shoal_worker::executor::Work;

use super::container::Shown;

const SECRETS: &str = "/run/secrets";

/// Where files of tasks are.
#[derive(Debug, Clone)]
pub(super) struct TaskFiles {
    root: PathBuf,
}

impl TaskFiles {
    pub(super) fn new(exec_root: &Path) -> Self {
        Self { root: exec_root.join("tasks") }
    }

    fn of(&self, task: TaskId) -> PathBuf {
        self.root.join(task.to_string())
    }

    /// Writes the files of a task anew; gives what its container must see.
    pub(super) fn write(&self, work: &Work) -> Result<Vec<Shown>, Failure> {
        self.remove(work.task.id)?;
        if work.secrets.is_empty() && work.configs.is_empty() {
            return Ok(Vec::new());
        }
        let root = self.of(work.task.id);
        let written = mount(&root).map_err(|error| failed("mount a tmpfs for", &root, &error));
        let shown = written.and_then(|()| fill(&root, work));
        if shown.is_err()
            && let Err(error) = self.remove(work.task.id)
        {
            tracing::warn!(task = %work.task.id, %error, "left files of a task that was not made");
        }
        shown
    }

    /// Removes the files of a task; none is fine.
    pub(super) fn remove(&self, task: TaskId) -> Result<(), Failure> {
        let root = self.of(task);
        // Several mounts on top of each other can only be what a crash left.
        while match rustix::mount::unmount(&root, UnmountFlags::DETACH) {
            Ok(()) => true,
            Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOENT) => false,
            Err(error) => return Err(failed("unmount", &root, &error.into())),
        } {}
        match std::fs::remove_dir(&root) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(failed("remove", &root, &error))
            }
            _ => Ok(()),
        }
    }
}

fn failed(what: &str, path: &Path, error: &io::Error) -> Failure {
    Failure::new(ErrorKind::Internal, format!("failed to {what} `{}`: {error}", path.display()))
}

fn mount(root: &Path) -> io::Result<()> {
    std::fs::create_dir_all(root)?;
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    Ok(rustix::mount::mount("tmpfs", root, "tmpfs", flags, c"mode=0755")?)
}

fn fill(root: &Path, work: &Work) -> Result<Vec<Shown>, Failure> {
    let mut shown = Vec::new();
    let mut has_secrets = false;
    let files = root.join("files");
    std::fs::create_dir(&files).map_err(|error| failed("create", &files, &error))?;
    let mut single = |target: &FileTarget, absolute: String, data: &[u8]| {
        let source = files.join(shown.len().to_string());
        write(&source, target, data)?;
        shown.push(Shown { source: source.display().to_string(), target: absolute });
        Ok::<(), Failure>(())
    };
    for (reference, secret) in &work.secrets {
        let Some(target) = &reference.file else { continue };
        if target.name.starts_with('/') {
            single(target, target.name.clone(), &secret.spec.data)?;
        } else {
            has_secrets = true;
            let path = beneath(&root.join("secrets"), &target.name)?;
            write(&path, target, &secret.spec.data)?;
        }
    }
    for (reference, config) in &work.configs {
        let Some(target) = &reference.file else { continue };
        single(target, format!("/{}", target.name.trim_start_matches('/')), &config.spec.data)?;
    }
    if has_secrets {
        let source = root.join("secrets").display().to_string();
        shown.push(Shown { source, target: SECRETS.to_owned() });
    }
    Ok(shown)
}

/// A path beneath `directory`, whose own directories are made.
fn beneath(directory: &Path, name: &str) -> Result<PathBuf, Failure> {
    let relative = Path::new(name);
    if name.is_empty() || !relative.components().all(|part| matches!(part, Component::Normal(_))) {
        return Err(Failure::invalid(format!(
            "invalid target `{name}` of a secret: it must be a name beneath {SECRETS} or an absolute path"
        )));
    }
    let path = directory.join(relative);
    let parent = path.parent().unwrap_or(directory);
    std::fs::create_dir_all(parent).map_err(|error| failed("create", parent, &error))?;
    Ok(path)
}

fn write(path: &Path, target: &FileTarget, data: &[u8]) -> Result<(), Failure> {
    let (user, group) = (number("UID", &target.uid)?, number("GID", &target.gid)?);
    let write = || -> io::Result<()> {
        let mut file = File::options().write(true).create_new(true).open(path)?;
        file.write_all(data)?;
        fchown(&file, Some(user), Some(group))?;
        file.set_permissions(Permissions::from_mode(target.mode & 0o7777))
    };
    write().map_err(|error| failed("write", path, &error))
}

fn number(what: &str, text: &str) -> Result<u32, Failure> {
    let text = if text.is_empty() { "0" } else { text };
    text.parse().map_err(|_| {
        Failure::invalid(format!(
            "invalid {what} `{text}` of a secret or config: it must be a number"
        ))
    })
}
