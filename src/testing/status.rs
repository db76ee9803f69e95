//! Errors of the server: Kubernetes `Status` objects with the codes, reasons and details of the real server. Their messages are
//! shorter than there.

use serde_json::{Value, json};

/// The resource in error messages.
pub(crate) const RESOURCE: &str = "leases.coordination.k8s.io";
/// The kind in validation errors.
pub(crate) const KIND: &str = "Lease.coordination.k8s.io";
/// The API group.
pub(crate) const GROUP: &str = "coordination.k8s.io";
/// The resource in paths and in the details of errors.
pub(crate) const PLURAL: &str = "leases";
/// The group and version.
pub(crate) const API_VERSION: &str = "coordination.k8s.io/v1";

/// The refusal of a request: the content of a `Status`.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    pub code: u16,
    pub reason: &'static str,
    pub message: String,
    pub details: Value,
}

/// One error about one field of an object.
#[derive(Clone, Debug)]
pub(crate) struct FieldError {
    pub cause: &'static str,
    pub field: String,
    pub message: String,
}

impl Failure {
    fn new(code: u16, reason: &'static str, message: impl Into<String>) -> Self {
        Self { code, reason, message: message.into(), details: Value::Null }
    }

    fn about(mut self, name: &str) -> Self {
        self.details = json!({ "group": GROUP, "kind": PLURAL });
        if !name.is_empty() {
            self.details["name"] = name.into();
        }
        self
    }

    /// Adds empty details.
    fn about_nothing(mut self) -> Self {
        self.details = json!({});
        self
    }

    /// The same failure of a request for another resource.
    pub(crate) fn of(mut self, group: &str, resource: &str) -> Self {
        let subject = if group.is_empty() { resource.to_owned() } else { format!("{resource}.{group}") };
        self.message = self.message.replace(RESOURCE, &subject).replace(KIND, &subject);
        if self.details["kind"].is_string() {
            self.details["group"] = group.into();
            self.details["kind"] = resource.into();
        }
        self
    }

    /// Tells the client when to retry, in whole seconds as Kubernetes does.
    pub(crate) fn retry_after(mut self, seconds: u64) -> Self {
        if self.details.is_null() {
            self.details = json!({});
        }
        self.details["retryAfterSeconds"] = seconds.into();
        self
    }

    /// The `Status` object.
    pub(crate) fn to_value(&self) -> Value {
        let mut status = json!({
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
            "code": self.code,
        });
        if !self.reason.is_empty() {
            status["reason"] = self.reason.into();
        }
        if !self.details.is_null() {
            status["details"] = self.details.clone();
        }
        status
    }
}

pub(crate) fn bad_request(message: impl Into<String>) -> Failure {
    Failure::new(400, "BadRequest", message)
}

pub(crate) fn unauthorized() -> Failure {
    Failure::new(401, "Unauthorized", "Unauthorized")
}

pub(crate) fn forbidden(name: &str, why: &str) -> Failure {
    let subject = match name {
        "" => RESOURCE.to_owned(),
        name => format!("{RESOURCE} {name:?}"),
    };
    Failure::new(403, "Forbidden", format!("{subject} is forbidden: {why}")).about(name)
}

pub(crate) fn terminating(namespace: &str, name: &str) -> Failure {
    let why = format!("unable to create new content in namespace {namespace} because it is being terminated");
    let mut failure = forbidden(name, &why);
    failure.details["causes"] = json!([{
        "reason": "NamespaceTerminating",
        "message": format!("namespace {namespace} is being terminated"),
        "field": "metadata.namespace",
    }]);
    failure
}

pub(crate) fn not_found(name: &str) -> Failure {
    Failure::new(404, "NotFound", format!("{RESOURCE} {name:?} not found")).about(name)
}

pub(crate) fn namespace_not_found(namespace: &str) -> Failure {
    let mut failure = Failure::new(404, "NotFound", format!("namespaces {namespace:?} not found"));
    failure.details = json!({ "name": namespace, "kind": "namespaces" });
    failure
}

pub(crate) fn no_such_resource() -> Failure {
    Failure::new(404, "NotFound", "the server could not find the requested resource").about_nothing()
}

pub(crate) fn method_not_allowed() -> Failure {
    let message = "the server does not allow this method on the requested resource";
    Failure::new(405, "MethodNotAllowed", message).about_nothing()
}

pub(crate) fn already_exists(name: &str) -> Failure {
    Failure::new(409, "AlreadyExists", format!("{RESOURCE} {name:?} already exists")).about(name)
}

pub(crate) fn conflict(name: &str, why: &str) -> Failure {
    let message = format!("Operation cannot be fulfilled on {RESOURCE} {name:?}: {why}");
    Failure::new(409, "Conflict", message).about(name)
}

/// A creation while the deleted object of that name still has finalizers.
pub(crate) fn being_deleted(name: &str) -> Failure {
    let mut failure = already_exists(name);
    failure.message.insert_str(0, "object is being deleted: ");
    failure
}

/// A stale resourceVersion.
pub(crate) fn modified(name: &str) -> Failure {
    let why = "the object has been modified; please apply your changes to the latest version and try again";
    conflict(name, why)
}

/// A failed precondition of a delete. Here the real server names the kind, not the resource.
pub(crate) fn delete_precondition(name: &str, why: &str) -> Failure {
    let mut failure = conflict(name, why);
    failure.details["kind"] = "Lease".into();
    failure
}

/// An apply of fields that other managers own, as (manager, field) pairs in order.
pub(crate) fn field_conflicts(conflicts: &[(String, String)]) -> Failure {
    let list: Vec<_> = conflicts.iter().map(|(manager, field)| format!("{field} of {manager}")).collect();
    let message = format!("Apply failed with conflicts: {}", list.join(", "));
    let causes = conflicts.iter().map(|(manager, field)| {
        json!({
            "reason": "FieldManagerConflict",
            "message": format!("conflict with {manager}"),
            "field": field,
        })
    });
    let mut failure = Failure::new(409, "Conflict", message);
    failure.details = json!({ "causes": causes.collect::<Value>() });
    failure
}

pub(crate) fn expired(message: impl Into<String>) -> Failure {
    Failure::new(410, "Expired", message)
}

pub(crate) fn unsupported_patch() -> Failure {
    Failure::new(415, "UnsupportedMediaType", "415: Unsupported Media Type").about_nothing()
}

/// A JSON Patch that does not apply, for example because a test failed. The real server does not say which.
pub(crate) fn inapplicable() -> Failure {
    let message = "the server rejected our request due to an error in our request";
    Failure::new(422, "Invalid", message).about_nothing()
}

pub(crate) fn too_large_entity(why: &str) -> Failure {
    Failure::new(413, "RequestEntityTooLarge", format!("Request entity too large: {why}"))
}

/// A request that this server does not support. The real server has no such error.
pub(crate) fn unsupported(what: &str) -> Failure {
    Failure::new(501, "NotImplemented", format!("not supported by the in-process server: {what}"))
}

pub(crate) fn unsupported_object() -> Failure {
    let accepted = "application/json, application/yaml, application/vnd.kubernetes.protobuf";
    let message = format!(
        "the body of the request was in an unknown format - accepted media types include: {accepted}"
    );
    Failure::new(415, "UnsupportedMediaType", message)
}

/// An object of kind `subject` with invalid fields.
pub(crate) fn invalid(subject: &str, name: &str, errors: &[FieldError]) -> Failure {
    let list: Vec<_> = errors.iter().map(|error| format!("{}: {}", error.field, error.message)).collect();
    let (kind, group) = subject.split_once('.').unwrap_or((subject, ""));
    let causes = errors.iter().map(|e| json!({ "reason": e.cause, "message": e.message, "field": e.field }));
    let mut details = json!({ "causes": causes.collect::<Value>() });
    for (key, value) in [("name", name), ("group", group), ("kind", kind)] {
        if !value.is_empty() {
            details[key] = value.into();
        }
    }
    let message = format!("{subject} {name:?} is invalid: {}", list.join(", "));
    let mut failure = Failure::new(422, "Invalid", message);
    failure.details = details;
    failure
}

pub(crate) fn too_many_requests() -> Failure {
    let message = "Too many requests, please try again later.";
    Failure::new(429, "TooManyRequests", message)
}

pub(crate) fn internal(why: &str) -> Failure {
    let mut failure = Failure::new(500, "InternalError", format!("Internal error occurred: {why}"));
    failure.details = json!({ "causes": [{ "message": why }] });
    failure
}

/// An error that the real server did not expect. It has no reason and no details.
pub(crate) fn unexpected(message: impl Into<String>) -> Failure {
    Failure::new(500, "", message)
}

pub(crate) fn unavailable() -> Failure {
    Failure::new(503, "ServiceUnavailable", "the server is currently unable to handle the request")
}

pub(crate) fn timeout(why: &str) -> Failure {
    Failure::new(504, "Timeout", format!("Timeout: {why}")).about_nothing()
}

/// A version that does not exist yet.
pub(crate) fn too_large(wanted: u64, current: u64) -> Failure {
    let why = format!("Too large resource version: {wanted}, current: {current}");
    let mut failure = timeout(&why).retry_after(1);
    failure.details["causes"] = json!([{
        "reason": "ResourceVersionTooLarge",
        "message": "Too large resource version",
    }]);
    failure
}

/// Any other code.
pub(crate) fn other(code: u16) -> Failure {
    let message =
        format!("the server responded with the status code {code} but did not return more information");
    Failure::new(code, "", message)
}
