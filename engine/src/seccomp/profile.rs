//! Profiles as Docker and users write them, and the decision of their conditions. Pure.
//!
//! Source: moby/profiles `seccomp/seccomp.go` (format), `seccomp_linux.go setupSeccomp` (conditions).

use std::sync::{Arc, LazyLock};

use serde::{Deserialize, Serialize};

use super::{Arch, Error, builtin};
use crate::runtime_spec::oci::{Seccomp, SeccompArg, SeccompRule};

/// A profile whose conditions are still open. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    content: Arc<Content>,
    /// The text it was read from; identifies it in the cache.
    text: Arc<str>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Content {
    pub(super) default_action: String,
    pub(super) default_errno_ret: Option<u32>,
    #[serde(deserialize_with = "or_default")]
    pub(super) architectures: Vec<String>,
    #[serde(deserialize_with = "or_default")]
    pub(super) arch_map: Vec<ArchMap>,
    pub(super) flags: Option<Vec<String>>,
    pub(super) listener_path: String,
    #[serde(deserialize_with = "or_default")]
    pub(super) syscalls: Vec<Call>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct ArchMap {
    pub(super) architecture: String,
    #[serde(deserialize_with = "or_default")]
    pub(super) sub_architectures: Vec<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Call {
    /// Form of old profiles.
    pub(super) name: String,
    #[serde(deserialize_with = "or_default")]
    pub(super) names: Vec<String>,
    pub(super) action: String,
    pub(super) errno_ret: Option<u32>,
    #[serde(deserialize_with = "or_default")]
    pub(super) args: Vec<SeccompArg>,
    #[serde(deserialize_with = "or_default")]
    pub(super) includes: Filter,
    #[serde(deserialize_with = "or_default")]
    pub(super) excludes: Filter,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Filter {
    #[serde(deserialize_with = "or_default")]
    pub(super) caps: Vec<String>,
    #[serde(deserialize_with = "or_default")]
    pub(super) arches: Vec<String>,
    pub(super) min_kernel: Option<String>,
}

/// Go writes an empty list as `null`.
fn or_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Option::<T>::deserialize(deserializer).map(Option::unwrap_or_default)
}

impl Profile {
    /// Docker's default profile.
    pub fn builtin() -> &'static Self {
        static BUILTIN: LazyLock<Profile> = LazyLock::new(|| Profile {
            content: Arc::new(builtin::content()),
            text: "builtin".into(),
        });
        &BUILTIN
    }

    /// Parses a profile in Docker's or OCI's JSON and checks it for this program's abilities.
    ///
    /// # Errors
    /// When it is malformed or asks for what is not supported.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let mut content: Content = serde_json::from_str(text).map_err(Error::Decode)?;
        if !content.architectures.is_empty() && !content.arch_map.is_empty() {
            return Err(Error::TwoArchLists);
        }
        if !content.listener_path.is_empty() {
            return Err(Error::Notify { action: "listenerPath".to_owned() });
        }
        for call in &mut content.syscalls {
            if !call.name.is_empty() {
                if !call.names.is_empty() {
                    return Err(Error::TwoNames);
                }
                call.names = vec![std::mem::take(&mut call.name)];
            }
            for filter in [&call.includes, &call.excludes] {
                filter.min_kernel.as_deref().map(parse_version).transpose()?;
            }
        }
        let profile = Self { content: Arc::new(content), text: text.into() };
        // Everything that can be wrong with rules shows in the compiler, whatever the conditions.
        let all = Seccomp {
            syscalls: profile.content.syscalls.iter().map(rule).collect(),
            ..profile.head(Arch::NATIVE)
        };
        if !profile.is_disabled() {
            super::rules::check(&all)?;
        }
        Ok(profile)
    }

    /// Docker takes an empty profile as no confinement.
    fn is_disabled(&self) -> bool {
        self.content.default_action.is_empty() && self.content.syscalls.is_empty()
    }

    fn head(&self, arch: Arch) -> Seccomp {
        let mut architectures = self.content.architectures.clone();
        let own = self.content.arch_map.iter().find(|map| map.architecture == arch.oci_name());
        if let Some(map) = own {
            architectures.push(map.architecture.clone());
            architectures.extend(map.sub_architectures.iter().cloned());
        }
        Seccomp {
            default_action: self.content.default_action.clone(),
            default_errno_ret: self.content.default_errno_ret,
            architectures,
            flags: self.content.flags.clone(),
            listener_path: String::new(),
            syscalls: Vec::new(),
        }
    }
}

fn rule(call: &Call) -> SeccompRule {
    SeccompRule {
        names: call.names.clone(),
        action: call.action.clone(),
        errno_ret: call.errno_ret,
        args: call.args.clone(),
    }
}

/// `4.8` → (4, 8).
fn parse_version(text: &str) -> Result<(u32, u32), Error> {
    let malformed = || Error::KernelVersion { version: text.to_owned() };
    let (major, minor) = text.split_once('.').ok_or_else(malformed)?;
    let number = |word: &str| word.parse::<u32>().map_err(|_| malformed());
    let version = (number(major)?, number(minor)?);
    if version == (0, 0) { Err(malformed()) } else { Ok(version) }
}

/// A profile together with all that decides its conditions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    profile: Profile,
    arch: Arch,
    /// Sorted: the order of `--cap-add` does not matter.
    capabilities: Vec<String>,
    kernel: (u32, u32),
}

impl Choice {
    /// The filter of a container with `capabilities` (its bounding set) on this kernel.
    pub fn new(
        profile: Profile,
        arch: Arch,
        mut capabilities: Vec<String>,
        kernel: (u32, u32),
    ) -> Self {
        capabilities.sort();
        Self { profile, arch, capabilities, kernel }
    }

    /// Whether the profile confines nothing at all.
    pub fn is_disabled(&self) -> bool {
        self.profile.is_disabled()
    }

    /// The architecture of the host.
    pub fn arch(&self) -> Arch {
        self.arch
    }

    /// Everything the compiled program depends on, as text.
    pub(super) fn identity(&self) -> String {
        let (major, minor) = self.kernel;
        let capabilities = self.capabilities.join(",");
        format!("{:?} {major}.{minor} {capabilities}\n{}", self.arch, self.profile.text)
    }

    /// The section `linux.seccomp` for foreign runtimes, and the input of the compiler.
    ///
    /// # Errors
    /// None for a profile that was parsed; kept for versions that a later parser lets through.
    pub fn section(&self) -> Result<Seccomp, Error> {
        let mut section = self.profile.head(self.arch);
        for call in &self.profile.content.syscalls {
            if self.applies(call)? {
                section.syscalls.push(rule(call));
            }
        }
        Ok(section)
    }

    fn applies(&self, call: &Call) -> Result<bool, Error> {
        let has_arch =
            |filter: &Filter| filter.arches.iter().any(|arch| arch == self.arch.condition_name());
        let has_cap = |cap: &String| self.capabilities.binary_search(cap).is_ok();
        let new_enough = |filter: &Filter| {
            let wanted = filter.min_kernel.as_deref().map(parse_version).transpose()?;
            Ok::<_, Error>(wanted.map(|wanted| self.kernel >= wanted))
        };
        let (includes, excludes) = (&call.includes, &call.excludes);
        let excluded = has_arch(excludes)
            || excludes.caps.iter().any(has_cap)
            || new_enough(excludes)? == Some(true);
        let included = (includes.arches.is_empty() || has_arch(includes))
            && includes.caps.iter().all(has_cap)
            && new_enough(includes)? != Some(false);
        Ok(included && !excluded)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn section(text: &str, caps: &[&str], kernel: (u32, u32)) -> Vec<String> {
        let caps = caps.iter().map(|cap| (*cap).to_owned()).collect();
        let choice = Choice::new(Profile::parse(text).unwrap(), Arch::X86_64, caps, kernel);
        choice.section().unwrap().syscalls.into_iter().flat_map(|rule| rule.names).collect()
    }

    #[test]
    fn conditions_decide_which_rules_apply() {
        let profile = r#"{"defaultAction": "SCMP_ACT_ERRNO", "archMap": null, "syscalls": [
            {"names": ["read"], "action": "SCMP_ACT_ALLOW", "args": null},
            {"name": "write", "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "4.8"}},
            {"names": ["bpf"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_BPF", "CAP_KILL"]}},
            {"names": ["kcmp"], "action": "SCMP_ACT_ALLOW", "excludes": {"caps": ["CAP_BPF"]}},
            {"names": ["acct"], "action": "SCMP_ACT_ALLOW", "includes": {"arches": ["arm64"]}},
            {"names": ["tee"], "action": "SCMP_ACT_ALLOW", "excludes": {"minKernel": "5.0", "arches": ["s390"]}}
        ]}"#;
        assert_eq!(section(profile, &[], (4, 7)), ["read", "kcmp", "tee"]);
        assert_eq!(section(profile, &["CAP_KILL", "CAP_BPF"], (6, 1)), ["read", "write", "bpf"]);
        assert_eq!(section(profile, &["CAP_BPF"], (5, 0)), ["read", "write"]);
    }

    #[test]
    fn the_builtin_profile_names_this_architecture_and_its_siblings() {
        let choice = Choice::new(Profile::builtin().clone(), Arch::X86_64, vec![], (6, 1));
        let section = choice.section().unwrap();
        assert_eq!(section.architectures, ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"]);
        assert_eq!(
            (section.default_action.as_str(), section.default_errno_ret),
            ("SCMP_ACT_ERRNO", Some(1))
        );
    }

    #[test]
    fn bad_profiles_are_refused() {
        let refused = |text: &str| Profile::parse(text).unwrap_err().to_string();
        assert_eq!(refused("{"), "decoding seccomp profile failed");
        assert!(
            refused(r#"{"architectures":["a"],"archMap":[{}]}"#)
                .starts_with("both 'architectures'")
        );
        assert!(
            refused(
                r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"name":"a","names":["b"]}]}"#
            )
            .starts_with("both 'name'")
        );
        assert_eq!(
            refused(r#"{"defaultAction":"SCMP_ACT_JUMP"}"#),
            "seccomp profile: unknown action \"SCMP_ACT_JUMP\""
        );
        let notify = r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["mount"],"action":"SCMP_ACT_NOTIFY"}]}"#;
        assert!(matches!(Profile::parse(notify), Err(Error::Notify { .. })));
        let version = r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["mount"],"action":"SCMP_ACT_ALLOW","includes":{"minKernel":"4"}}]}"#;
        assert!(matches!(Profile::parse(version), Err(Error::KernelVersion { .. })));
    }
}
