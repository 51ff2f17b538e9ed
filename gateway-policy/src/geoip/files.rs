//! Database files that are read again when they change.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use arc_swap::{ArcSwap, Guard};
use towergate_core::policy::Live;

use super::{ClientLocation, GeoDatabase, GeoDatabaseError, GeoFields};

/// Interval between checks of the files' modification times.
const INTERVAL: Duration = Duration::from_secs(10);

/// Database files, shared by the policies that use them.
#[derive(Debug)]
pub struct GeoDatabaseFiles {
    paths: Vec<PathBuf>,
    current: ArcSwap<GeoDatabaseSet>,
    started: Instant,
    /// Milliseconds since `started` after which the files are checked again.
    due: AtomicU64,
}

/// The databases at one point in time.
#[derive(Debug, Default)]
pub struct GeoDatabaseSet {
    files: Vec<ReadFile>,
    fields: GeoFields,
}

/// The last database that was read from a file.
#[derive(Clone, Debug, Default)]
struct ReadFile {
    database: Option<Arc<GeoDatabase>>,
    /// Modification time and length at the last attempt to read the file.
    version: Option<(SystemTime, u64)>,
}

impl GeoDatabaseSet {
    /// The fields that the databases have.
    pub fn fields(&self) -> GeoFields {
        self.fields
    }

    /// The location of `address`: the fields in `needed`, each from the first database that contains it.
    ///
    /// # Errors
    /// If the lookup fails in a database.
    pub fn locate(
        &self,
        address: IpAddr,
        needed: GeoFields,
    ) -> Result<ClientLocation<'_>, GeoDatabaseError> {
        let mut location = ClientLocation::default();
        for file in &self.files {
            if let Some(database) = &file.database {
                database.add_to(&mut location, address.to_canonical(), needed)?;
            }
        }
        Ok(location)
    }

    /// The databases of `paths`. Unchanged databases are taken from `self`. `None`: no database has changed.
    fn read_again(&self, paths: &[PathBuf]) -> Option<Self> {
        let known = self.files.iter().cloned().map(Some);
        let known = known.chain(std::iter::repeat(None));
        let mut changed = false;
        let read = |(path, known): (&PathBuf, Option<ReadFile>)| {
            let version = version_of(path);
            match known {
                Some(file) if file.version == version => file,
                known => {
                    changed = true;
                    read_file(path, known.unwrap_or_default(), version)
                }
            }
        };
        let files: Vec<ReadFile> = paths.iter().zip(known).map(read).collect();
        let databases = files.iter().filter_map(|file| file.database.as_ref());
        let fields = databases.fold(GeoFields::default(), |all, own| all | own.fields());
        changed.then_some(Self { files, fields })
    }
}

/// Reads a file. On failure, the database of `known` is kept.
fn read_file(path: &Path, known: ReadFile, version: Option<(SystemTime, u64)>) -> ReadFile {
    let database = match GeoDatabase::open(path) {
        Ok(database) => {
            tracing::info!(file = %path.display(), database = database.database_type(), "GeoIP database read");
            Some(Arc::new(database))
        }
        Err(error) => {
            let kept = known.database.is_some();
            tracing::error!(file = %path.display(), %error, kept, "GeoIP database cannot be read");
            known.database
        }
    };
    ReadFile { database, version }
}

fn version_of(path: &Path) -> Option<(SystemTime, u64)> {
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.modified().ok()?, metadata.len()))
}

impl GeoDatabaseFiles {
    /// Reads the files. A file that cannot be read is logged, and provides no fields until it can be read.
    pub fn open(paths: Vec<PathBuf>) -> Arc<Self> {
        let set = GeoDatabaseSet::default().read_again(&paths);
        Arc::new(Self {
            paths,
            current: ArcSwap::from_pointee(set.unwrap_or_default()),
            started: Instant::now(),
            due: AtomicU64::new(milliseconds(INTERVAL)),
        })
    }

    /// The files at `paths`. All policies with the same paths share them.
    pub(crate) fn shared(paths: &[PathBuf], live: &Live) -> Arc<Self> {
        live.share(("geoip", paths.to_vec()), |(_, paths)| {
            Self::open(paths.clone())
        })
    }

    /// The databases. Changed files are read again in the background at most every 10 seconds, if there is a Tokio
    /// runtime.
    pub fn load(self: &Arc<Self>) -> Guard<Arc<GeoDatabaseSet>> {
        let now = milliseconds(self.started.elapsed());
        let due = self.due.load(Ordering::Relaxed);
        if now >= due {
            let next = now.saturating_add(milliseconds(INTERVAL));
            let claimed =
                self.due
                    .compare_exchange(due, next, Ordering::Relaxed, Ordering::Relaxed);
            if let (Ok(_), Ok(runtime)) = (claimed, tokio::runtime::Handle::try_current()) {
                let this = self.clone();
                runtime.spawn_blocking(move || this.read_again());
            }
        }
        self.current.load()
    }

    /// Reads the files that have changed.
    fn read_again(&self) {
        if let Some(set) = self.current.load().read_again(&self.paths) {
            self.current.store(Arc::new(set));
        }
    }
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::super::test_database::{TestFolder, city_database, network_database};
    use super::*;

    #[test]
    fn fields_come_from_the_database_that_has_them() {
        let folder = TestFolder::new("fields");
        let paths = vec![
            folder.write("city.mmdb", &city_database()),
            folder.write("isp.mmdb", &network_database()),
        ];

        let files = GeoDatabaseFiles::open(paths);

        let set = files.load();
        let all = GeoFields::CITY | GeoFields::REGION | GeoFields::COUNTRY | GeoFields::ISP;
        assert!(set.fields().contains(all | GeoFields::ASN));
        assert!(!set.fields().contains(GeoFields::ANONYMOUS));
        let location = set.locate("192.0.2.7".parse().unwrap(), all).unwrap();
        let expected = ClientLocation {
            country: Some("GB"),
            region: Some("ENG"),
            city: Some("London"),
            asn: Some(64500),
            isp: Some("Example Net"),
            ..ClientLocation::default()
        };
        assert_eq!(location, expected);
        let mapped = "::ffff:192.0.2.7".parse().unwrap();
        assert_eq!(set.locate(mapped, all).unwrap(), expected);
        let elsewhere = set.locate("203.0.113.1".parse().unwrap(), all).unwrap();
        assert_eq!(elsewhere, ClientLocation::default());
        assert!(set.locate("2001:db8::1".parse().unwrap(), all).is_err());
    }

    #[test]
    fn a_changed_file_is_read_again_and_a_broken_one_keeps_its_last_good_content() {
        let folder = TestFolder::new("reload");
        let path = folder.path("city.mmdb");
        let files = GeoDatabaseFiles::open(vec![path.clone()]);
        let known = || files.load().fields().contains(GeoFields::CITY);
        assert!(!known());

        std::fs::write(&path, city_database()).unwrap();
        files.read_again();
        assert!(known());

        std::fs::write(&path, "no database").unwrap();
        files.read_again();
        assert!(known());
    }

    #[test]
    fn a_database_of_an_unknown_type_is_refused_by_name() {
        let folder = TestFolder::new("type");
        let database = super::super::test_database::database("Example-Weather", &[]);
        let path = folder.write("weather.mmdb", &database);

        let error = GeoDatabase::open(&path).unwrap_err().to_string();

        assert!(error.contains("\"Example-Weather\""), "{error}");
    }
}
