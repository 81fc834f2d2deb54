//! What one document of a file says about a client or a deployment: fields named as in the admin API, each judged by the
//! same rules, every problem with its line. Knows nothing of what is registered.

use std::collections::BTreeSet;
use std::fmt;

use serde_json::{Map, Value, json};

use super::yaml::{Content, Node, Problem};
use crate::cli::output::printable;
use crate::keys::client_keys;
use crate::model::algorithm::Algorithm;
use crate::model::client::{MAX_AUDIENCES, MAX_NAME, MAX_ROLES};
use crate::model::deployment::{MAX_HOSTS, MAX_PATHS, is_audience, parse_host, parse_path};
use crate::model::id::{ClientId, DeploymentId};
use crate::model::scope::{AdminScope, Role};

/// What a document is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(in crate::cli) enum Kind {
    /// A deployed model.
    Deployment,
    /// A registered service.
    Client,
}

impl Kind {
    /// All of them.
    pub(in crate::cli) const ALL: [Self; 2] = [Self::Deployment, Self::Client];

    /// The word in `kind:`.
    pub(in crate::cli) const fn name(self) -> &'static str {
        match self {
            Self::Deployment => "Deployment",
            Self::Client => "Client",
        }
    }

    /// The collection in the admin API.
    pub(in crate::cli) const fn collection(self) -> &'static str {
        match self {
            Self::Deployment => "deployments",
            Self::Client => "clients",
        }
    }

    /// The field that holds the id.
    pub(in crate::cli) const fn id(self) -> &'static str {
        match self {
            Self::Deployment => "id",
            Self::Client => "client_id",
        }
    }

    /// The fields beside the id, in the order they are shown.
    pub(in crate::cli) const fn fields(self) -> &'static [Field] {
        match self {
            Self::Deployment => DEPLOYMENT,
            Self::Client => CLIENT,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Deployment => "deployment",
            Self::Client => "client",
        })
    }
}

/// A field of a document.
#[derive(Debug, Clone, Copy)]
pub(in crate::cli) struct Field {
    /// Its name, here and in the admin API.
    pub(in crate::cli) name: &'static str,
    shape: Shape,
    /// What leaving it out means.
    pub(in crate::cli) omitted: Omitted,
}

/// What leaving a field out of a document means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cli) enum Omitted {
    /// It has no value: the list is empty, the text is none.
    Empty,
    /// It stays as it is; edi chooses when the thing is made.
    Kept,
}

type Rule = fn(&str) -> Result<String, String>;

#[derive(Debug, Clone, Copy)]
enum Shape {
    Text(Rule),
    Set(Rule, usize),
    Seconds,
    KeySet,
}

const fn field(name: &'static str, shape: Shape, omitted: Omitted) -> Field {
    Field { name, shape, omitted }
}

/// `state` stays when it is left out, so that the next run in a pipeline does not let in whom an emergency kept out; how
/// a client proves itself stays, so that keys can be registered apart from the files.
const CLIENT: &[Field] = &[
    field("client_name", Shape::Text(name), Omitted::Empty),
    field("token_endpoint_auth_method", Shape::Text(auth_method), Omitted::Kept),
    field("jwks", Shape::KeySet, Omitted::Kept),
    field("assertion_audience", Shape::Text(assertion_audience), Omitted::Kept),
    field("roles", Shape::Set(role, MAX_ROLES), Omitted::Kept),
    field("admin_scopes", Shape::Set(admin_scope, AdminScope::ALL.len()), Omitted::Empty),
    field("audiences", Shape::Set(audience, MAX_AUDIENCES), Omitted::Empty),
    field("access_token_lifetime", Shape::Seconds, Omitted::Empty),
    field("access_token_signing_alg", Shape::Text(algorithm), Omitted::Empty),
    field("state", Shape::Text(state), Omitted::Kept),
];

const DEPLOYMENT: &[Field] = &[
    field("role", Shape::Text(role), Omitted::Kept),
    field("hosts", Shape::Set(host, MAX_HOSTS), Omitted::Empty),
    field("paths", Shape::Set(path, MAX_PATHS), Omitted::Empty),
    field("audience", Shape::Text(audience), Omitted::Empty),
];

impl Field {
    /// The value of a thing that has none.
    pub(in crate::cli) fn empty(&self) -> Value {
        if matches!(self.shape, Shape::Set(..)) { json!([]) } else { Value::Null }
    }

    /// The value in an answer of the admin API, comparable with that of a document.
    pub(in crate::cli) fn of(&self, view: &Value) -> Value {
        match (view.get(self.name), self.shape) {
            (None | Some(Value::Null), _) => self.empty(),
            (Some(value), Shape::Set(..)) => {
                let texts: BTreeSet<&str> = value.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
                json!(texts)
            }
            // The default, told to those who might have another.
            (Some(value), _) if self.name == "assertion_audience" && value == "issuer" => Value::Null,
            (Some(value), _) => value.clone(),
        }
    }

    fn read(&self, node: &Node, problems: &mut Vec<Problem>) -> Option<Value> {
        let mut wrong = |line: usize, at: &str, what: &str| {
            problems.push(Problem { line, what: format!("{}{at}: {what}", self.name) });
            None
        };
        if node.is_null() {
            return Some(self.empty());
        }
        match (&node.content, self.shape) {
            (Content::Text { text, .. }, Shape::Text(rule)) => match rule(text) {
                Ok(text) => Some(self.of(&json!({ self.name: text }))),
                Err(what) => wrong(node.line, "", &what),
            },
            (Content::Text { text, plain: true }, Shape::Seconds) => match text.parse::<u32>() {
                Ok(seconds) if seconds > 0 => Some(seconds.into()),
                _ => wrong(node.line, "", "expected whole seconds"),
            },
            (Content::List(items), Shape::Set(_, most)) if items.len() > most => {
                wrong(node.line, "", &format!("at most {most} entries"))
            }
            (Content::List(items), Shape::Set(rule, _)) => {
                let mut set = BTreeSet::new();
                for (n, item) in items.iter().enumerate() {
                    let read = match &item.content {
                        Content::Text { text, .. } if !item.is_null() => rule(text),
                        _ => Err("expected a text".to_owned()),
                    };
                    let fault = match read {
                        Ok(text) => (!set.insert(text)).then(|| "given twice".to_owned()),
                        Err(what) => Some(what),
                    };
                    if let Some(what) = fault {
                        wrong(item.line, &format!("[{n}]"), &what);
                    }
                }
                Some(json!(set))
            }
            (Content::Map(_), Shape::KeySet) => match client_keys::register(&node.json()) {
                Ok(registration) => Some(registration.jwks),
                Err(error) => {
                    let at = error.index.map(|index| format!(".keys[{index}]")).unwrap_or_default();
                    wrong(node.line, &at, &error.to_string())
                }
            },
            (_, Shape::Text(_)) => wrong(node.line, "", "expected a text"),
            (_, Shape::Seconds) => wrong(node.line, "", "expected whole seconds"),
            (_, Shape::Set(..)) => wrong(node.line, "", "expected a list of texts"),
            (_, Shape::KeySet) => wrong(node.line, "", "expected a JWK set: a mapping with a list of keys"),
        }
    }
}

/// What a document says.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::cli) struct Document {
    /// Of what kind.
    pub(in crate::cli) kind: Kind,
    /// Which.
    pub(in crate::cli) id: String,
    /// `FILE:LINE`.
    pub(in crate::cli) origin: String,
    /// The fields it names.
    pub(in crate::cli) fields: Map<String, Value>,
}

/// Reads a document; `None` when it is empty, or so wrong that nothing can be made of it.
pub(super) fn read(node: &Node, file: &str, problems: &mut Vec<Problem>) -> Option<Document> {
    if node.is_null() {
        return None;
    }
    let mut problem = |line: usize, what: String| problems.push(Problem { line, what });
    let Content::Map(members) = &node.content else {
        problem(node.line, "expected a mapping that begins with kind: Client or kind: Deployment".into());
        return None;
    };
    let text = |name: &str| {
        members.iter().find(|(there, _)| there == name).map(|(_, node)| match &node.content {
            Content::Text { text, .. } => (node.line, text.as_str()),
            _ => (node.line, ""),
        })
    };
    let kind = match text("kind") {
        Some((_, "Client")) => Kind::Client,
        Some((_, "Deployment")) => Kind::Deployment,
        Some((line, other)) => {
            problem(line, format!("kind: expected Client or Deployment, not {}", printable(other)));
            return None;
        }
        None => {
            problem(node.line, "kind: missing; say Client or Deployment".into());
            return None;
        }
    };
    let id = match text(kind.id()) {
        None => {
            problem(node.line, format!("{}: missing", kind.id()));
            None
        }
        Some((line, text)) => {
            let judged = match kind {
                Kind::Client => ClientId::parse(text).map(|_| ()).map_err(|error| error.to_string()),
                Kind::Deployment => DeploymentId::parse(text).map(|_| ()).map_err(|error| error.to_string()),
            };
            judged.map_err(|what| problem(line, format!("{}: {what}", kind.id()))).ok().map(|()| text.to_owned())
        }
    };
    let mut fields = Map::new();
    for (name, node) in members.iter().filter(|(name, _)| name != "kind" && name != kind.id()) {
        let Some(field) = kind.fields().iter().find(|field| field.name == name) else {
            let shown = printable(&name.chars().take(64).collect::<String>());
            let near = |field: &&Field| strsim::jaro_winkler(field.name, name) > 0.8;
            let meant = match kind.fields().iter().find(near) {
                Some(field) => format!("; did you mean {}?", field.name),
                None => String::new(),
            };
            problems.push(Problem { line: node.line, what: format!("{shown}: unknown field of a {kind}{meant}") });
            continue;
        };
        if let Some(value) = field.read(node, problems) {
            fields.insert(field.name.to_owned(), value);
        }
    }
    Some(Document { kind, id: id?, origin: format!("{file}:{}", node.line), fields })
}

/// What the admin API shows, as a document. Fields that say nothing are left out, and so is a client's being enabled:
/// see [`CLIENT`].
pub(in crate::cli) fn of_view(kind: Kind, view: &Value) -> Vec<(&'static str, Value)> {
    let id = view.get(kind.id()).cloned().unwrap_or_default();
    let mut document = vec![("kind", kind.name().into()), (kind.id(), id)];
    for field in kind.fields() {
        let value = field.of(view);
        let said = value != field.empty() || field.name == "roles";
        if said && !(field.name == "state" && value == "enabled") {
            document.push((field.name, value));
        }
    }
    document
}

fn name(text: &str) -> Result<String, String> {
    if !text.is_empty() && text.chars().count() <= MAX_NAME && !text.chars().any(char::is_control) {
        Ok(text.to_owned())
    } else {
        Err(format!("expected a text of 1 to {MAX_NAME} characters without control characters"))
    }
}

fn auth_method(text: &str) -> Result<String, String> {
    match text {
        "client_secret_basic" | "client_secret_post" | "private_key_jwt" => Ok(text.to_owned()),
        _ => Err("expected client_secret_basic, client_secret_post or private_key_jwt".into()),
    }
}

fn assertion_audience(text: &str) -> Result<String, String> {
    let known = matches!(text, "issuer" | "token_endpoint");
    known.then(|| text.to_owned()).ok_or_else(|| "expected issuer or token_endpoint".into())
}

fn role(text: &str) -> Result<String, String> {
    Role::parse(text).map(|role| role.to_string()).map_err(|error| error.to_string())
}

fn admin_scope(text: &str) -> Result<String, String> {
    text.parse::<AdminScope>().map(|scope| scope.to_string()).map_err(str::to_owned)
}

fn audience(text: &str) -> Result<String, String> {
    is_audience(text).then(|| text.to_owned()).ok_or_else(|| {
        "an audience has 1 to 512 printable ASCII characters without space, quote, backslash and #".to_owned()
    })
}

fn algorithm(text: &str) -> Result<String, String> {
    let known = || Algorithm::ALL.map(Algorithm::name).join(", ");
    text.parse::<Algorithm>().map(|it| it.name().to_owned()).map_err(|_| format!("expected one of {}", known()))
}

fn state(text: &str) -> Result<String, String> {
    matches!(text, "enabled" | "disabled").then(|| text.to_owned()).ok_or_else(|| "expected enabled or disabled".into())
}

fn host(text: &str) -> Result<String, String> {
    parse_host(text).map_err(str::to_owned)
}

fn path(text: &str) -> Result<String, String> {
    parse_path(text).map_err(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::super::yaml;
    use super::*;

    fn read_all(text: &str) -> (Vec<Document>, Vec<String>) {
        let (nodes, mut problems) = yaml::read(text);
        let documents = nodes.iter().filter_map(|node| read(node, "f", &mut problems)).collect();
        (documents, problems.into_iter().map(|it| format!("{}: {}", it.line, it.what)).collect())
    }

    #[test]
    fn a_document_says_what_it_names_and_no_more() {
        let (documents, problems) = read_all(
            "kind: Client\nclient_id: svc\nclient_name: 007\nroles: [b, no, a]\naudiences: null\naccess_token_lifetime: 600\n---\n\
             kind: Deployment\nid: m\nhosts: [A.Example]\npaths:\n- /x\n",
        );
        assert_eq!(problems, Vec::<String>::new());
        assert_eq!(
            Value::Object(documents[0].fields.clone()),
            json!({ "client_name": "007", "roles": ["a", "b", "no"], "audiences": [], "access_token_lifetime": 600 })
        );
        assert_eq!((documents[1].kind, documents[1].origin.as_str()), (Kind::Deployment, "f:8"));
        assert_eq!(documents[1].fields["hosts"], json!(["a.example"]));
    }

    #[test]
    fn all_problems_are_told_at_once_with_their_lines() {
        let (_, problems) = read_all(
            "kind: Client\nclient_id: 'no spaces '\nroles: [fine, edi:admin, fine]\naccess_token_lifetime: 10m\n\
             admin_scopes: edi:read\nrole: x\nstate: off\n---\nkind: Secret\n---\nid: x\n---\n- a\n---\n\
             kind: Client\nclient_id: a\njwks: {keys: [{kty: oct, k: hunter2}]}\n",
        );
        let wanted = [
            "2: client_id: ",
            "3: roles[1]: ",
            "3: roles[2]: given twice",
            "4: access_token_lifetime: expected whole seconds",
            "5: admin_scopes: expected a list of texts",
            "6: role: unknown field of a client; did you mean roles?",
            "7: state: expected enabled or disabled",
            "9: kind: expected Client or Deployment, not Secret",
            "11: kind: missing",
            "13: expected a mapping",
            "17: jwks.keys[0]: ",
        ];
        assert_eq!(problems.len(), wanted.len(), "{problems:#?}");
        for wanted in wanted {
            assert!(problems.iter().any(|found| found.starts_with(wanted)), "{wanted}: {problems:#?}");
        }
        assert!(!problems.concat().contains("hunter2"));
    }
}
