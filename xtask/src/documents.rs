//! Every file that a page of the documentation names must be there.
//!
//! Checked: targets of relative links, and words in backticks that begin with a directory of the
//! root and end like a file. What a page *says* about the file is the reviewer's business.

use std::fs;
use std::path::{Path, PathBuf};

use crate::process::root;

/// Endings by which a word in backticks is taken for a file.
const FILE_ENDINGS: [&str; 6] = [".rs", ".md", ".toml", ".fbs", ".json", ".yml"];
/// Directories below `docs` are few; a deeper tree than this would be a loop of links.
const DEPTH_MAX: usize = 8;

/// Checks all pages.
///
/// # Errors
/// Names each page with what it names in vain.
pub fn check() -> Result<String, String> {
    let mut pages = Vec::new();
    collect(root(), 0, &mut pages).map_err(|error| format!("documentation: {error}"))?;
    collect(&root().join("docs"), DEPTH_MAX, &mut pages).map_err(|e| format!("docs: {e}"))?;
    let mut missing = Vec::new();
    for page in &pages {
        let text = fs::read_to_string(page).map_err(|e| format!("{}: {e}", page.display()))?;
        let directory = page.parent().unwrap_or(root());
        let links = links(&text).filter(|target| !directory.join(target).exists());
        let files = files(&text).filter(|file| is_missing(file));
        for name in links.chain(files) {
            missing
                .push(format!("{}: {name}", page.strip_prefix(root()).unwrap_or(page).display()));
        }
    }
    if missing.is_empty() {
        return Ok(format!("{} pages name only what is there", pages.len()));
    }
    Err(format!("pages name files that are not there:\n  {}", missing.join("\n  ")))
}

fn collect(directory: &Path, depth: usize, pages: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() && depth > 0 {
            collect(&path, depth - 1, pages)?;
        } else if path.extension().is_some_and(|ending| ending == "md") {
            pages.push(path);
        }
    }
    Ok(())
}

/// Targets of links within the repository, without their anchors.
fn links(text: &str) -> impl Iterator<Item = &str> {
    let targets = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    let inside = targets.filter(|target| !target.contains("://") && !target.starts_with('#'));
    inside.filter_map(|target| target.split('#').next())
}

/// Files named in backticks by their path from the root.
fn files(text: &str) -> impl Iterator<Item = &str> {
    let words = text.split('`').skip(1).step_by(2);
    words.filter(|word| {
        let looks_like_a_file = FILE_ENDINGS.iter().any(|ending| word.ends_with(ending));
        looks_like_a_file && !word.contains(char::is_whitespace) && !word.contains(['*', '<'])
    })
}

/// Only a path that begins with one of our directories is meant from the root.
fn is_missing(file: &str) -> bool {
    let Some((first, _)) = file.split_once('/') else { return false };
    root().join(first).is_dir() && !root().join(file).exists()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_and_files_are_found_and_the_world_outside_is_left_alone() {
        let text = "[a](docs/a.md#part) [b](https://example.org/x.md) [c](#here) `xtask/src/no.rs` \
                    `log/lane.rs` `cargo xtask` `xtask/src/main.rs`";
        assert_eq!(links(text).collect::<Vec<_>>(), ["docs/a.md"]);
        let missing: Vec<_> = files(text).filter(|file| is_missing(file)).collect();
        assert_eq!(missing, ["xtask/src/no.rs"]);
    }
}
