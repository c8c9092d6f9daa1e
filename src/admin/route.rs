//! A route: what it takes, what it answers, and who answers it. Router, help and OpenAPI document are all made of these.

use std::borrow::Cow;
use std::sync::Arc;

use axum::handler::Handler;
use axum::http::{Method, StatusCode};
use axum::routing::{self, MethodRouter};
use schemars::{JsonSchema, Schema, SchemaGenerator};

use crate::control::access::Role;

use super::paging::PageQuery;
use super::request::Api;

/// Makes the schema of a type, and notes those it refers to.
pub type MakeSchema = fn(&mut SchemaGenerator) -> Schema;

/// What can be asked at one path by one method.
pub struct Route {
    pub method: Method,
    /// With its parameters in braces.
    pub path: &'static str,
    /// How to ask, for people; without the method.
    pub usage: Cow<'static, str>,
    /// What it does, in a sentence.
    pub does: &'static str,
    /// A struct whose fields are the parameters of the query.
    pub query: Option<MakeSchema>,
    pub body: Option<Content>,
    /// At least one, by status.
    pub replies: Vec<(StatusCode, Content)>,
    /// Those who have less are refused.
    pub role: Role,
    /// It changes something, and who asks is recorded.
    pub changes: bool,
    pub handler: MethodRouter<Arc<Api>>,
}

/// A body, of a request or a reply.
#[derive(Clone)]
pub struct Content {
    /// At least one media type.
    pub media: &'static [&'static str],
    /// `None`: text of that media type.
    pub schema: Option<MakeSchema>,
    /// Whether it may be left out.
    pub optional: bool,
}

const JSON: &[&str] = &["application/json"];

impl Content {
    fn json<T: JsonSchema>() -> Content {
        Content { media: JSON, schema: Some(|generator| generator.subschema_for::<T>()), optional: false }
    }
}

impl Route {
    pub fn get<H: Handler<T, Arc<Api>>, T: 'static>(path: &'static str, does: &'static str, handler: H) -> Route {
        Route::new(Method::GET, path, does, routing::get(handler))
    }

    pub fn post<H: Handler<T, Arc<Api>>, T: 'static>(path: &'static str, does: &'static str, handler: H) -> Route {
        Route::new(Method::POST, path, does, routing::post(handler))
    }

    fn new(method: Method, path: &'static str, does: &'static str, handler: MethodRouter<Arc<Api>>) -> Route {
        let role = if method == Method::GET { Role::Read } else { Role::Operate };
        Route {
            method,
            path,
            usage: path.into(),
            does,
            query: None,
            body: None,
            replies: Vec::new(),
            role,
            changes: false,
            handler,
        }
    }

    /// It changes something.
    pub fn changes(self) -> Route {
        Route { changes: true, ..self }
    }

    /// It changes something, and takes the role of an admin.
    pub fn by_admins(self) -> Route {
        Route { role: Role::Admin, ..self.changes() }
    }

    /// It is asked like this.
    pub fn usage(self, usage: &'static str) -> Route {
        Route { usage: usage.into(), ..self }
    }

    /// It answers one page of a list.
    pub fn paged(self) -> Route {
        let usage = format!("{}[?limit=COUNT][&after=NEXT]", self.path);
        Route { usage: usage.into(), ..self.query::<PageQuery>() }
    }

    /// Its query has the fields of `T`.
    pub fn query<T: JsonSchema>(self) -> Route {
        Route { query: Some(|generator| T::json_schema(generator)), ..self }
    }

    /// Its request has a body: `T` as JSON.
    pub fn takes<T: JsonSchema>(self) -> Route {
        Route { body: Some(Content::json::<T>()), ..self }
    }

    /// Its request may have a body: `T` as JSON.
    pub fn may_take<T: JsonSchema>(self) -> Route {
        Route { body: Some(Content { optional: true, ..Content::json::<T>() }), ..self }
    }

    /// Its request has a body that is text.
    pub fn takes_text(self, media: &'static [&'static str]) -> Route {
        Route { body: Some(Content { media, schema: None, optional: false }), ..self }
    }

    /// It answers `T` as JSON.
    pub fn says<T: JsonSchema>(self) -> Route {
        self.also_says::<T>(StatusCode::OK)
    }

    /// It answers `T` as JSON, also with another status.
    pub fn also_says<T: JsonSchema>(mut self, status: StatusCode) -> Route {
        self.replies.push((status, Content::json::<T>()));
        self
    }

    /// It answers text.
    pub fn says_text(mut self, status: StatusCode, media: &'static [&'static str]) -> Route {
        self.replies.push((status, Content { media, schema: None, optional: false }));
        self
    }

    /// The names in braces.
    pub fn parameters(&self) -> impl Iterator<Item = &'static str> {
        self.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
    }
}
