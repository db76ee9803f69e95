//! The connection of one watch, read line by line. `kube`'s own reader keeps a buffer of 8 KiB for each watch, even if the
//! watch is quiet; this one does not.

use std::error::Error;
use std::future::ready;
use std::io;

use futures::{AsyncBufReadExt, Stream, StreamExt};
use http::header::{ACCEPT_ENCODING, HeaderValue};
use kube::core::{Status, WatchEvent};

use super::codec::RawLease;

/// Sends the request for a watch. The stream ends when the watch ends.
pub(super) async fn watch_stream(
    client: &kube::Client,
    mut request: http::Request<Vec<u8>>,
) -> kube::Result<impl Stream<Item = kube::Result<WatchEvent<RawLease>>> + use<>> {
    // An API server compresses each event by itself, and a client understands only the first one.
    request.headers_mut().entry(ACCEPT_ENCODING).or_insert(HeaderValue::from_static("identity"));
    let lines = client.request_stream(request).await?.lines();
    Ok(lines.filter_map(|line| ready(read(line))))
}

/// `None` for the incomplete line of a watch that was cut off.
fn read(line: io::Result<String>) -> Option<kube::Result<WatchEvent<RawLease>>> {
    let line = match line {
        Ok(line) => line,
        Err(error) if is_cut_off(&error) => return None,
        Err(error) => return Some(Err(kube::Error::ReadEvents(error))),
    };
    match serde_json::from_str(&line) {
        Ok(event) => Some(Ok(event)),
        Err(error) if error.is_eof() => None,
        Err(error) => Some(Err(match serde_json::from_str::<Status>(&line) {
            Ok(status) => kube::Error::Api(status.boxed()),
            Err(_) => kube::Error::SerdeError(error),
        })),
    }
}

/// Whether the connection ended without an end of the HTTP body, as long watches do.
fn is_cut_off(error: &io::Error) -> bool {
    let mut cause = error.get_ref().map(|cause| cause as &(dyn Error + 'static));
    while let Some(error) = cause {
        if error.downcast_ref::<io::Error>().is_some_and(is_cut_off) {
            return true;
        }
        cause = error.source();
    }
    error.kind() == io::ErrorKind::UnexpectedEof
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_line(line: &str) -> Option<kube::Result<WatchEvent<RawLease>>> {
        read(Ok(line.to_owned()))
    }

    #[test]
    fn events_and_refusals_are_read_and_incomplete_lines_are_skipped() {
        let lease = r#"{ "metadata": { "name": "x", "uid": "u", "resourceVersion": "8" } }"#;
        let event = read_line(&format!(r#"{{ "type": "ADDED", "object": {lease} }}"#)).unwrap();
        assert!(
            matches!(event, Ok(WatchEvent::Added(lease)) if lease.metadata.resource_version.as_deref() == Some("8"))
        );
        let gone = r#"{ "kind": "Status", "status": "Failure", "message": "too old", "reason": "Expired", "code": 410 }"#;
        let event = read_line(&format!(r#"{{ "type": "ERROR", "object": {gone} }}"#)).unwrap();
        assert!(matches!(event, Ok(WatchEvent::Error(status)) if status.code == 410));
        assert!(matches!(read_line(gone), Some(Err(kube::Error::Api(status))) if status.code == 410));
        assert!(matches!(read_line("<html>"), Some(Err(kube::Error::SerdeError(_)))));
        for cut_off in ["", r#"{ "type": "ADDED", "obj"#] {
            assert!(read_line(cut_off).is_none(), "{cut_off}");
        }
    }

    #[test]
    fn a_connection_that_ends_ends_the_stream_and_one_that_fails_is_an_error() {
        let eof = || io::Error::from(io::ErrorKind::UnexpectedEof);
        assert!(read(Err(eof())).is_none());
        assert!(read(Err(io::Error::other(eof()))).is_none());
        let reset = read(Err(io::ErrorKind::ConnectionReset.into()));
        assert!(matches!(reset, Some(Err(kube::Error::ReadEvents(_)))));
    }
}
