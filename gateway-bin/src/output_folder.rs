//! The folder of a translation.
//!
//! A file of a translation begins with a marker. The next run replaces the file, or removes the file if the
//! translation does not contain it any more. Files without the marker are never overwritten or removed.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, ErrorKind};
use std::path::{Path, PathBuf};

use crate::Failure;

/// First line of a file of a translation.
pub(crate) const MARKER: &str =
    "# Written by `towergate migrate`, which replaces or removes this file when it runs again.\n";

/// Writes `files` into `folder`, and removes other files that earlier runs wrote. Returns the removed files.
///
/// # Errors
/// If a file cannot be read, written or removed, or if a file of the user has the name of one of `files`.
pub(crate) fn write_files(
    folder: &Path,
    files: &BTreeMap<String, String>,
) -> Result<Vec<PathBuf>, Failure> {
    fs::create_dir_all(folder)
        .map_err(|error| format!("{} cannot be created: {error}", folder.display()))?;
    let paths: Vec<PathBuf> = files.keys().map(|name| folder.join(name)).collect();
    for path in &paths {
        if !is_replaceable(path)? {
            return Err(format!(
                "{} was not written by `towergate migrate`: move it, or pass another folder to --out",
                path.display()
            )
            .into());
        }
    }
    let stale = stale(folder, &paths)?;
    for (path, text) in paths.iter().zip(files.values()) {
        fs::write(path, format!("{MARKER}{text}"))
            .map_err(|error| format!("{} cannot be written: {error}", path.display()))?;
    }
    for path in &stale {
        fs::remove_file(path)
            .map_err(|error| format!("{} cannot be removed: {error}", path.display()))?;
    }
    Ok(stale)
}

/// Files of earlier runs that are not in `current`, in alphabetical order.
fn stale(folder: &Path, current: &[PathBuf]) -> Result<Vec<PathBuf>, Failure> {
    let unreadable = |error| format!("{} cannot be read: {error}", folder.display());
    let mut stale = Vec::new();
    for entry in fs::read_dir(folder).map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        let path = entry.path();
        let is_manifest = path
            .extension()
            .is_some_and(|extension| extension == "yaml");
        let is_file = entry.file_type().map_err(unreadable)?.is_file();
        if is_manifest && is_file && !current.contains(&path) && has_marker(&path)? {
            stale.push(path);
        }
    }
    stale.sort();
    Ok(stale)
}

/// Whether a file does not exist, or an earlier run wrote it.
fn is_replaceable(path: &Path) -> Result<bool, Failure> {
    Ok(!fs::exists(path)? || has_marker(path)?)
}

/// Whether the first line of a file is the marker.
fn has_marker(path: &Path) -> Result<bool, Failure> {
    let unreadable = |error| format!("{} cannot be read: {error}", path.display());
    let mut first = String::new();
    let file = File::open(path).map_err(unreadable)?;
    match BufReader::new(file).read_line(&mut first) {
        Ok(_) => Ok(first == MARKER),
        // The file is not text.
        Err(error) if error.kind() == ErrorKind::InvalidData => Ok(false),
        Err(error) => Err(unreadable(error).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(names: &[&str]) -> BTreeMap<String, String> {
        let files = names.iter();
        files
            .map(|name| ((*name).to_owned(), format!("kind: {name}\n")))
            .collect()
    }

    #[test]
    fn files_of_an_earlier_run_are_removed_and_those_of_the_user_are_kept() {
        let folder = tempfile::tempdir().expect("a folder");
        let at = |name: &str| folder.path().join(name);
        write_files(folder.path(), &files(&["a.yaml", "b.yaml"])).expect("written");
        fs::write(at("own.yaml"), "kind: Own\n").expect("written");
        fs::write(at("notes.txt"), MARKER).expect("written");

        let removed = write_files(folder.path(), &files(&["a.yaml"])).expect("written");

        assert_eq!(removed, [at("b.yaml")]);
        assert!(at("own.yaml").exists() && at("notes.txt").exists() && at("a.yaml").exists());
    }

    #[test]
    fn a_file_of_the_user_is_not_overwritten() {
        let folder = tempfile::tempdir().expect("a folder");
        let own = folder.path().join("a.yaml");
        fs::write(&own, "kind: Own\n").expect("written");

        let result = write_files(folder.path(), &files(&["a.yaml"]));

        assert!(result.is_err());
        assert_eq!(fs::read_to_string(&own).expect("a file"), "kind: Own\n");
    }

    #[test]
    fn a_second_run_gives_the_same_bytes() {
        let folder = tempfile::tempdir().expect("a folder");
        let read = || fs::read(folder.path().join("a.yaml")).expect("a file");

        write_files(folder.path(), &files(&["a.yaml"])).expect("written");
        let first = read();
        write_files(folder.path(), &files(&["a.yaml"])).expect("written");

        assert_eq!(first, read());
    }
}
