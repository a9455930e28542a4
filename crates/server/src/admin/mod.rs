//! The admin API: the same router on the unix socket and on its own TCP listener.
//!
//! Every route has a row in [`authorization::ROWS`]; a route without one answers 403 to everybody.

mod audit;
pub(crate) mod authentication;
pub(crate) mod authorization;
mod nodes;
mod operation;
mod pages;
mod parts;
pub(crate) mod problem;
mod registry;
mod status;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::header::CONTENT_TYPE;
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use mandate_api::admin::path;
use serde_json::Value;
use utoipa::OpenApi;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(crate) use parts::Admin;

use crate::host::Hosts;
use crate::listener::{ListenerDefaults, Site};

/// The largest body: a registry file of a hundred thousand agents.
const MAX_BODY: usize = 96 * 1024 * 1024;

/// How long a body may take to arrive: the largest registry file in a minute needs 13 Mbit/s.
const BODY_TIMEOUT: Duration = Duration::from_mins(1);

#[derive(OpenApi)]
#[openapi(
    info(title = "Mandate admin API", description = "Registry, nodes, revocation, keys and audit of one Mandate server.", license(name = "Apache-2.0", identifier = "Apache-2.0")),
    components(schemas(mandate_api::Problem)),
    security(("admin" = []))
)]
struct Document;

fn collected() -> (Router<Arc<Admin>>, utoipa::openapi::OpenApi) {
    let (router, mut document) = OpenApiRouter::with_openapi(Document::openapi())
        .routes(routes!(registry::apply))
        .routes(routes!(registry::list))
        .routes(routes!(registry::entry))
        .routes(routes!(registry::set_agent_state))
        .routes(routes!(registry::release_agent))
        .routes(routes!(registry::set_person_state))
        .routes(routes!(operation::join_token))
        .routes(routes!(nodes::list))
        .routes(routes!(nodes::ban))
        .routes(routes!(operation::set_password))
        .routes(routes!(operation::set_client_secret))
        .routes(routes!(operation::revoke))
        .routes(routes!(operation::rotate))
        .routes(routes!(status::status))
        .routes(routes!(audit::records))
        .routes(routes!(audit::record))
        .routes(routes!(audit::verify))
        .routes(routes!(audit::checkpoint))
        .routes(routes!(audit::export))
        .split_for_parts();
    let scheme = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .bearer_format("at+jwt")
        .description(Some("An access token of this server with the scope of a role: mandate:viewer, mandate:operator, mandate:approver or mandate:admin. On the unix socket the peer's uid counts instead."))
        .build();
    document.components.get_or_insert_default().add_security_scheme("admin", SecurityScheme::Http(scheme));
    (router, document)
}

/// The `OpenAPI` 3.1 document, as JSON.
pub(crate) fn openapi() -> String {
    // The document is built from constants; if it did not serialize, an empty document would promise nothing.
    let Ok(mut document) = serde_json::to_value(collected().1) else { return "{}".to_owned() };
    join_lines(&mut document);
    document.to_string()
}

/// Joins the lines of each paragraph of a description: where the comment in the source breaks them means
/// nothing to a reader of the document. Some readers would show the breaks.
fn join_lines(value: &mut Value) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                match member {
                    Value::String(text) if name == "description" || name == "summary" => {
                        let paragraphs = text.split("\n\n").map(|lines| lines.replace('\n', " "));
                        *text = paragraphs.collect::<Vec<_>>().join("\n\n");
                    }
                    member => join_lines(member),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(join_lines),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Answers the `OpenAPI` document.
pub(crate) fn openapi_response(document: &str) -> Response {
    ([(CONTENT_TYPE, "application/json")], document.to_string()).into_response()
}

/// The admin API, for the unix socket and for TCP.
pub(crate) fn site(admin: Arc<Admin>, hosts: Hosts, defaults: ListenerDefaults) -> Site {
    Site { router: router(admin), max_body: (MAX_BODY, BODY_TIMEOUT), hosts, defaults }
}

fn router(admin: Arc<Admin>) -> Router {
    let (router, _) = collected();
    let document: Arc<str> = openapi().into();
    router
        .route(
            path::OPENAPI,
            get(move |State(_): State<Arc<Admin>>| async move { openapi_response(&document) }),
        )
        .route_layer(middleware::from_fn_with_state(Arc::clone(&admin), authentication::authorize))
        .fallback(problem::no_such_path)
        .method_not_allowed_fallback(problem::no_such_method)
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .with_state(admin)
}
