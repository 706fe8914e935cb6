//! containerd's configuration without an earlier drop-in of ours.
//!
//! The drop-in repeats whole tables and hides those of the main file. A dump that has the drop-in
//! in it would bring its tables back for ever, whatever the operator changes in the main file since.

use std::path::{Path, PathBuf};

use thiserror::Error;
use toml::{Table, Value};

/// Why the drop-in cannot be left out.
#[derive(Debug, Error)]
pub enum ImportsError {
    /// The main file is not TOML.
    #[error("containerd's configuration {} is not understood", path.display())]
    NotToml {
        /// The file.
        path: PathBuf,
        /// Where and what.
        source: Box<toml::de::Error>,
    },
    /// `imports` is no list of texts, or has a pattern beyond `*` and `?`.
    #[error("imports of containerd's configuration {} are not understood", path.display())]
    Imports {
        /// The file.
        path: PathBuf,
    },
    /// The main file cannot be written anew.
    #[error("containerd's configuration cannot be written without our drop-in")]
    Write(#[source] Box<toml::ser::Error>),
}

/// containerd's main file, and what it imports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Main {
    /// The versions of it and of the files that it imports, as far as they say something about plugins.
    pub versions: Vec<i64>,
    /// Its text with every import spelled out and ours left out; None where ours is not imported.
    pub without_ours: Option<String>,
}

/// Looks through the main file `path` with this `text`. `ours` tells whether a file is a drop-in of
/// ours.
///
/// # Errors
/// When the file is not understood.
pub fn look(path: &Path, text: &str, ours: impl Fn(&Path) -> bool) -> Result<Main, ImportsError> {
    let mut main: Table = toml::from_str(text)
        .map_err(|source| ImportsError::NotToml { path: path.to_owned(), source: Box::new(source) })?;
    let unknown = || ImportsError::Imports { path: path.to_owned() };
    let patterns: Vec<String> = match main.get("imports") {
        None => Vec::new(),
        Some(imports) => imports.clone().try_into().map_err(|_| unknown())?,
    };
    let mut files = Vec::new();
    for pattern in patterns {
        // Like containerd: relative to the folder of the file.
        let pattern = path.parent().unwrap_or(Path::new("/")).join(pattern);
        if pattern.to_string_lossy().contains(['[', '\\']) {
            return Err(unknown());
        }
        files.extend(expand(&pattern));
    }
    let kept: Vec<&PathBuf> = files.iter().filter(|file| !ours(file)).collect();
    // An imported file that cannot be read is containerd's to complain about.
    let imported = kept.iter().filter_map(|file| toml::from_str(&std::fs::read_to_string(file).ok()?).ok());
    let versions = imported.chain([main.clone()]).filter_map(|file| plugins_version(&file)).collect();
    if kept.len() == files.len() {
        return Ok(Main { versions, without_ours: None });
    }
    let kept: Vec<Value> = kept.iter().map(|file| file.to_string_lossy().into_owned().into()).collect();
    main.insert("imports".to_owned(), kept.into());
    let text = toml::to_string(&main).map_err(|error| ImportsError::Write(Box::new(error)))?;
    Ok(Main { versions, without_ours: Some(text) })
}

/// The version of a file that has plugins. Without plugins there is nothing to translate.
fn plugins_version(file: &Table) -> Option<i64> {
    file.contains_key("plugins").then(|| file.get("version").and_then(Value::as_integer).unwrap_or(1))
}

/// The files that a pattern names, sorted; a pattern without `*` and `?` names itself.
fn expand(pattern: &Path) -> Vec<PathBuf> {
    let mut found = vec![PathBuf::new()];
    for part in pattern {
        let text = part.to_string_lossy();
        if text.contains(['*', '?']) {
            let mut fitting = Vec::new();
            for folder in found {
                for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
                    if matches(text.as_bytes(), entry.file_name().as_encoded_bytes()) {
                        fitting.push(entry.path());
                    }
                }
            }
            found = fitting;
        } else {
            for path in &mut found {
                path.push(part);
            }
        }
    }
    found.sort();
    found
}

/// Whether `name` fits `pattern`, in which `*` is any text and `?` any byte.
fn matches(pattern: &[u8], name: &[u8]) -> bool {
    match (pattern.split_first(), name.split_first()) {
        (None, None) => true,
        (Some((b'*', rest)), _) => {
            matches(rest, name) || name.split_first().is_some_and(|(_, later)| matches(pattern, later))
        }
        (Some((b'?', rest)), Some((_, later))) => matches(rest, later),
        (Some((wanted, rest)), Some((byte, later))) => wanted == byte && matches(rest, later),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_like_the_shells() {
        for (pattern, name) in
            [("*.toml", "a.toml"), ("*", ""), ("a?c*", "abc"), ("*a*b", "xaxb"), ("a", "a")]
        {
            assert!(matches(pattern.as_bytes(), name.as_bytes()), "{pattern} {name}");
        }
        for (pattern, name) in [("*.toml", "a.json"), ("?", ""), ("a", "ab"), ("a*b", "a"), ("", "a")] {
            assert!(!matches(pattern.as_bytes(), name.as_bytes()), "{pattern} {name}");
        }
    }

    #[test]
    fn ours_is_left_out_and_the_rest_is_spelled_out() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("conf.d")).unwrap();
        for name in ["z.toml", "ours.toml", "a.toml", "b.json"] {
            std::fs::write(dir.path().join("conf.d").join(name), "").unwrap();
        }
        std::fs::write(dir.path().join("conf.d/a.toml"), "version = 3\n[plugins.x]").unwrap();
        std::fs::write(dir.path().join("conf.d/ours.toml"), "version = 4\n[plugins.x]").unwrap();
        let main = dir.path().join("config.toml");
        let text = "version = 2\nimports = [\"/other.toml\", \"con?.d/*.toml\"]\nroot = \"/r\"\n[plugins.x]\ny = 1\n";
        let seen = look(&main, text, |path| path.ends_with("ours.toml")).unwrap();
        assert_eq!(seen.versions, [3, 2]);
        let table: Table = toml::from_str(&seen.without_ours.unwrap()).unwrap();
        let path = |name: &str| dir.path().join("conf.d").join(name).to_string_lossy().into_owned();
        let imports: Vec<String> = table["imports"].clone().try_into().unwrap();
        assert_eq!(imports, ["/other.toml".to_owned(), path("a.toml"), path("z.toml")]);
        assert_eq!((table["root"].as_str(), table["plugins"]["x"]["y"].as_integer()), (Some("/r"), Some(1)));
        assert_eq!(look(&main, text, |_| false).unwrap().without_ours, None);
    }

    #[test]
    fn file_without_plugins_has_no_version_that_matters() {
        let versions = |text| look(Path::new("/c.toml"), text, |_| false).unwrap().versions;
        assert_eq!(versions(""), [0_i64; 0]);
        assert_eq!(versions("version = 2"), [0_i64; 0]);
        assert_eq!(versions("[plugins.cri]"), [1]);
        assert_eq!(versions("version = 3\n[plugins.cri]"), [3]);
    }

    #[test]
    fn what_is_not_understood_is_an_error() {
        let error = |text| look(Path::new("/c.toml"), text, |_| false).unwrap_err();
        assert!(matches!(error("="), ImportsError::NotToml { .. }));
        assert!(matches!(error("imports = 7"), ImportsError::Imports { .. }));
        assert!(matches!(error("imports = [\"/[ab].toml\"]"), ImportsError::Imports { .. }));
    }
}
