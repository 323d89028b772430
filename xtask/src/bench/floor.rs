//! The floor: a static C program (floor.c) that does the same with nothing around it.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::command;
use crate::error::ChoreError;

/// Compiles the program into `dir`, with `request` as what its client sends.
pub(super) fn compile(dir: &Path, request: &[u8]) -> Result<PathBuf, ChoreError> {
    let mut header = String::from("static const unsigned char request[] = {");
    for byte in request {
        // Writing into a String does not fail.
        let _ = write!(header, "{byte},");
    }
    header.push_str("};\n");
    let source = dir.join("floor.c");
    let request = dir.join("request.h");
    let program = dir.join("floor");
    fs::write(&source, include_str!("floor.c")).map_err(ChoreError::io("write", &source))?;
    fs::write(&request, header).map_err(ChoreError::io("write", &request))?;
    command::run(
        Command::new("cc")
            .args(["-O2", "-static", "-include"])
            .args([&request, &source])
            .arg("-o")
            .arg(&program),
    )?;
    Ok(program)
}
