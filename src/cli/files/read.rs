//! From paths to documents, with every problem of every file at once.

use std::collections::HashMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use super::document::{self, Document, Kind};
use super::yaml::{self, Problem};
use crate::cli::{Exit, Failure};
use crate::model::deployment::Deployment;
use crate::model::id::DeploymentId;
use crate::model::route::Routes;
use crate::model::scope::Role;
use crate::model::time::Timestamp;

/// The largest file that is read, in bytes.
const MAX_FILE: u64 = 16 * 1024 * 1024;
/// How deep folders may lie in each other.
const MAX_FOLDERS: usize = 16;

/// Reads files, folders and `-`, standard input.
///
/// # Errors
/// Every problem of all of them, each with file and line.
pub(in crate::cli) fn read(sources: &[PathBuf]) -> Result<Vec<Document>, Failure> {
    let mut texts = Vec::new();
    for source in sources {
        if source.as_os_str() == "-" {
            texts.push(("(standard input)".to_owned(), text_of(std::io::stdin().lock(), "standard input")?));
            continue;
        }
        let paths = if source.is_dir() { files_below(source)? } else { vec![source.clone()] };
        if paths.is_empty() {
            return Err(Failure::new(Exit::Data, format!("{} holds no .yaml or .yml file", source.display()))
                .hint("`edi dump -o DIR` writes what is registered as files"));
        }
        for path in paths {
            let shown = path.display().to_string();
            let file = std::fs::File::open(&path)
                .map_err(|error| Failure::new(Exit::Data, format!("{shown} cannot be read: {error}")))?;
            let text = text_of(file, &shown)?;
            texts.push((shown, text));
        }
    }
    let mut problems = Vec::new();
    let mut documents = Vec::new();
    for (file, text) in &texts {
        let (nodes, mut found) = yaml::read(text);
        documents.extend(nodes.iter().filter_map(|node| document::read(node, file, &mut found)));
        found.sort_by_key(|problem| problem.line);
        problems.extend(found.into_iter().map(|Problem { line, what }| format!("{file}:{line}: {what}")));
    }
    problems.extend(doubled(&documents));
    problems.extend(crossing(&documents));
    if !problems.is_empty() {
        return Err(refusal(&problems));
    }
    if documents.is_empty() {
        return Err(Failure::new(Exit::Data, "the files hold no document")
            .hint("one begins with `kind: Client` or `kind: Deployment`; `edi dump` shows examples"));
    }
    Ok(documents)
}

/// All problems of all files.
pub(super) fn refusal(problems: &[String]) -> Failure {
    let count = match problems.len() {
        1 => "the files have a problem".to_owned(),
        many => format!("the files have {many} problems"),
    };
    Failure::new(Exit::Data, format!("{count}; nothing was changed\n  {}", problems.join("\n  ")))
        .hint("the fields of each kind: `edi apply --help`")
}

fn text_of(from: impl std::io::Read, name: &str) -> Result<String, Failure> {
    let mut text = String::new();
    match from.take(MAX_FILE + 1).read_to_string(&mut text) {
        Err(error) => Err(Failure::new(Exit::Data, format!("{name} cannot be read as text: {error}"))),
        Ok(length) if length as u64 > MAX_FILE => {
            Err(Failure::new(Exit::Data, format!("{name} is longer than 16 MiB")))
        }
        Ok(_) => Ok(text),
    }
}

/// The YAML files in a folder and the folders in it, in order of their names. Hidden ones are left out, which is where
/// Kubernetes keeps the real files of a mounted volume.
pub(in crate::cli) fn files_below(folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    let mut found = Vec::new();
    walk(folder, 0, &mut found)?;
    found.sort();
    Ok(found)
}

fn walk(folder: &Path, depth: usize, found: &mut Vec<PathBuf>) -> Result<(), Failure> {
    let failed = |error: &std::io::Error| {
        Failure::new(Exit::Data, format!("the folder {} cannot be read: {error}", folder.display()))
    };
    if depth > MAX_FOLDERS {
        return Err(Failure::new(Exit::Data, format!("{}: folders lie too deep in each other", folder.display())));
    }
    for item in std::fs::read_dir(folder).map_err(|error| failed(&error))? {
        let path = item.map_err(|error| failed(&error))?.path();
        let hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        if hidden {
            continue;
        }
        if path.is_dir() {
            walk(&path, depth + 1, found)?;
        } else if path.extension().is_some_and(|end| end == "yaml" || end == "yml") {
            found.push(path);
        }
    }
    Ok(())
}

/// Things that two documents claim.
fn doubled(documents: &[Document]) -> Vec<String> {
    let mut seen: HashMap<(Kind, &str), &str> = HashMap::new();
    let mut problems = Vec::new();
    for Document { kind, id, origin, .. } in documents {
        match seen.get(&(*kind, id.as_str())) {
            Some(first) => problems.push(format!("{origin}: {kind} {id} is in {first} already")),
            None => drop(seen.insert((*kind, id), origin)),
        }
    }
    problems
}

/// Deployments that would answer at the same place.
fn crossing(documents: &[Document]) -> Vec<String> {
    let mut routes = Routes::default();
    let mut problems = Vec::new();
    for document in documents.iter().filter(|document| document.kind == Kind::Deployment) {
        let Some(deployment) = placed(document) else { continue };
        match routes.taken(&deployment) {
            Some(taken) if taken.holder != deployment.id => problems.push(format!("{}: {taken}", document.origin)),
            _ => routes.add(&deployment),
        }
    }
    problems
}

/// A deployment as far as its place goes.
fn placed(document: &Document) -> Option<Deployment> {
    let list = |name: &str| {
        let items = document.fields.get(name).and_then(serde_json::Value::as_array).into_iter().flatten();
        items.filter_map(|item| item.as_str().map(ToOwned::to_owned)).collect()
    };
    Some(Deployment {
        id: DeploymentId::parse(&document.id).ok()?,
        role: Role::parse("any").ok()?,
        hosts: list("hosts"),
        paths: list("paths"),
        audience: None,
        created_at: Timestamp::default(),
        updated_at: Timestamp::default(),
    })
}
