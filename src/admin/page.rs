//! The status page.
use axum::response::Html;

pub async fn page() -> Html<&'static str> {
    Html("<!doctype html><title>Meridian</title>")
}
