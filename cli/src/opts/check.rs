//! Checks of single option values, with docker's error texts. Pure.

type Checked = Result<(), String>;

pub(crate) fn env(text: &str) -> Checked {
    if text.is_empty() || text.starts_with('=') {
        return Err(format!("invalid environment variable: {text}"));
    }
    Ok(())
}

pub(crate) fn label(text: &str) -> Checked {
    if text.is_empty() || text.starts_with('=') {
        return Err(format!("invalid label '{text}': empty name"));
    }
    Ok(())
}

pub(crate) fn attach(text: &str) -> Checked {
    match text.to_ascii_lowercase().as_str() {
        "stdin" | "stdout" | "stderr" => Ok(()),
        _ => Err("valid streams are STDIN, STDOUT and STDERR".to_owned()),
    }
}

pub(crate) fn add_host(text: &str) -> Checked {
    let (name, ip) = text.split_once(['=', ':']).unwrap_or((text, ""));
    if name.is_empty() || !text.contains(['=', ':']) {
        return Err(format!("bad format for add-host: {text:?}"));
    }
    let bare = ip.strip_prefix('[').and_then(|ip| ip.strip_suffix(']')).unwrap_or(ip);
    if ip != "host-gateway" && bare.parse::<std::net::IpAddr>().is_err() {
        return Err(format!("invalid IP address in add-host: {ip:?}"));
    }
    Ok(())
}

pub(crate) fn ip(text: &str) -> Checked {
    let parsed = text.trim().parse::<std::net::IpAddr>();
    parsed.map(|_| ()).map_err(|_| format!("IP address is not correctly formatted: {text}"))
}

pub(crate) fn link(text: &str) -> Checked {
    if text.is_empty() {
        return Err("empty string specified for links".to_owned());
    }
    if text.split(':').count() > 2 {
        return Err(format!("bad format for links: {text}"));
    }
    Ok(())
}

pub(crate) fn sysctl(text: &str) -> Checked {
    const ALLOWED: [&str; 8] = [
        "kernel.msgmax",
        "kernel.msgmnb",
        "kernel.msgmni",
        "kernel.sem",
        "kernel.shmall",
        "kernel.shmmax",
        "kernel.shmmni",
        "kernel.shm_rmid_forced",
    ];
    let known = text.split_once('=').is_some_and(|(key, _)| {
        ALLOWED.contains(&key) || key.starts_with("net.") || key.starts_with("fs.mqueue.")
    });
    if known { Ok(()) } else { Err(format!("sysctl '{text}' is not allowed")) }
}

pub(crate) fn device_rule(text: &str) -> Checked {
    let refuse = || format!("invalid device cgroup format '{text}'");
    let mut words = text.split(' ');
    let (kind, numbers, access) =
        (words.next().unwrap_or(""), words.next().unwrap_or(""), words.next().unwrap_or(""));
    let number =
        |part: &str| part == "*" || (!part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()));
    let numbers =
        numbers.split_once(':').is_some_and(|(major, minor)| number(major) && number(minor));
    let access = (1..=3).contains(&access.len()) && access.chars().all(|c| "rwm".contains(c));
    if matches!(kind, "a" | "b" | "c") && numbers && access && words.next().is_none() {
        return Ok(());
    }
    Err(refuse())
}

pub(crate) fn pair(text: &str) -> Checked {
    if text.contains('=') { Ok(()) } else { Err(format!("invalid key=value pair: {text}")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_values_are_refused_in_dockers_words() {
        assert_eq!(env("=a").unwrap_err(), "invalid environment variable: =a");
        assert_eq!(label("=a").unwrap_err(), "invalid label '=a': empty name");
        assert_eq!(add_host("a").unwrap_err(), "bad format for add-host: \"a\"");
        assert_eq!(add_host("a:b").unwrap_err(), "invalid IP address in add-host: \"b\"");
        assert_eq!(device_rule("x").unwrap_err(), "invalid device cgroup format 'x'");
        assert_eq!(sysctl("x").unwrap_err(), "sysctl 'x' is not allowed");
        let good =
            [add_host("h:::1"), add_host("h=[::1]"), device_rule("c 1:* rwm"), sysctl("net.a=1")];
        assert_eq!(good, [const { Ok(()) }; 4]);
    }
}
