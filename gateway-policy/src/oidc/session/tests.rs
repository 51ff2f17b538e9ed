use http::HeaderMap;
use http::header::COOKIE;
use proptest::prelude::*;

use super::*;

const NOW: SystemTime = SystemTime::UNIX_EPOCH;
const HOUR: Duration = Duration::from_secs(3600);

struct Browser {
    cookies: SessionCookies,
    keys: SessionKeys,
    encrypted: bool,
    jar: Vec<(String, String)>,
}

impl Browser {
    fn new(encrypted: bool) -> Self {
        let secret = "a secret of at least 32 bytes ...";
        Self {
            cookies: SessionCookies::new("0a"),
            keys: SessionKeys::derive(&[secret], "policy").unwrap(),
            encrypted,
            jar: Vec::new(),
        }
    }

    fn seal<'b>(&'b self, site: &'b str) -> SessionSeal<'b> {
        SessionSeal {
            cookies: &self.cookies,
            keys: &self.keys,
            site: SessionSite::Host(site),
            encrypted: self.encrypted,
        }
    }

    fn log_in(mut self, session: &UserSession) -> Self {
        let fields = self
            .seal("a.test")
            .write(&CookieJar::default(), session, NOW);
        for (_, value) in fields.unwrap() {
            let text = value.to_str().unwrap().split(';').next().unwrap();
            let (name, value) = text.split_once('=').unwrap();
            self.jar.push((name.to_owned(), value.to_owned()));
        }
        self
    }

    fn forget(mut self, name: &str) -> Self {
        self.jar.retain(|(known, _)| !known.starts_with(name));
        self
    }

    fn change(mut self, name: &str, value: &str) -> Self {
        for (known, old) in &mut self.jar {
            if known.starts_with(name) {
                value.clone_into(old);
            }
        }
        self
    }

    fn read_at(&self, site: &str, now: SystemTime) -> SessionState {
        let pairs: Vec<String> = self.jar.iter().map(|(n, v)| format!("{n}={v}")).collect();
        let line = pairs.join("; ").parse().unwrap();
        let headers = HeaderMap::from_iter([(COOKIE, line)]);
        self.seal(site).read(&CookieJar::of(&headers), now)
    }

    fn read(&self) -> SessionState {
        self.read_at("a.test", NOW)
    }
}

fn session() -> UserSession {
    UserSession {
        access_token: SecretText::new("access"),
        id_token: Some(SecretText::new("id")),
        lifetime: HOUR,
        refresh_token: Some(RefreshToken {
            text: SecretText::new("again"),
            end: 86_400,
        }),
    }
}

#[test]
fn a_session_is_read_back_until_it_ends() {
    for encrypted in [true, false] {
        let browser = Browser::new(encrypted).log_in(&session());

        let SessionState::Valid(read) = browser.read() else {
            panic!("the session is valid");
        };
        assert_eq!(read.access_token.expose(), "access");
        assert_eq!(read.id_token.unwrap().expose(), "id");
        let SessionState::Expired { refresh_token, .. } = browser.read_at("a.test", NOW + HOUR)
        else {
            panic!("the session has ended");
        };
        assert_eq!(refresh_token.text.expose(), "again");
        let late = NOW + Duration::from_secs(86_400);
        assert_eq!(browser.read_at("a.test", late), SessionState::None);
    }
}

#[test]
fn tokens_are_in_clear_only_if_encryption_is_off_and_refresh_tokens_never() {
    let value = |browser: &Browser, name: &str| {
        let found = browser.jar.iter().find(|(n, _)| n.starts_with(name));
        found.unwrap().1.clone()
    };
    let plain = Browser::new(false).log_in(&session());
    let sealed = Browser::new(true).log_in(&session());

    assert_eq!(value(&plain, "AccessToken"), "access");
    assert_ne!(value(&plain, "RefreshToken"), "again");
    assert_ne!(value(&sealed, "AccessToken"), "access");
}

#[test]
fn changed_cookies_are_no_session_even_with_a_refresh_token() {
    for encrypted in [true, false] {
        for (name, value) in [
            ("OauthExpires", "4102444800"),
            ("OauthHMAC", "AAAA"),
            ("AccessToken", "other"),
            ("IdToken", "other"),
        ] {
            let browser = Browser::new(encrypted).log_in(&session());
            let browser = browser.change(name, value);
            assert_eq!(browser.read(), SessionState::None, "{name}");
        }
    }
}

#[test]
fn changed_cookies_are_no_session_without_the_id_token_either() {
    let with_id = session();
    let without_id = UserSession {
        id_token: None,
        ..session()
    };
    for (encrypted, written) in [true, false]
        .into_iter()
        .flat_map(|encrypted| [(encrypted, &with_id), (encrypted, &without_id)])
    {
        for (name, value) in [
            ("OauthExpires", "4102444800"),
            ("OauthHMAC", "AAAA"),
            ("AccessToken", "other"),
        ] {
            let browser = Browser::new(encrypted).log_in(written);
            let browser = browser.forget("IdToken").change(name, value);
            assert_eq!(browser.read(), SessionState::None, "{name}");
        }
    }
}

#[test]
fn the_id_token_of_another_session_is_not_used_beside_a_refresh_token() {
    for encrypted in [true, false] {
        let mut other = session();
        other.id_token = Some(SecretText::new("of-another-user"));
        let other = Browser::new(encrypted).log_in(&other);
        let foreign = other.jar.iter().find(|(name, _)| name == "IdToken-0a");
        let own = Browser::new(encrypted).log_in(&session()).forget("Oauth");

        let kept = own.read();
        let mut mixed = own.forget("IdToken");
        mixed.jar.push(foreign.unwrap().clone());

        let id_token = |state| match state {
            SessionState::Expired { id_token, .. } => id_token,
            other => panic!("{other:?}"),
        };
        assert_eq!(id_token(kept), session().id_token);
        assert_eq!(id_token(mixed.read()), None);
    }
}

#[test]
fn a_session_of_a_host_is_not_one_of_the_domain_with_its_name() {
    let browser = Browser::new(true).log_in(&session());
    let pairs = browser
        .jar
        .iter()
        .map(|(name, value)| format!("{name}={value}"));
    let line = pairs.collect::<Vec<_>>().join("; ");
    let headers = HeaderMap::from_iter([(COOKIE, line.parse().unwrap())]);
    let seal = SessionSeal {
        site: SessionSite::Domain("a.test"),
        ..browser.seal("a.test")
    };

    assert_eq!(seal.read(&CookieJar::of(&headers), NOW), SessionState::None);
}

#[test]
fn a_session_is_not_valid_on_another_host() {
    let browser = Browser::new(true).log_in(&session());

    assert_eq!(browser.read_at("b.test", NOW), SessionState::None);
    let only_refresh = browser.forget("Oauth").forget("Access").forget("Id");
    assert_eq!(only_refresh.read_at("b.test", NOW), SessionState::None);
}

#[test]
fn a_refresh_token_is_enough_once_the_browser_has_deleted_the_rest() {
    for gone in ["OauthHMAC", "AccessToken", "IdToken", "OauthExpires"] {
        let browser = Browser::new(true).log_in(&session()).forget(gone);
        let state = browser.read();
        assert!(matches!(state, SessionState::Expired { .. }), "{gone}");
    }
}

#[test]
fn a_long_token_is_split_and_one_that_is_too_long_is_refused() {
    let long = UserSession {
        access_token: SecretText::new("x".repeat(9_000)),
        ..session()
    };
    let browser = Browser::new(true).log_in(&long);
    let names = browser.jar.iter().map(|(name, _)| name.as_str());
    assert!(names.clone().any(|name| name == "AccessToken-0a.3"));
    assert!(
        matches!(browser.read(), SessionState::Valid(s) if s.access_token == long.access_token)
    );

    let too_long = UserSession {
        access_token: SecretText::new("x".repeat(30_000)),
        ..session()
    };
    let written = browser
        .seal("a.test")
        .write(&CookieJar::default(), &too_long, NOW);
    assert_eq!(written, None);
}

proptest! {
    /// Cookies that the gateway has not created are never accepted as a session.
    #[test]
    fn arbitrary_cookies_are_no_session(
        values in prop::collection::vec("[!-:<-~]{1,60}", 5),
        encrypted: bool,
    ) {
        let mut browser = Browser::new(encrypted);
        let names = ["OauthHMAC-0a", "OauthExpires-0a", "AccessToken-0a", "IdToken-0a", "RefreshToken-0a"];
        for (name, value) in names.iter().zip(values) {
            browser.jar.push(((*name).to_owned(), value));
        }

        prop_assert_eq!(browser.read(), SessionState::None);
    }
}
