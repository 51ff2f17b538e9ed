//! Names of the provisioned objects of a Gateway.
//!
//! The name of a Gateway has at most 253 characters and may contain dots. The name of a Service has at most
//! 63 characters, contains no dots, and starts with a letter. The value of a label has at most 63 characters.
//! If a name does not conform, a hash of the whole name replaces its end.

/// Maximum length of the name of a Service and of the value of a label, in characters.
const MOST: usize = 63;
/// Length of the longest suffix that is appended to the name of the objects, in characters.
const ENDING: usize = "-credentials".len();

/// The name of the objects of a Gateway: `<Gateway>-<GatewayClass>` (GEP-1762).
pub(super) fn of_objects(gateway: &str, class: &str) -> String {
    let plain = format!("{gateway}-{class}");
    let starts_well = plain.starts_with(|c: char| c.is_ascii_lowercase());
    if starts_well && !plain.contains('.') && plain.len() <= MOST - ENDING {
        return plain;
    }
    let clean = plain.replace('.', "-");
    let clean = if starts_well {
        clean
    } else {
        format!("gw-{clean}")
    };
    shortened(&clean, &plain, MOST - ENDING)
}

/// The value of a label for `name`, shortened if it is too long.
pub(super) fn of_label(name: &str) -> String {
    if name.len() <= MOST {
        return name.to_owned();
    }
    shortened(name, name, MOST)
}

/// The start of `text`, then a hash of `whole`, with at most `most` characters in total. Both arguments are
/// ASCII, like all names of Kubernetes objects.
fn shortened(text: &str, whole: &str, most: usize) -> String {
    let hash = format!("{:08x}", folded(hash(whole)));
    let room = most - hash.len() - 1;
    let start: String = text.chars().take(room).collect();
    format!("{}-{hash}", start.trim_end_matches(['-', '.', '_']))
}

/// The 64-bit FNV-1a hash of `text`. The function must not change: names of existing objects contain it.
pub(super) fn hash(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// The hash, folded to 32 bits.
fn folded(hash: u64) -> u32 {
    let folded = (hash >> 32) ^ (hash & u64::from(u32::MAX));
    u32::try_from(folded).expect("the upper half is empty")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_name_is_the_gateways_and_its_classs() {
        assert_eq!(of_objects("shared", "eg"), "shared-eg");
        assert_eq!(of_label("shared"), "shared");
    }

    #[test]
    fn the_longest_names_fit_and_stay_different() {
        let (a, b) = ("a".repeat(253), format!("{}b", "a".repeat(252)));

        for name in [&a, &b] {
            assert_eq!(of_label(name).len(), 63);
            assert_eq!(of_objects(name, "eg").len() + ENDING, 63);
        }
        assert_ne!(of_label(&a), of_label(&b));
        assert_ne!(of_objects(&a, "eg"), of_objects(&b, "eg"));
    }

    #[test]
    fn every_name_of_an_object_is_that_of_a_service() {
        let service = |name: &str| {
            name.len() <= 63
                && name.starts_with(|c: char| c.is_ascii_lowercase())
                && name.ends_with(|c: char| c.is_ascii_alphanumeric())
                && name
                    .chars()
                    .all(|c| c == '-' || c.is_ascii_lowercase() || c.is_ascii_digit())
        };
        let names = ["a.b", "a-b", "1", "9.example.com", "x", &"a.".repeat(126)];

        for name in names {
            assert!(
                service(&of_objects(name, "eg")),
                "{}",
                of_objects(name, "eg")
            );
        }
        assert_ne!(of_objects("a.b", "c"), of_objects("a-b", "c"));
    }

    #[test]
    fn a_hash_is_the_same_in_every_version() {
        assert_eq!(of_objects("1", "eg"), "gw-1-eg-28d7cdde");
    }
}
