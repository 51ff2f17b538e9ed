//! One database file.

use std::fmt;
use std::net::IpAddr;
use std::ops::BitOr;
use std::path::Path;

use maxminddb::{PathElement, Reader};
use serde::Deserialize;

/// The reason why a database cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GeoDatabaseError {
    /// The file cannot be read.
    #[error("{0}")]
    Read(#[from] std::io::Error),
    /// The file is not a MaxMind DB, or an entry is corrupt.
    #[error("{0}")]
    Format(#[from] maxminddb::MaxMindDbError),
    /// The type of the database is unknown, so its fields are unknown too.
    #[error(
        "database type {0:?} is not supported; supported: City, Country, Enterprise, ASN, ISP, Anonymous-IP"
    )]
    Type(String),
}

/// A set of location fields.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub struct GeoFields(u8);

impl GeoFields {
    /// The country.
    pub const COUNTRY: Self = Self(1);
    /// The first subdivision of the country.
    pub const REGION: Self = Self(1 << 1);
    /// The city.
    pub const CITY: Self = Self(1 << 2);
    /// The number of the autonomous system.
    pub const ASN: Self = Self(1 << 3);
    /// The internet service provider.
    pub const ISP: Self = Self(1 << 4);
    /// The use of anonymizing networks.
    pub const ANONYMOUS: Self = Self(1 << 5);

    /// Whether all fields of `other` are in the set.
    pub fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether a field of `other` is in the set.
    fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// Whether the set is empty.
    pub fn is_empty(self) -> bool {
        self == Self::default()
    }

    /// The fields that are not in `other`.
    #[must_use]
    pub fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// The fields of a database, by its type: `GeoIP2-City`, `GeoLite2-ASN`, `DBIP-Country-Lite` and so on.
    fn of_type(name: &str) -> Self {
        let place = Self::COUNTRY | Self::REGION | Self::CITY;
        let types = [
            ("Enterprise", place | Self::ASN | Self::ISP),
            ("City", place),
            ("Country", Self::COUNTRY),
            ("ISP", Self::ASN | Self::ISP),
            ("ASN", Self::ASN),
            ("Anonymous", Self::ANONYMOUS),
        ];
        let known = types.into_iter().filter(|(word, _)| name.contains(word));
        known.fold(Self::default(), |all, (_, fields)| all | fields)
    }
}

impl fmt::Display for GeoFields {
    /// The names of the fields in a policy, such as `country, asn`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = [
            (Self::COUNTRY, "country"),
            (Self::REGION, "region"),
            (Self::CITY, "city"),
            (Self::ASN, "asn"),
            (Self::ISP, "isp"),
            (Self::ANONYMOUS, "anonymous"),
        ];
        let names = names.iter().filter(|(field, _)| self.contains(*field));
        for (position, (_, name)) in names.enumerate() {
            let comma = if position == 0 { "" } else { ", " };
            write!(f, "{comma}{name}")?;
        }
        Ok(())
    }
}

impl BitOr for GeoFields {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// The location of an address. Fields that no database has are `None`.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct ClientLocation<'d> {
    /// Country (ISO 3166-1 alpha-2).
    pub country: Option<&'d str>,
    /// First subdivision of the country (ISO 3166-2, without the country).
    pub region: Option<&'d str>,
    /// City, by its English name.
    pub city: Option<&'d str>,
    /// Number of the autonomous system.
    pub asn: Option<u32>,
    /// Internet service provider.
    pub isp: Option<&'d str>,
    /// Whether the address belongs to any anonymizing network.
    pub is_anonymous: bool,
    /// Whether the address belongs to a VPN.
    pub is_vpn: bool,
    /// Whether the address belongs to a hosting provider.
    pub is_hosting: bool,
    /// Whether the address is an exit node of Tor.
    pub is_tor: bool,
    /// Whether the address is a public proxy.
    pub is_proxy: bool,
}

/// A database in memory.
pub struct GeoDatabase {
    reader: Reader<Vec<u8>>,
    fields: GeoFields,
}

impl GeoDatabase {
    /// Type of the database, such as `GeoLite2-City`.
    pub(super) fn database_type(&self) -> &str {
        &self.reader.metadata().database_type
    }
}

impl fmt::Debug for GeoDatabase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("GeoDatabase")
            .field(&self.database_type())
            .finish()
    }
}

/// The part of an entry that is read. Each type of database has only some of the members.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Entry<'d> {
    #[serde(borrow)]
    country: Coded<'d>,
    #[serde(borrow)]
    city: Named<'d>,
    #[serde(borrow)]
    traits: Network<'d>,
    #[serde(borrow)]
    isp: Option<&'d str>,
    autonomous_system_number: Option<u32>,
    is_anonymous: bool,
    is_anonymous_vpn: bool,
    is_hosting_provider: bool,
    is_tor_exit_node: bool,
    is_public_proxy: bool,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Coded<'d> {
    #[serde(borrow)]
    iso_code: Option<&'d str>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Named<'d> {
    #[serde(borrow)]
    names: English<'d>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct English<'d> {
    #[serde(borrow)]
    en: Option<&'d str>,
}

/// The member `traits` of an entry in an Enterprise database.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Network<'d> {
    #[serde(borrow)]
    isp: Option<&'d str>,
    autonomous_system_number: Option<u32>,
}

/// Path to the first subdivision in an entry.
const REGION: [PathElement<'static>; 3] = [
    PathElement::Key("subdivisions"),
    PathElement::Index(0),
    PathElement::Key("iso_code"),
];

impl GeoDatabase {
    /// Reads a whole file into memory.
    ///
    /// # Errors
    /// If the file cannot be read, is not a MaxMind DB, or has an unknown type.
    pub fn open(path: &Path) -> Result<Self, GeoDatabaseError> {
        let reader = Reader::from_source(std::fs::read(path)?)?;
        let kind = &reader.metadata().database_type;
        match GeoFields::of_type(kind) {
            GeoFields(0) => Err(GeoDatabaseError::Type(kind.clone())),
            fields => Ok(Self { reader, fields }),
        }
    }

    /// The fields that the database has.
    pub fn fields(&self) -> GeoFields {
        self.fields
    }

    /// Adds fields of `address` to `location`: those that are in `needed`, in the database, and not yet in
    /// `location`.
    ///
    /// # Errors
    /// If `address` is an IPv6 address and the database has none, or if the entry is corrupt.
    pub(super) fn add_to<'d>(
        &'d self,
        location: &mut ClientLocation<'d>,
        address: IpAddr,
        needed: GeoFields,
    ) -> Result<(), GeoDatabaseError> {
        if !self.fields.intersects(needed) {
            return Ok(());
        }
        let found = self.reader.lookup(address)?;
        let Some(entry) = found.decode::<Entry<'d>>()? else {
            return Ok(());
        };
        let place = GeoFields::REGION;
        if location.region.is_none() && needed.contains(place) && self.fields.contains(place) {
            location.region = found.decode_path(&REGION)?;
        }
        location.country = location.country.or(entry.country.iso_code);
        location.city = location.city.or(entry.city.names.en);
        let asn = entry.autonomous_system_number;
        let asn = asn.or(entry.traits.autonomous_system_number);
        location.asn = location.asn.or(asn);
        location.isp = location.isp.or(entry.isp).or(entry.traits.isp);
        location.is_anonymous |= entry.is_anonymous;
        location.is_vpn |= entry.is_anonymous_vpn;
        location.is_hosting |= entry.is_hosting_provider;
        location.is_tor |= entry.is_tor_exit_node;
        location.is_proxy |= entry.is_public_proxy;
        Ok(())
    }
}
