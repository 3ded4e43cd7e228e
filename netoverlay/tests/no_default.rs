//! Without a default network: nothing is made in the kernel before the first bridge network, and what an
//! earlier daemon made of the default network goes.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod lab;

use lab::{attach, inside, sh};
use shoal_netoverlay::network::NetworkSpec;

#[test]
fn nothing_is_made_before_the_first_bridge() {
    lab::run(|mut lab| async move {
        sh("sysctl -qw net.ipv4.ip_forward=0");
        lab.settings.default_network = false;
        let networks = lab.start().await;
        assert!(networks.resolve("bridge").is_err());
        assert!(networks.resolve("host").is_ok() && networks.resolve("none").is_ok());
        let alone = attach(&networks, "alone", &["none"]).await;
        assert_eq!(inside(&alone.path, "ip -o link show type veth; ip -o route show"), "");
        assert_eq!(networks.repair().await.unwrap(), 0);
        assert_eq!(sh("nft list tables; ip -o link show type bridge"), "");
        assert_eq!(sh("cat /proc/sys/net/ipv4/ip_forward").trim(), "0");

        let own = networks.create_network(NetworkSpec::bridge("own")).await.unwrap();
        assert_eq!(sh("nft list tables"), "table inet shoal\n");
        assert_eq!(sh("cat /proc/sys/net/ipv4/ip_forward").trim(), "1");
        networks.remove_network(own.id.clone()).await.unwrap();
        assert_eq!(sh("nft list tables; ip -o link show type bridge"), "");
    });
}

#[test]
fn a_disabled_default_network_goes() {
    lab::run(|mut lab| async move {
        drop(lab.start().await);
        assert!(sh("nft list tables; ip -o link show type bridge").contains("shoal0"));
        lab.settings.default_network = false;
        let networks = lab.start().await;
        assert!(networks.resolve("bridge").is_err());
        assert_eq!(sh("nft list tables; ip -o link show type bridge"), "");
    });
}
