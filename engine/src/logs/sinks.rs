//! From a container's log driver and options to what its shim writes. Pure, but for the resolution of a
//! syslog server's name.
//!
//! Drivers that cannot be read back (`syslog`, `journald`) are doubled by a small local cache, as in
//! docker, so that `logs` works with every driver but `none`.
//!
//! Source: docker docs "Configure logging drivers"; moby `daemon/logger/*/`.

use std::collections::BTreeMap;
use std::net::ToSocketAddrs;
use std::path::{Path, PathBuf};

use shoal_model::ContainerId;
use shoal_model::container::{ContainerSpec, LogSpec};
use shoal_shim_protocol::config::{LogFile, LogSink, SyslogAddress, SyslogFormat};

use super::Place;
use super::format::Format;
use super::options::{self, TagFacts, attributes, bytes, compress, invalid, only_known, tag};
use crate::error::Error;

/// Sizes of the `local` driver and of the cache.
const LOCAL_BYTES: u64 = 20 << 20;
const LOCAL_FILES: u32 = 5;
/// Socket of the systemd journal.
const JOURNAL: &str = "/run/systemd/journal/socket";
/// Local sockets of syslog servers.
const SYSLOG: &str = "/dev/log";
/// Options of every driver.
const COMMON: [&str; 5] =
    ["mode", "max-buffer-size", "cache-disabled", "cache-max-size", "cache-max-file"];
/// Options that choose what goes into every record.
const ATTRIBUTES: [&str; 5] = ["labels", "labels-regex", "env", "env-regex", "tag"];
/// Options of syslog.
const SYSLOG_OPTIONS: [&str; 3] = ["syslog-address", "syslog-facility", "syslog-format"];
/// Options of files.
const FILES: [&str; 3] = ["max-size", "max-file", "compress"];

/// Who logs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Identity<'a> {
    pub id: &'a ContainerId,
    pub name: &'a str,
    pub image_id: &'a str,
    pub hostname: &'a str,
}

fn log_spec(spec: &ContainerSpec) -> LogSpec {
    spec.host.log.clone().unwrap_or_default()
}

fn json_path(directory: &Path) -> PathBuf {
    let id = directory.file_name().unwrap_or_default().to_string_lossy();
    directory.join(format!("{id}-json.log"))
}

fn local_path(directory: &Path) -> PathBuf {
    directory.join("local-logs/container.log")
}

fn cache_path(directory: &Path) -> PathBuf {
    directory.join("local-logs/cache.log")
}

/// Where `inspect` says that the log is; empty where the driver writes no file of its own.
pub(crate) fn shown_path(spec: &ContainerSpec, directory: &Path) -> String {
    match log_spec(spec).driver.as_str() {
        "json-file" | "" => json_path(directory).display().to_string(),
        _ => String::new(),
    }
}

/// Where a container's log can be read.
pub(crate) fn readable(spec: &ContainerSpec, directory: &Path) -> Option<Place> {
    let log = log_spec(spec);
    let cached = log.options.get("cache-disabled").is_none_or(|value| value != "true");
    match log.driver.as_str() {
        "json-file" | "" => Some(Place { path: json_path(directory), format: Format::Json }),
        "local" => Some(Place { path: local_path(directory), format: Format::Local }),
        "none" => None,
        _ => cached.then(|| Place { path: cache_path(directory), format: Format::Local }),
    }
}

/// Decides what a container's shim writes.
///
/// # Errors
/// Unknown driver or option, malformed value, syslog server without an address.
pub(crate) fn sinks(
    spec: &ContainerSpec,
    directory: &Path,
    who: Identity<'_>,
) -> Result<Vec<LogSink>, Error> {
    let LogSpec { driver, options } = log_spec(spec);
    let facts = TagFacts {
        id: who.id.as_str(),
        name: who.name,
        image: &spec.image,
        image_id: who.image_id,
        daemon: "docker",
    };
    if driver == "none" {
        return Ok(Vec::new());
    }
    options::buffer(&options)?;
    let tagged = options.get("tag").map(|template| tag(template, facts)).transpose()?;
    match driver.as_str() {
        "json-file" | "" => {
            check("json-file", &options, &[&ATTRIBUTES, &FILES])?;
            let mut file =
                file(&options, json_path(directory), (None, 1), ["max-size", "max-file"])?;
            file.compress = compress(&options, false)?;
            if file.compress && (file.max_files < 2 || file.max_bytes.is_none()) {
                return Err(invalid(
                    "compress cannot be true when max-file is less than 2 or max-size is not set"
                        .to_owned(),
                ));
            }
            Ok(vec![LogSink::JsonFile { file, attributes: attributes(&options, spec, tagged)? }])
        }
        "local" => {
            check(&driver, &options, &[&ATTRIBUTES, &FILES])?;
            if let Some(name) = ATTRIBUTES.iter().find(|name| options.contains_key(**name)) {
                let what = format!("log option {name} of log driver local is not supported");
                return Err(Error::NotImplemented(what));
            }
            let defaults = (Some(LOCAL_BYTES), LOCAL_FILES);
            let names = ["max-size", "max-file"];
            let mut file = file(&options, local_path(directory), defaults, names)?;
            file.compress = compress(&options, true)?;
            Ok(vec![LogSink::Local { file }])
        }
        "syslog" => {
            let tag = tagged.unwrap_or_else(|| who.id.short().to_owned());
            check("syslog", &options, &[&ATTRIBUTES, &SYSLOG_OPTIONS])?;
            with_cache(syslog(&options, tag, who.hostname)?, &options, directory)
        }
        "journald" => {
            check(&driver, &options, &[&ATTRIBUTES])?;
            let tag = tagged.unwrap_or_else(|| who.id.short().to_owned());
            with_cache(journald(&options, spec, who, tag)?, &options, directory)
        }
        other => Err(invalid(format!("logger: no log driver named '{other}' is registered"))),
    }
}

/// How many bytes of records may wait, where the container does not wait for them.
///
/// # Errors
/// As [`sinks`].
pub(crate) fn buffer(spec: &ContainerSpec) -> Result<Option<u64>, Error> {
    let LogSpec { driver, options } = log_spec(spec);
    if driver == "none" { Ok(None) } else { options::buffer(&options) }
}

fn check(driver: &str, options: &BTreeMap<String, String>, own: &[&[&str]]) -> Result<(), Error> {
    let known: Vec<&str> = COMMON.iter().chain(own.iter().copied().flatten()).copied().collect();
    only_known(driver, options, &known)
}

fn with_cache(
    sink: LogSink,
    options: &BTreeMap<String, String>,
    directory: &Path,
) -> Result<Vec<LogSink>, Error> {
    let mut sinks = vec![sink];
    if options.get("cache-disabled").is_none_or(|value| value != "true") {
        let names = ["cache-max-size", "cache-max-file"];
        let defaults = (Some(LOCAL_BYTES), LOCAL_FILES);
        sinks.push(LogSink::Local { file: file(options, cache_path(directory), defaults, names)? });
    }
    Ok(sinks)
}

fn file(
    options: &BTreeMap<String, String>,
    path: PathBuf,
    (size, files): (Option<u64>, u32),
    [size_name, files_name]: [&str; 2],
) -> Result<LogFile, Error> {
    let max_bytes = match options.get(size_name).map(String::as_str) {
        None => size,
        Some("-1") => None,
        Some(text) => Some(
            bytes(text)
                .filter(|bytes| *bytes > 0)
                .ok_or_else(|| invalid(format!("invalid {size_name}: '{text}'")))?,
        ),
    };
    let max_files = match options.get(files_name) {
        None => files,
        Some(text) => match text.parse() {
            Ok(number) if number >= 1 => number,
            _ => return Err(invalid(format!("invalid {files_name}: '{text}'"))),
        },
    };
    if max_bytes.is_none() && max_files > 1 {
        return Err(invalid("max-file cannot be used without max-size".to_owned()));
    }
    Ok(LogFile { path, max_bytes, max_files, compress: false })
}

fn syslog(
    options: &BTreeMap<String, String>,
    tag: String,
    hostname: &str,
) -> Result<LogSink, Error> {
    let address = match options.get("syslog-address") {
        None => SyslogAddress::Unix { path: SYSLOG.into() },
        Some(url) => syslog_address(url)?,
    };
    let format = match options.get("syslog-format").map(String::as_str) {
        None | Some("") => SyslogFormat::Unix,
        Some("rfc3164") => SyslogFormat::Rfc3164,
        Some("rfc5424") => SyslogFormat::Rfc5424,
        Some("rfc5424micro") => SyslogFormat::Rfc5424Micro,
        Some(other) => return Err(invalid(format!("invalid syslog format '{other}'"))),
    };
    let facility = facility(options.get("syslog-facility").map_or("daemon", String::as_str))?;
    Ok(LogSink::Syslog { address, format, facility, tag, hostname: hostname.to_owned() })
}

fn syslog_address(url: &str) -> Result<SyslogAddress, Error> {
    let bad = || invalid(format!("invalid syslog-address '{url}'"));
    let (scheme, rest) = url.split_once("://").ok_or_else(bad)?;
    let resolve = || {
        let with_port =
            if rest.rsplit_once(':').is_some() { rest.to_owned() } else { format!("{rest}:514") };
        with_port.to_socket_addrs().ok().and_then(|mut found| found.next()).ok_or_else(bad)
    };
    match scheme {
        "unix" | "unixgram" => Ok(SyslogAddress::Unix { path: rest.into() }),
        "udp" => Ok(SyslogAddress::Udp { address: resolve()? }),
        "tcp" => Ok(SyslogAddress::Tcp { address: resolve()? }),
        "tcp+tls" => Err(Error::NotImplemented("syslog over TLS is not supported".to_owned())),
        _ => Err(bad()),
    }
}

fn facility(text: &str) -> Result<u8, Error> {
    const NAMES: [&str; 24] = [
        "kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron",
        "authpriv", "ftp", "", "", "", "", "local0", "local1", "local2", "local3", "local4",
        "local5", "local6", "local7",
    ];
    let by_name = NAMES.iter().position(|name| !name.is_empty() && *name == text);
    let number = by_name.or_else(|| text.parse().ok()).filter(|number| *number < NAMES.len());
    number
        .and_then(|number| u8::try_from(number).ok())
        .ok_or_else(|| invalid(format!("invalid syslog facility '{text}'")))
}

fn journald(
    options: &BTreeMap<String, String>,
    spec: &ContainerSpec,
    who: Identity<'_>,
    tag: String,
) -> Result<LogSink, Error> {
    let mut fields = BTreeMap::from([
        ("CONTAINER_ID".to_owned(), who.id.short().to_owned()),
        ("CONTAINER_ID_FULL".to_owned(), who.id.to_string()),
        ("CONTAINER_NAME".to_owned(), who.name.to_owned()),
        ("CONTAINER_TAG".to_owned(), tag.clone()),
        ("IMAGE_NAME".to_owned(), spec.image.clone()),
        ("SYSLOG_IDENTIFIER".to_owned(), tag),
    ]);
    for (name, value) in attributes(options, spec, None)? {
        let name: String = name
            .to_ascii_uppercase()
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() { c } else { '_' })
            .collect();
        fields.insert(name.trim_start_matches('_').to_owned(), value);
    }
    Ok(LogSink::Journald { socket: JOURNAL.into(), fields })
}
