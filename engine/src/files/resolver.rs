//! `/etc/resolv.conf`. Pure.
//!
//! Source: moby `libnetwork/internal/resolvconf`; resolv.conf(5).

use std::net::IpAddr;

use super::Error;

/// Where the engine's name server answers in a container.
pub const INTERNAL: &str = "127.0.0.11";

/// Used where the host names no server that a container can reach.
const PUBLIC_V4: [&str; 2] = ["8.8.8.8", "8.8.4.4"];
const PUBLIC_V6: [&str; 2] = ["2001:4860:4860::8888", "2001:4860:4860::8844"];

/// A resolver configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Config {
    /// Servers; link-local ones may carry `%interface`.
    pub servers: Vec<String>,
    /// Search domains.
    pub search: Vec<String>,
    /// Options.
    pub options: Vec<String>,
}

/// What the user asks for, or the daemon for all. Empty lists take the host's.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Overrides {
    /// `--dns`.
    pub servers: Vec<String>,
    /// `--dns-search`; `.` alone clears.
    pub search: Vec<String>,
    /// `--dns-option`.
    pub options: Vec<String>,
}

/// A server that the engine's name server asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upstream {
    /// Address, perhaps with `%interface`.
    pub server: String,
    /// A loopback address of the host: must be asked from the host's network.
    pub on_host: bool,
}

impl Config {
    /// Parses a file. Lines that are not understood are left out.
    pub fn parse(text: &str) -> Self {
        let mut config = Self::default();
        for line in text.lines() {
            let line = line.split(['#', ';']).next().unwrap_or_default();
            let mut words = line.split_whitespace().map(str::to_owned);
            match words.next().as_deref() {
                Some("nameserver") => config.servers.extend(words.next()),
                Some("search" | "domain") => config.search = words.collect(),
                Some("options") => config.options.extend(words),
                _ => {}
            }
        }
        config
    }

    /// Whether the only server is systemd-resolved's on the loopback.
    pub fn is_systemd_stub(&self) -> bool {
        self.servers.len() == 1 && self.servers[0] == "127.0.0.53"
    }

    fn overridden(&self, overrides: &Overrides) -> Result<Self, Error> {
        let pick = |own: &[String], inherited: &[String]| {
            if own.is_empty() { inherited.to_vec() } else { own.to_vec() }
        };
        for server in &overrides.servers {
            address(server).ok_or_else(|| Error::Server { text: server.clone() })?;
        }
        let mut search = pick(&overrides.search, &self.search);
        search.retain(|domain| domain != ".");
        Ok(Self {
            servers: pick(&overrides.servers, &self.servers),
            search,
            options: pick(&overrides.options, &self.options),
        })
    }

    /// The file's text.
    pub fn render(&self) -> String {
        let mut text = String::from("# Written by Shoal at each start of the container.\n");
        for server in &self.servers {
            text.push_str(&format!("nameserver {server}\n"));
        }
        for (word, values) in [("search", &self.search), ("options", &self.options)] {
            if !values.is_empty() {
                text.push_str(&format!("{word} {}\n", values.join(" ")));
            }
        }
        text
    }
}

/// The configuration of a container on the default bridge: the host's servers, but for those that are on
/// the host's loopback.
///
/// # Errors
/// When a server of the user's is no address.
pub fn for_default_bridge(
    host: &Config,
    overrides: &Overrides,
    ipv6: super::hosts::Families,
) -> Result<Config, Error> {
    let mut config = host.overridden(overrides)?;
    let v6 = ipv6 == super::hosts::Families::Both;
    if overrides.servers.is_empty() {
        config.servers.retain(|server| {
            address(server).is_some_and(|address| {
                !address.is_loopback() && (address.is_ipv4() || (v6 && !server.contains('%')))
            })
        });
        if config.servers.is_empty() {
            config.servers = PUBLIC_V4.map(str::to_owned).to_vec();
            config.servers.extend(PUBLIC_V6.into_iter().filter(|_| v6).map(str::to_owned));
        }
    }
    Ok(config)
}

/// The configuration of a container with the engine's name server, and the servers that it asks.
///
/// # Errors
/// When a server of the user's is no address, or `ndots` no number.
pub fn for_internal(
    host: &Config,
    overrides: &Overrides,
) -> Result<(Config, Vec<Upstream>), Error> {
    let mut config = host.overridden(overrides)?;
    let from_host = overrides.servers.is_empty();
    let usable = config.servers.iter().filter_map(|server| {
        let loopback = address(server)?.is_loopback();
        Some(Upstream { server: server.clone(), on_host: loopback && from_host })
    });
    let mut upstreams: Vec<Upstream> = usable.collect();
    if upstreams.is_empty() {
        upstreams
            .extend(PUBLIC_V4.map(|server| Upstream { server: server.to_owned(), on_host: false }));
    }
    config.servers = vec![INTERNAL.to_owned()];
    let ndots = config.options.iter().find_map(|option| option.strip_prefix("ndots:"));
    match ndots {
        // Names of containers have no dots: they must not be searched in domains first.
        None => config.options.push("ndots:0".to_owned()),
        Some(number) if number.parse::<u32>().is_ok() => {}
        Some(number) => return Err(Error::Ndots { text: number.to_owned() }),
    }
    Ok((config, upstreams))
}

/// The configuration of a container on the host's network.
///
/// # Errors
/// When a server of the user's is no address.
pub fn for_host(host: &Config, overrides: &Overrides) -> Result<Config, Error> {
    host.overridden(overrides)
}

fn address(server: &str) -> Option<IpAddr> {
    server.split('%').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::super::hosts::Families;
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    fn host() -> Config {
        Config::parse(
            "# comment\nnameserver 127.0.0.1\nnameserver 10.0.0.53 # ours\nnameserver fe80::1%eth0\n\
             nameserver fd00::53\ndomain old\nsearch a.example b.example\noptions timeout:1\noptions rotate\n",
        )
    }

    #[test]
    fn files_are_parsed() {
        assert_eq!(
            host(),
            Config {
                servers: words("127.0.0.1 10.0.0.53 fe80::1%eth0 fd00::53"),
                search: words("a.example b.example"),
                options: words("timeout:1 rotate"),
            }
        );
        assert!(Config::parse("nameserver 127.0.0.53\n").is_systemd_stub());
        assert!(!host().is_systemd_stub());
    }

    #[test]
    fn the_default_bridge_gets_what_it_can_reach() {
        let config = for_default_bridge(&host(), &Overrides::default(), Families::Both).unwrap();
        assert_eq!(
            config.render(),
            "# Written by Shoal at each start of the container.\nnameserver 10.0.0.53\nnameserver fd00::53\n\
             search a.example b.example\noptions timeout:1 rotate\n"
        );
        let v4 = for_default_bridge(&host(), &Overrides::default(), Families::V4).unwrap();
        assert_eq!(v4.servers, words("10.0.0.53"));
        let loopback = Config::parse("nameserver 127.0.0.1\n");
        let public = for_default_bridge(&loopback, &Overrides::default(), Families::Both).unwrap();
        assert_eq!(
            public.servers,
            words("8.8.8.8 8.8.4.4 2001:4860:4860::8888 2001:4860:4860::8844")
        );
    }

    #[test]
    fn the_users_wishes_replace_the_hosts() {
        let overrides = Overrides {
            servers: words("127.0.0.1"),
            search: words("."),
            options: words("ndots:2"),
        };
        let expected =
            Config { servers: words("127.0.0.1"), search: vec![], options: words("ndots:2") };
        assert_eq!(for_default_bridge(&host(), &overrides, Families::V4).unwrap(), expected);
        assert_eq!(for_host(&host(), &overrides).unwrap(), expected);
        let bad = Overrides { servers: words("dns.example"), ..Overrides::default() };
        assert_eq!(
            for_host(&host(), &bad).unwrap_err().to_string(),
            "invalid DNS server address: \"dns.example\""
        );
    }

    #[test]
    fn user_defined_networks_get_the_engines_server() {
        let (config, upstreams) = for_internal(&host(), &Overrides::default()).unwrap();
        assert_eq!(config.servers, [INTERNAL]);
        assert_eq!(config.options, words("timeout:1 rotate ndots:0"));
        let upstream = |server: &str, on_host| Upstream { server: server.into(), on_host };
        assert_eq!(
            upstreams,
            [
                upstream("127.0.0.1", true),
                upstream("10.0.0.53", false),
                upstream("fe80::1%eth0", false),
                upstream("fd00::53", false),
            ]
        );
        let bad = Overrides { options: words("ndots:x"), ..Overrides::default() };
        assert_eq!(
            for_internal(&host(), &bad).unwrap_err().to_string(),
            "invalid number for ndots option: \"x\""
        );
    }
}
