//! Budgets of a container's network, printed; the limits are far above what a quiet machine needs, so
//! that only a change of kind fails.
#![allow(clippy::print_stdout, reason = "the numbers are the point")]

mod lab;

use std::time::Duration;

use lab::{attach, id};
use shoal_base::{Clock, SystemClock};
use shoal_netoverlay::plan::ports::Protocol;
use shoal_netoverlay::sandbox::{PortRequest, SandboxRequest};

fn show(what: &str, mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    let median = times[times.len() / 2];
    println!("{what}: median {median:?}, min {:?}, max {:?}", times[0], times[times.len() - 1]);
    median
}

#[test]
fn attach_and_detach() {
    lab::run(|mut lab| async move {
        lab.settings.spare_namespaces = 8;
        let networks = lab.start().await;
        tokio::task::yield_now().await;
        SystemClock.sleep(Duration::from_millis(50)).await;
        let mut times = [Vec::new(), Vec::new()];
        for number in 0..30 {
            let name = format!("one{number}");
            let start = SystemClock.monotonic();
            attach(&networks, &name, &["bridge"]).await;
            times[0].push(SystemClock.monotonic() - start);
            let start = SystemClock.monotonic();
            networks.detach(id(&name)).await.unwrap();
            times[1].push(SystemClock.monotonic() - start);
        }
        let [attached, detached] = times;
        let attached = show("attach", attached);
        show("detach", detached);
        assert!(attached < Duration::from_millis(50), "{attached:?}");

        let start = SystemClock.monotonic();
        let all = (0..50).map(|number| {
            let networks = networks.clone();
            async move { attach(&networks, &format!("many{number}"), &["bridge"]).await }
        });
        futures_util::future::join_all(all).await;
        let wall = SystemClock.monotonic() - start;
        println!("50 in parallel: {wall:?}, {:?} each", wall / 50);
        for number in 0..50 {
            networks.detach(id(&format!("many{number}"))).await.unwrap();
        }
        assert_eq!(lab.leftovers(), [""; 0]);
    });
}

#[test]
fn publishing_beside_a_thousand_ports() {
    lab::run(|lab| async move {
        let networks = lab.start().await;
        let bridge = networks.resolve("bridge").unwrap().id.clone();
        let request = |name: &str, ports: std::ops::Range<u16>| SandboxRequest {
            id: id(name),
            endpoints: vec![(bridge.clone(), Default::default())],
            ports: ports
                .map(|port| PortRequest {
                    protocol: Protocol::Tcp,
                    container_port: port,
                    host_ip: None,
                    host_ports: Some((port, port)),
                })
                .collect(),
        };
        for number in 0..10 {
            let first = 20_000 + number * 100;
            networks.attach(request(&format!("many{number}"), first..first + 100)).await.unwrap();
        }
        let mut times = [Vec::new(), Vec::new()];
        for number in 0..20 {
            let name = format!("with{number}");
            let start = SystemClock.monotonic();
            networks.attach(request(&name, 30_000 + number..30_001 + number)).await.unwrap();
            times[0].push(SystemClock.monotonic() - start);
            let start = SystemClock.monotonic();
            networks.attach(request(&format!("bare{number}"), 0..0)).await.unwrap();
            times[1].push(SystemClock.monotonic() - start);
        }
        let [with, bare] = times;
        let with = show("attach with one port beside 1,000", with);
        let bare = show("attach without port", bare);
        assert!(with < bare + Duration::from_millis(30), "{with:?} {bare:?}");
        let start = SystemClock.monotonic();
        assert_eq!(networks.repair().await.unwrap(), 0);
        println!("repair with 1,020 ports, nothing to do: {:?}", SystemClock.monotonic() - start);
    });
}
