//! Users: each makes, changes, reads and removes objects of its own, at any manager, and knows what was acknowledged.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use super::asking::ASKED;
use super::objects::{self, Kind, Name, Wish};
use super::rules::Complaint;
use super::world::{PATIENCE, SHAPE, Said, World};
use crate::chance::Chance;
use crate::command::{eventually, run};
use crate::oracle::{Answer, Register};

/// Between two operations of a user.
const PAUSE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_millis(600));

/// A user, with what it knows of each of its names.
#[derive(Debug)]
pub(super) struct User {
    world: Arc<World>,
    number: usize,
    chance: Chance,
    /// The last write.
    written: u64,
    known: BTreeMap<Name, Register<Wish>>,
    /// Highest version that was seen of an object, by its id.
    versions: BTreeMap<String, u64>,
    /// Nothing can be acknowledged now: there is no quorum.
    without_quorum: bool,
}

impl User {
    /// One that has nothing yet. The first has the services that are asked all the time.
    pub(super) fn new(world: &Arc<World>, number: usize, chance: Chance) -> Self {
        let mut names = objects::names(number);
        if number == 0 {
            names.extend(ASKED.map(|(name, _)| Name::new(Kind::Asked, name)));
        }
        Self {
            world: Arc::clone(world),
            number,
            chance,
            written: 0,
            known: names.into_iter().map(|name| (name, Register::default())).collect(),
            versions: BTreeMap::new(),
            without_quorum: false,
        }
    }

    /// Does one thing after the other on a thread of its own, until it shall stop.
    pub(super) fn work(mut self, stop: &Arc<AtomicBool>) -> std::thread::JoinHandle<Self> {
        let stop = Arc::clone(stop);
        std::thread::spawn(move || {
            while !stop.load(Ordering::SeqCst) {
                std::thread::sleep(self.chance.between(PAUSE.0, PAUSE.1));
                self.one();
            }
            self
        })
    }

    /// Whether there is a quorum from now on.
    #[must_use]
    pub(super) fn without_quorum(self, without_quorum: bool) -> Self {
        Self { without_quorum, ..self }
    }

    /// Creates all that is there all the time.
    ///
    /// # Errors
    /// When a manager does not let it.
    pub(super) fn begin(&mut self) -> anyhow::Result<()> {
        let asked: Vec<Name> =
            self.known.keys().filter(|name| name.kind == Kind::Asked).cloned().collect();
        for name in asked {
            self.create(1, &name);
            anyhow::ensure!(self.known[&name].known().is_some(), "{} was not made", name.text);
        }
        Ok(())
    }

    fn one(&mut self) {
        let manager = 1 + u8::try_from(self.chance.below(SHAPE.managers.into())).unwrap_or(0);
        let names: Vec<&Name> = self.known.keys().collect();
        let Some(name) = self.chance.one_of(&names).cloned() else { return };
        let register = &self.known[&name];
        // What nobody knows is left alone until all is quiet.
        if !register.is_certain() || self.chance.below(3) == 0 {
            return self.read(manager, &name, false);
        }
        match (name.kind, register.known().is_some(), self.chance.below(8)) {
            (_, false, _) => self.create(manager, &name),
            (Kind::Asked, true, 0) | (Kind::Service | Kind::Global, true, 0 | 1) => {
                self.roll_back(manager, &name);
            }
            (Kind::Asked, true, _) => self.change(manager, &name),
            (Kind::Network, true, _) | (_, true, 7) => self.remove(manager, &name),
            (_, true, _) => self.change(manager, &name),
        }
    }

    /// Notes what became of an operation.
    fn answered(&self, what: &'static str, name: &Name, said: &Said) -> Answer {
        let (answer, why) = match said {
            Said::Done(_) => (Answer::Done, String::new()),
            Said::Refused(code, why) => (Answer::Refused, format!("{code} {why}")),
            Said::Lost(why) => (Answer::Lost, why.clone()),
        };
        self.world.ledger.operation(what, answer);
        if std::env::var_os("SHOAL_CHAOS_TRACE").is_some() {
            let number = self.number;
            self.world
                .ledger
                .say(&format!("user {number}: {what} {}: {answer:?} {why}", name.text));
        }
        if answer == Answer::Done && self.without_quorum {
            let what = format!("{what} {} was acknowledged without a quorum", name.text);
            self.world.ledger.violation(Complaint::new("RAFT-3", what));
        }
        answer
    }

    fn wrote(&mut self, name: &Name, wish: Option<Wish>, answer: Answer, creates: bool) {
        if let Some(register) = self.known.get_mut(name) {
            register.wrote(wish, answer, creates);
        }
    }

    /// The next wish.
    fn wish(&mut self, name: &Name, before: Option<&Wish>) -> Wish {
        self.written += 1;
        let replicas = match name.kind {
            // One of each is enough, and there are always some that answer.
            Kind::Asked => Some(2 + self.chance.below(3)),
            Kind::Service | Kind::Stack => Some(self.chance.below(4)),
            Kind::Job => Some(1 + self.chance.below(3)),
            _ => None,
        };
        // Whoever scales leaves what runs as it is.
        let scales = before.filter(|_| name.kind.has_containers() && self.chance.below(2) == 0);
        Wish {
            v: self.written,
            made: scales.map_or(self.written, |before| before.made),
            replicas: replicas.and_then(|count| u64::try_from(count).ok()),
        }
    }

    fn create(&mut self, manager: u8, name: &Name) {
        let wish = self.wish(name, None);
        if name.kind == Kind::Stack {
            return self.deploy(manager, name, wish, true);
        }
        let (path, spec) = objects::creation(name, &wish, self.chance.below(2) == 0);
        let said = self.world.call(manager, "POST", path, &spec);
        let answer = self.answered(name.kind.words().create, name, &said);
        self.wrote(name, Some(wish), answer, true);
    }

    /// What is there now: id, version, all. Judged as any read.
    fn found(&mut self, manager: u8, name: &Name, last: bool) -> Option<Option<Value>> {
        let path = format!("{}/{}", name.kind.path(), name.text);
        // A host that is no manager for a moment tells of its own networks only.
        let speaks_for_all =
            || name.kind != Kind::Network || self.world.get(manager, "/swarm").is_ok();
        let before = speaks_for_all();
        let said = self.world.call(manager, "GET", &path, &Value::Null);
        let absent = matches!(said, Said::Refused(404, _)) && before && speaks_for_all();
        let said = if absent { Said::Done(Value::Null) } else { said };
        self.answered(name.kind.words().read, name, &said);
        let Said::Done(value) = said else { return None };
        let value = (!absent).then_some(value);
        self.judge(manager, name, value.as_ref(), last);
        Some(value)
    }

    fn judge(&mut self, manager: u8, name: &Name, value: Option<&Value>, last: bool) {
        let wish = value.map(|value| objects::wish(name.kind, value));
        let Some(register) = self.known.get_mut(name) else { return };
        let verdict = if last { register.settle(wish) } else { register.read(wish) };
        let about = format!("user {} reads {} on host {manager}", self.number, name.text);
        if let Err(what) = verdict {
            let complaint = Complaint::new("RAFT-2", format!("{about}: {what}"));
            self.world.ledger.violation(complaint);
        }
        let Some(value) = value else { return };
        let (id, version) = (value["ID"].as_str(), value["Version"]["Index"].as_u64());
        if let (Some(id), Some(version)) = (id, version) {
            let seen = self.versions.entry(id.to_owned()).or_default();
            if version < *seen {
                let what = format!("{about}: version {version}, {seen} was seen before");
                self.world.ledger.violation(Complaint::new("RAFT-2", what));
            }
            *seen = version.max(*seen);
        }
    }

    fn read(&mut self, manager: u8, name: &Name, last: bool) {
        self.found(manager, name, last);
    }

    fn change(&mut self, manager: u8, name: &Name) {
        let before = self.known[name].known().cloned();
        let wish = self.wish(name, before.as_ref());
        if name.kind == Kind::Stack {
            return self.deploy(manager, name, wish, false);
        }
        let Some(Some(value)) = self.found(manager, name, false) else { return };
        let spec = objects::changed(name.kind, &value["Spec"], &wish);
        let said = self.update(manager, name, &value, &spec, "");
        let answer = self.answered(name.kind.words().change, name, &said);
        self.wrote(name, Some(wish), answer, false);
    }

    fn update(&self, manager: u8, name: &Name, value: &Value, spec: &Value, more: &str) -> Said {
        let id = value["ID"].as_str().unwrap_or_default();
        let version = &value["Version"]["Index"];
        let path = format!("{}/{id}/update?version={version}{more}", name.kind.path());
        self.world.call(manager, "POST", &path, spec)
    }

    fn roll_back(&mut self, manager: u8, name: &Name) {
        let Some(Some(value)) = self.found(manager, name, false) else { return };
        if value["PreviousSpec"].is_null() {
            return;
        }
        let wish = objects::wish(name.kind, &json!({"Spec": value["PreviousSpec"]}));
        let said = self.update(manager, name, &value, &value["Spec"], "&rollback=previous");
        let answer = self.answered("roll back a service", name, &said);
        self.wrote(name, Some(wish), answer, false);
    }

    fn remove(&mut self, manager: u8, name: &Name) {
        let said = if name.kind == Kind::Stack {
            self.docker(manager, &["stack", "rm", "--detach=true", objects::stack(name)])
        } else {
            let path = format!("{}/{}", name.kind.path(), name.text);
            self.world.call(manager, "DELETE", &path, &Value::Null)
        };
        let answer = self.answered(name.kind.words().remove, name, &said);
        self.wrote(name, None, answer, false);
    }

    /// Of a client whose command fails nobody knows how far it came.
    fn docker(&self, manager: u8, arguments: &[&str]) -> Said {
        let mut docker = self.world.lab.limited(manager, Path::new("docker"));
        match run(docker.args(arguments)) {
            Ok(output) if output.status.success() => Said::Done(Value::Null),
            Ok(output) => Said::Lost(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
            Err(error) => Said::Lost(format!("{error:#}")),
        }
    }

    fn deploy(&mut self, manager: u8, name: &Name, wish: Wish, creates: bool) {
        let file = self.world.file(&format!("{}.yaml", name.text), &objects::stack_file(&wish));
        let Ok(file) = file else { return };
        let deploy = ["stack", "deploy", "--detach=true", "--resolve-image=never", "-c", &file];
        let said = self.docker(manager, &[&deploy[..], &[objects::stack(name)]].concat());
        let answer = self.answered(name.kind.words().create, name, &said);
        self.wrote(name, Some(wish), answer, creates);
    }

    /// Reads everything on all managers, when nothing is wrong and nothing is under way.
    ///
    /// # Errors
    /// When a manager does not tell.
    pub(super) fn read_all(&mut self) -> anyhow::Result<()> {
        let names: Vec<Name> = self.known.keys().cloned().collect();
        for manager in 1..=SHAPE.managers {
            for name in &names {
                // Where the machine has other work there may be no leader for a moment.
                let what = format!("host {manager} to tell {}", name.text);
                eventually(&what, PATIENCE, || self.found(manager, name, true).is_some())?;
            }
        }
        Ok(())
    }
}
