//! Connections through virtual addresses while backends come and go.

use std::collections::BTreeSet;
use std::time::Duration;

use shoal_chaos_tests::command::monotonic;
use shoal_chaos_tests::traffic::Sender;

use super::lab::{Cluster, IDLE};

/// A sender of datagrams has another backend within this time.
const MOVED: Duration = Duration::from_secs(1);

#[test]
fn senders_move_on_and_connections_stay() {
    let cluster = Cluster::up("ovb", 1);
    cluster.spread("web", "3");
    cluster.put("client", 1, &[], IDLE);
    let servers = cluster.serve("web");
    let place = cluster.place(1, "client");
    for vip in cluster.vips("web") {
        let mut seen = BTreeSet::new();
        let all = cluster.until("an answer of each backend", || {
            seen.insert(place.ask(vip)?.split(' ').next().unwrap_or_default().to_owned());
            Ok(seen.len() == 3)
        });
        assert!(all.is_ok(), "{vip}: {seen:?}");
    }
    let vips = cluster.vips("web");
    let senders: Vec<Sender> =
        vips.iter().map(|vip| Sender::start(&place, *vip).unwrap()).collect();
    let answered = || Ok(senders.iter().all(|sender| servers.contains_key(&sender.last())));
    cluster.until("answers to the senders", answered).unwrap();
    let mut held = Vec::new();
    let each = cluster.until("a connection to each backend", || {
        held.push(place.hold(vips[held.len() % 2])?);
        let names: BTreeSet<&String> = held.iter().map(|(_, name)| name).collect();
        Ok(names.len() == 3 && held.len() >= 8)
    });
    each.unwrap();

    // One backend less: senders never wait long, and connections to the others go on.
    let began = monotonic();
    cluster.docker(&["service", "scale", "-d", "web=2"]).unwrap();
    let left = || -> BTreeSet<String> {
        let hosts = cluster.numbers().map(|host| cluster.containers(host, "web").unwrap());
        hosts.flatten().collect()
    };
    cluster.until("one backend less", || Ok(left().len() == 2)).unwrap();
    let left = left();
    for sender in &senders {
        let moved = || Ok(left.contains(&sender.last()));
        cluster.until_within("another backend", MOVED, moved).unwrap();
        let silence = sender.silence_since(began);
        assert!(silence < MOVED, "no answer for {silence:?}");
    }
    let others = held.iter_mut().filter(|(_, name)| left.contains(name));
    for (connection, name) in others {
        assert_eq!(connection.ask().unwrap(), *name);
    }

    // A backend that dies without a warning.
    let sender = &senders[0];
    let victim = sender.last();
    let host = servers[&victim].0;
    let began = monotonic();
    cluster.run(host, &["kill", &victim]).unwrap();
    let moved = || Ok(sender.last() != victim && !sender.last().is_empty());
    cluster.until_within("another backend", Duration::from_secs(3), moved).unwrap();
    println!("a sender moved on after {:?}", sender.silence_since(began));
    drop(senders);
    cluster.remove(&["web", "client"]);
}
