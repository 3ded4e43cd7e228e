//! A lab for people: `cargo xtask lab …`.

#![allow(clippy::print_stdout, reason = "a command line program")]

use std::os::unix::process::CommandExt as _;
use std::path::Path;

use anyhow::{Context, bail};
use shoal_chaos_tests::lab::Lab;
use shoal_chaos_tests::{host::bin_dir, image};

const DIRECTORY: &str = "/var/tmp/shoal-lab";
const USAGE: &str =
    "cargo xtask lab up [N]              make N hosts (3) with a daemon each and an image `busybox`
cargo xtask lab ls                  show them
cargo xtask lab shell HOST          a shell on a host: docker and shoal speak to its daemon
cargo xtask lab env HOST            the same as settings to evaluate
cargo xtask lab docker HOST ARGS…   run docker against a host
cargo xtask lab kill|stop|start HOST      the daemon: at once, in good order, again
cargo xtask lab crash HOST          daemon and containers at once; then `start`
cargo xtask lab pause|resume HOST   the daemon hangs, goes on
cargo xtask lab unplug HOST         off the network
cargo xtask lab cut HOST HOST       no packets between two hosts
cargo xtask lab cut-one-way FROM TO
cargo xtask lab lose HOST PERCENT   lose packets at random
cargo xtask lab heal                undo all cuts
cargo xtask lab log HOST            the end of a daemon's log
cargo xtask lab down                remove everything";

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let directory = Path::new(DIRECTORY);
    let number = |text: &str| -> anyhow::Result<u8> {
        text.trim_start_matches('h').parse().with_context(|| format!("`{text}` is no number"))
    };
    let lab = || Lab::open(directory);
    match words[..] {
        ["up"] => up(directory, 3),
        ["up", hosts] => up(directory, number(hosts)?),
        ["ls"] => list(&lab()?),
        ["shell", host] => shell(&lab()?, number(host)?),
        ["env", host] => {
            println!("export DOCKER_HOST=unix://{}", lab()?.socket(number(host)?).display());
            Ok(())
        }
        ["docker", host, ref rest @ ..] => {
            let error = lab()?.docker(number(host)?).args(rest).exec();
            Err(error).context("cannot run docker")
        }
        ["kill", host] => lab()?.kill(number(host)?),
        ["stop", host] => lab()?.stop(number(host)?),
        ["start", host] => lab()?.start(number(host)?),
        ["crash", host] => lab()?.crash(number(host)?),
        ["pause", host] => lab()?.pause(number(host)?),
        ["resume", host] => lab()?.resume(number(host)?),
        ["unplug", host] => lab()?.unplug(number(host)?),
        ["cut", a, b] => lab()?.cut(number(a)?, number(b)?),
        ["cut-one-way", from, to] => lab()?.cut_one_way(number(from)?, number(to)?),
        ["lose", host, percent] => lab()?.lose(number(host)?, number(percent)?),
        ["heal"] => lab()?.heal(),
        ["log", host] => {
            println!("{}", lab()?.log(number(host)?));
            Ok(())
        }
        ["down"] => match Lab::find(directory)? {
            Some(lab) => lab.down(),
            None => {
                println!("there is no lab");
                Ok(())
            }
        },
        _ => bail!("usage:\n{USAGE}"),
    }
}

fn up(directory: &Path, hosts: u8) -> anyhow::Result<()> {
    let lab = Lab::up("shoallab", directory, hosts, &[])?;
    let rootfs = directory.join("rootfs.tar");
    image::busybox_rootfs(&rootfs)?;
    for host in lab.numbers() {
        lab.run(
            host,
            &[
                "import",
                "--change",
                "CMD [\"sh\"]",
                &rootfs.display().to_string(),
                "busybox:latest",
            ],
        )?;
    }
    list(&lab)?;
    println!(
        "\n`cargo xtask lab shell 1` gives a shell on the first host; `cargo xtask lab down` ends it"
    );
    Ok(())
}

fn list(lab: &Lab) -> anyhow::Result<()> {
    println!("{:<6}{:<14}{:<10}DOCKER_HOST", "HOST", "ADDRESS", "DAEMON");
    for host in lab.numbers() {
        let daemon = lab.pid(host).map_or_else(|| "down".to_owned(), |pid| pid.to_string());
        let socket = lab.socket(host);
        println!("h{host:<5}{:<14}{daemon:<10}unix://{}", lab.address(host), socket.display());
    }
    Ok(())
}

fn shell(lab: &Lab, host: u8) -> anyhow::Result<()> {
    let shell = std::env::var("SHELL").unwrap_or_else(|_| "/bin/sh".to_owned());
    let path = format!("{}:{}", bin_dir()?.display(), std::env::var("PATH").unwrap_or_default());
    let error = lab
        .inside(host)
        .arg(shell)
        .env("PATH", path)
        .env("DOCKER_HOST", format!("unix://{}", lab.socket(host).display()))
        .env("PS1", format!("h{host}# "))
        // bash's own start-up files set another prompt.
        .env("PROMPT_COMMAND", format!("PS1='h{host}:\\w# '; unset PROMPT_COMMAND"))
        .exec();
    Err(error).context("cannot start a shell")
}
