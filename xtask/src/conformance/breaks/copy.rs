//! A copy of the tree, to be broken.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::process::{output, root, target_directory};

/// The tree as it is, uncommitted changes included, without what is built.
pub struct Copy {
    path: PathBuf,
}

impl Copy {
    /// Copies every file that git knows or does not ignore. A file that is there already and the
    /// same is let be, so that cargo does not build it again.
    ///
    /// # Errors
    /// git or the file system says no.
    pub fn of_tree() -> Result<Self, String> {
        let path = target_directory().join("conformance/tree");
        let mut list = Command::new("git");
        list.current_dir(root()).args(["ls-files", "--cached", "--others", "--exclude-standard"]);
        let files = output(list, "git ls-files")?;
        let names: Vec<&str> = files.lines().filter(|name| root().join(name).is_file()).collect();
        for name in &names {
            let to = path.join(name);
            let fault = |error: std::io::Error| format!("{name}: {error}");
            let bytes = fs::read(root().join(name)).map_err(fault)?;
            if fs::read(&to).is_ok_and(|there| there == bytes) {
                continue;
            }
            fs::create_dir_all(to.parent().unwrap_or(&path)).map_err(fault)?;
            fs::copy(root().join(name), &to).map_err(fault)?;
            // Copied with its old time a changed file would look unchanged to cargo.
            let now = std::time::SystemTime::now();
            fs::File::options()
                .append(true)
                .open(&to)
                .and_then(|file| file.set_modified(now))
                .map_err(fault)?;
        }
        let copy = Self { path };
        copy.remove_what_is_gone(&names)?;
        Ok(copy)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where it is built: apart from the tree, whose build it would spoil.
    pub fn build_directory(&self) -> PathBuf {
        target_directory().join("conformance/build")
    }

    /// Rust files that the tree no longer has would still be compiled.
    fn remove_what_is_gone(&self, names: &[&str]) -> Result<(), String> {
        let mut found = Vec::new();
        rust_files(&self.path, &mut found).map_err(|error| format!("copy: {error}"))?;
        for path in found {
            let name = path.strip_prefix(&self.path).unwrap_or(&path).to_string_lossy();
            if !names.contains(&&*name) {
                fs::remove_file(&path).map_err(|error| format!("{name}: {error}"))?;
            }
        }
        Ok(())
    }
}

fn rust_files(directory: &Path, found: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() {
            rust_files(&path, found)?;
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            found.push(path);
        }
    }
    Ok(())
}
