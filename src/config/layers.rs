//! Lays the sources over each other: defaults < file < environment < flags. Finds unknown keys and values of the wrong
//! type; what a value means is judged in [`super::parse`].

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use config::{ConfigError, File, FileFormat, ValueKind};
use serde_json::Value as Json;

use super::problem::{Origin, Problem, nearest};
use super::raw::RawConfig;

/// Where the file is looked for when nobody names one.
pub const DEFAULT_FILE: &str = "config/edi.toml";

/// What a configuration is read from.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// The file named by `--config` or `EDI_CONFIG`; it must exist. Without one, [`DEFAULT_FILE`] if it exists.
    pub file: Option<PathBuf>,
    /// Environment variables; those that start with `EDI__` count.
    pub environment: HashMap<String, String>,
    /// Keys set by flags, with their values as text.
    pub flags: Vec<(&'static str, String)>,
}

impl Sources {
    /// The process's environment, with the file and the flags given. Variables that are not Unicode are passed over
    /// unless they are edi's.
    #[must_use]
    pub fn of_process(file: Option<PathBuf>, flags: Vec<(&'static str, String)>) -> Self {
        let environment = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.to_string_lossy().into_owned())))
            .filter(|(name, _)| name.to_ascii_uppercase().starts_with("EDI__"))
            .collect();
        Self { file, environment, flags }
    }

    /// The file that will be read, if any.
    #[must_use]
    pub fn file(&self) -> Option<&Path> {
        self.file.as_deref().or_else(|| Some(Path::new(DEFAULT_FILE)).filter(|path| path.is_file()))
    }
}

/// The merged values and where each came from.
pub(super) struct Merged {
    pub(super) raw: RawConfig,
    pub(super) origins: BTreeMap<String, Origin>,
    pub(super) problems: Vec<Problem>,
}

/// Every key with its default, in the order of the file.
pub(super) fn defaults() -> Vec<(String, Json)> {
    leaves(&RawConfig::default())
}

/// Every key with its value, in the same order.
pub(super) fn leaves(raw: &RawConfig) -> Vec<(String, Json)> {
    let mut leaves = Vec::new();
    if let Ok(tree) = serde_json::to_value(raw) {
        flatten("", &tree, &mut leaves);
    }
    leaves
}

/// Merges all sources. Values that cannot be used leave the default in place and a problem behind.
pub(super) fn merge(sources: &Sources) -> Merged {
    let mut merged = Merged { raw: RawConfig::default(), origins: BTreeMap::new(), problems: Vec::new() };
    let known: BTreeMap<String, Json> = defaults().into_iter().collect();
    let mut tree = serde_json::to_value(RawConfig::default()).unwrap_or_default();

    for (key, value, origin) in read(sources, &mut merged.problems) {
        let Some(default) = known.get(&key) else {
            merged.problems.push(unknown(&key, &known).from_origin(origin));
            continue;
        };
        match coerce(default, value) {
            Ok(value) => {
                if let Some(place) = tree.pointer_mut(&format!("/{}", key.replace('.', "/"))) {
                    *place = value;
                }
                merged.origins.insert(key, origin);
            }
            Err((shown, reason)) => merged.problems.push(Problem::new(&key, shown, reason).from_origin(origin)),
        }
    }
    match serde_json::from_value(tree) {
        Ok(raw) => merged.raw = raw,
        Err(error) => merged.problems.push(Problem::of_key("configuration", error.to_string())),
    }
    merged
}

/// Reads file, environment and flags with the `config` crate; the last word on each key, and who had it.
fn read(sources: &Sources, problems: &mut Vec<Problem>) -> Vec<(String, Json, Origin)> {
    let mut builder = config::Config::builder();
    if let Some(path) = sources.file() {
        match std::fs::read_to_string(path) {
            // Parsed on its own first, so that a broken file does not hide what is wrong elsewhere.
            Ok(text) => match config::Config::builder().add_source(File::from_str(&text, FileFormat::Toml)).build() {
                Ok(_) => builder = builder.add_source(File::from(path).format(FileFormat::Toml)),
                Err(error) => problems.push(Problem::of_key(path.display().to_string(), syntax(&error))),
            },
            Err(error) => problems.push(Problem::of_key(
                path.display().to_string(),
                format!("the configuration file cannot be read: {error}"),
            )),
        }
    }
    // Both separators are two underscores: with one, `EDI__KEYS__ROTATE_EVERY` could not be told from `keys.rotate.every`.
    let environment = config::Environment::with_prefix("EDI")
        .prefix_separator("__")
        .separator("__")
        .source(Some(sources.environment.clone()));
    builder = builder.add_source(environment);
    for (key, value) in &sources.flags {
        match builder.clone().set_override(*key, value.as_str()) {
            Ok(next) => builder = next,
            Err(error) => problems.push(Problem::of_key(*key, error.to_string())),
        }
    }
    let values = match builder.build() {
        Ok(merged) => merged.cache,
        Err(error) => {
            problems.push(Problem::of_key("configuration", error.to_string()));
            return Vec::new();
        }
    };
    let mut leaves = Vec::new();
    collect("", values, sources, &mut leaves);
    leaves.sort_by(|a, b| a.0.cmp(&b.0));
    leaves
}

fn syntax(error: &ConfigError) -> String {
    let text = match error {
        ConfigError::FileParse { cause, .. } => cause.to_string(),
        other => other.to_string(),
    };
    format!("the configuration file is not valid TOML: {}", text.trim_end())
}

fn collect(prefix: &str, value: config::Value, sources: &Sources, leaves: &mut Vec<(String, Json, Origin)>) {
    let origin = match value.origin() {
        None => Origin::Flag,
        Some("the environment") => Origin::Environment,
        Some(_) => Origin::File(sources.file().unwrap_or(Path::new(DEFAULT_FILE)).display().to_string()),
    };
    match value.kind {
        ValueKind::Table(table) => {
            for (name, value) in table {
                let key = if prefix.is_empty() { name } else { format!("{prefix}.{name}") };
                collect(&key, value, sources, leaves);
            }
        }
        kind => leaves.push((prefix.to_owned(), to_json(kind), origin)),
    }
}

fn to_json(kind: ValueKind) -> Json {
    match kind {
        ValueKind::Nil | ValueKind::Table(_) => Json::Null,
        ValueKind::Boolean(it) => it.into(),
        ValueKind::I64(it) => it.into(),
        ValueKind::U64(it) => it.into(),
        ValueKind::I128(it) => it.to_string().into(),
        ValueKind::U128(it) => it.to_string().into(),
        ValueKind::Float(it) => it.into(),
        ValueKind::String(it) => it.into(),
        ValueKind::Array(items) => items.into_iter().map(|item| to_json(item.kind)).collect(),
    }
}

fn flatten(prefix: &str, tree: &Json, leaves: &mut Vec<(String, Json)>) {
    match tree {
        Json::Object(members) => {
            for (name, member) in members {
                let key = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
                flatten(&key, member, leaves);
            }
        }
        leaf => leaves.push((prefix.to_owned(), leaf.clone())),
    }
}

fn unknown(key: &str, known: &BTreeMap<String, Json>) -> Problem {
    let section = format!("{key}.");
    let reason = if known.keys().any(|name| name.starts_with(&section)) {
        "is a section, not a key".into()
    } else {
        match nearest(key, known.keys().map(String::as_str)) {
            Some(near) => format!("unknown key; did you mean `{near}`?"),
            None => "unknown key".into(),
        }
    };
    Problem::of_key(key, reason)
}

/// Brings a value to the type of its default. The environment and flags know only text: numbers and switches are read
/// from it, lists are split at commas, or written as in the file. On refusal: the value as text, and what was expected.
fn coerce(default: &Json, value: Json) -> Result<Json, (String, &'static str)> {
    let shown = || match &value {
        Json::String(text) => text.clone(),
        other => other.to_string(),
    };
    match (default, &value) {
        (Json::String(_), Json::String(_)) | (Json::Bool(_), Json::Bool(_)) => Ok(value),
        (Json::String(_), _) => Err((shown(), "expected text in quotes")),
        (Json::Bool(_), Json::String(text)) => match text.as_str() {
            "true" => Ok(true.into()),
            "false" => Ok(false.into()),
            _ => Err((shown(), "expected true or false")),
        },
        (Json::Bool(_), _) => Err((shown(), "expected true or false")),
        (Json::Number(_), Json::Number(number)) if number.is_u64() => Ok(value),
        (Json::Number(_), Json::String(text)) => text
            .trim()
            .replace('_', "")
            .parse::<u64>()
            .map(Json::from)
            .map_err(|_| (shown(), "expected a whole number")),
        (Json::Number(_), _) => Err((shown(), "expected a whole number")),
        (Json::Array(_), Json::Array(items)) if items.iter().all(Json::is_string) => Ok(value),
        // As in the file, `["a", "b"]`, for those who write it so.
        (Json::Array(_), Json::String(text)) if text.trim_start().starts_with('[') => {
            let items: Option<Vec<String>> = serde_json::from_str(text).ok();
            items.map(Json::from).ok_or_else(|| (shown(), "expected a list of texts"))
        }
        (Json::Array(_), Json::String(text)) => {
            Ok(text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(Json::from).collect())
        }
        (Json::Array(_), _) => Err((shown(), "expected a list of texts")),
        _ => Err((shown(), "expected a single value")),
    }
}
