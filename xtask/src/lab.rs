//! Several hosts on this machine, for people.

use anyhow::ensure;

use crate::build;
use crate::run::cargo;

/// Hands the words to the lab's program. Only `up` builds Shoal; the exit code is the program's.
pub(crate) fn run(words: &[String]) -> anyhow::Result<()> {
    let is_new = words.first().is_some_and(|word| word == "up");
    let directory = if is_new {
        crate::setup::lab()?;
        build::run(false)?
    } else {
        build::directory(false)
    };
    let mut lab = cargo();
    build::linker(&mut lab);
    lab.env("SHOAL_BIN_DIR", directory).args(["run", "--locked", "--quiet", "-p"]);
    lab.args(["shoal-chaos-tests", "--example", "lab", "--"]).args(words);
    lab.env("RUST_LIB_BACKTRACE", "0");
    // Quiet: what is printed may be read by a program (`lab env`, `lab docker`).
    let status = lab.status()?;
    ensure!(status.success(), "lab {}: {status}", words.join(" "));
    Ok(())
}
