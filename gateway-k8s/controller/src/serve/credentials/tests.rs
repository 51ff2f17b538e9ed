use std::os::unix::fs::PermissionsExt;

use super::*;

fn now() -> SystemTime {
    UNIX_EPOCH + DAY * 20_000
}

fn days(days: u32) -> SystemTime {
    now() + DAY * days
}

#[test]
fn credentials_are_good_until_a_third_of_their_time_is_left() {
    let authority = CertificateAuthority::create(now()).expect("it is made");
    let credentials = authority.plane("team/edge", now()).expect("it is made");

    assert!(authority.is_good(&credentials, now()));
    assert!(authority.is_good(&credentials, days(59)));
    assert!(!authority.is_good(&credentials, days(61)));
    assert!(!authority.is_good(&credentials, days(100)));
}

#[test]
fn an_authority_that_was_kept_signs_on() {
    let authority = CertificateAuthority::create(now()).expect("it is made");
    let before = authority.plane("shared", now()).expect("it is made");

    let kept = CertificateAuthority::from_pem(&authority.to_pem()).expect("it is whole");

    assert!(kept.to_pem() == authority.to_pem());
    assert!(kept.is_good(&before, now()));
    let after = kept.plane("shared", now()).expect("it is made");
    assert!(authority.is_good(&after, now()));
}

#[test]
fn a_successor_trusts_the_one_before_as_long_as_that_is_valid() {
    let first = CertificateAuthority::create(now()).expect("it is made");
    let credentials = first.plane("shared", now()).expect("it is made");
    assert!(!first.is_due(days(2400)) && first.is_due(days(2450)));

    let second = first.renew(days(2450)).expect("it is made");
    let third = second.renew(days(3700)).expect("it is made");

    assert_eq!(sections(&second.to_pem().certificates).len(), 2);
    assert_eq!(
        third.trusted,
        [&third.trusted[0], &second.trusted[0]].map(String::clone)
    );
    assert!(
        !second.is_good(&credentials, now()),
        "the credentials contain only the first CA"
    );
    assert!(!second.is_due(days(2450)));
}

#[test]
fn what_is_not_usable_is_told_without_the_key() {
    let (one, other) = (
        CertificateAuthority::create(now()),
        CertificateAuthority::create(now()),
    );
    let (one, other) = (
        one.expect("it is made").to_pem(),
        other.expect("it is made").to_pem(),
    );
    let mixed = CaPem {
        certificates: one.certificates.clone(),
        key: other.key,
    };
    let empty = CaPem {
        certificates: String::new(),
        key: one.key.clone(),
    };
    for (pem, expected) in [(&mixed, "does not belong"), (&empty, "ca.crt is empty")] {
        let error = CertificateAuthority::from_pem(pem)
            .expect_err("the CA is invalid")
            .to_string();
        assert!(error.contains(expected), "{error}");
    }
    let secret = one.key.lines().nth(1).expect("it has lines");
    assert!(!format!("{one:?} {:?}", CertificateAuthority::from_pem(&one)).contains(secret));
}

#[test]
fn no_plane_is_called_like_two() {
    let authority = CertificateAuthority::create(now()).expect("it is made");

    for plane in ["", "edge", "a/b/c", "team/Edge"] {
        assert!(authority.plane(plane, now()).is_err(), "{plane}");
    }
}

#[test]
fn a_folder_gives_back_what_was_written_and_nobody_else_reads_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("credentials");
    assert!(Credentials::read(&path).expect("it is not there").is_none());
    let authority = CertificateAuthority::create(now()).expect("it is made");

    for _ in 0..2 {
        let credentials = authority.plane("shared", now()).expect("it is made");
        credentials.write(&path).expect("it is written");
        let read = Credentials::read(&path).expect("it is read");
        assert!(read == Some(credentials));
    }

    for name in ["ca.crt", "tls.crt", "tls.key"] {
        let mode = fs::metadata(path.join(name))
            .expect("it is there")
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    assert_eq!(fs::read_dir(&path).expect("it is there").count(), 3);
}
