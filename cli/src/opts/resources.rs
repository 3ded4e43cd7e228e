//! Limits, devices and GPUs. Pure.

use serde_json::{Value as Json, json};

use crate::args::check::parse_bytes;

const LIMITS: [&str; 16] = [
    "core",
    "cpu",
    "data",
    "fsize",
    "locks",
    "memlock",
    "msgqueue",
    "nice",
    "nofile",
    "nproc",
    "rss",
    "rtprio",
    "rttime",
    "sigpending",
    "stack",
    "as",
];

pub(crate) fn ulimit_check(text: &str) -> Result<(), String> {
    ulimit(text).map(|_| ())
}

/// Parses `name=soft[:hard]`.
pub(crate) fn ulimit(text: &str) -> Result<Json, String> {
    let (name, values) =
        text.split_once('=').ok_or_else(|| format!("invalid ulimit argument: {text}"))?;
    if !LIMITS.contains(&name) {
        return Err(format!("invalid ulimit type: {name}"));
    }
    let number = |part: &str| {
        part.parse::<i64>().map_err(|_| {
            format!("strconv.ParseInt: parsing {}: invalid syntax", crate::args::parse::quote(part))
        })
    };
    let parts: Vec<&str> = values.split(':').collect();
    let (soft, hard) = match parts.as_slice() {
        [soft] => (number(soft)?, number(soft)?),
        [soft, hard] => (number(soft)?, number(hard)?),
        _ => {
            return Err(format!(
                "too many limit value arguments - {values}, can only have up to two, `soft[:hard]`"
            ));
        }
    };
    if hard != -1 && (soft == -1 || soft > hard) {
        return Err(format!(
            "ulimit soft limit must be less than or equal to hard limit: {soft} > {hard}"
        ));
    }
    Ok(json!({"Name": name, "Soft": soft, "Hard": hard}))
}

fn rate(text: &str, unit: impl Fn(&str) -> Option<i64>, hint: &str) -> Result<Json, String> {
    let Some((path, value)) = text.split_once(':').filter(|(path, _)| !path.is_empty()) else {
        return Err(format!("bad format: {text}"));
    };
    if !path.starts_with("/dev/") {
        return Err(format!("bad format for device path: {text}"));
    }
    match unit(value) {
        Some(rate) if rate >= 0 => Ok(json!({"Path": path, "Rate": rate})),
        _ => Err(format!(
            "invalid rate for device: {text}. The correct format is <device-path>:<number>{hint}"
        )),
    }
}

const BYTES_HINT: &str =
    "[<unit>]. Number must be a positive integer. Unit is optional and can be kb, mb, or gb";

pub(crate) fn bps(text: &str) -> Result<Json, String> {
    rate(text, |value| parse_bytes(value).ok(), BYTES_HINT)
}

pub(crate) fn iops(text: &str) -> Result<Json, String> {
    rate(text, |value| value.parse().ok(), ". Number must be a positive integer")
}

pub(crate) fn rate_bytes(text: &str) -> Result<(), String> {
    bps(text).map(|_| ())
}

pub(crate) fn rate_count(text: &str) -> Result<(), String> {
    iops(text).map(|_| ())
}

/// Parses `path:weight`.
pub(crate) fn weight(text: &str) -> Result<Json, String> {
    let (path, value) = text.split_once(':').ok_or_else(|| format!("bad format: {text}"))?;
    if !path.starts_with("/dev/") {
        return Err(format!("bad format for device path: {text}"));
    }
    match value.parse::<u16>() {
        Ok(weight) if weight == 0 || (10..=1000).contains(&weight) => {
            Ok(json!({"Path": path, "Weight": weight}))
        }
        _ => Err(format!("invalid weight for device: {text}")),
    }
}

pub(crate) fn weight_device(text: &str) -> Result<(), String> {
    weight(text).map(|_| ())
}

/// Parses a device: `host[:container[:rwm]]`.
pub(crate) fn device(text: &str) -> Result<Json, String> {
    let mode = |part: &str| !part.is_empty() && part.chars().all(|c| "rwm".contains(c));
    let parts: Vec<&str> = text.split(':').collect();
    let (source, target, access) = match parts.as_slice() {
        [source] => (*source, *source, "rwm"),
        [source, access] if mode(access) => (*source, *source, *access),
        [source, target] => (*source, *target, "rwm"),
        [source, target, access] if mode(access) => (*source, *target, *access),
        [_, _, access] => return Err(format!("invalid device mode: {access}")),
        _ => return Err(format!("invalid device specification: {text}")),
    };
    Ok(json!({"PathOnHost": source, "PathInContainer": target, "CgroupPermissions": access}))
}

/// A device that names no path but a kind: `vendor.com/class=name`.
pub(crate) fn is_cdi(text: &str) -> bool {
    text.split_once('=').is_some_and(|(kind, _)| kind.contains('/') && !kind.starts_with('/'))
}

pub(crate) fn gpu(text: &str) -> Result<(), String> {
    gpus(text).map(|_| ())
}

/// Parses one `--gpus`.
pub(crate) fn gpus(text: &str) -> Result<Json, String> {
    let mut request = json!({"Driver": "", "Count": 0, "DeviceIDs": null,
                             "Capabilities": [["gpu"]], "Options": {}});
    let count = |text: &str| match text {
        "all" => Ok(-1),
        text => text.parse::<i64>().map_err(|_| {
            let why = format!(
                "strconv.Atoi: parsing {}: invalid syntax",
                crate::args::parse::quote(text)
            );
            format!("invalid count ({text}): value must be either \"all\" or an integer: {why}")
        }),
    };
    let mut counted = false;
    for field in super::csv(text) {
        let (key, value) = match field.split_once('=') {
            Some((key, value)) => (key, value),
            None => ("count", field.as_str()),
        };
        match key {
            "count" => {
                request["Count"] = count(value)?.into();
                counted = true;
            }
            "driver" => request["Driver"] = value.into(),
            "device" => request["DeviceIDs"] = json!(value.split(',').collect::<Vec<_>>()),
            "capabilities" => {
                let all: Vec<&str> = value.split(',').chain(["gpu"]).collect();
                request["Capabilities"] = json!([all]);
            }
            "options" => {
                let pairs: Vec<String> = value.split(',').map(str::to_owned).collect();
                request["Options"] = super::map(&pairs);
            }
            _ => return Err(format!("unexpected key '{key}' in '{field}'")),
        }
    }
    if !counted && request["DeviceIDs"].is_null() {
        request["Count"] = 1.into();
    }
    Ok(request)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_and_devices_are_parsed() {
        assert_eq!(ulimit("nofile=5:6").unwrap(), json!({"Name": "nofile", "Soft": 5, "Hard": 6}));
        assert_eq!(ulimit("foo=5").unwrap_err(), "invalid ulimit type: foo");
        assert_eq!(bps("/dev/sda:1mb").unwrap(), json!({"Path": "/dev/sda", "Rate": 1_048_576}));
        assert_eq!(iops("x:1").unwrap_err(), "bad format for device path: x:1");
        assert_eq!(weight("/dev/x:1").unwrap_err(), "invalid weight for device: /dev/x:1");
        assert_eq!(
            device("/dev/a:/dev/b:r").unwrap(),
            json!({"PathOnHost": "/dev/a", "PathInContainer": "/dev/b", "CgroupPermissions": "r"})
        );
        assert_eq!(device("/dev/a:/b:xx").unwrap_err(), "invalid device mode: xx");
        assert_eq!(gpus("all").unwrap()["Count"], -1);
        assert_eq!(gpus("\"device=1,2\"").unwrap()["DeviceIDs"], json!(["1", "2"]));
        assert_eq!(gpus("foo=b").unwrap_err(), "unexpected key 'foo' in 'foo=b'");
    }
}
