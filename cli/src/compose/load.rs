//! Files → one project: `include`, `extends`, several files one over the other, profiles.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value as Json, json};

use super::place::{Fault, Places};
use super::yaml::{self, Mark};
use super::{Project, Reading, Source, check, env_file, interpolate, merge, normal, schema};

type Variables = BTreeMap<String, String>;

/// What files may say of each other ends here: each may include others.
const MOST_DEPTH: usize = 20;

/// Reads files, in their order.
///
/// # Errors
/// The first thing that is wrong, with its place.
pub(crate) fn load(sources: &[Source], reading: &Reading<'_>) -> Result<Project, Fault> {
    let mut loader = Loader { reading, places: Places::default(), files: BTreeMap::new() };
    let mut content = loader.project(sources, &Variables::new(), 0)?;
    let places = loader.places;
    let placed = |fault: Fault| fault.placed(&places);
    let active = active(&content, reading);
    check::profiles(&mut content, &active).map_err(placed)?;
    check::whole(&content).map_err(placed)?;
    let ignored = super::unsupported::note(&content);
    let ignored = ignored.into_iter().map(placed).collect();
    Ok(Project { content, ignored, places })
}

/// The profiles that are asked for.
fn active(content: &Json, reading: &Reading<'_>) -> BTreeSet<String> {
    let mut all: BTreeSet<String> = reading.profiles.iter().cloned().collect();
    if all.is_empty() {
        let given = (reading.lookup)("COMPOSE_PROFILES").unwrap_or_default();
        all.extend(
            given.split(',').map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned),
        );
    }
    if all.contains("*") {
        let services = content["services"].as_object().into_iter().flatten();
        let named =
            services.flat_map(|(_, service)| service["profiles"].as_array().into_iter().flatten());
        all.extend(named.filter_map(Json::as_str).map(str::to_owned));
    }
    all
}

struct Loader<'a> {
    reading: &'a Reading<'a>,
    places: Places,
    /// Files that others extend, by their path.
    files: BTreeMap<String, One>,
}

/// One file in long forms.
#[derive(Debug, Clone)]
struct One {
    content: Json,
    marks: Vec<(String, Mark)>,
    directory: String,
    name: String,
}

impl Loader<'_> {
    /// Files one over the other, each with what it includes.
    fn project(
        &mut self,
        sources: &[Source],
        variables: &Variables,
        depth: usize,
    ) -> Result<Json, Fault> {
        let mut content: Option<Json> = None;
        for source in sources {
            let mut one = self.one(source, variables, true)?;
            let names: Vec<String> = match one.content["services"].as_object() {
                Some(services) => services.keys().cloned().collect(),
                None => Vec::new(),
            };
            let mut services = json!({});
            for name in names {
                let extended = self.extended(&one, &name, variables, &mut Vec::new());
                services[&name] = extended.map_err(|fault| fault.placed(&self.places))?;
            }
            one.content["services"] = services;
            self.include(&mut one, variables, depth).map_err(|fault| fault.placed(&self.places))?;
            match &mut content {
                Some(base) => merge::files(base, one.content, &one.marks),
                None => content = Some(one.content),
            }
        }
        content.ok_or_else(|| Fault::at("", "no compose file specified"))
    }

    /// Reads one file and brings it into long forms.
    fn one(&mut self, source: &Source, variables: &Variables, is_main: bool) -> Result<One, Fault> {
        let document = yaml::parse(&source.name, &source.text)?;
        let places = Places::of(&source.name, &document.points);
        let content = self.long(document.value, source, variables);
        let content = content.map_err(|fault| {
            let fault = fault.placed(&places);
            if fault.place.is_none() {
                let message = format!("{}: {}", source.name, fault.message);
                return Fault { message, ..fault };
            }
            fault
        })?;
        if is_main {
            self.places.extend(places);
        } else {
            self.places.fill(&places);
        }
        Ok(One {
            content,
            marks: document.marks,
            directory: source.directory.clone(),
            name: source.name.clone(),
        })
    }

    fn long(&self, mut file: Json, source: &Source, variables: &Variables) -> Result<Json, Fault> {
        let lookup = |name: &str| self.variable(variables, name);
        if !self.reading.literal {
            for section in
                ["name", "include", "services", "networks", "volumes", "secrets", "configs"]
            {
                if let Some(part) = file.get_mut(section) {
                    interpolate::apply(part, &mut section.to_owned(), &lookup)?;
                }
            }
        }
        schema::check(&mut file)?;
        if let Json::Object(fields) = &mut file {
            // The version says nothing: every file may use every key.
            fields.retain(|key, _| !key.starts_with("x-") && key != "version");
        }
        let read_pairs = |path: &str| {
            let text = self.read(path)?;
            env_file::read(&text, &lookup).map_err(|why| format!("{path}: {why}"))
        };
        let around = normal::Surroundings {
            directory: &source.directory,
            lookup: &lookup,
            env_file: &read_pairs,
            read: &|path| self.read(path),
        };
        normal::file(&mut file, &around)?;
        Ok(file)
    }

    /// What the process has goes before what an included project brings.
    fn variable(&self, variables: &Variables, name: &str) -> Option<String> {
        (self.reading.lookup)(name).or_else(|| variables.get(name).cloned())
    }

    fn read(&self, path: &str) -> Result<String, String> {
        (self.reading.read)(path)
            .map_err(|why| format!("open {path}: {}", crate::error::io_text(&why)))
    }

    fn source(&self, path: &str, directory: Option<String>) -> Result<Source, String> {
        let own = std::path::Path::new(path).parent().map(|parent| parent.display().to_string());
        Ok(Source {
            text: self.read(path)?,
            directory: directory.or(own).unwrap_or_default(),
            name: path.to_owned(),
        })
    }

    /// A service with what it extends.
    fn extended(
        &mut self,
        file: &One,
        name: &str,
        variables: &Variables,
        trail: &mut Vec<(String, String)>,
    ) -> Result<Json, Fault> {
        let path = format!("services.{name}.extends");
        let step = (file.name.clone(), name.to_owned());
        if trail.contains(&step) {
            let names: Vec<&str> = trail.iter().map(|(_, name)| name.as_str()).collect();
            return Err(Fault::at(
                path,
                format!("circular reference: {} -> {name}", names.join(" -> ")),
            ));
        }
        let Some(own) = file.content["services"].get(name) else {
            return Err(Fault::at("", format!("service {name:?} is not in {}", file.name)));
        };
        let mut own = own.clone();
        let wanted = own["extends"].take();
        if let Json::Object(fields) = &mut own {
            fields.remove("extends");
        }
        let Some(of) = wanted["service"].as_str() else { return Ok(own) };
        trail.push(step);
        let base = match wanted["file"].as_str() {
            None => self.extended(file, of, variables, trail),
            Some(other) => {
                let other = self.other(other, variables).map_err(|fault| match fault.place {
                    None => Fault::at(path.clone(), fault.message),
                    Some(_) => fault,
                })?;
                self.extended(&other, of, variables, trail)
            }
        };
        trail.pop();
        let mut base = base.map_err(|fault| {
            if fault.path.is_empty() && fault.place.is_none() {
                Fault::at(path.clone(), fault.message)
            } else {
                fault
            }
        })?;
        merge::extend(&mut base, name, own, &file.marks);
        Ok(base)
    }

    fn other(&mut self, path: &str, variables: &Variables) -> Result<One, Fault> {
        if let Some(known) = self.files.get(path) {
            return Ok(known.clone());
        }
        let source = self.source(path, None).map_err(|why| Fault::at("", why))?;
        let one = self.one(&source, variables, false)?;
        self.files.insert(path.to_owned(), one.clone());
        Ok(one)
    }

    /// Adds the projects that a file includes.
    fn include(&mut self, one: &mut One, variables: &Variables, depth: usize) -> Result<(), Fault> {
        let wanted = one.content["include"].take();
        if let Json::Object(fields) = &mut one.content {
            fields.remove("include");
        }
        for (index, entry) in wanted.as_array().into_iter().flatten().enumerate() {
            let at = format!("include.{index}");
            if depth >= MOST_DEPTH {
                return Err(Fault::at(
                    at,
                    format!("more than {MOST_DEPTH} files include each other"),
                ));
            }
            let refuse = |why: String| Fault::at(at.clone(), why);
            let texts = |key: &str| crate::opts::service::texts(&entry[key]);
            let absolute = |path: &str| normal::absolute(&one.directory, None, path);
            let paths: Vec<String> = texts("path").iter().map(|path| absolute(path)).collect();
            let Some(first) = paths.first() else {
                return Err(refuse("a path is required".into()));
            };
            let directory = match entry["project_directory"].as_str() {
                Some(given) => absolute(given),
                None => normal::parent(first),
            };
            let mut inner = variables.clone();
            let given = texts("env_file");
            let files = match given.is_empty() {
                true => vec![format!("{directory}/.env")],
                false => given.iter().map(|path| absolute(path)).collect(),
            };
            for path in files {
                if given.is_empty() && (self.reading.read)(&path).is_err() {
                    continue;
                }
                let text = self.read(&path).map_err(refuse)?;
                let lookup = |name: &str| self.variable(&inner, name);
                let pairs = env_file::read(&text, &lookup);
                inner.extend(pairs.map_err(|why| refuse(format!("{path}: {why}")))?);
            }
            let mut sources = Vec::new();
            for path in &paths {
                sources.push(self.source(path, Some(directory.clone())).map_err(refuse)?);
            }
            let outer = std::mem::take(&mut self.places);
            let included = self.project(&sources, &inner, depth + 1);
            let theirs = std::mem::replace(&mut self.places, outer);
            self.places.fill(&theirs);
            add(&mut one.content, included?, first).map_err(refuse)?;
        }
        Ok(())
    }
}

/// Adds an included project. What both have must be the same.
fn add(content: &mut Json, included: Json, path: &str) -> Result<(), String> {
    let Json::Object(sections) = included else { return Ok(()) };
    for (section, objects) in sections {
        let Json::Object(objects) = objects else { continue };
        for (name, object) in objects {
            let old = &mut content[&section][&name];
            if !old.is_null() && *old != object {
                let kind = section.trim_end_matches('s');
                return Err(format!("{path} has a {kind} {name:?} that is another one here"));
            }
            *old = object;
        }
    }
    Ok(())
}
