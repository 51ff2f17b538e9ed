//! Writes small databases in the MaxMind DB format, version 2.0, for tests.

use std::path::PathBuf;

use ipnet::Ipv4Net;

/// A value of an entry.
pub(crate) enum Datum {
    Text(&'static str),
    Short(u16),
    Number(u32),
    Long(u64),
    Flag(bool),
    List(Vec<Datum>),
    Map(Vec<(&'static str, Datum)>),
}

impl Datum {
    fn write(&self, to: &mut Vec<u8>) {
        match self {
            Self::Text(text) => write_text(text, to),
            Self::Short(number) => {
                to.push(5 << 5 | 2);
                to.extend(number.to_be_bytes());
            }
            Self::Long(number) => {
                to.extend([8, 9 - 7]);
                to.extend(number.to_be_bytes());
            }
            Self::Number(number) => {
                to.push(6 << 5 | 4);
                to.extend(number.to_be_bytes());
            }
            Self::Flag(flag) => to.extend([u8::from(*flag), 14 - 7]),
            Self::List(items) => {
                to.extend([u8::try_from(items.len()).unwrap(), 11 - 7]);
                items.iter().for_each(|item| item.write(to));
            }
            Self::Map(members) => {
                to.push(7 << 5 | u8::try_from(members.len()).unwrap());
                for (name, value) in members {
                    write_text(name, to);
                    value.write(to);
                }
            }
        }
    }
}

fn write_text(text: &str, to: &mut Vec<u8>) {
    let length = u8::try_from(text.len()).unwrap();
    match length {
        0..29 => to.push(2 << 5 | length),
        _ => to.extend([2 << 5 | 29, length - 29]),
    }
    to.extend(text.as_bytes());
}

/// A database of `kind` with an entry for each network.
pub(crate) fn database(kind: &'static str, entries: &[(&str, Datum)]) -> Vec<u8> {
    let (tree, count, data) = tree(entries);
    let mut whole = Vec::new();
    for record in tree.iter().flatten() {
        whole.extend(&record.unwrap_or(count).to_be_bytes()[1..]);
    }
    whole.extend([0; 16]);
    whole.extend(data);
    whole.extend(b"\xAB\xCD\xEFMaxMind.com");
    let metadata = Datum::Map(vec![
        ("binary_format_major_version", Datum::Short(2)),
        ("binary_format_minor_version", Datum::Short(0)),
        ("build_epoch", Datum::Long(1)),
        ("database_type", Datum::Text(kind)),
        ("description", Datum::Map(Vec::new())),
        ("ip_version", Datum::Short(4)),
        ("languages", Datum::List(Vec::new())),
        ("node_count", Datum::Number(count)),
        ("record_size", Datum::Short(24)),
    ]);
    metadata.write(&mut whole);
    whole
}

type Nodes = Vec<[Option<u32>; 2]>;

/// The search tree, the number of its nodes, and the data section.
fn tree(entries: &[(&str, Datum)]) -> (Nodes, u32, Vec<u8>) {
    let mut nodes: Nodes = vec![[None; 2]];
    let mut leaves = Vec::new();
    let mut data = Vec::new();
    for (network, value) in entries {
        let network: Ipv4Net = network.parse().unwrap();
        let bit = |depth: u8| usize::from(network.addr().to_bits() >> (31 - depth) & 1 == 1);
        let mut node = 0;
        for depth in 0..network.prefix_len() - 1 {
            node = match nodes[node][bit(depth)] {
                Some(next) => usize::try_from(next).unwrap(),
                None => {
                    nodes.push([None; 2]);
                    nodes[node][bit(depth)] = u32::try_from(nodes.len() - 1).ok();
                    nodes.len() - 1
                }
            };
        }
        leaves.push((node, bit(network.prefix_len() - 1), data.len()));
        value.write(&mut data);
    }
    let count = u32::try_from(nodes.len()).unwrap();
    for (node, side, offset) in leaves {
        nodes[node][side] = Some(count + 16 + u32::try_from(offset).unwrap());
    }
    (nodes, count, data)
}

fn place(country: &'static str, region: &'static str, city: &'static str) -> Datum {
    let names = Datum::Map(vec![("de", Datum::Text("x")), ("en", Datum::Text(city))]);
    let region = Datum::Map(vec![("iso_code", Datum::Text(region))]);
    Datum::Map(vec![
        ("city", Datum::Map(vec![("names", names)])),
        (
            "country",
            Datum::Map(vec![("iso_code", Datum::Text(country))]),
        ),
        ("subdivisions", Datum::List(vec![region])),
    ])
}

/// A City database: London at 192.0.2.0/24, Boston at 198.51.100.0/25.
pub(crate) fn city_database() -> Vec<u8> {
    let entries = [
        ("192.0.2.0/24", place("GB", "ENG", "London")),
        ("198.51.100.0/25", place("US", "MA", "Boston")),
    ];
    database("GeoLite2-City", &entries)
}

/// An ISP database: AS64500 at 192.0.2.0/24.
pub(crate) fn network_database() -> Vec<u8> {
    let network = Datum::Map(vec![
        ("autonomous_system_number", Datum::Number(64500)),
        ("isp", Datum::Text("Example Net")),
    ]);
    database("GeoIP2-ISP", &[("192.0.2.0/24", network)])
}

/// An Anonymous-IP database: an exit node of Tor at 198.51.100.7.
pub(crate) fn anonymous_database() -> Vec<u8> {
    let flags = Datum::Map(vec![
        ("is_anonymous", Datum::Flag(true)),
        ("is_tor_exit_node", Datum::Flag(true)),
    ]);
    database("GeoIP2-Anonymous-IP", &[("198.51.100.7/32", flags)])
}

/// A folder that is removed at the end of a test.
pub(crate) struct TestFolder(PathBuf);

impl TestFolder {
    pub(crate) fn new(name: &str) -> Self {
        let name = format!("towergate-geoip-{name}-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub(crate) fn write(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, content).unwrap();
        path
    }
}

impl Drop for TestFolder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
