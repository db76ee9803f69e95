//! The parts of a response that the tests compare.

use http::{HeaderMap, Response, header};
use kube::client::Body;
use serde_json::{Value, json};

/// Status, body and the compared headers, as one JSON value that is easy to search.
pub(crate) async fn read(response: Response<Body>) -> Value {
    let (parts, body) = response.into_parts();
    let body = body.collect_bytes().await.expect("the body of a response");
    let text = String::from_utf8_lossy(&body);
    let objects: Result<Vec<Value>, _> = serde_json::Deserializer::from_str(&text).into_iter().collect();
    let body = match objects {
        // The body of a watch has any number of objects.
        Ok(events) if events.iter().all(|event| !event["type"].is_null()) => json!({ "events": events }),
        Ok(mut one) if one.len() == 1 => one.remove(0),
        _ => text.into(),
    };
    json!({
        "code": parts.status.as_u16(),
        "body": body,
        "content-type": texts(&parts.headers, header::CONTENT_TYPE),
        "retry-after": texts(&parts.headers, header::RETRY_AFTER),
        "warning": texts(&parts.headers, header::WARNING),
    })
}

fn texts(headers: &HeaderMap, name: header::HeaderName) -> Vec<String> {
    headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned()).collect()
}
