//! Lists in pages: which page is asked for, and where the answer says that there is another.

use axum::Json;
use axum::extract::{FromRequestParts, Query};
use axum::http::HeaderValue;
use axum::http::header::LINK;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use mandate_administration::{AdministrationError, Listed, Page};
use mandate_api::admin::ListQuery;
use serde::Serialize;

use super::problem;

/// The page that the query of a request asks for.
pub(super) struct Asked(ListQuery);

impl Asked {
    pub(super) fn page(&self) -> Result<Page, AdministrationError> {
        Page::of(self.0.limit, self.0.after.as_deref())
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Asked {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Response> {
        let query = Query::from_request_parts(parts, state).await;
        query
            .map(|Query(query)| Self(query))
            .map_err(|rejection| problem::unreadable(&rejection.body_text(), rejection.status()))
    }
}

/// A page as a JSON array. If there is another, the `Link` header has it (RFC 8288 §3): a query for the same
/// path, so that it does not matter under which address the server is reached.
pub(super) fn answer<T: Serialize>(asked: &Asked, listed: Listed<T>) -> Response {
    let Listed { items, next } = listed;
    let limit = asked.0.limit.map(|limit| format!("&limit={limit}")).unwrap_or_default();
    linked(Json(items).into_response(), next.map(|cursor| format!("?after={cursor}{limit}")).as_deref())
}

/// A page, with the query of the next one, if there is another.
pub(super) fn linked(mut response: Response, next: Option<&str>) -> Response {
    if let Some(link) = next.and_then(|next| HeaderValue::try_from(format!("<{next}>; rel=\"next\"")).ok()) {
        response.headers_mut().insert(LINK, link);
    }
    response
}

#[cfg(test)]
mod tests {
    use mandate_administration::Listed;
    use mandate_api::admin::ListQuery;

    use super::{Asked, answer};

    #[test]
    fn the_last_page_has_no_link_and_others_keep_the_limit() {
        let link = |limit, next: Option<&str>| {
            let asked = Asked(ListQuery { limit, after: None });
            let response = answer(&asked, Listed { items: vec![1], next: next.map(str::to_owned) });
            response.headers().get("link").map(|link| link.to_str().unwrap().to_owned())
        };
        assert_eq!(link(Some(3), None), None);
        assert_eq!(link(None, Some("YQ")).unwrap(), "<?after=YQ>; rel=\"next\"");
        assert_eq!(link(Some(3), Some("YQ")).unwrap(), "<?after=YQ&limit=3>; rel=\"next\"");
    }
}
