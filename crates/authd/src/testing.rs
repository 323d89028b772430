//! What several tests of this crate need.

use std::path::Path;

/// Makes a named pipe.
#[cfg(unix)]
pub(crate) fn make_fifo(path: &Path) {
    use rustix::fs::{CWD, FileType, Mode, mknodat};

    let mode = Mode::RUSR | Mode::WUSR;
    mknodat(CWD, path, FileType::Fifo, mode, 0).expect("a place for a pipe");
}
