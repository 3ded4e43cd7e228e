//! The authority and its clients over real sockets.

#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

mod external;
mod rig;

use std::sync::Arc;
use std::time::Duration;

use rig::Rig;
use shoal_base::Clock as _;
use shoal_base::random::SystemRandom;
use shoal_base::tasks::TaskKind;
use shoal_identity::credentials::Credentials;
use shoal_identity::renew::{Managers, Renewer};
use shoal_identity::tls::{self, Expected};
use shoal_identity::{Keeper, UnlockKey, chain, connect, join};
use shoal_manager::ca::{configure, issue, offline, revocation};
use shoal_manager::peers::Peers;
use shoal_model::cluster::NodeId;
use shoal_model::cluster::node::NodeRole;
use shoal_model::error::{Chain, Classified as _, ErrorKind};
use shoal_proto::ca::GetUnlockKeyRequest;
use shoal_proto::ca::ca_client::CaClient;
use tokio::sync::Notify;
use tonic::Code;
use tonic::transport::Channel;

const DAY: Duration = Duration::from_secs(24 * 3600);

/// A call that only managers may make.
async fn unlock_key(channel: Channel) -> Result<(), (Code, String)> {
    let answer = CaClient::new(channel).get_unlock_key(GetUnlockKeyRequest {}).await;
    answer.map(drop).map_err(|status| (status.code(), Chain(&status).to_string()))
}

fn channel(rig: &Rig, credentials: &Credentials) -> Channel {
    connect::channel(credentials, &rig.address, Expected::Manager).unwrap()
}

#[tokio::test]
async fn a_token_makes_a_member_of_its_role_whose_files_are_stored() {
    let rig = Rig::start().await;
    for (name, role) in [("a", NodeRole::Worker), ("b", NodeRole::Manager)] {
        let keeper = rig.member(name, role).await;
        let identity = keeper.credentials().identity();
        assert_eq!((identity.role, identity.cluster), (role, rig.cluster().id));
        let node = rig.store_node(identity.node);
        assert_eq!((node.role, node.certificate.role), (role, role));
        let stored = rig.files(name).load(None).unwrap().unwrap();
        assert_eq!(stored.chain.as_bytes(), node.certificate.chain);
        assert_eq!(
            (stored.trust, stored.data_keys.len()),
            (rig.cluster().root.certificate.clone(), 1)
        );
    }
}

#[tokio::test]
async fn a_join_that_died_before_it_stored_anything_becomes_the_same_node() {
    let rig = Rig::start().await;
    let (_, request) = rig.files("a").joining().unwrap();
    let token = rig.token(NodeRole::Worker);
    let (cluster, fresh) = (rig.cluster(), NodeId::from_bytes([7; 16]));
    let availability = shoal_model::cluster::node::Availability::Active;
    let ask = issue::Ask { request: &request, token: &token, availability };
    let issue::Admission::New(node) = issue::admit(&cluster, &[], ask, fresh).unwrap() else {
        panic!("nobody has asked before");
    };
    use shoal_manager::ca::{CaStore as _, Change};
    rig.ca.commit(vec![Change::Node(Arc::new(*node))]).await.unwrap();
    let keeper = rig.join("a", &token).await.unwrap();
    assert_eq!(keeper.credentials().identity().node, fresh);
}

#[tokio::test]
async fn bad_tokens_and_addresses_are_refused_in_dockers_words() {
    let rig = Rig::start().await;
    let refusal = async |token: &str| {
        let error = rig.join("a", token).await.unwrap_err();
        (error.kind(), Chain(&error).to_string())
    };
    let (cluster, now) = (rig.cluster(), rig.clock.now());
    let other = configure::initial(now, &SystemRandom).unwrap();
    let rotated = configure::rotate_token(&cluster.root, NodeRole::Worker, &SystemRandom);
    let digest = cluster.root.digest.trim_start_matches("sha256:").to_owned();
    let foreign = other.digest.trim_start_matches("sha256:").to_owned();
    assert_eq!(
        refusal("SWMTKN-1-a-b").await,
        (ErrorKind::InvalidArgument, "invalid join token".to_owned())
    );
    assert_ne!(digest, foreign);
    assert_eq!(
        refusal(&other.join_tokens.worker).await,
        (
            ErrorKind::InvalidArgument,
            format!("remote CA does not match fingerprint. Expected: {foreign}")
        )
    );
    assert_eq!(
        refusal(&rotated.join_tokens.worker).await,
        (
            ErrorKind::InvalidArgument,
            "rpc error: code = InvalidArgument desc = A valid join token is necessary to join this cluster"
                .to_owned()
        )
    );
    let dead = rig::dead_address().await.to_string();
    let files = rig.files("b");
    let both = [dead.clone(), rig.address.clone()];
    let join = |managers| join::Join {
        managers,
        token: &cluster.root.join_tokens.worker,
        availability: shoal_model::cluster::node::Availability::Active,
        files: &files,
        clock: rig.shared_clock(),
        random: rig.random.clone(),
    };
    let error = join::join(&join(&both[..1])).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert_eq!(
        Chain(&error).to_string(),
        format!(
            "failed to reach manager `{dead}`: failed to connect to `{dead}`: Connection refused (os error 111)"
        )
    );
    join::join(&join(&both)).await.expect("the second manager answers");
}

#[tokio::test]
async fn a_clock_that_is_behind_is_named_as_the_cause() {
    let rig = Rig::start().await;
    let slow = Arc::new(shoal_base::SystemClock);
    rig.clock.advance(2 * DAY);
    let now = rig.clock.now();
    let cluster = rig.cluster();
    let stored = rig::sign(&cluster, NodeId::from_bytes([5; 16]), NodeRole::Worker, now);
    let error = Credentials::new(&stored, slow).unwrap_err();
    assert!(error.to_string().contains("the clock of this host is behind"), "{error}");
}

#[tokio::test]
async fn callers_are_told_apart() {
    let rig = Rig::start().await;
    let (worker, manager) =
        (rig.member("w", NodeRole::Worker).await, rig.member("m", NodeRole::Manager).await);
    let path = "/shoal.ca.v1.Ca/GetUnlockKey";
    assert_eq!(unlock_key(channel(&rig, manager.credentials())).await, Ok(()));

    let (code, text) = unlock_key(channel(&rig, worker.credentials())).await.unwrap_err();
    assert_eq!(code, Code::PermissionDenied);
    assert!(
        text.contains(&format!("`{path}` is for managers, and the caller is a worker")),
        "{text}"
    );

    let trust = worker.credentials().current().trust.clone();
    let stranger = connect::Connector::with(tls::anonymous(trust, None, rig.shared_clock()));
    let stranger = connect::endpoint(&rig.address).unwrap().connect_with_connector_lazy(stranger);
    let (code, text) = unlock_key(stranger).await.unwrap_err();
    assert_eq!(code, Code::Unauthenticated);
    assert!(text.contains("needs a certificate of the cluster"), "{text}");
}

#[tokio::test]
async fn a_client_finds_out_that_the_server_is_not_whom_it_expects() {
    let rig = Rig::start().await;
    let worker = rig.member("w", NodeRole::Worker).await;
    let other = NodeId::from_bytes([4; 16]);
    let channel =
        connect::channel(worker.credentials(), &rig.address, Expected::Node(other)).unwrap();
    let (_, text) = unlock_key(channel).await.unwrap_err();
    let expected = format!("expected node `{other}` at the other end");
    assert!(text.contains(&expected), "{text}");
}

#[tokio::test]
async fn a_removed_node_is_refused_on_old_and_new_connections_and_renews_nothing() {
    let rig = Rig::start().await;
    let manager = rig.member("m", NodeRole::Manager).await;
    let id = manager.credentials().identity().node;
    let open = channel(&rig, manager.credentials());
    assert_eq!(unlock_key(open.clone()).await, Ok(()));
    let node = rig.store_node(id);
    let now = rig.clock.now();
    rig.change_cluster(|cluster| *cluster = revocation::revoke(cluster, &node, now)).await;
    rig.remove(id).await;
    rig.until_applied(|| rig.keeper.credentials().is_revoked(id)).await;
    let (code, text) = unlock_key(open).await.unwrap_err();
    assert_eq!(code, Code::PermissionDenied);
    assert!(text.contains(&format!("node `{id}` was removed from the cluster")), "{text}");
    // Each new connection is told why it is refused.
    for _ in 0..20 {
        let mut client = CaClient::new(channel(&rig, manager.credentials()));
        let status = client.get_unlock_key(GetUnlockKeyRequest {}).await.unwrap_err();
        assert!(tls::is_revoked(&status), "{status:?}");
    }
    assert!(join::renew(&manager, &rig.managers()).await.is_err());
    let error = join::renew_running_expired(&manager, &rig.managers()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Forbidden, "{error}");
}

#[tokio::test]
async fn a_promotion_and_a_demotion_need_no_restart() {
    let rig = Rig::start().await;
    let keeper = rig.member("a", NodeRole::Worker).await;
    let id = keeper.credentials().identity().node;
    let mut follow = keeper.credentials().follow();
    for role in [NodeRole::Manager, NodeRole::Worker] {
        rig.change_node(id, |node| node.role = role).await;
        join::renew(&keeper, &rig.managers()).await.unwrap();
        follow.changed().await.unwrap();
        assert_eq!(follow.borrow_and_update().identity.role, role);
        let may = unlock_key(channel(&rig, keeper.credentials())).await.is_ok();
        assert_eq!(may, role == NodeRole::Manager);
        assert_eq!(rig.store_node(id).certificate.role, role);
    }
}

#[tokio::test]
async fn a_manager_of_a_locked_cluster_stores_its_key_sealed_and_follows_the_lock() {
    let rig = Rig::start().await;
    rig.change_cluster(|cluster| {
        cluster.spec.autolock = true;
        *cluster = configure::lock(cluster, &SystemRandom);
    })
    .await;
    let key = UnlockKey::from_bytes(&rig.cluster().unlock_key).unwrap();
    rig.until_applied(|| rig.keeper.is_locked_by(&key)).await;
    rig.member("m", NodeRole::Manager).await;
    rig.member("w", NodeRole::Worker).await;
    assert!(rig.files("m").public().unwrap().unwrap().locked);
    assert!(rig.files("m").load(Some(&key)).unwrap().is_some());
    assert!(!rig.files("w").public().unwrap().unwrap().locked);
    rig.change_cluster(|cluster| {
        cluster.spec.autolock = false;
        *cluster = configure::lock(cluster, &SystemRandom);
    })
    .await;
    rig.until_applied(|| !rig.keeper.is_locked()).await;
    assert!(rig.files("manager").load(None).unwrap().is_some());
}

#[tokio::test]
async fn a_cluster_turns_to_a_new_root_while_its_nodes_talk() {
    let rig = Rig::start().await;
    let members = [
        rig.keeper.clone(),
        rig.member("m", NodeRole::Manager).await,
        rig.member("w", NodeRole::Worker).await,
    ];
    let old = rig.cluster().root.clone();
    for keeper in &members {
        rig.report(keeper).await;
    }
    rig.configure(|ca| ca.force_rotate += 1).await;
    for keeper in &members {
        let id = keeper.credentials().identity().node;
        rig.until("each node is told to renew", || {
            rig.store_node(id).certificate.state == shoal_model::cluster::node::IssueState::Rotate
        })
        .await;
    }
    for keeper in &members {
        join::renew(keeper, &rig.managers()).await.unwrap();
        assert_eq!(unlock_key(channel(&rig, members[1].credentials())).await, Ok(()));
    }
    assert!(rig.cluster().root.rotation.is_some(), "no node has reported yet");
    for keeper in &members {
        rig.report(keeper).await;
    }
    rig.until("the turn ends", || rig.cluster().root.rotation.is_none()).await;
    let new = rig.cluster().root.clone();
    assert_ne!(new.certificate, old.certificate);
    for keeper in &members {
        rig.report(keeper).await;
    }
    assert_eq!(unlock_key(channel(&rig, members[1].credentials())).await, Ok(()));
    assert!(rig.join("late", &old.join_tokens.worker).await.is_err());
    let late = rig.member("later", NodeRole::Worker).await;
    assert_eq!(late.credentials().current().trust.bundle, new.certificate);
    join::renew(&members[2], &rig.managers()).await.unwrap();
}

#[tokio::test]
async fn a_cluster_that_was_off_for_a_year_starts_again() {
    let mut rig = Rig::start().await;
    rig.member("w", NodeRole::Worker).await;
    let stored = rig.files("w").load(None).unwrap().unwrap();
    let own = rig.files("manager").load(None).unwrap().unwrap();
    rig.clock.advance(400 * DAY);
    let now = rig.clock.now();
    assert!(matches!(
        Credentials::new(&stored, rig.shared_clock()),
        Err(shoal_identity::credentials::Error::Chain(chain::Error::Expired { .. }))
    ));

    let node = rig.store_node(rig.keeper.credentials().identity().node);
    let renewed = offline::renew(&rig.cluster(), &node, &own, now, &SystemRandom).unwrap();
    rig.restart(renewed).await;
    let files = rig.files("w");
    let keeper =
        join::renew_expired(&files, &stored, &rig.managers(), &rig.shared_clock()).await.unwrap();
    assert_eq!(keeper.credentials().identity().role, NodeRole::Worker);
    assert_eq!(keeper.data_keys(), stored.data_keys);
    assert_ne!(files.load(None).unwrap().unwrap().chain, stored.chain);
    join::renew(&keeper, &rig.managers()).await.unwrap();
}

#[tokio::test]
async fn an_expired_certificate_without_its_key_or_beyond_the_grace_renews_nothing() {
    let mut rig = Rig::start().await;
    rig.member("w", NodeRole::Worker).await;
    let stored = rig.files("w").load(None).unwrap().unwrap();
    for (days, expected) in [(100, ErrorKind::Unauthorized), (1000, ErrorKind::Forbidden)] {
        rig.clock.advance(days * DAY);
        let now = rig.clock.now();
        let id = rig.keeper.credentials().identity().node;
        let renewed = rig::sign(&rig.cluster(), id, NodeRole::Manager, now);
        rig.restart(renewed).await;
        let thief = shoal_identity::files::Stored {
            trust: stored.trust.clone(),
            chain: stored.chain.clone(),
            key: shoal_identity::request::NodeKey::generate().unwrap(),
            data_keys: Vec::new(),
            unlock_version: 0,
        };
        let files = rig.files("w");
        let managers = rig.managers();
        let error =
            join::renew_expired(&files, &thief, &managers, &rig.shared_clock()).await.unwrap_err();
        assert_eq!(error.kind(), expected, "{error}");
    }
}

#[derive(Debug)]
struct At(Vec<String>);

impl Managers for At {
    fn addresses(&self) -> Vec<String> {
        self.0.clone()
    }
}

fn renewer(rig: &Rig, keeper: &Keeper, now: &Arc<Notify>) -> Renewer {
    Renewer {
        keeper: keeper.clone(),
        managers: Arc::new(At(rig.managers())),
        now: now.clone(),
        clock: rig.shared_clock(),
        random: rig.random.clone(),
    }
}

#[tokio::test]
async fn the_renewal_loop_renews_when_it_is_told_and_when_it_is_time() {
    let mut rig = Rig::start().await;
    let keeper = rig.member("a", NodeRole::Worker).await;
    let id = keeper.credentials().identity().node;
    let (mut follow, now) = (keeper.credentials().follow(), Arc::new(Notify::new()));
    follow.borrow_and_update();
    rig.tasks.spawn(TaskKind::Certificates, renewer(&rig, &keeper, &now).run());
    rig.change_node(id, |node| node.role = NodeRole::Manager).await;
    assert!(!follow.has_changed().unwrap(), "nothing is due");
    now.notify_one();
    follow.changed().await.unwrap();
    assert_eq!(follow.borrow_and_update().identity.role, NodeRole::Manager);

    // Beyond 80 % of the life, and then beyond its end.
    for days in [80, 100] {
        rig.clock.advance(days * DAY);
        let time = rig.clock.now();
        let own = rig.keeper.credentials().identity().node;
        rig.restart(rig::sign(&rig.cluster(), own, NodeRole::Manager, time)).await;
        rig.tasks.spawn(TaskKind::Certificates, renewer(&rig, &keeper, &now).run());
        follow.changed().await.unwrap();
        let not_after = follow.borrow_and_update().facts.not_after;
        assert!(not_after.since(time) > 89 * DAY);
    }
}

#[tokio::test]
async fn managers_reach_each_other_by_node_and_with_the_newest_certificate() {
    let rig = Rig::start().await;
    let keeper = rig.member("m", NodeRole::Manager).await;
    let (id, server) =
        (keeper.credentials().identity().node, rig.keeper.credentials().identity().node);
    let peers = Peers::new(keeper.credentials());
    let reach = async |node| unlock_key(peers.channel_to(node, &rig.address).unwrap()).await;
    assert_eq!(reach(server).await, Ok(()));
    let (_, text) = reach(id).await.unwrap_err();
    assert!(text.contains(&format!("expected node `{id}` at the other end")), "{text}");
    assert!(peers.channel_to(server, "nowhere").is_err());

    rig.change_node(id, |node| node.role = NodeRole::Worker).await;
    join::renew(&keeper, &rig.managers()).await.unwrap();
    let (code, _) = reach(server).await.unwrap_err();
    assert_eq!(code, Code::PermissionDenied, "the old certificate lives on in no connection");
}
