//! Classifies nginx directives by the effect of serving paths without them.
//!
//! | directive | without an equivalent |
//! |---|---|
//! | harmless | the paths are served without it |
//! | a location, or an `if` on a part of the request | the requests that it covers return 403 |
//! | all other directives, including unknown ones, because they can reject requests | the paths return 500 |

use crate::ingress::nginx_conf::Directive;

/// Harmless directives: without them, every request that nginx rejects is still rejected.
const HARMLESS: [&str; 77] = [
    "absolute_redirect",
    "access_log",
    "add_header",
    "add_trailer",
    "aio",
    "break",
    "client_body_buffer_size",
    "client_body_in_file_only",
    "client_body_temp_path",
    "client_body_timeout",
    "client_header_buffer_size",
    "client_header_timeout",
    "connection_pool_size",
    "chunked_transfer_encoding",
    "default_type",
    "error_log",
    "error_page",
    "etag",
    "expires",
    "geo",
    "gzip",
    "if_modified_since",
    "ignore_invalid_headers",
    "index",
    "large_client_header_buffers",
    "limit_conn_dry_run",
    "limit_conn_log_level",
    "limit_conn_status",
    "limit_conn_zone",
    "limit_rate",
    "limit_rate_after",
    "limit_req_dry_run",
    "limit_req_log_level",
    "limit_req_status",
    "limit_req_zone",
    "log_format",
    "log_not_found",
    "log_subrequest",
    "map",
    "max_ranges",
    "merge_slashes",
    "more_clear_headers",
    "more_set_headers",
    "more_set_input_headers",
    "output_buffers",
    "port_in_redirect",
    "postpone_output",
    "proxy_buffer_size",
    "proxy_buffering",
    "proxy_buffers",
    "proxy_busy_buffers_size",
    "proxy_connect_timeout",
    "proxy_force_ranges",
    "proxy_hide_header",
    "proxy_http_version",
    "proxy_ignore_client_abort",
    "proxy_ignore_headers",
    "proxy_intercept_errors",
    "proxy_max_temp_file_size",
    "proxy_pass_header",
    "proxy_read_timeout",
    "proxy_redirect",
    "proxy_request_buffering",
    "proxy_send_timeout",
    "proxy_set_header",
    "proxy_socket_keepalive",
    "proxy_ssl_name",
    "proxy_ssl_protocols",
    "proxy_ssl_server_name",
    "proxy_temp_path",
    "root",
    "send_timeout",
    "set",
    "split_clients",
    "types",
    "underscores_in_headers",
    "upstream",
];

/// Beginnings of names of harmless directives.
const HARMLESS_FAMILIES: [&str; 34] = [
    "body_filter_by_lua",
    "brotli",
    "charset",
    "datadog",
    "geoip",
    "gzip_",
    "gunzip",
    "header_filter_by_lua",
    "http2_",
    "init_by_lua",
    "init_worker_by_lua",
    "keepalive_",
    "lingering_",
    "log_by_lua",
    "lua_",
    "map_hash_",
    "mirror",
    "open_file_cache",
    "opentelemetry",
    "opentracing",
    "proxy_cache",
    "proxy_cookie_",
    "proxy_headers_hash_",
    "proxy_next_upstream",
    "resolver",
    "sendfile",
    "server_names_hash_",
    "server_tokens",
    "set_by_lua",
    "ssl_session_",
    "ssl_stapling",
    "sub_filter",
    "tcp_no",
    "variables_hash_",
];

/// Whether a directive can reject requests that pass if the directive is omitted. Unknown directives may
/// reject requests.
pub(super) fn may_reject(directive: &Directive) -> bool {
    let name = directive.name.as_str();
    let args: Vec<&str> = directive.args.iter().map(String::as_str).collect();
    match (name, &args[..]) {
        // These directives relax checks. Without them, more requests are rejected.
        ("auth_basic" | "auth_request" | "modsecurity", ["off"])
        | ("satisfy", _)
        | ("allow", _) => false,
        ("ssl_protocols" | "ssl_ciphers" | "ssl_prefer_server_ciphers" | "ssl_ecdh_curve", _) => {
            false
        }
        // A named location serves only requests that other directives send to it.
        ("location", [path]) if path.starts_with('@') => false,
        ("if", _) => directive.block.iter().flatten().any(may_reject),
        _ => {
            let is_harmless = HARMLESS.contains(&name)
                || HARMLESS_FAMILIES
                    .iter()
                    .any(|family| name.starts_with(family));
            !is_harmless
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ingress::nginx_conf::parse;

    fn guards(text: &str) -> bool {
        parse(text).expect("valid").iter().any(may_reject)
    }

    #[test]
    fn a_directive_that_may_reject_requests_or_is_unknown_is_a_guard() {
        for text in [
            "deny 10.0.0.1;",
            "auth_request /check;",
            "auth_basic private;",
            "limit_except GET { deny all; }",
            "limit_req zone=a;",
            "limit_conn a 1;",
            "valid_referers none *.a.test;",
            "access_by_lua_file /a.lua;",
            "rewrite_by_lua_file /a.lua;",
            "modsecurity on;",
            "modsecurity_rules 'SecRuleEngine On';",
            "try_files $uri =403;",
            "return 403;",
            "return 302 /login;",
            "rewrite ^/admin /public break;",
            "if ($http_x) { return 403; }",
            "if ($a) { set $b 1; rewrite ^ /x last; }",
            "include /etc/nginx/a.conf;",
            "internal;",
            "proxy_pass http://other;",
            "proxy_ssl_verify on;",
            "real_ip_header X-A;",
            "a_module_that_is_not_known on;",
            "location /a { proxy_pass http://other; }",
        ] {
            assert!(guards(text), "{text}");
        }
    }

    #[test]
    fn timeouts_header_fields_and_logs_guard_nothing() {
        for text in [
            "add_header X-A $b;",
            "expires 1h; etag off; gzip_types text/css;",
            "sub_filter a b; sub_filter_once off;",
            "proxy_next_upstream off; proxy_cookie_path / /a;",
            "if ($a) { set $b 1; add_header X-A b; }",
            "auth_basic off; satisfy any; allow 10.0.0.0/8;",
            "log_by_lua_file /a.lua; access_log off;",
        ] {
            assert!(!guards(text), "{text}");
        }
    }
}
