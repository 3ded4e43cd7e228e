//! Merges what an image asks for into what the user asks for. Pure.
//!
//! Source: moby `daemon/commit.go merge`, `daemon/daemon.go mergeAndVerifyConfig`.

use shoal_model::container::{ContainerSpec, Healthcheck};
use shoal_model::image::ImageDefaults;

use super::Error;

/// Fills what `spec` leaves open from `image`. The user's wish always wins.
///
/// # Errors
/// [`Error::NoCommand`] when neither names a program.
pub fn merge(spec: &ContainerSpec, image: &ImageDefaults) -> Result<ContainerSpec, Error> {
    let mut merged = spec.clone();
    if merged.user.is_empty() {
        merged.user.clone_from(&image.user);
    }
    merged.exposed_ports.extend(image.exposed_ports.iter().cloned());
    merged.volumes.extend(image.volumes.iter().cloned());
    for variable in &image.env {
        if !spec.env.iter().any(|own| name_of(own) == name_of(variable)) {
            merged.env.push(variable.clone());
        }
    }
    for (name, value) in &image.labels {
        merged.labels.entry(name.clone()).or_insert_with(|| value.clone());
    }
    merge_command(&mut merged, image);
    merged.healthcheck = merge_healthcheck(spec.healthcheck.as_ref(), image.healthcheck.as_ref());
    if merged.working_dir.is_empty() {
        merged.working_dir.clone_from(&image.working_dir);
    }
    if merged.stop_signal.as_deref().unwrap_or_default().is_empty() {
        merged.stop_signal.clone_from(&image.stop_signal);
    }
    if arguments(&merged).is_empty() {
        return Err(Error::NoCommand);
    }
    Ok(merged)
}

/// The program of a merged spec and its arguments: entrypoint, then command.
pub fn arguments(spec: &ContainerSpec) -> Vec<String> {
    let parts = [&spec.entrypoint, &spec.command];
    parts.into_iter().flatten().flatten().cloned().collect()
}

/// An entrypoint of the user's clears the image's command; `[""]` clears the entrypoint too.
fn merge_command(merged: &mut ContainerSpec, image: &ImageDefaults) {
    if merged.entrypoint.as_ref().is_none_or(Vec::is_empty) {
        if merged.command.as_ref().is_none_or(Vec::is_empty) {
            merged.command.clone_from(&image.command);
        }
        if merged.entrypoint.is_none() {
            merged.entrypoint.clone_from(&image.entrypoint);
        }
    }
    if merged.entrypoint.as_deref() == Some(&[String::new()]) {
        merged.entrypoint = None;
    }
}

fn merge_healthcheck(
    own: Option<&Healthcheck>,
    image: Option<&Healthcheck>,
) -> Option<Healthcheck> {
    let (Some(own), Some(image)) = (own, image) else {
        return own.or(image).cloned();
    };
    let or = |own: std::time::Duration, image| if own.is_zero() { image } else { own };
    Some(Healthcheck {
        test: if own.test.is_empty() { image.test.clone() } else { own.test.clone() },
        interval: or(own.interval, image.interval),
        timeout: or(own.timeout, image.timeout),
        retries: if own.retries == 0 { image.retries } else { own.retries },
        start_period: or(own.start_period, image.start_period),
        start_interval: or(own.start_interval, image.start_interval),
    })
}

/// The name of `NAME=value` or of `NAME`.
pub(super) fn name_of(variable: &str) -> &str {
    variable.split_once('=').map_or(variable, |(name, _)| name)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    fn image() -> ImageDefaults {
        ImageDefaults {
            user: "app".into(),
            exposed_ports: ["80/tcp".to_owned()].into(),
            env: words("PATH=/bin LANG=C"),
            entrypoint: Some(words("/entry -x")),
            command: Some(words("serve")),
            volumes: ["/data".to_owned()].into(),
            working_dir: "/srv".into(),
            labels: [("a".to_owned(), "image".to_owned()), ("b".to_owned(), "image".to_owned())]
                .into(),
            stop_signal: Some("SIGQUIT".into()),
            healthcheck: Some(Healthcheck {
                test: words("CMD probe"),
                interval: Duration::from_secs(9),
                retries: 2,
                ..Healthcheck::default()
            }),
            shell: None,
            on_build: vec![],
        }
    }

    #[test]
    fn an_empty_wish_takes_all_of_the_image() {
        let merged = merge(&ContainerSpec::default(), &image()).unwrap();
        assert_eq!(
            merged,
            ContainerSpec {
                user: "app".into(),
                exposed_ports: ["80/tcp".to_owned()].into(),
                env: words("PATH=/bin LANG=C"),
                entrypoint: Some(words("/entry -x")),
                command: Some(words("serve")),
                volumes: ["/data".to_owned()].into(),
                working_dir: "/srv".into(),
                labels: image().labels,
                stop_signal: Some("SIGQUIT".into()),
                healthcheck: image().healthcheck,
                ..ContainerSpec::default()
            }
        );
        assert_eq!(arguments(&merged), words("/entry -x serve"));
    }

    #[test]
    fn what_the_user_says_wins() {
        let spec = ContainerSpec {
            user: "0".into(),
            exposed_ports: ["81/tcp".to_owned()].into(),
            env: words("LANG=de NEW=1"),
            volumes: ["/more".to_owned()].into(),
            working_dir: "/".into(),
            labels: [("a".to_owned(), "user".to_owned())].into(),
            stop_signal: Some("9".into()),
            healthcheck: Some(Healthcheck {
                interval: Duration::from_secs(1),
                ..Healthcheck::default()
            }),
            command: Some(words("other")),
            ..ContainerSpec::default()
        };
        let merged = merge(&spec, &image()).unwrap();
        assert_eq!(merged.user, "0");
        assert_eq!(merged.exposed_ports, ["80/tcp".to_owned(), "81/tcp".to_owned()].into());
        assert_eq!(merged.env, words("LANG=de NEW=1 PATH=/bin"));
        assert_eq!(merged.volumes, ["/data".to_owned(), "/more".to_owned()].into());
        assert_eq!((merged.working_dir.as_str(), merged.stop_signal.as_deref()), ("/", Some("9")));
        assert_eq!(merged.labels["a"], "user");
        assert_eq!(merged.labels["b"], "image");
        let check = merged.healthcheck.clone().unwrap();
        assert_eq!(
            (check.test, check.interval, check.retries),
            (words("CMD probe"), Duration::from_secs(1), 2)
        );
        assert_eq!(arguments(&merged), words("/entry -x other"));
    }

    #[test]
    fn a_variable_without_value_hides_the_images() {
        let spec = ContainerSpec { env: words("LANG"), ..ContainerSpec::default() };
        assert_eq!(merge(&spec, &image()).unwrap().env, words("LANG PATH=/bin"));
    }

    #[test]
    fn entrypoints_reset_commands() {
        let with = |entrypoint: Option<Vec<String>>, command: Option<Vec<String>>| {
            merge(&ContainerSpec { entrypoint, command, ..ContainerSpec::default() }, &image())
                .map(|merged| arguments(&merged).join(" "))
        };
        assert_eq!(with(Some(words("/sh")), None).unwrap(), "/sh");
        assert_eq!(with(Some(words("/sh")), Some(words("-c x"))).unwrap(), "/sh -c x");
        assert_eq!(with(Some(vec![String::new()]), Some(words("ls"))).unwrap(), "ls");
        assert!(matches!(with(Some(vec![String::new()]), None), Err(Error::NoCommand)));
        assert_eq!(with(Some(vec![]), None).unwrap(), "serve");
        assert!(matches!(
            merge(&ContainerSpec::default(), &ImageDefaults::default()),
            Err(Error::NoCommand)
        ));
    }
}
