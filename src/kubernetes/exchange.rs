//! One request and its answer. In the errors of `kube`'s own methods the headers of the answer are missing.

use http::Request;
use http::header::{DATE, HeaderMap, RETRY_AFTER};
use k8s_openapi::jiff::fmt::rfc2822;
use kube::client::Body;
use kube::core::Status;
use kube::core::response::StatusDetails;
use serde::de::DeserializeOwned;

use crate::protocol::WallTime;

/// The reason in a status that stands for an answer without one. It is `kube`'s word, because `kube` reads the answers to watches.
pub(super) const FOREIGN: &str = "Failed to parse error data";

/// Sends the request, and reads the object in the answer.
pub(super) async fn exchange<T: DeserializeOwned>(
    client: &kube::Client,
    request: Request<Vec<u8>>,
) -> kube::Result<T> {
    let answer = client.send(request.map(Body::from)).await?;
    let (code, retry_after) = (answer.status(), retry_after(answer.headers()));
    let body = answer.into_body().collect_bytes().await?;
    if code.is_client_error() || code.is_server_error() {
        return Err(kube::Error::Api(status(code.as_u16(), retry_after, &body).boxed()));
    }
    serde_json::from_slice(&body).map_err(kube::Error::SerdeError)
}

/// Sends the request, and reads the server's clock in the answer, whatever the answer is. `None` if it has none.
pub(super) async fn server_time(
    client: &kube::Client,
    request: Request<Vec<u8>>,
) -> kube::Result<Option<WallTime>> {
    let answer = client.send(request.map(Body::from)).await?;
    Ok(date(answer.headers()))
}

/// The start of the second that the header `Date` names.
fn date(headers: &HeaderMap) -> Option<WallTime> {
    let date = rfc2822::parse(headers.get(DATE)?.to_str().ok()?).ok()?;
    Some(WallTime(date.timestamp().as_microsecond()))
}

/// The status in an error answer. API Priority and Fairness answers in plain text, and proxies in what they like.
fn status(code: u16, retry_after: Option<u32>, body: &[u8]) -> Status {
    let status = serde_json::from_slice::<Status>(body).ok().filter(|status| status.code != 0);
    let mut status = status
        .unwrap_or_else(|| Status::failure(String::from_utf8_lossy(body).trim(), FOREIGN).with_code(code));
    if let Some(seconds) = retry_after {
        let details = status.details.get_or_insert_with(|| StatusDetails {
            name: String::new(),
            group: String::new(),
            kind: String::new(),
            uid: String::new(),
            causes: Vec::new(),
            retry_after_seconds: 0,
        });
        details.retry_after_seconds = details.retry_after_seconds.max(seconds);
    }
    status
}

/// The pause that the server asks for, in seconds. A date is not understood: Kubernetes sends none.
fn retry_after(headers: &HeaderMap) -> Option<u32> {
    headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_of_kubernetes_is_kept_and_other_answers_become_one() {
        let kubernetes = br#"{"kind":"Status","message":"busy","reason":"TooManyRequests","code":429}"#;
        let seen = status(429, Some(3), kubernetes);
        assert_eq!((seen.message.as_str(), seen.reason.as_str()), ("busy", "TooManyRequests"));
        assert_eq!(seen.details.unwrap().retry_after_seconds, 3);
        for foreign in ["<html>", r#"{"message":"no"}"#, r#"{"code":"401"}"#, ""] {
            let seen = status(401, None, foreign.as_bytes());
            assert_eq!((seen.code, seen.reason.as_str()), (401, FOREIGN));
            assert_eq!(seen.message, foreign);
            assert!(seen.details.is_none());
        }
    }

    #[test]
    fn the_longer_of_two_pauses_counts() {
        let both = br#"{"kind":"Status","code":429,"details":{"retryAfterSeconds":8}}"#;
        for (header, expected) in [(Some(3), 8), (Some(9), 9), (None, 8)] {
            assert_eq!(status(429, header, both).details.unwrap().retry_after_seconds, expected);
        }
    }

    #[test]
    fn the_date_of_an_answer_is_read() {
        for (value, expected) in [
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(784_111_777)),
            ("Sunday, 06-Nov-94 08:49:37 GMT", None),
            ("784111777", None),
        ] {
            let headers = [(DATE, value.parse().unwrap())].into_iter().collect();
            assert_eq!(date(&headers), expected.map(|seconds| WallTime(seconds * 1_000_000)), "{value}");
        }
    }

    #[test]
    fn only_whole_seconds_are_understood() {
        for (value, expected) in
            [("7", Some(7)), (" 7 ", Some(7)), ("-1", None), ("Sun, 06 Nov 1994 08:49:37 GMT", None)]
        {
            let headers = [(RETRY_AFTER, value.parse().unwrap())].into_iter().collect();
            assert_eq!(retry_after(&headers), expected, "{value}");
        }
    }
}
