//! The decision of a service, and the changes that it makes to a request and its response.

use http::header::COOKIE;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Uri, request};
use serde_json::{Map, Value};
use towergate_core::LocalReply;
use towergate_core::http::reserved::is_reserved;
use towergate_core::policy::{FilledFields, RequestHead};

use super::{QueryEdits, ServiceError};

/// The decision of a service.
#[derive(Clone, Debug, Eq, PartialEq)]
#[must_use]
pub enum Verdict {
    /// The request passes with these changes.
    Allow(RequestChanges),
    /// The client receives this reply.
    Deny(LocalReply),
}

/// Changes to a request that the service allows.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct RequestChanges {
    /// Edits of the request's header fields.
    pub edits: Vec<HeaderEdit>,
    /// Fields that are removed from the request, after the edits.
    pub removed: Vec<HeaderName>,
    /// Edits of the response's header fields.
    pub response_edits: Vec<HeaderEdit>,
    /// Path and query that replace those of the request.
    pub path: Option<PathAndQuery>,
    /// Changes of the query.
    pub query: QueryEdits,
    /// Dynamic metadata, which later policies can read.
    pub metadata: Map<String, Value>,
}

/// An edit of a header field.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct HeaderEdit {
    /// Name of the field.
    pub name: HeaderName,
    /// Value of the field.
    pub value: HeaderValue,
    /// Action on fields of that name.
    pub action: EditAction,
}

/// Action on the header field that an edit names.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum EditAction {
    /// All lines are replaced; a missing field is added.
    Overwrite,
    /// All lines are replaced; a missing field stays missing.
    OverwriteExisting,
    /// The value is joined to the lines that are present; a missing field is added.
    Append,
    /// A line is added.
    Add,
    /// A line is added if the field is missing.
    AddIfAbsent,
}

/// Whether a service may set or remove the field. It may not edit fields that frame a message, belong to one
/// connection or select the route.
pub fn is_editable(name: &HeaderName) -> bool {
    !is_reserved(name)
}

impl HeaderEdit {
    /// Replaces all lines of the field.
    pub fn overwrite(name: HeaderName, value: HeaderValue) -> Self {
        Self {
            name,
            value,
            action: EditAction::Overwrite,
        }
    }

    pub(super) fn apply(&self, headers: &mut HeaderMap) {
        let (name, value) = (&self.name, self.value.clone());
        match self.action {
            EditAction::Overwrite => {
                headers.insert(name, value);
            }
            EditAction::OverwriteExisting if headers.contains_key(name) => {
                headers.insert(name, value);
            }
            EditAction::Append => {
                headers.append(name, value);
                if let Some(joined) = joined(headers, name) {
                    headers.insert(name, joined);
                }
            }
            EditAction::Add => {
                headers.append(name, value);
            }
            EditAction::AddIfAbsent if !headers.contains_key(name) => {
                headers.insert(name, value);
            }
            EditAction::OverwriteExisting | EditAction::AddIfAbsent => {}
        }
    }
}

/// All lines of a field, joined by commas. Lines of `Cookie` are joined by semicolons (RFC 9110, section 5.3;
/// RFC 9113, section 8.2.3). `None`: the field is not present.
pub(super) fn joined(headers: &HeaderMap, name: &HeaderName) -> Option<HeaderValue> {
    let mut lines = headers.get_all(name).iter();
    let first = lines.next()?;
    let Some(second) = lines.next() else {
        return Some(first.clone());
    };
    let separator: &[u8] = if name == COOKIE { b"; " } else { b"," };
    let mut text = first.as_bytes().to_vec();
    for line in std::iter::once(second).chain(lines) {
        text.extend_from_slice(separator);
        text.extend_from_slice(line.as_bytes());
    }
    // Valid field values that are joined by visible characters form a valid field value.
    HeaderValue::from_bytes(&text).ok()
}

impl RequestChanges {
    /// Applies the changes to a request, and registers those of its response.
    ///
    /// # Errors
    /// The path or query is invalid. The request is then unchanged.
    pub(super) fn apply(self, request: &mut RequestHead<'_>) -> Result<(), ServiceError> {
        self.apply_to_head(request.head)?;
        let edits = self.response_edits;
        if !edits.is_empty() {
            request.on_response_headers(move |headers| {
                edits.iter().for_each(|edit| edit.apply(headers));
            });
        }
        Ok(())
    }

    /// Applies the changes to a request head.
    ///
    /// # Errors
    /// The path or query is invalid; the head is unchanged.
    pub fn apply_to_head(&self, head: &mut request::Parts) -> Result<(), ServiceError> {
        if let Some(path) = self.changed_path(&head.uri)? {
            let mut parts = std::mem::take(&mut head.uri).into_parts();
            parts.path_and_query = Some(path);
            // A valid URI stays valid with another path.
            head.uri = Uri::from_parts(parts).map_err(|_| ServiceError::Change("path"))?;
        }
        for edit in self.edits.iter().filter(|edit| is_editable(&edit.name)) {
            if edit.action == EditAction::Overwrite {
                FilledFields::reserve(head, &edit.name);
            }
            edit.apply(&mut head.headers);
        }
        for name in self.removed.iter().filter(|name| is_editable(name)) {
            FilledFields::reserve(head, name);
        }
        Ok(())
    }

    /// Path and query after the changes; `None`: unchanged.
    fn changed_path(&self, uri: &Uri) -> Result<Option<PathAndQuery>, ServiceError> {
        if self.query.is_empty() {
            return Ok(self.path.clone());
        }
        let (path, query) = match &self.path {
            Some(path) => (path.path(), path.query()),
            None => (uri.path(), uri.query()),
        };
        let changed = match self.query.apply(query) {
            Some(query) => format!("{path}?{query}"),
            None => path.to_owned(),
        };
        let changed = PathAndQuery::try_from(changed);
        changed.map(Some).map_err(|_| ServiceError::Change("query"))
    }
}
