//! The OpenAPI document: made of the routes, and of the types that go over the wire.
//!
//! OpenAPI 3.1, whose schemas are JSON Schema as schemars makes it. A request's types are described as they are read,
//! and an answer's as they are written: fields that may be left out there are always there here.

use axum::http::StatusCode;
use schemars::generate::SchemaSettings;
use schemars::{Schema, SchemaGenerator};
use serde_json::{Map, Value, json};

use super::problem::Body;
use super::route::{Content, Route};

/// The document of these routes.
pub fn document(routes: &[Route]) -> Value {
    let mut schemas = Schemas::new();
    let mut paths: Map<String, Value> = Map::new();
    for route in routes {
        let item = paths.entry(route.path).or_insert_with(|| json!({}));
        item[route.method.as_str().to_ascii_lowercase()] = operation(route, &mut schemas);
    }
    let mut document = json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Meridian admin API",
            "version": env!("CARGO_PKG_VERSION"),
            "description": env!("CARGO_PKG_DESCRIPTION"),
            "license": { "name": env!("CARGO_PKG_LICENSE"), "identifier": env!("CARGO_PKG_LICENSE") },
        },
        "security": [{ "token": [] }, {}],
        "paths": paths,
        "components": {
            "securitySchemes": { "token": { "type": "http", "scheme": "bearer" } },
            "schemas": schemas.all(),
        },
    });
    in_plain_words(&mut document);
    document
}

/// Those that were met so far.
struct Schemas {
    read: SchemaGenerator,
    written: SchemaGenerator,
}

impl Schemas {
    fn new() -> Schemas {
        let settings = || {
            SchemaSettings::draft2020_12().with(|settings| {
                settings.definitions_path = "/components/schemas".into();
                settings.meta_schema = None;
            })
        };
        Schemas {
            read: settings().for_deserialize().into_generator(),
            written: settings().for_serialize().into_generator(),
        }
    }

    /// All of them by name; an answer's where a request has one of that name.
    fn all(mut self) -> Map<String, Value> {
        let mut all = self.read.take_definitions(true);
        all.extend(self.written.take_definitions(true));
        all
    }
}

fn operation(route: &Route, schemas: &mut Schemas) -> Value {
    let mut parameters: Vec<Value> = route.parameters().map(in_path).collect();
    if let Some(make) = route.query {
        parameters.extend(in_query(&make(&mut schemas.read)));
    }
    let mut responses: Map<String, Value> = Map::new();
    for (status, content) in &route.replies {
        let described = status.canonical_reason().unwrap_or_default();
        let described = json!({ "description": described, "content": {} });
        let response = responses.entry(status.as_str()).or_insert(described);
        let (media, schema) = written(content, &mut schemas.written);
        for media in media {
            response["content"][media] = json!({ "schema": schema });
        }
    }
    let problem = schemas.written.subschema_for::<Body>();
    let problem = json!({ "application/problem+json": { "schema": problem } });
    for status in problems(route) {
        let described = status.canonical_reason().unwrap_or_default();
        responses.entry(status.as_str()).or_insert_with(|| json!({ "description": described, "content": problem }));
    }
    // Told before any route is asked, without a body.
    let too_large = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
    let described = too_large.canonical_reason().unwrap_or_default();
    responses.insert(too_large.as_str().to_owned(), json!({ "description": described }));
    responses.insert("default".into(), json!({ "description": "What went wrong", "content": problem }));
    let mut operation = json!({
        "operationId": operation_id(route),
        "summary": route.does,
        "description": format!("Takes the role `{}`.", route.role.as_str()),
        "x-role": route.role.as_str(),
        "responses": responses,
    });
    if !parameters.is_empty() {
        operation["parameters"] = parameters.into();
    }
    if let Some(body) = &route.body {
        let (media, schema) = written(body, &mut schemas.read);
        let content: Map<String, Value> =
            media.iter().map(|media| ((*media).to_owned(), json!({ "schema": schema }))).collect();
        operation["requestBody"] = json!({ "required": !body.optional, "content": content });
    }
    operation
}

fn written<'c>(content: &'c Content, generator: &mut SchemaGenerator) -> (&'c [&'static str], Value) {
    let schema = content.schema.map_or_else(|| json!({ "type": "string" }), |make| make(generator).to_value());
    (content.media, schema)
}

/// What a route may answer instead.
fn problems(route: &Route) -> Vec<StatusCode> {
    let mut found = vec![StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN];
    if route.query.is_some() || route.body.is_some() || route.parameters().next().is_some() {
        found.push(StatusCode::BAD_REQUEST);
    }
    if route.parameters().next().is_some() {
        found.extend([StatusCode::NOT_FOUND, StatusCode::CONFLICT]);
    }
    if route.body.is_some() {
        found.extend([
            StatusCode::REQUEST_TIMEOUT,
            StatusCode::PAYLOAD_TOO_LARGE,
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            StatusCode::UNPROCESSABLE_ENTITY,
        ]);
    }
    found
}

fn in_path(name: &str) -> Value {
    let described = match name {
        "origin" => "The zone's origin.",
        _ => "The whole name, or a short one that no other zone has.",
    };
    json!({
        "name": name, "in": "path", "required": true, "description": described,
        "schema": { "type": "string", "minLength": 1, "maxLength": 2048 },
    })
}

/// The fields of a struct as parameters.
fn in_query(schema: &Schema) -> Vec<Value> {
    let required = schema.get("required").and_then(Value::as_array).cloned().unwrap_or_default();
    let fields = schema.get("properties").and_then(Value::as_object).cloned().unwrap_or_default();
    let parameter = |(name, mut field): (String, Value)| {
        let description = field.as_object_mut().and_then(|field| field.remove("description")).unwrap_or_default();
        // A parameter that is left out is not null.
        if let Some(kinds) = field.get_mut("type").filter(|kinds| kinds.is_array()) {
            *kinds = kinds[0].take();
        }
        let required = required.contains(&Value::from(&*name));
        let mut parameter = json!({ "name": name, "in": "query", "required": required, "schema": field });
        if description.is_string() {
            parameter["description"] = description;
        }
        parameter
    };
    fields.into_iter().map(parameter).collect()
}

/// Such as `post_v1_regions_name_override`.
fn operation_id(route: &Route) -> String {
    let path = route.path.trim_matches('/').replace(['{', '}'], "").replace(['/', '-', '.'], "_");
    let path = if path.is_empty() { "page" } else { &*path };
    format!("{}_{path}", route.method.as_str().to_ascii_lowercase())
}

/// Descriptions come from the code's own comments, whose links lead nowhere here.
fn in_plain_words(of: &mut Value) {
    match of {
        Value::Object(fields) => {
            if let Some(Value::String(text)) = fields.get_mut("description") {
                *text = text.replace("[`", "`").replace("`]", "`").replace('\n', " ");
            }
            fields.values_mut().for_each(in_plain_words);
        }
        Value::Array(items) => items.iter_mut().for_each(in_plain_words),
        _ => {}
    }
}
