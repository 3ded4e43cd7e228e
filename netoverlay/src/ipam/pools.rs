//! Subnets for networks that ask for none.
//!
//! Source: moby `libnetwork/ipamutils` default address pools.

use crate::subnet::Subnet;

/// A supply of subnets of one size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pool {
    /// All subnets lie within.
    pub base: Subnet,
    /// Prefix length of each.
    pub size: u8,
}

/// No subnet is left.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("all predefined address pools have been fully subnetted")]
pub struct PoolError;

/// Docker's pools: 172.17 to 172.31 with 16 bits, 192.168 with 20.
pub fn defaults() -> Vec<Pool> {
    let pool =
        |base: [u8; 4], prefix, size| Pool { base: Subnet { address: base.into(), prefix }, size };
    vec![
        pool([172, 17, 0, 0], 16, 16),
        pool([172, 18, 0, 0], 16, 16),
        pool([172, 19, 0, 0], 16, 16),
        pool([172, 20, 0, 0], 14, 16),
        pool([172, 24, 0, 0], 14, 16),
        pool([172, 28, 0, 0], 14, 16),
        pool([192, 168, 0, 0], 16, 20),
    ]
}

/// The first subnet of the wanted family that overlaps none of `used`.
///
/// # Errors
/// When there is none.
pub fn choose(pools: &[Pool], ipv4: bool, used: &[Subnet]) -> Result<Subnet, PoolError> {
    pools
        .iter()
        .filter(|pool| pool.base.is_ipv4() == ipv4)
        .find_map(|pool| first_free(pool, used))
        .ok_or(PoolError)
}

fn first_free(pool: &Pool, used: &[Subnet]) -> Option<Subnet> {
    let base = pool.base.network();
    let mut candidate =
        Subnet::new(base.address, pool.size).filter(|_| pool.size >= base.prefix)?;
    loop {
        let in_the_way = used.iter().find(|used| used.overlaps(candidate));
        let Some(used) = in_the_way else { return Some(candidate) };
        // Behind whichever ends later, so that a large obstacle is one step.
        let end = |subnet: &Subnet| base.offset(subnet.last());
        let last = end(&candidate).max(end(used).filter(|_| base.contains(used.last())))?;
        if used.contains(base.last()) {
            return None;
        }
        let next = base.nth(last.checked_add(1)?)?;
        candidate = Subnet::new(next, pool.size)?.network();
        if base.offset(candidate.address)? <= last {
            let step = candidate.host_mask().checked_add(1)?;
            candidate.address = base.nth(base.offset(candidate.address)?.checked_add(step)?)?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(used: &[&str]) -> String {
        let used: Vec<Subnet> = used.iter().map(|subnet| subnet.parse().unwrap()).collect();
        let chosen = choose(&defaults(), true, &used);
        chosen.map_or_else(|error| error.to_string(), |subnet| subnet.to_string())
    }

    #[test]
    fn avoids_what_is_used() {
        let cases = [
            (&[][..], "172.17.0.0/16"),
            (&["172.17.5.0/24"], "172.18.0.0/16"),
            (&["172.16.0.0/13", "172.24.0.0/24"], "172.25.0.0/16"),
            (&["172.16.0.0/12"], "192.168.0.0/20"),
            (&["172.16.0.0/12", "192.168.1.0/24"], "192.168.16.0/20"),
            (&["172.16.0.0/12", "192.168.0.0/20", "192.168.16.0/21"], "192.168.32.0/20"),
            (
                &["0.0.0.0/1", "128.0.0.0/1"],
                "all predefined address pools have been fully subnetted",
            ),
        ];
        for (used, expected) in cases {
            assert_eq!(chosen(used), expected, "{used:?}");
        }
    }
}
