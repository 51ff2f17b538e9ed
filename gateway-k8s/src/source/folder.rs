//! Objects from folders and files of manifests.
//!
//! Files are read in the order of their paths. If two files define the same object, the choice between them
//! is therefore always the same. Hidden entries are skipped, because a mounted ConfigMap keeps its files in a
//! hidden folder (`..data`) and links to them. Symbolic links are followed. A file with several paths is read
//! once.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::hash::{DefaultHasher, Hasher};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::file_state::FileState;
use crate::decode::{Decoder, Diagnostic, DocumentCache};
use crate::finding::FindingCode;
use crate::objects::Objects;

/// Maximum size of a file, in bytes.
const MAX_FILE: u64 = 64 * 1024 * 1024;
/// Maximum depth of folders. The limit ends loops of symbolic links.
const MAX_DEPTH: usize = 32;

/// Reader of folders and files of manifests. Results are cached: only documents that have changed since
/// the last reading are decoded.
#[derive(Clone, Debug, Default)]
pub struct Folder {
    strict: bool,
    ingresses_are_served: bool,
    memory: DocumentCache,
    /// Manifests that do not come from files: the name that diagnostics show, and the text.
    texts: Vec<(PathBuf, String)>,
    /// State of each file at the last reading.
    seen: HashMap<PathBuf, Seen>,
}

/// State of a file that was read.
#[derive(Clone, Copy, Debug)]
struct Seen {
    stamp: FileState,
    /// Fingerprint of the content.
    fingerprint: u64,
}

/// Result of [`Folder::read`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Loaded {
    /// Decoded objects.
    pub objects: Objects,
    /// Diagnostics.
    pub diagnostics: Vec<Diagnostic>,
    /// Fingerprint of the names and contents of all files.
    pub fingerprint: u64,
    /// Files in reading order.
    pub files: Vec<PathBuf>,
}

impl Folder {
    /// Creates a reader. `strict` makes unknown fields and kinds errors.
    pub fn new(strict: bool) -> Self {
        Self {
            strict,
            ..Self::default()
        }
    }

    /// Sets whether the caller translates and serves Ingresses. Ingresses that are served cause no finding
    /// `passed-over`.
    #[must_use]
    pub fn with_ingresses_served(mut self, served: bool) -> Self {
        self.ingresses_are_served = served;
        self
    }

    /// Adds a manifest that does not come from a file, such as standard input. Diagnostics show `name`.
    #[must_use]
    pub fn with_text(mut self, name: impl Into<PathBuf>, text: String) -> Self {
        self.texts.push((name.into(), text));
        self
    }

    /// Adds or replaces the manifest `name` that does not come from a file. An empty string removes it.
    pub fn set_text(&mut self, name: &str, text: String) {
        self.texts.retain(|(known, _)| known != Path::new(name));
        if !text.is_empty() {
            self.texts.push((name.into(), text));
        }
    }

    /// Reads all manifests (`.yaml`, `.yml`, `.json`) in and below `paths`. If a path is a file, it
    /// is read regardless of its extension. A file that cannot be read is reported as a diagnostic.
    pub fn read(&mut self, paths: &[PathBuf]) -> Loaded {
        let mut found = Found::default();
        for path in paths {
            found.argument(path);
        }
        let mut decoder = Decoder::with_memory(self.strict, std::mem::take(&mut self.memory))
            .with_ingresses_served(self.ingresses_are_served);
        let mut fingerprint = DefaultHasher::new();
        found.problems.into_iter().for_each(|problem| {
            fingerprint.write(problem.file.as_bytes());
            decoder.note(problem);
        });
        let before = std::mem::take(&mut self.seen);
        for (name, text) in &self.texts {
            fingerprint.write(text.as_bytes());
            decoder.file(&name.display().to_string(), text);
        }
        for path in &found.files {
            fingerprint.write(path.as_os_str().as_encoded_bytes());
            match look(path, before.get(path), &mut decoder) {
                Ok(seen) => {
                    fingerprint.write_u64(seen.fingerprint);
                    self.seen.insert(path.clone(), seen);
                }
                Err(error) => {
                    fingerprint.write_u8(0xff);
                    decoder.note(unreadable(path, &error));
                }
            }
        }
        let (decoded, memory) = decoder.finish_with_memory();
        self.memory = memory;
        let texts = self.texts.iter().map(|(name, _)| name.clone());
        Loaded {
            objects: decoded.objects,
            diagnostics: decoded.diagnostics,
            fingerprint: fingerprint.finish(),
            files: texts.chain(found.files).collect(),
        }
    }
}

/// Decodes a file. If the state of the file equals `before`, the cached result is used and the file is not
/// read.
fn look(path: &Path, before: Option<&Seen>, decoder: &mut Decoder) -> io::Result<Seen> {
    let name = path.display().to_string();
    // Paths that are not UTF-8 are always read, because two of them may have the same name in the cache.
    if path.to_str().is_some()
        && let Some(before) = before
        && before.stamp.is_settled()
        && before.stamp == FileState::of(&fs::metadata(path)?)
        && decoder.unchanged(&name)
    {
        return Ok(*before);
    }
    let (stamp, text) = read(path)?;
    let mut fingerprint = DefaultHasher::new();
    fingerprint.write(text.as_bytes());
    decoder.file(&name, &text);
    Ok(Seen {
        stamp,
        fingerprint: fingerprint.finish(),
    })
}

/// Finds the manifests in and below `paths` as [`Folder::read`] does, without reading them. Paths that cannot
/// be read are returned as diagnostics.
pub fn find_manifests(paths: &[PathBuf]) -> (Vec<PathBuf>, Vec<Diagnostic>) {
    let mut found = Found::default();
    for path in paths {
        found.argument(path);
    }
    (found.files, found.problems)
}

/// Files to read, in the order of their paths.
#[derive(Default)]
struct Found {
    files: Vec<PathBuf>,
    /// Canonical paths of the files.
    seen: HashSet<PathBuf>,
    problems: Vec<Diagnostic>,
}

impl Found {
    fn argument(&mut self, path: &Path) {
        match fs::metadata(path) {
            Ok(meta) if meta.is_dir() => self.folder(path, 0),
            Ok(_) => self.file(path, real(path)),
            Err(error) => self.problems.push(unreadable(path, &error)),
        }
    }

    fn folder(&mut self, path: &Path, depth: usize) {
        let mut entries = match fs::read_dir(path).and_then(Iterator::collect::<io::Result<Vec<_>>>)
        {
            Ok(entries) => entries,
            Err(error) => return self.problems.push(unreadable(path, &error)),
        };
        entries.sort_by_key(fs::DirEntry::file_name);
        let here = real(path);
        for entry in entries {
            let (name, path) = (entry.file_name(), entry.path());
            if name.as_encoded_bytes().starts_with(b".") {
                continue;
            }
            // The file type of the entry is known without another system call.
            if is_manifest(&path) && entry.file_type().is_ok_and(|kind| kind.is_file()) {
                self.file(&path, here.join(name));
                continue;
            }
            match fs::metadata(&path) {
                Ok(meta) if meta.is_dir() && depth < MAX_DEPTH => self.folder(&path, depth + 1),
                Ok(meta) if meta.is_file() && is_manifest(&path) => self.file(&path, real(&path)),
                Ok(_) => {}
                Err(error) if is_manifest(&path) => self.problems.push(unreadable(&path, &error)),
                Err(_) => {}
            }
        }
    }

    fn file(&mut self, path: &Path, real: PathBuf) {
        if self.seen.insert(real) {
            self.files.push(path.to_owned());
        }
    }
}

/// Returns the canonical path of a file or folder.
fn real(path: &Path) -> PathBuf {
    fs::canonicalize(path).unwrap_or_else(|_| path.to_owned())
}

fn is_manifest(path: &Path) -> bool {
    let extension = path.extension().and_then(|e| e.to_str());
    matches!(extension, Some("yaml" | "yml" | "json"))
}

/// Reads a file. Returns its state and text.
fn read(path: &Path) -> io::Result<(FileState, String)> {
    let now = SystemTime::now();
    let mut file = File::open(path)?;
    let meta = file.metadata()?;
    let size = meta.len();
    if size > MAX_FILE {
        let message = format!("the file has {size} bytes; the limit is {MAX_FILE} bytes");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, message));
    }
    let mut text = Vec::with_capacity(usize::try_from(size).unwrap_or_default() + 1);
    file.read_to_end(&mut text)?;
    let text = String::from_utf8(text)
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "the file is not UTF-8 text"))?;
    Ok((FileState::read(&meta, now), text))
}

fn unreadable(path: &Path, error: &io::Error) -> Diagnostic {
    let (message, help) = match error.kind() {
        io::ErrorKind::NotFound => (
            "there is no such file or folder".to_owned(),
            "pass a manifest, or a folder of manifests, that exists",
        ),
        io::ErrorKind::PermissionDenied => (
            "cannot be read: permission denied".to_owned(),
            "give read permission to the user that runs Towergate",
        ),
        io::ErrorKind::FileTooLarge => (
            format!("cannot be read: {error}"),
            "move the file out of the folder, or split it into smaller files",
        ),
        io::ErrorKind::InvalidData => (
            format!("cannot be read: {error}"),
            "save the file as UTF-8, or move it out of the folder if it is not a manifest",
        ),
        _ => (
            format!("cannot be read: {error}"),
            "make the path readable, or omit the path",
        ),
    };
    let mut diagnostic = Diagnostic::error(FindingCode::Unreadable, message, help);
    diagnostic.file = path.display().to_string();
    diagnostic
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// A folder that is removed on drop.
    struct Temp(PathBuf);

    impl Temp {
        fn new(name: &str) -> Self {
            let path =
                std::env::temp_dir().join(format!("towergate-{}-{name}", std::process::id()));
            let _ = fs::remove_dir_all(&path);
            fs::create_dir_all(&path).expect("the folder is made");
            Self(path)
        }

        fn write(&self, name: &str, text: &str) {
            let path = self.0.join(name);
            fs::create_dir_all(path.parent().expect("it has a parent"))
                .expect("the folder is made");
            fs::write(path, text).expect("the file is written");
        }

        fn read(&self) -> Loaded {
            Folder::default().read(std::slice::from_ref(&self.0))
        }
    }

    impl Drop for Temp {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn namespace(name: &str) -> String {
        format!("apiVersion: v1\nkind: Namespace\nmetadata: {{name: {name}}}\n")
    }

    fn names(loaded: &Loaded) -> Vec<&str> {
        loaded
            .objects
            .namespaces
            .keys()
            .map(|key| key.name.as_str())
            .collect()
    }

    #[test]
    fn manifests_of_a_folder_and_below_are_read_in_order() {
        let temp = Temp::new("order");
        temp.write("b.yml", &namespace("b"));
        temp.write("a/x.yaml", &namespace("a"));
        temp.write(
            "c.json",
            r#"{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"c"}}"#,
        );
        temp.write("readme.md", "kind: [");
        temp.write(".hidden/x.yaml", &namespace("hidden"));
        temp.write(".hidden.yaml", &namespace("hidden"));

        let loaded = temp.read();

        assert_eq!(loaded.diagnostics, []);
        assert_eq!(names(&loaded), ["a", "b", "c"]);
        let files: Vec<_> = loaded.files.iter().filter_map(|f| f.file_name()).collect();
        assert_eq!(files, ["x.yaml", "b.yml", "c.json"]);
    }

    #[test]
    fn a_swapped_config_map_is_read_once_and_noticed() {
        let temp = Temp::new("swap");
        temp.write("..1/ns.yaml", &namespace("one"));
        temp.write("..2/ns.yaml", &namespace("two"));
        symlink("..1", temp.0.join("..data")).expect("the link is made");
        symlink("..data/ns.yaml", temp.0.join("ns.yaml")).expect("the link is made");
        symlink("ns.yaml", temp.0.join("same.yaml")).expect("the link is made");
        let before = temp.read();

        symlink("..2", temp.0.join("..tmp")).expect("the link is made");
        fs::rename(temp.0.join("..tmp"), temp.0.join("..data")).expect("the link is swapped");
        let after = temp.read();

        assert_eq!((names(&before), before.diagnostics.len()), (vec!["one"], 0));
        assert_eq!((names(&after), after.diagnostics.len()), (vec!["two"], 0));
        assert_ne!(before.fingerprint, after.fingerprint);
        assert_eq!(after.fingerprint, temp.read().fingerprint);
    }

    #[test]
    fn a_file_that_cannot_be_read_is_a_diagnostic() {
        let temp = Temp::new("unreadable");
        temp.write("good.yaml", &namespace("good"));
        fs::write(temp.0.join("latin.yaml"), b"a: \xe9").expect("the file is written");
        symlink("nowhere", temp.0.join("dangling.yaml")).expect("the link is made");
        symlink(".", temp.0.join("loop")).expect("the link is made");

        let loaded = Folder::default().read(&[temp.0.clone(), temp.0.join("missing")]);

        assert_eq!(names(&loaded), ["good"]);
        let codes: Vec<_> = loaded.diagnostics.iter().map(|d| d.code).collect();
        assert!(
            codes.len() >= 3 && codes.iter().all(|code| *code == FindingCode::Unreadable),
            "{codes:?}"
        );
    }

    #[test]
    fn a_cached_file_is_read_again_when_it_changes() {
        let temp = Temp::new("again");
        let mut folder = Folder::default();
        let mut read = || {
            let loaded = folder.read(std::slice::from_ref(&temp.0));
            let names = names(&loaded).join(" ");
            (names, loaded.fingerprint)
        };

        temp.write("a.yaml", &namespace("one"));
        temp.write("b.yaml", &namespace("two"));
        let first = read();
        assert_eq!(first.0, "one two");
        for text in ["six", "ten", "one"] {
            // The size is the same, and both writes are within one tick of the file system clock.
            temp.write("a.yaml", &namespace(text));
            let (found, fingerprint) = read();
            assert!(found.contains(text), "{found}");
            assert_eq!(fingerprint == first.1, text == "one");
        }
        fs::rename(temp.0.join("b.yaml"), temp.0.join("a.yaml")).expect("it is moved");
        assert_eq!(read().0, "two");
    }

    #[test]
    fn a_path_may_be_a_file() {
        let temp = Temp::new("file");
        temp.write("manifest.txt", &namespace("a"));

        let loaded = Folder::default().read(&[temp.0.join("manifest.txt")]);

        assert_eq!(names(&loaded), ["a"]);
    }
}
