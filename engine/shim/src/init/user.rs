//! Users as docker writes them, looked up in the container's files. Pure.
//!
//! Source: moby `user` package `GetExecUser`; `docker run --user`, `--group-add`.

use shoal_shim_protocol::config::UserLookup;
use shoal_shim_protocol::message::FailureKind;
use shoal_shim_protocol::spec::User;

use crate::failure::{Result, failure};

/// Finds the numbers. Missing files are empty texts.
pub(crate) fn resolve(lookup: &UserLookup, passwd: &str, group: &str) -> Result<User> {
    let (name, wanted_group) = match lookup.user.split_once(':') {
        Some((name, group)) => (name, Some(group).filter(|group| !group.is_empty())),
        None => (lookup.user.as_str(), None),
    };
    let name = if name.is_empty() { "0" } else { name };
    let entry = passwd
        .lines()
        .map(|line| line.split(':').collect::<Vec<_>>())
        .find(|fields| fields.first() == Some(&name) || fields.get(2) == Some(&name));
    let field = |place: usize| {
        entry.as_ref().and_then(|fields| fields.get(place)).and_then(|text| text.parse().ok())
    };
    let uid = field(2).or_else(|| number(name)).ok_or_else(|| {
        let message = format!("unable to find user {name}: no matching entries in passwd file");
        failure(FailureKind::UnknownUser, message)
    })?;
    let own_name = entry.as_ref().and_then(|fields| fields.first()).copied();
    let mut user = User { uid, gid: field(3).unwrap_or(0), ..User::default() };
    match wanted_group {
        Some(wanted) => user.gid = group_id(wanted, group)?,
        // Groups of the file count only when none was asked for.
        None => {
            user.additional_gids = own_name.map(|name| member_of(name, group)).unwrap_or_default()
        }
    }
    for wanted in &lookup.additional_groups {
        user.additional_gids.push(group_id(wanted, group)?);
    }
    // The user's own group is in the list too: programs check it there (CVE-2022-36109).
    user.additional_gids.push(user.gid);
    user.additional_gids.sort_unstable();
    user.additional_gids.dedup();
    Ok(user)
}

/// The home directory of a user.
pub(crate) fn home(uid: u32, passwd: &str) -> String {
    let line = passwd.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let uid = uid.to_string();
    let mut found = line.filter(|fields| fields.get(2) == Some(&uid.as_str()));
    let home = found.find_map(|fields| fields.get(5).map(|home| (*home).to_owned()));
    home.filter(|home| !home.is_empty()).unwrap_or_else(|| "/".to_owned())
}

fn number(text: &str) -> Option<u32> {
    text.parse::<i32>().ok().and_then(|number| u32::try_from(number).ok())
}

fn group_id(wanted: &str, group: &str) -> Result<u32> {
    let mut entries = group.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let entry =
        entries.find(|fields| fields.first() == Some(&wanted) || fields.get(2) == Some(&wanted));
    let found = entry.and_then(|fields| fields.get(2).and_then(|text| text.parse().ok()));
    found.or_else(|| number(wanted)).ok_or_else(|| {
        let message = format!("unable to find group {wanted}: no matching entries in group file");
        failure(FailureKind::UnknownUser, message)
    })
}

fn member_of(name: &str, group: &str) -> Vec<u32> {
    let entries = group.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let has = |fields: &Vec<&str>| {
        fields.get(3).is_some_and(|members| members.split(',').any(|member| member.trim() == name))
    };
    entries.filter(has).filter_map(|fields| fields.get(2)?.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nweb:x:33:34::/var/www:/bin/false";
    const GROUP: &str = "root:x:0:\nwww:x:34:\nadm:x:4:web,root\n";

    #[track_caller]
    fn check(user: &str, more: &[&str], expected: Result<(u32, u32, &[u32])>) {
        let lookup = UserLookup {
            user: user.to_owned(),
            additional_groups: more.iter().map(|name| (*name).to_owned()).collect(),
        };
        let found = resolve(&lookup, PASSWD, GROUP);
        let expected = expected.map(|(uid, gid, more)| User {
            uid,
            gid,
            additional_gids: more.into(),
            umask: None,
        });
        assert_eq!(found, expected);
    }

    #[test]
    fn names_and_numbers() {
        check("", &[], Ok((0, 0, &[0, 4])));
        check("web", &[], Ok((33, 34, &[4, 34])));
        check("web:adm", &[], Ok((33, 4, &[4])));
        check("33", &["root", "77"], Ok((33, 34, &[0, 4, 34, 77])));
        check("1000:1001", &[], Ok((1000, 1001, &[1001])));
        let message = "unable to find user who: no matching entries in passwd file";
        check("who", &[], Err(failure(FailureKind::UnknownUser, message)));
    }

    #[test]
    fn homes() {
        assert_eq!(home(33, PASSWD), "/var/www");
        assert_eq!(home(5, PASSWD), "/");
    }
}
