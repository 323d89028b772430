//! What fuzz targets reach: the readers of the configuration, which nobody else is to call.

use std::path::Path;

use crate::{config::Config, credential::Configured};

fn assert_one_line(message: &str) {
    assert!(!message.contains(char::is_control), "{message:?}");
}

/// `config.toml`, and a client's file.
pub fn config(text: &str) {
    match Config::of(text) {
        Ok(config) => {
            let presets = config.presets();
            drop((config.engine(), presets));
            assert!(config.differences(&config).is_empty());
        }
        Err(message) => assert_one_line(&message),
    }
    if let Err(message) = Configured::of(Path::new("clients/work.toml"), text) {
        assert_one_line(&message);
    }
}
