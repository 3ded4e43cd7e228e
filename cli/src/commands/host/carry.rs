//! `context export` and `import`: a context as a tar, in docker's layout (`meta.json`, `tls/docker/*.pem`).

use std::io::{Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;

use serde_json::Value as Json;

use crate::args::Args;
use crate::config::contexts;
use crate::context::Context;
use crate::error::{Failure, Result, io};
use crate::sys;

/// No context is larger.
const MOST_BYTES: u64 = 10 << 20;
const META: &str = "meta.json";
const TLS: &str = "tls/docker/";

/// What a file of a context holds.
#[derive(Debug, Default, PartialEq)]
struct Parcel {
    meta: Json,
    files: Vec<(String, Vec<u8>)>,
}

pub(super) async fn export(context: &mut Context, args: &Args) -> Result {
    let (name, directory) = (args.arg(0), context.directory());
    let meta = contexts::read(directory, name)?;
    let packed = pack(&Parcel { meta, files: contexts::read_tls(directory, name)? });
    let packed = packed.map_err(io(format!("packing context {name:?}")))?;
    let own = format!("{name}.dockercontext");
    let path = args.rest.get(1).map_or(own.as_str(), String::as_str);
    if path == "-" {
        if sys::is_terminal(std::io::stdout()) {
            return Err("cowardly refusing to export to a terminal, specify a file path".into());
        }
        return std::io::stdout().write_all(&packed).map_err(io("writing the context"));
    }
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true).mode(0o600);
    let mut file = options.open(path).map_err(io(format!("open {path}")))?;
    file.write_all(&packed).map_err(io(format!("writing {path}")))?;
    sys::err_line(format_args!("Written file {path:?}"));
    Ok(())
}

pub(super) async fn import(context: &mut Context, args: &Args) -> Result {
    let (name, path, directory) = (args.arg(0), args.arg(1), context.directory());
    contexts::check_name(name)?;
    if contexts::folder(directory, name).exists() {
        return Err(format!("context {name:?} already exists").into());
    }
    let mut packed = Vec::new();
    let read = match path {
        "-" => std::io::stdin().take(MOST_BYTES).read_to_end(&mut packed),
        path => std::fs::File::open(path)
            .and_then(|file| file.take(MOST_BYTES).read_to_end(&mut packed)),
    };
    read.map_err(io(format!("open {path}")))?;
    let mut parcel = unpack(&packed)?;
    parcel.meta["Name"] = name.into();
    contexts::write_tls(directory, name, &parcel.files)?;
    contexts::write_meta(directory, name, &parcel.meta)?;
    sys::line(name);
    sys::err_line(format_args!("Successfully imported context {name:?}"));
    Ok(())
}

fn pack(parcel: &Parcel) -> std::io::Result<Vec<u8>> {
    let mut tar = tar::Builder::new(Vec::new());
    let meta = parcel.meta.to_string().into_bytes();
    let files = parcel.files.iter().map(|(name, content)| (format!("{TLS}{name}"), content));
    for (path, content) in std::iter::once((META.to_owned(), &meta)).chain(files) {
        let mut header = tar::Header::new_gnu();
        header.set_mode(if path == META { 0o644 } else { 0o600 });
        header.set_size(content.len() as u64);
        tar.append_data(&mut header, path, content.as_slice())?;
    }
    tar.into_inner()
}

fn unpack(packed: &[u8]) -> Result<Parcel> {
    let wrong = |why: std::io::Error| Failure::new(format!("this is no context: {why}"));
    let mut parcel = Parcel::default();
    let mut archive = tar::Archive::new(packed);
    for entry in archive.entries().map_err(wrong)? {
        let mut entry = entry.map_err(wrong)?;
        let path = entry.path().map_err(wrong)?.to_string_lossy().into_owned();
        if !entry.header().entry_type().is_file() {
            continue;
        }
        let mut content = Vec::new();
        entry.read_to_end(&mut content).map_err(wrong)?;
        if path == META {
            parcel.meta = serde_json::from_slice(&content)
                .map_err(|why| Failure::new(format!("this is no context: {META}: {why}")))?;
        } else if let Some(name) = path.strip_prefix(TLS)
            && contexts::FILES.contains(&name)
        {
            parcel.files.push((name.to_owned(), content));
        } else {
            return Err(format!("this is no context: unexpected file {path:?}").into());
        }
    }
    if parcel.meta["Endpoints"]["docker"]["Host"].as_str().is_none_or(str::is_empty) {
        return Err("this is no context: it names no docker endpoint".into());
    }
    Ok(parcel)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_packed_comes_out_again() {
        let meta = json!({"Name": "a", "Endpoints": {"docker": {"Host": "tcp://h:2376"}}});
        let files = vec![("ca.pem".to_owned(), b"x".to_vec())];
        let parcel = Parcel { meta, files };
        assert_eq!(unpack(&pack(&parcel).unwrap()).unwrap(), parcel);
        let strange = Parcel { files: vec![("../x".to_owned(), Vec::new())], ..parcel };
        let packed = pack(&strange);
        assert!(packed.is_err() || unpack(&packed.unwrap()).is_err());
        assert!(unpack(b"no").unwrap_err().message.starts_with("this is no context"));
    }
}
