//! Writes `proto/vectors` anew: `cargo run -p authd-proto --example write_vectors`.

#[path = "../tests/golden/mod.rs"]
mod golden;

use std::fs;
use std::io;

fn main() -> io::Result<()> {
    let directory = golden::directory();
    fs::create_dir_all(&directory)?;
    for vector in golden::vectors() {
        let path = |ending: &str| directory.join(format!("{}.{ending}", vector.name));
        fs::write(path("msgpack"), &vector.bytes)?;
        fs::write(path("json"), golden::twin(&vector.bytes))?;
    }
    Ok(())
}
