//! docs/providers.md says of each preset how to register a client and log in.

mod providers_page;

use authd_oauth::preset::built_in;

#[test]
fn the_page_is_what_the_presets_say() {
    let page = std::fs::read_to_string(providers_page::path()).unwrap();
    assert!(
        page == providers_page::page(),
        "run 'cargo run -p authd-oauth --example write_providers'"
    );
}

#[test]
fn every_preset_has_its_section_with_steps_redirect_and_command() {
    let page = std::fs::read_to_string(providers_page::path()).unwrap();
    for (name, _) in built_in().iter() {
        let section = page
            .split("\n## ")
            .find(|section| section.lines().next() == Some(name))
            .unwrap_or_else(|| panic!("{name} has no section"));
        for part in [
            "\n1. ",
            "\n2. ",
            "\nRedirect: `http://",
            "Register a client at <https://",
        ] {
            assert!(section.contains(part), "{name}: {part}");
        }
        let command = format!("authctl login {name} --provider {name} ");
        assert!(section.contains(&command), "{name}");
    }
}
