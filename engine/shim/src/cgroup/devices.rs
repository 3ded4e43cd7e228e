//! Devices that every container may use, whatever its specification says. Pure.
//!
//! Source: OCI runtime-spec `config-linux.md` "Default Devices"; as runc, they come after the rules of
//! the specification, so that a specification that denies everything still leaves a working `/dev`.

use shoal_shim_protocol::spec::DeviceRule;

/// Character devices that may be used in every way: full, null, random, tty, urandom, zero, the
/// terminal multiplexer, and every pseudo-terminal.
const USABLE: [(i64, Option<i64>); 8] = [
    (1, Some(7)),
    (1, Some(3)),
    (1, Some(8)),
    (5, Some(0)),
    (1, Some(9)),
    (1, Some(5)),
    (5, Some(2)),
    (136, None),
];

/// The rules of a specification with those of the runtime. None given: no filter.
pub(crate) fn with_defaults(rules: &[DeviceRule]) -> Vec<DeviceRule> {
    if rules.is_empty() {
        return Vec::new();
    }
    let rule = |kind: &str, major, minor, access: &str| DeviceRule {
        allow: true,
        kind: Some(kind.to_owned()),
        major,
        minor,
        access: Some(access.to_owned()),
    };
    // A node may be made of any device; to use it is another matter.
    let nodes = ["c", "b"].map(|kind| rule(kind, None, None, "m"));
    let usable = USABLE.map(|(major, minor)| rule("c", Some(major), minor, "rwm"));
    rules.iter().cloned().chain(nodes).chain(usable).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cgroup::v1;

    #[test]
    fn defaults_follow_the_rules_given() {
        let deny = DeviceRule { kind: Some("a".to_owned()), ..DeviceRule::default() };
        let lines: Vec<_> = v1::device_writes(&with_defaults(&[deny]))
            .into_iter()
            .map(|write| format!("{}={}", write.file, write.value))
            .collect();
        assert_eq!(
            lines,
            [
                "devices.deny=a",
                "devices.allow=c *:* m",
                "devices.allow=b *:* m",
                "devices.allow=c 1:7 rwm",
                "devices.allow=c 1:3 rwm",
                "devices.allow=c 1:8 rwm",
                "devices.allow=c 5:0 rwm",
                "devices.allow=c 1:9 rwm",
                "devices.allow=c 1:5 rwm",
                "devices.allow=c 5:2 rwm",
                "devices.allow=c 136:* rwm",
            ]
        );
    }

    #[test]
    fn no_rules_are_no_filter() {
        assert_eq!(with_defaults(&[]), []);
    }
}
