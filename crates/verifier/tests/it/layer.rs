//! The tower layers in an axum application.

use axum::Router;
use axum::body::Body;
use axum::extract::Extension;
use axum::http::{Request, StatusCode};
use axum::routing::get;
use mandate_verifier::{Refusal, Route, Verified};
use tower_service::Service as _;

use crate::world::{RESOURCE, World};

fn app(world: &World) -> Router {
    let who = async |Extension(verified): Extension<Verified>| verified.subject().sub.clone();
    let route = Route::requires("read:cases").unwrap();
    Router::new()
        .route("/cases", get(who).route_layer(world.verifier.layer(route)))
        .route("/open", get(async || "open"))
        .layer(world.verifier.metadata_layer())
}

async fn call(
    app: &Router,
    uri: &str,
    authorization: &[&str],
) -> (StatusCode, String, axum::http::HeaderMap, bool) {
    let mut request = Request::get(uri);
    for value in authorization {
        request = request.header("authorization", *value);
    }
    let mut service = app.clone().into_service();
    let response = service.call(request.body(Body::empty()).unwrap()).await.unwrap();
    let (status, headers) = (response.status(), response.headers().clone());
    let left_refusal = response.extensions().get::<Refusal>().is_some();
    let body = axum::body::to_bytes(response.into_body(), 10_000).await.unwrap();
    (status, String::from_utf8(body.to_vec()).unwrap(), headers, left_refusal)
}

#[tokio::test]
async fn handlers_see_who_it_is() {
    let world = World::new().await;
    let bearer = format!("Bearer {}", world.token("read:cases"));
    let (status, body, _, _) = call(&app(&world), "/cases", &[&bearer]).await;
    assert_eq!((status, body.as_str()), (StatusCode::OK, "riley"));
    let (status, _, _, _) = call(&app(&world), "/open", &[]).await;
    assert_eq!(status, StatusCode::OK);
}

#[tokio::test]
async fn refusals_are_answered_by_the_layer() {
    let world = World::new().await;
    let good = format!("Bearer {}", world.token("read:cases"));
    let narrow = format!("Bearer {}", world.token("send:mail"));
    for (uri, shown, expected, error) in [
        ("/cases", &[][..], 401, ""),
        ("/cases", &["Bearer nonsense"][..], 401, "invalid_token"),
        ("/cases", &[good.as_str(), good.as_str()][..], 400, "invalid_request"),
        ("/cases?access_token=a", &[][..], 400, "invalid_request"),
        ("/cases", &[narrow.as_str()][..], 403, "insufficient_scope"),
    ] {
        let (status, body, headers, left_refusal) = call(&app(&world), uri, shown).await;
        assert_eq!(status.as_u16(), expected, "{uri} {error}");
        let challenge = headers["www-authenticate"].to_str().unwrap();
        assert!(
            challenge
                .contains(&format!("resource_metadata=\"{RESOURCE}/.well-known/oauth-protected-resource\"")),
            "{challenge}"
        );
        assert_eq!(challenge.contains("error="), !error.is_empty(), "{challenge}");
        assert!(body.contains(error));
        assert_eq!(headers["cache-control"], "no-store");
        assert!(left_refusal);
    }
}

#[tokio::test]
async fn the_metadata_is_public_and_names_resource_and_issuer() {
    let world = World::with(|builder| {
        builder.scopes_supported("read:cases send:mail".parse().unwrap()).resource_name("CRM")
    })
    .await;
    let (status, body, headers, _) = call(&app(&world), "/.well-known/oauth-protected-resource", &[]).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(headers["content-type"], "application/json");
    let document: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!(document["resource"], RESOURCE);
    assert_eq!(document["authorization_servers"], serde_json::json!([world.issuer.issuer()]));
    assert_eq!(document["scopes_supported"], serde_json::json!(["read:cases", "send:mail"]));
    assert_eq!(document["resource_name"], "CRM");
    // Other paths that look alike are not it.
    let (status, _, _, _) = call(&app(&world), "/.well-known/oauth-protected-resource/x", &[]).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn one_layer_around_everything_protects_also_what_does_not_exist() {
    let world = World::new().await;
    let app =
        Router::new().route("/cases", get(async || "cases")).layer(world.verifier.layer(Route::any_scope()));
    assert_eq!(call(&app, "/cases", &[]).await.0, StatusCode::UNAUTHORIZED);
    assert_eq!(call(&app, "/nowhere", &[]).await.0, StatusCode::UNAUTHORIZED);
    assert_eq!(call(&app, "/.well-known/oauth-protected-resource", &[]).await.0, StatusCode::OK);
}
