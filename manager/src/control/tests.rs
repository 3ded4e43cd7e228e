//! Requests through the store.

use shoal_model::Failure;
use shoal_model::cluster::Annotations;
use shoal_model::cluster::TaskSpec;
use shoal_model::cluster::service::ServiceMode;
use shoal_model::container::ContainerSpec;

use super::*;
use crate::consensus::Leadership;
use crate::consensus::memory::{Fault, Sole};
use crate::store::tests::sole;

#[derive(Debug)]
struct NoManagers;

impl Managers for NoManagers {
    fn overview(&self) -> BoxFuture<'static, std::result::Result<Overview, store::Error>> {
        Box::pin(async { Ok(Overview::default()) })
    }
}

fn control() -> (Control, Sole) {
    let (store, sole) = sole();
    let random = Arc::new(shoal_base::random::SystemRandom);
    (Control::new(store, Arc::new(NoManagers), random), sole)
}

fn named(name: &str) -> Annotations {
    Annotations { name: name.to_owned(), ..Annotations::default() }
}

fn web(replicas: u64) -> ServiceSpec {
    let container = ContainerSpec { image: "busybox".to_owned(), ..ContainerSpec::default() };
    ServiceSpec {
        annotations: named("web"),
        task: Arc::new(TaskSpec { container, ..TaskSpec::default() }),
        mode: ServiceMode::Replicated { replicas: Some(replicas) },
        ..ServiceSpec::default()
    }
}

#[tokio::test]
async fn a_service_lives_from_create_to_remove() {
    let (control, _) = control();
    let (id, _) = control.create_service(web(1)).await.unwrap();
    let created = control.service("web").await.unwrap().service;
    assert_eq!((created.id, created.meta.version), (id, Version(1)));
    let scale = ServiceUpdate { spec: web(3), ..ServiceUpdate::default() };
    control.update_service("web", Version(1), scale.clone()).await.unwrap();
    let stale = control.update_service("web", Version(1), scale.clone()).await.unwrap_err();
    assert_eq!(Failure::from(stale).fact(), Some(&shoal_model::Fact::OutOfSequence));
    control.update_service("web", Version(2), scale).await.unwrap();
    assert_eq!(control.store().view().index(), 2, "nothing to change, nothing proposed");
    let back = ServiceUpdate { rollback: true, ..ServiceUpdate::default() };
    control.update_service(&id.to_string()[..10], Version(2), back).await.unwrap();
    let views = control.services(ServiceFilters::default(), true).await.unwrap();
    assert_eq!(views[0].counts.unwrap().desired, 1);
    control.remove_service("web").await.unwrap();
    let gone = Failure::from(control.service("web").await.unwrap_err());
    assert_eq!(gone.kind(), shoal_model::ErrorKind::NotFound);
}

#[tokio::test]
async fn a_lost_answer_of_a_create_makes_one_object() {
    let (control, sole) = control();
    let spec = ConfigSpec { annotations: named("a"), data: vec![1], ..ConfigSpec::default() };
    for fault in [Fault::Lost, Fault::Dropped] {
        let annotations = named(&format!("{fault:?}"));
        sole.fail_next(fault);
        let id = control.create_config(ConfigSpec { annotations, ..spec.clone() }).await.unwrap();
        assert_eq!(control.config(&format!("{fault:?}")).await.unwrap().id, id);
    }
    assert_eq!(control.configs(ObjectFilters::default()).await.unwrap().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn without_a_leader_dockers_words_are_said() {
    let (control, sole) = control();
    sole.set_leadership(Leadership::default());
    let failure = Failure::from(control.networks().await.unwrap_err());
    let no_leader = shoal_model::Fact::Membership(shoal_model::error::Unfit::NoLeader);
    assert_eq!(failure.fact(), Some(&no_leader));
}

#[tokio::test]
async fn a_used_secret_is_removed_after_its_service() {
    let (control, _) = control();
    let spec = SecretSpec { annotations: named("key"), data: vec![1], ..SecretSpec::default() };
    let id = control.create_secret(spec).await.unwrap();
    let mut spec = web(1);
    let file =
        shoal_model::cluster::task::FileTarget { name: "key".to_owned(), ..Default::default() };
    Arc::make_mut(&mut spec.task).secrets = vec![shoal_model::cluster::task::SecretReference {
        id,
        name: "key".to_owned(),
        file: Some(file),
    }];
    control.create_service(spec).await.unwrap();
    let refused = control.remove_secret("key").await.unwrap_err();
    assert_eq!(refused.to_string(), "secret 'key' is in use by the following service: web");
    control.remove_service("web").await.unwrap();
    control.remove_secret("key").await.unwrap();
    assert!(control.secrets(ObjectFilters::default()).await.unwrap().is_empty());
}
