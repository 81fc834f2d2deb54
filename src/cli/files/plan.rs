//! What has to change so that what is registered matches the documents. [`compare`] is pure; [`look`] reads what it
//! compares with, and what it found is what [`super::carry`] changes: every change names the version it was made for.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::document::{Document, Kind, Omitted};
use super::read::refusal;
use crate::cli::api::Api;
use crate::cli::{Failure, view};

/// What happens to a thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cli) enum Action {
    /// It is made.
    Create,
    /// It is changed.
    Update,
    /// It goes.
    Delete,
    /// Its secret was lost when an earlier run broke off; it gets another one.
    Remake,
}

impl Action {
    /// The word for programs.
    pub(in crate::cli) const fn name(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Update => "update",
            Self::Delete => "delete",
            Self::Remake => "remake-secret",
        }
    }
}

/// A field that changes.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::cli) struct FieldChange {
    /// Its name.
    pub(in crate::cli) name: &'static str,
    /// What it is.
    pub(in crate::cli) from: Value,
    /// What it shall be.
    pub(in crate::cli) to: Value,
}

/// One thing that changes.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::cli) struct Change {
    /// Of what kind.
    pub(in crate::cli) kind: Kind,
    /// Which.
    pub(in crate::cli) id: String,
    /// What happens to it.
    pub(in crate::cli) action: Action,
    /// Where it is written; none for what no file names.
    pub(in crate::cli) origin: Option<String>,
    /// Its fields that change.
    pub(in crate::cli) fields: Vec<FieldChange>,
    /// The version it is made for.
    pub(in crate::cli) etag: Option<String>,
    /// Whether the thing, as it is or shall be, has a right over edi itself.
    pub(in crate::cli) touches_rights: bool,
}

impl Change {
    /// The field of this name as it shall be.
    pub(in crate::cli) fn to(&self, name: &str) -> Option<&Value> {
        self.fields.iter().find(|field| field.name == name).map(|field| &field.to)
    }

    /// The body of the request that makes or changes it.
    pub(in crate::cli) fn body(&self) -> Map<String, Value> {
        let mut body = Map::new();
        if self.action == Action::Create {
            body.insert(self.kind.id().into(), self.id.as_str().into());
        }
        body.extend(self.fields.iter().map(|field| (field.name.to_owned(), field.to.clone())));
        body
    }

    /// Whether tokens that live now end with it.
    pub(in crate::cli) fn ends_tokens(&self) -> bool {
        let lost = |field: &FieldChange| match field.name {
            "roles" | "admin_scopes" => texts(&field.from).iter().any(|name| !texts(&field.to).contains(name)),
            "state" => field.to == "disabled",
            _ => false,
        };
        self.kind == Kind::Client
            && match self.action {
                Action::Delete => true,
                Action::Update => self.fields.iter().any(lost),
                Action::Create | Action::Remake => false,
            }
    }
}

/// Everything that changes, in the order it will.
#[derive(Debug, Default)]
pub(in crate::cli) struct Plan {
    /// The changes.
    pub(in crate::cli) changes: Vec<Change>,
    /// How many documents are matched already.
    pub(in crate::cli) unchanged: usize,
    /// What is worth knowing beside.
    pub(in crate::cli) notes: Vec<String>,
}

impl Plan {
    /// How many changes do this.
    pub(in crate::cli) fn count(&self, action: Action) -> usize {
        self.changes.iter().filter(|change| change.action == action).count()
    }
}

/// What is registered, by kind and id.
pub(in crate::cli) type Registered = BTreeMap<(Kind, String), Value>;

/// Who looks, and how far they go.
#[derive(Debug, Clone, Copy)]
pub(in crate::cli) struct Reach<'a> {
    /// Whether what no file names goes.
    pub(in crate::cli) prune: bool,
    /// The client that asks.
    pub(in crate::cli) own: &'a str,
}

/// Reads what is registered of the kinds that the documents name, compares, and fixes the versions.
///
/// # Errors
/// Those of the admin API.
pub(in crate::cli) async fn look(api: &mut Api, documents: &[Document], prune: bool) -> Result<Plan, Failure> {
    let mut there = Registered::new();
    for kind in Kind::ALL {
        if documents.iter().any(|document| document.kind == kind) {
            for view in api.list(&[kind.collection()], &[]).await? {
                there.insert((kind, view::text(&view, kind.id())), view);
            }
        }
    }
    let own = api.client_id().to_owned();
    let reach = Reach { prune, own: &own };
    // A first look without versions says what to look at closely; the changes are those of the close look.
    for change in compare(documents, &there, reach).changes {
        if change.action == Action::Create {
            continue;
        }
        let key = (change.kind, change.id);
        let (view, etag) = api.get_versioned(&[key.0.collection(), &key.1]).await?;
        let mut view = view;
        if let (Some(members), Some(etag)) = (view.as_object_mut(), etag) {
            members.insert(ETAG.into(), etag.into());
        }
        there.insert(key, view);
    }
    let plan = compare(documents, &there, reach);
    refuse_what_the_server_would(api, documents, family(&plan)).await?;
    Ok(plan)
}

/// Where [`look`] keeps the version of a view. No field of the API has such a name.
const ETAG: &str = "(etag)";

/// What only the server's settings can tell is asked before the first change, as far as the operator may know them.
async fn refuse_what_the_server_would(
    api: &mut Api,
    documents: &[Document],
    mut problems: Vec<String>,
) -> Result<(), Failure> {
    let issuer = api.issuer().as_str().to_owned();
    let limits = api.get(&["status"]).await.ok().and_then(|status| status.get("limits").cloned()).unwrap_or_default();
    let longest = limits.get("max_ttl").and_then(Value::as_u64);
    let algorithms = view::list(&limits, "algorithms");
    for Document { origin, fields, .. } in documents {
        let names = |field: &str| texts(fields.get(field).unwrap_or(&Value::Null));
        if names("audiences").contains(&issuer) || fields.get("audience").is_some_and(|it| *it == issuer) {
            problems.push(format!("{origin}: the issuer is the admin API's audience; nothing else may have it"));
        }
        let lifetime = fields.get("access_token_lifetime").and_then(Value::as_u64);
        if let (Some(longest), Some(lifetime)) = (longest, lifetime)
            && lifetime > longest
        {
            problems
                .push(format!("{origin}: access_token_lifetime: {lifetime} is more than tokens.max_ttl, {longest}"));
        }
        if let Some(algorithm) = fields.get("access_token_signing_alg").and_then(Value::as_str)
            && !algorithms.is_empty()
            && !algorithms.iter().any(|known| known == algorithm)
        {
            problems.push(format!("{origin}: access_token_signing_alg: {algorithm} is not among keys.algorithms"));
        }
    }
    if problems.is_empty() { Ok(()) } else { Err(refusal(&problems)) }
}

/// The field that says how a client proves itself.
const METHOD: &str = "token_endpoint_auth_method";
/// By keys.
pub(in crate::cli) const KEYS: &str = "private_key_jwt";

/// A client has keys exactly when it proves itself by them.
fn family(plan: &Plan) -> Vec<String> {
    let mut problems = Vec::new();
    for change in plan.changes.iter().filter(|change| change.kind == Kind::Client && change.action == Action::Create) {
        let keys = change.to("jwks").is_some_and(|jwks| !jwks.is_null());
        let by_keys = change.to(METHOD).is_some_and(|method| method == KEYS);
        let origin = change.origin.as_deref().unwrap_or_default();
        if keys && !by_keys {
            problems.push(format!("{origin}: jwks: keys go with {METHOD}: {KEYS}"));
        } else if by_keys && !keys {
            problems.push(format!("{origin}: {METHOD}: a new client of {KEYS} has its public keys in jwks"));
        }
    }
    problems
}

/// Compares. What is registered of a kind that no document names is never touched.
pub(in crate::cli) fn compare(documents: &[Document], there: &Registered, reach: Reach<'_>) -> Plan {
    let mut plan = Plan::default();
    for document in documents {
        let key = (document.kind, document.id.clone());
        match there.get(&key) {
            None => plan.changes.push(creation(document)),
            Some(view) => match update(document, view) {
                Some(change) => plan.changes.push(change),
                None => plan.unchanged += 1,
            },
        }
    }
    let named: BTreeSet<(Kind, &str)> = documents.iter().map(|it| (it.kind, it.id.as_str())).collect();
    let kinds: BTreeSet<Kind> = documents.iter().map(|it| it.kind).collect();
    let extra: Vec<(&(Kind, String), &Value)> =
        there.iter().filter(|((kind, id), _)| kinds.contains(kind) && !named.contains(&(*kind, id))).collect();
    if reach.prune {
        prune(&extra, there, reach.own, &mut plan);
        for kind in Kind::ALL.iter().filter(|kind| !kinds.contains(kind)) {
            plan.notes.push(format!("no file names a {kind}, so {} are left alone", kind.collection()));
        }
    } else if !extra.is_empty() {
        let names = extra.iter().map(|((kind, id), _)| format!("{kind} {id}")).take(5).collect::<Vec<_>>().join(", ");
        let more = if extra.len() > 5 { format!(" and {} more", extra.len() - 5) } else { String::new() };
        plan.notes.push(format!("in no file, and left alone without --prune: {names}{more}"));
    }
    // What frees a place comes before what takes one; who runs this comes last, should it lose a right by it.
    plan.changes.sort_by_key(|change| {
        let step = match (change.kind, change.action) {
            (Kind::Deployment, Action::Delete) => 0,
            (Kind::Deployment, Action::Update) => 1,
            (Kind::Deployment, _) => 2,
            (Kind::Client, Action::Create | Action::Update | Action::Remake) if change.id != reach.own => 3,
            (Kind::Client, Action::Delete) => 4,
            (Kind::Client, _) => 5,
        };
        (step, change.id.clone())
    });
    plan
}

fn creation(document: &Document) -> Change {
    let fields = document.kind.fields().iter().filter_map(|field| {
        let to = document.fields.get(field.name)?.clone();
        // An empty list of roles is said, or the default role would be granted; a new client is enabled anyway.
        let said = to != field.empty() || field.name == "roles";
        let said = said && !(field.name == "state" && to == "enabled");
        said.then(|| FieldChange { name: field.name, from: field.empty(), to })
    });
    let fields: Vec<FieldChange> = fields.collect();
    Change {
        kind: document.kind,
        id: document.id.clone(),
        action: Action::Create,
        origin: Some(document.origin.clone()),
        touches_rights: fields.iter().any(|field| field.name == "admin_scopes"),
        fields,
        etag: None,
    }
}

fn update(document: &Document, view: &Value) -> Option<Change> {
    let fields = document.kind.fields().iter().filter_map(|field| {
        let from = field.of(view);
        let to = match (document.fields.get(field.name), field.omitted) {
            (Some(to), _) => to.clone(),
            (None, Omitted::Kept) => return None,
            (None, Omitted::Empty) => field.empty(),
        };
        // A deployment has a role, a client a state: null asks for what edi chooses, and that stands.
        let unsaid = to.is_null() && matches!(field.name, "role" | "state");
        (from != to && !unsaid).then_some(FieldChange { name: field.name, from, to })
    });
    let mut fields: Vec<FieldChange> = fields.collect();
    let moves_to_keys = fields.iter().any(|field| field.name == METHOD && field.to == KEYS);
    let secrets: Vec<String> =
        view.get("secrets").and_then(Value::as_array).into_iter().flatten().map(|it| view::text(it, "id")).collect();
    if moves_to_keys && !secrets.is_empty() {
        // Never both: whoever writes the one gives up the other, and sees so.
        fields.push(FieldChange { name: "secrets", from: json!(secrets), to: json!([]) });
    }
    (!fields.is_empty()).then(|| Change {
        kind: document.kind,
        id: document.id.clone(),
        action: Action::Update,
        origin: Some(document.origin.clone()),
        touches_rights: has_rights(view) || fields.iter().any(|field| field.name == "admin_scopes"),
        fields,
        etag: etag(view),
    })
}

fn prune(extra: &[(&(Kind, String), &Value)], there: &Registered, own: &str, plan: &mut Plan) {
    let is_admin = |view: &Value| {
        view::list(view, "admin_scopes").iter().any(|scope| scope == "edi:admin")
            && view::text(view, "state") != "disabled"
    };
    // As the documents leave it: who is named and loses the right does not count.
    let stripped = |id: &str| {
        plan.changes.iter().any(|change| {
            change.kind == Kind::Client
                && change.id == id
                && (change.to("admin_scopes").is_some_and(|to| !texts(to).iter().any(|scope| scope == "edi:admin"))
                    || change.to("state").is_some_and(|state| state == "disabled"))
        })
    };
    let goes = |id: &str| id != own && extra.iter().any(|((kind, extra), _)| *kind == Kind::Client && extra == id);
    let clients = there.iter().filter(|((kind, _), _)| *kind == Kind::Client);
    let mut admins_left = clients.filter(|((_, id), view)| is_admin(view) && !stripped(id) && !goes(id)).count();
    let mut gone = Vec::new();
    for ((kind, id), view) in extra {
        if *kind == Kind::Client && id == own {
            plan.notes.push(format!("client {id} is in no file, and stays: it is who runs this"));
        } else if *kind == Kind::Client && is_admin(view) && admins_left == 0 {
            admins_left += 1;
            plan.notes.push(format!("client {id} is in no file, and stays: it is the last with edi:admin"));
        } else {
            gone.push(Change {
                kind: *kind,
                id: id.clone(),
                action: Action::Delete,
                origin: None,
                fields: Vec::new(),
                touches_rights: has_rights(view),
                etag: etag(view),
            });
        }
    }
    plan.changes.extend(gone);
}

fn has_rights(view: &Value) -> bool {
    !view::list(view, "admin_scopes").is_empty()
}

fn etag(view: &Value) -> Option<String> {
    view.get(ETAG).and_then(Value::as_str).map(ToOwned::to_owned)
}

/// The texts of a list.
pub(in crate::cli) fn texts(list: &Value) -> Vec<String> {
    view::list(&json!({ "list": list }), "list")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(kind: Kind, id: &str, fields: &Value) -> Document {
        Document { kind, id: id.into(), origin: "f:1".into(), fields: fields.as_object().unwrap().clone() }
    }

    fn client(id: &str, fields: &Value) -> Document {
        document(Kind::Client, id, fields)
    }

    fn registered(views: &[(Kind, Value)]) -> Registered {
        views.iter().map(|(kind, view)| ((*kind, view::text(view, kind.id())), view.clone())).collect()
    }

    fn told(plan: &Plan) -> Vec<String> {
        let fields = |change: &Change| {
            let told: Vec<String> = change.fields.iter().map(|it| format!(" {}={}", it.name, it.to)).collect();
            told.concat()
        };
        plan.changes.iter().map(|it| format!("{} {} {}{}", it.action.name(), it.kind, it.id, fields(it))).collect()
    }

    const KEEP: Reach<'_> = Reach { prune: false, own: "operator" };
    const PRUNE: Reach<'_> = Reach { prune: true, own: "operator" };

    #[test]
    fn what_is_left_out_is_empty_or_stays_as_the_field_has_it() {
        let there = registered(&[(
            Kind::Client,
            json!({ "client_id": "a", "client_name": "A", "roles": ["x"], "admin_scopes": [], "audiences": ["m"],
                    "state": "disabled", "access_token_lifetime": 60, "jwks": { "keys": [] } }),
        )]);
        let plan = compare(&[client("a", &json!({}))], &there, KEEP);
        assert_eq!(told(&plan), ["update client a client_name=null audiences=[] access_token_lifetime=null"]);
        let same = json!({ "client_name": "A", "roles": ["x"], "audiences": ["m"], "access_token_lifetime": 60, "state": null });
        let plan = compare(&[client("a", &same)], &there, KEEP);
        assert_eq!((told(&plan), plan.unchanged), (vec![], 1));
        let plan = compare(&[client("a", &json!({ "roles": [], "state": "enabled" }))], &there, KEEP);
        assert!(told(&plan)[0].contains("roles=[]") && told(&plan)[0].contains("state=\"enabled\""), "{plan:?}");
        assert!(plan.changes[0].ends_tokens());
    }

    #[test]
    fn a_new_client_says_only_what_is_said() {
        let documents =
            [client("a", &json!({ "roles": [], "audiences": [], "state": "enabled", "client_name": null }))];
        let plan = compare(&documents, &Registered::new(), KEEP);
        assert_eq!(Value::Object(plan.changes[0].body()), json!({ "client_id": "a", "roles": [] }));
    }

    #[test]
    fn pruning_spares_who_runs_it_the_last_admin_and_kinds_in_no_file() {
        let admin =
            |id: &str| (Kind::Client, json!({ "client_id": id, "admin_scopes": ["edi:admin"], "state": "enabled" }));
        let plain = |id: &str| (Kind::Client, json!({ "client_id": id, "admin_scopes": [], "state": "enabled" }));
        let there = registered(&[admin("operator"), admin("other"), plain("svc"), plain("kept")]);
        let files = [client("kept", &json!({}))];
        let plan = compare(&files, &there, PRUNE);
        assert_eq!(told(&plan), ["delete client other", "delete client svc"]);
        assert!(
            plan.notes.concat().contains("it is who runs this") && plan.notes.concat().contains("deployments are left")
        );
        // A lesser operator runs it: the last with edi:admin stays.
        let there = registered(&[admin("other"), plain("operator"), plain("kept")]);
        let plan = compare(&files, &there, PRUNE);
        assert_eq!(told(&plan), Vec::<String>::new());
        assert!(plan.notes.concat().contains("the last with edi:admin"), "{:?}", plan.notes);
        // Without --prune nothing goes, and it is said.
        let plan = compare(&files, &there, KEEP);
        assert!(told(&plan).is_empty() && plan.notes.concat().contains("without --prune"));
    }

    #[test]
    fn what_frees_a_place_comes_first_and_who_runs_it_last() {
        let deployment = |id: &str| document(Kind::Deployment, id, &json!({ "hosts": ["h"] }));
        let there = registered(&[
            (Kind::Deployment, json!({ "id": "gone", "role": "r", "hosts": ["h"] })),
            (Kind::Deployment, json!({ "id": "moved", "role": "r", "hosts": [] })),
            (Kind::Client, json!({ "client_id": "operator", "client_name": "x" })),
        ]);
        let files = [client("operator", &json!({})), client("z", &json!({})), deployment("new"), deployment("moved")];
        let order: Vec<String> = compare(&files, &there, PRUNE).changes.into_iter().map(|change| change.id).collect();
        assert_eq!(order, ["gone", "moved", "new", "z", "operator"]);
    }
}
