//! Images for tests, made from Debian's static busybox: no registry is needed.

use std::path::Path;

use anyhow::Context;

use crate::command::{command, stdout};
use crate::scratch::Scratch;

/// Writes a tar of a root file system with busybox and all its applets to `target`.
///
/// # Errors
/// When busybox is missing or the files cannot be written.
pub fn busybox_rootfs(target: &Path) -> anyhow::Result<()> {
    write_rootfs(target, None)
}

/// As [`busybox_rootfs`], with the files of the directory `more` laid over it.
///
/// # Errors
/// When busybox is missing or the files cannot be copied.
pub fn busybox_rootfs_with(target: &Path, more: &Path) -> anyhow::Result<()> {
    write_rootfs(target, Some(more))
}

fn write_rootfs(target: &Path, more: Option<&Path>) -> anyhow::Result<()> {
    let work = Scratch::new()?;
    let root = work.path();
    for directory in ["bin", "etc", "tmp", "root", "home", "usr/bin", "var", "dev", "proc", "sys"] {
        std::fs::create_dir_all(root.join(directory))?;
    }
    let busybox =
        ["/bin/busybox", "/usr/bin/busybox"].into_iter().find(|path| Path::new(path).is_file());
    std::fs::copy(
        busybox.context("no busybox: install Debian's busybox-static")?,
        root.join("bin/busybox"),
    )?;
    for applet in
        stdout(command("busybox").arg("--list"))?.lines().filter(|applet| *applet != "busybox")
    {
        std::os::unix::fs::symlink("busybox", root.join("bin").join(applet))?;
    }
    std::fs::write(
        root.join("etc/passwd"),
        "root:x:0:0:root:/root:/bin/sh\nwww-data:x:33:33:www-data:/var/www:/bin/false\nnobody:x:65534:65534:nobody:/home:/bin/false\n",
    )?;
    std::fs::write(
        root.join("etc/group"),
        "root:x:0:\nwww-data:x:33:\nstaff:x:50:nobody\nnogroup:x:65534:\n",
    )?;
    if let Some(more) = more {
        stdout(command("cp").args(["-r", "--preserve=mode"]).arg(more.join(".")).arg(root))?;
    }
    stdout(command("chmod").arg("1777").arg(root.join("tmp")))?;
    stdout(
        command("tar")
            .args(["--owner=0", "--group=0", "-C"])
            .arg(root)
            .arg("-cf")
            .arg(target)
            .arg("."),
    )?;
    Ok(())
}
