//! Users: each makes, changes, reads and removes services and secrets of its own, at any manager, and knows what was
//! acknowledged.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use shoal_base::random::Numbers;
use shoal_chaos_tests::oracle::{Answer, Register};
use shoal_manager::assembly::Manager;
use shoal_manager::control::Error;
use shoal_model::ErrorKind;
use shoal_model::cluster::request::ServiceUpdate;
use shoal_model::cluster::service::UpdateState;
use shoal_model::cluster::{Annotations, SecretSpec, ServiceSpec};
use shoal_model::error::Classified as _;

use crate::machines::Life;
use crate::note;
use crate::planted::Bug;
use crate::time::pass;
use crate::wish::{NAMES, Owner, Wish};
use crate::world::{World, told};

/// So often something is tried when all is over.
const TRIES_AT_END: u32 = 10;
/// Objects that a user reads at the end, of each manager: services and secrets.
pub(crate) const READS: u64 = 2 * NAMES;
/// After this a user gives up waiting for an answer.
const PATIENCE: Duration = Duration::from_secs(15);

/// What users got.
#[derive(Debug, Default)]
pub struct Counts {
    /// Writes and reads that were acknowledged.
    pub acknowledged: AtomicU64,
    /// Answers that were lost.
    pub lost: AtomicU64,
    /// Refusals.
    pub refused: AtomicU64,
}

/// A user.
#[derive(Debug)]
pub struct Client {
    world: Arc<World>,
    counts: Arc<Counts>,
    number: u8,
    numbers: Numbers,
    made: u64,
    services: BTreeMap<String, Register<Wish>>,
    secrets: BTreeMap<String, Register<u64>>,
}

impl Client {
    /// One that has nothing yet.
    pub fn new(world: &Arc<World>, counts: &Arc<Counts>, number: u8, seed: u64) -> Self {
        let names = |kind: &str| -> Vec<String> {
            (0..NAMES).map(|name| format!("{kind}-{number}-{name}")).collect()
        };
        Self {
            world: Arc::clone(world),
            counts: Arc::clone(counts),
            number,
            numbers: Numbers::new(seed),
            made: 0,
            services: names("service")
                .into_iter()
                .map(|name| (name, Register::default()))
                .collect(),
            secrets: names("secret").into_iter().map(|name| (name, Register::default())).collect(),
        }
    }

    /// Does one thing after the other for so long, and on until all users together have done `enough`, and gives itself
    /// back.
    pub async fn work(mut self, until: Duration, enough: u64) -> Self {
        let pause = u64::try_from(self.world.settings.pause.as_millis()).unwrap_or(u64::MAX);
        let begun = self.world.trace.now();
        let last = until + (until - begun);
        loop {
            let now = self.world.trace.now();
            let done = self.counts.acknowledged.load(Ordering::Relaxed);
            if now >= last || (now >= until && done >= enough) {
                return self;
            }
            pass(Duration::from_millis(20 + self.numbers.below(pause))).await;
            self.one().await;
        }
    }

    async fn one(&mut self) {
        let Some(life) = self.any_manager() else { return };
        let name = self.numbers.below(NAMES);
        if self.numbers.below(4) == 0 {
            let name = format!("secret-{}-{name}", self.number);
            match (self.numbers.below(3), self.secrets[&name].known()) {
                (0, _) => drop(self.read_secret(&life, &name).await),
                (_, None) => self.create_secret(&life, &name).await,
                (_, Some(_)) => self.remove_secret(&life, &name).await,
            }
        } else {
            let name = format!("service-{}-{name}", self.number);
            match (self.numbers.below(10), self.services[&name].known().cloned()) {
                (0..5, _) => drop(self.read_service(&life, &name).await),
                (_, None) => self.create_service(&life, &name).await,
                (5, Some(_)) => self.remove_service(&life, &name).await,
                (_, Some(wish)) => self.update_service(&life, &name, &wish).await,
            }
        }
    }

    fn any_manager(&mut self) -> Option<Arc<Life<Manager>>> {
        let alive: Vec<_> = self.world.managers.iter().filter_map(|one| one.life()).collect();
        let index = self.numbers.below(alive.len() as u64);
        alive.get(usize::try_from(index).unwrap_or(0)).cloned()
    }

    fn wish(&mut self, name: &str, old: Option<&Wish>) -> (Wish, ServiceSpec) {
        self.made += 1;
        let owner = self.owner(name);
        let wish = Wish::any(&mut self.numbers, owner, self.made, old);
        let spec = self.spec(name, &wish);
        (wish, spec)
    }

    fn spec(&self, name: &str, wish: &Wish) -> ServiceSpec {
        let spec = wish.spec(name, self.owner(name), self.made, self.world.overlay);
        self.world.checks.asked(&spec);
        spec
    }

    fn owner(&self, name: &str) -> Owner {
        Owner { user: self.number, name: u64::from(!name.ends_with('0')) }
    }

    /// What a call says, while the manager lives; `None`: no answer came.
    async fn call<T>(
        &self,
        life: &Life<Manager>,
        call: impl Future<Output = Result<T, Error>>,
    ) -> Option<Result<T, Error>> {
        tokio::select! {
            biased;
            () = life.died.cancelled() => None,
            answer = call => Some(answer),
            () = pass(PATIENCE) => None,
        }
    }

    fn answer<T>(&self, what: &str, answer: &Option<Result<T, Error>>) -> Answer {
        let (answer, why) = match answer {
            Some(Ok(_)) => (Answer::Done, String::new()),
            Some(Err(error @ Error::Refused(_))) => (Answer::Refused, told(error)),
            Some(Err(error)) => (Answer::Lost, told(error)),
            None => (Answer::Lost, "no answer".to_owned()),
        };
        let count = match answer {
            Answer::Done => &self.counts.acknowledged,
            Answer::Refused => &self.counts.refused,
            Answer::Lost => &self.counts.lost,
        };
        count.fetch_add(1, Ordering::Relaxed);
        note!(self.world.trace, "user {} {what}: {answer:?} {why}", self.number);
        if answer == Answer::Lost && self.world.planted.is(Bug::EarlySuccess) {
            return Answer::Done;
        }
        answer
    }

    async fn create_service(&mut self, life: &Life<Manager>, name: &str) {
        let (wish, spec) = self.wish(name, None);
        let control = &life.process.control;
        let done = self.call(life, control.create_service(spec)).await;
        let answer = self.answer(&format!("creates {name} {wish:?}"), &done);
        self.service(name).wrote(Some(wish), answer, true);
    }

    async fn update_service(&mut self, life: &Life<Manager>, name: &str, old: &Wish) {
        let (wish, spec) = self.wish(name, Some(old));
        self.change_service(life, name, wish, spec).await;
    }

    async fn change_service(
        &mut self,
        life: &Life<Manager>,
        name: &str,
        wish: Wish,
        spec: ServiceSpec,
    ) {
        let control = &life.process.control;
        let Some(Ok(view)) = self.call(life, control.service(name)).await else { return };
        let version = view.service.meta.version;
        let request = ServiceUpdate { spec, rollback: false, revision: None, auth_from: None };
        let done = self.call(life, control.update_service(name, version, request)).await;
        let answer = self.answer(&format!("changes {name} {wish:?}"), &done);
        self.service(name).wrote(Some(wish), answer, false);
    }

    async fn remove_service(&mut self, life: &Life<Manager>, name: &str) {
        let done = self.call(life, life.process.control.remove_service(name)).await;
        let answer = self.answer(&format!("removes {name}"), &done);
        self.service(name).wrote(None, answer, false);
    }

    /// Whether an answer came.
    async fn read_service(&mut self, life: &Life<Manager>, name: &str) -> bool {
        let found = if self.world.planted.is(Bug::StaleRead) {
            let view = life.process.store.view();
            let mut services = view.services();
            Ok(services.find(|it| it.spec.annotations.name == name && !it.removing).cloned())
        } else {
            match self.call(life, life.process.control.service(name)).await {
                Some(Ok(view)) => Ok(Some(view.service)),
                Some(Err(error)) if error.kind() == ErrorKind::NotFound => Ok(None),
                Some(Err(error)) => Err(told(&error)),
                None => Err("no answer".to_owned()),
            }
        };
        match found {
            Err(why) => {
                note!(self.world.trace, "user {} cannot read {name}: {why}", self.number);
                false
            }
            Ok(service) => {
                self.counts.acknowledged.fetch_add(1, Ordering::Relaxed);
                let found = service.filter(|it| !it.removing).map(|service| Wish::of(&service));
                note!(self.world.trace, "user {} reads {name}: {found:?}", self.number);
                let verdict = self.service(name).read(found);
                self.judge(name, verdict);
                true
            }
        }
    }

    async fn create_secret(&mut self, life: &Life<Manager>, name: &str) {
        self.made += 1;
        let (value, control) = (self.made, &life.process.control);
        let annotations = Annotations { name: name.to_owned(), ..Annotations::default() };
        let data = value.to_string().into_bytes();
        let spec = SecretSpec { annotations, data, ..SecretSpec::default() };
        let done = self.call(life, control.create_secret(spec)).await;
        let answer = self.answer(&format!("creates {name} {value}"), &done);
        self.secret(name).wrote(Some(value), answer, true);
    }

    async fn remove_secret(&mut self, life: &Life<Manager>, name: &str) {
        let done = self.call(life, life.process.control.remove_secret(name)).await;
        let answer = self.answer(&format!("removes {name}"), &done);
        self.secret(name).wrote(None, answer, false);
    }

    /// Whether an answer came.
    async fn read_secret(&mut self, life: &Life<Manager>, name: &str) -> bool {
        let found = match self.call(life, life.process.control.secret(name)).await {
            Some(Ok(secret)) => String::from_utf8_lossy(&secret.spec.data).parse().ok(),
            Some(Err(error)) if error.kind() == ErrorKind::NotFound => None,
            Some(Err(_)) | None => return false,
        };
        self.counts.acknowledged.fetch_add(1, Ordering::Relaxed);
        note!(self.world.trace, "user {} reads {name}: {found:?}", self.number);
        let verdict = self.secret(name).read(found);
        self.judge(name, verdict);
        true
    }

    /// Changes its services that may never run, have no endpoint, or whose update stands still as a task failed, to such that
    /// must run. All live and no way is cut: it must be possible.
    pub async fn repair(&mut self) {
        let services: Vec<_> = self.services.keys().cloned().collect();
        for name in services {
            let mut tries = 0;
            while !self.try_repair(&name).await {
                tries += 1;
                if tries == TRIES_AT_END {
                    let what = format!("user {} cannot change {name}", self.number);
                    return self.world.checks.found("CONV-1", what);
                }
                pass(Duration::from_secs(1)).await;
            }
        }
    }

    /// Whether the service is there no more, or as it must be.
    async fn try_repair(&mut self, name: &str) -> bool {
        let Some(life) = self.any_manager() else { return false };
        if !self.read_service(&life, name).await {
            return false;
        }
        let Some(old) = self.services[name].known().cloned() else { return true };
        let Some(Ok(view)) = self.call(&life, life.process.control.service(name)).await else {
            return false;
        };
        let update = view.service.update.as_ref().map(|update| update.state);
        // Two users who asked for a port at the same time were both told that they have it.
        let has_endpoint = view.service.endpoint_error.is_empty();
        if !old.is_hopeless() && update != Some(UpdateState::Paused) && has_endpoint {
            return true;
        }
        self.made += 1;
        let wish = old.plain(self.owner(name), self.made);
        let spec = self.spec(name, &wish);
        self.change_service(&life, name, wish, spec).await;
        // It is read again.
        false
    }

    /// Reads everything once more, of every manager. All live and no way is cut: an answer must come.
    pub async fn read_all(&mut self) {
        let services: Vec<_> = self.services.keys().cloned().collect();
        let secrets: Vec<_> = self.secrets.keys().cloned().collect();
        for manager in 0..self.world.managers.len() {
            let Some(life) = self.world.managers[manager].life() else { continue };
            for name in services.iter().chain(&secrets) {
                let mut tries = 1;
                while !self.read(&life, name).await {
                    if tries == TRIES_AT_END {
                        let what = format!("user {} cannot read {name}", self.number);
                        return self.world.checks.found("CONV-1", what);
                    }
                    tries += 1;
                    pass(Duration::from_secs(1)).await;
                }
            }
        }
    }

    async fn read(&mut self, life: &Life<Manager>, name: &str) -> bool {
        if self.services.contains_key(name) {
            self.read_service(life, name).await
        } else {
            self.read_secret(life, name).await
        }
    }

    fn judge(&self, name: &str, verdict: Result<(), String>) {
        if let Err(what) = verdict {
            self.world.checks.found("RAFT-2", format!("user {} and {name}: {what}", self.number));
        }
    }

    fn service(&mut self, name: &str) -> &mut Register<Wish> {
        self.services.entry(name.to_owned()).or_default()
    }

    fn secret(&mut self, name: &str) -> &mut Register<u64> {
        self.secrets.entry(name.to_owned()).or_default()
    }
}
