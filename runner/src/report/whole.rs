//! Files that are there whole or not at all.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::error::{IoContext, Result};

/// Writes a file so that it is there whole or not at all, replacing one of that name.
///
/// # Errors
/// The host's: disk full, folder gone. Nothing is left behind then.
pub fn write_whole(path: &Path, bytes: &[u8]) -> Result<()> {
    let dir = match path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir,
        _ => Path::new("."),
    };
    let action = format!("write {}", path.display());
    let mut file = tempfile::Builder::new()
        .prefix(".kvet-")
        .permissions(fs::Permissions::from_mode(0o644))
        .tempfile_in(dir)
        // Its own words name the scratch file, which nobody asked for.
        .map_err(|e| std::io::Error::from(e.kind()))
        .host(&action)?;
    file.write_all(bytes).host(&action)?;
    file.persist(path).map_err(|e| e.error).host(&action)?;
    Ok(())
}
