//! Writes `docs/providers.md` anew: `cargo run -p authd-oauth --example write_providers`.

#[path = "../tests/providers_page/mod.rs"]
mod providers_page;

fn main() -> std::io::Result<()> {
    std::fs::write(providers_page::path(), providers_page::page())
}
