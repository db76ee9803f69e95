//! The responses of the server, and their form in HTTP.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures::StreamExt;
use futures::stream::{self, BoxStream};
use http::response::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use http_body::{Body, Frame};
use serde_json::Value;

use super::status::Failure;

/// One response.
pub(crate) struct Response {
    pub code: u16,
    headers: HeaderMap,
    body: BoxStream<'static, io::Result<Vec<u8>>>,
}

/// The body of a response: one object or a stream of events.
pub(crate) struct ResponseBody(BoxStream<'static, io::Result<Vec<u8>>>);

impl Response {
    /// A response with one object.
    pub(crate) fn json(code: u16, object: &Value) -> Self {
        Self::text(code, "application/json", json_text(object))
    }

    /// A response with events, until the stream ends.
    pub(crate) fn stream(events: impl futures::Stream<Item = io::Result<Vec<u8>>> + Send + 'static) -> Self {
        Self { code: 200, headers: of_kind("application/json"), body: events.boxed() }
    }

    /// The response of another service.
    pub(crate) fn of(
        parts: Parts,
        body: impl futures::Stream<Item = io::Result<Vec<u8>>> + Send + 'static,
    ) -> Self {
        Self { code: parts.status.as_u16(), headers: parts.headers, body: body.boxed() }
    }

    /// The response to any path outside the API.
    pub(crate) fn no_such_page() -> Self {
        Self::text(404, "text/plain; charset=utf-8", "404 page not found\n".to_owned())
    }

    /// A success without JSON, as a proxy may send it.
    pub(crate) fn garbage() -> Self {
        Self::text(200, "text/html", "<html><body>Welcome!</body></html>\n".to_owned())
    }

    /// Adds warning headers.
    pub(crate) fn warn(mut self, warnings: &[String]) -> Self {
        for warning in warnings {
            self.add_header(header::WARNING, &format!("299 - {warning:?}"));
        }
        self
    }

    fn text(code: u16, kind: &'static str, text: String) -> Self {
        Self { code, headers: of_kind(kind), body: stream::iter([Ok(text.into_bytes())]).boxed() }
    }

    fn add_header(&mut self, name: HeaderName, value: &str) {
        if let Ok(value) = HeaderValue::try_from(value) {
            self.headers.append(name, value);
        }
    }
}

fn of_kind(kind: &'static str) -> HeaderMap {
    [(header::CONTENT_TYPE, HeaderValue::from_static(kind))].into_iter().collect()
}

/// `object` as JSON, like its `to_string`, but in less time.
pub(crate) fn json_text(object: &Value) -> String {
    serde_json::to_string(object).unwrap_or_default()
}

impl From<Failure> for Response {
    fn from(failure: Failure) -> Self {
        let mut response = Self::json(failure.code, &failure.to_value());
        if let Some(seconds) = failure.details["retryAfterSeconds"].as_u64() {
            response.add_header(header::RETRY_AFTER, &seconds.to_string());
        }
        response
    }
}

impl From<Response> for http::Response<ResponseBody> {
    fn from(response: Response) -> Self {
        let mut http = http::Response::new(ResponseBody(response.body));
        *http.status_mut() = http::StatusCode::from_u16(response.code).unwrap_or_default();
        *http.headers_mut() = response.headers;
        http
    }
}

impl Body for ResponseBody {
    /// `bytes::Bytes`. The crate does not depend on `bytes`, so the type has no other name here.
    type Data = <kube::client::Body as Body>::Data;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Self::Data>>>> {
        self.0.poll_next_unpin(context).map(|chunk| {
            let chunk = chunk?;
            Some(chunk.map(|bytes| Frame::data(bytes.into())))
        })
    }
}
