use http::Request;

use super::*;

const HERE: ([u8; 4], u16) = ([10, 0, 0, 1], 80);
const THERE: ([u8; 4], u16) = ([10, 0, 0, 2], 80);

fn rules(absolute: Option<u64>, idle: Option<u64>, permanent: bool) -> SessionRules {
    SessionRules {
        settings: SessionPersistence {
            carrier: SessionCarrier::Cookie {
                name: "sticky".to_owned(),
                permanent,
                path: None,
            },
            absolute_timeout: absolute.map(Duration::from_secs),
            idle_timeout: idle.map(Duration::from_secs),
            keys: Vec::new(),
        },
        tokens: SessionTokens::new(&[], "rule").unwrap(),
        paths: ["/".to_owned(), "/app".to_owned()].into(),
    }
}

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}

/// The `Set-Cookie` field in a response of `endpoint`.
fn set_cookie(
    rules: &SessionRules,
    before: Option<SessionToken>,
    endpoint: ([u8; 4], u16),
    now: SystemTime,
) -> Option<String> {
    let mut headers = HeaderMap::new();
    rules.respond(before, endpoint.into(), 1, now, &mut headers);
    let line = headers.get(SET_COOKIE)?;
    Some(line.to_str().unwrap().to_owned())
}

/// The session of a request that returns the cookie of a `Set-Cookie` field.
fn returned(rules: &SessionRules, line: &str, now: SystemTime) -> Option<SessionToken> {
    let pair = line.split(';').next().unwrap();
    let request = Request::get("/").header("cookie", format!("a=b; {pair}"));
    let (head, ()) = request.body(()).unwrap().into_parts();
    rules.session_of(&head.headers, now)
}

#[test]
fn a_cookie_is_set_for_the_first_request_and_when_the_endpoint_changes() {
    let rules = rules(None, None, false);

    let line = set_cookie(&rules, None, HERE, at(0)).unwrap();
    assert_eq!(line, "sticky=\"MTAuMC4wLjE6ODA=\"; Path=/app; HttpOnly");
    let session = returned(&rules, &line, at(9_999));
    assert_eq!(session.clone().unwrap().endpoint, HERE.into());

    assert_eq!(set_cookie(&rules, session.clone(), HERE, at(9_999)), None);
    assert!(set_cookie(&rules, session, THERE, at(9_999)).is_some());
}

#[test]
fn a_session_ends_after_the_absolute_timeout_wherever_the_client_keeps_it() {
    let rules = rules(Some(3600), None, true);

    let line = set_cookie(&rules, None, HERE, at(1_000)).unwrap();

    assert!(
        line.ends_with("; Max-Age=3600; Path=/app; HttpOnly"),
        "{line}"
    );
    assert!(returned(&rules, &line, at(4_599)).is_some());
    assert_eq!(returned(&rules, &line, at(4_600)), None);
}

#[test]
fn requests_extend_an_idle_session_but_not_beyond_its_absolute_end() {
    let rules = rules(Some(100), Some(60), true);
    let line = set_cookie(&rules, None, HERE, at(0)).unwrap();
    assert_eq!(returned(&rules, &line, at(60)), None, "idle for too long");

    let session = returned(&rules, &line, at(50));
    let line = set_cookie(&rules, session, HERE, at(50)).unwrap();

    assert!(line.contains("; Max-Age=50;"), "{line}");
    assert!(returned(&rules, &line, at(99)).is_some());
    assert_eq!(returned(&rules, &line, at(100)), None);
}

#[test]
fn a_session_without_the_configured_end_is_not_continued() {
    let line = set_cookie(&rules(None, None, false), None, HERE, at(0)).unwrap();

    assert_eq!(returned(&rules(Some(60), None, false), &line, at(1)), None);
}
