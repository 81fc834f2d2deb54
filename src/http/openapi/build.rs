//! Parts that descriptions are put together from.

use serde_json::{Map, Value, json};

/// Where the shared schemas are.
pub(super) fn schema(name: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{name}") })
}

/// The same, or null.
pub(super) fn or_null(schema: Value) -> Value {
    match schema {
        Value::Object(mut object)
            if object.get("type").is_some_and(Value::is_string) && !object.contains_key("enum") =>
        {
            let kind = object.remove("type");
            object.insert("type".into(), json!([kind, "null"]));
            Value::Object(object)
        }
        other => json!({ "anyOf": [other, { "type": "null" }] }),
    }
}

/// An object that takes these members and no others: what callers send.
pub(super) fn closed(required: &[&str], properties: Value) -> Value {
    let mut object = json!({ "type": "object", "properties": properties, "additionalProperties": false });
    if !required.is_empty() {
        object["required"] = json!(required);
    }
    object
}

/// An object that edi answers with; later versions may add members.
pub(super) fn answer(required: &[&str], properties: Value) -> Value {
    json!({ "type": "object", "properties": properties, "required": required })
}

/// A list of such things.
pub(super) fn list(items: Value) -> Value {
    json!({ "type": "array", "items": items })
}

/// One page of such things.
pub(super) fn page(items: Value) -> Value {
    answer(
        &["items"],
        json!({
            "items": list(items),
            "next_cursor": { "type": "string", "description": "Pass as `cursor` for the next page; absent on the last." },
        }),
    )
}

/// An instant.
pub(super) fn instant(description: &str) -> Value {
    json!({ "type": "string", "format": "date-time", "description": description })
}

/// A text with a meaning.
pub(super) fn text(description: &str) -> Value {
    json!({ "type": "string", "description": description })
}

/// A whole number from 0 with a meaning.
pub(super) fn count(description: &str) -> Value {
    json!({ "type": "integer", "minimum": 0, "description": description })
}

/// Yes or no, with a meaning.
pub(super) fn flag(description: &str) -> Value {
    json!({ "type": "boolean", "description": description })
}

/// A parameter of a query.
pub(super) fn in_query(name: &str, description: &str, schema: Value) -> Value {
    json!({ "name": name, "in": "query", "description": description, "schema": schema })
}

/// A request header.
pub(super) fn in_header(name: &str, description: &str, schema: Value) -> Value {
    json!({ "name": name, "in": "header", "description": description, "schema": schema })
}

/// A body of one media type with named examples.
pub(super) fn content(media_type: &str, schema: Value, examples: &[(&str, Value)]) -> Value {
    let mut it = json!({ "schema": schema });
    if !examples.is_empty() {
        let all: Map<String, Value> =
            examples.iter().map(|(name, value)| ((*name).to_owned(), json!({ "value": value }))).collect();
        it["examples"] = Value::Object(all);
    }
    json!({ media_type: it })
}

/// An operation in the making.
#[derive(Debug, Clone)]
pub(super) struct Op {
    parts: Map<String, Value>,
    parameters: Vec<Value>,
    answers: Map<String, Value>,
}

impl Op {
    /// One with a line that says what it does.
    pub(super) fn new(summary: &str) -> Self {
        let parts = Map::from_iter([("summary".to_owned(), json!(summary))]);
        Self { parts, parameters: Vec::new(), answers: Map::new() }
    }

    /// Says more, in Markdown.
    pub(super) fn says(mut self, description: &str) -> Self {
        self.parts.insert("description".into(), json!(description));
        self
    }

    /// Sets any other member.
    pub(super) fn with(mut self, name: &str, value: Value) -> Self {
        self.parts.insert(name.into(), value);
        self
    }

    /// Adds a parameter.
    pub(super) fn parameter(mut self, parameter: Value) -> Self {
        self.parameters.push(parameter);
        self
    }

    /// Takes a body.
    pub(super) fn takes(mut self, content: Value) -> Self {
        self.parts.insert("requestBody".into(), json!({ "required": true, "content": content }));
        self
    }

    /// Takes a body that may be left out.
    pub(super) fn may_take(mut self, content: Value) -> Self {
        self.parts.insert("requestBody".into(), json!({ "content": content }));
        self
    }

    /// Takes JSON.
    pub(super) fn takes_json(self, schema: Value, examples: &[(&str, Value)]) -> Self {
        self.takes(content("application/json", schema, examples))
    }

    /// Answers. Content and headers may be `Null`.
    pub(super) fn answers(mut self, status: u16, description: &str, content: Value, headers: Value) -> Self {
        let mut headers = match headers {
            Value::Object(headers) => headers,
            _ => Map::new(),
        };
        headers.insert("X-Request-Id".into(), json!({ "$ref": "#/components/headers/X-Request-Id" }));
        let mut it = json!({ "description": description, "headers": headers });
        if !content.is_null() {
            it["content"] = content;
        }
        self.answers.insert(status.to_string(), it);
        self
    }

    /// Answers JSON.
    pub(super) fn gives(self, status: u16, description: &str, schema: Value, example: Value) -> Self {
        let examples = [("example", example)];
        let examples: &[(&str, Value)] = if examples[0].1.is_null() { &[] } else { &examples };
        self.answers(status, description, content("application/json", schema, examples), Value::Null)
    }

    /// The same with an entity tag, to make changes on condition of.
    pub(super) fn gives_version(self, status: u16, description: &str, schema: Value, example: Value) -> Self {
        let content = content("application/json", schema, &[("example", example)]);
        self.answers(status, description, content, json!({ "ETag": { "$ref": "#/components/headers/ETag" } }))
    }

    /// Its 201 names where the new thing is found.
    pub(super) fn locates(mut self) -> Self {
        if let Some(headers) = self.answers.get_mut("201").and_then(|answer| answer.get_mut("headers")) {
            headers["Location"] = json!({ "$ref": "#/components/headers/Location" });
        }
        self
    }

    /// Answers without a body.
    pub(super) fn gives_nothing(self, status: u16, description: &str) -> Self {
        self.answers(status, description, Value::Null, Value::Null)
    }

    /// Answers as a shared refusal says.
    pub(super) fn refuses(mut self, status: u16, name: &str) -> Self {
        let it = json!({ "$ref": format!("#/components/responses/{name}") });
        self.answers.entry(status.to_string()).or_insert(it);
        self
    }

    /// The operation object.
    pub(super) fn build(mut self) -> Value {
        if !self.parameters.is_empty() {
            self.parts.insert("parameters".into(), Value::Array(self.parameters));
        }
        self.parts.insert("responses".into(), Value::Object(self.answers));
        Value::Object(self.parts)
    }
}
