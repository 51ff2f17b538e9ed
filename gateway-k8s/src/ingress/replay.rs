//! Selects requests of an access log that are sent again.
//!
//! ```text
//! lines ──add──> LogReader: distinct requests with their host ──select──> a sample, and the omitted lines
//! ```
//!
//! The default format of ingress-nginx does not contain the host. It is derived from the name of the backend:
//! the location of the host for the path must have this backend. The host is known only if exactly one host
//! matches.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt::Write;
use std::net::IpAddr;

use http::Uri;

use super::access_log::{LogLineError, LoggedRequest, parse_line};
use super::model::{IngressNginx, ModelRequest};
use super::proof::STRANGER;
use super::report::counted;

/// How the requests are selected.
#[derive(Clone, Debug)]
pub struct ReplayOptions {
    /// Host of lines without a host. `None`: the host is derived from the name of the backend.
    pub host: Option<String>,
    /// Methods of the requests, such as `GET`.
    pub methods: Vec<String>,
    /// Whether the requests keep the client addresses of the log.
    pub keep_client: bool,
    /// Largest number of requests.
    pub limit: usize,
}

impl Default for ReplayOptions {
    /// Up to 500 requests with methods that change nothing.
    fn default() -> Self {
        Self {
            host: None,
            methods: ["GET", "HEAD", "OPTIONS"].map(str::to_owned).to_vec(),
            keep_client: false,
            limit: 500,
        }
    }
}

/// A distinct request of the log.
#[derive(Clone, Debug)]
pub struct ReplayRequest {
    /// The request. Its header fields other than `Host` are not in the log.
    pub request: ModelRequest,
    /// Whether the scheme is known, from the log or from the Ingresses.
    pub knows_scheme: bool,
    /// Number of lines by status in the log.
    pub statuses: BTreeMap<u16, usize>,
    /// Whether a line contained a user name of Basic authentication.
    pub has_user: bool,
    /// Number of lines.
    pub lines: usize,
    /// First line, from 1.
    pub first_line: usize,
    /// Name of the backend in the log (`$proxy_upstream_name`).
    upstream: String,
}

/// Why a line was left out.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum LeftOut {
    /// The line is not in a known format.
    Format,
    /// The client sent no HTTP request.
    Request,
    /// An HTTP client cannot send the target.
    Target,
    /// The method is not selected.
    Method,
    /// No host has this backend for this path.
    UnknownHost,
    /// Several hosts have this backend for this path.
    SeveralHosts,
    /// The maximum number of requests is reached.
    Limit,
}

impl LeftOut {
    /// The reason, for reports.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Format => "not in a known format of ingress-nginx",
            Self::Request => "not an HTTP request",
            Self::Target => "a request target that a client cannot send",
            Self::Method => "a method that may change something",
            Self::UnknownHost => "host unknown: no Ingress has this backend for this path",
            Self::SeveralHosts => "host unknown: several hosts have this backend for this path",
            Self::Limit => "more distinct requests than the limit",
        }
    }
}

/// Lines with the same reason.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct LeftOutLines {
    /// Number of lines.
    pub lines: usize,
    /// Number of the first line, from 1.
    pub first_line: usize,
    /// A detail of the first line: its backend, its method, or the candidate hosts.
    pub example: String,
}

/// The selected requests.
#[derive(Clone, Debug, Default)]
pub struct ReplaySelection {
    /// Requests in the order in which they are sent.
    pub requests: Vec<ReplayRequest>,
    /// Lines without a selected request, by reason.
    pub left_out: BTreeMap<LeftOut, LeftOutLines>,
}

/// Reads the lines of a log.
#[derive(Debug)]
pub struct LogReader<'a> {
    nginx: Option<&'a IngressNginx<'a>>,
    options: ReplayOptions,
    line: usize,
    /// Distinct requests by method, scheme, host and target.
    found: BTreeMap<(String, bool, String, String), ReplayRequest>,
    left_out: BTreeMap<LeftOut, LeftOutLines>,
}

impl<'a> LogReader<'a> {
    /// Creates a reader. Hosts are derived from the Ingresses of `nginx`.
    pub fn new(nginx: Option<&'a IngressNginx<'a>>, options: ReplayOptions) -> Self {
        Self {
            nginx,
            options,
            line: 0,
            found: BTreeMap::new(),
            left_out: BTreeMap::new(),
        }
    }

    /// Adds the next line, without its line break.
    pub fn add(&mut self, line: &str) {
        self.line += 1;
        if line.trim().is_empty() {
            return;
        }
        let logged = match parse_line(line) {
            Ok(logged) => logged,
            Err(LogLineError::Format) => return self.leave(LeftOut::Format, String::new()),
            Err(LogLineError::Request) => return self.leave(LeftOut::Request, String::new()),
        };
        if !self.options.methods.contains(&logged.method) {
            return self.leave(LeftOut::Method, logged.method);
        }
        if logged.target.parse::<Uri>().is_err() {
            return self.leave(LeftOut::Target, logged.target);
        }
        match self.host(&logged) {
            Ok(host) => self.keep(logged, host),
            Err((reason, example)) => self.leave(reason, example),
        }
    }

    /// The host of a request, or why it is unknown.
    fn host(&self, logged: &LoggedRequest) -> Result<String, (LeftOut, String)> {
        if let Some(host) = logged.host.as_ref().or(self.options.host.as_ref()) {
            return Ok(host.clone());
        }
        let upstream = logged.upstream.as_deref().unwrap_or_default();
        let mut hosts = match self.nginx {
            Some(nginx) => nginx.hosts_of(upstream, &logged.target),
            None => Vec::new(),
        };
        match hosts.len() {
            1 => Ok(hosts.remove(0)),
            0 => Err((
                LeftOut::UnknownHost,
                format!("[{upstream}] {}", logged.target),
            )),
            _ => {
                hosts.truncate(3);
                let example = format!("[{upstream}] {}: {}", logged.target, hosts.join(", "));
                Err((LeftOut::SeveralHosts, example))
            }
        }
    }

    fn keep(&mut self, logged: LoggedRequest, host: String) {
        let scheme = logged.https.or_else(|| self.scheme(&logged, &host));
        let https = scheme.unwrap_or(false);
        let key = (
            logged.method.clone(),
            https,
            host.clone(),
            logged.target.clone(),
        );
        let kept = match self.found.entry(key) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(place) => {
                let client = logged.client.parse::<IpAddr>().ok();
                let client = client.filter(|_| self.options.keep_client);
                place.insert(ReplayRequest {
                    request: ModelRequest {
                        https,
                        method: logged.method,
                        target: logged.target,
                        headers: vec![("Host".to_owned(), host)],
                        client: client.unwrap_or(STRANGER),
                        body_len: 0,
                        http10: false,
                        certificate: None,
                        auth_status: None,
                    },
                    knows_scheme: scheme.is_some(),
                    statuses: BTreeMap::new(),
                    has_user: false,
                    lines: 0,
                    first_line: self.line,
                    upstream: logged.upstream.unwrap_or_default(),
                })
            }
        };
        kept.lines += 1;
        kept.has_user |= logged.has_user;
        *kept.statuses.entry(logged.status).or_default() += 1;
    }

    /// Whether a request arrived over TLS. If its path redirects to HTTPS, a request that was not redirected
    /// arrived over TLS. `None`: unknown, because the path does not redirect to HTTPS.
    fn scheme(&self, logged: &LoggedRequest, host: &str) -> Option<bool> {
        let nginx = self.nginx?;
        nginx
            .redirects_host_to_https(host, &logged.target)
            .then(|| logged.status != nginx.redirect_status())
    }

    fn leave(&mut self, reason: LeftOut, example: String) {
        let first_line = self.line;
        let left = self.left_out.entry(reason).or_insert_with(|| LeftOutLines {
            lines: 0,
            first_line,
            example,
        });
        left.lines += 1;
    }

    /// Selects the requests. Requests are grouped by host, backend and status. The selection contains first
    /// the most frequent request of each group, then the second most frequent request of each group, and so
    /// on up to the limit.
    pub fn select(mut self) -> ReplaySelection {
        let mut groups: BTreeMap<(String, String, Option<u16>), Vec<ReplayRequest>> =
            BTreeMap::new();
        for (_, request) in std::mem::take(&mut self.found) {
            let host = request
                .request
                .header("host")
                .unwrap_or_default()
                .to_owned();
            let status = request.statuses.keys().next().copied();
            groups
                .entry((host, request.upstream.clone(), status))
                .or_default()
                .push(request);
        }
        let mut ranked: Vec<(usize, ReplayRequest)> = Vec::new();
        for mut group in groups.into_values() {
            group.sort_by(|a, b| b.lines.cmp(&a.lines).then(a.first_line.cmp(&b.first_line)));
            ranked.extend(group.into_iter().enumerate());
        }
        ranked.sort_by_key(|(rank, _)| *rank);
        let mut requests: Vec<ReplayRequest> =
            ranked.into_iter().map(|(_, request)| request).collect();
        for request in requests.drain(self.options.limit.min(requests.len())..) {
            let left = self
                .left_out
                .entry(LeftOut::Limit)
                .or_insert_with(|| LeftOutLines {
                    lines: 0,
                    first_line: request.first_line,
                    example: request.request.target.clone(),
                });
            left.lines += request.lines;
        }
        ReplaySelection {
            requests,
            left_out: self.left_out,
        }
    }
}

impl ReplaySelection {
    /// The selection as text: how many lines have a selected request, and why the other lines have none.
    pub fn text(&self) -> String {
        let lines: usize = self.requests.iter().map(|request| request.lines).sum();
        let mut text = format!(
            "Log: {}, {}\n",
            counted(lines, "line", "lines"),
            counted(self.requests.len(), "distinct request", "distinct requests")
        );
        for (reason, left) in &self.left_out {
            let _ = write!(
                text,
                "  {} left out: {} (first: line {}",
                counted(left.lines, "line", "lines"),
                reason.reason(),
                left.first_line
            );
            if !left.example.is_empty() {
                let _ = write!(text, ": {}", left.example);
            }
            text.push_str(")\n");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ingress::Manifests;

    const INGRESSES: &str = "\
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: shop, namespace: shop}
spec:
  ingressClassName: nginx
  tls: [{hosts: [shop.test], secretName: shop}]
  rules:
  - host: shop.test
    http:
      paths:
      - {path: /, pathType: Prefix, backend: {service: {name: web, port: {number: 80}}}}
      - {path: /api, pathType: Prefix, backend: {service: {name: api, port: {name: http}}}}
  - host: '*.shop.test'
    http: {paths: [{path: /api, pathType: Prefix, backend: {service: {name: api, port: {name: http}}}}]}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: blog, namespace: blog}
spec:
  ingressClassName: nginx
  rules:
  - host: blog.test
    http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: web, port: {number: 80}}}}]}
";

    fn manifests() -> Manifests {
        let mut manifests = Manifests::default();
        manifests.add("in.yaml", INGRESSES);
        manifests
    }

    fn line(request: &str, status: u16, upstream: &str) -> String {
        format!(
            r#"192.0.2.7 - - [30/Nov/2026:11:50:00 +0000] "{request} HTTP/1.1" {status} 5 "-" "-" 80 0.001 [{upstream}] [] 10.0.0.1:80 5 0.001 200 f1"#
        )
    }

    fn select(lines: &[String], options: ReplayOptions) -> ReplaySelection {
        let manifests = manifests();
        let nginx = IngressNginx::new(&manifests, &[]);
        let mut reader = LogReader::new(Some(&nginx), options);
        for line in lines {
            reader.add(line);
        }
        reader.select()
    }

    fn shown(selection: &ReplaySelection) -> Vec<String> {
        let requests = selection.requests.iter();
        requests
            .map(|request| super::super::proof::describe(&request.request))
            .collect()
    }

    #[test]
    fn the_backend_and_the_path_name_the_host() {
        let lines = [
            line("GET /a", 200, "shop-web-80"),
            line("GET /a", 308, "shop-web-80"),
            line("GET /a", 200, "blog-web-80"),
            line("GET /api/x", 200, "shop-api-http"),
            line("GET /a", 200, "other-web-80"),
            line("GET /api", 404, "shop-web-80"),
        ];

        let selection = select(&lines, ReplayOptions::default());

        assert_eq!(
            shown(&selection),
            [
                "GET http://blog.test/a",
                "GET https://shop.test/a",
                "GET http://shop.test/a"
            ]
        );
        assert_eq!(selection.left_out[&LeftOut::SeveralHosts].first_line, 4);
        assert_eq!(selection.left_out[&LeftOut::UnknownHost].lines, 2);
    }

    #[test]
    fn a_host_in_the_line_or_the_options_takes_precedence() {
        let lines = [
            format!("a.test {}", line("GET /", 200, "-")),
            line("GET /", 200, "-"),
        ];
        let options = ReplayOptions {
            host: Some("b.test".to_owned()),
            ..ReplayOptions::default()
        };

        assert_eq!(
            shown(&select(&lines, options)),
            ["GET http://a.test/", "GET http://b.test/"]
        );
    }

    #[test]
    fn equal_requests_are_sent_once_and_unsafe_ones_not() {
        let lines = [
            line("GET /a", 200, "blog-web-80"),
            line("GET /a", 404, "blog-web-80"),
            line("POST /a", 200, "blog-web-80"),
            "Starting NGINX".to_owned(),
        ];

        let selection = select(&lines, ReplayOptions::default());

        let [request] = &*selection.requests else {
            panic!("{:?}", shown(&selection))
        };
        assert_eq!(request.lines, 2);
        assert_eq!(request.statuses, BTreeMap::from([(200, 1), (404, 1)]));
        assert!(
            selection.text().contains(
                "1 line left out: a method that may change something (first: line 3: POST)"
            )
        );
        assert_eq!(selection.left_out[&LeftOut::Format].first_line, 4);
    }

    #[test]
    fn a_sample_contains_every_backend_and_status() {
        let mut lines: Vec<String> = (0..50)
            .map(|n| line(&format!("GET /{n}"), 200, "blog-web-80"))
            .collect();
        lines.push(line("GET /lost", 404, "blog-web-80"));
        lines.push(line("GET /49", 200, "blog-web-80"));
        let options = ReplayOptions {
            limit: 2,
            ..ReplayOptions::default()
        };

        let selection = select(&lines, options);

        assert_eq!(
            shown(&selection),
            ["GET http://blog.test/49", "GET http://blog.test/lost"]
        );
        assert_eq!(selection.left_out[&LeftOut::Limit].lines, 49);
    }

    #[test]
    fn a_client_address_is_kept_on_request() {
        let lines = [line("GET /", 200, "blog-web-80")];
        let options = ReplayOptions {
            keep_client: true,
            ..ReplayOptions::default()
        };

        assert_eq!(
            shown(&select(&lines, options)),
            ["GET http://blog.test/ from 192.0.2.7"]
        );
    }
}
