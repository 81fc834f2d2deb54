//! A plan as people read it, and as programs do.

use serde_json::{Map, Value, json};

use super::document::Kind;
use super::plan::{Action, Change, FieldChange, Plan, texts};
use crate::cli::output::{Output, printable};
use crate::cli::view;

/// The plan, a block for each change; without a final line break.
pub(in crate::cli) fn text(plan: &Plan, output: Output) -> String {
    let mut lines = Vec::new();
    for change in &plan.changes {
        let (mark, paint): (&str, fn(Output, &str) -> String) = match change.action {
            Action::Create => ("+", Output::good),
            Action::Delete => ("-", Output::bad),
            Action::Update | Action::Remake => ("~", Output::changed),
        };
        let origin = change.origin.as_ref().map(|origin| format!("  ({})", printable(origin))).unwrap_or_default();
        lines.push(format!("{}{origin}", paint(output, &format!("{mark} {} {}", change.kind, change.id))));
        lines.extend(change.fields.iter().map(|field| format!("    {}", told(change, field, output))));
        if change.action == Action::Remake {
            lines.push("    secret: lost when an earlier run broke off; it gets another one".into());
        }
        if change.ends_tokens() {
            lines.push(format!("    {}", output.bad("its tokens that hold what is taken away are revoked")));
        }
        if change.kind == Kind::Deployment && change.action == Action::Delete {
            lines.push(format!("    {}", output.bad("its callers are no longer let through")));
        }
    }
    if !lines.is_empty() {
        lines.push(String::new());
    }
    lines.push(summary(plan));
    lines.join("\n")
}

/// The counts.
pub(in crate::cli) fn summary(plan: &Plan) -> String {
    let counts = [
        (plan.count(Action::Create), "to create"),
        (plan.count(Action::Update) + plan.count(Action::Remake), "to change"),
        (plan.count(Action::Delete), "to delete"),
        (plan.unchanged, "as they should be"),
    ];
    let told: Vec<String> =
        counts.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")).collect();
    if plan.changes.is_empty() { format!("no changes: {} as they should be", plan.unchanged) } else { told.join(", ") }
}

fn told(change: &Change, field: &FieldChange, output: Output) -> String {
    let name = field.name;
    if change.action == Action::Create {
        return format!("{name}: {}", printable(&shown(&field.to)));
    }
    if field.from.is_array() {
        let (from, to) = (texts(&field.from), texts(&field.to));
        let gone = from.iter().filter(|item| !to.contains(item)).map(|it| output.bad(&format!("-{}", printable(it))));
        let come = to.iter().filter(|item| !from.contains(item)).map(|it| output.good(&format!("+{}", printable(it))));
        return format!("{name}: {}", gone.chain(come).collect::<Vec<_>>().join(" "));
    }
    format!("{name}: {} → {}", printable(&shown(&field.from)), printable(&shown(&field.to)))
}

fn shown(value: &Value) -> String {
    match value {
        Value::Null => "(none)".into(),
        Value::Array(items) if items.is_empty() => "(none)".into(),
        Value::Object(members) => match members.get("keys").and_then(Value::as_array) {
            Some(keys) => {
                let kids: Vec<String> = keys.iter().map(|key| view::text(key, "kid")).collect();
                format!("{} keys ({})", keys.len(), kids.join(", "))
            }
            None => value.to_string(),
        },
        value => view::words(value),
    }
}

/// The plan for programs.
pub(in crate::cli) fn json(plan: &Plan) -> Map<String, Value> {
    let changes: Vec<Value> = plan
        .changes
        .iter()
        .map(|change| {
            let fields: Map<String, Value> = change
                .fields
                .iter()
                .map(|field| (field.name.to_owned(), json!({ "from": field.from, "to": field.to })))
                .collect();
            json!({
                "action": change.action.name(), "kind": change.kind.name(), "id": change.id, "origin": change.origin,
                "fields": fields, "ends_tokens": change.ends_tokens(),
            })
        })
        .collect();
    let mut out = Map::new();
    out.insert("changes".into(), changes.into());
    out.insert("unchanged".into(), plan.unchanged.into());
    out.insert("notes".into(), json!(plan.notes));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_reads_like_a_difference() {
        let field = |name, from, to| FieldChange { name, from, to };
        let change = |kind, action, fields| Change {
            kind,
            id: "x".into(),
            action,
            origin: Some("f.yaml:3".into()),
            fields,
            etag: None,
            touches_rights: false,
        };
        let plan = Plan {
            changes: vec![
                change(Kind::Deployment, Action::Create, vec![field("hosts", json!([]), json!(["a", "b"]))]),
                change(
                    Kind::Client,
                    Action::Update,
                    vec![
                        field("roles", json!(["a", "b"]), json!(["b", "c"])),
                        field("client_name", json!("A"), Value::Null),
                    ],
                ),
                Change { origin: None, ..change(Kind::Client, Action::Delete, vec![]) },
            ],
            unchanged: 4,
            notes: vec![],
        };
        assert_eq!(
            text(&plan, Output::plain()),
            "+ deployment x  (f.yaml:3)\n    hosts: a, b\n~ client x  (f.yaml:3)\n    roles: -a +c\n    \
             client_name: A → (none)\n    its tokens that hold what is taken away are revoked\n- client x\n    \
             its tokens that hold what is taken away are revoked\n\n\
             1 to create, 1 to change, 1 to delete, 4 as they should be"
        );
        assert_eq!(summary(&Plan { unchanged: 2, ..Plan::default() }), "no changes: 2 as they should be");
    }
}
