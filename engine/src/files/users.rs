//! Users and groups of a container, from its own `/etc/passwd` and `/etc/group`.
//!
//! [`decide`] is pure; [`lookup`] reads the files beneath the container's root.
//!
//! Source: `github.com/moby/sys/user GetExecUser, GetAdditionalGroups`.

use std::os::fd::BorrowedFd;
use std::path::Path;

use super::Error;
use crate::beneath;
use crate::runtime_spec::ResolvedUser;

/// More than any real file of users.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// Looks up `user` (`name|uid[:group|gid]`, empty: root) and further `groups` beneath `root`. Blocks.
///
/// # Errors
/// When a name is not there, a number out of range, or a file cannot be read; missing files are empty.
pub fn lookup(root: BorrowedFd<'_>, user: &str, groups: &[String]) -> Result<ResolvedUser, Error> {
    let read = |path: &str| {
        let bytes = beneath::read_in(root, Path::new(path), FILE_BYTES_MAX)
            .map_err(|source| Error::Read { path: path.into(), source })?;
        Ok::<_, Error>(String::from_utf8_lossy(&bytes.unwrap_or_default()).into_owned())
    };
    decide(&read("/etc/passwd")?, &read("/etc/group")?, user, groups)
}

struct Group<'a> {
    name: &'a str,
    gid: u32,
    members: Vec<&'a str>,
}

/// Finds a user in the text of passwd and group files.
///
/// # Errors
/// When a name is not there or a number out of range.
pub fn decide(
    passwd: &str,
    group: &str,
    user: &str,
    additional: &[String],
) -> Result<ResolvedUser, Error> {
    let (name, group_name) = user.split_once(':').unwrap_or((user, ""));
    let groups: Vec<Group<'_>> = group.lines().filter_map(parse_group).collect();
    let mut resolved = ResolvedUser { home: "/".to_owned(), ..ResolvedUser::default() };
    let wanted = if name.is_empty() { Some(0) } else { number(name)? };
    let entry = passwd.lines().filter_map(parse_user).find(|entry| match wanted {
        Some(uid) => entry.uid == uid,
        None => entry.name == name,
    });
    match (&entry, wanted) {
        (Some(entry), _) => {
            resolved.uid = entry.uid;
            resolved.gid = entry.gid;
            entry.home.clone_into(&mut resolved.home);
        }
        (None, Some(uid)) => resolved.uid = uid,
        (None, None) => return Err(Error::NoUser { name: name.to_owned() }),
    }
    if !group_name.is_empty() {
        resolved.gid = find_group(&groups, group_name)?;
    } else if let Some(entry) = &entry {
        let member = groups.iter().filter(|group| group.members.contains(&entry.name));
        resolved.groups = member.map(|group| group.gid).collect();
    }
    for name in additional {
        let gid = find_group(&groups, name)?;
        if !resolved.groups.contains(&gid) {
            resolved.groups.push(gid);
        }
    }
    Ok(resolved)
}

struct UserEntry<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
}

/// Malformed lines are skipped: a container's files are not the daemon's to judge.
fn parse_user(line: &str) -> Option<UserEntry<'_>> {
    let fields: Vec<&str> = line.trim().split(':').collect();
    Some(UserEntry {
        name: fields.first()?,
        uid: fields.get(2)?.parse().ok()?,
        gid: fields.get(3)?.parse().ok()?,
        home: fields.get(5).copied().unwrap_or_default(),
    })
}

fn parse_group(line: &str) -> Option<Group<'_>> {
    let fields: Vec<&str> = line.trim().split(':').collect();
    let members = fields.get(3).copied().unwrap_or_default();
    Some(Group {
        name: fields.first().copied()?,
        gid: fields.get(2)?.parse().ok()?,
        members: members.split(',').filter(|member| !member.is_empty()).collect(),
    })
}

/// A number is always an id, even where a group has it as its name.
fn find_group(groups: &[Group<'_>], name: &str) -> Result<u32, Error> {
    if let Some(gid) = number(name)? {
        return Ok(gid);
    }
    let found = groups.iter().find(|group| group.name == name);
    found.map(|group| group.gid).ok_or_else(|| Error::NoGroup { name: name.to_owned() })
}

/// `Some` for a number; an error for one that is no id.
fn number(text: &str) -> Result<Option<u32>, Error> {
    let Ok(number) = text.parse::<i64>() else { return Ok(None) };
    let id = u32::try_from(number).ok().filter(|id| *id <= 0x7fff_ffff);
    id.map(Some).ok_or_else(|| Error::IdRange { id: text.to_owned() })
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nbroken\n# c\napp:x:1000:1001:App:/home/app:/bin/sh\nnohome:x:5:6\n";
    const GROUP: &str =
        "root:x:0:root\nwheel:x:10:root,app\napp:x:1001:\naudio:x:29:app\n77:x:78:\n";

    fn found(user: &str, groups: &[&str]) -> Result<(u32, u32, Vec<u32>, String), String> {
        let groups: Vec<String> = groups.iter().map(|group| (*group).to_owned()).collect();
        decide(PASSWD, GROUP, user, &groups)
            .map(|user| (user.uid, user.gid, user.groups, user.home))
            .map_err(|error| error.to_string())
    }

    #[test]
    fn users_are_found_by_name_and_number() {
        let app = |gid, groups: Vec<u32>| Ok((1000, gid, groups, "/home/app".to_owned()));
        assert_eq!(found("", &[]), Ok((0, 0, vec![0, 10], "/root".into())));
        assert_eq!(found("app", &[]), app(1001, vec![10, 29]));
        assert_eq!(found("1000", &[]), app(1001, vec![10, 29]));
        assert_eq!(found("app:audio", &[]), app(29, vec![]));
        assert_eq!(found("app:55", &["wheel", "99", "wheel"]), app(55, vec![10, 99]));
        assert_eq!(found("4000", &[]), Ok((4000, 0, vec![], "/".into())));
        assert_eq!(found("4000:77", &[]), Ok((4000, 77, vec![], "/".into())));
        assert_eq!(found(":audio", &[]), Ok((0, 29, vec![], "/root".into())));
        assert_eq!(found("nohome", &[]), Ok((5, 6, vec![], "".into())));
    }

    #[test]
    fn unknown_names_are_refused() {
        assert_eq!(
            found("bob", &[]),
            Err("unable to find user bob: no matching entries in passwd file".into())
        );
        assert_eq!(
            found("app:x", &[]),
            Err("unable to find group x: no matching entries in group file".into())
        );
        assert_eq!(
            found("app", &["y"]),
            Err("unable to find group y: no matching entries in group file".into())
        );
        assert_eq!(
            found("-1", &[]),
            Err("uids and gids must be in range 0-2147483647, not -1".into())
        );
        assert_eq!(
            found("0:4294967296", &[]),
            Err("uids and gids must be in range 0-2147483647, not 4294967296".into())
        );
    }

    #[test]
    fn files_are_read_beneath_the_root_only() {
        let dir = tempfile::tempdir().unwrap();
        let root = beneath::root(dir.path()).unwrap();
        assert_eq!(lookup(root.as_fd(), "7", &[]).unwrap().uid, 7);
        std::fs::create_dir(dir.path().join("etc")).unwrap();
        std::os::unix::fs::symlink("/etc/hostname", dir.path().join("etc/passwd")).unwrap();
        assert!(matches!(lookup(root.as_fd(), "root", &[]), Err(Error::NoUser { .. })));
        std::fs::write(dir.path().join("etc/hostname"), "root:x:0:3:::\n").unwrap();
        assert_eq!(lookup(root.as_fd(), "root", &[]).unwrap().gid, 3);
    }
}
