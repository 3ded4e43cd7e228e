//! Stacks from YAML in a lab of three hosts: by `shoal`, by docker's client, and by both in turn.

#![allow(clippy::unwrap_used, reason = "a test")]

mod life;
mod settings;
mod trouble;

use std::process::Output;

use shoal_chaos_tests::command::run;
use shoal_chaos_tests::host::bin_dir;
use shoal_chaos_tests::scratch::Scratch;
use shoal_chaos_tests::service_lab::ServiceLab;

/// A lab with files for stacks.
pub(crate) struct Stacks {
    pub(crate) lab: ServiceLab,
    files: Scratch,
}

impl Stacks {
    pub(crate) fn up(name: &str) -> Self {
        Self::with_managers(name, 1)
    }

    /// The same with so many managers.
    pub(crate) fn with_managers(name: &str, managers: u8) -> Self {
        let lab = ServiceLab::up(name, 3, managers, &[]).unwrap();
        Self { lab, files: Scratch::new().unwrap() }
    }

    /// Writes a file beside the others.
    pub(crate) fn file(&self, name: &str, text: &str) {
        std::fs::write(self.files.path().join(name), text).unwrap();
    }

    pub(crate) fn output(&self, program: &str, arguments: &[&str]) -> Output {
        let path = match program {
            "shoal" => bin_dir().unwrap().join("shoal"),
            other => other.into(),
        };
        let mut client = self.lab.lab.client(1, &path);
        run(client.current_dir(self.files.path()).args(arguments)).unwrap()
    }

    /// Standard output of `shoal` or `docker` on the first host, which must succeed.
    #[track_caller]
    pub(crate) fn run(&self, program: &str, arguments: &[&str]) -> String {
        let output = self.output(program, arguments);
        let (out, err) = (text(&output.stdout), text(&output.stderr));
        let tasks = || self.lab.docker(&["stack", "ps", "--no-trunc", "shop"]).unwrap_or_default();
        assert!(output.status.success(), "{program} {arguments:?}\n{out}\n{err}\n{}", tasks());
        out
    }

    /// Standard error of a command that must fail.
    #[track_caller]
    pub(crate) fn refused(&self, program: &str, arguments: &[&str]) -> String {
        let output = self.output(program, arguments);
        assert!(!output.status.success(), "{program} {arguments:?} did not fail");
        text(&output.stderr)
    }

    /// Ids of the tasks of a stack that shall run, by their names.
    pub(crate) fn tasks(&self, stack: &str) -> Vec<String> {
        let format = "{{.Name}} {{.ID}}";
        let filter = "desired-state=running";
        let text = self.lab.docker(&["stack", "ps", "--filter", filter, "--format", format, stack]);
        let mut lines: Vec<String> = text.unwrap().lines().map(str::to_owned).collect();
        lines.sort();
        lines
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim_end().to_owned()
}
