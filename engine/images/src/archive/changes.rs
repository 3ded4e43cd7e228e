//! `--change` of import and commit: lines of a Dockerfile applied to an image's defaults. Pure.
//!
//! Source: moby `builder/dockerfile/builder.go BuildFromConfig`; Dockerfile reference.

use std::time::Duration;

use shoal_model::container::Healthcheck;
use shoal_model::image::ImageDefaults;

use super::Error;
use super::words::{expand, words};

/// The shell of shell-form instructions when the image names none.
const SHELL: [&str; 2] = ["/bin/sh", "-c"];

/// Applies changes in their order.
///
/// # Errors
/// [`Error::Change`] names the line and what is wrong with it; `defaults` is then half-changed.
pub fn apply(defaults: &mut ImageDefaults, lines: &[String]) -> Result<(), Error> {
    let mut command_set = false;
    for line in lines.iter().flat_map(|lines| lines.lines()) {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let fail = |reason: String| Error::Change { line: line.to_owned(), reason };
        apply_line(defaults, line, &mut command_set).map_err(fail)?;
    }
    Ok(())
}

fn apply_line(
    defaults: &mut ImageDefaults,
    line: &str,
    command_set: &mut bool,
) -> Result<(), String> {
    let (instruction, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    let (instruction, rest) = (instruction.to_ascii_uppercase(), rest.trim());
    if rest.is_empty() {
        return Err(format!("{instruction} requires at least one argument"));
    }
    let env = defaults.env.clone();
    match instruction.as_str() {
        "CMD" => {
            defaults.command = Some(arguments(defaults, rest));
            *command_set = true;
        }
        "ENTRYPOINT" => {
            defaults.entrypoint = Some(arguments(defaults, rest));
            if !*command_set {
                defaults.command = None; // it was meant for the old entrypoint
            }
        }
        "ENV" => {
            for (name, value) in pairs(rest, &env)? {
                let prefix = format!("{name}=");
                let line = format!("{prefix}{value}");
                match defaults.env.iter_mut().find(|known| known.starts_with(&prefix)) {
                    Some(known) => *known = line,
                    None => defaults.env.push(line),
                }
            }
        }
        "EXPOSE" => {
            for word in words(rest, &env)? {
                defaults.exposed_ports.extend(ports(&word)?);
            }
        }
        "HEALTHCHECK" => defaults.healthcheck = Some(healthcheck(rest)?),
        "LABEL" => defaults.labels.extend(pairs(rest, &env)?),
        "ONBUILD" => {
            let trigger = rest.split_whitespace().next().unwrap_or_default().to_ascii_uppercase();
            if matches!(trigger.as_str(), "ONBUILD" | "FROM" | "MAINTAINER") {
                return Err(format!("{trigger} is not allowed as an ONBUILD trigger"));
            }
            defaults.on_build.push(rest.to_owned());
        }
        "STOPSIGNAL" => defaults.stop_signal = Some(expand(rest, &env)?),
        "USER" => defaults.user = expand(rest, &env)?,
        "VOLUME" => {
            let volumes = match json(rest) {
                Some(volumes) => volumes,
                None => words(rest, &env)?,
            };
            if volumes.iter().any(String::is_empty) {
                return Err("VOLUME specified can not be an empty string".to_owned());
            }
            defaults.volumes.extend(volumes);
        }
        "WORKDIR" => {
            let directory = expand(rest, &env)?;
            defaults.working_dir = join(&defaults.working_dir, &directory);
        }
        other => return Err(format!("{other} is not a valid change command")),
    }
    Ok(())
}

/// The JSON form, if it is one: only strings count.
fn json(text: &str) -> Option<Vec<String>> {
    text.starts_with('[').then(|| serde_json::from_str(text).ok()).flatten()
}

fn arguments(defaults: &ImageDefaults, rest: &str) -> Vec<String> {
    json(rest).unwrap_or_else(|| {
        let shell = defaults.shell.clone().unwrap_or_else(|| SHELL.map(str::to_owned).to_vec());
        shell.into_iter().chain([rest.to_owned()]).collect()
    })
}

/// `a=b c="d e"`, or the old `name the rest`.
fn pairs(rest: &str, env: &[String]) -> Result<Vec<(String, String)>, String> {
    let first = rest.split_whitespace().next().unwrap_or_default();
    if !first.contains('=') {
        let (name, value) =
            rest.split_once(char::is_whitespace).ok_or("must have two arguments")?;
        return Ok(vec![(name.to_owned(), expand(value.trim(), env)?)]);
    }
    let split = |word: String| match word.split_once('=') {
        Some(("", _)) => Err("names can not be blank".to_owned()),
        Some((name, value)) => Ok((name.to_owned(), value.to_owned())),
        None => Err(format!("can't find = in \"{word}\". Must be of the form: name=value")),
    };
    words(rest, env)?.into_iter().map(split).collect()
}

/// `80`, `80/udp`, `8000-8010/tcp`.
fn ports(text: &str) -> Result<Vec<String>, String> {
    let bad = || format!("invalid containerPort: {text}");
    let (range, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let protocol = protocol.to_ascii_lowercase();
    if !matches!(protocol.as_str(), "tcp" | "udp" | "sctp") {
        return Err(format!("invalid proto: {protocol}"));
    }
    let (low, high) = range.split_once('-').unwrap_or((range, range));
    let (low, high): (u16, u16) =
        (low.parse().map_err(|_| bad())?, high.parse().map_err(|_| bad())?);
    if low > high {
        return Err(bad());
    }
    Ok((low..=high).map(|port| format!("{port}/{protocol}")).collect())
}

fn healthcheck(rest: &str) -> Result<Healthcheck, String> {
    let mut check = Healthcheck::default();
    let mut rest = rest;
    while let Some(flag) = rest.strip_prefix("--") {
        let (flag, after) = flag.split_once(char::is_whitespace).ok_or("missing CMD or NONE")?;
        let (name, value) =
            flag.split_once('=').ok_or_else(|| format!("--{flag} needs a value"))?;
        match name {
            "interval" => check.interval = duration(value)?,
            "timeout" => check.timeout = duration(value)?,
            "start-period" => check.start_period = duration(value)?,
            "start-interval" => check.start_interval = duration(value)?,
            "retries" => {
                check.retries = value.parse().map_err(|_| format!("invalid retries `{value}`"))?;
            }
            other => return Err(format!("unknown flag: --{other}")),
        }
        rest = after.trim_start();
    }
    let (kind, command) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    let command = command.trim();
    check.test = match kind.to_ascii_uppercase().as_str() {
        "NONE" if command.is_empty() => vec!["NONE".to_owned()],
        "NONE" => return Err("HEALTHCHECK NONE takes no arguments".to_owned()),
        "CMD" if command.is_empty() => {
            return Err("missing command after HEALTHCHECK CMD".to_owned());
        }
        "CMD" => match json(command) {
            Some(words) => ["CMD".to_owned()].into_iter().chain(words).collect(),
            None => vec!["CMD-SHELL".to_owned(), command.to_owned()],
        },
        other => return Err(format!("unknown type \"{other}\" in HEALTHCHECK (try CMD)")),
    };
    Ok(check)
}

/// Go's durations: `1m30s`, `500ms`, `1.5h`.
fn duration(text: &str) -> Result<Duration, String> {
    let bad = || format!("invalid duration `{text}`");
    let mut total = 0.0;
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(bad)?;
        let number: f64 = rest[..end].parse().map_err(|_| bad())?;
        rest = &rest[end..];
        let end = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        total += number
            * match &rest[..end] {
                "ns" => 1e-9,
                "us" | "µs" => 1e-6,
                "ms" => 1e-3,
                "s" => 1.0,
                "m" => 60.0,
                "h" => 3600.0,
                _ => return Err(bad()),
            };
        rest = &rest[end..];
    }
    if text.is_empty() {
        return Err(bad());
    }
    Duration::try_from_secs_f64(total).map_err(|_| bad())
}

/// A working directory, relative to the one before, without `.` and `..`.
fn join(current: &str, directory: &str) -> String {
    let base = if directory.starts_with('/') { "" } else { current };
    let mut parts: Vec<&str> = Vec::new();
    for part in base.split('/').chain(directory.split('/')) {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            other => parts.push(other),
        }
    }
    format!("/{}", parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed(lines: &[&str]) -> Result<ImageDefaults, String> {
        let mut defaults = ImageDefaults {
            command: Some(vec!["old".to_owned()]),
            env: vec!["A=1".to_owned()],
            working_dir: "/srv".to_owned(),
            ..ImageDefaults::default()
        };
        let lines: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
        apply(&mut defaults, &lines).map_err(|error| error.to_string())?;
        Ok(defaults)
    }

    fn list(words: &[&str]) -> Option<Vec<String>> {
        Some(words.iter().map(|word| (*word).to_owned()).collect())
    }

    #[test]
    fn commands_in_both_forms() {
        let defaults = changed(&["CMD [\"a\", \"b c\"]", "ENTRYPOINT run it"]).unwrap();
        assert_eq!(defaults.command, list(&["a", "b c"]));
        assert_eq!(defaults.entrypoint, list(&["/bin/sh", "-c", "run it"]));
        assert_eq!(changed(&["entrypoint [\"x\"]"]).unwrap().command, None);
    }

    #[test]
    fn env_and_labels() {
        let defaults =
            changed(&["ENV A=2 B=\"x y\" C=$A\\ z", "ENV D e f", "LABEL a='1 $A' b=${A}"]).unwrap();
        assert_eq!(defaults.env, ["A=2", "B=x y", "C=1 z", "D=e f"]);
        let labels: Vec<_> = defaults.labels.into_iter().collect();
        let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        assert_eq!(labels, [pair("a", "1 $A"), pair("b", "2")]);
    }

    #[test]
    fn the_rest() {
        let defaults = changed(&[
            "EXPOSE 80 53/udp 9000-9001",
            "VOLUME [\"/a b\"]",
            "VOLUME /c /d",
            "WORKDIR sub/../x",
            "USER 1000:$A",
            "STOPSIGNAL SIGINT",
            "ONBUILD RUN x",
            "HEALTHCHECK --interval=1m30s --retries=2 CMD curl x",
        ])
        .unwrap();
        let ports: Vec<_> = defaults.exposed_ports.iter().collect();
        assert_eq!(ports, ["53/udp", "80/tcp", "9000/tcp", "9001/tcp"]);
        assert_eq!(defaults.volumes.iter().collect::<Vec<_>>(), ["/a b", "/c", "/d"]);
        assert_eq!((defaults.working_dir.as_str(), defaults.user.as_str()), ("/srv/x", "1000:1"));
        assert_eq!(defaults.stop_signal.as_deref(), Some("SIGINT"));
        assert_eq!(defaults.on_build, ["RUN x"]);
        let check = defaults.healthcheck.unwrap();
        assert_eq!((check.interval, check.retries), (Duration::from_secs(90), 2));
        assert_eq!(Some(check.test), list(&["CMD-SHELL", "curl x"]));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (line, reason) in [
            ("RUN x", "RUN is not a valid change command"),
            ("CMD", "CMD requires at least one argument"),
            ("EXPOSE x", "invalid containerPort: x"),
            ("EXPOSE 1/icmp", "invalid proto: icmp"),
            ("ENV a", "must have two arguments"),
            ("LABEL a=b c", "can't find = in \"c\". Must be of the form: name=value"),
            ("ENV a='x", "unterminated quote"),
            ("HEALTHCHECK FOO x", "unknown type \"FOO\" in HEALTHCHECK (try CMD)"),
            ("ONBUILD ONBUILD RUN x", "ONBUILD is not allowed as an ONBUILD trigger"),
        ] {
            assert_eq!(changed(&[line]).unwrap_err(), format!("invalid change `{line}`: {reason}"));
        }
    }
}
