//! Round trips through `docker-registry`.

use bytes::Bytes;
use shoal_engine_images::pull::{Event, PushStep, Request, Scope};
use shoal_engine_registry::{Access, Credentials, Target, manifest::media};
use shoal_model::image::Platform;
use shoal_model::{Classified as _, ErrorKind, Fact, Reference};

use crate::debian::{Guard, Registry};
use crate::{Host, pull_steps, request, tar};

fn push_steps(events: &[Event]) -> Vec<String> {
    let counted = |step: &PushStep| matches!(step, PushStep::Pushing { .. } | PushStep::Waiting);
    events
        .iter()
        .filter_map(|event| match event {
            Event::Push { step, .. } if !counted(step) => Some(format!("{step:?}")),
            _ => None,
        })
        .collect()
}

#[tokio::test]
async fn an_image_survives_push_and_pull() {
    let registry = Registry::start(Guard::None);
    let name = format!("{}/team/app:1.0", registry.host());
    let (from, to) = (Host::new(), Host::new());
    let layers = [tar("a", 3_000_000), tar("b", 10)];
    let id = from.image(&layers, &name);

    let (events, pushed) = from.push_as(&request(&name)).await;
    let digest = pushed.unwrap()[0];
    assert_eq!(events[0], Event::PushTo { repository: format!("{}/team/app", registry.host()) });
    assert_eq!(push_steps(&events), ["Preparing", "Preparing", "Pushed", "Pushed"]);
    let Some(Event::Pushed { tag, digest: told, .. }) = events.last() else { panic!("{events:?}") };
    assert_eq!((tag.as_str(), *told), ("1.0", digest));
    // The compressed layers took the plain ones' place.
    let image = from.images.get(id).unwrap();
    assert!(image.layers.iter().all(|layer| layer.digest != layer.diff_id));
    assert!(image.repo_digests.iter().any(|name| name.digest() == Some(digest)));

    let (events, pulled) = to.pull(&name).await;
    pulled.unwrap();
    let path = "team/app".to_owned();
    assert_eq!(events[0], Event::PullingFrom { repository: path, target: "1.0".to_owned() });
    for layer in &image.layers {
        let mut steps = pull_steps(&events, &layer.digest.short());
        // A small layer may be over before its first byte count is seen.
        steps.retain(|step| *step != "down");
        assert_eq!(steps, ["fs", "verify", "downloaded", "extract", "complete"]);
    }
    let last = [Event::Digest(digest), Event::Downloaded { reference: name.clone() }];
    assert_eq!(events[events.len() - 2..], last);
    let pulled = to.images.resolve(&name).unwrap();
    assert_eq!((pulled.id, &pulled.layers), (id, &image.layers));
    let file = to.images.snapshots().layer_path(image.layers[0].diff_id).join("a");
    assert_eq!(std::fs::metadata(file).unwrap().len(), 3_000_000);

    let (events, again) = to.pull(&name).await;
    again.unwrap();
    assert_eq!(events.last(), Some(&Event::UpToDate { reference: name.clone() }));
    // What was pulled is pushed unchanged, and nothing is sent twice.
    let (events, pushed) = to.push_as(&request(&name)).await;
    assert_eq!(pushed.unwrap(), [digest]);
    assert_eq!(push_steps(&events)[2..], ["LayerAlreadyExists", "LayerAlreadyExists"]);
    let by_digest = format!("{}/team/app@{digest}", registry.host());
    let third = Host::new();
    third.pull(&by_digest).await.1.unwrap();
    assert_eq!(third.images.resolve(&by_digest).unwrap().id, id);
    assert!(third.images.resolve(&name).is_err());
}

#[tokio::test]
async fn layers_are_mounted_from_other_repositories_and_all_tags_move() {
    let registry = Registry::start(Guard::None);
    let host = registry.host();
    let (from, to) = (Host::new(), Host::new());
    let id = from.image(&[tar("a", 100)], &format!("{host}/one:a"));
    from.push_as(&request(&format!("{host}/one:a"))).await.1.unwrap();
    for name in ["two:x", "two:y"] {
        from.images.tag(&format!("{host}/{name}").parse().unwrap(), id).unwrap();
    }
    let all = Request { scope: Scope::AllTags, ..request(&format!("{host}/two")) };
    let (events, pushed) = from.push_as(&all).await;
    assert_eq!(pushed.unwrap().len(), 2);
    assert_eq!(
        push_steps(&events),
        ["Preparing", "MountedFrom { repository: \"one\" }", "Preparing", "LayerAlreadyExists"]
    );
    let (events, pulled) = to.pull_as(&all).await;
    pulled.unwrap();
    assert_eq!(events.last(), Some(&Event::Downloaded { reference: format!("{host}/two") }));
    let names: Vec<String> =
        to.images.get(id).unwrap().references.iter().map(Reference::familiar).collect();
    assert_eq!(names, [format!("{host}/two:x"), format!("{host}/two:y")]);
}

#[tokio::test]
async fn credentials_are_needed_where_they_are_needed() {
    let registry = Registry::start(Guard::Password);
    let name = format!("{}/team/app:1", registry.host());
    let (from, to) = (Host::new(), Host::new());
    from.image(&[tar("a", 10)], &name);
    let error = from.push_as(&request(&name)).await.1.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthorized);
    let credentials = Credentials {
        username: "ann".to_owned(),
        password: "hunter2".to_owned(),
        ..Credentials::default()
    };
    let known = Request { credentials, ..request(&name) };
    from.push_as(&known).await.1.unwrap();
    to.pull_as(&known).await.1.unwrap();
    let inspected = to.transfers.inspect(&name.parse().unwrap(), &known.credentials).await.unwrap();
    assert_eq!(inspected.platforms[0].os, "linux");
}

#[tokio::test]
async fn an_index_gives_the_platform_and_facts_name_what_is_missing() {
    let registry = Registry::start(Guard::None);
    let name = format!("{}/team/app:1", registry.host());
    let (from, to) = (Host::new(), Host::new());
    let id = from.image(&[tar("a", 10)], &name);
    let digest = from.push_as(&request(&name)).await.1.unwrap()[0];
    let entry = |platform: &Platform, extra: &str| {
        format!(
            r#"{{"mediaType":"{}","digest":"{digest}","size":{},"platform":{{"os":"{}","architecture":"{}"}}{extra}}}"#,
            media::DOCKER_MANIFEST,
            from.images.get(id).unwrap().manifests[0].size,
            platform.os,
            platform.architecture
        )
    };
    let attestation = r#","annotations":{"vnd.docker.reference.type":"attestation-manifest"}"#;
    let host = Platform::host();
    let index = format!(
        r#"{{"schemaVersion":2,"mediaType":"{}","manifests":[{},{}]}}"#,
        media::OCI_INDEX,
        entry(&host, attestation),
        entry(&host, "")
    );
    let reference: Reference = format!("{}/team/app:multi", registry.host()).parse().unwrap();
    let client = from.transfers.client();
    let nobody = Credentials::default();
    let repository = client.repository(&reference, &nobody, Access::Push).await.unwrap();
    let bytes = Bytes::from(index);
    let top =
        repository.put_manifest(&Target::of(&reference), media::OCI_INDEX, &bytes).await.unwrap();

    let (events, pulled) = to.pull(&reference.to_string()).await;
    pulled.unwrap();
    assert!(events.contains(&Event::Digest(top)));
    assert_eq!(to.images.by_reference(&reference.with_digest(top)).unwrap().id, id);
    let inspected = to.transfers.inspect(&reference, &nobody).await.unwrap();
    assert_eq!((inspected.descriptor.digest, inspected.platforms.len()), (top, 1));

    let riscv = Platform::parse("linux/riscv64");
    let error =
        to.pull_as(&Request { platform: riscv.clone(), ..request(&reference.to_string()) }).await;
    let error = error.1.unwrap_err();
    let platform = "linux/riscv64".to_owned();
    assert_eq!(error.fact(), Some(Fact::NoMatchingPlatform { platform }));
    // A single image for another platform is pulled, with a warning.
    let (events, pulled) = to.pull_as(&Request { platform: riscv, ..request(&name) }).await;
    pulled.unwrap();
    assert!(events.iter().any(|event| matches!(event, Event::PlatformDiffers { .. })));

    let missing = format!("{}/team/app:absent", registry.host());
    let error = to.pull(&missing).await.1.unwrap_err();
    let cause = "manifest unknown: manifest unknown".to_owned();
    assert_eq!(error.fact(), Some(Fact::ManifestUnknown { reference: missing, cause }));
    assert_eq!(error.kind(), ErrorKind::NotFound);
    let error = to.push_as(&request(&format!("{}/none", registry.host()))).await.1.unwrap_err();
    assert!(matches!(error.fact(), Some(Fact::NoLocalTags { .. })), "{error:?}");
}
