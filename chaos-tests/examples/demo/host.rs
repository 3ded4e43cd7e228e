//! One host: an image, containers, a daemon that is killed, limits, a volume.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, ensure};
use shoal_chaos_tests::command::{command, eventually, run, stdout};
use shoal_chaos_tests::host::{Host, bin_dir};
use shoal_chaos_tests::image;

struct Demo {
    host: Host,
    checked: Vec<&'static str>,
}

/// Plays it; gives what was checked.
pub(crate) fn play() -> anyhow::Result<Vec<&'static str>> {
    let host = Host::start(&[])?;
    let mut demo = Demo { host, checked: Vec::new() };
    demo.image()?;
    demo.containers()?;
    demo.crash()?;
    demo.limits()?;
    demo.volume()?;
    demo.shoal(&["rm", "-f", "-v", "web"])?;
    demo.title("nothing stays behind");
    let checked = demo.checked;
    demo.host.finish()?;
    Ok(checked)
}

impl Demo {
    fn image(&mut self) -> anyhow::Result<()> {
        self.title("an image, from a root file system (no registry is reached from here)");
        let rootfs = self.host.path().join("rootfs.tar");
        image::busybox_rootfs(&rootfs)?;
        let rootfs = rootfs.display().to_string();
        self.shoal(&["import", "--change", "CMD [\"sh\"]", &rootfs, "busybox:latest"])?;
        let images = self.docker(&["images"])?;
        self.check("the image is listed by the docker CLI", images.contains("busybox"))
    }

    fn containers(&mut self) -> anyhow::Result<()> {
        self.title("containers, by shoal and by the unmodified docker CLI");
        let hello = self.shoal(&["run", "--rm", "busybox", "echo", "hello from a container"])?;
        self.check("output arrives", hello == "hello from a container")?;
        let page = "mkdir /www && echo 'served by shoal' > /www/index.html && echo up && exec httpd -f -h /www";
        self.docker(&[
            "run",
            "-d",
            "--name",
            "web",
            "--restart",
            "always",
            "busybox",
            "sh",
            "-c",
            page,
        ])?;
        self.docker(&["ps"])?;
        let address = self.shoal(&[
            "inspect",
            "-f",
            "{{.NetworkSettings.Networks.bridge.IPAddress}}",
            "web",
        ])?;
        let answer = self.request(&address)?;
        self.check("its web server answers on the bridge", answer == "served by shoal")?;
        let logs = self.shoal(&["logs", "web"])?;
        self.check("its log is read", logs == "up")?;
        let name = self.docker(&["exec", "web", "hostname"])?;
        self.check("a command runs in it", name.len() == 12)
    }

    fn crash(&mut self) -> anyhow::Result<()> {
        self.title("the daemon is killed; no container notices");
        let query = ["inspect", "-f", "{{.State.Pid}} {{.State.StartedAt}}", "web"];
        let before = self.shoal(&query)?;
        let address = self.shoal(&[
            "inspect",
            "-f",
            "{{.NetworkSettings.Networks.bridge.IPAddress}}",
            "web",
        ])?;
        println!("# kill -9 shoald");
        self.host.kill()?;
        let answer = self.request(&address)?;
        self.check("the web server answers without a daemon", answer == "served by shoal")?;
        println!("# shoald &");
        self.host.launch()?;
        let after = self.shoal(&query)?;
        self.check("same process, same start", before == after)
    }

    fn limits(&mut self) -> anyhow::Result<()> {
        self.title("limits hold");
        self.docker(&[
            "run",
            "-d",
            "--name",
            "hog",
            "--memory",
            "16m",
            "--memory-swap",
            "16m",
            "busybox",
            "tail",
            "/dev/zero",
        ])?;
        self.docker(&["wait", "hog"])?;
        let state = self.docker(&[
            "inspect",
            "-f",
            "oom {{.State.OOMKilled}}, exit {{.State.ExitCode}}",
            "hog",
        ])?;
        self.shoal(&["rm", "hog"])?;
        self.check("a container over its memory is ended", state == "oom true, exit 137")
    }

    fn volume(&mut self) -> anyhow::Result<()> {
        self.title("a volume outlives its containers");
        self.shoal(&[
            "run",
            "--rm",
            "-v",
            "data:/data",
            "busybox",
            "sh",
            "-c",
            "echo kept > /data/note",
        ])?;
        let note =
            self.docker(&["run", "--rm", "-v", "data:/data:ro", "busybox", "cat", "/data/note"])?;
        self.shoal(&["volume", "rm", "data"])?;
        self.check("what was written is read", note == "kept")
    }

    fn title(&self, text: &str) {
        println!("\n== {text}");
    }

    fn check(&mut self, what: &'static str, holds: bool) -> anyhow::Result<()> {
        ensure!(holds, "not so: {what}\n{}", self.host.log());
        self.checked.push(what);
        Ok(())
    }

    fn docker(&self, arguments: &[&str]) -> anyhow::Result<String> {
        self.client("docker", "docker".into(), arguments)
    }

    fn shoal(&self, arguments: &[&str]) -> anyhow::Result<String> {
        self.client("shoal", bin_dir()?.join("shoal"), arguments)
    }

    /// Types a command, shows it with its output, and returns its standard output.
    fn client(&self, name: &str, program: PathBuf, arguments: &[&str]) -> anyhow::Result<String> {
        let words = arguments
            .iter()
            .map(|word| if word.contains(' ') { format!("'{word}'") } else { (*word).to_owned() });
        println!("$ {name} {}", words.collect::<Vec<_>>().join(" "));
        let client = self.host.client(name, &program);
        let output = run(command(&client.program).envs(client.env).args(arguments))?;
        let (out, err) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        print!("{out}{err}");
        ensure!(output.status.success(), "{name} failed: {}\n{}", output.status, self.host.log());
        Ok(out.trim_end().to_owned())
    }

    /// Asks the web server from the host.
    fn request(&self, address: &str) -> anyhow::Result<String> {
        println!("# wget -qO- http://{address}/");
        let mut answer = String::new();
        eventually("the web server", Duration::from_secs(5), || {
            let mut wget = command("nsenter");
            wget.arg(format!("--net=/run/netns/{}", self.host.name()));
            wget.args(["--", "busybox", "wget", "-qO-", &format!("http://{address}/")]);
            answer = stdout(&mut wget).unwrap_or_default();
            !answer.is_empty()
        })
        .context("no answer")?;
        print!("{answer}");
        Ok(answer.trim_end().to_owned())
    }
}
