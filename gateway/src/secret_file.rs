//! Files of secrets: private (0600), small, and written whole or not at all.
//!
//! What it is not: what stands in them.

use std::{
    fs, io,
    io::{Read as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

/// Longest file read, bytes: some hundred keys. Anything longer is not ours.
const FILE_BYTES_MAX: u64 = 64 * 1024;

/// Reads a file; makes it with what `make` gives, and its directory, if it is not there. True if it
/// was made. Of several processes that make it at a time one is first, and all get what it wrote.
///
/// # Errors
/// With the path in the text: cannot be read or made, is readable by others.
pub fn open_or_create(
    path: &Path,
    make: impl FnOnce() -> io::Result<String>,
) -> io::Result<(String, bool)> {
    match read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        outcome => return outcome.map(|text| (text, false)).map_err(|error| named(path, &error)),
    }
    let dir = directory_of(path);
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(|error| named(dir, &error))?;
    let text = make()?;
    match write(path, &text, false) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            read(path).map(|text| (text, false)).map_err(|error| named(path, &error))
        }
        Err(error) => Err(named(path, &error)),
        Ok(()) => Ok((text, true)),
    }
}

/// Puts `text` in place of what is there, durably.
///
/// # Errors
/// With the path in the text.
pub fn replace(path: &Path, text: &str) -> io::Result<()> {
    write(path, text, true).map_err(|error| named(path, &error))
}

/// The error with the path before it.
pub fn named(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

fn read(path: &Path) -> io::Result<String> {
    let file = fs::File::open(path)?;
    let mode = file.metadata()?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        let text = format!("mode {mode:04o} lets others read it; wanted: 0600");
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, text));
    }
    let mut text = String::new();
    file.take(FILE_BYTES_MAX).read_to_string(&mut text)?;
    Ok(text)
}

/// Of a name without one, the current directory.
fn directory_of(path: &Path) -> &Path {
    path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Half a file of keys would log everybody out.
fn write(path: &Path, text: &str, replace: bool) -> io::Result<()> {
    let mut draft = path.as_os_str().to_owned();
    draft.push(format!(".{}", std::process::id()));
    let draft = PathBuf::from(draft);
    let written = (|| {
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&draft)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        // A hard link fails where the name exists; a rename replaces.
        if replace { fs::rename(&draft, path) } else { fs::hard_link(&draft, path) }
    })();
    if !replace || written.is_err() {
        // The draft may never have been made; what counts is the outcome above.
        drop(fs::remove_file(&draft));
    }
    written?;
    fs::File::open(directory_of(path))?.sync_all()
}
