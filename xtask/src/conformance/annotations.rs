//! Comments `norm: ID` of the tests: which statements a test covers.

use std::fs;
use std::path::{Path, PathBuf};

use crate::process::root;

/// Where tests are.
const DIRECTORIES: [&str; 6] = ["client", "codec", "gateway", "loadgen", "router", "tests"];
/// Rust, and the scripts that run other people's clients.
const ENDINGS: [&str; 4] = ["rs", "py", "js", "mjs"];
/// Below the root a source file is not deeper than this; more would be a loop of links.
const DEPTH_MAX: usize = 8;
/// Directories of what was built or fetched.
const SKIPPED: [&str; 3] = ["target", "node_modules", "corpus"];

/// One test covers one statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Annotation {
    /// The statement.
    pub id: String,
    /// File of the test, from the root.
    pub file: String,
    /// Line of the comment, from 1.
    pub line: usize,
    /// Name of the test's function; empty if there is none behind the comment.
    pub test: String,
}

/// All annotations of the tree, by file and line.
///
/// # Errors
/// A file that cannot be read, or an annotation that no function follows.
pub fn collect() -> Result<Vec<Annotation>, String> {
    let mut files = Vec::new();
    for directory in DIRECTORIES {
        find(&root().join(directory), DEPTH_MAX, &mut files)
            .map_err(|error| format!("{directory}: {error}"))?;
    }
    files.sort();
    let mut annotations = Vec::new();
    for path in files {
        let file = path.strip_prefix(root()).unwrap_or(&path).to_string_lossy().into_owned();
        let text = fs::read_to_string(&path).map_err(|error| format!("{file}: {error}"))?;
        annotations.extend(read(&file, &text)?);
    }
    Ok(annotations)
}

fn find(directory: &Path, depth: usize, files: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if path.is_dir() && !path.is_symlink() && depth > 0 && !SKIPPED.contains(&&*name) {
            find(&path, depth - 1, files)?;
        } else if path.extension().is_some_and(|ending| ENDINGS.iter().any(|e| *e == ending)) {
            files.push(path);
        }
    }
    Ok(())
}

fn read(file: &str, text: &str) -> Result<Vec<Annotation>, String> {
    let mut annotations: Vec<Annotation> = Vec::new();
    // Those whose function has not come yet.
    let mut open = 0;
    for (number, line) in text.lines().enumerate() {
        let line = line.trim_start();
        if let Some(ids) = annotated(line) {
            for id in ids.split(',').map(str::trim) {
                let (id, file) = (id.to_owned(), file.to_owned());
                annotations.push(Annotation { id, file, line: number + 1, test: String::new() });
                open += 1;
            }
        } else if let Some(test) = function(line) {
            let count = annotations.len();
            for annotation in &mut annotations[count - open..] {
                annotation.test = test.to_owned();
            }
            open = 0;
        }
    }
    // A script is one test as a whole, whether it has functions or not.
    let is_script = !file.ends_with(".rs");
    match annotations.iter().find(|annotation| annotation.test.is_empty() && !is_script) {
        Some(Annotation { line, id, .. }) => Err(format!("{file}:{line}: no test behind {id}")),
        None => Ok(annotations),
    }
}

/// What follows the mark in a comment that begins a line.
fn annotated(line: &str) -> Option<&str> {
    let comment = line.strip_prefix("//").or_else(|| line.strip_prefix('#'))?;
    comment.trim_start().strip_prefix("norm:").map(str::trim)
}

/// Name of the function that begins on this line.
fn function(line: &str) -> Option<&str> {
    let words = ["fn ", "async fn ", "pub fn ", "def ", "function ", "async function "];
    let rest = words.iter().find_map(|word| line.strip_prefix(word))?;
    rest.split(['(', '<', ' ']).next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn annotations_belong_to_the_function_behind_them() {
        let text = "// norm: A-1\n    // norm: A-2, B-1\n    #[test]\n    fn first() {}\n\
                    // norm: A-3\n/// Words.\n#[test]\nfn second<T>() {}\n// no norm: C-1\n";
        let found = read("x.rs", text).expect("all have a function");
        let pairs: Vec<_> = found.iter().map(|a| (a.id.as_str(), a.test.as_str())).collect();
        assert_eq!(
            pairs,
            [("A-1", "first"), ("A-2", "first"), ("B-1", "first"), ("A-3", "second")]
        );
        assert_eq!(found[3].line, 5);
        assert!(read("x.rs", "// norm: A-1\n").is_err());
        assert_eq!(read("x.py", "# norm: A-1\n").expect("a script may").len(), 1);
    }
}
