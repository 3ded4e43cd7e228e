//! Mounts, secrets and configs of a service → those of its specification. Pure.

use serde_json::{Value as Json, json};

use super::convert::{labels, name_of};
use crate::opts::service::put;

type Done<T> = Result<T, String>;

fn is(value: &Json) -> bool {
    !value.is_null()
}

/// One mount.
pub(super) fn mount(stack: &str, mount: &Json, volumes: &Json) -> Done<Json> {
    let kind = mount["type"].as_str().unwrap_or_default();
    for other in ["bind", "volume", "tmpfs", "image", "cluster"] {
        if is(&mount[other]) && other != kind {
            return Err(format!("{other} options are incompatible with type {kind}"));
        }
    }
    let source = mount["source"].as_str().unwrap_or_default();
    let mut out = json!({"Type": kind, "Target": mount["target"]});
    put(&mut out, "Source", source);
    put(&mut out, "Consistency", mount["consistency"].clone());
    if mount["read_only"] == true {
        out["ReadOnly"] = true.into();
    }
    match kind {
        "volume" if !source.is_empty() => volume(stack, mount, volumes, &mut out)?,
        "volume" => {}
        "bind" => {
            if is(&mount["bind"]["propagation"]) {
                out["BindOptions"] = json!({"Propagation": mount["bind"]["propagation"]});
            }
            if mount["bind"]["create_host_path"] == true {
                out["BindOptions"]["CreateMountpoint"] = true.into();
            }
            match mount["bind"]["recursive"].as_str() {
                Some("disabled") => out["BindOptions"]["NonRecursive"] = true.into(),
                Some("writable") => out["BindOptions"]["ReadOnlyNonRecursive"] = true.into(),
                Some("readonly") => out["BindOptions"]["ReadOnlyForceRecursive"] = true.into(),
                _ => {}
            }
        }
        "tmpfs" => {
            if !source.is_empty() {
                return Err("invalid tmpfs source, source must be empty".into());
            }
            if is(&mount["tmpfs"]["size"]) {
                let size = super::service::bytes(&mount["tmpfs"]["size"])?;
                out["TmpfsOptions"] = json!({"SizeBytes": size});
            }
            if is(&mount["tmpfs"]["mode"]) {
                let mode = match mount["tmpfs"]["mode"].as_str() {
                    Some(text) => u32::from_str_radix(text, 8)
                        .map(Json::from)
                        .map_err(|_| format!("tmpfs mode must be an octal number, not {text:?}"))?,
                    None => mount["tmpfs"]["mode"].clone(),
                };
                out["TmpfsOptions"]["Mode"] = mode;
            }
        }
        "image" => {
            if is(&mount["image"]["subpath"]) {
                out["ImageOptions"] = json!({"Subpath": mount["image"]["subpath"]});
            }
        }
        "npipe" => {}
        "cluster" => return Err("cluster volumes are not implemented".into()),
        other => {
            return Err(format!(
                "volume type must be volume, bind, tmpfs, npipe, or image, not {other}"
            ));
        }
    }
    Ok(out)
}

fn volume(stack: &str, mount: &Json, volumes: &Json, out: &mut Json) -> Done<()> {
    let key = mount["source"].as_str().unwrap_or_default();
    let volume = volumes.get(key).ok_or_else(|| format!("undefined volume {key:?}"))?;
    out["Source"] = name_of(stack, key, volume).into();
    let mut options = json!({});
    if mount["volume"]["nocopy"] == true {
        options["NoCopy"] = true.into();
    }
    put(&mut options, "Subpath", mount["volume"]["subpath"].clone());
    if volume["external"] != true {
        options["Labels"] = labels(stack, &volume["labels"]);
        for (key, value) in mount["volume"]["labels"].as_object().into_iter().flatten() {
            options["Labels"][key] = value.clone();
        }
        if is(&volume["driver"]) || is(&volume["driver_opts"]) {
            let mut driver = json!({});
            put(&mut driver, "Name", volume["driver"].clone());
            put(&mut driver, "Options", volume["driver_opts"].clone());
            options["DriverConfig"] = driver;
        }
    }
    put(out, "VolumeOptions", options);
    Ok(())
}

/// References to secrets or configs, by name: their ids are asked for later.
pub(super) fn files(stack: &str, kind: &str, wanted: &Json, known: &Json) -> Done<Vec<Json>> {
    let mut all = Vec::new();
    for file in wanted.as_array().into_iter().flatten() {
        let key = file["source"].as_str().unwrap_or_default();
        let object =
            known.get(key).ok_or_else(|| format!("undefined {} {key:?}", kind.to_lowercase()))?;
        let or = |field: &str, default: &str| match &file[field] {
            Json::Null => Json::from(default),
            value => value.clone(),
        };
        let mode = if is(&file["mode"]) { file["mode"].clone() } else { 0o444.into() };
        all.push(json!({
            "File": {"Name": or("target", key), "UID": or("uid", "0"), "GID": or("gid", "0"),
                     "Mode": mode},
            format!("{kind}Name"): name_of(stack, key, object),
        }));
    }
    all.sort_by_key(|file| file[format!("{kind}Name")].to_string());
    Ok(all)
}
