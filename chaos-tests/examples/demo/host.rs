//! One host: an image, containers, a daemon that is killed, limits, a volume.

use std::path::Path;

use shoal_chaos_tests::image;

use crate::stage::{Stage, title};

struct Demo {
    stage: Stage,
}

/// Plays it in a lab of one host; gives what was checked.
pub(crate) fn play(directory: &Path) -> anyhow::Result<Vec<&'static str>> {
    title("one host");
    let mut demo = Demo { stage: Stage::up(directory, 1)? };
    demo.image(&directory.join("rootfs.tar"))?;
    demo.containers()?;
    demo.crash()?;
    demo.limits()?;
    demo.volume()?;
    demo.shoal(&["rm", "-f", "-v", "web"])?;
    demo.stage.finish()
}

impl Demo {
    fn image(&mut self, rootfs: &Path) -> anyhow::Result<()> {
        title("an image, from a root file system (no registry is reached from here)");
        image::busybox_rootfs(rootfs)?;
        let rootfs = rootfs.display().to_string();
        self.shoal(&["import", "--change", "CMD [\"sh\"]", &rootfs, "busybox:latest"])?;
        let images = self.docker(&["images"])?;
        self.check("the image is listed by the docker CLI", images.contains("busybox"))
    }

    fn containers(&mut self) -> anyhow::Result<()> {
        title("containers, by shoal and by the unmodified docker CLI");
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
        title("the daemon is killed; no container notices");
        let query = ["inspect", "-f", "{{.State.Pid}} {{.State.StartedAt}}", "web"];
        let before = self.shoal(&query)?;
        let address = self.shoal(&[
            "inspect",
            "-f",
            "{{.NetworkSettings.Networks.bridge.IPAddress}}",
            "web",
        ])?;
        println!("h1# kill -9 shoald");
        self.stage.lab.kill(1)?;
        let answer = self.request(&address)?;
        self.check("the web server answers without a daemon", answer == "served by shoal")?;
        println!("h1# shoald &");
        self.stage.lab.start(1)?;
        let after = self.shoal(&query)?;
        self.check("same process, same start", before == after)
    }

    fn limits(&mut self) -> anyhow::Result<()> {
        title("limits hold");
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
        title("a volume outlives its containers");
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

    fn check(&mut self, what: &'static str, holds: bool) -> anyhow::Result<()> {
        self.stage.check(what, holds)
    }

    fn docker(&self, arguments: &[&str]) -> anyhow::Result<String> {
        self.stage.docker(1, arguments)
    }

    fn shoal(&self, arguments: &[&str]) -> anyhow::Result<String> {
        self.stage.shoal(1, arguments)
    }

    /// Asks the web server from the host.
    fn request(&self, address: &str) -> anyhow::Result<String> {
        self.stage.request(1, &format!("http://{address}/"))
    }
}
