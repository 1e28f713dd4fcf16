//! Holds events to what the published OCSF schema requires, as far as `siem/ocsf-1.5.0.json` writes it down.

use serde_json::{Map, Value};

fn schema() -> Value {
    serde_json::from_str(include_str!("../siem/ocsf-1.5.0.json"))
        .unwrap_or_else(|cause| unreachable!("the schema is JSON: {cause}"))
}

/// What is wrong with an event; nothing if it is as the schema wants it.
pub fn problems(event: &Value) -> Vec<String> {
    let (schema, mut wrong) = (schema(), Vec::new());
    let class = &schema["classes"][event["class_uid"].to_string()];
    if class.is_null() {
        return vec![format!("class_uid: {} is no class we know", event["class_uid"])];
    }
    let mut attributes = schema["base"]["attributes"].as_object().cloned().unwrap_or_default();
    attributes.extend(class["attributes"].as_object().cloned().unwrap_or_default());
    for name in ["activity_id", "status_id"] {
        attributes.insert(name.to_owned(), class[name].clone());
    }
    let mut required = names(&schema["base"]["required"]);
    required.extend(names(&class["required"]));
    let shape = Shape { required, at_least_one: names(&class["at_least_one"]), attributes };
    shape.check(&schema, "event", event, &mut wrong);

    let mut equal = |name: &str, wanted: Value| {
        if event[name] != wanted {
            wrong.push(format!("{name}: {} is not {wanted}", event[name]));
        }
    };
    equal("category_uid", class["category_uid"].clone());
    equal("category_name", class["category_name"].clone());
    equal("class_name", class["name"].clone());
    let (class_uid, activity) = (event["class_uid"].as_u64(), event["activity_id"].as_u64());
    let type_uid = class_uid.zip(activity).map(|(class, activity)| class * 100 + activity);
    equal("type_uid", type_uid.into());
    equal("severity", schema["base"]["attributes"]["severity_id"][event["severity_id"].to_string()].clone());
    equal("status", class["status_id"][event["status_id"].to_string()].clone());
    if activity != Some(99) {
        equal("activity_name", class["activity_id"][event["activity_id"].to_string()].clone());
    }
    if event["metadata"]["version"] != schema["version"] {
        wrong.push(format!("metadata.version: {}", event["metadata"]["version"]));
    }
    wrong
}

fn names(list: &Value) -> Vec<String> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

struct Shape {
    required: Vec<String>,
    at_least_one: Vec<String>,
    attributes: Map<String, Value>,
}

impl Shape {
    fn of(object: &Value) -> Self {
        let attributes = object["attributes"].as_object().cloned().unwrap_or_default();
        Self { required: names(&object["required"]), at_least_one: names(&object["at_least_one"]), attributes }
    }

    fn check(&self, schema: &Value, at: &str, value: &Value, wrong: &mut Vec<String>) {
        let Some(value) = value.as_object() else { return wrong.push(format!("{at}: is no object")) };
        for name in self.required.iter().filter(|name| !value.contains_key(*name)) {
            wrong.push(format!("{at}.{name}: is required"));
        }
        if !self.at_least_one.is_empty() && !self.at_least_one.iter().any(|name| value.contains_key(name)) {
            wrong.push(format!("{at}: needs one of {}", self.at_least_one.join(", ")));
        }
        for (name, value) in value {
            let at = format!("{at}.{name}");
            match self.attributes.get(name) {
                Some(kind) => is_of(schema, &at, kind, value, wrong),
                None => wrong.push(format!("{at}: no such attribute")),
            }
        }
    }
}

fn is_of(schema: &Value, at: &str, kind: &Value, value: &Value, wrong: &mut Vec<String>) {
    let fits = match kind {
        Value::Array(of) => match value.as_array() {
            Some(items) => return items.iter().for_each(|item| is_of(schema, at, &of[0], item, wrong)),
            None => false,
        },
        Value::Object(numbers) => value.is_u64() && numbers.contains_key(&value.to_string()),
        Value::String(name) => match name.as_str() {
            "integer" => value.is_u64(),
            // Milliseconds since 1970, of this century.
            "timestamp" => value.as_u64().is_some_and(|at| (946_684_800_000..4_102_444_800_000).contains(&at)),
            "string" => value.is_string(),
            "boolean" => value.is_boolean(),
            "json" => value.is_object(),
            object => return Shape::of(&schema["objects"][object]).check(schema, at, value, wrong),
        },
        _ => false,
    };
    if !fits {
        wrong.push(format!("{at}: {value} is not {kind}"));
    }
}
