//! The choice of a content coding by `Accept-Encoding` (RFC 9110, section 12.5.3).

use http::HeaderValue;
use http::header::GetAll;

use super::Compressor;

/// Of the codings that are offered and accepted, the one with the highest weight. If several codings have
/// this weight, the first of them in `Accept-Encoding`. `None`: the response is not compressed.
pub(super) fn choose(
    accepted: GetAll<'_, HeaderValue>,
    offered: &[Compressor],
) -> Option<Compressor> {
    let fields = accepted.iter().filter_map(|field| field.to_str().ok());
    let listed: Vec<_> = fields
        .flat_map(|field| field.split(','))
        .filter_map(weighted)
        .collect();
    let mut best = (0.0, None);
    for (name, weight) in &listed {
        let compressor = match *name {
            name if name.eq_ignore_ascii_case("identity") => None,
            // `*` matches the codings that are not listed. The first of these is used.
            "*" => match offered.iter().find(|offered| !lists(&listed, offered)) {
                None => continue,
                first => first,
            },
            name => match offered.iter().find(|offered| is_named(offered, name)) {
                None => continue,
                named => named,
            },
        };
        if *weight > best.0 {
            best = (*weight, compressor);
        }
    }
    best.1.copied()
}

fn lists(listed: &[(&str, f32)], offered: &Compressor) -> bool {
    listed.iter().any(|(name, _)| is_named(offered, name))
}

/// Whether `name` is that of the coding, without regard to case (RFC 9110, section 8.4.1).
fn is_named(offered: &Compressor, name: &str) -> bool {
    name.eq_ignore_ascii_case(offered.coding.name())
}

/// A coding with its weight, 1 by default. `None` if it has no name or an invalid weight.
fn weighted(item: &str) -> Option<(&str, f32)> {
    let (name, parameters) = item.split_once(';').unwrap_or((item, ""));
    let name = name.trim();
    let weight = parameters.split(';').find_map(|parameter| {
        let (key, value) = parameter.split_once('=')?;
        key.trim().eq_ignore_ascii_case("q").then(|| value.trim())
    });
    let weight: f32 = weight.map_or(Some(1.0), |weight| weight.parse().ok())?;
    (!name.is_empty() && (0.0..=1.0).contains(&weight)).then_some((name, weight))
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;
    use http::header::ACCEPT_ENCODING;

    use super::super::{ContentCoding, MIN_LENGTH};
    use super::*;

    fn chosen(fields: &[&str], offered: &[ContentCoding]) -> Option<ContentCoding> {
        let headers: HeaderMap = fields
            .iter()
            .map(|field| (ACCEPT_ENCODING, field.parse().unwrap()))
            .collect();
        let offered: Vec<_> = offered
            .iter()
            .map(|coding| Compressor {
                coding: *coding,
                min_length: MIN_LENGTH,
            })
            .collect();
        choose(headers.get_all(ACCEPT_ENCODING), &offered).map(|chosen| chosen.coding)
    }

    const ALL: &[ContentCoding] = &[
        ContentCoding::Brotli,
        ContentCoding::Gzip,
        ContentCoding::Zstd,
    ];

    #[test]
    fn the_highest_weight_wins_and_among_equals_the_first() {
        for (field, expected) in [
            ("gzip;q=0.1, br;q=0.5, zstd", Some(ContentCoding::Zstd)),
            ("zstd;q=0.8, gzip;q=0.8", Some(ContentCoding::Zstd)),
            ("gzip, br", Some(ContentCoding::Gzip)),
            (" deflate , gzip ", Some(ContentCoding::Gzip)),
            ("gzip ; Q = 0.3, br;q=0.2", Some(ContentCoding::Gzip)),
            ("gzip;q=0.5, identity", None),
            ("deflate, GZIP;q=0.5", Some(ContentCoding::Gzip)),
            ("gzip;q=0.5, Identity", None),
            ("deflate", None),
            ("", None),
        ] {
            assert_eq!(chosen(&[field], ALL), expected, "{field}");
        }
        assert_eq!(chosen(&[], ALL), None);
    }

    #[test]
    fn a_weight_of_zero_excludes_a_coding_and_an_invalid_weight_its_item() {
        const GZIP: &[ContentCoding] = &[ContentCoding::Gzip];
        for field in [
            "gzip;q=0",
            "gzip;q=0, *",
            "GZip;q=0, *",
            "*;q=0",
            "gzip;q=x",
            "gzip;q=2",
            "gzip;q=NaN",
        ] {
            assert_eq!(chosen(&[field], GZIP), None, "{field}");
        }
    }

    #[test]
    fn a_wildcard_stands_for_the_first_coding_that_is_not_listed() {
        assert_eq!(chosen(&["*"], ALL), Some(ContentCoding::Brotli));
        assert_eq!(chosen(&["br;q=0, *"], ALL), Some(ContentCoding::Gzip));
        assert_eq!(
            chosen(&["gzip;q=0.5, *;q=0.1"], ALL),
            Some(ContentCoding::Gzip)
        );
    }

    #[test]
    fn several_fields_are_one_list() {
        let fields = ["gzip;q=0.5", "br"];

        assert_eq!(chosen(&fields, ALL), Some(ContentCoding::Brotli));
    }
}
