//! `--mount`. Pure.

use serde_json::{Value as Json, json};

use crate::args::check::{parse_bool, parse_bytes};

pub(crate) fn check(text: &str) -> Result<(), String> {
    parse(text).map(|_| ())
}

/// Parses one `--mount`.
pub(crate) fn parse(text: &str) -> Result<Json, String> {
    let text = text.trim();
    if text.is_empty() {
        return Err("value is empty".to_owned());
    }
    let mut mount = json!({"Type": "volume"});
    for field in super::csv(text) {
        let (key, value) = match field.split_once('=') {
            Some((key, value)) => (key.to_ascii_lowercase(), Some(value)),
            None => (field.to_ascii_lowercase(), None),
        };
        set(&mut mount, &key, value, &field)?;
    }
    let kind = mount["Type"].as_str().unwrap_or_default().to_owned();
    if mount["Target"].as_str().is_none_or(str::is_empty) {
        return Err("target is required".to_owned());
    }
    for (options, owner) in [
        ("VolumeOptions", "volume"),
        ("BindOptions", "bind"),
        ("TmpfsOptions", "tmpfs"),
        ("ImageOptions", "image"),
    ] {
        if !mount[options].is_null() && kind != owner {
            return Err(format!("cannot mix '{owner}-*' options with mount type '{kind}'"));
        }
    }
    Ok(mount)
}

fn set(mount: &mut Json, key: &str, value: Option<&str>, field: &str) -> Result<(), String> {
    let switch = |name: &str| match value {
        None => Ok(true),
        Some(text) => parse_bool(text).ok_or_else(|| format!("invalid value for {name}: {text}")),
    };
    match key {
        "readonly" | "ro" => return switch(key).map(|on| mount["ReadOnly"] = on.into()),
        "volume-nocopy" => {
            return switch(key).map(|on| mount["VolumeOptions"]["NoCopy"] = on.into());
        }
        "bind-nonrecursive" => {
            return switch(key).map(|on| mount["BindOptions"]["NonRecursive"] = on.into());
        }
        "bind-create-src" => {
            return switch(key).map(|on| mount["BindOptions"]["CreateMountpoint"] = on.into());
        }
        _ => {}
    }
    let Some(value) = value else {
        return Err(format!("invalid field '{field}' must be a key=value pair"));
    };
    match key {
        "type" => mount["Type"] = value.to_ascii_lowercase().into(),
        "source" | "src" => mount["Source"] = super::absolute(value).into(),
        "target" | "dst" | "destination" => mount["Target"] = value.into(),
        "consistency" => mount["Consistency"] = value.to_ascii_lowercase().into(),
        "bind-propagation" => {
            mount["BindOptions"]["Propagation"] = value.to_ascii_lowercase().into()
        }
        "bind-recursive" => {
            let options = &mut mount["BindOptions"];
            match value {
                "enabled" => {}
                "disabled" => options["NonRecursive"] = true.into(),
                "writable" => options["ReadOnlyNonRecursive"] = true.into(),
                "readonly" => options["ReadOnlyForceRecursive"] = true.into(),
                _ => {
                    return Err(format!(
                        "invalid value for {key}: {value} (must be \"enabled\", \"disabled\", \"writable\", or \"readonly\")"
                    ));
                }
            }
        }
        "volume-subpath" => mount["VolumeOptions"]["Subpath"] = value.into(),
        "volume-driver" => mount["VolumeOptions"]["DriverConfig"]["Name"] = value.into(),
        "volume-label" => {
            let (name, value) = value.split_once('=').unwrap_or((value, ""));
            mount["VolumeOptions"]["Labels"][name] = value.into();
        }
        "volume-opt" => {
            let (name, value) = value.split_once('=').unwrap_or((value, ""));
            mount["VolumeOptions"]["DriverConfig"]["Options"][name] = value.into();
        }
        "image-subpath" => mount["ImageOptions"]["Subpath"] = value.into(),
        "tmpfs-size" => {
            let size =
                parse_bytes(value).map_err(|_| format!("invalid value for {key}: {value}"))?;
            mount["TmpfsOptions"]["SizeBytes"] = size.into();
        }
        "tmpfs-mode" => {
            let mode = u32::from_str_radix(value, 8)
                .map_err(|_| format!("invalid value for {key}: {value}"))?;
            mount["TmpfsOptions"]["Mode"] = mode.into();
        }
        _ => return Err(format!("unexpected key '{key}' in '{field}'")),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_become_the_api_mount() {
        assert_eq!(
            parse("type=bind,src=/a,dst=/b,ro,bind-propagation=rslave").unwrap(),
            json!({"Type": "bind", "Source": "/a", "Target": "/b", "ReadOnly": true,
                   "BindOptions": {"Propagation": "rslave"}})
        );
        assert_eq!(
            parse(r#"src=v,target=/b,volume-driver=local,"volume-opt=o=a,b",volume-nocopy"#)
                .unwrap(),
            json!({"Type": "volume", "Source": "v", "Target": "/b", "VolumeOptions":
                   {"NoCopy": true, "DriverConfig": {"Name": "local", "Options": {"o": "a,b"}}}})
        );
        assert_eq!(
            parse("type=tmpfs,dst=/t,tmpfs-size=1m,tmpfs-mode=1770").unwrap(),
            json!({"Type": "tmpfs", "Target": "/t", "TmpfsOptions": {"SizeBytes": 1_048_576, "Mode": 1016}})
        );
    }

    #[test]
    fn bad_fields_are_refused_in_dockers_words() {
        let refused = |text: &str| parse(text).unwrap_err();
        assert_eq!(refused("foo"), "invalid field 'foo' must be a key=value pair");
        assert_eq!(refused("type=bind,src=/a"), "target is required");
        assert_eq!(
            refused("type=bind,src=a,dst=/b,tmpfs-size=5"),
            "cannot mix 'tmpfs-*' options with mount type 'bind'"
        );
        assert_eq!(refused("dst=/b,bogus=5"), "unexpected key 'bogus' in 'bogus=5'");
        assert_eq!(refused("dst=/b,readonly=foo"), "invalid value for readonly: foo");
    }
}
