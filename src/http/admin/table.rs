//! Every operation of the admin API, once: method, path, who may, and the query parameters it takes. Routing, rights,
//! the tests of both and `/openapi.json` all read this table.
//!
//! **To add one:** a word in [`Operation`] and its name for the audit trail, a row in [`TABLE`], what it does in
//! `Operation::perform` (`http/admin.rs`), its row in `docs/reference/endpoints.md` (and in `audit.md` if it changes
//! something), and its description in `http/openapi/` (the compiler asks for that).

use std::borrow::Cow;

use crate::admin::access::Operator;
use crate::admin::error::AdminError;
use crate::model::scope::AdminScope;

/// One thing an operator can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::http) enum Operation {
    ClientList,
    ClientCreate,
    ClientShow,
    ClientReplace,
    ClientUpdate,
    ClientDelete,
    SecretList,
    SecretAdd,
    SecretRemove,
    SecretRotate,
    Whose,
    DeploymentList,
    DeploymentCreate,
    DeploymentShow,
    DeploymentReplace,
    DeploymentUpdate,
    DeploymentDelete,
    DeploymentAccess,
    RoleList,
    RoleShow,
    Explain,
    KeyList,
    KeyImport,
    KeyPlan,
    KeyShow,
    KeyRotate,
    KeyRevoke,
    MasterKeyRotate,
    RevocationList,
    RevocationCreate,
    RevocationShow,
    RevocationUndo,
    AuditList,
    AuditVerify,
    AuditSeal,
    RefusalShow,
    Status,
    Backup,
    Reload,
}

use Operation as Op;

impl Operation {
    /// What it does, as `thing.verb`: what the audit trail calls it.
    pub(in crate::http) const fn name(self) -> &'static str {
        match self {
            Self::ClientList => "client.list",
            Self::ClientCreate => "client.create",
            Self::ClientShow => "client.show",
            Self::ClientReplace => "client.replace",
            Self::ClientUpdate => "client.update",
            Self::ClientDelete => "client.delete",
            Self::SecretList => "client.secret.list",
            Self::SecretAdd => "client.secret.add",
            Self::SecretRemove => "client.secret.remove",
            Self::SecretRotate => "client.secret.rotate",
            Self::Whose => "client.whose",
            Self::DeploymentList => "deployment.list",
            Self::DeploymentCreate => "deployment.create",
            Self::DeploymentShow => "deployment.show",
            Self::DeploymentReplace => "deployment.replace",
            Self::DeploymentUpdate => "deployment.update",
            Self::DeploymentDelete => "deployment.delete",
            Self::DeploymentAccess => "deployment.access",
            Self::RoleList => "role.list",
            Self::RoleShow => "role.show",
            Self::Explain => "token.explain",
            Self::KeyList => "key.list",
            Self::KeyImport => "key.import",
            Self::KeyPlan => "key.plan",
            Self::KeyShow => "key.show",
            Self::KeyRotate => "key.rotate",
            Self::KeyRevoke => "key.revoke",
            Self::MasterKeyRotate => "master_key.rotate",
            Self::RevocationList => "revocation.list",
            Self::RevocationCreate => "revocation.create",
            Self::RevocationShow => "revocation.show",
            Self::RevocationUndo => "revocation.undo",
            Self::AuditList => "audit.list",
            Self::AuditVerify => "audit.verify",
            Self::AuditSeal => "audit.seal.show",
            Self::RefusalShow => "refusal.show",
            Self::Status => "status.show",
            Self::Backup => "backup.create",
            Self::Reload => "config.reload",
        }
    }
}

/// Who may; `edi:admin` always.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::http) enum Right {
    /// Looking: `edi:read`, or the scope that also changes such things.
    Look(AdminScope),
    /// Looking where `edi:read` is not enough: this scope alone.
    LookClosely(AdminScope),
    /// Changing: this scope alone.
    Change(AdminScope),
}

impl Right {
    /// The scopes beside `edi:admin` of which one is enough.
    pub(in crate::http) fn scopes(self) -> Vec<AdminScope> {
        match self {
            Self::Look(AdminScope::Read) => vec![AdminScope::Read],
            Self::Look(scope) => vec![AdminScope::Read, scope],
            Self::LookClosely(scope) | Self::Change(scope) => vec![scope],
        }
    }

    /// Demands one of them.
    pub(super) fn demand(self, operator: &Operator) -> Result<(), AdminError> {
        match self {
            Self::Look(scope) => operator.demand_read(scope),
            Self::LookClosely(scope) | Self::Change(scope) => operator.demand(scope),
        }
    }
}

/// A row of the table.
#[derive(Debug)]
pub(in crate::http) struct Row {
    /// The method; `HEAD` goes wherever `GET` does.
    pub(in crate::http) method: &'static str,
    /// The path below `/admin/v1/`, with names in braces.
    pub(in crate::http) path: &'static str,
    /// What it is.
    pub(in crate::http) operation: Operation,
    /// Who may.
    pub(in crate::http) right: Right,
    /// The query parameters it takes; any other is refused.
    pub(in crate::http) query: &'static [&'static str],
}

/// What every list takes.
const PAGE: &[&str] = &["limit", "cursor"];

/// The table.
pub(in crate::http) static TABLE: &[Row] = &[
    look("clients", Op::ClientList, AdminScope::Clients).with(&[
        "limit",
        "cursor",
        "role",
        "admin_scope",
        "state",
        "auth_method",
        "q",
    ]),
    post("clients", Op::ClientCreate, AdminScope::Clients),
    look("clients/{id}", Op::ClientShow, AdminScope::Clients),
    put("clients/{id}", Op::ClientReplace, AdminScope::Clients),
    patch("clients/{id}", Op::ClientUpdate, AdminScope::Clients),
    delete("clients/{id}", Op::ClientDelete, AdminScope::Clients),
    look("clients/{id}/secrets", Op::SecretList, AdminScope::Clients),
    post("clients/{id}/secrets", Op::SecretAdd, AdminScope::Clients),
    delete("clients/{id}/secrets/{secret}", Op::SecretRemove, AdminScope::Clients),
    post("clients/{id}/secrets/rotate", Op::SecretRotate, AdminScope::Clients),
    look("deployments", Op::DeploymentList, AdminScope::Deployments).with(&["limit", "cursor", "role", "host"]),
    post("deployments", Op::DeploymentCreate, AdminScope::Deployments),
    look("deployments/{id}", Op::DeploymentShow, AdminScope::Deployments),
    put("deployments/{id}", Op::DeploymentReplace, AdminScope::Deployments),
    patch("deployments/{id}", Op::DeploymentUpdate, AdminScope::Deployments),
    delete("deployments/{id}", Op::DeploymentDelete, AdminScope::Deployments),
    // These tell of clients and deployments alike.
    look("deployments/{id}/access", Op::DeploymentAccess, AdminScope::Read).with(PAGE),
    look("roles", Op::RoleList, AdminScope::Read).with(&["limit", "cursor", "client"]),
    look("roles/{role}", Op::RoleShow, AdminScope::Read),
    // Secrets and tokens are no part of a path or query, so these looks are POSTs.
    Row { method: "POST", ..look("whose", Op::Whose, AdminScope::Clients) },
    Row { method: "POST", ..look("explain", Op::Explain, AdminScope::Read) },
    look("keys", Op::KeyList, AdminScope::Keys).with(&["limit", "cursor", "state", "algorithm"]),
    // Whoever knows a signing key can write an operator's token.
    post("keys", Op::KeyImport, AdminScope::Admin),
    look("keys/plan", Op::KeyPlan, AdminScope::Keys),
    look("keys/{kid}", Op::KeyShow, AdminScope::Keys),
    post("keys/rotate", Op::KeyRotate, AdminScope::Keys),
    post("keys/rotate-master", Op::MasterKeyRotate, AdminScope::Admin),
    post("keys/{kid}/revoke", Op::KeyRevoke, AdminScope::Keys),
    look("revocations", Op::RevocationList, AdminScope::Revocations)
        .with(&["limit", "cursor", "kind", "id", "client", "actor", "since", "until", "reason", "state"]),
    post("revocations", Op::RevocationCreate, AdminScope::Revocations),
    look("revocations/{kind}/{id}", Op::RevocationShow, AdminScope::Revocations),
    delete("revocations/{kind}/{id}", Op::RevocationUndo, AdminScope::Revocations),
    look_closely("audit", Op::AuditList, AdminScope::Audit).with(&[
        "limit",
        "cursor",
        "actor",
        "action",
        "target",
        "since",
        "until",
        "request_id",
        "outcome",
        "order",
    ]),
    look_closely("audit/verify", Op::AuditVerify, AdminScope::Audit).with(&["cursor"]),
    look_closely("audit/seals/{seq}", Op::AuditSeal, AdminScope::Audit),
    look("refusals/{request_id}", Op::RefusalShow, AdminScope::Read),
    look("status", Op::Status, AdminScope::Read),
    // All there is, for safe keeping: it is told like a change.
    Row { method: "GET", ..post("backup", Op::Backup, AdminScope::Admin) },
    post("reload", Op::Reload, AdminScope::Admin),
];

const fn row(method: &'static str, path: &'static str, operation: Operation, right: Right) -> Row {
    Row { method, path, operation, right, query: &[] }
}

/// `GET` for whoever may look.
const fn look(path: &'static str, operation: Operation, scope: AdminScope) -> Row {
    row("GET", path, operation, Right::Look(scope))
}

/// `GET` for whoever has this scope.
const fn look_closely(path: &'static str, operation: Operation, scope: AdminScope) -> Row {
    row("GET", path, operation, Right::LookClosely(scope))
}

const fn post(path: &'static str, operation: Operation, scope: AdminScope) -> Row {
    row("POST", path, operation, Right::Change(scope))
}

const fn put(path: &'static str, operation: Operation, scope: AdminScope) -> Row {
    row("PUT", path, operation, Right::Change(scope))
}

const fn patch(path: &'static str, operation: Operation, scope: AdminScope) -> Row {
    row("PATCH", path, operation, Right::Change(scope))
}

const fn delete(path: &'static str, operation: Operation, scope: AdminScope) -> Row {
    row("DELETE", path, operation, Right::Change(scope))
}

impl Row {
    const fn with(self, query: &'static [&'static str]) -> Self {
        Self { query, ..self }
    }

    /// Whether it reads a body.
    pub(in crate::http) fn takes_body(&self) -> bool {
        matches!(self.method, "POST" | "PUT" | "PATCH")
    }
}

/// What a path offers: its rows, and what stands in it where they have names.
#[derive(Debug)]
pub(super) struct Found<'a> {
    pub(super) rows: Vec<&'static Row>,
    pub(super) names: Vec<Cow<'a, str>>,
}

/// Looks a path up. Rows that spell a segment out go before those that name it, so no two paths answer at one place.
pub(super) fn find(path: &str) -> Option<Found<'_>> {
    let segments: Vec<Cow<'_, str>> = path.split('/').map(decode).collect::<Option<_>>()?;
    let fitting: Vec<&Row> = TABLE.iter().filter(|row| fits(row.path, &segments)).collect();
    let spelt_out = |row: &&Row| row.path.split('/').filter(|segment| !is_name(segment)).count();
    let most = fitting.iter().map(spelt_out).max()?;
    let rows: Vec<&Row> = fitting.into_iter().filter(|row| spelt_out(row) == most).collect();
    let template = rows.first()?.path;
    let names = template.split('/').zip(segments).filter(|(part, _)| is_name(part)).map(|(_, given)| given).collect();
    Some(Found { rows, names })
}

fn is_name(segment: &str) -> bool {
    segment.starts_with('{')
}

fn fits(template: &str, segments: &[Cow<'_, str>]) -> bool {
    template.split('/').count() == segments.len()
        && template.split('/').zip(segments).all(|(part, given)| is_name(part) || part == given)
}

/// A path segment without its percent-encoding (RFC 3986 §2.1). `None` for what is none, or no text.
fn decode(segment: &str) -> Option<Cow<'_, str>> {
    if !segment.contains('%') {
        return Some(Cow::Borrowed(segment));
    }
    let mut bytes = Vec::with_capacity(segment.len());
    let mut rest = segment.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let mut digit = || char::from(rest.next()?).to_digit(16);
                u8::try_from(digit()? * 16 + digit()?).ok()?
            }
            other => other,
        });
    }
    String::from_utf8(bytes).ok().map(Cow::Owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reference_lists_every_operation_with_its_scopes_and_no_other() {
        let reference =
            std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/reference/endpoints.md")).unwrap();
        let mut listed: Vec<(String, String)> = reference
            .lines()
            .filter_map(|line| line.strip_prefix("| `"))
            .filter(|line| line.contains(" /admin/v1/"))
            .map(|line| {
                let (endpoint, rest) = line.split_once("` |").unwrap();
                let scopes = rest.trim_end_matches(" |").rsplit(" | ").next().unwrap();
                (endpoint.to_owned(), scopes.to_owned())
            })
            .collect();
        let mut there: Vec<(String, String)> = TABLE
            .iter()
            .map(|row| {
                let scopes: Vec<String> = row.right.scopes().iter().map(|scope| format!("`{scope}`")).collect();
                (format!("{} /admin/v1/{}", row.method, row.path), scopes.join(" or "))
            })
            .collect();
        listed.sort();
        there.sort();
        assert_eq!(listed, there, "docs/reference/endpoints.md and the table of http/admin/table.rs differ");
    }

    #[test]
    fn the_audit_trails_reference_lists_every_change_and_no_look() {
        let reference =
            std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/reference/audit.md")).unwrap();
        for row in TABLE {
            let name = row.operation.name();
            let changes = matches!(row.right, Right::Change(_));
            assert_eq!(reference.contains(&format!("| `{name}` |")), changes, "{name} in docs/reference/audit.md");
        }
    }

    #[test]
    fn every_row_is_found_at_its_path_and_no_two_are_the_same() {
        for row in TABLE {
            let path = row.path.replace(['{', '}'], "");
            let found = find(&path).unwrap();
            let same: Vec<_> = found.rows.iter().filter(|other| other.method == row.method).collect();
            assert_eq!(same.len(), 1, "{} {}", row.method, row.path);
            assert_eq!(same[0].operation, row.operation);
            assert_eq!(found.names.len(), row.path.matches('{').count());
            assert_eq!(TABLE.iter().filter(|other| other.operation == row.operation).count(), 1);
        }
    }

    #[test]
    fn segments_are_decoded_one_by_one() {
        let names = |path| find(path).map(|found| found.names.iter().map(ToString::to_string).collect::<Vec<_>>());
        assert_eq!(names("clients/a%2Db"), Some(vec!["a-b".into()]));
        assert_eq!(names("clients/a%2Fsecrets"), Some(vec!["a/secrets".into()]), "an encoded slash parts nothing");
        assert_eq!(names("%63lients"), Some(vec![]));
        assert_eq!(names("clients/"), Some(vec![String::new()]), "the operation knows no client without an id");
        for nowhere in ["", "client", "clients/a/b", "clients/a/secrets/b/c", "clients/%", "clients/%ff", "clients/%g0"]
        {
            assert_eq!(names(nowhere), None, "{nowhere}");
        }
    }
}
