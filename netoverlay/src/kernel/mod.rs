//! Effects on the kernel: links, addresses, routes, sysctls, namespaces, nftables.
//!
//! Everything here blocks and is called from [`shoal_base::blocking::run`]. One transport serves all
//! netlink families ([`socket`]): several requests travel in one datagram, because parallel container
//! starts queue for the kernel's rtnl lock, and a socket belongs for good to the namespace it was opened
//! in, so that a pooled sandbox needs no thread to be configured later. Messages of rtnetlink are built
//! by `netlink-packet-route`; those of nf_tables by [`nft`], for which no crate fits (licence, or one
//! message per datagram).

#![allow(unsafe_code, reason = "socket options and the descriptors of namespaces")]

pub mod conntrack;
pub mod link;
pub mod namespace;
pub mod neighbour;
pub mod nft;
pub mod port;
pub mod route;
pub mod socket;
pub mod sysctl;
pub mod watch;
pub mod way;
